//! A source of the passphrase that goes away after it was in use: told, and no reason to stop protecting.
//!
//! Which source was in use is remembered, and no digest of what it gave: whether that has changed is found out by the slots,
//! which are as hard to guess by as any.

use std::sync::Arc;

use jiff::Timestamp;
use keelson_crypto::Passphrase;
use serde::{Deserialize, Serialize};

use super::{PassphraseError, fetch_secret, parse, resolve};
use crate::platform::Platform;
use crate::recovery::{RecoveryError, state};
use crate::validation::told;

/// Where the passphrase in force came from, if it was from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownSource {
    pub described: String,
    /// It cannot be read now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<SourceTrouble>,
}

/// Since when a source cannot be read for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceTrouble {
    pub since: Timestamp,
    pub why: String,
}

/// What a look at the source found.
pub(crate) enum Watched {
    Read {
        passphrases: Vec<Arc<Passphrase>>,
        /// Where the first of them came from; none for a raw one.
        source: Option<KnownSource>,
    },
    /// The source of the passphrase in force, which is away.
    Away(PassphraseError),
}

/// Reads the passphrases, for the policy that protects the platform.
///
/// A source that never gave any is no such policy's: only that of the passphrase in force may be away.
pub(crate) async fn read(platform: &Platform) -> Result<Watched, RecoveryError> {
    let failed = |source| RecoveryError::Passphrase { source };
    let secret = fetch_secret(platform).await.map_err(failed)?;
    let described = parse(&secret).map_err(failed)?.describe();
    let error = match resolve(platform, &secret, None).await {
        Ok(passphrases) => {
            let source = described.map(|described| KnownSource { described, trouble: None });
            return Ok(Watched::Read { passphrases, source });
        }
        Err(error) => error,
    };
    let known = state::passphrase_source(platform)?;
    match known.filter(|known| Some(&known.described) == described.as_ref()) {
        Some(known) if error.is_of_the_source() => {
            note_trouble(platform, known, told(&error)).await?;
            Ok(Watched::Away(error))
        }
        _ => Err(failed(error)),
    }
}

async fn note_trouble(platform: &Platform, known: KnownSource, why: String) -> Result<(), RecoveryError> {
    if known.trouble.as_ref().is_some_and(|trouble| trouble.why == why) {
        return Ok(());
    }
    let trouble = Some(SourceTrouble { since: platform.clock.now(), why });
    state::write_passphrase_source(platform, Some(&KnownSource { trouble, ..known })).await
}

/// What the source gave is in force: from here on it may be away.
pub(crate) async fn settle(platform: &Platform, source: Option<KnownSource>) -> Result<(), RecoveryError> {
    if state::passphrase_source(platform)? == source {
        return Ok(());
    }
    state::write_passphrase_source(platform, source.as_ref()).await
}
