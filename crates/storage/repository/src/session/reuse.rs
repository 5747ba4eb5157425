//! The rule by which writers meet pruning: a pack is named again only if every mark that names it has a verdict
//! keeping it.
//!
//! A mark or verdict that does not open under our keys is not ours and decides nothing. Should it be one of ours that
//! was damaged: a prune cannot read its mark then either, and what its verdict has decided counts without the mark.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt;
use keelson_crypto::{ObjectId, ObjectKind, OpenObjectError};
use keelson_model::{Chain, PackId};
use keelson_store::{ObjectMeta, StoreExt};

use super::SessionError;
use crate::core::Core;
use crate::format::mark_record::{MarkRecord, VerdictRecord};
use crate::object::{Expected, ObjectError};
use crate::paths;

/// Packs that a session must not name unless it writes them itself.
pub(crate) struct Condemned(HashSet<PackId>);

impl Condemned {
    /// Besides what pruning has decided.
    pub(super) fn with(mut self, lost: HashSet<PackId>) -> Self {
        self.0.extend(lost);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, pack: &PackId) -> bool {
        self.0.contains(pack)
    }

    /// Pure: from the packs of each mark and of each verdict that keeps some.
    fn decide(marks: HashMap<ObjectId, Vec<PackId>>, kept: &HashMap<ObjectId, HashSet<PackId>>) -> Self {
        let mut condemned = HashSet::new();
        for (mark, packs) in marks {
            let keeps = kept.get(&mark);
            condemned
                .extend(packs.into_iter().filter(|pack| !keeps.is_some_and(|keeps| keeps.contains(pack))));
        }
        Self(condemned)
    }
}

/// Reads all marks, then all verdicts. A mark that appears after this was made by a prune that waits for us.
pub(crate) async fn find_condemned(core: &Arc<Core>) -> Result<Condemned, SessionError> {
    let listed = list(core, paths::MARKS).await?;
    if listed.is_empty() {
        return Ok(Condemned(HashSet::new()));
    }
    let named: HashSet<_> = listed.iter().filter_map(|mark| paths::parse_object_id(&mark.path)).collect();
    let mut marks = HashMap::new();
    for object in listed {
        let Some((id, body)) = read(core, ObjectKind::Mark, &object).await? else { continue };
        let mark = MarkRecord::decode(&body).map_err(|source| decode_error(&object, source))?;
        marks.insert(id, mark.packs);
    }
    let mut kept = HashMap::new();
    for object in list(core, paths::VERDICTS).await? {
        // A verdict outlives its mark for a while and then concerns nobody.
        if paths::parse_object_id(&object.path).is_none_or(|id| !named.contains(&id)) {
            continue;
        }
        let Some((id, body)) = read(core, ObjectKind::Verdict, &object).await? else { continue };
        let verdict = VerdictRecord::decode(&body).map_err(|source| decode_error(&object, source))?;
        marks.entry(id).or_insert_with(Vec::new).extend(verdict.dead);
        kept.insert(id, verdict.kept.into_iter().collect());
    }
    Ok(Condemned::decide(marks, &kept))
}

async fn list(core: &Core, name: &str) -> Result<Vec<ObjectMeta>, SessionError> {
    let folder = core.paths.join(name);
    let mut stream = core.store.stream(&folder);
    let mut objects = Vec::new();
    while let Some(object) = stream.next().await {
        objects.push(object.map_err(|source| SessionError::List { folder: folder.clone(), source })?);
    }
    Ok(objects)
}

/// `None` for an object that maintenance has removed since it was listed, and for one that is not ours: neither decides
/// anything.
async fn read(
    core: &Core,
    kind: ObjectKind,
    object: &ObjectMeta,
) -> Result<Option<(ObjectId, Vec<u8>)>, SessionError> {
    let Some(id) = paths::parse_object_id(&object.path) else { return Ok(None) };
    let expected = Expected { kind, id, path: object.path.clone() };
    let bytes = match expected.fetch(core.store.as_ref(), object.version.clone()).await {
        Ok(bytes) => bytes,
        Err(ObjectError::Missing { .. }) => return Ok(None),
        Err(source) => return Err(SessionError::ReadDecision { source }),
    };
    match expected.open_record(&core.keys, &bytes) {
        Ok(body) => Ok(Some((id, body))),
        // Its key lies in the repository: a later owner made it, and what that one marks must not be named again.
        Err(ObjectError::Open { source: OpenObjectError::MissingKey { number, .. }, .. })
            if exists(core, number).await? =>
        {
            Err(SessionError::OutdatedKey { newest: number, at_hand: core.keys.newest().number() })
        }
        Err(error) if error.is_strangers() => {
            tracing::warn!(cause = %Chain(&error), "tampering: an object of nobody's lies among the decisions of pruning");
            Ok(None)
        }
        Err(source) => Err(SessionError::ReadDecision { source }),
    }
}

async fn exists(core: &Core, key: u32) -> Result<bool, SessionError> {
    let path = core.paths.key(key);
    let exists = core.store.exists(&path).await;
    exists.map_err(|source| SessionError::ReadDecision { source: ObjectError::Fetch { path, source } })
}

fn decode_error(object: &ObjectMeta, source: crate::format::DecodeError) -> SessionError {
    let path = object.path.clone();
    SessionError::ReadDecision { source: ObjectError::Decode { path, source } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(byte: u8) -> PackId {
        PackId::from_bytes([byte; 16])
    }

    fn mark(byte: u8) -> ObjectId {
        ObjectId::from_bytes([byte; 16])
    }

    #[test]
    fn a_pack_is_named_again_only_if_every_mark_that_names_it_has_a_verdict_keeping_it() {
        let check = |marks: &[(u8, &[u8])], verdicts: &[(u8, &[u8])], expected: &[u8]| {
            let marks = marks.iter().map(|(m, packs)| (mark(*m), packs.iter().copied().map(pack).collect()));
            let kept = verdicts.iter().map(|(m, kept)| (mark(*m), kept.iter().copied().map(pack).collect()));
            let condemned = Condemned::decide(marks.collect(), &kept.collect());
            let expected: HashSet<_> = expected.iter().copied().map(pack).collect();
            assert_eq!(condemned.0, expected);
        };
        check(&[], &[], &[]);
        check(&[(1, &[10, 11])], &[], &[10, 11]);
        check(&[(1, &[10, 11])], &[(1, &[10])], &[11]);
        check(&[(1, &[10]), (2, &[10])], &[(1, &[10])], &[10]);
        check(&[(1, &[10]), (2, &[10])], &[(1, &[10]), (2, &[10])], &[]);
        check(&[(1, &[10])], &[(2, &[10])], &[10]);
    }
}
