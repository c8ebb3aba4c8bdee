//! The place of a cursor in the index of a list.
//!
//! An index sorts times and ids by their text. Other programs may have stored a time with microseconds or in another
//! time zone, and an id in capitals. The place of a cursor is therefore the text of its row, if the row still exists.

use diesel::prelude::*;
use diesel::sql_types::Text;
use tracker_core::CreatedCursor;
use tracker_core::time::Timestamp;

use super::Connection;
use crate::values::Stored;
use crate::values::sqlite::{KeyPart, format, parse};

/// The time and the id of a row, as they are stored.
pub type Place = (KeyPart, KeyPart);

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    time: Stored<String>,
    #[diesel(sql_type = Text)]
    id: Stored<String>,
}

/// Finds the row of `cursor` in `table`, on one host if `hostname` is given. Without a row, the place is where this
/// service would have stored it.
pub fn find(
    connection: &mut Connection,
    table: &str,
    hostname: Option<&str>,
    cursor: &CreatedCursor,
) -> QueryResult<Place> {
    let (time, id) = (format(&cursor.created_at), cursor.deployment_id.to_string());
    let select = |condition: &str| {
        let on_host = if hostname.is_some() { "hostname = ?3 AND" } else { "?3 IS NULL AND" };
        format!(r#"SELECT "createdAt" AS time, deployment_id AS id FROM "{table}" WHERE {on_host} {condition}"#)
    };
    let by_id = format!("{} UNION ALL {}", select("deployment_id = ?1"), select("deployment_id = upper(?1)"));
    // An id in mixed letter case, or without hyphens.
    let by_time = select(r#""createdAt" = ?2 AND lower(replace(deployment_id, '-', '')) = replace(?1, '-', '')"#);
    for query in [by_id, by_time] {
        let query = diesel::sql_query(query).bind::<Text, _>(&id).bind::<Text, _>(&time);
        let rows = query.bind::<diesel::sql_types::Nullable<Text>, _>(hostname).load::<Row>(connection)?;
        let places = rows.into_iter().filter_map(|row| Some((row.time.0?, row.id.0?)));
        let same = places.filter(|(time, _)| parse(time).is_some_and(|time| is_same(&time.0, &cursor.created_at)));
        // If several rows have the same id and time, the last one in the list, so that no page repeats.
        if let Some((time, id)) = same.min() {
            return Ok((KeyPart(time), KeyPart(id)));
        }
    }
    Ok((KeyPart(time), KeyPart(id)))
}

/// A cursor has microseconds.
fn is_same(stored: &Timestamp, cursor: &Timestamp) -> bool {
    stored.timestamp_micros() == cursor.timestamp_micros()
}
