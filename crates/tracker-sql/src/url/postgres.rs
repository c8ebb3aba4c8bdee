//! The two forms in which libpq takes connection parameters, checked without connecting.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The values that libpq accepts for a parameter.
enum Values {
    Any,
    /// Anything without `=`, which means that a separator is missing.
    Name,
    /// A number that fits into 32 bits.
    Integer,
    /// A comma-separated list, with an entry for each host or one for all.
    Ports,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// One of these, in any letter case.
    Caseless(&'static [&'static str]),
}

use Values::{Any, Caseless, Integer, Name, OneOf, Ports};

const SWITCH: Values = OneOf(&["0", "1"]);
const TLS_VERSION: Values = Caseless(&["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]);
const PROTOCOL_VERSION: Values = OneOf(&["3.0", "3.2", "latest"]);

/// The parameters of libpq 18, the version that this crate builds:
/// <https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS>.
///
/// Values that would make every connection or statement fail are missing: the library is built without GSSAPI, and
/// the replication protocol has no prepared statements.
const PARAMETERS: [(&str, Values); 51] = [
    ("host", Name),
    ("hostaddr", Name),
    ("port", Ports),
    ("dbname", Name),
    ("user", Name),
    ("password", Any),
    ("passfile", Any),
    ("require_auth", Any),
    ("channel_binding", OneOf(&["disable", "prefer", "require"])),
    ("connect_timeout", Integer),
    ("client_encoding", Any),
    ("options", Any),
    ("application_name", Any),
    ("fallback_application_name", Any),
    ("keepalives", Integer),
    ("keepalives_idle", Integer),
    ("keepalives_interval", Integer),
    ("keepalives_count", Integer),
    ("tcp_user_timeout", Integer),
    ("replication", OneOf(&["false", "off", "no", "0"])),
    ("gssencmode", OneOf(&["disable", "prefer"])),
    ("sslmode", OneOf(&["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])),
    // Deprecated, and no longer documented.
    ("requiressl", SWITCH),
    ("sslnegotiation", OneOf(&["postgres", "direct"])),
    ("sslcompression", SWITCH),
    ("sslcert", Any),
    ("sslkey", Any),
    ("sslkeylogfile", Any),
    ("sslpassword", Any),
    ("sslcertmode", OneOf(&["disable", "allow", "require"])),
    ("sslrootcert", Any),
    ("sslcrl", Any),
    ("sslcrldir", Any),
    ("sslsni", SWITCH),
    ("requirepeer", Any),
    ("ssl_min_protocol_version", TLS_VERSION),
    ("ssl_max_protocol_version", TLS_VERSION),
    ("min_protocol_version", PROTOCOL_VERSION),
    ("max_protocol_version", PROTOCOL_VERSION),
    ("krbsrvname", Any),
    ("gsslib", Any),
    ("gssdelegation", SWITCH),
    ("scram_client_key", Any),
    ("scram_server_key", Any),
    ("service", Name),
    ("target_session_attrs", OneOf(&["any", "read-write", "read-only", "primary", "standby", "prefer-standby"])),
    ("load_balance_hosts", OneOf(&["disable", "random"])),
    ("oauth_issuer", Any),
    ("oauth_client_id", Any),
    ("oauth_client_secret", Any),
    ("oauth_scope", Any),
];

type Parameter<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Whether `text` is a URL of PostgreSQL, and not a connection string.
pub fn is_url(text: &str) -> bool {
    text.starts_with("postgres:") || text.starts_with("postgresql:")
}

/// Puts `defaults` before the parameters of `text`, so that those take precedence.
#[cfg(feature = "postgres")]
pub fn with_defaults(text: &str, defaults: &[(&str, &str)]) -> String {
    let join =
        |separator| defaults.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(separator);
    if is_url(text) {
        let (location, parameters) = text.split_once('?').unwrap_or((text, ""));
        format!("{location}?{}&{parameters}", join("&"))
    } else {
        format!("{} {text}", join(" "))
    }
}

/// The parameters that say where the database is, of a connection string that has been [checked](check).
pub fn location(text: &str) -> String {
    let is_location = |name: &str| ["host", "hostaddr", "port", "dbname", "service"].contains(&name);
    let parameters = keywords(text).unwrap_or_default();
    let location =
        parameters.iter().filter(|(name, _)| is_location(name)).map(|(name, value)| format!("{name}={value}"));
    location.collect::<Vec<_>>().join(" ")
}

/// Checks the parameters as libpq will. The problem contains no value, since any value may contain a part of a
/// password that is not quoted correctly.
pub fn check(text: &str) -> Result<(), String> {
    let parameters = if is_url(text) { query(text)? } else { keywords(text)? };
    let mut is_after_secret = false;
    for (index, (name, value)) in parameters.iter().enumerate() {
        let name = name.as_ref();
        if is_url(text) && (name, value.as_ref()) == ("ssl", "true") {
            continue;
        }
        let Some((_, values)) = PARAMETERS.iter().find(|(known, _)| *known == name) else {
            return Err(if is_after_secret {
                "a parameter after a password is not one of libpq's; encode `&` in the password as %26, or quote the \
                 password in a connection string"
                    .to_owned()
            } else {
                unknown(name)
            });
        };
        if parameters[..index].iter().any(|(other, _)| other == name) {
            return Err(format!("the parameter `{name}` is given twice"));
        }
        values.check(name, value)?;
        is_after_secret |= ["password", "secret", "scram"].iter().any(|secret| name.contains(secret));
    }
    check_together(&parameters)
}

fn unknown(name: &str) -> String {
    let hint = match name {
        "schema" | "currentSchema" | "search_path" => "for a schema, use `options=-csearch_path%3DNAME` in a URL",
        "ssl" => "use `sslmode`",
        "database" | "db" => "use `dbname`",
        "username" => "use `user`",
        _ => "see https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS",
    };
    format!("`{}` is not a parameter of libpq; {hint}", name.escape_debug())
}

impl Values {
    fn check(&self, name: &str, value: &str) -> Result<(), String> {
        let must_be = match self {
            Any => return Ok(()),
            Name if !value.contains('=') => return Ok(()),
            Name => "a value without `=`; separate parameters by spaces, or by `&` in a URL".to_owned(),
            Integer if value.trim().parse::<i32>().is_ok() => return Ok(()),
            Integer => "an integer".to_owned(),
            Ports if value.split(',').all(|port| port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0)) => {
                return Ok(());
            }
            Ports => "a number from 1 to 65535, or a list of such numbers".to_owned(),
            OneOf(values) if values.contains(&value) => return Ok(()),
            Caseless(values) if values.iter().any(|known| known.eq_ignore_ascii_case(value)) => return Ok(()),
            OneOf(values) | Caseless(values) => format!("one of {}", values.join(", ")),
        };
        Err(format!("the parameter `{name}` must be {must_be}"))
    }
}

/// Checks the parameters that depend on each other.
fn check_together(parameters: &[Parameter]) -> Result<(), String> {
    let value = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_ref());
    let sslmode = value("sslmode");
    if value("sslrootcert") == Some("system") && sslmode.is_some_and(|mode| mode != "verify-full") {
        return Err("`sslrootcert=system` needs `sslmode=verify-full`".to_owned());
    }
    let is_strict =
        ["require", "verify-ca", "verify-full"].map(Some).contains(&sslmode) || value("sslrootcert") == Some("system");
    if value("sslnegotiation") == Some("direct") && !is_strict {
        return Err("`sslnegotiation=direct` needs `sslmode=require`, `verify-ca` or `verify-full`".to_owned());
    }
    let hosts = value("hostaddr").or(value("host"));
    if let (Some(hosts), Some(ports)) = (hosts, value("port"))
        && ports.contains(',')
        && ports.split(',').count() != hosts.split(',').count()
    {
        return Err("`port` must have one entry, or as many entries as there are hosts".to_owned());
    }
    Ok(())
}

/// The parameters after `?` in a URL.
fn query(url: &str) -> Result<Vec<Parameter<'_>>, String> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let parameters = query.split_terminator('&').map(|parameter| match parameter.split_once('=') {
        Some((name, value)) if !value.contains('=') => Ok((decoded(name), decoded(value))),
        Some(_) => Err("a value after `?` contains `=`; write it as %3D".to_owned()),
        None => Err("each parameter after `?` must have the form NAME=VALUE; in a value, write & as %26".to_owned()),
    });
    parameters.collect()
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// The parameters of a connection string such as `host=db dbname=tracker`.
fn keywords(text: &str) -> Result<Vec<Parameter<'_>>, String> {
    let malformed = || {
        "a connection string must have the form host=HOST dbname=NAME user=USER password='PASSWORD'; inside quotes, \
         write ' and \\ as \\' and \\\\"
            .to_owned()
    };
    let mut parameters = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or_else(malformed)?;
        let name = name.trim_end_matches(is_space);
        if name.contains(is_space) {
            return Err(malformed());
        }
        let (value, after) = unquoted(after.trim_start_matches(is_space)).ok_or_else(malformed)?;
        parameters.push((name.into(), value.into()));
        rest = after.trim_start_matches(is_space);
    }
    Ok(parameters)
}

/// The characters that separate parameters for libpq, which calls `isspace`.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

/// The value at the start of `text`, and the text after it. `None` if its quote does not end.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('\'');
    let (mut value, mut chars) = (String::new(), inner.unwrap_or(text).chars());
    loop {
        match chars.next() {
            Some('\\') => value.extend(chars.next()),
            Some('\'') if inner.is_some() => break,
            Some(c) if inner.is_none() && is_space(c) => break,
            Some(c) => value.push(c),
            None if inner.is_some() => return None,
            None => break,
        }
    }
    Some((value, chars.as_str()))
}
