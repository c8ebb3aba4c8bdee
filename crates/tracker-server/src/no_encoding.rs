//! Replaces `encoding.rs` without the feature `compression`.

use std::io::Read;

/// The message for every coding.
pub const UNSUPPORTED: &str = "the content encoding is not supported; send the body uncompressed";

/// No coding.
#[derive(Debug, Clone, Copy)]
pub enum Encoding {}

impl Encoding {
    pub fn named(_: &str) -> Option<Self> {
        None
    }

    pub fn decoder(self, _: &[u8]) -> Box<dyn Read + '_> {
        match self {}
    }
}
