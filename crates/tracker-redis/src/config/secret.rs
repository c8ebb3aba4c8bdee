//! User names and passwords.

use serde::{Deserialize, Deserializer};
use tracker_config::Secret;

/// Reads a string that may arrive as a number or a boolean, as [`Secret`] does.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Secret>::deserialize(deserializer)?.map(|text| text.reveal().to_owned()))
}

/// A user name and a password. An empty string, such as from an empty environment variable, counts as absent.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

impl Credentials {
    pub(super) fn new(username: Option<&str>, password: Option<&Secret>) -> Self {
        let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        Self { username: given(username), password: given(password.map(Secret::reveal)) }
    }
}
