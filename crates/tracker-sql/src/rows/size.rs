//! How large rows are, so that a statement does not get too large.

use std::borrow::Cow;

use super::{DeploymentRow, LogRow, OutboxRow, ServerRow, Text};

/// About how many bytes a row takes in a statement.
pub trait Size {
    fn size(&self) -> usize;
}

fn size_of_texts(texts: &[&Option<Cow<'_, Text>>]) -> usize {
    texts.iter().copied().flatten().map(|text| text.len()).sum()
}

impl Size for DeploymentRow<'_> {
    fn size(&self) -> usize {
        let Self { engine, engine_version, host, user, environment, package, package_url, version, arguments, .. } =
            self;
        size_of_texts(&[engine, engine_version, host, user, environment, package, package_url, version, arguments])
    }
}

impl Size for ServerRow<'_> {
    fn size(&self) -> usize {
        self.hostname.len() + size_of_texts(&[&self.ip_address])
    }
}

impl Size for LogRow<'_> {
    fn size(&self) -> usize {
        self.deployment_id.len() + self.message.len()
    }
}

impl Size for OutboxRow<'_> {
    fn size(&self) -> usize {
        self.events.len()
    }
}
