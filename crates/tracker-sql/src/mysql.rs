//! What only MariaDB and MySQL do their way.

use diesel::connection::{Connection as _, SimpleConnection};
use diesel::dsl::{DuplicatedKeys, sql};
use diesel::expression::{SqlLiteral, TypedExpressionType};
use diesel::mysql::Mysql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use tracker_core::ServerKey;

use crate::error::Error;
use crate::rows::ServerRow;
use crate::schema::{logs, servers};

#[path = "queries.rs"]
pub mod queries;
#[path = "replicated.rs"]
mod replicated;

pub use replicated::{
    backlog, begin_snapshot, close, commit, delete_older, end_snapshot, find, is_any, servers_of, spelled_in_list,
    spelled_on_host, write_back,
};

pub type Connection = MysqlConnection;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/mysql");

/// Distinct hostnames by one look-up in the index for each, however many rows a host has. The index is in the order of
/// the hashes: all hostnames are sorted for each page.
pub const HOSTNAMES: &str = "
    SELECT s.hostname FROM (SELECT hostname_hash, max(createdAt) AS newest FROM Servers GROUP BY hostname_hash) h
    JOIN Servers s ON s.hostname_hash = h.hostname_hash AND s.createdAt = h.newest
    WHERE s.hostname < ? GROUP BY s.hostname ORDER BY s.hostname DESC LIMIT ? OFFSET ?";

/// What is owed to an output, in figures.
pub const BACKLOG: &str = "
    SELECT CAST(coalesce(sum(messages), 0) AS SIGNED) AS messages, CAST(coalesce(sum(bytes), 0) AS SIGNED) AS bytes,
           min(createdAt) AS oldest
    FROM Outbox WHERE output = ? AND owner = ?";

/// Forgets replicas that are long gone.
pub const FORGET_DEAD: &str = "DELETE FROM Replicas WHERE seenAt < utc_timestamp(3) - INTERVAL 1 HOUR";

/// Says that a replica is there. The time comes last, since what stands before it looks at the old one.
pub const HEARTBEAT: &str = "
    INSERT INTO Replicas (replica, seenAt) VALUES (?, utc_timestamp(3))
    ON DUPLICATE KEY UPDATE
        takenBy = if(seenAt < utc_timestamp(3) - INTERVAL 2 SECOND, NULL, takenBy),
        seenAt = if(seenAt < utc_timestamp(3) - INTERVAL 2 SECOND, utc_timestamp(3), seenAt)";

/// Counts those who owe and are unknown as seen now.
pub const REGISTER_OWNERS: &str = "
    INSERT IGNORE INTO Replicas (replica, seenAt)
    SELECT DISTINCT owner, utc_timestamp(3) FROM Outbox o
    WHERE output = ? AND owner <> ? AND NOT EXISTS (SELECT 1 FROM Replicas r WHERE r.replica = o.owner)";

/// A replica that owes, was not seen for long, and that nobody takes over from but the one who asks.
pub const DEAD_INSTANCE: &str = "
    SELECT replica FROM Replicas r
    WHERE replica <> ? AND seenAt < utc_timestamp(3) - INTERVAL 15 SECOND
        AND NOT EXISTS (
            SELECT 1 FROM Replicas t
            WHERE t.replica = r.takenBy AND t.replica <> ? AND t.seenAt > utc_timestamp(3) - INTERVAL 15 SECOND)
        AND EXISTS (SELECT 1 FROM Outbox o WHERE o.output = ? AND o.owner = r.replica)
    ORDER BY replica LIMIT 1 FOR UPDATE SKIP LOCKED";

/// Says who takes over from a replica.
pub const CLAIM: &str = "UPDATE Replicas SET takenBy = ? WHERE replica = ?";

/// Takes over the oldest batches that a replica owes.
pub const ADOPT: &str = "
    UPDATE Outbox SET owner = ?, is_taken_over = true WHERE output = ? AND owner = ? ORDER BY batch_id LIMIT 5000";

/// Deployments behind a name that log messages are kept of, each with the oldest first.
pub const LOGGED_DEPLOYMENTS: &str = "
    SELECT deployment_id AS name, event_id FROM Logs
    WHERE deployment_hash > coalesce(unhex(sha2(nullif(?, ''), 256)), '')
    ORDER BY deployment_hash, event_id LIMIT ?";

/// Those of a list of names with a log message from an id on.
pub const RECENT_LOGS: &str = "
    SELECT k.name FROM JSON_TABLE(?, '$[*]' COLUMNS (name TEXT CHARACTER SET utf8mb4 PATH '$')) k
    WHERE (SELECT 1 FROM Logs l WHERE l.deployment_hash = unhex(sha2(k.name, 256)) AND l.event_id >= ? LIMIT 1) IS NOT NULL";

/// Deletes log messages of a list of names, before an id, so many at the most. What another replica holds is its business.
pub const DELETE_LOGS: &str = "
    DELETE l FROM (
        SELECT o.deployment_hash, o.event_id
        FROM JSON_TABLE(?, '$[*]' COLUMNS (name TEXT CHARACTER SET utf8mb4 PATH '$')) k
        STRAIGHT_JOIN Logs o FORCE INDEX (PRIMARY) ON o.deployment_hash = unhex(sha2(k.name, 256))
        WHERE o.event_id < ? LIMIT ? FOR UPDATE SKIP LOCKED) d
    STRAIGHT_JOIN Logs l ON l.deployment_hash = d.deployment_hash AND l.event_id = d.event_id";

/// Deletes servers of a list of ids, not changed since a time, so many at the most.
pub const DELETE_SERVERS: &str = "
    DELETE s FROM (
        SELECT o.deployment_id, o.hostname_hash
        FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) k
        STRAIGHT_JOIN Servers o FORCE INDEX (PRIMARY) ON o.deployment_id = k.id
        WHERE o.updatedAt < ? LIMIT ? FOR UPDATE SKIP LOCKED) d
    STRAIGHT_JOIN Servers s ON s.deployment_id = d.deployment_id AND s.hostname_hash = d.hostname_hash";

/// Deletes deployments likewise.
pub const DELETE_DEPLOYMENTS: &str = "
    DELETE n FROM (
        SELECT o.deployment_id
        FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) k
        STRAIGHT_JOIN Deployments o FORCE INDEX (PRIMARY) ON o.deployment_id = k.id
        WHERE o.updatedAt < ? LIMIT ? FOR UPDATE SKIP LOCKED) d
    STRAIGHT_JOIN Deployments n ON n.deployment_id = d.deployment_id";

/// The records of servers by their keys, through the primary key whatever the statistics say: what is read is locked.
const LOCKED: &str = "
    SELECT s.hostname, s.deployment_id, s.ip_address, s.result, s.elapsed_seconds,
           s.createdAt AS created_at, s.updatedAt AS updated_at
    FROM JSON_TABLE(?, '$[*]' COLUMNS (
        hostname TEXT CHARACTER SET utf8mb4 PATH '$[0]',
        deployment_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin PATH '$[1]')) k
    STRAIGHT_JOIN Servers s FORCE INDEX (PRIMARY)
        ON s.deployment_id = k.deployment_id AND s.hostname_hash = unhex(sha2(k.hostname, 256))
    FOR UPDATE";

/// Refuses a URL without a database, and one that asks for more than the client library does: MariaDB's passes over
/// `ssl_mode` in silence.
pub fn check_url(url: &str) -> Result<(), Error> {
    let (place, parameters) = url.split_once('?').unwrap_or((url, ""));
    let name = place.split_once("://").and_then(|(_, place)| place.rsplit_once('/')).map_or("", |(_, name)| name);
    if name.is_empty() {
        return Err(Error::Url("the URL lacks the database's name; give mysql://USER@HOST/NAME".into()));
    }
    if parameters.contains("ssl_mode=") && !mysqlclient_sys::SUPPORTS_MYSQL_SSL_MODE {
        let message = "`ssl_mode` is not known to MariaDB's client library, which this build has; give ssl_ca=FILE \
                       instead: then only a server with a certificate from that authority is talked to";
        return Err(Error::Url(message.into()));
    }
    Ok(())
}

/// Connects. With `ssl_ca` it is over TLS or not at all, which the client library leaves to the server.
pub fn connect(url: &str) -> Result<Connection, Error> {
    #[derive(QueryableByName)]
    struct Status {
        #[diesel(sql_type = Text, column_name = "Value")]
        value: String,
    }
    let mut connection = MysqlConnection::establish(url).map_err(Error::Connect)?;
    if url.contains("ssl_ca=") {
        let cipher =
            diesel::sql_query("SHOW SESSION STATUS LIKE 'Ssl_cipher'").get_result::<Status>(&mut connection)?;
        if cipher.value.is_empty() {
            return Err(Error::Connect(ConnectionError::BadConnection("the server does not speak TLS".into())));
        }
    }
    Ok(connection)
}

/// Makes what a connection does independent of the server's settings, and bounds what it may wait for. Errors come in English,
/// since [`Error`] knows some by their text.
pub fn configure(connection: &mut Connection) -> Result<(), Error> {
    Ok(connection.batch_execute(
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', SESSION time_zone = '+00:00',
             SESSION lc_messages = 'en_US',
             SESSION max_sort_length = 8192, SESSION innodb_lock_wait_timeout = 3, SESSION lock_wait_timeout = 3;
         SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
         SET SESSION /*M! max_statement_time = 5 */ /*!50708 max_execution_time = 5000 */",
    )?)
}

pub fn migrate(connection: &mut Connection) -> Result<(), Error> {
    const LOCK: &str = "concat('deployment-tracker ', md5(database()))";
    let locked = diesel::select(sql::<Nullable<Integer>>(&format!("get_lock({LOCK}, 60)")));
    if locked.get_result::<Option<i32>>(connection)? != Some(1) {
        return Err(Error::Overload("another server has been migrating the database for a minute"));
    }
    // Behind whoever holds a table for long, everybody else would queue up behind us: rather try again.
    connection.batch_execute("SET SESSION lock_wait_timeout = 2")?;
    let migrated = connection.run_pending_migrations(MIGRATIONS).map(drop).map_err(Error::Migrate);
    connection.batch_execute(&format!("DO release_lock({LOCK})"))?;
    migrated
}

/// Makes sure that the server takes a row of `size` bytes: at one that it finds too large it hangs up.
fn check_row_size(connection: &mut Connection, size: usize) -> Result<(), Error> {
    let limit = diesel::select(sql::<BigInt>("@@max_allowed_packet")).get_result::<i64>(connection)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // Beside it are the other rows of the statement and the lengths of all values.
    if size + (4 << 20) < limit { Ok(()) } else { Err(Error::TooLarge { size, limit }) }
}

/// What makes a row of the table the same: any of its keys, of which each has one.
fn key<T>(_: T) -> DuplicatedKeys {
    DuplicatedKeys
}

/// The value that a row would have been inserted with, had there not been one.
fn excluded<C: Column>(_: C) -> SqlLiteral<C::SqlType>
where
    C::SqlType: TypedExpressionType,
{
    sql(&format!("values(`{}`)", C::NAME))
}

/// Whether a row of `Servers` is about the host.
pub fn is_hostname(hostname: &str) -> Box<dyn BoxableExpression<servers::table, Mysql, SqlType = Bool> + '_> {
    Box::new(sql::<Bool>("hostname_hash = unhex(sha2(").bind::<Text, _>(hostname).sql(", 256))"))
}

/// Whether a row of `Logs` belongs to the deployment.
pub fn is_log_of(deployment: &str) -> Box<dyn BoxableExpression<logs::table, Mysql, SqlType = Bool> + '_> {
    Box::new(sql::<Bool>("deployment_hash = unhex(sha2(").bind::<Text, _>(deployment).sql(", 256))"))
}

/// The records with the keys, which are in ascending order, locked.
fn locked(connection: &mut Connection, keys: &[ServerKey]) -> Result<Vec<ServerRow<'static>>, Error> {
    let keys: Vec<_> = keys.iter().map(|key| (key.hostname.as_str(), key.deployment_id.to_string())).collect();
    let keys = serde_json::to_string(&keys).map_err(Error::Content)?;
    Ok(diesel::sql_query(LOCKED).bind::<Text, _>(keys).load(connection)?)
}

#[cfg(test)]
mod tests {
    use test_servers::{Database as _, Mariadb};

    use super::*;

    #[test]
    fn errors_come_in_a_language_that_is_known() {
        let mut connection = connect(&Mariadb::shared().new_database()).expect("a connection");
        let mut message = |language: &str| {
            connection.batch_execute(&format!("SET lc_messages = '{language}'")).expect("a language");
            configure(&mut connection).expect("settings");
            connection.batch_execute("SELECT * FROM nothing").expect_err("no such table").to_string()
        };
        assert_eq!(message("de_DE"), message("en_US"));
    }
}
