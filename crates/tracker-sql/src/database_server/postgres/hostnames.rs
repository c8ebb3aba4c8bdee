//! Hostnames that are too long for an index.
//!
//! PostgreSQL refuses an index entry of more than 2,704 bytes, but a hostname may have 8,192. So the column `hostname` of
//! `"Servers"` holds a long hostname as its *key*, which is the beginning of the hostname and a digest of it, and
//! `"Hostnames"` holds the hostname under that key. Every text of more than [`MAX_INDEXED`] bytes in the column is a key,
//! because every hostname of that length is stored as one, so a key never equals another hostname.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use diesel::pg::sql_types::Array;
use diesel::prelude::*;
use diesel::sql_types::Text;
use sha2::{Digest as _, Sha256};
use tracker_core::Hostname;

use super::Connection;
use crate::error::DbError;

/// The length in bytes up to which a hostname is stored as it is. A key is at most 64 bytes longer, and an index entry
/// has at most two other columns.
const MAX_INDEXED: usize = 2_560;

/// The text in `"Servers"` for a hostname.
pub fn stored(hostname: &str) -> Cow<'_, str> {
    if hostname.len() <= MAX_INDEXED {
        return Cow::Borrowed(hostname);
    }
    let mut key = hostname[..hostname.floor_char_boundary(MAX_INDEXED)].to_owned();
    for byte in Sha256::digest(hostname) {
        key.push_str(&format!("{byte:02x}"));
    }
    Cow::Owned(key)
}

/// Records the long ones among new hostnames, in the order of their keys, so that instances do not deadlock.
pub fn record<'a>(connection: &mut Connection, hostnames: impl Iterator<Item = &'a str>) -> Result<(), DbError> {
    let long = hostnames.filter(|hostname| hostname.len() > MAX_INDEXED);
    let (keys, hostnames): (Vec<_>, Vec<_>) =
        long.map(|hostname| (stored(hostname), hostname)).collect::<BTreeMap<_, _>>().into_iter().unzip();
    if !keys.is_empty() {
        let insert = r#"INSERT INTO "Hostnames" (key, hostname) SELECT * FROM unnest($1, $2) ON CONFLICT DO NOTHING"#;
        let query = diesel::sql_query(insert).bind::<Array<Text>, _>(keys).bind::<Array<Text>, _>(hostnames);
        query.execute(connection)?;
    }
    Ok(())
}

/// Replaces keys by their hostnames.
pub fn restore<'a>(
    connection: &mut Connection,
    hostnames: impl Iterator<Item = &'a mut Hostname>,
) -> Result<(), DbError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        key: String,
        #[diesel(sql_type = Text)]
        hostname: String,
    }
    let keys: Vec<_> = hostnames.filter(|hostname| hostname.as_str().len() > MAX_INDEXED).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let query = diesel::sql_query(r#"SELECT key, hostname FROM "Hostnames" WHERE key = ANY($1)"#);
    let texts: Vec<_> = keys.iter().map(|key| key.as_str()).collect();
    let rows = query.bind::<Array<Text>, _>(texts).load::<Row>(connection)?;
    let full: HashMap<_, _> = rows.into_iter().map(|row| (row.key, row.hostname)).collect();
    for key in keys {
        if let Some(hostname) = full.get(key.as_str()) {
            *key = Hostname::stored(hostname.as_str());
        }
    }
    Ok(())
}
