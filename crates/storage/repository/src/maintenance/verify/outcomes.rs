//! Outcomes: read each, note the packs it names, and later say which of them a damaged pack belongs to.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use keelson_crypto::ObjectKind;
use keelson_model::SessionId;

use super::{Damage, Verifier, VerifyError};
use crate::core::Core;
use crate::format::outcome_record::SessionResult;
use crate::limits::FINDINGS_MAX;
use crate::maintenance::outcomes::{OutcomeRead, Wanted, read_outcomes};
use crate::object::{ObjectError, offload};
use crate::outcome::Outcome;
use crate::paths;

impl Verifier<'_> {
    /// What repacks moved: without it packs that were freed on purpose would be missed.
    pub(super) async fn read_moves(&mut self) -> Result<(), VerifyError> {
        let core = Arc::clone(&self.core);
        let mut outcomes = read_all(&core);
        while let Some(read) = outcomes.next().await {
            match read?.outcome {
                Ok(outcome) if outcome.is_repack() => self.moves.add(&outcome),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    pub(super) async fn check_outcomes(&mut self, expected: &[SessionId]) -> Result<(), VerifyError> {
        let mut missing: BTreeSet<_> = expected.iter().copied().collect();
        let core = Arc::clone(&self.core);
        let mut outcomes = read_all(&core);
        while let Some(read) = outcomes.next().await {
            let OutcomeRead { id, altered, outcome, .. } = read?;
            missing.remove(&id);
            if self.retired.contains(&id) {
                continue;
            }
            if altered {
                let path = self.core.paths.outcome(id);
                self.find(Damage::Object(Arc::new(ObjectError::Altered { path })), vec![id]);
            }
            match outcome {
                Ok(outcome) if is_root(&outcome) => self.check_outcome(&outcome).await?,
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
        for pack in self.moves.needed_by(outcome) {
            if self.not_indexed.contains(&pack) {
                all_indexed = false;
                let path = self.core.paths.pack(pack);
                self.find_in_pack(pack, ObjectError::NotIndexed { path });
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
        let needed = self.moves.needed_by(outcome);
        let new: Vec<_> = needed.into_iter().filter(|pack| self.needed.insert(*pack)).collect();
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
        let mut outcomes = read_all(&core);
        while let Some(read) = outcomes.next().await {
            let OutcomeRead { id, outcome, .. } = read?;
            let Ok(outcome) = outcome else { continue };
            if self.retired.contains(&id) || !is_root(&outcome) {
                continue;
            }
            let needed: BTreeSet<_> = self.moves.needed_by(&outcome).into_iter().collect();
            for pack in needed {
                if let Some(finding) = self.damaged_packs.get_mut(&pack) {
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

/// It has streams of its own.
pub(super) fn is_root(outcome: &Outcome) -> bool {
    outcome.result() == SessionResult::Committed && !outcome.is_repack()
}

/// Every outcome there is, several at a time.
pub(super) fn read_all(core: &Arc<Core>) -> BoxStream<'_, Result<OutcomeRead, VerifyError>> {
    read_outcomes(core, Wanted::All)
        .map_err(|source| {
            let folder = core.paths.join(paths::OUTCOMES);
            VerifyError::List { folder, source }
        })
        .boxed()
}
