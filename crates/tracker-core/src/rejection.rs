//! Why a store refuses a change that it can never make.

use std::fmt;

use crate::deployment::DeploymentFields;
use crate::event::EventKind;
use crate::group::Change;
use crate::server::ServerFields;

/// Why the store never accepts a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectReason {
    /// A text, or the whole report, is longer than the database can store.
    TooLong,
    /// The character encoding of the database lacks a character of the report.
    Encoding,
    /// A value does not fit the type of its column.
    Invalid,
    /// A constraint of the database forbids the report.
    Constraint,
    /// A rule that the store cannot name forbids the report, such as a trigger. The database accepts other changes.
    Rule,
}

impl fmt::Display for RejectReason {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooLong => "the database cannot store a text of this length",
            Self::Encoding => "the character encoding of the database lacks a character of this report",
            Self::Invalid => "a value of this report does not fit the type of its column in the database",
            Self::Constraint => "a constraint of the database forbids this report",
            Self::Rule => "a rule of the database, such as a trigger, forbids this report",
        })
    }
}

/// What a database says about the field at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldClue {
    /// Nothing.
    Nothing,
    /// The name of its column.
    Column(String),
    /// A character that it contains.
    Character(char),
    /// The number of characters that it exceeds.
    LongerThan(usize),
}

impl Change {
    /// The field of the report that the clue identifies.
    pub(crate) fn field_at_fault(&self, clue: &FieldClue) -> Option<&'static str> {
        let texts = self.texts();
        let mut suspects = texts.iter().filter(|(_, text)| match clue {
            FieldClue::Character(character) => text.contains(*character),
            FieldClue::LongerThan(limit) => text.chars().count() > *limit,
            FieldClue::Nothing | FieldClue::Column(_) => false,
        });
        match clue {
            FieldClue::Nothing => None,
            FieldClue::Column(column) => self.names().iter().copied().flatten().copied().find(|name| name == column),
            FieldClue::Character(_) => suspects.next().map(|(name, _)| *name),
            // Another long field may have a column without this limit.
            FieldClue::LongerThan(_) => suspects.next().map(|(name, _)| *name).filter(|_| suspects.next().is_none()),
        }
    }

    /// The names of the fields of the report, in parts.
    fn names(&self) -> [&'static [&'static str]; 2] {
        match self {
            Self::StartDeployment(_) | Self::FinishDeployment(_) => [&["deployment_id"], DeploymentFields::NAMES],
            Self::StartServer(_) | Self::FinishServer(_) => [&["deployment_id", "hostname"], ServerFields::NAMES],
            Self::KeepLogs(_) | Self::ForwardLogs(_) => [&["deployment_id", "message"], &[]],
            Self::Enqueue(_) | Self::Acknowledge { .. } => [&[], &[]],
        }
    }

    /// The text fields of the report that are stored as they are, with their names.
    fn texts(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::StartDeployment(report) | Self::FinishDeployment(report) => {
                report.fields.texts().filter_map(|(name, text)| Some((name, text?.as_str()))).collect()
            }
            Self::StartServer(report) | Self::FinishServer(report) => {
                let fields = report.fields.texts().filter_map(|(name, text)| Some((name, text?.as_str())));
                std::iter::once(("hostname", report.key.hostname.as_str())).chain(fields).collect()
            }
            // All messages of a report have the same id.
            Self::KeepLogs(events) | Self::ForwardLogs(events) => match events.first().map(|event| &event.kind) {
                Some(EventKind::Logged(logs)) => vec![("deployment_id", logs.deployment_id.as_str())],
                _ => Vec::new(),
            },
            Self::Enqueue(_) | Self::Acknowledge { .. } => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{deployment_report, logged, new_id, server_report};

    #[test]
    fn a_clue_identifies_a_field_only_where_it_is_certain() {
        let deployment = |body: &str| Change::StartDeployment(deployment_report(new_id(), body));
        let server = |body: &str| Change::StartServer(server_report(new_id(), body));
        let two_long = format!(r#"{{"user":"{0}","host":"{0}"}}"#, "x".repeat(9));
        let column = |name: &str| FieldClue::Column(name.to_owned());
        let cases = [
            (deployment(r#"{"user":"🚀"}"#), FieldClue::Nothing, None),
            (deployment(r#"{"engine":"e","user":"a🚀"}"#), FieldClue::Character('🚀'), Some("user")),
            (deployment(r#"{"engine":"e"}"#), FieldClue::Character('🚀'), None),
            (deployment(r#"{"package":"123456789"}"#), FieldClue::LongerThan(8), Some("package")),
            (deployment(r#"{"package":"éééé"}"#), FieldClue::LongerThan(4), None),
            (deployment(&two_long), FieldClue::LongerThan(8), None),
            (deployment("{}"), column("elapsed_seconds"), Some("elapsed_seconds")),
            (deployment("{}"), column("cost_center"), None),
            (server(r#"{"hostname":"h🚀"}"#), FieldClue::Character('🚀'), Some("hostname")),
            (server(r#"{"hostname":"h"}"#), column("hostname"), Some("hostname")),
            (server(r#"{"hostname":"h"}"#), column("user"), None),
            (Change::KeepLogs(vec![logged(r#"{"message":"🚀"}"#)]), FieldClue::Character('🚀'), None),
            (Change::ForwardLogs(vec![logged(r#"{"message":"m"}"#)]), column("message"), Some("message")),
        ];
        for (change, clue, field) in cases {
            assert_eq!(change.field_at_fault(&clue), field, "{clue:?} in {change:?}");
        }
    }
}
