//! Outcomes: read each, note the packs it names, and later say which of them a damaged pack belongs to.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use keelson_crypto::ObjectKind;
use keelson_model::SessionId;
use keelson_store::{ObjectMeta, StoreExt};

use super::{Damage, Verifier, VerifyError};
use crate::core::Core;
use crate::format::outcome_record::SessionResult;
use crate::limits::{FINDINGS_MAX, OUTCOME_READS_IN_FLIGHT};
use crate::object::{ObjectError, offload};
use crate::outcome::{Outcome, fetch_outcome};
use crate::paths;

impl Verifier<'_> {
    pub(super) async fn check_outcomes(&mut self, expected: &[SessionId]) -> Result<(), VerifyError> {
        let mut missing: BTreeSet<_> = expected.iter().copied().collect();
        let core = Arc::clone(&self.core);
        let mut outcomes = std::pin::pin!(read_outcomes(&core));
        while let Some(read) = outcomes.next().await {
            let Read { id, altered, outcome } = read?;
            missing.remove(&id);
            if self.retired.contains(&id) {
                continue;
            }
            if altered {
                let path = self.core.paths.outcome(id);
                self.find(Damage::Object(Arc::new(ObjectError::Altered { path })), vec![id]);
            }
            match outcome {
                Ok(outcome) if outcome.result() == SessionResult::Committed => {
                    self.check_outcome(&outcome).await?;
                }
                Ok(_) => {}
                Err(error) if error.is_damage() => {
                    self.find(Damage::Object(Arc::new(error)), vec![id]);
                }
                Err(source) => return Err(VerifyError::Object { source }),
            }
        }
        for id in missing {
            let path = self.core.paths.outcome(id);
            let error = ObjectError::Missing { kind: ObjectKind::Outcome, path };
            self.find(Damage::Object(Arc::new(error)), vec![id]);
        }
        self.report.packs = self.needed.len() as u64;
        self.progress.packs = self.report.packs;
        Ok(())
    }

    async fn check_outcome(&mut self, outcome: &Outcome) -> Result<(), VerifyError> {
        self.report.outcomes += 1;
        self.progress.outcomes = self.report.outcomes;
        self.look_up_new(outcome).await?;
        let index = Arc::clone(&self.index);
        let mut all_indexed = true;
        for pack in outcome.packs() {
            if self.not_indexed.contains(pack) {
                all_indexed = false;
                let path = self.core.paths.pack(*pack);
                self.find_in_pack(*pack, ObjectError::NotIndexed { path });
            }
        }
        // An index object may have been merged into another; it is missed only where its packs are unknown.
        for reference in outcome.indexes() {
            if !all_indexed && !index.contains_source(&reference.id) {
                let path = self.core.paths.index(reference.id);
                let known = index.damaged().iter().any(|error| *error.path() == path);
                if !known {
                    let error = ObjectError::Missing { kind: ObjectKind::Index, path };
                    self.find(Damage::Object(Arc::new(error)), vec![outcome.id]);
                }
            }
        }
        self.tell();
        Ok(())
    }

    /// Notes the packs that no outcome before this one named, and whether the index knows them.
    async fn look_up_new(&mut self, outcome: &Outcome) -> Result<(), VerifyError> {
        let new: Vec<_> = outcome.packs().iter().copied().filter(|pack| self.needed.insert(*pack)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let index = Arc::clone(&self.index);
        let not_indexed = offload(move || {
            let unknown = new.into_iter().filter_map(|pack| match index.find_pack(&pack) {
                Ok(Some(_)) => None,
                Ok(None) => Some(Ok(pack)),
                Err(source) => Some(Err(VerifyError::LookUp { source })),
            });
            unknown.collect::<Result<Vec<_>, _>>()
        });
        self.not_indexed.extend(not_indexed.await?);
        Ok(())
    }

    /// A second pass over the outcomes, only if packs are damaged.
    pub(super) async fn attribute_packs(&mut self) -> Result<(), VerifyError> {
        if self.damaged_packs.is_empty() {
            return Ok(());
        }
        let core = Arc::clone(&self.core);
        let mut outcomes = std::pin::pin!(read_outcomes(&core));
        while let Some(read) = outcomes.next().await {
            let Read { id, altered: _, outcome } = read?;
            let Ok(outcome) = outcome else { continue };
            if self.retired.contains(&id) || outcome.result() != SessionResult::Committed {
                continue;
            }
            for pack in outcome.packs() {
                if let Some(finding) = self.damaged_packs.get_mut(pack) {
                    finding.outcomes.push(id);
                }
            }
        }
        let room = FINDINGS_MAX.saturating_sub(self.report.findings.len());
        let findings = std::mem::take(&mut self.damaged_packs).into_values().take(room);
        self.report.findings.extend(findings.map(|mut finding| {
            finding.outcomes.sort_unstable();
            finding
        }));
        Ok(())
    }
}

pub(super) struct Read {
    pub(super) id: SessionId,
    altered: bool,
    pub(super) outcome: Result<Outcome, ObjectError>,
}

/// Every outcome there is, several at a time.
pub(super) fn read_outcomes(core: &Arc<Core>) -> impl Stream<Item = Result<Read, VerifyError>> + '_ {
    let folder = core.paths.join(paths::OUTCOMES);
    let listed = core.store.stream(&folder);
    listed
        .map(move |object| {
            let folder = folder.clone();
            async move {
                let object = object.map_err(|source| VerifyError::List { folder, source })?;
                let ObjectMeta { path, version, altered, .. } = object;
                let Some(id) = paths::parse_name(&path) else { return Ok(None) };
                let outcome = fetch_outcome(core, id, version).await;
                Ok(Some(Read { id, altered, outcome }))
            }
        })
        .buffered(OUTCOME_READS_IN_FLIGHT)
        .filter_map(|read| std::future::ready(read.transpose()))
}
