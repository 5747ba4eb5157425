//! What of a chain lies in a store when a process takes it up.

use keelson_catalog::Scope;
use keelson_model::Sequence;

use crate::recovery::RecoveryError;
use crate::recovery::ship::base::Newest;
use crate::recovery::ship::writers::StoredEnd;
use crate::recovery::ship::{Sender, Target, scope_of};

/// Where a chain ends and what it lacks.
pub(super) struct FoundChain {
    pub base: Option<Newest>,
    pub end: Option<StoredEnd>,
    pub shipped: Sequence,
    pub before: Option<(Sequence, Scope)>,
}

/// Where the chain ends, what was shipped since its newest base, and what is missing before that base.
pub(super) async fn find_chain(target: &Target, sender: &Sender) -> Result<FoundChain, RecoveryError> {
    let shelf = target.shelf();
    let mut warnings = Vec::new();
    let bases = shelf.bases().await?;
    let Some(base) = shelf.newest_base(&bases, &mut warnings).await? else {
        return Ok(FoundChain { base: None, end: None, shipped: Sequence(0), before: None });
    };
    let previous = bases.iter().map(|name| name.at).rfind(|at| *at < base.at);
    let segments = shelf.segments(previous).await?;
    let last = shelf.last_segment(&segments, &mut warnings).await?;
    for warning in warnings {
        tracing::warn!(warning, "the chain in the store is not whole");
    }
    let since = segments.iter().filter(|name| name.at > base.at);
    let newest = Newest::since(&base, since);
    let of_base = StoredEnd { at: base.at, chain: base.state.chain.clone() };
    let mut found =
        FoundChain { base: Some(newest), shipped: base.at.sequence, end: Some(of_base), before: None };
    let Some(last) = last.filter(|last| last.last.generation == base.at.generation) else {
        return Ok(found);
    };
    if last.last.sequence >= base.at.sequence {
        found.shipped = last.last.sequence;
        found.end = Some(StoredEnd { at: last.last, chain: last.chain });
        return Ok(found);
    }
    // The process ended between a base and the segments that lead up to it.
    let reaches = sender.catalog.chain_at(last.last.sequence);
    let reaches = reaches.map_err(|source| RecoveryError::ReadState { source })?;
    if reaches.is_some_and(|chain| hex::encode(chain) == last.chain) {
        found.shipped = last.last.sequence;
        if let Some(previous) = previous {
            let before = shelf.base(previous).await?;
            found.before = Some((base.at.sequence, scope_of(before.mode)));
        }
    }
    Ok(found)
}
