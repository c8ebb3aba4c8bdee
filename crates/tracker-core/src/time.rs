//! Timestamps of records and events: UTC, in whole milliseconds.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Datelike, FixedOffset, SecondsFormat, Timelike, Utc};
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

/// The time that `text` has in RFC 3339. `None` if `text` has any other form, if its year is not 0000 to 9999 in UTC, or
/// if it has a leap second that does not end June or December in UTC.
///
/// chrono accepts more: a space between date and time, a minus sign that is not ASCII, and a leap second in any minute.
pub fn parse_rfc3339(text: &str) -> Option<DateTime<FixedOffset>> {
    let has_separator = matches!(text.as_bytes().get(10), Some(b'T' | b't'));
    let time = DateTime::parse_from_rfc3339(text).ok().filter(|_| has_separator && text.is_ascii())?;
    let utc = time.naive_utc();
    let can_be_leap = matches!((utc.month(), utc.day(), utc.hour(), utc.minute()), (6, 30, 23, 59) | (12, 31, 23, 59));
    let is_leap = utc.nanosecond() >= 1_000_000_000;
    ((0..=9_999).contains(&utc.year()) && (can_be_leap || !is_leap)).then_some(time)
}

/// Serializes a time as [`rfc3339`], for `#[serde(serialize_with)]`.
///
/// # Errors
/// Those of `serializer`.
pub fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_str(&rfc3339(time)),
        None => serializer.serialize_none(),
    }
}

/// Serializes a duration in seconds.
pub(crate) fn serialize_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn only_times_in_rfc_3339_are_parsed() {
        for (text, expected) in [
            ("2015-07-07T17:34:12Z", "2015-07-07T17:34:12.000Z"),
            ("2015-07-07t17:34:12z", "2015-07-07T17:34:12.000Z"),
            ("2015-07-07T17:34:12.075999999999999+02:00", "2015-07-07T15:34:12.075Z"),
            ("2015-07-07T17:34:12-00:00", "2015-07-07T17:34:12.000Z"),
            ("2015-07-07T17:34:12+23:59", "2015-07-06T17:35:12.000Z"),
            ("2016-02-29T00:00:00Z", "2016-02-29T00:00:00.000Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:60.000Z"),
            ("2015-07-01T01:59:60.5+02:00", "2015-06-30T23:59:60.500Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z"),
        ] {
            let time = parse_rfc3339(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(rfc3339(&time.to_utc()), expected, "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2015-07-07",
            "2015-07-07T17:34:12",
            "2015-07-07T17:34Z",
            "2015-07-07 17:34:12Z",
            " 2015-07-07T17:34:12Z",
            "2015-07-07T17:34:12Z ",
            "2015-07-07T17:34:12.Z",
            "2015-07-07T17:34:12,5Z",
            "2015-07-07T17:34:12 Z",
            "2015-07-07T17:34:12UTC",
            "2015-07-07T17:34:12+0200",
            "2015-07-07T17:34:12+02",
            "2015-07-07T17:34:12+24:00",
            "2015-07-07T17:34:12+02:60",
            "2015-07-07T17:34:12\u{2212}02:00",
            "2015-07-07T24:00:00Z",
            "2015-07-07T17:34:60Z",
            "2015-09-30T23:59:60Z",
            "2016-12-31T23:59:60+01:00",
            "2016-12-31T23:59:61Z",
            "2015-02-29T00:00:00Z",
            "2015-7-7T17:34:12Z",
            "15-07-07T17:34:12Z",
            "10000-01-01T00:00:00Z",
            "+2015-07-07T17:34:12Z",
            "-0001-07-07T17:34:12Z",
            "0000-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "20150707T173412Z",
            "1436290452075",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
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
