//! Ages in the configuration, such as `400d` or `13w`.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The allowed range, in days. The minimum is a week because engines may retry reports for a while, and a retry for a
/// deleted deployment records it again.
const DAYS: RangeInclusive<u32> = 7..=36_500;

/// An age in whole days or weeks.
#[derive(Debug, Clone, Deserialize, JsonSchema, Serialize)]
#[schemars(with = "String")]
#[serde(try_from = "String", into = "String")]
pub struct Age {
    days: u32,
    text: String,
}

impl TryFrom<String> for Age {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let days = match text.strip_suffix('w') {
            Some(weeks) => weeks.parse().ok().and_then(|weeks: u32| weeks.checked_mul(7)),
            None => text.strip_suffix('d').and_then(|days| days.parse().ok()),
        };
        match days.filter(|days| DAYS.contains(days)) {
            Some(days) => Ok(Self { days, text }),
            None => {
                let (from, to) = DAYS.into_inner();
                Err(format!("must be a whole number of days or weeks such as `400d` or `13w`, from {from}d to {to}d"))
            }
        }
    }
}

impl From<Age> for String {
    fn from(age: Age) -> Self {
        age.text
    }
}

impl fmt::Display for Age {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{} days", self.days)
    }
}

impl From<&Age> for Duration {
    fn from(age: &Age) -> Self {
        Self::from_hours(24 * u64::from(age.days))
    }
}
