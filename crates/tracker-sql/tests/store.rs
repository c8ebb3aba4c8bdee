//! The stores against the suite, on a real file, a real PostgreSQL and a real MariaDB.

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::sync::Arc;

    use tracker_core::testing::{deployment_report, new_id};
    use tracker_core::{Change, Group, Store as _, testing};
    use tracker_sql::{DatabaseUrl, SqlStore};

    fn open(folder: &tempfile::TempDir) -> SqlStore {
        let path = folder.path().join("data.sqlite3");
        SqlStore::open(DatabaseUrl::parse(&path.display().to_string()).expect("a path"), "", 1_024).expect("a database")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sqlite_keeps_to_the_suite() {
        let folder = tempfile::tempdir().expect("a folder");
        testing::store_suite(&open(&folder)).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_that_is_no_database_is_refused_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data.sqlite3");
        std::fs::write(&path, "something else entirely, and long enough to be looked at".repeat(100)).expect("a file");
        assert!(SqlStore::open(DatabaseUrl::parse(&path.display().to_string()).expect("a path"), "", 1_024).is_err());
        let nowhere = folder.path().join("no/such/folder.sqlite3");
        assert!(
            SqlStore::open(DatabaseUrl::parse(&nowhere.display().to_string()).expect("a path"), "", 1_024).is_err()
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn queries_that_share_a_snapshot_show_what_was_committed_before_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(open(&folder));
        let others: Vec<_> = (0..64)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    loop {
                        store.deployment(new_id()).await.expect("a database");
                    }
                })
            })
            .collect();
        for _ in 0..300 {
            let report = deployment_report(new_id(), "{}");
            let id = report.id;
            let group = Arc::new(Group::new(vec![Change::StartDeployment(report)], Arc::new([])));
            store.commit(0, group).await.expect("a database");
            assert!(store.deployment(id).await.expect("a database").is_some());
        }
        for other in others {
            other.abort();
            assert!(other.await.is_err_and(|error| error.is_cancelled()), "a query failed");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn several_processes_may_open_one_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (open(&folder), open(&folder));
        first.check().await.expect("the first");
        second.check().await.expect("the second");
    }
}

#[cfg(not(feature = "mysql"))]
#[test]
fn a_database_that_is_not_built_in_is_refused_with_the_name_of_its_feature() {
    let refused = tracker_sql::DatabaseUrl::parse("mariadb://me:secret@db/name").expect_err("it is not built in");
    assert!(refused.to_string().contains("feature `mysql`"), "{refused}");
}

/// What holds for every database that several servers may share.
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod shared {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use test_servers::Database;
    use tracker_core::testing::{deployment_report, logged, new_id, server_report};
    use tracker_core::{
        Batch, Change, DeploymentId, DeploymentQuery, EventKind, Group, HostnameQuery, OutboxEntry, Outcome, Page,
        Store as _, time,
    };
    use tracker_sql::{DatabaseUrl, SqlStore};
    use uuid::Uuid;

    pub fn open(url: &str, replica: &str) -> SqlStore {
        SqlStore::open(DatabaseUrl::parse(url).expect("a URL"), replica, 1_024).expect("a store")
    }

    pub async fn commit(store: &SqlStore, change: Change) {
        store.commit(0, Arc::new(Group::new(vec![change], Arc::new([])))).await.expect("a database");
    }

    /// Owes a new batch to the output `sink`; its id.
    pub async fn enqueue(store: &SqlStore) -> Uuid {
        let batch = Arc::new(Batch::new(vec![logged(r#"{"message":"m"}"#)]));
        commit(store, Change::Enqueue(OutboxEntry { output: "sink".into(), batch: batch.clone() })).await;
        batch.id
    }

    /// What is owed to the output `sink`: ids, and whether they were taken over.
    pub async fn pending(store: &SqlStore) -> Vec<(Uuid, bool)> {
        let pending = store.pending("sink", 10).await.expect("a query");
        pending.iter().map(|pending| (pending.batch.id, pending.is_adopted)).collect()
    }

    pub async fn what_a_replica_owes_is_delivered_by_another_only_when_it_is_gone(server: &dyn Database) {
        let url = server.new_database();
        let (first, second) = (open(&url, "first"), open(&url, "second"));
        let messages = async |store: &SqlStore| store.backlog("sink").await.expect("a query").messages;
        assert_eq!((messages(&first).await, messages(&second).await), (0, 0), "both are seen from here on");
        let batch = enqueue(&first).await;
        let own = enqueue(&second).await;

        assert_eq!((messages(&first).await, messages(&second).await), (1, 1), "each counts its own");
        assert_eq!(pending(&first).await, [(batch, false)]);
        assert_eq!(pending(&second).await, [(own, false)]);
        assert_eq!(pending(&open(&url, "first")).await, [(batch, false)], "after a restart it is still its own");

        let database = url.rsplit('/').next().expect("a name");
        let owner = format!(r#"(SELECT owner FROM "Outbox" WHERE batch_id = '{batch}')"#);
        let age = format!(r#"UPDATE "Replicas" SET "seenAt" = now() - interval '1' minute WHERE replica = {owner}"#);
        server.query(database, &age).expect("the first was seen a minute ago");
        assert_eq!(messages(&second).await, 1, "the database may have been away for both");
        let begun = Instant::now();
        while messages(&second).await != 2 {
            assert!(
                begun.elapsed() < Duration::from_secs(40),
                "the second takes over, once it has been there for long"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(pending(&second).await, [(batch, true), (own, false)]);
        assert_eq!(pending(&first).await, [], "a replica that comes back leaves alone what was taken over");

        let acknowledge = async |store: &SqlStore, batches: Vec<Uuid>| {
            let group = Group::new(vec![Change::Acknowledge { output: "sink".into(), batches }], Arc::new([]));
            store.commit(0, Arc::new(group)).await.expect("a database").outcomes
        };
        // Its marker must stay: the second may deliver it yet.
        assert_eq!(acknowledge(&first, vec![batch]).await, [Outcome::Unchanged]);
        assert_eq!(messages(&second).await, 2);
        assert_eq!(acknowledge(&second, vec![batch, own]).await, [Outcome::Recorded]);
        assert_eq!((messages(&first).await, messages(&second).await), (0, 0));
    }

    pub async fn what_a_replica_leaves_behind_is_taken_over_by_one_of_the_others(server: &dyn Database) {
        // More than one statement takes.
        const MANY: u64 = 6_000;
        let url = server.new_database();
        let (gone, second, third) = (open(&url, "gone"), open(&url, "second"), open(&url, "third"));
        let changes = (0..MANY).map(|_| {
            let batch = Arc::new(Batch::new(vec![logged(r#"{"message":"m"}"#)]));
            Change::Enqueue(OutboxEntry { output: "sink".into(), batch })
        });
        gone.commit(0, Arc::new(Group::new(changes.collect(), Arc::new([])))).await.expect("a database");
        let own = enqueue(&second).await;
        let messages = async |store: &SqlStore| store.backlog("sink").await.expect("a query").messages;
        let begun = Instant::now();
        // It never said that it was there.
        let both = loop {
            let both = tokio::join!(messages(&second), messages(&third));
            if both.0 + both.1 == MANY + 1 {
                break both;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{both:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert!(both == (MANY + 1, 0) || both == (1, MANY), "{both:?}");
        let all = second.pending("sink", 10_000).await.expect("a query");
        assert_eq!(
            all.last().map(|pending| (pending.batch.id, pending.is_adopted)),
            Some((own, false)),
            "it was there"
        );
        // Whoever comes back is not taken from any more.
        assert_eq!(messages(&gone).await, 0);
        let batch = enqueue(&gone).await;
        for _ in 0..10 {
            tokio::join!(messages(&second), messages(&third));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(pending(&gone).await, [(batch, false)]);
    }

    pub async fn replicas_that_begin_together_record_the_same_reports_once(server: &dyn Database) {
        let url = server.new_database();
        let ids: Vec<_> = (0..20).map(|_| new_id()).collect();
        let replica = async |number: usize| {
            let store = open(&url, &format!("replica {number}"));
            let mut recorded = 0;
            for ids in ids.chunks(2) {
                let starts = ids.iter().map(|&id| Change::StartDeployment(deployment_report(id, r#"{"engine":"e"}"#)));
                let group = Arc::new(Group::new(starts.collect(), Arc::new([])));
                let outcomes = store.commit(number % store.lanes(), group).await.expect("a database").outcomes;
                recorded += outcomes.iter().filter(|outcome| **outcome == Outcome::Recorded).count();
            }
            recorded
        };
        let (a, b, c, d) = tokio::join!(replica(0), replica(1), replica(2), replica(3));
        assert_eq!(a + b + c + d, ids.len());
        let all = open(&url, "one more").deployments(DeploymentQuery::new(Page::first(1000))).await.expect("a query");
        assert_eq!(all.len(), ids.len());
    }

    pub async fn replicas_that_delete_together_delete_each_record_once(server: &dyn Database) {
        const MANY: u64 = 300;
        let url = server.new_database();
        let store = open(&url, "first");
        let (mut names, mut changes) = (Vec::new(), Vec::new());
        for _ in 0..MANY {
            let event = logged(r#"{"message":"m"}"#);
            let EventKind::Logged(batch) = &event.kind else { unreachable!("it is a log message") };
            let id = DeploymentId::parse(batch.deployment_id.as_str()).expect("a UUID");
            names.push(batch.deployment_id.clone());
            changes.push(Change::StartDeployment(deployment_report(id, "{}")));
            changes.push(Change::StartServer(server_report(id, r#"{"hostname":"h"}"#)));
            changes.push(Change::KeepLogs(event));
        }
        store.commit(0, Arc::new(Group::new(changes, Arc::new([])))).await.expect("a database");
        let before = time::now() + Duration::from_mins(1);
        let replica = async |number: usize| {
            let store = open(&url, &format!("replica {number}"));
            let mut deleted = 0;
            // They come upon the same records, each from its own side.
            let mut names = names.clone();
            names.rotate_left(number * 10);
            for part in names.chunks(100) {
                let part: Arc<[_]> = part.into();
                loop {
                    let rows = store.delete_older(part.clone(), before, 20).await.expect("a database").rows();
                    deleted += rows;
                    if rows < 20 {
                        break;
                    }
                }
            }
            deleted
        };
        let (a, b, c, d) = tokio::join!(replica(0), replica(1), replica(2), replica(3));
        assert_eq!(a + b + c + d, 3 * MANY, "{a} {b} {c} {d}");
        assert_eq!(store.deployments(DeploymentQuery::new(Page::first(1))).await.expect("a query"), []);
        assert_eq!(store.hostnames(HostnameQuery::new(Page::first(1))).await.expect("a query"), []);
        assert!(store.logged(None, 1).await.expect("a query").is_empty());
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::sync::Arc;

    use diesel::connection::SimpleConnection as _;
    use diesel::{Connection as _, PgConnection};
    use test_servers::{Database as _, Postgres};
    use tracker_core::testing::{self, eventually, new_id, server_report};
    use tracker_core::{Store as _, Tracker, TrackerError, UnavailableReason};

    use super::shared::{self, enqueue, open, pending};

    #[tokio::test(flavor = "multi_thread")]
    async fn postgresql_keeps_to_the_suite() {
        testing::store_suite(&open(&Postgres::shared().new_database(), "only")).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_replica_owes_is_delivered_by_another_only_when_it_is_gone() {
        shared::what_a_replica_owes_is_delivered_by_another_only_when_it_is_gone(Postgres::shared()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_replica_leaves_behind_is_taken_over_by_one_of_the_others() {
        shared::what_a_replica_leaves_behind_is_taken_over_by_one_of_the_others(Postgres::shared()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn replicas_that_begin_together_record_the_same_reports_once() {
        shared::replicas_that_begin_together_record_the_same_reports_once(Postgres::shared()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn replicas_that_delete_together_delete_each_record_once() {
        shared::replicas_that_delete_together_delete_each_record_once(Postgres::shared()).await;
    }

    /// The names of the indexes of ours that can be used.
    fn indexes(database: &str) -> String {
        let query = r#"SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            WHERE i.indisvalid AND c.relname ~ '^(Deployments|Servers)_' AND c.relname !~ 'pkey'"#;
        Postgres::shared().psql(database, query).expect("a query")
    }

    const ALL: &str = "Deployments_newest Servers_hostnames Servers_newest Servers_of_deployment";

    #[tokio::test(flavor = "multi_thread")]
    async fn the_indexes_are_made_while_it_serves_and_whatever_holds_them_up() {
        let url = Postgres::shared().new_database();
        let database = url.rsplit('/').next().expect("a name");
        let mut reporting = PgConnection::establish(&url).expect("a connection");
        reporting
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
            .expect("a transaction that stays open");
        let (first, second) = (open(&url, "first"), open(&url, "second"));
        let batch = enqueue(&first).await;
        second.backlog("sink").await.expect("the other serves, too");
        eventually("the first index is begun", async || {
            let begun = r#"SELECT count(*) FROM pg_class WHERE relname = 'Deployments_newest'"#;
            Postgres::shared().psql(database, begun).expect("a query") == "1"
        })
        .await;
        assert_eq!(indexes(database), "", "it waits for the transaction");
        assert_eq!(pending(&first).await, [(batch, false)], "nobody waits for it");
        drop((first, reporting));
        eventually("the indexes are made by the other", async || indexes(database) == ALL).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn old_columns_are_widened_when_nobody_is_in_the_way_and_nobody_waits_for_that() {
        let url = Postgres::shared().new_database();
        let database = url.rsplit('/').next().expect("a name");
        let old = r#"CREATE TABLE "Servers" (hostname VARCHAR(255) NOT NULL, deployment_id UUID NOT NULL, ip_address VARCHAR(255),
            result VARCHAR(255), elapsed_seconds INTEGER, "createdAt" TIMESTAMPTZ NOT NULL, "updatedAt" TIMESTAMPTZ NOT NULL,
            PRIMARY KEY (hostname, deployment_id)); CREATE VIEW failed AS SELECT result FROM "Servers";"#;
        Postgres::shared().psql(database, old).expect("the old table");
        let mut reporting = PgConnection::establish(&url).expect("a connection");
        reporting.batch_execute(r#"BEGIN; SELECT count(*) FROM "Servers""#).expect("a reader that takes its time");
        let store = Arc::new(open(&url, "only"));
        store.check().await.expect("it serves");
        let tracker = Tracker::builder(store).start();
        let id = new_id();
        let on_server = async |hostname: String| {
            tracker.start_server(server_report(id, &format!("{{\"hostname\":\"{hostname}\"}}"))).await
        };
        // The long one spoils neither the group nor itself for good.
        let (long, short) = tokio::join!(on_server("h".repeat(300)), on_server("h".to_owned()));
        assert_eq!((long, short), (Err(TrackerError::Unavailable(UnavailableReason::Store)), Ok(())));
        let narrow = || {
            let query = "SELECT string_agg(column_name, ' ' ORDER BY column_name) FROM information_schema.columns
                WHERE table_name = 'Servers' AND data_type = 'character varying'";
            Postgres::shared().psql(database, query).expect("a query")
        };
        assert_eq!(narrow(), "hostname ip_address result");
        drop(reporting);
        eventually("the columns are wide, but for that of the view", async || narrow() == "result").await;
        on_server("h".repeat(300)).await.expect("there is room");
        eventually("the indexes are made", async || indexes(database) == ALL).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn another_schema_keeps_its_indexes() {
        let url = Postgres::shared().new_database();
        let database = url.rsplit('/').next().expect("a name");
        open(&url, "only").check().await.expect("a database");
        eventually("the indexes are made", async || indexes(database) == ALL).await;
        let schema = r#"CREATE SCHEMA "Two"; ALTER DATABASE :"DBNAME" SET search_path = "Two", public"#;
        Postgres::shared().psql(database, &schema.replace(":\"DBNAME\"", database)).expect("a second schema");
        open(&url, "only").check().await.expect("a database");
        let twice = ALL.split(' ').flat_map(|name| [name, name]).collect::<Vec<_>>().join(" ");
        eventually("both have theirs", async || indexes(database) == twice).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_index_that_was_interrupted_is_made_anew() {
        let url = Postgres::shared().new_database();
        let database = url.rsplit('/').next().expect("a name");
        open(&url, "only").check().await.expect("a database");
        eventually("the indexes are made", async || indexes(database) == ALL).await;
        let interrupt = r#"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '"Servers_newest"'::regclass;
            DROP INDEX "Deployments_newest""#;
        Postgres::shared().psql(database, interrupt).expect("a superuser");
        let store = open(&url, "only");
        store.check().await.expect("a database");
        eventually("the indexes are made", async || indexes(database) == ALL).await;
    }
}

#[cfg(feature = "mysql")]
mod mysql {
    use std::sync::Arc;

    use diesel::connection::SimpleConnection as _;
    use diesel::{Connection as _, MysqlConnection};
    use test_servers::{Database as _, Mariadb};
    use tracker_core::testing::{self, logged, new_id, server_report};
    use tracker_core::{Change, Group, Outcome, Store as _, StoreError};
    use tracker_sql::DatabaseUrl;

    use super::shared::{self, open};

    #[tokio::test(flavor = "multi_thread")]
    async fn mariadb_keeps_to_the_suite() {
        testing::store_suite(&open(&Mariadb::shared().new_database(), "only")).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_replica_owes_is_delivered_by_another_only_when_it_is_gone() {
        shared::what_a_replica_owes_is_delivered_by_another_only_when_it_is_gone(Mariadb::shared()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_replica_leaves_behind_is_taken_over_by_one_of_the_others() {
        shared::what_a_replica_leaves_behind_is_taken_over_by_one_of_the_others(Mariadb::shared()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn replicas_that_begin_together_record_the_same_reports_once() {
        shared::replicas_that_begin_together_record_the_same_reports_once(Mariadb::shared()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn replicas_that_delete_together_delete_each_record_once() {
        shared::replicas_that_delete_together_delete_each_record_once(Mariadb::shared()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_report_waits_for_nobody_but_its_own_record() {
        let url = Mariadb::shared().new_database();
        let store = open(&url, "only");
        let id = new_id();
        let report = async |body: &str| {
            let change = Change::StartServer(server_report(id, body));
            store.commit(0, Arc::new(Group::new(vec![change], Arc::new([])))).await.map(|done| done.outcomes)
        };
        assert_eq!(report(r#"{"hostname":"a"}"#).await.expect("a database"), [Outcome::Recorded]);
        assert_eq!(report(r#"{"hostname":"c"}"#).await.expect("a database"), [Outcome::Recorded]);
        let mut other = MysqlConnection::establish(&url).expect("a connection");
        let hold = "BEGIN; SELECT * FROM Servers WHERE hostname IN ('a', 'c') FOR UPDATE";
        other.batch_execute(&format!("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; {hold}")).expect("locks");
        assert_eq!(report(r#"{"hostname":"b"}"#).await.expect("no lock"), [Outcome::Recorded]);
        assert_eq!(report(r#"{"hostname":"b"}"#).await.expect("no lock"), [Outcome::Unchanged]);
        assert!(matches!(report(r#"{"hostname":"a"}"#).await, Err(StoreError::Unavailable(_))), "the lock is there");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn replicas_that_record_different_servers_of_one_deployment_do_not_lock_each_other_out() {
        let mut mariadb = Mariadb::absent();
        mariadb.start();
        let url = mariadb.new_database();
        let ids: Vec<_> = (0..50).map(|_| new_id()).collect();
        let replica = async |name: &str| {
            let store = open(&url, name);
            for round in 0..20 {
                let body = format!(r#"{{"hostname":"{name} {round}"}}"#);
                let starts = ids.iter().map(|&id| Change::StartServer(server_report(id, &body))).collect();
                store.commit(0, Arc::new(Group::new(starts, Arc::new([])))).await.expect("a database");
            }
        };
        tokio::join!(replica("a"), replica("b"), replica("c"), replica("d"));
        let deadlocks = mariadb.query("test", "SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'").expect("a query");
        assert_eq!(deadlocks, "Innodb_deadlocks\t0");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_too_large_for_the_server_is_refused_and_the_next_is_not() {
        let store = open(&Mariadb::shared().new_database(), "only");
        let keep = async |size: usize| {
            let event = logged(&format!(r#"{{"message":"{}"}}"#, "x".repeat(size)));
            let group = Group::new(vec![Change::KeepLogs(event)], Arc::new([]));
            store.commit(0, Arc::new(group)).await.map(|done| done.outcomes)
        };
        let refused = keep(16 << 20).await.expect_err("more than `max_allowed_packet`");
        assert!(matches!(refused, StoreError::Rejected(_)), "{refused:?}");
        assert!(matches!(keep(200 << 20).await, Err(StoreError::Rejected(_))));
        assert_eq!(keep(10 << 20).await.expect("it fits"), [Outcome::Recorded]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tls_is_never_left_out_in_silence() {
        let url = Mariadb::shared().new_database();
        let refused = DatabaseUrl::parse(&format!("{url}?ssl_mode=required")).expect_err("it would not be followed");
        assert!(refused.to_string().contains("ssl_ca"), "{refused}");
        let store = open(&format!("{url}?ssl_ca=/etc/ssl/certs/ca-certificates.crt"), "only");
        let error = store.check().await.expect_err("the server has no certificate");
        assert!(format!("{error:?}").contains("TLS"), "{error:?}");
    }

    #[test]
    fn a_url_names_its_database_and_shows_no_password() {
        let url = DatabaseUrl::parse("mariadb://me:secret@db:3307/name?unix_socket=/s").expect("a URL");
        assert_eq!(url.to_string(), "mysql://db:3307/name");
        for url in ["mysql://me@db", "mysql://me@db/", "mysql://me@db/?unix_socket=/s", "mysql:name"] {
            assert!(DatabaseUrl::parse(url).is_err(), "{url}");
        }
    }
}
