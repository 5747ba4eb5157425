//! A node of a stream's tree: a chunk like any other, whose content is a list of chunks.

use keelson_model::ChunkId;

use super::DecodeError;
use super::bytes::{Decoder, Encoder};
use crate::limits::NODE_CHILDREN_MAX;

const RECORD: &str = "tree node";
const CHILD_BYTES: usize = ChunkId::LENGTH + 8;

/// A chunk, and how many bytes of the stream lie beneath it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) id: ChunkId,
    pub(crate) length: u64,
}

pub(crate) fn encode(children: &[Child]) -> Vec<u8> {
    let mut encoder = Encoder::versioned();
    encoder.count(children.len());
    for Child { id, length } in children {
        encoder.raw(id.as_bytes());
        encoder.u64(*length);
    }
    encoder.finish()
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Child>, DecodeError> {
    let mut decoder = Decoder::versioned(RECORD, bytes)?;
    let count = decoder.count(CHILD_BYTES)?;
    if !(1..=NODE_CHILDREN_MAX).contains(&count) {
        return Err(decoder.field("number of children"));
    }
    let mut children = Vec::with_capacity(count);
    for _ in 0..count {
        children.push(Child { id: ChunkId::from_bytes(decoder.array()?), length: decoder.u64()? });
    }
    decoder.finish()?;
    Ok(children)
}
