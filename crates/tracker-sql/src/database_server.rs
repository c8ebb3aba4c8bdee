//! Databases in a process of their own, which several instances of this service may share.

use std::borrow::Cow;

use diesel::prelude::*;
use tracker_core::ServerKey;

use crate::dialect::Dialect;
use crate::error::DbError;
use crate::rows::ServerRow;

#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "postgres")]
mod online_migration;
#[cfg(feature = "postgres")]
pub mod postgres;

/// The parts of a database server that its [`Dialect`] does not have. `records.rs` implements
/// [`RecordAccess`](crate::dialect::RecordAccess) with them.
///
/// The statements on heartbeats use the clock of the database server, the only one that all instances share.
pub trait DatabaseServer: Dialect {
    /// The keys by which an upsert recognizes an existing row.
    type ConflictTarget<T: Table>;

    /// Deletes instances without a heartbeat for an hour.
    const FORGET_DEAD: &'static str;

    /// Records a heartbeat, and ends another instance's claim on this one. Does nothing if the last heartbeat is less
    /// than two seconds old. Parameter: own instance.
    const HEARTBEAT: &'static str;

    /// Records a heartbeat for each owner of pending batches that has none. Parameters: output, own instance.
    const REGISTER_OWNERS: &'static str;

    /// Locks an instance that has pending batches, has sent no heartbeat for 15 s, and is not claimed by another
    /// live instance. Returns it as `replica`. Parameters: own instance, own instance, output.
    const DEAD_INSTANCE: &'static str;

    /// Records which instance adopts the batches of a dead one. Parameters: own instance, dead instance.
    const CLAIM: &'static str;

    /// Adopts the 5,000 oldest batches of a dead instance. Parameters: own instance, output, dead instance.
    const ADOPT: &'static str;

    fn conflict_target<T: Table>(table: T) -> Self::ConflictTarget<T>;

    /// The SQL for the value of `column` in the row that an upsert could not insert.
    fn proposed(column: &str) -> String;

    /// Fails with [`DbError::TooLarge`] if the database server would not accept a row of `size` bytes.
    fn check_row_size(&mut self, _size: usize) -> Result<(), DbError> {
        Ok(())
    }

    /// The text in `"Servers"` for a hostname, which may be too long for an index.
    fn stored_hostname(hostname: &str) -> Cow<'_, str> {
        Cow::Borrowed(hostname)
    }

    /// Records what [`Dialect::restore_hostnames`] needs for new hostnames.
    fn record_hostnames<'a>(&mut self, _hostnames: impl Iterator<Item = &'a str>) -> Result<(), DbError> {
        Ok(())
    }

    /// Reads and locks servers in the order of `keys`, which are ascending.
    fn lock_servers(&mut self, keys: &[ServerKey]) -> Result<Vec<ServerRow>, DbError>;
}
