//! Points in time, as the records and the outputs carry them: UTC, to the millisecond.

use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use serde::Serializer;

/// A point in time in UTC. Everything that this crate makes is cut to whole milliseconds, so that what is answered
/// before storage equals what is read back.
pub type Timestamp = DateTime<Utc>;

/// The current time in whole milliseconds.
pub fn now() -> Timestamp {
    Utc::now().trunc_subsecs(3)
}

/// `time` in RFC 3339 with milliseconds and `Z`, as in `2015-07-07T17:34:12.075Z`.
pub fn rfc3339(time: &Timestamp) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// For `#[serde(serialize_with)]`: [`rfc3339`].
pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(time))
}
