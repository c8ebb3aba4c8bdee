//! Provokes every known error on a real database.

use diesel::connection::SimpleConnection;

use super::class::{Errors, text_of};
use super::*;

mod faults;

/// Asserts that the provoked `errors` match the texts of `table`, each one its own, and that no text is left over.
fn assert_all_are_recognized(table: &'static Errors, provoked: Vec<(&str, QueryError)>) {
    let mut missing: Vec<_> = table.iter().map(|(text, _)| *text).collect();
    for (expected, error) in provoked {
        let QueryError::DatabaseError(_, about) = &error else { panic!("{expected}: {error:?}") };
        assert_eq!(text_of(table, about.message()), Some(expected), "{}", about.message());
        missing.retain(|text| *text != expected);
    }
    assert!(missing.is_empty(), "not provoked: {missing:#?}");
}

fn fail(connection: &mut impl SimpleConnection, text: &'static str, statement: &str) -> (&'static str, QueryError) {
    (text, connection.batch_execute(statement).expect_err(statement))
}

/// An error that a test cannot provoke without a full disk, damaged files, other settings or a cluster.
fn raised(table: &'static Errors, message: &str) -> (&'static str, QueryError) {
    let kind = diesel::result::DatabaseErrorKind::Unknown;
    let text = text_of(table, message).unwrap_or_else(|| panic!("not recognized: {message}"));
    (text, QueryError::DatabaseError(kind, Box::new(message.to_owned())))
}

/// The same for an error that is the fault of the database.
fn fault(table: &'static Errors, message: &str) -> (&'static str, QueryError) {
    let (text, error) = raised(table, message);
    match DbError::Query(error).classified(table) {
        DbError::Away(error) => (text, error),
        other => panic!("{message}: {other:?}"),
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_errors_are_recognized() {
    use std::fs;

    use diesel::Connection as _;

    use crate::sqlite::Connection;

    let folder = tempfile::tempdir().expect("temporary folder");
    let open = |name: &str| Connection::establish(folder.path().join(name).to_str().expect("UTF-8"));
    let mut connection = open("data").expect("connection");
    let tables = "PRAGMA foreign_keys = ON;
        CREATE TABLE t (n TEXT NOT NULL DEFAULT '', u TEXT UNIQUE, c TEXT CONSTRAINT short CHECK (length(c) < 3),
            f INTEGER REFERENCES r, PRIMARY KEY (u));
        CREATE TABLE r (id INTEGER PRIMARY KEY);
        CREATE TABLE s (i INTEGER) STRICT;
        INSERT INTO t (u) VALUES ('a')";
    connection.batch_execute(tables).expect("tables");
    let mut provoked: Vec<_> = [
        ("UNIQUE constraint failed: {}", "INSERT INTO t (u) VALUES ('a')"),
        ("NOT NULL constraint failed: {}", "INSERT INTO t (n) VALUES (NULL)"),
        ("CHECK constraint failed: {}", "INSERT INTO t (c) VALUES ('long')"),
        ("FOREIGN KEY constraint failed", "INSERT INTO t (f) VALUES (1)"),
        ("cannot store * value in * column {}", "INSERT INTO s VALUES ('text')"),
        ("datatype mismatch", "INSERT INTO r VALUES ('text')"),
        ("string or blob too big", "INSERT INTO t (n) VALUES (zeroblob(2000000000))"),
        ("no such table: *", "SELECT * FROM missing"),
        ("no such column: *", "SELECT missing FROM t"),
        ("no such function: *", "SELECT missing()"),
        ("table * has no column named *", "INSERT INTO t (missing) VALUES (1)"),
        ("attempt to write a readonly database", "PRAGMA query_only = 1; INSERT INTO r VALUES (9)"),
        ("database or disk is full", "PRAGMA query_only = 0; PRAGMA max_page_count = 1; CREATE TABLE full (a)"),
    ]
    .into_iter()
    .map(|(text, statement)| fail(&mut connection, text, statement))
    .collect();

    let mut writer = open("data").expect("connection");
    writer.batch_execute("BEGIN IMMEDIATE").expect("the write lock");
    provoked.push(fail(&mut connection, "database is locked", "DELETE FROM r"));
    drop(writer);
    // Connections that share a cache lock tables.
    let shared = || Connection::establish("file:shared?mode=memory&cache=shared").expect("connection");
    let (mut first, mut second) = (shared(), shared());
    first.batch_execute("CREATE TABLE t (a); BEGIN; INSERT INTO t VALUES (1)").expect("a table lock");
    provoked.push(fail(&mut second, "database table is locked*", "SELECT * FROM t"));

    let mut damaged = |name: &str, text, change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = open(name).expect("connection");
        file.batch_execute("CREATE TABLE t (a); INSERT INTO t VALUES (1)").expect("table");
        drop(file);
        let path = folder.path().join(name);
        let mut bytes = fs::read(&path).expect("file");
        change(&mut bytes);
        fs::write(&path, bytes).expect("file");
        provoked.push(fail(&mut open(name).expect("connection"), text, "SELECT * FROM t"));
    };
    damaged("page", "database disk image is malformed", &|bytes| bytes[4096..].fill(0xff));
    damaged("schema", "malformed database schema *", &|bytes| {
        let at = bytes.windows(7).position(|window| window == b"TABLE t").expect("the schema is in the file");
        bytes[at..at + 7].copy_from_slice(b"TUBLE t");
    });
    damaged("header", "file is not a database", &|bytes| bytes[..16].fill(b'x'));

    // A file that can be opened but not read at its start.
    let Err(diesel::ConnectionError::BadConnection(message)) = Connection::establish("/proc/self/mem") else {
        panic!("the file can be opened, but its first page cannot be read")
    };
    provoked.push(raised(sqlite::ERRORS, &message));
    let attach = format!("ATTACH '{}' AS folder", folder.path().display());
    provoked.push(fail(&mut open("other").expect("connection"), "unable to open database*", &attach));
    provoked.extend(faults::SQLITE.iter().map(|message| fault(sqlite::ERRORS, message)));
    assert_all_are_recognized(sqlite::ERRORS, provoked);
}

#[cfg(feature = "postgres")]
#[test]
fn postgresql_errors_are_recognized() {
    use std::thread;

    use diesel::Connection as _;
    use test_servers::{Database as _, Postgres};

    use crate::database_server::postgres::Connection;

    let server = Postgres::shared();
    let url = server.new_database();
    let open = || Connection::establish(&url).expect("connection");
    let mut connection = open();
    let tables = "CREATE TABLE t (v varchar(2), c char(2), s smallint, x text, p text, ip inet,
            g int GENERATED ALWAYS AS (1) STORED);
        ALTER TABLE t ALTER p SET STORAGE PLAIN;
        CREATE INDEX ON t (x);
        INSERT INTO t (x) VALUES ('a')";
    connection.batch_execute(tables).expect("tables");
    let long = |bytes: u32| format!("(SELECT string_agg(md5(i::text), '') FROM generate_series(1, {bytes} / 32) i)");
    let mut provoked: Vec<_> = [
        ("value too long for type character varying({})", "INSERT INTO t (v) VALUES ('abc')"),
        ("value too long for type character({})", "INSERT INTO t (c) VALUES ('abc')"),
        ("invalid byte sequence for encoding *", r"SELECT convert_from('\xff', 'UTF8')"),
        ("smallint out of range", "INSERT INTO t (s) VALUES (100000)"),
        ("integer out of range", "SELECT 2147483647 + 1"),
        (r#"value "*" is out of range for type *"#, "SELECT '99999999999'::int"),
        ("invalid input syntax for type *", "SELECT 'a'::int"),
        ("index row size * exceeds *maximum * for index *", &format!("INSERT INTO t (x) VALUES ({})", long(6_400))),
        ("index row requires * bytes, maximum size is *", &format!("INSERT INTO t (x) VALUES ({})", long(64_000))),
        ("row is too big: size *, maximum size *", &format!("INSERT INTO t (p) VALUES ({})", long(10_000))),
        ("permission denied for *", "SET ROLE pg_monitor; SELECT * FROM pg_authid"),
        ("must be owner of *", "SET ROLE pg_monitor; ALTER TABLE t ADD z int"),
        ("relation * does not exist", "SELECT * FROM missing"),
        ("column * does not exist", "SELECT missing FROM t"),
        ("function * does not exist", "SELECT missing()"),
        ("column * is of type * but expression is of type *", "INSERT INTO t (ip) SELECT x FROM t"),
        ("cannot insert a non-DEFAULT value into column *", "INSERT INTO t (g) VALUES (2)"),
        ("canceling statement due to *", "SET statement_timeout = 10; SELECT pg_sleep(10)"),
        ("cached plan must not change result type", "PREPARE p AS SELECT * FROM t; ALTER TABLE t ADD y int; EXECUTE p"),
    ]
    .into_iter()
    .map(|(text, statement)| fail(&mut connection, text, statement))
    .collect();

    let mut holder = open();
    holder.batch_execute("BEGIN; SELECT * FROM t FOR UPDATE").expect("row locks");
    provoked.push(fail(&mut connection, "could not obtain lock on *", "SELECT * FROM t FOR UPDATE NOWAIT"));
    holder.batch_execute("ROLLBACK; SET deadlock_timeout = '1min'; SELECT pg_advisory_lock(1)").expect("first lock");
    connection.batch_execute("SET deadlock_timeout = '10ms'; SELECT pg_advisory_lock(2)").expect("second lock");
    let waiting = thread::spawn(move || holder.batch_execute("SELECT pg_advisory_lock(2)"));
    test_servers::eventually("the first connection waits", || {
        let query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND objid = 2";
        server.psql(url.rsplit('/').next().expect("name"), query) == Ok("1".to_owned())
    });
    provoked.push(fail(&mut connection, "deadlock detected", "SELECT pg_advisory_lock(1)"));
    connection.batch_execute("SELECT pg_advisory_unlock_all()").expect("unlock");
    waiting.join().expect("no panic").expect("the other connection gets its lock");

    server.psql("postgres", "CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").expect("created");
    let mut latin = Connection::establish(&server.url("latin1")).expect("connection");
    let text = r#"character with byte sequence {} in encoding "UTF8" has no equivalent in encoding *"#;
    let lacks = fail(&mut latin, text, "SELECT '\u{1F680}'");
    let error = DbError::Query(QueryError::DatabaseError(
        diesel::result::DatabaseErrorKind::Unknown,
        Box::new(about(&lacks.1)),
    ));
    let DbError::Rejected { reason, clue, .. } = error.classified(postgres::ERRORS) else { panic!("not rejected") };
    assert_eq!((reason, clue), (RejectReason::Encoding, FieldClue::Character('\u{1F680}')));
    provoked.push(lacks);

    provoked.extend(faults::POSTGRES.iter().map(|message| fault(postgres::ERRORS, message)));
    let end = "SELECT pg_terminate_backend(pg_backend_pid())";
    provoked.push(fail(&mut connection, "server closed the connection unexpectedly*", end));
    assert_all_are_recognized(postgres::ERRORS, provoked);
}

/// A copy of what an error says.
#[cfg(feature = "postgres")]
fn about(error: &QueryError) -> String {
    let QueryError::DatabaseError(_, about) = error else { panic!("{error:?}") };
    about.message().to_owned()
}

#[cfg(feature = "mysql")]
#[test]
fn mariadb_errors_are_recognized() {
    use diesel::Connection as _;
    use test_servers::{Database as _, Mariadb};

    use crate::database_server::mysql::Connection;
    use crate::dialect::Dialect as _;

    let server = Mariadb::shared();
    let url = server.new_database();
    let open = || {
        let mut connection = Connection::establish(&url).expect("connection");
        connection.configure().expect("settings");
        connection
    };
    let mut connection = open();
    let tables = "CREATE TABLE r (id INT PRIMARY KEY) ENGINE=InnoDB;
        CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, n INT NOT NULL DEFAULT 1, v VARCHAR(2), i SMALLINT,
            e ENUM('a'), c INT CHECK (c < 3), l TEXT CHARACTER SET latin1, f INT, FOREIGN KEY (f) REFERENCES r (id));
        CREATE TABLE required (id INT NOT NULL);
        CREATE TABLE p (id INT) PARTITION BY LIST (id) (PARTITION one VALUES IN (1));
        INSERT INTO t (id, u) VALUES (1, 1), (2, 2)";
    connection.batch_execute(tables).expect("tables");
    let wide: Vec<_> = (0..300).map(|number| format!("c{number} CHAR(250)")).collect();
    let mut provoked: Vec<_> = [
        ("Data too long for column {} at row *", "INSERT INTO t (id, v) VALUES (3, 'abc')"),
        ("Incorrect string value: * for column {} at row *", "INSERT INTO t (id, l) VALUES (3, '\u{1F680}')"),
        ("Incorrect * value: * for column {} at row *", "INSERT INTO t (id, i) VALUES (3, 'a')"),
        ("Out of range value for column {} at row *", "INSERT INTO t (id, i) VALUES (3, 100000)"),
        ("Data truncated for column {} at row *", "INSERT INTO t (id, e) VALUES (3, 'b')"),
        ("Duplicate entry * for key *PRIMARY'", "INSERT INTO t (id) VALUES (1)"),
        ("Duplicate entry * for key *", "INSERT INTO t (id, u) VALUES (3, 1)"),
        ("Column {} cannot be null", "INSERT INTO t (id, n) VALUES (3, NULL)"),
        ("CONSTRAINT {} failed for *", "INSERT INTO t (id, c) VALUES (3, 3)"),
        ("Cannot add or update a child row: a foreign key constraint fails *", "INSERT INTO t (id, f) VALUES (3, 3)"),
        ("Table has no partition for value *", "INSERT INTO p VALUES (2)"),
        ("Row size too large*", &format!("CREATE TABLE wide ({}) ENGINE=InnoDB", wide.join(","))),
        ("Field * doesn't have a default value", "INSERT INTO required VALUES ()"),
        ("Query execution was interrupted*", "SET STATEMENT max_statement_time = 0.01 FOR SELECT sleep(5)"),
        ("Cannot execute statement in a READ ONLY transaction", "START TRANSACTION READ ONLY; DELETE FROM r"),
        ("* command denied to user *", "ROLLBACK; SELECT * FROM mysql.user"),
        ("Access denied*", "SET GLOBAL read_only = 1"),
        ("Table * doesn't exist*", "SELECT * FROM missing"),
        ("Unknown column * in *", "SELECT missing FROM t"),
        ("* does not exist", "SELECT missing()"),
    ]
    .into_iter()
    .map(|(text, statement)| fail(&mut connection, text, statement))
    .collect();
    let mut holder = open();
    holder.batch_execute("BEGIN; SELECT * FROM t WHERE id = 1 FOR UPDATE").expect("a row lock");
    let wait = "SET innodb_lock_wait_timeout = 0; SELECT * FROM t WHERE id = 1 FOR UPDATE";
    provoked.push(fail(&mut connection, "Lock wait timeout exceeded; try restarting transaction", wait));
    connection.batch_execute("SET innodb_lock_wait_timeout = 20").expect("setting");
    connection.batch_execute("BEGIN; SELECT * FROM t WHERE id = 2 FOR UPDATE").expect("a row lock");
    let waiting = std::thread::spawn(move || holder.batch_execute("SELECT * FROM t WHERE id = 2 FOR UPDATE"));
    let second = connection.batch_execute("SELECT * FROM t WHERE id = 1 FOR UPDATE");
    let first = waiting.join().expect("no panic");
    let victim = first.and(second).expect_err("InnoDB aborts one of them");
    provoked.push(("Deadlock found when trying to get lock; try restarting transaction", victim));
    connection.batch_execute("ROLLBACK; LOCK TABLES p READ").expect("a table lock");
    let locked = "Table * was locked with a READ lock and can't be updated";
    provoked.push(fail(&mut connection, locked, "DELETE FROM p"));
    connection.batch_execute("UNLOCK TABLES").expect("no table lock");
    for message in [
        "Check constraint 'c' is violated.",
        "Got a packet bigger than 'max_allowed_packet' bytes",
        "Record has changed since last read in table 't'",
        "Plugin instructed the server to rollback the current transaction.",
    ] {
        provoked.push(raised(mysql::ERRORS, message));
    }
    provoked.extend(faults::MYSQL.iter().map(|message| fault(mysql::ERRORS, message)));
    assert_all_are_recognized(mysql::ERRORS, provoked);
}
