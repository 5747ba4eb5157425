//! The plan of a recovery: pure, printable, stored before anything is touched.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use keelson_model::recovery::DrMode;
use keelson_model::skip::SkipResources;
use keelson_model::{ClusterId, Generation, RepositoryId, Sequence};
use serde::{Deserialize, Serialize};

use crate::layout::Position;
use crate::recovery::chain::Replay;
use crate::recovery::documents::{Fork, StateSummary};

/// What a recovery will do, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryPlan {
    pub profile: String,
    pub source: ClusterId,
    pub target: ClusterId,
    pub point: String,
    pub mode: DrMode,
    pub repository: RepositoryId,
    pub created: Timestamp,
    /// The base that is read, and the segments replayed on it.
    pub base: Position,
    pub segments: Vec<Position>,
    pub through: Sequence,
    /// The generation that is opened, one above any seen.
    pub generation: Generation,
    pub skip: Vec<String>,
    /// What the newest base counts, as an estimate of what will be there.
    pub counts: BTreeMap<String, u64>,
    pub steps: Vec<String>,
    pub warnings: Vec<String>,
}

/// What a plan is decided from.
pub(crate) struct Observed<'a> {
    pub profile: &'a str,
    pub source: &'a ClusterId,
    pub target: &'a ClusterId,
    pub point: &'a str,
    pub repository: RepositoryId,
    pub mode: DrMode,
    pub replay: Replay,
    pub highest_generation: Generation,
    pub state: &'a StateSummary,
    pub skip: SkipResources,
    /// Rows in the catalog that is replaced.
    pub present: u64,
    pub created: Timestamp,
}

pub(crate) fn decide(observed: Observed<'_>) -> RecoveryPlan {
    let Observed {
        profile,
        source,
        target,
        point,
        repository,
        mode,
        replay,
        highest_generation,
        state,
        skip,
        present,
        created,
    } = observed;
    let generation = Generation(highest_generation.0 + 1);
    let skipped: Vec<String> =
        [("profiles", skip.profiles), ("policies", skip.policies), ("secrets", skip.secrets)]
            .into_iter()
            .filter(|(_, skip)| *skip)
            .map(|(word, _)| word.to_owned())
            .collect();
    let mut warnings = Vec::new();
    if present > 0 {
        warnings.push(format!(
            "the catalog of this instance holds {present} restore point contents; it is replaced"
        ));
    }
    if mode.is_quick() {
        warnings.push("Quick DR holds no local restore points and no history of actions".to_owned());
    }
    warnings.push(
        "policies run after the recovery, but nothing is retired until ConfigMap \
         k10-dr-remove-to-get-ownership is deleted"
            .to_owned(),
    );
    let put_back = |word: &str, skip: bool| {
        if skip { format!("leave out {word}, as asked") } else { format!("create or replace {word}") }
    };
    let steps = vec![
        "place ConfigMap k10-dr-remove-to-get-ownership".to_owned(),
        format!(
            "build the catalog of generation {}: base {} and {} segments",
            generation.0,
            replay.base,
            replay.segments.len()
        ),
        "compare the digests, fail unfinished actions, unbind restore points of absent namespaces".to_owned(),
        "switch to the new catalog".to_owned(),
        put_back("secrets", skip.secrets),
        put_back("profiles", skip.profiles),
        put_back("policies", skip.policies),
    ];
    RecoveryPlan {
        profile: profile.to_owned(),
        source: source.clone(),
        target: target.clone(),
        point: point.to_owned(),
        mode,
        repository,
        created,
        base: replay.base,
        segments: replay.segments,
        through: replay.through,
        generation,
        skip: skipped,
        counts: state.counts.clone(),
        steps,
        warnings,
    }
}

impl RecoveryPlan {
    /// The point of the source's chain that the new one leaves from.
    pub fn fork(&self) -> Fork {
        let at = Position { sequence: self.through, ..self.base };
        Fork { cluster: self.source.clone(), repository: self.repository, at }
    }

    pub fn skips(&self, word: &str) -> bool {
        self.skip.iter().any(|skipped| skipped == word)
    }
}

impl fmt::Display for RecoveryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Recover cluster {} onto cluster {}", self.source, self.target)?;
        writeln!(f, "  through profile  {}", self.profile)?;
        writeln!(f, "  restore point    {} ({}, {})", self.point, self.mode.title(), self.created)?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {}. {step}", number + 1)?;
        }
        for (kind, count) in &self.counts {
            writeln!(f, "  holds            {count} {kind}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "  note: {warning}")?;
        }
        Ok(())
    }
}
