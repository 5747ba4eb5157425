//! The sealed record of `retired/<id>`: an owner states that an outcome is to be removed.

use jiff::Timestamp;
use keelson_model::{LineageId, SessionId};

use super::DecodeError;
use super::bytes::{Decoder, Encoder};

const RECORD: &str = "retirement";

/// That an outcome was retired, and by which ownership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retirement {
    /// The outcome.
    pub outcome: SessionId,
    /// Whose epoch it was.
    pub lineage: LineageId,
    /// The epoch that the owner held. One that was superseded meanwhile voids the retirement.
    pub epoch: u64,
    /// When.
    pub at: Timestamp,
}

impl Retirement {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { outcome, lineage, epoch, at } = self;
        let mut encoder = Encoder::versioned();
        encoder.raw(outcome.as_bytes());
        encoder.raw(lineage.as_bytes());
        encoder.u64(*epoch);
        encoder.time(*at);
        encoder.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::versioned(RECORD, bytes)?;
        let record = Self {
            outcome: SessionId::from_bytes(decoder.array()?),
            lineage: LineageId::from_bytes(decoder.array()?),
            epoch: decoder.u64()?,
            at: decoder.time("time")?,
        };
        decoder.finish()?;
        Ok(record)
    }
}
