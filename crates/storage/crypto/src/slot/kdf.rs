//! What turning a passphrase into a key costs, bounded both ways.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::pbkdf2;

use crate::passphrase::Passphrase;
use crate::secret::{KEY_BYTES, Secret};

/// The lower end is what tests use. The upper ends are twice what we write ourselves: a slot that somebody planted must
/// cost us little more than one of ours.
const ARGON2_MEMORY_KIB: RangeInclusive<u32> = 1024..=128 * 1024;
const ARGON2_ITERATIONS: RangeInclusive<u32> = 1..=6;
const ARGON2_LANES: RangeInclusive<u32> = 1..=4;
const PBKDF2_ROUNDS: RangeInclusive<u32> = 1_000_000..=2_000_000;

const ARGON2ID: u8 = 1;
const PBKDF2_HMAC_SHA256: u8 = 2;

/// A key derivation function and its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KdfCost {
    /// Argon2id, version 1.3.
    Argon2id {
        /// Memory, in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        iterations: u32,
        /// Degree of parallelism. We run it on one thread.
        lanes: u32,
    },
    /// PBKDF2 with HMAC-SHA256, for FIPS mode.
    Pbkdf2HmacSha256 {
        /// Rounds.
        rounds: u32,
    },
}

impl KdfCost {
    /// What new slots use.
    pub const RECOMMENDED: Self = Self::Argon2id { memory_kib: 64 * 1024, iterations: 3, lanes: 1 };
    /// What new slots use in FIPS mode.
    pub const FIPS: Self = Self::Pbkdf2HmacSha256 { rounds: 1_000_000 };
    /// The least that is accepted. For tests: it protects nothing.
    pub const LOWEST: Self = Self::Argon2id { memory_kib: 1024, iterations: 1, lanes: 1 };

    /// `None` outside the bounds.
    pub(super) fn encode(self) -> Option<(u8, [u32; 3])> {
        let (function, numbers) = match self {
            Self::Argon2id { memory_kib, iterations, lanes } => (ARGON2ID, [memory_kib, iterations, lanes]),
            Self::Pbkdf2HmacSha256 { rounds } => (PBKDF2_HMAC_SHA256, [rounds, 0, 0]),
        };
        Self::decode(function, numbers).map(|_| (function, numbers))
    }

    /// `None` for an unknown function and outside the bounds.
    pub(super) fn decode(function: u8, numbers: [u32; 3]) -> Option<Self> {
        match (function, numbers) {
            (ARGON2ID, [memory_kib, iterations, lanes])
                if ARGON2_MEMORY_KIB.contains(&memory_kib)
                    && ARGON2_ITERATIONS.contains(&iterations)
                    && ARGON2_LANES.contains(&lanes) =>
            {
                Some(Self::Argon2id { memory_kib, iterations, lanes })
            }
            (PBKDF2_HMAC_SHA256, [rounds, 0, 0]) if PBKDF2_ROUNDS.contains(&rounds) => {
                Some(Self::Pbkdf2HmacSha256 { rounds })
            }
            _ => None,
        }
    }

    /// The caller holds a cost within the bounds: both ways to a slot go through [`Self::decode`].
    pub(super) fn derive(self, passphrase: &Passphrase, salt: &[u8]) -> Secret {
        let mut root = zeroize::Zeroizing::new([0; KEY_BYTES]);
        match self {
            Self::Argon2id { memory_kib, iterations, lanes } => {
                let params = Params::new(memory_kib, iterations, lanes, Some(KEY_BYTES))
                    .expect("the bounds lie within those of Argon2");
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(passphrase.expose(), salt, root.as_mut_slice())
                    .expect("salt and output lengths are fixed, and a passphrase fits in memory");
            }
            Self::Pbkdf2HmacSha256 { rounds } => {
                let rounds = NonZeroU32::new(rounds).expect("the lower bound is above zero");
                pbkdf2::derive(
                    pbkdf2::PBKDF2_HMAC_SHA256,
                    rounds,
                    salt,
                    passphrase.expose(),
                    root.as_mut_slice(),
                );
            }
        }
        Secret::from_slice(root.as_slice()).expect("the buffer has a key's length")
    }
}
