//! What of a chain lies in a store when a process takes it up.

use keelson_catalog::Scope;
use keelson_model::{Chain, Sequence};

use crate::recovery::RecoveryError;
use crate::recovery::documents::BaseDocument;
use crate::recovery::read::{Shelf, StoredName, is_damage};
use crate::recovery::ship::base::Newest;
use crate::recovery::ship::writers::StoredEnd;
use crate::recovery::ship::{Sender, Target, scope_of};

/// Where a chain ends and what it lacks.
pub(super) struct FoundChain {
    pub base: Option<Newest>,
    pub end: Option<StoredEnd>,
    pub shipped: Sequence,
    pub before: Option<(Sequence, Scope)>,
    /// Why a chain that was begun has no base that can be used.
    pub lost: Option<String>,
}

/// Where the chain ends, what was shipped since its newest base, and what is missing before that base. Names prove
/// nothing: what does not open is passed over.
pub(super) async fn find_chain(target: &Target, sender: &Sender) -> Result<FoundChain, RecoveryError> {
    let shelf = target.shelf();
    let mut warnings = Vec::new();
    let bases = shelf.bases().await?;
    let base = match find_newest(&shelf, &bases, &mut warnings).await? {
        Ok(base) => base,
        Err(why) => return find_without_base(&shelf, why).await,
    };
    let earlier: Vec<StoredName> = bases.into_iter().filter(|name| name.at < base.at).collect();
    let previous = find_newest(&shelf, &earlier, &mut warnings).await?.ok();
    let segments = shelf.segments(previous.as_ref().map(|previous| previous.at)).await?;
    let last = shelf.last_segment(&segments, &mut warnings).await?;
    for warning in warnings {
        tracing::warn!(warning, "the chain in the store is not whole");
    }
    let since = segments.iter().filter(|name| name.at > base.at);
    let newest = Newest::since(&base, since);
    let of_base = StoredEnd { at: base.at, chain: base.state.chain.clone() };
    let mut found = FoundChain {
        base: Some(newest),
        shipped: base.at.sequence,
        end: Some(of_base),
        before: None,
        lost: None,
    };
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
        found.before = previous.map(|previous| (base.at.sequence, scope_of(previous.mode)));
    }
    Ok(found)
}

/// The newest base that can be used, or why none can: nothing where none was ever written.
async fn find_newest(
    shelf: &Shelf<'_>,
    names: &[StoredName],
    warnings: &mut Vec<String>,
) -> Result<Result<BaseDocument, Option<String>>, RecoveryError> {
    match shelf.newest_base(names, warnings).await {
        Ok(newest) => Ok(newest.ok_or(None)),
        Err(error) if is_damage(&error) => Ok(Err(Some(Chain(&error).to_string()))),
        Err(error) => Err(error),
    }
}

/// The catalog is whole and gives a new base. Where the segments end still tells whose chain it is.
async fn find_without_base(shelf: &Shelf<'_>, why: Option<String>) -> Result<FoundChain, RecoveryError> {
    let segments = shelf.segments(None).await?;
    let last = shelf.last_segment(&segments, &mut Vec::new()).await?;
    let gone = last.is_some().then(|| "no base is left".to_owned());
    let end = last.map(|last| StoredEnd { at: last.last, chain: last.chain });
    Ok(FoundChain { base: None, end, shipped: Sequence(0), before: None, lost: why.or(gone) })
}
