//! Timestamps of records and events: UTC, in whole milliseconds.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Datelike, SecondsFormat, Timelike, Utc};
use serde::Serializer;

use crate::fields::Text;

/// A point in time in UTC. This crate truncates times to whole milliseconds, so that a record is
/// the same before it is stored and after it is read back.
pub type Timestamp = DateTime<Utc>;

/// The end of the year 9999, the last time that RFC 3339 can express.
const END: Duration = Duration::from_millis(253_402_300_799_999);

/// The current time in whole milliseconds. A clock before 1970 or after 9999 counts as the nearest time between.
pub fn now() -> Timestamp {
    let millis = since_epoch(SystemTime::now()).as_millis();
    let time = i64::try_from(millis).ok().and_then(DateTime::from_timestamp_millis);
    time.expect("chrono has every time from 1970 to 9999")
}

/// The time from 1970 to `clock`, which must not panic, whatever the clock says.
pub(crate) fn since_epoch(clock: SystemTime) -> Duration {
    clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().min(END)
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_clock_before_1970_or_after_9999_counts_as_the_nearest_time_between() {
        let (day, epoch) = (Duration::from_hours(24), SystemTime::UNIX_EPOCH);
        for (clock, expected) in [
            (epoch - day, Duration::ZERO),
            (epoch + day, day),
            (epoch + END, END),
            (epoch + END + day, END),
            (epoch + Duration::from_secs(i64::MAX as u64), END),
        ] {
            assert_eq!(since_epoch(clock), expected, "{clock:?}");
        }
        let end = DateTime::from_timestamp_millis(END.as_millis() as i64).expect("chrono has this time");
        assert_eq!(rfc3339(&end), "9999-12-31T23:59:59.999Z");
    }

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
