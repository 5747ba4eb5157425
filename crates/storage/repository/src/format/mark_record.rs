//! The sealed records of `marks/<m>` and `verdicts/<m>`, by which pruning meets writers.

use keelson_model::{PackId, SessionId};

use super::DecodeError;
use super::bytes::{Decoder, Encoder};

/// What a prune found: the packs that no outcome of its list names, and that list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct MarkRecord {
    pub(crate) packs: Vec<PackId>,
    pub(crate) outcomes: Vec<SessionId>,
}

/// What a prune decided on each pack of its mark.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct VerdictRecord {
    pub(crate) dead: Vec<PackId>,
    pub(crate) kept: Vec<PackId>,
}

impl MarkRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { packs, outcomes } = self;
        let mut encoder = Encoder::versioned();
        encode_packs(&mut encoder, packs);
        encode_outcomes(&mut encoder, outcomes);
        encoder.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::versioned("mark", bytes)?;
        let (packs, outcomes) = (decode_packs(&mut decoder)?, decode_outcomes(&mut decoder)?);
        decoder.finish()?;
        Ok(Self { packs, outcomes })
    }
}

impl VerdictRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { dead, kept } = self;
        let mut encoder = Encoder::versioned();
        encode_packs(&mut encoder, dead);
        encode_packs(&mut encoder, kept);
        encoder.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::versioned("verdict", bytes)?;
        let (dead, kept) = (decode_packs(&mut decoder)?, decode_packs(&mut decoder)?);
        decoder.finish()?;
        Ok(Self { dead, kept })
    }
}

pub(super) fn encode_packs(encoder: &mut Encoder, packs: &[PackId]) {
    encoder.count(packs.len());
    packs.iter().for_each(|pack| encoder.raw(pack.as_bytes()));
}

pub(super) fn decode_packs(decoder: &mut Decoder<'_>) -> Result<Vec<PackId>, DecodeError> {
    let count = decoder.count(PackId::LENGTH)?;
    (0..count).map(|_| decoder.array().map(PackId::from_bytes)).collect()
}

pub(super) fn encode_outcomes(encoder: &mut Encoder, outcomes: &[SessionId]) {
    encoder.count(outcomes.len());
    outcomes.iter().for_each(|outcome| encoder.raw(outcome.as_bytes()));
}

pub(super) fn decode_outcomes(decoder: &mut Decoder<'_>) -> Result<Vec<SessionId>, DecodeError> {
    let count = decoder.count(SessionId::LENGTH)?;
    (0..count).map(|_| decoder.array().map(SessionId::from_bytes)).collect()
}
