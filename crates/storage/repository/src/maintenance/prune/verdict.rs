//! A mark's verdict: made from the mark and the outcomes that it did not know, or adopted where one is there.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt;
use keelson_crypto::{ObjectId, ObjectKind};
use keelson_model::{PackId, SessionId};
use keelson_store::{PutOptions, StoreError, StoreExt};

use super::PruneError;
use super::observe::{fetch_mark, fetch_verdict};
use crate::core::Core;
use crate::format::mark_record::{MarkRecord, VerdictRecord};
use crate::maintenance::outcomes::{OutcomeRead, Wanted, read_outcomes};
use crate::object::{ObjectError, WriteObjectError, offload, seal_record};
use crate::outcome::Outcome;
use crate::paths;

/// Gives a mark its verdict once all sessions have ended that were there when it was seen. `None` if the mark is gone.
pub(super) async fn judge(core: &Arc<Core>, id: ObjectId) -> Result<Option<VerdictRecord>, PruneError> {
    if let Some(verdict) = fetch_verdict(core, id).await? {
        return Ok(Some(verdict));
    }
    let Some(mark) = fetch_mark(core, id).await? else { return Ok(None) };
    let named = read_unknown(core, &mark.outcomes).await?;
    let verdict = decide(&mark, &named);

    let path = core.paths.verdict(id);
    let (sealing, body) = (Arc::clone(core), verdict.encode());
    let object = offload(move || seal_record(&sealing.keys, ObjectKind::Verdict, id, &body)).await;
    let object = object.map_err(|source| PruneError::Write {
        source: WriteObjectError::Seal { path: path.clone(), source },
    })?;
    match core.store.put(&path, object.bytes, PutOptions::create()).await {
        Ok(_) => Ok(is_marked(core, id).await?.then_some(verdict)),
        Err(StoreError::AlreadyExists { .. }) => fetch_verdict(core, id).await,
        Err(source) => Err(PruneError::Write { source: WriteObjectError::Put { path, source } }),
    }
}

/// A mark goes before its verdict does. Where it is gone another verdict may have been there and gone, which kept what
/// others rely on by now.
async fn is_marked(core: &Core, id: ObjectId) -> Result<bool, PruneError> {
    let path = core.paths.mark(id);
    let there = core.store.exists(&path).await;
    there.map_err(|source| PruneError::Look { path, source })
}

/// Pure: kept are the marked packs that an outcome names which the mark did not know.
fn decide(mark: &MarkRecord, named: &HashSet<PackId>) -> VerdictRecord {
    let (kept, dead) = mark.packs.iter().partition(|pack| named.contains(pack));
    VerdictRecord { dead, kept }
}

/// The packs named by outcomes absent from the mark's list, new ones of moves and retired outcomes included.
async fn read_unknown(core: &Arc<Core>, listed: &[SessionId]) -> Result<HashSet<PackId>, PruneError> {
    let listed: HashSet<_> = listed.iter().copied().collect();
    let mut named = HashSet::new();
    let mut outcomes = read_outcomes(core, Wanted::AllBut(&listed));
    while let Some(read) = outcomes.next().await {
        let read = read.map_err(|source| {
            let folder = core.paths.join(paths::OUTCOMES);
            PruneError::List { folder, source }
        })?;
        let OutcomeRead { id, outcome, .. } = read;
        match outcome {
            Ok(outcome) => named.extend(named_by(&outcome)),
            Err(ObjectError::Missing { .. }) => {}
            Err(source) => return Err(PruneError::Outcome { outcome: id, source: Box::new(source) }),
        }
    }
    Ok(named)
}

fn named_by(outcome: &Outcome) -> impl Iterator<Item = PackId> {
    let moves = outcome.moves().moves.iter();
    let moved = moves.flat_map(|moved| moved.to.iter().chain(std::iter::once(&moved.from)));
    outcome.packs().iter().chain(moved).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_pack_is_dead_unless_an_outcome_names_it_that_the_mark_did_not_know() {
        let pack = |byte| PackId::from_bytes([byte; 16]);
        let check = |marked: &[u8], named: &[u8], dead: &[u8], kept: &[u8]| {
            let packs = |bytes: &[u8]| bytes.iter().copied().map(pack).collect::<Vec<_>>();
            let mark = MarkRecord { packs: packs(marked), outcomes: Vec::new() };
            let expected = VerdictRecord { dead: packs(dead), kept: packs(kept) };
            assert_eq!(decide(&mark, &packs(named).into_iter().collect()), expected);
        };
        check(&[], &[1], &[], &[]);
        check(&[1, 2], &[], &[1, 2], &[]);
        check(&[1, 2], &[2, 3], &[1], &[2]);
        check(&[1, 2], &[1, 2], &[], &[1, 2]);
    }
}
