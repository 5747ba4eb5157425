//! The sealed record of `sessions/<id>/<n>`: that somebody works here, and until when at most.

use jiff::Timestamp;

use super::DecodeError;
use super::bytes::{Decoder, Encoder};

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SessionPurpose {
    /// Writes a backup.
    Backup = 1,
    /// Writes an export.
    Export = 2,
    /// Reads.
    Restore = 3,
    /// Writes the base of a catalog.
    Base = 4,
    /// Checks what is there.
    Verify = 5,
    /// Moves what is half dead into new packs.
    Repack = 6,
}

impl SessionPurpose {
    pub(crate) fn decode(code: u8) -> Option<Self> {
        let all = [Self::Backup, Self::Export, Self::Restore, Self::Base, Self::Verify, Self::Repack];
        all.into_iter().find(|purpose| *purpose as u8 == code)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRecord {
    pub(crate) purpose: SessionPurpose,
    /// Nought at first; each renewal counts one up.
    pub(crate) renewal: u32,
    pub(crate) started: Timestamp,
    /// After this a pruner may end the session.
    pub(crate) lives_until: Timestamp,
}

impl SessionRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { purpose, renewal, started, lives_until } = self;
        let mut encoder = Encoder::versioned();
        encoder.u8(*purpose as u8);
        encoder.u32(*renewal);
        encoder.time(*started);
        encoder.time(*lives_until);
        encoder.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::versioned("session", bytes)?;
        let purpose = SessionPurpose::decode(decoder.u8()?).ok_or_else(|| decoder.field("purpose"))?;
        let record = Self {
            purpose,
            renewal: decoder.u32()?,
            started: decoder.time("start")?,
            lives_until: decoder.time("end of life")?,
        };
        decoder.finish()?;
        Ok(record)
    }
}
