//! Sizes of rows, which bound the size of a statement.

use super::{NewDeployment, NewLog, NewServer, OutboxRow};
use crate::fields::with_text_fields;

/// The approximate size of a row in a statement, in bytes. Only counts texts of variable size.
pub trait Size {
    fn size(&self) -> usize;
}

fn size_of(text: &Option<&str>) -> usize {
    text.map_or(0, str::len)
}

macro_rules! deployment_size {
    ($($text:ident)*) => {
        impl Size for NewDeployment<'_> {
            fn size(&self) -> usize {
                let Self {
                    deployment_id: _,
                    $($text,)*
                    result: _,
                    elapsed_seconds: _,
                    created_at: _,
                    updated_at: _,
                } = self;
                0 $(+ size_of($text))*
            }
        }
    };
}

with_text_fields!(deployment_size);

impl Size for NewServer<'_> {
    fn size(&self) -> usize {
        let Self {
            hostname,
            deployment_id: _,
            ip_address,
            result: _,
            elapsed_seconds: _,
            created_at: _,
            updated_at: _,
        } = self;
        hostname.len() + size_of(ip_address)
    }
}

impl Size for NewLog<'_> {
    fn size(&self) -> usize {
        let Self { deployment_id, event_id: _, received_at: _, message } = self;
        deployment_id.len() + message.len()
    }
}

impl Size for OutboxRow<'_> {
    fn size(&self) -> usize {
        let Self { output: _, batch_id: _, owner: _, is_taken_over: _, messages: _, bytes: _, created_at: _, events } =
            self;
        events.len()
    }
}
