//! The stores against the suite, on a real file and a real PostgreSQL.

#[cfg(feature = "sqlite")]
mod sqlite {
    use tracker_core::{Store as _, testing};
    use tracker_sql::{DatabaseUrl, SqlStore};

    fn open(folder: &tempfile::TempDir) -> SqlStore {
        let path = folder.path().join("data.sqlite3");
        SqlStore::open(DatabaseUrl::parse(&path.display().to_string()).expect("a path"), "").expect("a database")
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
        assert!(SqlStore::open(DatabaseUrl::parse(&path.display().to_string()).expect("a path"), "").is_err());
        let nowhere = folder.path().join("no/such/folder.sqlite3");
        assert!(SqlStore::open(DatabaseUrl::parse(&nowhere.display().to_string()).expect("a path"), "").is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn several_processes_may_open_one_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (open(&folder), open(&folder));
        first.check().await.expect("the first");
        second.check().await.expect("the second");
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::sync::Arc;

    use diesel::connection::SimpleConnection as _;
    use diesel::{Connection as _, PgConnection};
    use test_servers::Postgres;
    use tracker_core::testing::{self, eventually, logged};
    use tracker_core::{Batch, Change, Group, Owed, Store};
    use tracker_sql::{DatabaseUrl, SqlStore};
    use uuid::Uuid;

    fn open(url: &str, replica: &str) -> SqlStore {
        SqlStore::open(DatabaseUrl::parse(url).expect("a URL"), replica).expect("a store")
    }

    async fn commit(store: &SqlStore, change: Change) {
        store.commit(0, Arc::new(Group::new(vec![change], Arc::new([])))).await.expect("a database");
    }

    /// Owes a new batch to the output `sink`; its id.
    async fn owe(store: &SqlStore) -> Uuid {
        let batch = Arc::new(Batch::new(vec![logged(r#"{"message":"m"}"#)]));
        commit(store, Change::Owe(Owed { output: "sink".into(), batch: batch.clone() })).await;
        batch.id
    }

    /// What is owed to the output `sink`: ids, and whether they were taken over.
    async fn owed(store: &SqlStore) -> Vec<(Uuid, bool)> {
        let owed = store.owed("sink", 10).await.expect("a query");
        owed.iter().map(|owed| (owed.batch.id, owed.is_taken_over)).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn postgresql_keeps_to_the_suite() {
        testing::store_suite(&open(&Postgres::shared().new_database(), "only")).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_replica_owes_is_delivered_by_another_only_when_it_is_gone() {
        let url = Postgres::shared().new_database();
        let (first, second) = (open(&url, "first"), open(&url, "second"));
        let messages = async |store: &SqlStore| store.take_stock("sink").await.expect("a query").messages;
        assert_eq!((messages(&first).await, messages(&second).await), (0, 0), "both are seen from here on");
        let batch = owe(&first).await;
        let own = owe(&second).await;

        assert_eq!((messages(&first).await, messages(&second).await), (1, 1), "each counts its own");
        assert_eq!(owed(&first).await, [(batch, false)]);
        assert_eq!(owed(&second).await, [(own, false)]);
        assert_eq!(owed(&open(&url, "first")).await, [(batch, false)], "after a restart it is still its own");

        let database = url.rsplit('/').next().expect("a name");
        let owner = format!(r#"(SELECT owner FROM "Outbox" WHERE batch_id = '{batch}')"#);
        let age = format!(r#"UPDATE "Replicas" SET "seenAt" = now() - interval '1 min' WHERE replica = {owner}"#);
        Postgres::shared().psql(database, &age).expect("the first was seen a minute ago");
        assert_eq!(messages(&second).await, 1, "what is new is left to a replica that may be starting");
        let old = format!(r#"UPDATE "Outbox" SET "createdAt" = now() - interval '1 min' WHERE batch_id = '{batch}'"#);
        Postgres::shared().psql(database, &old).expect("it is owed for a minute");
        eventually("the second takes over", async || messages(&second).await == 2).await;
        assert_eq!(owed(&second).await, [(batch, true), (own, false)]);
        assert_eq!(owed(&first).await, [], "a replica that comes back leaves alone what was taken over");

        commit(&second, Change::Settle { output: "sink".into(), batches: vec![batch, own] }).await;
        assert_eq!((messages(&first).await, messages(&second).await), (0, 0));
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
        let batch = owe(&first).await;
        second.take_stock("sink").await.expect("the other serves, too");
        eventually("the first index is begun", async || {
            let begun = r#"SELECT count(*) FROM pg_class WHERE relname = 'Deployments_newest'"#;
            Postgres::shared().psql(database, begun).expect("a query") == "1"
        })
        .await;
        assert_eq!(indexes(database), "", "it waits for the transaction");
        assert_eq!(owed(&first).await, [(batch, false)], "nobody waits for it");
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
        let store = open(&url, "only");
        store.check().await.expect("it serves");
        let narrow = || {
            let query = "SELECT string_agg(column_name, ' ' ORDER BY column_name) FROM information_schema.columns
                WHERE table_name = 'Servers' AND data_type = 'character varying'";
            Postgres::shared().psql(database, query).expect("a query")
        };
        assert_eq!(narrow(), "hostname ip_address result");
        drop(reporting);
        eventually("the columns are wide, but for that of the view", async || narrow() == "result").await;
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
