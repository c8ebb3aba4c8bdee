//! Reports that a database refuses: what the store says about them, and that others are recorded.

#[cfg(any(feature = "postgres", feature = "mysql"))]
use test_servers::Database;
#[cfg(feature = "postgres")]
use tracker_core::testing::server_report;
use tracker_core::testing::{deployment_report, new_id};
use tracker_core::{Change, FieldClue, Outcome, RejectReason, Store as _, StoreError};
use tracker_sql::SqlStore;

use super::{commit, open, try_commit};

fn start(body: &str) -> Change {
    Change::StartDeployment(deployment_report(new_id(), body))
}

async fn rejection(store: &SqlStore, change: Change) -> (RejectReason, FieldClue) {
    match try_commit(store, vec![change.clone()]).await {
        Err(StoreError::Rejected { reason, clue, .. }) => (reason, clue),
        other => panic!("{change:?} is not rejected: {other:?}"),
    }
}

#[cfg(any(feature = "sqlite", feature = "mysql"))]
fn column(name: &str) -> FieldClue {
    FieldClue::Column(name.to_owned())
}

/// Asserts that the store rejects each report for its reason, and a group that contains it as a whole, and then
/// records a good report.
async fn are_rejected(store: &SqlStore, cases: Vec<(&str, (RejectReason, FieldClue))>) {
    for (body, expected) in cases {
        assert_eq!(rejection(store, start(body)).await, expected, "{body}");
        let group = try_commit(store, vec![start(r#"{"user":"good"}"#), start(body)]).await;
        assert!(
            matches!(group, Err(StoreError::Rejected { .. } | StoreError::Unexpected(_))),
            "the caller splits the group: {group:?}"
        );
        assert_eq!(
            commit(store, vec![start(r#"{"user":"good"}"#)]).await.outcomes,
            [Outcome::Recorded],
            "after {body}"
        );
    }
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_rejects_a_report_with_the_reason() {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;

    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("data.sqlite3").display().to_string();
    let store = open(&path, "");
    let mut other = diesel::SqliteConnection::establish(&path).expect("connection");
    other
        .batch_execute(
            r#"PRAGMA busy_timeout = 5000;
            CREATE UNIQUE INDEX one_version ON "Deployments" (version);
            CREATE TRIGGER no_friday BEFORE INSERT ON "Deployments" WHEN NEW.environment = 'friday'
                BEGIN SELECT RAISE(ABORT, 'not on a friday'); END;
            CREATE TRIGGER needs_user BEFORE INSERT ON "Deployments" WHEN NEW."user" IS NULL
                BEGIN SELECT RAISE(ABORT, 'who are you?'); END"#,
        )
        .expect("rules");
    commit(&store, vec![start(r#"{"user":"a","version":"1"}"#)]).await;
    let cases = vec![
        (r#"{"user":"a","version":"1"}"#, (RejectReason::Constraint, column("version"))),
        (r#"{"user":"a","environment":"friday"}"#, (RejectReason::Rule, FieldClue::Nothing)),
        ("{}", (RejectReason::Rule, FieldClue::Nothing)),
    ];
    are_rejected(&store, cases).await;
    other
        .batch_execute(
            r#"CREATE TRIGGER frozen BEFORE INSERT ON "Deployments" BEGIN SELECT RAISE(ABORT, 'database is frozen'); END"#,
        )
        .expect("rule");
    let failed = try_commit(&store, vec![start(r#"{"user":"a"}"#)]).await;
    assert!(matches!(failed, Err(StoreError::Unexpected(_))), "no other report is accepted: {failed:?}");
    let names = store.logged(None, 10).await.expect("query");
    assert!(names.is_empty(), "no trial message remains: {names:?}");
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_rejects_a_report_with_the_reason() {
    let server = test_servers::Postgres::shared();
    let url = server.new_database();
    let name = url.rsplit('/').next().expect("the URL ends in the name");
    let store = open(&url, "only");
    store.check(0, 0).await.expect("the tables exist");
    super::postgres::eventually_has_all_indexes(name).await;
    server
        .query(
            name,
            r#"ALTER TABLE "Deployments" ADD CHECK (engine <> 'bad'), ADD UNIQUE (version),
                ALTER elapsed_seconds TYPE smallint;
            CREATE TABLE engines (engine text PRIMARY KEY);
            ALTER TABLE "Deployments" ADD FOREIGN KEY (package) REFERENCES engines;
            CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'not on a friday, %', NEW."user"; END $$;
            CREATE TRIGGER no_friday BEFORE INSERT ON "Deployments" FOR EACH ROW WHEN (NEW.environment = 'friday')
                EXECUTE FUNCTION forbid();
            CREATE CONSTRAINT TRIGGER late AFTER INSERT ON "Deployments" DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW WHEN (NEW.environment = 'late') EXECUTE FUNCTION forbid();
            CREATE FUNCTION required() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE null_value_not_allowed USING COLUMN = 'user'; END $$;
            CREATE TRIGGER needs_user BEFORE INSERT ON "Deployments" FOR EACH ROW WHEN (NEW."user" IS NULL)
                EXECUTE FUNCTION required();
            CREATE TABLE releases (name text PRIMARY KEY);
            INSERT INTO releases VALUES ('released');
            CREATE FUNCTION release() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO releases VALUES (NEW.environment); RETURN NEW; END $$;
            CREATE TRIGGER releases BEFORE INSERT ON "Deployments" FOR EACH ROW WHEN (NEW.environment = 'released')
                EXECUTE FUNCTION release();
            CREATE FUNCTION connection() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN NEW.arguments = pg_backend_pid(); RETURN NEW; END $$;
            CREATE TRIGGER connection BEFORE INSERT ON "Deployments" FOR EACH ROW EXECUTE FUNCTION connection();
            CREATE SEQUENCE tries;
            CREATE FUNCTION flaky() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN IF nextval('tries') < 2 THEN RAISE EXCEPTION 'a quirk'; END IF; RETURN NEW; END $$;
            CREATE TRIGGER flaky BEFORE INSERT ON "Deployments" FOR EACH ROW WHEN (NEW.environment = 'flaky')
                EXECUTE FUNCTION flaky();
            ALTER TABLE "Deployments" ADD CONSTRAINT later UNIQUE (host) DEFERRABLE INITIALLY DEFERRED"#,
        )
        .expect("rules");
    commit(&store, vec![start(r#"{"user":"a","version":"1","host":"h"}"#)]).await;
    let cases = vec![
        (r#"{"user":"a","engine":"bad"}"#, (RejectReason::Constraint, FieldClue::Nothing)),
        (r#"{"user":"a","version":"1"}"#, (RejectReason::Constraint, FieldClue::Nothing)),
        (r#"{"user":"a","host":"h"}"#, (RejectReason::Constraint, FieldClue::Nothing)),
        (r#"{"user":"a","package":"unknown"}"#, (RejectReason::Constraint, FieldClue::Nothing)),
        (r#"{"user":"a","environment":"released"}"#, (RejectReason::Constraint, FieldClue::Nothing)),
        (r#"{"user":"a","elapsed_seconds":100000}"#, (RejectReason::Invalid, FieldClue::Nothing)),
    ];
    are_rejected(&store, cases).await;
    server.query(name, r#"ALTER TABLE "Deployments" DROP CONSTRAINT "Deployments_package_fkey""#).expect("dropped");
    let cases = vec![
        (r#"{"user":"a","environment":"friday"}"#, (RejectReason::Rule, FieldClue::Nothing)),
        ("{}", (RejectReason::Rule, FieldClue::Nothing)),
    ];
    are_rejected(&store, cases).await;
    let connections = server.query(name, r#"SELECT count(DISTINCT arguments) FROM "Deployments""#);
    assert_eq!(connections, Ok("1".into()), "a rule costs no connection");
    let flaky = commit(&store, vec![start(r#"{"user":"a","environment":"flaky"}"#)]).await;
    assert_eq!(flaky.outcomes, [Outcome::Recorded], "an unknown error that does not recur is no rejection");
    let late = try_commit(&store, vec![start(r#"{"user":"a","environment":"late"}"#)]).await;
    assert!(matches!(late, Err(StoreError::Unknown(_))), "an unknown error at COMMIT is in doubt: {late:?}");

    let revoke = format!(
        "CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader; \
        ALTER DATABASE {name} SET role = reader"
    );
    server.query(name, &revoke).expect("a role that may only read");
    let readonly = open(&url, "another");
    let denied = try_commit(&readonly, vec![start(r#"{"user":"a"}"#)]).await;
    assert!(matches!(denied, Err(StoreError::Unavailable(_))), "{denied:?}");
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_error_is_no_rejection_if_the_records_of_the_report_cannot_be_read() {
    let server = test_servers::Postgres::shared();
    let url = server.new_database();
    let name = url.rsplit('/').next().expect("the URL ends in the name");
    let store = open(&url, "only");
    store.check(0, 0).await.expect("the tables exist");
    super::postgres::eventually_has_all_indexes(name).await;
    let [damaged, sound] = [(); 2].map(|()| new_id());
    for id in [damaged, sound] {
        commit(&store, vec![Change::StartDeployment(deployment_report(id, r#"{"user":"a"}"#))]).await;
    }
    let damage = format!(
        r#"CREATE ROLE damaged_{name} LOGIN; GRANT ALL ON SCHEMA public TO damaged_{name};
        GRANT ALL ON ALL TABLES IN SCHEMA public TO damaged_{name};
        CREATE FUNCTION reads(uuid) RETURNS boolean LANGUAGE plpgsql AS
            $$ BEGIN IF $1 = '{damaged}' THEN RAISE EXCEPTION 'a cosmic ray'; END IF; RETURN true; END $$;
        ALTER TABLE "Deployments" ENABLE ROW LEVEL SECURITY;
        CREATE POLICY damage ON "Deployments" USING (reads(deployment_id)) WITH CHECK (true);
        ALTER DATABASE {name} SET role = damaged_{name}"#
    );
    server.query(name, &damage).expect("a row that cannot be read");
    let store = open(&url, "another");
    let finish = |id| vec![Change::FinishDeployment(deployment_report(id, r#"{"result":"success"}"#))];
    let failed = try_commit(&store, finish(damaged)).await;
    assert!(matches!(failed, Err(StoreError::Unexpected(_))), "{failed:?}");
    assert_eq!(commit(&store, finish(sound)).await.outcomes, [Outcome::Recorded]);
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn a_finish_satisfies_constraints_on_columns_that_it_does_not_change() {
    let server = test_servers::Postgres::shared();
    let url = server.new_database();
    let name = url.rsplit('/').next().expect("the URL ends in the name");
    let store = open(&url, "only");
    store.check(0, 0).await.expect("the tables exist");
    super::postgres::eventually_has_all_indexes(name).await;
    let rules = r#"ALTER TABLE "Deployments" ADD CHECK ("user" IS NOT NULL), ALTER engine SET NOT NULL;
        ALTER TABLE "Servers" ADD CHECK (ip_address <> ''), ALTER ip_address SET NOT NULL"#;
    server.query(name, rules).expect("rules");
    let id = new_id();
    let deployment = |body| deployment_report(id, body);
    let on_server = |body| server_report(id, body);
    let reports = [
        Change::StartDeployment(deployment(r#"{"user":"a","engine":"e"}"#)),
        Change::StartServer(on_server(r#"{"hostname":"h","ip_address":"::1"}"#)),
        Change::FinishServer(on_server(r#"{"hostname":"h","result":"success","elapsed_seconds":1}"#)),
        Change::FinishDeployment(deployment(r#"{"result":"success","elapsed_seconds":2}"#)),
    ];
    for report in reports {
        assert_eq!(commit(&store, vec![report.clone()]).await.outcomes, [Outcome::Recorded], "{report:?}");
    }
    let rows = r#"SELECT d."user", engine, d.result, d.elapsed_seconds, ip_address, s.result, s.elapsed_seconds
        FROM "Deployments" d, "Servers" s"#;
    assert_eq!(server.query(name, rows), Ok("a|e|success|2|::1|success|1".into()));
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_retries_a_serialization_failure_at_commit() {
    let server = test_servers::Postgres::shared();
    let url = server.new_database();
    let name = url.rsplit('/').next().expect("the URL ends in the name");
    let store = open(&url, "only");
    store.check(0, 0).await.expect("the tables exist");
    super::postgres::eventually_has_all_indexes(name).await;
    server
        .query(
            name,
            r#"CREATE SEQUENCE commits;
            CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF nextval('commits') < 3 THEN RAISE serialization_failure; END IF; RETURN NEW; END $$;
            CREATE CONSTRAINT TRIGGER conflicts AFTER INSERT ON "Deployments" DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION conflict()"#,
        )
        .expect("a trigger that fails twice at COMMIT");
    assert_eq!(commit(&store, vec![start("{}")]).await.outcomes, [Outcome::Recorded]);
    assert_eq!(server.query(name, r#"SELECT count(*), nextval('commits') FROM "Deployments""#), Ok("1|4".into()));
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_no_longer_fits_is_rejected_once_no_column_will_be_widened() {
    let server = test_servers::Postgres::shared();
    let url = server.new_database();
    let name = url.rsplit('/').next().expect("the URL ends in the name");
    let old_table = r#"CREATE TABLE "Servers" (hostname VARCHAR(255) NOT NULL, deployment_id UUID NOT NULL,
        ip_address VARCHAR(255), result VARCHAR(255), elapsed_seconds INTEGER,
        "createdAt" TIMESTAMPTZ NOT NULL, "updatedAt" TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (hostname, deployment_id)); CREATE VIEW addresses AS SELECT ip_address FROM "Servers";"#;
    server.query(name, old_table).expect("tables of the Node.js service");
    let store = open(&url, "only");
    store.check(0, 0).await.expect("the store serves");
    let long = format!(r#"{{"hostname":"h","ip_address":"{}"}}"#, "x".repeat(256));
    let expected = (RejectReason::TooLong, FieldClue::LongerThan(255));
    assert_eq!(rejection(&store, Change::StartServer(server_report(new_id(), &long))).await, expected);
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread")]
async fn mariadb_rejects_a_report_with_the_reason() {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;

    let url = test_servers::Mariadb::shared().new_database();
    let store = open(&url, "only");
    store.check(0, 0).await.expect("the tables exist");
    diesel::MysqlConnection::establish(&url)
        .expect("connection")
        .batch_execute(
            "ALTER TABLE Deployments ADD CONSTRAINT good CHECK (engine <> 'bad'), MODIFY host VARCHAR(10),
                MODIFY elapsed_seconds SMALLINT, MODIFY package TEXT CHARACTER SET latin1,
                MODIFY package_url TEXT CHARACTER SET utf8mb3, ADD UNIQUE one_version (version(20));
            CREATE TRIGGER rules BEFORE INSERT ON Deployments FOR EACH ROW BEGIN
                IF NEW.environment = 'friday' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not on a friday'; END IF;
                IF NEW.user IS NULL THEN SIGNAL SQLSTATE '45001' SET MESSAGE_TEXT = 'who are you?'; END IF;
            END",
        )
        .expect("rules");
    commit(&store, vec![start(r#"{"user":"a","version":"1"}"#)]).await;
    let cases = vec![
        (r#"{"user":"a","engine":"bad"}"#, (RejectReason::Constraint, column("good"))),
        (r#"{"user":"a","version":"1"}"#, (RejectReason::Constraint, FieldClue::Nothing)),
        (r#"{"user":"a","host":"a-long-hostname"}"#, (RejectReason::TooLong, column("host"))),
        (r#"{"user":"a","elapsed_seconds":100000}"#, (RejectReason::Invalid, column("elapsed_seconds"))),
        (r#"{"user":"a","package":"p 🚀"}"#, (RejectReason::Encoding, column("package"))),
        (r#"{"user":"a","package_url":"p 🚀"}"#, (RejectReason::Encoding, column("package_url"))),
        (r#"{"user":"a","environment":"friday"}"#, (RejectReason::Rule, FieldClue::Nothing)),
        ("{}", (RejectReason::Rule, FieldClue::Nothing)),
    ];
    are_rejected(&store, cases).await;
}
