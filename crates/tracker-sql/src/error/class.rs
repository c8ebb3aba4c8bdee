//! Recognizes the errors of a database by their English texts, because diesel does not pass error codes on.

use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind};
use tracker_core::{FieldClue, RejectReason};

/// Who is at fault for an error, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// The report: the database never accepts it.
    Report(RejectReason, FieldClue),
    /// The database: every report may meet the error.
    Database,
    /// Another transaction: the same transaction may succeed if it is retried at once.
    Race,
    /// The width that the Node.js service gave to the columns, in characters. The service may be about to widen them.
    Narrow(usize),
    /// The error does not say who is at fault.
    Unknown,
}

/// What the table of a database says about an error. `{}` in its text is the clue to the field at fault.
#[derive(Debug, Clone, Copy)]
pub enum Known {
    Report(RejectReason),
    /// `{}` is the name of the column, possibly quoted and qualified.
    Column(RejectReason),
    /// `{}` is the character, as the hexadecimal bytes `0xf0 0x9f 0x9a 0x80` of its UTF-8 form.
    Character(RejectReason),
    /// `{}` is the maximum number of characters.
    Limit(RejectReason),
    Database,
    Race,
    Narrow,
}

/// The errors of a database: texts and their meaning. In a text, `*` stands for anything, and so does `{}`.
pub type Errors = [(&'static str, Known)];

/// Classifies an error by the table of its database, and by diesel's kind if the table does not have it.
pub fn classify(errors: &Errors, kind: &DatabaseErrorKind, about: &dyn DatabaseErrorInformation) -> Class {
    use DatabaseErrorKind as Kind;
    let column = || about.column_name().map_or(FieldClue::Nothing, |name| FieldClue::Column(name.to_owned()));
    if matches!(kind, Kind::SerializationFailure) {
        return Class::Race;
    }
    let message = about.message();
    if let Some((known, clue)) = errors.iter().find_map(|(text, known)| Some((*known, find(text, message)?))) {
        return known.class(clue.unwrap_or(""), column());
    }
    match kind {
        // Another instance has inserted the same record since this transaction read.
        Kind::UniqueViolation if about.constraint_name().is_some_and(|name| name.ends_with("_pkey")) => Class::Race,
        Kind::UniqueViolation
        | Kind::ForeignKeyViolation
        | Kind::RestrictViolation
        | Kind::NotNullViolation
        | Kind::CheckViolation
        | Kind::ExclusionViolation => Class::Report(RejectReason::Constraint, column()),
        Kind::UnableToSendCommand | Kind::ReadOnlyTransaction | Kind::ClosedConnection => Class::Database,
        _ => Class::Unknown,
    }
}

impl Known {
    fn class(self, clue: &str, column: FieldClue) -> Class {
        match self {
            Self::Report(reason) => Class::Report(reason, column),
            Self::Column(reason) => {
                let name = clue.rsplit('.').next().unwrap_or(clue).trim_matches(['`', '\'', '"']);
                Class::Report(reason, FieldClue::Column(name.to_owned()))
            }
            Self::Character(reason) => Class::Report(reason, character(clue).map_or(column, FieldClue::Character)),
            Self::Limit(reason) => Class::Report(reason, clue.parse().map_or(column, FieldClue::LongerThan)),
            Self::Database => Class::Database,
            Self::Race => Class::Race,
            Self::Narrow => Class::Narrow(clue.parse().unwrap_or(0)),
        }
    }
}

/// The character whose UTF-8 form is `bytes`, such as `0xc3 0xa9`.
fn character(bytes: &str) -> Option<char> {
    let bytes: Option<Vec<u8>> =
        bytes.split(' ').map(|byte| u8::from_str_radix(byte.strip_prefix("0x")?, 16).ok()).collect();
    String::from_utf8(bytes?).ok()?.chars().next()
}

/// The part of `message` at `{}`, if the message has the form of `text`.
fn find<'a>(text: &str, message: &'a str) -> Option<Option<&'a str>> {
    let Some(end) = text.find(['*', '{']) else { return (text == message).then_some(None) };
    let rest = message.strip_prefix(&text[..end])?;
    let (is_clue, text) = match text[end..].strip_prefix("{}") {
        Some(text) => (true, text),
        None => (false, &text[end + 1..]),
    };
    let literal = &text[..text.find(['*', '{']).unwrap_or(text.len())];
    // Text that ends the message is found from the end.
    let at = if literal.len() < text.len() { rest.find(literal)? } else { rest.strip_suffix(literal)?.len() };
    let clue = find(text, &rest[at..])?;
    Some(if is_clue { Some(&rest[..at]) } else { clue })
}

/// The text that matches `message`.
#[cfg(test)]
pub fn text_of(errors: &'static Errors, message: &str) -> Option<&'static str> {
    errors.iter().map(|(text, _)| *text).find(|text| find(text, message).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_matches_a_whole_message() {
        let cases = [
            ("deadlock detected", "deadlock detected", Some(None)),
            ("deadlock detected", "deadlock detected?", None),
            ("canceling statement *", "canceling statement due to lock timeout", Some(None)),
            ("the table '{}' is full", "the table 'a' is full' is full", Some(Some("a' is full"))),
            ("column '{}' at row *", "column 'user' at row 1", Some(Some("user"))),
            ("value * for {} at *", "value 'x' for user at 1", Some(Some("user"))),
            ("* out of range", "integer out of range", Some(None)),
            ("* out of range", "integer out of range for all", None),
        ];
        for (text, message, found) in cases {
            assert_eq!(find(text, message), found, "{text:?} in {message:?}");
        }
    }

    #[test]
    fn a_character_is_read_from_its_bytes() {
        assert_eq!(character("0xf0 0x9f 0x9a 0x80"), Some('🚀'));
        assert_eq!(character("0xff"), None);
        assert_eq!(character("something"), None);
    }
}
