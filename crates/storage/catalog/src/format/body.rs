//! Compresses bodies with a shared dictionary: rows are small and alike.
//!
//! The first byte names the dictionary, 0 the plain bytes. A dictionary is kept for as long as any file may
//! hold a body made with it; a new one gets the next number.

use std::fmt;

use zstd::bulk::{Compressor, Decompressor};

use super::Malformed;
use crate::limits::BODY_BYTES_MAX;

const PLAIN: u8 = 0;
const DICTIONARY_1: u8 = 1;

/// Typical bodies, the most typical last: zstd takes any text for a dictionary and reaches back into it.
const DICTIONARY_1_BYTES: &[u8] = include_bytes!("body/dictionary_1.json");

/// The level that keeps the writer ahead of the disk.
const LEVEL: i32 = 1;

/// Below this a body stays as it is.
const COMPRESSED_BYTES_MIN: usize = 32;

/// A dictionary byte and the plain length come before the frame.
const HEADER_BYTES: usize = 5;

pub(crate) struct BodyEncoder(Compressor<'static>);

impl BodyEncoder {
    pub(crate) fn new() -> Self {
        let compressor = Compressor::with_dictionary(LEVEL, DICTIONARY_1_BYTES)
            .expect("the dictionary is built in and any bytes are one");
        Self(compressor)
    }

    /// The same body gives the same bytes.
    pub(crate) fn encode(&mut self, body: &[u8]) -> Vec<u8> {
        debug_assert!(body.len() <= BODY_BYTES_MAX);
        if body.len() >= COMPRESSED_BYTES_MIN
            && let Ok(frame) = self.0.compress(body)
            && frame.len() + HEADER_BYTES <= body.len()
        {
            let mut bytes = Vec::with_capacity(HEADER_BYTES + frame.len());
            bytes.push(DICTIONARY_1);
            bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&frame);
            return bytes;
        }
        let mut bytes = Vec::with_capacity(1 + body.len());
        bytes.push(PLAIN);
        bytes.extend_from_slice(body);
        bytes
    }
}

pub(crate) struct BodyDecoder(Decompressor<'static>);

impl BodyDecoder {
    pub(crate) fn new() -> Self {
        let decompressor = Decompressor::with_dictionary(DICTIONARY_1_BYTES)
            .expect("the dictionary is built in and any bytes are one");
        Self(decompressor)
    }

    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
        const MALFORMED: Malformed = Malformed::bytes("body");
        match bytes.split_first().ok_or(MALFORMED)? {
            (&PLAIN, body) if body.len() <= BODY_BYTES_MAX => Ok(body.to_vec()),
            (&DICTIONARY_1, rest) => {
                let (length, frame) = rest.split_first_chunk().ok_or(MALFORMED)?;
                let length = u32::from_le_bytes(*length) as usize;
                if length > BODY_BYTES_MAX {
                    return Err(MALFORMED);
                }
                let body = self.0.decompress(frame, length).map_err(|_| MALFORMED)?;
                if body.len() == length { Ok(body) } else { Err(MALFORMED) }
            }
            _ => Err(MALFORMED),
        }
    }
}

impl fmt::Debug for BodyEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyEncoder")
    }
}

impl fmt::Debug for BodyDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyDecoder")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Whoever writes a reader has the pages alone.
    #[test]
    fn the_dictionary_is_the_one_beside_the_format_pages() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/format/dictionary_1.json");
        assert!(fs::read(path).unwrap() == DICTIONARY_1_BYTES, "the built-in dictionary and {path} differ");
    }
}
