//! Timestamps of records and events: UTC, in whole milliseconds.

use chrono::{DateTime, Datelike, SecondsFormat, SubsecRound, Timelike, Utc};
use serde::Serializer;

use crate::fields::Text;

/// A point in time in UTC. This crate truncates times to whole milliseconds, so that a record is
/// the same before it is stored and after it is read back.
pub type Timestamp = DateTime<Utc>;

/// The current time in whole milliseconds.
pub fn now() -> Timestamp {
    Utc::now().trunc_subsecs(3)
}

/// `time` in RFC 3339 with milliseconds and `Z`, as in `2015-07-07T17:34:12.075Z`.
pub fn rfc3339(time: &Timestamp) -> Text {
    let (year, millis) = (time.year().cast_unsigned(), time.nanosecond() / 1_000_000);
    // The text of other years and of leap seconds has another length.
    if year > 9_999 || millis > 999 {
        return time.to_rfc3339_opts(SecondsFormat::Millis, true).into();
    }
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |end: usize, digits: usize, mut number: u32| {
        for digit in text[end - digits..end].iter_mut().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
        }
    };
    put(4, 4, year);
    put(7, 2, time.month());
    put(10, 2, time.day());
    put(13, 2, time.hour());
    put(16, 2, time.minute());
    put(19, 2, time.second());
    put(23, 3, millis);
    Text::from_utf8(text).expect("digits are UTF-8")
}

/// Serializes a time as [`rfc3339`], for `#[serde(serialize_with)]`.
pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(time))
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_is_written_as_chrono_writes_it(
            seconds in prop_oneof![-9_000_000_000_000_i64..9_000_000_000_000, -62_167_219_200_i64..253_402_300_800],
            nanos in 0_u32..2_000_000_000,
        ) {
            let seconds = if nanos < 1_000_000_000 { seconds } else { seconds - seconds.rem_euclid(60) + 59 };
            if let Some(time) = DateTime::from_timestamp(seconds, nanos) {
                prop_assert_eq!(rfc3339(&time), time.to_rfc3339_opts(SecondsFormat::Millis, true));
            }
        }
    }
}
