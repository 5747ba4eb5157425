//! What somebody remembers of a shipped chain, held against what its location offers now. A copy of an older state put
//! in place of a location opens and replays like any other; only who has seen more can tell.

use jiff::Timestamp;
use keelson_model::{Classified, ErrorClass, RepositoryId};
use serde::{Deserialize, Serialize};

use crate::layout::Position;
use crate::recovery::RecoveryError;
use crate::recovery::open::OpenChain;
use crate::recovery::read::is_damage;

/// The end of a chain as somebody has seen it: the last entry of a segment or base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownHead {
    pub repository: RepositoryId,
    pub at: Position,
    /// The digest of the journal entry there (hex).
    pub chain: String,
    /// It lay in the location by then.
    pub seen_at: Timestamp,
}

/// A location does not hold what was seen in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rollback {
    #[error(
        "repository {repository}, which is known to have reached {at}, is not there or does not open; the newest state \
         offered is {offered}"
    )]
    Missing { repository: RepositoryId, at: Position, offered: String },
    #[error("the chain of repository {repository} is known to have reached {at}, and ends at {end} now")]
    Older { repository: RepositoryId, at: Position, end: Position },
    #[error(
        "in repository {repository} another entry lies at {at} than was seen there; the chain ends at {end} now"
    )]
    Differs { repository: RepositoryId, at: Position, end: Position },
}

impl Classified for Rollback {
    fn class(&self) -> ErrorClass {
        ErrorClass::Corrupt
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "recovery.rollback.missing",
            Self::Older { .. } => "recovery.rollback.older",
            Self::Differs { .. } => "recovery.rollback.differs",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(
            "somebody may have put an older state in place: look for the newer one; to recover from this one all the \
             same, --accept-rollback, or spec.acceptRollback: true of the KastenDRRestore"
                .to_owned(),
        )
    }
}

/// Whether the chains of a location hold what is known. `offered` is the newest point, for people.
pub(crate) async fn check(
    known: &KnownHead,
    chains: &[OpenChain],
    offered: &str,
) -> Result<Option<Rollback>, RecoveryError> {
    let (repository, at) = (known.repository, known.at);
    let open = chains.iter().find(|open| open.chain.repository == repository);
    let Some((open, end)) = open.and_then(|open| Some((open, open.chain.latest()?))) else {
        return Ok(Some(Rollback::Missing { repository, at, offered: offered.to_owned() }));
    };
    if end.revision() < at.revision() {
        return Ok(Some(Rollback::Older { repository, at, end }));
    }
    let found = digest_at(open, at).await?;
    // What is older than everything kept cannot be compared any more: the position alone has to do.
    let other = found.is_some_and(|found| found != known.chain);
    Ok(other.then_some(Rollback::Differs { repository, at, end }))
}

/// The digest of an entry that ends a base or a segment, where that is still there and whole.
async fn digest_at(open: &OpenChain, at: Position) -> Result<Option<String>, RecoveryError> {
    let shelf = open.shelf();
    let same = |name: &Position| name.revision() == at.revision();
    if let Some(base) = open.chain.bases.iter().copied().find(|base| same(base)) {
        return match shelf.base(base).await {
            Ok(base) => Ok(Some(base.state.chain)),
            Err(error) if is_damage(&error) => Ok(None),
            Err(error) => Err(error),
        };
    }
    let names = shelf.segments_through(Position { epoch: crate::layout::Epoch::MAX, ..at }).await?;
    let Some(first) =
        names.into_iter().rfind(|name| name.generation == at.generation && name.sequence <= at.sequence)
    else {
        return Ok(None);
    };
    match shelf.segment(first).await {
        Ok(segment) => Ok(same(&segment.last).then_some(segment.chain)),
        Err(error) if is_damage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
