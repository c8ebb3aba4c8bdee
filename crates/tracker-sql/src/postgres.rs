//! What only PostgreSQL does its way.

use diesel::connection::{Connection as _, SimpleConnection};
use diesel::dsl::{Eq, EqAny};
use diesel::pg::sql_types::Array;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::upsert::excluded;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use tracker_core::{Backlog, Decision, Deployment, EventKind, Group, Outcome, Records, Server, Settled};
use uuid::Uuid;

use crate::error::Error;
use crate::rows::{DeploymentRow, LogRow, OutboxRow, ServerRow};
use crate::schema::{SqlUuid, deployments, logs, outbox, servers};
use crate::values::Id;

#[path = "queries.rs"]
pub mod queries;

pub type Connection = PgConnection;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

/// Distinct hostnames by one look-up in the index for each, however many rows a host has.
pub const HOSTNAMES: &str = r#"
    WITH RECURSIVE h(hostname) AS (
        (SELECT hostname COLLATE "C" FROM "Servers" ORDER BY hostname COLLATE "C" DESC LIMIT 1)
        UNION ALL
        SELECT (SELECT s.hostname COLLATE "C" FROM "Servers" s
                WHERE s.hostname COLLATE "C" < h.hostname ORDER BY s.hostname COLLATE "C" DESC LIMIT 1)
        FROM h WHERE h.hostname IS NOT NULL
    )
    SELECT hostname::text FROM h WHERE hostname IS NOT NULL LIMIT $1 OFFSET $2"#;

/// What is owed to an output, in figures.
pub const BACKLOG: &str = r#"
    SELECT CAST(coalesce(sum(messages), 0) AS BIGINT) AS messages, CAST(coalesce(sum(bytes), 0) AS BIGINT) AS bytes,
           min("createdAt") AS oldest
    FROM "Outbox" WHERE output = $1 AND owner = $2"#;

/// Says that a replica is there, and forgets those that are long gone.
const SEEN: &str = r#"
    WITH forgotten AS (DELETE FROM "Replicas" WHERE "seenAt" < now() - interval '1 hour')
    INSERT INTO "Replicas" AS r VALUES ($1, now())
    ON CONFLICT (replica) DO UPDATE SET "seenAt" = now() WHERE r."seenAt" < now() - interval '2 s'"#;

/// Takes over what has been owed for long by replicas that were not seen for long. Of several that try, one gets it.
const TAKE_OVER: &str = r#"
    UPDATE "Outbox" SET owner = $1, is_taken_over = true WHERE (output, batch_id) IN (
        SELECT output, batch_id FROM "Outbox" o
        WHERE output = $2 AND owner <> $1 AND "createdAt" < now() - interval '15 s'
            AND NOT EXISTS (
                SELECT FROM "Replicas" r WHERE r.replica = o.owner AND r."seenAt" > now() - interval '15 s')
        ORDER BY batch_id LIMIT 5000 FOR UPDATE SKIP LOCKED
    )"#;

/// The number of the advisory lock that lets one of several starting replicas migrate at a time.
const MIGRATION_LOCK: &str = "2015070717";

/// How often a group is decided anew because another replica was faster.
const ATTEMPTS: usize = 5;

/// Rows in one statement: PostgreSQL takes 65,535 values, and the widest row has 14.
const ROWS: usize = 4_000;

/// Connects. A connection whose other side is gone is noticed within half a minute, a statement ends within five
/// seconds, whatever the URL does not say otherwise.
pub fn connect(url: &str) -> Result<Connection, Error> {
    let mut url = url.to_owned();
    for (name, value) in [
        ("connect_timeout", "3"),
        ("keepalives_idle", "10"),
        ("keepalives_interval", "5"),
        ("keepalives_count", "3"),
        ("tcp_user_timeout", "20000"),
        ("application_name", "deployment-tracker"),
    ] {
        if !url.contains(&format!("{name}=")) {
            let separator = if url.contains('?') { '&' } else { '?' };
            url.push_str(&format!("{separator}{name}={value}"));
        }
    }
    PgConnection::establish(&url).map_err(Error::Connect)
}

/// Bounds what a connection that serves reports may wait for.
pub fn bound(connection: &mut Connection) -> Result<(), Error> {
    Ok(connection.batch_execute("SET statement_timeout = 5000; SET lock_timeout = 3000; SET TIME ZONE 'UTC'")?)
}

pub fn migrate(connection: &mut Connection) -> Result<(), Error> {
    connection.batch_execute(&format!("SELECT pg_advisory_lock({MIGRATION_LOCK})"))?;
    // Behind whoever holds a table for long, everybody else would queue up behind us: rather try again.
    connection.batch_execute("SET lock_timeout = 2000")?;
    let migrated = connection.run_pending_migrations(MIGRATIONS).map(drop).map_err(Error::Migrate);
    connection.batch_execute(&format!("SELECT pg_advisory_unlock({MIGRATION_LOCK})"))?;
    migrated
}

/// A server keeps everything in one place.
#[expect(clippy::unnecessary_wraps, reason = "every database has this function")]
pub fn close(_: &mut Connection) -> Result<(), Error> {
    Ok(())
}

/// Whether `column` has the id.
pub fn is<C>(column: C, id: Uuid) -> Eq<C, Id>
where
    C: ExpressionMethods + Expression<SqlType = SqlUuid>,
{
    column.eq(Id(id))
}

/// Whether `column` has one of the ids.
pub fn is_any<C>(column: C, ids: &[Uuid]) -> EqAny<C, Vec<Id>>
where
    C: ExpressionMethods + Expression<SqlType = SqlUuid>,
{
    column.eq_any(ids.iter().copied().map(Id).collect::<Vec<_>>())
}

/// The record of a deployment.
pub fn find(connection: &mut Connection, id: Uuid) -> QueryResult<Option<DeploymentRow<'static>>> {
    deployments::table.find(Id(id)).first(connection).optional()
}

pub fn commit(connection: &mut Connection, owner: &str, group: &Group) -> Result<Decision, Error> {
    let mut attempts = 1;
    loop {
        let mut is_decided = false;
        let committed = connection.transaction(|connection| {
            let mut decision = group.decide(read(connection, group)?);
            write(connection, owner, &mut decision)?;
            is_decided = true;
            Ok(decision)
        });
        match committed.map_err(|error: Error| error.of_transaction(is_decided)) {
            Err(error) if error.is_race() && attempts < ATTEMPTS => attempts += 1,
            committed => return committed,
        }
    }
}

/// Tells the other replicas that this one is there, takes over what those that are gone have left, and counts.
pub fn take_stock(connection: &mut Connection, owner: &str, output: &str) -> Result<Backlog, Error> {
    diesel::sql_query(SEEN).bind::<Text, _>(owner).execute(connection)?;
    let taken_over = diesel::sql_query(TAKE_OVER).bind::<Text, _>(owner).bind::<Text, _>(output).execute(connection)?;
    if taken_over > 0 {
        log::info!("took over {taken_over} batches for output `{output}` from a replica that is gone");
    }
    queries::backlog(connection, owner, output)
}

/// Reads the records and locks them against other replicas, in the same order everywhere.
fn read(connection: &mut Connection, group: &Group) -> Result<Records, Error> {
    let mut records = Records::default();
    let ids: Vec<_> = group.deployments().iter().map(|id| Id(id.0)).collect();
    if !ids.is_empty() {
        let rows = deployments::table
            .filter(deployments::deployment_id.eq_any(ids))
            .order(deployments::deployment_id)
            .for_update()
            .load::<DeploymentRow>(connection)?;
        records.deployments.extend(rows.into_iter().map(Deployment::from));
    }
    let keys = group.servers();
    if !keys.is_empty() {
        let (hostnames, ids): (Vec<_>, Vec<_>) =
            keys.iter().map(|key| (key.hostname.as_str(), Id(key.deployment_id.0))).unzip();
        let rows = diesel::sql_query(
            r#"SELECT s.*, s."createdAt" AS created_at, s."updatedAt" AS updated_at FROM "Servers" s JOIN unnest($1, $2) AS k(hostname, deployment_id)
               ON s.hostname = k.hostname AND s.deployment_id = k.deployment_id
               ORDER BY s.hostname, s.deployment_id FOR UPDATE OF s"#,
        )
        .bind::<Array<Text>, _>(hostnames)
        .bind::<Array<SqlUuid>, _>(ids)
        .load::<ServerRow>(connection)?;
        records.servers.extend(rows.into_iter().map(Server::from));
    }
    let fleets: Vec<_> = group.fleets().iter().map(|id| Id(id.0)).collect();
    if !fleets.is_empty() {
        let rows = servers::table
            .filter(servers::deployment_id.eq_any(fleets))
            .order((servers::hostname, servers::deployment_id))
            .for_update()
            .load::<ServerRow>(connection)?;
        records.servers.extend(rows.into_iter().map(Server::from));
    }
    Ok(records)
}

fn write(connection: &mut Connection, owner: &str, decision: &mut Decision) -> Result<(), Error> {
    let mut rows: Vec<_> = decision.new_deployments.iter().map(DeploymentRow::from).collect();
    rows.sort_unstable_by_key(|row| row.deployment_id.0);
    for rows in rows.chunks(ROWS) {
        let inserted =
            diesel::insert_into(deployments::table).values(rows).on_conflict_do_nothing().execute(connection)?;
        race_unless(inserted == rows.len())?;
    }
    let rows: Vec<_> = decision.changed_deployments.iter().map(DeploymentRow::from).collect();
    for rows in rows.chunks(ROWS) {
        use deployments::*;
        diesel::insert_into(table)
            .values(rows)
            .on_conflict(deployment_id)
            .do_update()
            .set((
                engine.eq(excluded(engine)),
                engine_version.eq(excluded(engine_version)),
                host.eq(excluded(host)),
                user.eq(excluded(user)),
                environment.eq(excluded(environment)),
                package.eq(excluded(package)),
                package_url.eq(excluded(package_url)),
                version.eq(excluded(version)),
                arguments.eq(excluded(arguments)),
                result.eq(excluded(result)),
                elapsed_seconds.eq(excluded(elapsed_seconds)),
                updated_at.eq(excluded(updated_at)),
            ))
            .execute(connection)?;
    }
    let mut new_servers: Vec<_> = decision.new_servers.iter().collect();
    new_servers.sort_unstable_by_key(|server| (&server.hostname, server.deployment_id));
    let rows: Vec<_> = new_servers.into_iter().map(ServerRow::from).collect();
    for rows in rows.chunks(ROWS) {
        let inserted = diesel::insert_into(servers::table).values(rows).on_conflict_do_nothing().execute(connection)?;
        race_unless(inserted == rows.len())?;
    }
    let rows: Vec<_> = decision.changed_servers.iter().map(ServerRow::from).collect();
    for rows in rows.chunks(ROWS) {
        use servers::*;
        diesel::insert_into(table)
            .values(rows)
            .on_conflict((hostname, deployment_id))
            .do_update()
            .set((
                ip_address.eq(excluded(ip_address)),
                result.eq(excluded(result)),
                elapsed_seconds.eq(excluded(elapsed_seconds)),
                updated_at.eq(excluded(updated_at)),
            ))
            .execute(connection)?;
    }
    let kept = decision.logs.iter().filter_map(|event| match &event.kind {
        EventKind::Logged(batch) => Some(LogRow::of(batch)),
        _ => None,
    });
    let rows: Vec<_> = kept.flatten().collect();
    for rows in rows.chunks(ROWS) {
        diesel::insert_into(logs::table).values(rows).on_conflict_do_nothing().execute(connection)?;
    }
    let rows = decision.owed.iter().map(|owed| OutboxRow::new(owed, owner)).collect::<Result<Vec<_>, _>>();
    let rows = rows.map_err(Error::Content)?;
    if !rows.is_empty() {
        diesel::insert_into(outbox::table).values(rows).on_conflict_do_nothing().execute(connection)?;
    }
    for Settled { output, batches, outcome } in &decision.settled {
        if queries::settle(connection, owner, output, batches)? < batches.len() {
            decision.outcomes[*outcome] = Outcome::Unchanged;
        }
    }
    Ok(())
}

/// Another replica has inserted the same record since it was read.
fn race_unless(condition: bool) -> Result<(), Error> {
    if condition { Ok(()) } else { Err(Error::Race) }
}
