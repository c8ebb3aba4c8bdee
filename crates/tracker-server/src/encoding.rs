//! Content codings of request bodies.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// The message for a coding that is not listed here.
pub const UNSUPPORTED: &str =
    "the content encoding is not supported; use gzip, deflate or br, or send the body uncompressed";

/// Size of the brotli decoder's buffer, in bytes.
const BROTLI_BUFFER: usize = 4 << 10;

#[derive(Debug, Clone, Copy)]
pub enum Encoding {
    Gzip,
    Deflate,
    Brotli,
}

impl Encoding {
    /// The coding with this name, in lower case.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "br" => Some(Self::Brotli),
            _ => None,
        }
    }

    pub fn decoder(self, bytes: &[u8]) -> Box<dyn Read + '_> {
        match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(bytes)),
            Self::Deflate if has_zlib_header(bytes) => Box::new(ZlibDecoder::new(bytes)),
            Self::Deflate => Box::new(DeflateDecoder::new(bytes)),
            Self::Brotli => Box::new(brotli::Decompressor::new(bytes, BROTLI_BUFFER)),
        }
    }
}

/// Whether a `deflate` body has the zlib header (RFC 1950, section 2.2) that the coding requires. Some clients omit it.
/// Their data does not look like a header: it would begin with an uncompressed block whose padding is not zero.
fn has_zlib_header(bytes: &[u8]) -> bool {
    matches!(bytes, [method, flags, ..] if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}
