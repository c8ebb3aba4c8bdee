//! Removes secrets from configurations.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// The text that replaces a secret.
pub const REDACTED: &str = "[REDACTED]";
/// A name that contains one of these is the name of a secret. Names are compared in lower case, without `_` and `-`.
const SECRETS: [&str; 16] = [
    "password",
    "passphrase",
    "passwd",
    "pwd",
    "authpass",
    "secret",
    "token",
    "credential",
    "private",
    "apikey",
    "accesskey",
    "pfx",
    "scram",
    "creds",
    "seed",
    "jwt",
];

/// Replaces every secret in `value` with `[REDACTED]`: values under the name of a secret and, within strings, values
/// after such a name, the credentials of URLs, and private keys in PEM.
pub fn redact(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let redacted = fields.iter().map(|(name, value)| {
                let is_secret = is_secret(name) && !value.is_null() || name == "auth" && value.is_string();
                (name.clone(), if is_secret { REDACTED.into() } else { redact(value) })
            });
            Value::Object(redacted.collect())
        }
        Value::Array(values) => values.iter().map(redact).collect(),
        Value::String(text) => redact_text(text).into(),
        other => other.clone(),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase().replace(['_', '-'], "");
    name == "pass" || SECRETS.iter().any(|secret| name.contains(secret))
}

fn redact_text(text: &str) -> String {
    /// `name=`, as in queries of URLs and in connection strings.
    static NAME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"([\w-]+)\s*=\s*").expect("the regular expression is valid"));
    /// Not all parsers end a value at `;` or a second `?`, so those are part of it. In a connection string of libpq, `\`
    /// continues it after a quote or a space.
    static VALUE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"(?s)^("[^"]*"|'(?:\\.|[^'\\])*')?(?:\\.|[^\s&])*"#).expect("the regular expression is valid")
    });
    /// `scheme://user:password@`. A password may contain any character; only the last `@` ends it.
    static CREDENTIALS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"[A-Za-z][A-Za-z0-9+.-]*:(?://)?(?:[^\s/?#:@\[][^\s/?#:@]*)?:(\S*)@")
            .expect("the regular expression is valid")
    });
    if text.contains("PRIVATE KEY-----") {
        return REDACTED.into();
    }
    let named = NAME.captures_iter(text).filter(|name| is_secret(&name[1])).map(|name| {
        let start = name.get_match().end();
        start..start + VALUE.find(&text[start..]).map_or(0, |value| value.end())
    });
    let passwords = CREDENTIALS.captures_iter(text).filter_map(|credentials| Some(credentials.get(1)?.range()));
    // The two kinds may overlap, so both are searched in the original text.
    let mut secrets: Vec<_> = named.chain(passwords).collect();
    secrets.sort_unstable_by_key(|secret| secret.start);
    let (mut redacted, mut end) = (String::with_capacity(text.len()), 0);
    for secret in secrets {
        if secret.start >= end {
            redacted.push_str(&text[end..secret.start]);
            redacted.push_str(REDACTED);
        }
        end = end.max(secret.end);
    }
    redacted + &text[end..]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_secrets_are_redacted() {
        let raw_config = json!({
            "port": 1, "redis": {"key": "logstash", "password": 12, "sentinelPassword": "x",
                "tls": {"key": "-----BEGIN PRIVATE KEY-----\nx", "ca": "x"}, "auth_pass": "x", "API-Key": "x"},
            "database": {"url": "postgres://me:p@ss:word@db:5432/x?sslpassword=s&sslmode=require"},
            "auth": {"tokens": [{"secret": "x"}]},
            "list": ["redis://:secret@host", "plain", "postgres://u:p?s@h/d?x=1"],
            "pass": "x", "auth_": {"auth": "x"}, "nkey_seed": "x", "user_jwt": "x", "creds": "x", "a": "postgres://h:1/x?user=u&password=top@secret&x=1",
            "b": "host=h password='a b' x=1",
            "i": r"password='a\' \\ b' x=1", "j": r"password=a\ b\'c x=1", "k": "h?scram_client_key=x&scram=y",
            "c": "postgres:me:hunter2@h/x", "d": "jdbc:x://h;Pwd=x;y=1", "e": "https://h/#access_token=x",
            "f": "http://u:p@h, http://v:q@i/", "g": "a: b@c, compass=1", "h": "http://[::1]:80/@x",
        });
        let expected = json!({
            "port": 1, "redis": {"key": "logstash", "password": REDACTED, "sentinelPassword": REDACTED,
                "tls": {"key": REDACTED, "ca": "x"}, "auth_pass": REDACTED, "API-Key": REDACTED},
            "database": {"url": "postgres://me:[REDACTED]@db:5432/x?sslpassword=[REDACTED]&sslmode=require"},
            "auth": {"tokens": REDACTED},
            "list": ["redis://:[REDACTED]@host", "plain", "postgres://u:[REDACTED]@h/d?x=1"],
            "pass": REDACTED, "auth_": {"auth": REDACTED},
            "nkey_seed": REDACTED, "user_jwt": REDACTED, "creds": REDACTED, "a": "postgres://h:[REDACTED]&x=1",
            "b": "host=h password=[REDACTED] x=1",
            "i": "password=[REDACTED] x=1", "j": "password=[REDACTED] x=1",
            "k": "h?scram_client_key=[REDACTED]&scram=[REDACTED]", "c": "postgres:me:[REDACTED]@h/x", "d": "jdbc:x://h;Pwd=[REDACTED]",
            "e": "https://h/#access_token=[REDACTED]", "f": "http://u:[REDACTED]@h, http://v:[REDACTED]@i/",
            "g": "a: b@c, compass=1", "h": "http://[::1]:80/@x",
        });
        assert_eq!(redact(&raw_config), expected);
    }
}
