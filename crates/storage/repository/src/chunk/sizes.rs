//! How long chunks are, as a repository's `format` records it.

use crate::limits::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};

/// Least, average and greatest length of chunks, in bytes. Set once per repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSizes {
    min: u32,
    average: u32,
    max: u32,
}

impl ChunkSizes {
    /// For backups.
    pub const DEFAULT: Self = Self { min: 256 * 1024, average: 1024 * 1024, max: 4 * 1024 * 1024 };

    /// Sizes of one's own: the average is a power of two, min < average < max, within 64 bytes and 8 MiB.
    pub fn new(min: u32, average: u32, max: u32) -> Option<Self> {
        let ordered = CHUNK_BYTES_MIN <= min && min < average && average < max && max <= CHUNK_BYTES_MAX;
        (ordered && average.is_power_of_two()).then_some(Self { min, average, max })
    }

    /// No chunk is shorter, a stream's last one excepted.
    pub fn min(self) -> u32 {
        self.min
    }

    /// Around this most chunks end.
    pub fn average(self) -> u32 {
        self.average
    }

    /// No chunk is longer.
    pub fn max(self) -> u32 {
        self.max
    }
}

impl Default for ChunkSizes {
    fn default() -> Self {
        Self::DEFAULT
    }
}
