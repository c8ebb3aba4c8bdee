//! Translates a block of `database`, which holds Sequelize's options, to a URL.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{Notes, Section};
use crate::config::ConfigError;

const SET_URL: &str = "set `database.url` instead, with libpq parameters such as `sslmode` and `sslrootcert`";
/// The characters to percent-encode: all except the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Sequelize's options, and the key of their block.
pub struct Block {
    key: String,
    options: Section,
}

impl Block {
    pub fn new(key: String, mut options: Section) -> Self {
        options.retain(|_, value| !value.is_null());
        Self { key, options }
    }

    /// The database URL for the options.
    pub fn into_url(mut self, notes: &mut Notes) -> Result<String, ConfigError> {
        for (option, problem) in [
            ("url", SET_URL),
            ("use_env_variable", SET_URL),
            ("define", "remove it: tables and columns have Sequelize's default names"),
            ("schema", "remove it, and set the search_path of the user in PostgreSQL"),
            ("replication", "set `host` to the primary instead"),
        ] {
            if self.options.contains_key(option) {
                return Err(self.error(option, problem));
            }
        }
        if self.options.remove("quoteIdentifiers") == Some(Value::Bool(false)) {
            return Err(self.error("quoteIdentifiers", "the tables must be named \"Deployments\" and \"Servers\""));
        }
        let url = match self.string("dialect")?.as_deref() {
            Some("sqlite") => self.sqlite()?,
            Some("postgres" | "postgresql") => self.postgres()?,
            _ => return Err(self.error("dialect", "must be `sqlite` or `postgres`")),
        };
        let ignored = self.options.keys().map(|option| format!("`{}.{option}`: has no effect", self.key));
        notes.ignored.extend(ignored);
        Ok(url)
    }

    fn sqlite(&mut self) -> Result<String, ConfigError> {
        // In a URL, `?` would begin parameters.
        match self.string("storage")?.map(|path| path.replace('?', "%3F")) {
            // SQLite would interpret these prefixes.
            Some(path) if path.starts_with("file:") || path.starts_with("sqlite:") => Ok(format!("sqlite:./{path}")),
            // `sqlite:` may be followed by `//`, which is not part of the path.
            Some(path) if path.starts_with("//") => Ok(format!("sqlite://{path}")),
            Some(path) if path != ":memory:" => Ok(format!("sqlite:{path}")),
            _ => Err(self.error("storage", "must be the path of a file; an in-memory database loses its records")),
        }
    }

    fn postgres(&mut self) -> Result<String, ConfigError> {
        let encoded = |text: String| utf8_percent_encode(&text, RESERVED).to_string();
        let mut url = "postgres://".to_owned();
        let (username, password) = (self.string("username")?, self.string("password")?);
        if username.is_some() || password.is_some() {
            url.push_str(&username.map(encoded).unwrap_or_default());
            url.extend(password.map(|password| format!(":{}", encoded(password))));
            url.push('@');
        }
        let host = self.string("host")?.unwrap_or_else(|| "localhost".into());
        url.push_str(&encoded(host.trim_matches(['[', ']']).to_owned()));
        if let Some(port) = self.string("port")? {
            if port.parse::<u16>().is_err() {
                return Err(self.error("port", "must be an integer from 0 to 65535"));
            }
            url.push_str(&format!(":{port}"));
        }
        if let Some(database) = self.string("database")? {
            url.push_str(&format!("/{}", encoded(database)));
        }
        if self.requires_tls()? {
            url.push_str("?sslmode=require");
        }
        Ok(url)
    }

    fn requires_tls(&mut self) -> Result<bool, ConfigError> {
        let mut options = vec![("ssl", self.options.remove("ssl"))];
        if let Some(Value::Object(below)) = self.options.get_mut("dialectOptions") {
            options.push(("dialectOptions.ssl", below.remove("ssl")));
            if below.is_empty() {
                self.options.remove("dialectOptions");
            }
        }
        let mut is_required = false;
        for (option, value) in options {
            is_required |= match value {
                None | Some(Value::Null | Value::Bool(false)) => false,
                Some(Value::Bool(true)) => true,
                Some(Value::Object(tls)) if tls.iter().all(is_plain_tls) => true,
                Some(_) => return Err(self.error(option, SET_URL)),
            };
        }
        Ok(is_required)
    }

    fn string(&mut self, option: &str) -> Result<Option<String>, ConfigError> {
        match self.options.remove(option) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(self.error(option, "must be a string")),
        }
    }

    fn error(&self, option: &str, problem: &str) -> ConfigError {
        ConfigError::new(&format!("{}.{option}", self.key), problem)
    }
}

/// Whether a TLS option requests encryption without verification.
fn is_plain_tls((option, value): (&String, &Value)) -> bool {
    (option == "require" && *value == Value::Bool(true))
        || (option == "rejectUnauthorized" && *value == Value::Bool(false))
}
