//! Claims of ownership in a location: `epochs/<lineage>/<n>`, sealed under the lineage's key, each naming the digest
//! of the claim before.
//!
//! Guarantees: of two claimants of one epoch one wins, since a claim is created and never replaced. What does not open
//! under the lineage's key, or does not continue its chain, was written by a stranger: it counts for nothing and is
//! reported. Limits: [`CLAIMS_MAX`] claims of the lineage count.

mod retired;

use std::collections::HashSet;

use bytes::Bytes;
use futures::TryStreamExt;
use jiff::Timestamp;
use keelson_crypto::{Keyring, ObjectKind, Sha256};
use keelson_model::{Chain, Classified, ClusterId, ErrorClass, InstanceId, LineageId};
use keelson_repository::RetireError;
use keelson_store::{Store, StoreError, StoreExt, StorePath};
use serde::{Deserialize, Serialize};

pub(crate) use self::retired::{
    Inherited, RetiredBefore, StrangersList, epoch_of, find_counting, foresee_inherited, inherit,
};
use crate::documents::{self, DocumentError};
use crate::layout::{ClusterFolder, Epoch, RETIRED_SUFFIX, name_of};

/// Ownership changes hands a few times in a cluster's life. What strangers put into the folder does not count.
const CLAIMS_MAX: usize = 10_000;
/// A claim has a few hundred bytes.
const CLAIM_BYTES_MAX: u64 = 64 * 1024;

/// What a claim says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub instance: InstanceId,
    /// The cluster on which the claimant runs.
    pub cluster: ClusterId,
    pub claimed_at: Timestamp,
    /// SHA-256 (hex) of the claim before; absent in the first.
    pub previous: Option<String>,
}

/// The newest claim that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub epoch: Epoch,
    pub claim: Claim,
    digest: String,
}

/// What an epochs folder says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    pub holder: Option<Holder>,
    /// Objects that nobody of this lineage wrote.
    pub strangers: Vec<String>,
}

/// Claims cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    #[error("list the claims of ownership in '{folder}'")]
    List { folder: StorePath, source: StoreError },
    #[error("read the claim '{path}'")]
    Read { path: StorePath, source: StoreError },
    #[error("write the claim '{path}'")]
    Write { path: StorePath, source: StoreError },
    #[error("list what owners before have retired")]
    ListRetired { source: RetireError },
    #[error("seal a claim")]
    Seal { source: DocumentError },
    #[error("epoch {epoch} was claimed by instance {by} in the meantime")]
    Lost { epoch: Epoch, by: InstanceId },
    #[error("'{folder}' holds more than {limit} claims")]
    TooMany { folder: StorePath, limit: usize },
    #[error("no number is left for a claim in '{folder}'")]
    Exhausted { folder: StorePath },
}

impl Classified for EpochError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::List { source, .. } | Self::Read { source, .. } | Self::Write { source, .. } => {
                source.class()
            }
            Self::ListRetired { source } => source.class(),
            Self::Seal { source } => source.class(),
            Self::Lost { .. } => ErrorClass::Conflict,
            Self::TooMany { .. } | Self::Exhausted { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::List { .. } => "epoch.list",
            Self::Read { .. } => "epoch.read",
            Self::Write { .. } => "epoch.write",
            Self::ListRetired { source } => source.code(),
            Self::Seal { .. } => "epoch.seal",
            Self::Lost { .. } => "epoch.lost",
            Self::TooMany { .. } => "epoch.too_many",
            Self::Exhausted { .. } => "epoch.exhausted",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::List { source, .. } | Self::Read { source, .. } | Self::Write { source, .. } => {
                source.hint()
            }
            Self::ListRetired { source } => source.hint(),
            Self::Lost { .. } => Some("another instance owns this data now; only one may".to_owned()),
            Self::Seal { .. } | Self::TooMany { .. } | Self::Exhausted { .. } => None,
        }
    }
}

/// Reads the chain of claims of a lineage.
pub(crate) async fn read_claims(
    store: &dyn Store,
    cluster: &ClusterFolder,
    lineage: LineageId,
    keys: &Keyring,
) -> Result<Claims, EpochError> {
    let folder = cluster.epochs(lineage);
    let listing = |source| EpochError::List { folder: folder.clone(), source };
    let mut objects = store.stream(&folder);
    let (mut claims, mut ours) = (Claims::default(), 0);
    while let Some(object) = objects.try_next().await.map_err(listing)? {
        let path = object.path;
        if path.name().strip_suffix(RETIRED_SUFFIX).is_some_and(|epoch| epoch.parse::<u32>().is_ok()) {
            continue;
        }
        let Some(epoch) = name_of::<u32>(&path).map(Epoch).filter(|epoch| path.name() == epoch.to_string())
        else {
            claims.strangers.push(path.name().to_owned());
            continue;
        };
        if object.length > CLAIM_BYTES_MAX {
            claims.strangers.push(path.name().to_owned());
            continue;
        }
        let bytes =
            store.fetch_all(&path).await.map_err(|source| EpochError::Read { path: path.clone(), source })?;
        match continue_chain(claims.holder.as_ref(), epoch, keys, &path, &bytes) {
            Some(_) if ours == CLAIMS_MAX => {
                return Err(EpochError::TooMany { folder: folder.clone(), limit: CLAIMS_MAX });
            }
            Some(holder) => {
                ours += 1;
                claims.holder = Some(holder);
            }
            None => claims.strangers.push(path.name().to_owned()),
        }
    }
    Ok(claims)
}

/// A claim counts if it opens and names the claim before it.
fn continue_chain(
    before: Option<&Holder>,
    epoch: Epoch,
    keys: &Keyring,
    path: &StorePath,
    bytes: &Bytes,
) -> Option<Holder> {
    let claim: Claim = documents::open(keys, ObjectKind::Epoch, path, bytes)
        .inspect_err(|error| {
            tracing::debug!(%path, cause = %Chain(error), "a claim of ownership is not of this lineage");
        })
        .ok()?;
    let continues = claim.previous.as_deref() == before.map(|holder| holder.digest.as_str());
    continues.then(|| Holder { epoch, claim, digest: Sha256::of(bytes).to_string() })
}

/// Claims the next epoch. Fails with `Lost` if somebody of the lineage was faster.
pub(crate) async fn claim(
    store: &dyn Store,
    cluster: &ClusterFolder,
    lineage: LineageId,
    keys: &Keyring,
    claimant: (InstanceId, ClusterId),
    now: Timestamp,
) -> Result<Epoch, EpochError> {
    let before = read_claims(store, cluster, lineage, keys).await?;
    let last = before.holder.as_ref().map_or(0, |holder| holder.epoch.0);
    let strangers: HashSet<&str> = before.strangers.iter().map(String::as_str).collect();
    let taken = |epoch: &Epoch| strangers.contains(epoch.to_string().as_str());
    let epoch = (last..u32::MAX)
        .map(|number| Epoch(number + 1))
        .find(|epoch| !taken(epoch))
        .ok_or_else(|| EpochError::Exhausted { folder: cluster.epochs(lineage) })?;
    let path = cluster.epoch(lineage, epoch);
    let (instance, cluster_id) = claimant;
    let previous = before.holder.map(|holder| holder.digest);
    let claim = Claim { instance, cluster: cluster_id, claimed_at: now, previous };
    let bytes = documents::seal(keys.newest(), ObjectKind::Epoch, &path, &claim)
        .map_err(|source| EpochError::Seal { source })?;
    match store.create(&path, bytes).await {
        Ok(_) => {}
        // Somebody was there first: perhaps an earlier try of ours whose answer was lost.
        Err(StoreError::AlreadyExists { .. }) => {}
        Err(source) => return Err(EpochError::Write { path, source }),
    }
    let after = read_claims(store, cluster, lineage, keys).await?;
    match after.holder {
        Some(holder) if holder.claim.instance == instance => Ok(holder.epoch),
        Some(holder) => Err(EpochError::Lost { epoch: holder.epoch, by: holder.claim.instance }),
        None => Err(EpochError::Read {
            path: path.clone(),
            source: StoreError::NotFound { operation: keelson_store::Operation::Fetch, path },
        }),
    }
}

#[cfg(test)]
mod tests;
