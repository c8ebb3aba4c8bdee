//! MariaDB and MySQL.

use diesel::connection::{Connection as _, SimpleConnection};
use diesel::dsl::{DuplicatedKeys, sql};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use tracker_core::ServerKey;

use super::DatabaseServer;
use crate::condition::Condition;
use crate::dialect::{Dialect, Filter};
use crate::error::{self, DbError, Errors};
use crate::rows::ServerRow;
use crate::schema::{logs, servers};

#[path = "../queries.rs"]
mod queries;
#[path = "records.rs"]
mod records;
#[path = "../trial.rs"]
mod trial;

pub type Connection = MysqlConnection;

/// Reads all rows at once: diesel has no other mode for this database.
pub type Loading = diesel::connection::DefaultLoadingMode;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/mysql");

/// Names the lock that serializes migrations.
const MIGRATION_LOCK: &str = "concat('deployment-tracker ', md5(database()))";

/// The text columns with another character set than the migrations give them.
const NARROW_COLUMNS: &str = "
    SELECT concat(table_name, '.', column_name) AS name FROM information_schema.columns
    WHERE table_schema = database() AND table_name IN ('Deployments', 'Servers', 'Logs', 'Outbox')
        AND character_set_name <> 'utf8mb4' AND column_type <> 'char(36)'
    ORDER BY name";

/// Forces the primary key: with another index, InnoDB would lock rows that are not needed.
const LOCK_SERVERS: &str = "
    SELECT s.hostname, s.deployment_id, s.ip_address, s.result, s.elapsed_seconds,
           s.createdAt AS created_at, s.updatedAt AS updated_at
    FROM JSON_TABLE(?, '$[*]' COLUMNS (
        hostname TEXT CHARACTER SET utf8mb4 PATH '$[0]',
        deployment_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin PATH '$[1]')) k
    STRAIGHT_JOIN Servers s FORCE INDEX (PRIMARY)
        ON s.deployment_id = k.deployment_id AND s.hostname_hash = unhex(sha2(k.hostname, 256))
    FOR UPDATE";

impl Dialect for Connection {
    const ERRORS: &'static Errors = error::mysql::ERRORS;

    /// Seeks to each hash in the index instead of reading every row. The index is in the order of the hashes,
    /// so each page sorts all hostnames.
    const HOSTNAMES: &'static str = "
        SELECT s.hostname FROM (SELECT hostname_hash, max(createdAt) AS newest FROM Servers GROUP BY hostname_hash) h
        JOIN Servers s ON s.hostname_hash = h.hostname_hash AND s.createdAt = h.newest
        WHERE s.hostname < ? GROUP BY s.hostname ORDER BY s.hostname DESC LIMIT ? OFFSET ?";

    const BACKLOG: &'static str = "
        SELECT CAST(coalesce(sum(messages), 0) AS SIGNED) AS messages, CAST(coalesce(sum(bytes), 0) AS SIGNED) AS bytes,
               min(createdAt) AS oldest
        FROM Outbox WHERE output = ? AND owner = ?";

    const LOGGED_DEPLOYMENTS: &'static str = "
        SELECT deployment_id AS name, event_id FROM Logs
        WHERE deployment_hash > coalesce(unhex(sha2(nullif(?, ''), 256)), '')
        ORDER BY deployment_hash, event_id LIMIT ? OFFSET ?";

    const RECENT_LOGS: &'static str = "
        SELECT k.name FROM JSON_TABLE(?, '$[*]' COLUMNS (name TEXT CHARACTER SET utf8mb4 PATH '$')) k
        WHERE (
            SELECT 1 FROM Logs l WHERE l.deployment_hash = unhex(sha2(k.name, 256)) AND l.event_id >= ? LIMIT 1
        ) IS NOT NULL";

    const DELETE_LOGS: &'static str = "
        DELETE l FROM (
            SELECT o.deployment_hash, o.event_id
            FROM JSON_TABLE(?, '$[*]' COLUMNS (name TEXT CHARACTER SET utf8mb4 PATH '$')) k
            STRAIGHT_JOIN Logs o FORCE INDEX (PRIMARY) ON o.deployment_hash = unhex(sha2(k.name, 256))
            WHERE o.event_id < ? LIMIT ? FOR UPDATE SKIP LOCKED) d
        STRAIGHT_JOIN Logs l ON l.deployment_hash = d.deployment_hash AND l.event_id = d.event_id";

    const DELETE_SERVERS: &'static str = "
        DELETE s FROM (
            SELECT o.deployment_id, o.hostname_hash
            FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) k
            STRAIGHT_JOIN Servers o FORCE INDEX (PRIMARY) ON o.deployment_id = k.id
            WHERE o.updatedAt < ? LIMIT ? FOR UPDATE SKIP LOCKED) d
        STRAIGHT_JOIN Servers s ON s.deployment_id = d.deployment_id AND s.hostname_hash = d.hostname_hash";

    const DELETE_DEPLOYMENTS: &'static str = "
        DELETE n FROM (
            SELECT o.deployment_id
            FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) k
            STRAIGHT_JOIN Deployments o FORCE INDEX (PRIMARY) ON o.deployment_id = k.id
            WHERE o.updatedAt < ? LIMIT ? FOR UPDATE SKIP LOCKED) d
        STRAIGHT_JOIN Deployments n ON n.deployment_id = d.deployment_id";

    /// Leaves out the zero date.
    const IS_CREATED: Condition = Condition("createdAt >= '0001-01-01'");

    const HAS_NO_AGE: Condition = Condition("(updatedAt IS NULL OR updatedAt < '0001-01-01')");

    /// With `ssl_ca`, requires TLS, which the client library would leave to the database server.
    fn connect(url: &str) -> Result<Self, DbError> {
        #[derive(QueryableByName)]
        struct Status {
            #[diesel(sql_type = Text, column_name = "Value")]
            value: String,
        }
        let mut connection = Self::establish(url).map_err(DbError::Connect)?;
        if url.contains("ssl_ca=") {
            let cipher =
                diesel::sql_query("SHOW SESSION STATUS LIKE 'Ssl_cipher'").get_result::<Status>(&mut connection)?;
            if cipher.value.is_empty() {
                let message = "the database server does not support TLS, which `ssl_ca` requires";
                return Err(DbError::Connect(ConnectionError::BadConnection(message.into())));
            }
        }
        Ok(connection)
    }

    fn migrate(&mut self) -> Result<(), DbError> {
        let lock = diesel::select(sql::<Nullable<Integer>>(&format!("get_lock({MIGRATION_LOCK}, 60)")));
        if lock.get_result::<Option<i32>>(self)? != Some(1) {
            return Err(DbError::Overload("another instance has been migrating the database for a minute"));
        }
        // While a migration waits for a table lock, all other users of the table wait for it. Fail early and retry.
        self.batch_execute("SET SESSION lock_wait_timeout = 2")?;
        let migrated = self.run_pending_migrations(MIGRATIONS).map(drop).map_err(DbError::Migrate);
        self.batch_execute(&format!("DO release_lock({MIGRATION_LOCK})"))?;
        migrated?;
        warn_about_encodings(self)
    }

    /// Makes error messages English, because [`DbError`] recognizes some by their text.
    fn configure(&mut self) -> Result<(), DbError> {
        Ok(self.batch_execute(
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', SESSION time_zone = '+00:00',
             SESSION lc_messages = 'en_US',
             SESSION max_sort_length = 8192, SESSION innodb_lock_wait_timeout = 3, SESSION lock_wait_timeout = 3;
         SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
         SET SESSION /*M! max_statement_time = 5 */ /*!50708 max_execution_time = 5000 */",
        )?)
    }

    fn has_hostname(hostname: &str) -> Filter<'_, servers::table, Self> {
        Box::new(sql::<Bool>("hostname_hash = unhex(sha2(").bind::<Text, _>(hostname).sql(", 256))"))
    }

    fn is_log_of(deployment: &str) -> Filter<'_, logs::table, Self> {
        Box::new(sql::<Bool>("deployment_hash = unhex(sha2(").bind::<Text, _>(deployment).sql(", 256))"))
    }
}

impl DatabaseServer for Connection {
    /// Any unique key: each table has only one.
    type ConflictTarget<T: Table> = DuplicatedKeys;

    const FORGET_DEAD: &'static str = "DELETE FROM Replicas WHERE seenAt < utc_timestamp(3) - INTERVAL 1 HOUR";

    /// Sets `seenAt` last, because the assignments before it read the old value.
    const HEARTBEAT: &'static str = "
        INSERT INTO Replicas (replica, seenAt) VALUES (?, utc_timestamp(3))
        ON DUPLICATE KEY UPDATE
            takenBy = if(seenAt < utc_timestamp(3) - INTERVAL 2 SECOND, NULL, takenBy),
            seenAt = if(seenAt < utc_timestamp(3) - INTERVAL 2 SECOND, utc_timestamp(3), seenAt)";

    const REGISTER_OWNERS: &'static str = "
        INSERT IGNORE INTO Replicas (replica, seenAt)
        SELECT DISTINCT owner, utc_timestamp(3) FROM Outbox o
        WHERE output = ? AND owner <> ? AND NOT EXISTS (SELECT 1 FROM Replicas r WHERE r.replica = o.owner)";

    const DEAD_INSTANCE: &'static str = "
        SELECT replica FROM Replicas r
        WHERE replica <> ? AND seenAt < utc_timestamp(3) - INTERVAL 15 SECOND
            AND NOT EXISTS (
                SELECT 1 FROM Replicas t
                WHERE t.replica = r.takenBy AND t.replica <> ? AND t.seenAt > utc_timestamp(3) - INTERVAL 15 SECOND)
            AND EXISTS (SELECT 1 FROM Outbox o WHERE o.output = ? AND o.owner = r.replica)
        ORDER BY replica LIMIT 1 FOR UPDATE SKIP LOCKED";

    const CLAIM: &'static str = "UPDATE Replicas SET takenBy = ? WHERE replica = ?";

    const ADOPT: &'static str = "
        UPDATE Outbox SET owner = ?, is_taken_over = true WHERE output = ? AND owner = ? ORDER BY batch_id LIMIT 5000";

    fn conflict_target<T: Table>(_: T) -> DuplicatedKeys {
        DuplicatedKeys
    }

    fn proposed(column: &str) -> String {
        format!("values(`{column}`)")
    }

    /// Compares with `max_allowed_packet`, because the database server closes the connection when a statement is
    /// larger.
    fn check_row_size(&mut self, size: usize) -> Result<(), DbError> {
        let limit = diesel::select(sql::<BigInt>("@@max_allowed_packet")).get_result::<i64>(self)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        // The statement also contains other rows and the length of each value.
        if size + (4 << 20) < limit { Ok(()) } else { Err(DbError::TooLarge { size, limit }) }
    }

    fn lock_servers(&mut self, keys: &[ServerKey]) -> Result<Vec<ServerRow>, DbError> {
        let keys: Vec<_> = keys.iter().map(|key| (key.hostname.as_str(), key.deployment_id.to_string())).collect();
        let keys = serde_json::to_string(&keys).map_err(DbError::Content)?;
        Ok(diesel::sql_query(LOCK_SERVERS).bind::<Text, _>(keys).load(self)?)
    }
}

/// Warns if a column cannot hold every text, because an administrator has changed it.
fn warn_about_encodings(connection: &mut Connection) -> Result<(), DbError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        name: String,
    }
    for Row { name } in diesel::sql_query(NARROW_COLUMNS).load(connection)? {
        log::warn!(
            column = name.as_str();
            "the character set of the column `{name}` lacks characters that reports may contain; such reports are \
             rejected; convert the table with ALTER TABLE ... CONVERT TO CHARACTER SET utf8mb4"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use test_servers::{Database as _, Mariadb};

    use super::*;

    #[test]
    fn errors_are_in_english_whatever_the_language_of_the_database_server() {
        let mut connection = Connection::connect(&Mariadb::shared().new_database()).expect("connection");
        let mut message = |language: &str| {
            connection.batch_execute(&format!("SET lc_messages = '{language}'")).expect("known language");
            connection.configure().expect("settings");
            connection.batch_execute("SELECT * FROM nothing").expect_err("no such table").to_string()
        };
        assert_eq!(message("de_DE"), message("en_US"));
    }
}
