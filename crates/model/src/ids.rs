//! The registry of ids. Each is a type of its own, so that one can never be passed for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is not the id it was meant to be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{text}' is not a {expected}")]
pub struct ParseIdError {
    text: String,
    expected: &'static str,
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $noun:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            pub const LENGTH: usize = $bytes;

            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; $bytes];
                let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
                if lower && hex::decode_to_slice(text, &mut bytes).is_ok() {
                    return Ok(Self(bytes));
                }
                Err(ParseIdError { text: text.chars().take(80).collect(), expected: $noun })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

byte_id!(
    /// One repository: the unit of keys, pruning and tenancy. Random.
    RepositoryId, 16, "repository id (32 lower-case hex digits)"
);
byte_id!(
    /// One session of a writer or reader. The outcome of a session carries the session's id. Random.
    SessionId, 16, "session id (32 lower-case hex digits)"
);
byte_id!(
    /// One pack of a repository, and the random object id inside its envelope.
    PackId, 16, "pack id (32 lower-case hex digits)"
);
byte_id!(
    /// One passphrase slot. Random.
    SlotId, 16, "slot id (32 lower-case hex digits)"
);
byte_id!(
    /// What a policy lets other installations read of its exports. Random.
    GrantId, 16, "grant id (32 lower-case hex digits)"
);
byte_id!(
    /// One installation and what was recovered from it.
    LineageId, 16, "lineage id (32 lower-case hex digits)"
);
byte_id!(
    /// One installation of the platform, made when it first starts and never restored.
    InstanceId, 16, "instance id (32 lower-case hex digits)"
);
byte_id!(
    /// The keyed hash of a chunk's plaintext.
    ChunkId, 32, "chunk id (64 lower-case hex digits)"
);

/// The UID of the namespace `default`: the prefix under which a cluster's backups lie.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ClusterId(String);

impl ClusterId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ClusterId {
    type Err = ParseIdError;

    /// Accepts what a Kubernetes UID may be made of, and nothing that could climb out of a path.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let plain =
            text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if plain && (8..=64).contains(&text.len()) && !text.starts_with('-') {
            return Ok(Self(text.to_owned()));
        }
        Err(ParseIdError {
            text: text.chars().take(80).collect(),
            expected: "cluster id (the UID of namespace 'default')",
        })
    }
}

impl<'de> Deserialize<'de> for ClusterId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How many times a catalog was recovered. A recovery opens the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl Generation {
    /// `Revision` leaves 23 bits above the 40 of the sequence; the sign bit stays clear.
    pub const MAX: Self = Self((1 << 23) - 1);

    pub fn next(self) -> Option<Self> {
        (self < Self::MAX).then_some(Self(self.0 + 1))
    }
}

/// The number of a journal entry inside its generation. The first entry is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    pub const MAX: Self = Self((1 << 40) - 1);
}

/// A point in the life of a catalog, and the `resourceVersion` that clients see: `generation · 2^40 + sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Revision(u64);

impl Revision {
    pub const fn new(generation: Generation, sequence: Sequence) -> Self {
        assert!(sequence.0 <= Sequence::MAX.0 && generation.0 <= Generation::MAX.0);
        Self(((generation.0 as u64) << 40) | sequence.0)
    }

    pub const fn generation(self) -> Generation {
        Generation((self.0 >> 40) as u32)
    }

    pub const fn sequence(self) -> Sequence {
        Sequence(self.0 & Sequence::MAX.0)
    }

    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Revision {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let error = || ParseIdError { text: text.chars().take(80).collect(), expected: "resource version" };
        let number: u64 = text.parse().map_err(|_| error())?;
        if number >> 63 != 0 {
            return Err(error());
        }
        Ok(Self(number))
    }
}

impl<'de> Deserialize<'de> for Generation {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_up_to(deserializer, Self::MAX.0).map(Self)
    }
}

impl<'de> Deserialize<'de> for Sequence {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_up_to(deserializer, Self::MAX.0).map(Self)
    }
}

impl<'de> Deserialize<'de> for Revision {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_up_to(deserializer, u64::MAX >> 1).map(Self)
    }
}

/// A number that somebody else wrote. Beyond the greatest it would be another number wherever it is put together.
fn deserialize_up_to<'de, D, N>(deserializer: D, most: N) -> Result<N, D::Error>
where
    D: serde::Deserializer<'de>,
    N: Deserialize<'de> + PartialOrd + fmt::Display,
{
    let number = N::deserialize(deserializer)?;
    if number > most {
        return Err(serde::de::Error::custom(format_args!("{number} is more than {most}")));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document with a greater one was taken, and whoever made a revision of it ended in a panic.
    #[test]
    fn numbers_that_no_revision_can_hold_are_not_read() {
        let read = |text: &str| serde_json::from_str::<(Generation, Sequence)>(text);
        let (generation, sequence) = read("[8388607, 1099511627775]").unwrap();
        let last = Revision::new(generation, sequence);
        assert_eq!(serde_json::from_str::<Revision>(&last.to_string()).unwrap(), last);
        assert!(read("[8388608, 1]").is_err());
        assert!(read("[1, 1099511627776]").is_err());
        assert!(serde_json::from_str::<Revision>("9223372036854775808").is_err());
    }

    #[test]
    fn an_id_reads_back_what_it_prints() {
        let id = RepositoryId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("AB".repeat(16).parse::<RepositoryId>().is_err());
        assert!("ab".parse::<RepositoryId>().is_err());
    }

    #[test]
    fn a_cluster_id_cannot_climb_out_of_a_path() {
        assert!("0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa".parse::<ClusterId>().is_ok());
        for text in ["", "..", "../../etc", "a/b/c/d/e", "0C3E8C52-6A0B", "-rf-------", "a"] {
            assert!(text.parse::<ClusterId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_revision_orders_by_generation_before_sequence() {
        let old = Revision::new(Generation(1), Sequence(900));
        let new = Revision::new(Generation(2), Sequence(1));
        assert!(old < new);
        assert_eq!((new.generation(), new.sequence()), (Generation(2), Sequence(1)));
        assert_eq!(new.to_string().parse(), Ok(new));
    }
}
