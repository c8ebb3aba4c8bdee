//! Cursors of lists, as text.

use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use tracker_core::{CreatedCursor, DeploymentId, Hostname};
use uuid::Uuid;

/// A cursor that has a textual form.
pub trait Cursor: Clone {
    /// Parses a cursor. `None` if `text` is not one.
    fn read(text: &str) -> Option<Self>;
    /// Formats the cursor.
    fn write(&self) -> String;
}

/// A time and an id, such as `2015-07-07T17:34:12.075000Z_84e803f7-9562-4d95-b828-25b167aea34b`. After a cursor without
/// an id, the list continues with records that are older than its time.
impl Cursor for CreatedCursor {
    fn read(text: &str) -> Option<Self> {
        let (time, id) = text.split_once('_').map_or((text, None), |(time, id)| (time, Some(id)));
        let created_at = DateTime::parse_from_rfc3339(time).ok()?.to_utc();
        // The conversion to UTC can leave the range of years that RFC 3339 and every database support.
        (0..=9_999).contains(&created_at.year()).then_some(())?;
        let deployment_id = id.map_or(Some(DeploymentId(Uuid::nil())), |id| DeploymentId::parse(id).ok())?;
        Some(Self { created_at, deployment_id })
    }

    fn write(&self) -> String {
        let time: &DateTime<Utc> = &self.created_at;
        format!("{}_{}", time.to_rfc3339_opts(SecondsFormat::Micros, true), self.deployment_id)
    }
}

impl Cursor for Hostname {
    fn read(text: &str) -> Option<Self> {
        Self::new(text.to_owned()).ok()
    }

    fn write(&self) -> String {
        self.as_str().to_owned()
    }
}

/// The `event_id` of a log message.
impl Cursor for Uuid {
    fn read(text: &str) -> Option<Self> {
        Self::try_parse(text).ok()
    }

    fn write(&self) -> String {
        self.to_string()
    }
}
