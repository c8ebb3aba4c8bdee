//! Keeps the secrets of a configuration out of messages that other code wrote, such as serde or an output.

use percent_encoding::percent_decode_str;
use serde_json::Value;
use tracker_server::REDACTED;

use crate::config::keys::Keys;

/// Secrets of fewer characters are hidden only as whole words, because words contain them by chance.
const SHORT: usize = 4;

/// The secrets in a configuration.
#[derive(Debug, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// The secrets that [`Keys::redact`] hides in `configs`.
    pub fn of(known: &Keys, configs: [&Value; 2]) -> Self {
        let mut found = Vec::new();
        for config in configs {
            collect(config, &known.redact(config), &mut found);
        }
        // Messages may quote a secret as `Debug` or JSON write it, decoded from a URL, or a line of it.
        let variants = found.iter().flat_map(|secret| {
            let debug = format!("{secret:?}");
            let quoted = debug[1..debug.len() - 1].to_owned();
            let json = Value::from(secret.as_str()).to_string();
            let in_json = json[1..json.len() - 1].to_owned();
            let decoded = percent_decode_str(secret).decode_utf8_lossy().into_owned();
            let lines = secret.lines().map(|line| line.trim().to_owned());
            lines.chain([secret.clone(), quoted, in_json, decoded]).collect::<Vec<_>>()
        });
        let mut secrets: Vec<_> = variants.filter(|secret| !secret.is_empty()).collect();
        // A secret may contain another one.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self(secrets)
    }

    /// `message` without secrets.
    pub fn hide(&self, message: &str) -> String {
        self.0.iter().fold(message.to_owned(), |message, secret| replace(&message, secret))
    }

    /// `message` without secrets, where `message` concerns the value of a secret. It may quote a part of the value, so
    /// any similarity hides the whole message.
    pub fn hide_in_message_on_secret(&self, message: &str) -> String {
        let lower = message.to_lowercase();
        let is_similar = |secret: &String| {
            let letters: Vec<_> = secret.to_lowercase().chars().collect();
            letters.windows(SHORT).any(|part| lower.contains(&part.iter().collect::<String>()))
        };
        if self.0.iter().any(is_similar) {
            return "is invalid; the reason is not shown, because it may contain the secret".to_owned();
        }
        self.hide(message)
    }
}

fn replace(message: &str, secret: &str) -> String {
    let (mut shown, mut end) = (String::with_capacity(message.len()), 0);
    for (start, _) in message.match_indices(secret) {
        let after = start + secret.len();
        let is_word =
            !message[..start].ends_with(char::is_alphanumeric) && !message[after..].starts_with(char::is_alphanumeric);
        if is_word || secret.chars().count() >= SHORT {
            shown.push_str(&message[end..start]);
            shown.push_str(REDACTED);
            end = after;
        }
    }
    shown + &message[end..]
}

/// Collects the parts of `config` that `redacted` lacks.
fn collect(config: &Value, redacted: &Value, found: &mut Vec<String>) {
    match (config, redacted) {
        (Value::Object(config), Value::Object(redacted)) => {
            config.iter().for_each(|(name, value)| collect(value, &redacted[name], found));
        }
        (Value::Array(config), Value::Array(redacted)) => {
            config.iter().zip(redacted).for_each(|(value, redacted)| collect(value, redacted, found));
        }
        (Value::String(text), Value::String(redacted)) if text != redacted => {
            let mut rest = text.as_str();
            let mut shown = redacted.split(REDACTED);
            rest = rest.strip_prefix(shown.next().unwrap_or_default()).unwrap_or(rest);
            for part in shown {
                // The last part ends the text.
                let end = if part.is_empty() { Some(rest.len()) } else { rest.find(part) };
                let end = end.unwrap_or(rest.len());
                found.push(rest[..end].to_owned());
                rest = rest.get(end + part.len()..).unwrap_or_default();
            }
        }
        (Value::Object(members), _) => members.values().for_each(|value| collect(value, redacted, found)),
        (Value::Array(values), _) => values.iter().for_each(|value| collect(value, redacted, found)),
        (Value::Number(number), Value::String(_)) => found.push(number.to_string()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sections;
    use crate::stores::Stores;

    #[test]
    fn messages_lose_the_secrets_and_keep_their_other_words() {
        let config = json!({
            "redis": { "password": "hun\"ter2", "key": "logstash", "db": 2 },
            "database": { "url": "postgres://me:p%40ssword@db/x?password=second&sslmode=require" },
            "auth": { "tokens": [{ "name": "n", "secret": { "a": [12345, "-----BEGIN\nabcdefgh\n"] } }] },
            "nats": { "token": "x" },
        });
        let secrets = Secrets::of(&Keys::of_server(sections::built_in(), Stores::built_in()), [&config, &json!({})]);
        for (message, expected) in [
            ("bad hun\"ter2 or \"hun\\\"ter2\"", "bad [REDACTED] or \"[REDACTED]\""),
            ("p%40ssword, p@ssword, second, require", "[REDACTED], [REDACTED], [REDACTED], require"),
            ("12345 abcdefgh logstash 2", "[REDACTED] [REDACTED] logstash 2"),
            ("`x` is no index, xx", "`[REDACTED]` is no index, xx"),
        ] {
            assert_eq!(secrets.hide(message), expected);
        }
        assert_eq!(secrets.hide_in_message_on_secret("must be a string"), "must be a string");
        let hidden = "is invalid; the reason is not shown, because it may contain the secret";
        assert_eq!(secrets.hide_in_message_on_secret("cannot begin with ABCD"), hidden);
    }
}
