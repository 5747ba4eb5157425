//! Bytes of files, the same in each run: words that compress as text does, or bytes that nothing compresses.

use std::io::{self, Write};

const PIECE_BYTES: usize = 64 * 1024;
const WORDS: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    Text,
    Incompressible,
}

/// What a file holds. Two with the same seed and nature begin alike, and are alike if as long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    pub nature: Nature,
    pub seed: u64,
    pub bytes: u64,
}

/// Marsaglia's xorshift: quick, and good enough that no compressor finds anything.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(crate::index::spread(seed) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From nothing to one, without one.
    pub(super) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Words of two to nine letters, made once.
pub(super) struct Vocabulary(Vec<Vec<u8>>);

impl Vocabulary {
    pub(super) fn new() -> Self {
        let mut random = Random::new(11);
        let word = |_| {
            let letters = 2 + random.next() % 8;
            let mut word: Vec<u8> = (0..letters).map(|_| b'a' + (random.next() % 26) as u8).collect();
            word.push(if random.next().is_multiple_of(12) { b'\n' } else { b' ' });
            word
        };
        Self((0..WORDS).map(word).collect())
    }

    pub(super) fn write(&self, content: Content, out: &mut impl Write) -> io::Result<()> {
        let mut random = Random::new(content.seed);
        let mut piece = Vec::with_capacity(PIECE_BYTES + 16);
        let mut left = content.bytes;
        while left > 0 {
            piece.clear();
            while piece.len() < PIECE_BYTES.min(left as usize) {
                match content.nature {
                    Nature::Incompressible => piece.extend_from_slice(&random.next().to_le_bytes()),
                    Nature::Text => piece.extend_from_slice(self.pick(&mut random)),
                }
            }
            piece.truncate(left.min(piece.len() as u64) as usize);
            out.write_all(&piece)?;
            left -= piece.len() as u64;
        }
        Ok(())
    }

    /// Frequent words are very frequent, as in languages.
    fn pick(&self, random: &mut Random) -> &[u8] {
        let fraction = random.fraction();
        &self.0[(fraction * fraction * fraction * WORDS as f64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_as_long_as_said_and_the_same_again() {
        let vocabulary = Vocabulary::new();
        for nature in [Nature::Text, Nature::Incompressible] {
            for bytes in [0, 1, 7, 2048, PIECE_BYTES as u64, 3 * PIECE_BYTES as u64 + 5] {
                let make = |seed| {
                    let mut out = Vec::new();
                    vocabulary.write(Content { nature, seed, bytes }, &mut out).unwrap();
                    out
                };
                assert_eq!(make(5).len() as u64, bytes);
                assert_eq!(make(5), Vocabulary::new().0.first().map(|_| make(5)).unwrap());
                assert!(bytes < 7 || make(5) != make(6), "another seed is other content");
            }
        }
    }
}
