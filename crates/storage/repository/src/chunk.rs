//! Cutting a stream into chunks where its content says so, naming and compressing them.

mod encode;
mod sizes;

use keelson_crypto::GearTable;

pub use encode::ChunkFault;
pub(crate) use encode::{EncodedChunk, decode_chunk, encode_chunks};
pub use sizes::ChunkSizes;

/// Decides where chunks end. The table is secret, so that chunk lengths tell a stranger nothing.
pub(crate) struct Chunker {
    sizes: ChunkSizes,
    gear: GearTable,
    before_average: u64,
    after_average: u64,
}

impl Chunker {
    pub(crate) fn new(sizes: ChunkSizes, gear: GearTable) -> Self {
        // Two bits harder before the average and two easier after it: lengths gather around the average.
        let bits = sizes.average().ilog2();
        Self { sizes, gear, before_average: high_bits(bits + 2), after_average: high_bits(bits - 2) }
    }

    pub(crate) fn sizes(&self) -> ChunkSizes {
        self.sizes
    }

    /// The length of the chunk at the front of `bytes`. Unless the stream ends there, the caller brings at least
    /// the longest chunk's length, so that the answer depends on the stream's content alone.
    pub(crate) fn cut(&self, bytes: &[u8]) -> usize {
        let (min, average) = (self.sizes.min() as usize, self.sizes.average() as usize);
        if bytes.len() <= min {
            return bytes.len();
        }
        let end = bytes.len().min(self.sizes.max() as usize);
        let middle = end.min(average);
        let table = self.gear.entries();
        let mut hash = 0u64;
        for (at, byte) in bytes[..middle].iter().enumerate().skip(min) {
            hash = (hash << 1).wrapping_add(table[usize::from(*byte)]);
            if hash & self.before_average == 0 {
                return at + 1;
            }
        }
        for (at, byte) in bytes[..end].iter().enumerate().skip(middle) {
            hash = (hash << 1).wrapping_add(table[usize::from(*byte)]);
            if hash & self.after_average == 0 {
                return at + 1;
            }
        }
        end
    }
}

/// The high bits of the rolling value depend on the most bytes.
fn high_bits(count: u32) -> u64 {
    !(u64::MAX >> count)
}

#[cfg(test)]
mod tests;
