//! Reads JSON from requests, and writes JSON for answers.
//!
//! [`read`] refuses text that a store or an output could not take, and [`replace_unpaired_surrogates`] repairs some of
//! it. An [`Object`] keeps each value as it was written.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use memchr::{memchr, memchr2_iter, memmem};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::input_error::{InputError, InputErrorCode};

mod write;

pub(crate) use write::encoded_size;
pub use write::{ObjectWriter, WriteJson, write, write_text};

/// The maximum nesting of arrays and objects. It is the recursion limit of serde_json.
pub const MAX_DEPTH: usize = 127;

/// The members of a JSON object in order, with each value as it was written. If a name is repeated,
/// the last value counts, as in every JavaScript engine.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
    had_duplicates: bool,
}

impl<'a> Object<'a> {
    /// Parses `text`, which must have passed [`read`].
    pub(crate) fn parse(text: &'a RawValue) -> Result<Self, InputError> {
        serde_json::from_str(text.get()).map_err(|error| match text.get().as_bytes().first() {
            Some(b'{') => syntax_error(text.get(), &error),
            _ => InputError::new(InputErrorCode::Shape, "a JSON object is required"),
        })
    }

    /// The value of the member `name`.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// All members in order, each name once.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.members.iter().map(|(key, value)| (key.as_ref(), *value))
    }

    /// The members, to be changed.
    pub(crate) fn into_members(self) -> Vec<(Cow<'a, str>, &'a RawValue)> {
        self.members
    }

    /// The number of members, each name counted once.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether the text had a name more than once.
    pub(crate) fn had_duplicates(&self) -> bool {
        self.had_duplicates
    }
}

/// A JSON string, which is copied only if it has escapes.
#[derive(Deserialize)]
struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

/// The text of `value` if it is a string.
pub(crate) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str(value.get()).ok().map(|Borrowed(text)| text)
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((Borrowed(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                let had_duplicates = remove_duplicates(&mut members);
                Ok(Object { members, had_duplicates })
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Keeps the last of the members that share a name. Returns whether there were any.
fn remove_duplicates<V>(members: &mut Vec<(Cow<'_, str>, V)>) -> bool {
    let has_duplicates = if members.len() <= 16 {
        (1..members.len()).any(|i| members[..i].iter().any(|(key, _)| *key == members[i].0))
    } else {
        members.iter().map(|(key, _)| key).collect::<HashSet<_>>().len() < members.len()
    };
    if has_duplicates {
        let mut seen = HashSet::new();
        members.reverse();
        members.retain(|(key, _)| seen.insert(key.clone()));
        members.reverse();
    }
    has_duplicates
}

/// Replaces every escape of an unpaired surrogate, such as `\ud83d` at the end of a text that was cut, with the escape
/// of U+FFFD. Nothing else changes. JavaScript accepts such escapes, but no UTF-8 text can hold what they mean.
pub fn replace_unpaired_surrogates(body: &mut [u8]) {
    let escapes = memmem::Finder::new(br"\u");
    let mut from = 0;
    while let Some(next) = escapes.find(&body[from..]) {
        let at = from + next;
        from = at + 2;
        let backslashes = body[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        let is_escaped = backslashes % 2 == 1;
        match (code_unit(body, at), code_unit(body, at + 6)) {
            _ if is_escaped => {}
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => from = at + 12,
            (Some(0xD800..=0xDFFF), _) => body[at..at + 6].copy_from_slice(br"\ufffd"),
            _ => {}
        }
    }
}

/// Checks that a body is JSON, and returns its text without a byte order mark.
///
/// # Errors
/// [`InputErrorCode::Json`] if the body is not UTF-8 or not JSON, if a string has a NUL or an
/// unpaired surrogate, or if it is nested deeper than [`MAX_DEPTH`].
pub fn read(body: &[u8]) -> Result<&RawValue, InputError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        InputError::new(InputErrorCode::Json, format!("the body is not UTF-8 at byte {}", error.valid_up_to()))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    check_contents(text)?;
    serde_json::from_str(text).map_err(|error| syntax_error(text, &error))
}

/// Refuses text that serde_json accepts as a [`RawValue`], because it does not decode the strings in one. The text need
/// not be valid JSON.
fn check_contents(text: &str) -> Result<(), InputError> {
    let bytes = text.as_bytes();
    let refuse = |problem: &str| Err(InputError::new(InputErrorCode::Json, problem));
    let mut from = 0;
    while let Some(next) = bytes.get(from..).and_then(|rest| memchr(b'\\', rest)) {
        let at = from + next;
        from = at + 2;
        match code_unit(bytes, at) {
            Some(0) => return refuse("the body has a NUL (`\\u0000`) in a string; remove it"),
            Some(0xD800..=0xDBFF) if matches!(code_unit(bytes, at + 6), Some(0xDC00..=0xDFFF)) => from = at + 12,
            Some(0xD800..=0xDFFF) => {
                return refuse("the body has an unpaired surrogate in a string; send whole characters");
            }
            _ => {}
        }
    }
    // Counting brackets is fast, and the depth cannot exceed their number.
    if memchr2_iter(b'[', b'{', bytes).nth(MAX_DEPTH).is_some() && nesting_depth(bytes) > MAX_DEPTH {
        return refuse("the body nests arrays and objects deeper than 127 levels; flatten it");
    }
    Ok(())
}

fn nesting_depth(bytes: &[u8]) -> usize {
    let (mut deepest, mut depth, mut in_string, mut i) = (0, 0_usize, false, 0);
    while let Some(&byte) = bytes.get(i) {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => i += 1,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        i += 1;
    }
    deepest
}

/// The UTF-16 code unit of the escape `\uXXXX` at `at`.
fn code_unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(br"\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn syntax_error(text: &str, error: &serde_json::Error) -> InputError {
    if text.trim().is_empty() {
        return InputError::new(InputErrorCode::Json, "the body is empty; send a JSON object");
    }
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or_default();
    let (line, column) = (error.line(), error.column());
    let hint = Some(error)
        .filter(|error| error.is_syntax())
        .and_then(|error| unquoted_word(text, error.line(), error.column()))
        .map(|word| format!("; put `{word}` into double quotes"))
        .unwrap_or_default();
    let message = format!("the body is not valid JSON at line {line}, column {column}: {reason}{hint}");
    InputError::new(InputErrorCode::Json, message)
}

/// The word at a position in the text, if it is a value that lacks its quotes. The first command in the README of the
/// Node.js service makes this mistake.
fn unquoted_word(text: &str, line: usize, column: usize) -> Option<String> {
    let line = text.lines().nth(line.checked_sub(1)?)?;
    let at = column.checked_sub(1)?.min(line.len());
    let is_delimiter = |byte: u8| byte.is_ascii_whitespace() || b",:{}[]\"".contains(&byte);
    let bytes = line.as_bytes();
    let start = bytes[..at].iter().rposition(|&byte| is_delimiter(byte)).map_or(0, |i| i + 1);
    let end = bytes[at..].iter().position(|&byte| is_delimiter(byte)).map_or(bytes.len(), |i| at + i);
    let word = line.get(start..end)?;
    let is_word = word.starts_with(|first: char| first.is_ascii_alphanumeric()) && !word.contains(char::is_control);
    let is_value = line[..start].trim_end().ends_with([':', ',', '[']);
    let is_json = serde_json::from_str::<&RawValue>(word).is_ok();
    (is_word && is_value && !is_json).then(|| word.chars().take(64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_a_store_cannot_take_is_refused() {
        let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
        for text in [
            "",
            " ",
            "{",
            "{\"a\":1}x",
            "{\"a\":\"\u{0}\"}",
            r#"{"a":"\u0000"}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\ud800\u0041"}"#,
            r#"{"a":"\udc00"}"#,
            &deep,
        ] {
            assert_eq!(read(text.as_bytes()).map(RawValue::get).unwrap_err().code, InputErrorCode::Json, "{text}");
        }
        assert!(read(b"\"\xff\"").is_err());
    }

    #[test]
    fn surrogate_pairs_and_escaped_backslashes_are_accepted() {
        for text in [r#""\ud83d\ude00""#, r#""\\u0000""#, r#""\\\"[[""#, r#"{"a":123456789012345678901}"#] {
            assert_eq!(read(text.as_bytes()).expect(text).get(), text);
        }
    }

    #[test]
    fn only_escapes_of_unpaired_surrogates_are_replaced() {
        for (body, expected) in [
            (r#""\udce9""#, r#""\ufffd""#),
            (r#""\uDCE9""#, r#""\ufffd""#),
            (r#""caf\udbff""#, r#""caf\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\n\ude00""#, r#""\ufffd\n\ufffd""#),
            (r#""\ud83d\\ude00""#, r#""\ufffd\\ude00""#),
            (r#""\\\ud800""#, r#""\\\ufffd""#),
            (r#"{"\ud800":[{"\u0041\udfff":1}]}"#, r#"{"\ufffd":[{"\u0041\ufffd":1}]}"#),
            // The remaining texts stay as they are.
            (r#""\ud83d\ude00 \uD83D\uDE00 \udbff\udfff""#, r#""\ud83d\ude00 \uD83D\uDE00 \udbff\udfff""#),
            (r#""\\ud800 \\\\udc00 \ud7ff \ue000 \u0000""#, r#""\\ud800 \\\\udc00 \ud7ff \ue000 \u0000""#),
            (r#""\ud80""#, r#""\ud80""#),
            (r"\ud8", r"\ud8"),
            (r"\u", r"\u"),
            ("", ""),
        ] {
            let mut replaced = body.to_owned().into_bytes();
            replace_unpaired_surrogates(&mut replaced);
            assert_eq!(String::from_utf8(replaced).as_deref(), Ok(expected), "{body}");
        }
    }

    #[test]
    fn one_byte_order_mark_before_the_body_is_ignored() {
        assert_eq!(read("\u{feff}{\"a\":\"\u{feff}\"}".as_bytes()).expect("valid JSON").get(), "{\"a\":\"\u{feff}\"}");
        for body in ["\u{feff}", "\u{feff}\u{feff}{}", "{}\u{feff}", " \u{feff}{}"] {
            read(body.as_bytes()).map(RawValue::get).expect_err(body);
        }
    }

    #[test]
    fn a_syntax_error_is_located_and_a_missing_quote_is_named() {
        let body = br#"{"deployment_id": 84e803f7-9562-4d95-b828-25b167aea34b, "engine": "x"}"#;
        let error = read(body).map(RawValue::get).unwrap_err().message;
        let problem = "the body is not valid JSON at line 1, column 25: expected `,` or `}`";
        assert_eq!(error, format!("{problem}; put `84e803f7-9562-4d95-b828-25b167aea34b` into double quotes"));
    }

    #[test]
    fn the_last_value_of_a_repeated_name_counts() {
        let many: String = (0..40).map(|i| format!("\"k{}\":{i},", i % 20)).collect();
        for text in [r#"{"a":1,"b":2,"a":3}"#.to_owned(), format!("{{{many}\"a\":3}}")] {
            let object = Object::parse(read(text.as_bytes()).expect("valid JSON")).expect("an object");
            assert!(object.had_duplicates());
            assert_eq!(object.get("a").map(RawValue::get), Some("3"));
            assert_eq!(object.iter().filter(|(key, _)| *key == "a").count(), 1);
        }
    }
}
