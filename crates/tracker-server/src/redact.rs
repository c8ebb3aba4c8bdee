//! Configurations without their secrets.

use serde_json::Value;

const REDACTED: &str = "[REDACTED]";
/// What the name of a secret has in it, without its `_` and `-`.
const SECRETS: [&str; 12] = [
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
];

/// `value` with every secret replaced: all that stands under a name that says so, and the credentials inside URLs.
pub fn redact(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let redacted = members.iter().map(|(name, value)| {
                let value = if is_secret(name) && !value.is_null() { Value::from(REDACTED) } else { redact(value) };
                (name.clone(), value)
            });
            Value::Object(redacted.collect())
        }
        Value::Array(values) => values.iter().map(redact).collect(),
        // A key in PEM, under whatever name.
        Value::String(text) if text.contains("PRIVATE KEY-----") => REDACTED.into(),
        Value::String(text) => Value::from(redact_url(text)),
        other => other.clone(),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase().replace(['_', '-'], "");
    SECRETS.iter().any(|secret| name.contains(secret))
}

fn redact_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    // A password may have any character, and an `@` ends it only if it is the last one.
    let (credentials, rest) = rest.rsplit_once('@').map_or((None, rest), |(before, rest)| (Some(before), rest));
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    let mut redacted = format!("{scheme}://");
    if let Some(credentials) = credentials {
        let user = credentials.split(':').next().unwrap_or_default();
        redacted.push_str(user);
        if credentials.contains(':') {
            redacted.push_str(&format!(":{REDACTED}"));
        }
        redacted.push('@');
    }
    redacted.push_str(place);
    if let Some(query) = query {
        let members: Vec<_> = query
            .split('&')
            .map(|member| match member.split_once('=') {
                Some((name, _)) if is_secret(name) => format!("{name}={REDACTED}"),
                _ => member.to_owned(),
            })
            .collect();
        redacted.push('?');
        redacted.push_str(&members.join("&"));
    }
    redacted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_replaced_and_nothing_else() {
        let given = json!({
            "port": 1, "redis": {"key": "logstash", "password": 12, "sentinelPassword": "x",
                "tls": {"key": "-----BEGIN PRIVATE KEY-----\nx", "ca": "x"}, "auth_pass": "x", "API-Key": "x"},
            "database": {"url": "postgres://me:p@ss:word@db:5432/x?sslpassword=s&sslmode=require"},
            "auth": {"tokens": [{"secret": "x"}]}, "list": ["redis://:secret@host", "plain", "postgres://u:p?s@h/d?x=1"],
        });
        let expected = json!({
            "port": 1, "redis": {"key": "logstash", "password": REDACTED, "sentinelPassword": REDACTED,
                "tls": {"key": REDACTED, "ca": "x"}, "auth_pass": REDACTED, "API-Key": REDACTED},
            "database": {"url": "postgres://me:[REDACTED]@db:5432/x?sslpassword=[REDACTED]&sslmode=require"},
            "auth": {"tokens": REDACTED}, "list": ["redis://:[REDACTED]@host", "plain", "postgres://u:[REDACTED]@h/d?x=1"],
        });
        assert_eq!(redact(&given), expected);
    }
}
