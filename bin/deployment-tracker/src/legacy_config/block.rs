//! A block of `database`: Sequelize's options as a URL.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{Notes, Section};
use crate::config::ConfigError;

const OUR_URL: &str =
    "give `database.url` instead, with parameters such as `sslmode` and `sslrootcert` as libpq has them";
/// What a part of a URL cannot have as it stands: all but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Sequelize's options, and the key that they stand under.
pub struct Block {
    key: String,
    options: Section,
}

impl Block {
    pub fn new(key: String, mut options: Section) -> Self {
        options.retain(|_, value| !value.is_null());
        Self { key, options }
    }

    /// The database that the options mean.
    pub fn into_url(mut self, notes: &mut Notes) -> Result<String, ConfigError> {
        for (option, problem) in [
            ("url", OUR_URL),
            ("use_env_variable", OUR_URL),
            ("define", "tables and columns have the names that Sequelize gives by itself; leave it out"),
            ("schema", "set the user's search_path in PostgreSQL, and leave it out"),
            ("replication", "give `host` of the primary"),
        ] {
            if self.options.contains_key(option) {
                return Err(self.wrong(option, problem));
            }
        }
        if self.options.remove("quoteIdentifiers") == Some(Value::Bool(false)) {
            return Err(self.wrong("quoteIdentifiers", "the tables must be named \"Deployments\" and \"Servers\""));
        }
        let url = match self.text("dialect")?.as_deref() {
            Some("sqlite") => self.sqlite()?,
            Some("postgres" | "postgresql") => self.postgres()?,
            _ => return Err(self.wrong("dialect", "must be `sqlite` or `postgres`")),
        };
        let ignored = self.options.keys().map(|option| format!("`{}.{option}`: makes no difference here", self.key));
        notes.ignored.extend(ignored);
        Ok(url)
    }

    fn sqlite(&mut self) -> Result<String, ConfigError> {
        match self.text("storage")? {
            // SQLite takes these beginnings for a notation of its own.
            Some(path) if path.starts_with("file:") || path.starts_with("sqlite:") => Ok(format!("sqlite:./{path}")),
            // The URL may begin with two slashes of its own.
            Some(path) if path.starts_with("//") => Ok(format!("sqlite://{path}")),
            Some(path) if path != ":memory:" => Ok(format!("sqlite:{path}")),
            _ => Err(self.wrong("storage", "must be the path of a file; what is in memory only would be lost")),
        }
    }

    fn postgres(&mut self) -> Result<String, ConfigError> {
        let encoded = |text: String| utf8_percent_encode(&text, RESERVED).to_string();
        let mut url = "postgres://".to_owned();
        let (username, password) = (self.text("username")?, self.text("password")?);
        if username.is_some() || password.is_some() {
            url.push_str(&username.map(encoded).unwrap_or_default());
            url.extend(password.map(|password| format!(":{}", encoded(password))));
            url.push('@');
        }
        let host = self.text("host")?.unwrap_or_else(|| "localhost".into());
        url.push_str(&encoded(host.trim_matches(['[', ']']).to_owned()));
        if let Some(port) = self.text("port")? {
            if port.parse::<u16>().is_err() {
                return Err(self.wrong("port", "must be a whole number from 0 to 65535"));
            }
            url.push_str(&format!(":{port}"));
        }
        if let Some(database) = self.text("database")? {
            url.push_str(&format!("/{}", encoded(database)));
        }
        if self.wants_tls()? {
            url.push_str("?sslmode=require");
        }
        Ok(url)
    }

    fn wants_tls(&mut self) -> Result<bool, ConfigError> {
        let mut given = vec![("ssl", self.options.remove("ssl"))];
        if let Some(Value::Object(below)) = self.options.get_mut("dialectOptions") {
            given.push(("dialectOptions.ssl", below.remove("ssl")));
            if below.is_empty() {
                self.options.remove("dialectOptions");
            }
        }
        let mut is_wanted = false;
        for (option, value) in given {
            is_wanted |= match value {
                None | Some(Value::Null | Value::Bool(false)) => false,
                Some(Value::Bool(true)) => true,
                Some(Value::Object(tls)) if tls.iter().all(is_plain_tls) => true,
                Some(_) => return Err(self.wrong(option, OUR_URL)),
            };
        }
        Ok(is_wanted)
    }

    fn text(&mut self, option: &str) -> Result<Option<String>, ConfigError> {
        match self.options.remove(option) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(self.wrong(option, "must be a text")),
        }
    }

    fn wrong(&self, option: &str, problem: &str) -> ConfigError {
        ConfigError::new(&format!("{}.{option}", self.key), problem)
    }
}

/// Whether an option of TLS asks for no more than encryption.
fn is_plain_tls((option, value): (&String, &Value)) -> bool {
    (option == "require" && *value == Value::Bool(true))
        || (option == "rejectUnauthorized" && *value == Value::Bool(false))
}
