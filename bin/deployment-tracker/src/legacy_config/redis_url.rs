//! The short forms of the section `redis`: a URL, a path, an address or a port, as ioredis accepts them.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::Section;
use crate::config::ConfigError;

const FORMS: &str = "must be a section, a URL such as `redis://:PASSWORD@HOST:6379/0`, the path of a Unix socket, \
                     `HOST:PORT` or a port from 1 to 65535; an empty value turns the output off";
/// Words for "no value" in other formats. They are unlikely host names.
const NO_HOSTS: [&str; 10] = ["false", "true", "null", "none", "nil", "undefined", "off", "on", "no", "yes"];

/// Converts a short form to a section. Errors omit the value, which may contain a password.
pub fn section(value: &Value) -> Result<Section, ConfigError> {
    let invalid = || ConfigError::new("redis", FORMS);
    let text = match value {
        Value::String(text) => text.trim(),
        Value::Number(port) => return Ok(Section::from_iter([("port".to_owned(), port.clone().into())])),
        _ => return Err(invalid()),
    };
    let path = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:"));
    if path.is_some() || text.starts_with('/') {
        let path = path.unwrap_or(text);
        // ioredis reads options, among them a password, from these.
        if !path.starts_with('/') || path.contains(['?', '#', '@']) {
            let problem = "must have only a path that begins with `/` after `unix:`, without `?`, `#` or `@`; set options \
                           in a section instead";
            return Err(ConfigError::new("redis", problem));
        }
        return Ok(Section::from_iter([("path".to_owned(), path.into())]));
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Section::from_iter([("port".to_owned(), port(text).map_err(|_| invalid())?)]));
    }
    if NO_HOSTS.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Err(invalid());
    }
    let mut section = Section::new();
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("redis") => rest,
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("rediss") => {
            section.insert("tls".to_owned(), Section::new().into());
            rest
        }
        Some(_) => return Err(invalid()),
        None => text,
    };
    if rest.contains(|c: char| c == '?' || c == '#' || c.is_whitespace()) {
        let problem = "must have no `?`, `#` or space; write `%3F`, `%23` or `%20` in a password, and set options in a \
                       section instead";
        return Err(ConfigError::new("redis", problem));
    }
    // A password may contain `/` and `@`; only the last `@` ends it.
    let (credentials, location) = rest.rsplit_once('@').map_or((None, rest), |(before, after)| (Some(before), after));
    if let Some(credentials) = credentials {
        // `/config` recognizes a password only in a URL.
        if rest.len() == text.len() {
            return Err(invalid());
        }
        let (user, password) = credentials.split_once(':').ok_or_else(|| {
            ConfigError::new("redis", "must have a password after the user, as in `redis://USER:PASSWORD@HOST`")
        })?;
        for (key, text) in [("username", user), ("password", password)] {
            let text = percent_decode_str(text).decode_utf8();
            let text = text.map_err(|_| ConfigError::new("redis", "must have a user and a password in UTF-8"))?;
            if !text.is_empty() {
                section.insert(key.to_owned(), text.as_ref().into());
            }
        }
    }
    let (address, database) = location.split_once('/').unwrap_or((location, ""));
    if !database.is_empty() {
        let database = database.parse::<u8>();
        let database = database.map_err(|_| ConfigError::new("redis", "must end with `/` and a number up to 255"))?;
        section.insert("db".to_owned(), database.into());
    }
    let (host, given_port) = match address.strip_prefix('[').and_then(|address| address.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, after)) => (host, Some(after.strip_prefix(':').ok_or_else(invalid)?)),
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    // JSON, such as a list or a negative number, is no host.
    let is_address = host.contains(':');
    if host.starts_with('-')
        || host.contains(['[', ']', '{', '}', '"', ','])
        || (address.starts_with('[') && !is_address)
    {
        return Err(invalid());
    }
    if let Some(given_port) = given_port {
        section.insert("port".to_owned(), port(given_port)?);
    }
    if !host.is_empty() {
        section.insert("host".to_owned(), host.into());
    }
    if section.is_empty() { Err(invalid()) } else { Ok(section) }
}

fn port(text: &str) -> Result<Value, ConfigError> {
    let port = text.parse::<u16>().ok().filter(|&port| port > 0);
    port.map(Value::from).ok_or_else(|| ConfigError::new("redis", "must have a port from 1 to 65535"))
}
