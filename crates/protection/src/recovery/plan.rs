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
use crate::recovery::documents::{CardDocument, Fork};

/// What a recovery will do, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryPlan {
    pub profile: String,
    pub source: ClusterId,
    /// Under which id it was asked for, where the point lies below another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<ClusterId>,
    pub target: ClusterId,
    pub point: String,
    pub mode: DrMode,
    pub created: Timestamp,
    /// The moment that was asked for, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment: Option<Timestamp>,
    pub material: Material,
    /// The generation that is opened, one above any seen.
    pub generation: Generation,
    pub skip: Vec<String>,
    /// What becomes of objects of the same name.
    #[serde(default)]
    pub existing: Existing,
    /// What the newest base counts, as an estimate of what will be there.
    pub counts: BTreeMap<String, u64>,
    /// Restore point contents in the catalog that is replaced.
    pub present: u64,
    pub steps: Vec<String>,
    pub warnings: Vec<String>,
}

/// What becomes of an object of the cluster where the backup holds one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Existing {
    /// It stays, and a difference is told.
    #[default]
    Keep,
    /// It is as it was backed up. Only where that was confirmed, and of a Quick restore point.
    Replace,
}

/// What the new catalog is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "camelCase")]
pub enum Material {
    /// What was shipped: a base, and the segments replayed on it.
    Chain { repository: RepositoryId, base: Position, segments: Vec<Position>, through: Sequence },
    /// What the exports say of themselves, where nothing that was shipped is left.
    Exports,
}

impl Material {
    pub(crate) fn of_chain(repository: RepositoryId, replay: Replay) -> Self {
        let Replay { base, segments, through } = replay;
        Self::Chain { repository, base, segments, through }
    }

    pub(crate) fn replay(&self) -> Option<Replay> {
        match self.clone() {
            Self::Chain { repository: _, base, segments, through } => {
                Some(Replay { base, segments, through })
            }
            Self::Exports => None,
        }
    }
}

/// What a plan is decided from.
pub(crate) struct Observed<'a> {
    pub profile: &'a str,
    /// Below whose id the point lies.
    pub source: &'a ClusterId,
    /// Whose was asked for.
    pub asked: &'a ClusterId,
    /// As of when, if that was said.
    pub moment: Option<Timestamp>,
    pub target: &'a ClusterId,
    pub point: &'a str,
    pub mode: DrMode,
    pub material: Material,
    pub highest_generation: Generation,
    pub counts: BTreeMap<String, u64>,
    pub skip: SkipResources,
    /// As it was asked for.
    pub existing: Existing,
    /// Restore point contents in the catalog that is replaced.
    pub present: u64,
    pub created: Timestamp,
    /// What the location says in cleartext of the source, oldest first.
    pub cards: &'a [CardDocument],
    /// Whether this instance runs in FIPS mode.
    pub fips: bool,
    /// What was found on the way and does not stand against the plan.
    pub warnings: Vec<String>,
}

pub(crate) fn decide(observed: Observed<'_>) -> RecoveryPlan {
    let Observed {
        profile,
        source,
        asked,
        moment,
        target,
        point,
        mode,
        material,
        highest_generation,
        counts,
        skip,
        existing: asked_existing,
        present,
        created,
        cards,
        fips,
        mut warnings,
    } = observed;
    let existing = effective(asked_existing, mode);
    let generation = Generation(highest_generation.0 + 1);
    if present > 0 {
        warnings.push(format!(
            "the catalog of this instance holds {present} restore point contents; it is replaced, which spec.replaceCatalog \
             must confirm"
        ));
    }
    warnings.extend(lacks(&material, mode));
    warnings.extend(kept_against_wish(asked_existing, existing, &material, mode));
    warnings.extend(other_mode(source, cards, fips));
    warnings.extend(continued(source, [asked, target], cards));
    warnings.push(
        "policies run after the recovery, but nothing is retired until ConfigMap \
         k10-dr-remove-to-get-ownership is deleted"
            .to_owned(),
    );
    RecoveryPlan {
        profile: profile.to_owned(),
        source: source.clone(),
        asked: (asked != source).then(|| asked.clone()),
        target: target.clone(),
        point: point.to_owned(),
        mode,
        created,
        moment,
        steps: steps(&material, generation, existing, skip),
        material,
        generation,
        skip: skipped_words(skip),
        existing,
        counts,
        present,
        warnings,
    }
}

fn lacks(material: &Material, mode: DrMode) -> Option<String> {
    match material {
        Material::Exports => Some(
            "exports hold restore points alone: profiles, policies, secrets and the history of actions are not among them"
                .to_owned(),
        ),
        Material::Chain { .. } if mode.is_quick() => {
            Some("Quick DR holds no local restore points and no history of actions".to_owned())
        }
        Material::Chain { .. } => None,
    }
}

/// Replacing is what a Quick restore point is confirmed for; of a Legacy one everything that exists stays.
fn effective(asked: Existing, mode: DrMode) -> Existing {
    if mode.is_quick() { asked } else { Existing::Keep }
}

fn kept_against_wish(
    asked: Existing,
    existing: Existing,
    material: &Material,
    mode: DrMode,
) -> Option<String> {
    match (asked, existing, material) {
        (_, _, Material::Exports) | (_, Existing::Replace, _) => None,
        (Existing::Replace, Existing::Keep, Material::Chain { .. }) => Some(format!(
            "{} keeps objects of the same name that exist, and tells where they differ: overrideResources is for Quick DR",
            mode.title()
        )),
        (Existing::Keep, Existing::Keep, Material::Chain { .. }) => mode.is_quick().then(|| {
            "objects of the same name that exist are kept, and where they differ is told: with quickMode.overrideResources \
             they are replaced"
                .to_owned()
        }),
    }
}

/// The newest card tells how the source ran last.
fn other_mode(source: &ClusterId, cards: &[CardDocument], fips: bool) -> Option<String> {
    match (cards.last()?.fips, fips) {
        (true, false) => Some(format!(
            "cluster {source} ran in FIPS mode and this instance does not: stop it and start it with --fips, or new passphrase \
             slots are not made with what FIPS approves"
        )),
        (false, true) => Some(format!(
            "cluster {source} did not run in FIPS mode and this instance does: passphrase slots that were made there stay as \
             they are"
        )),
        (true, true) | (false, false) => None,
    }
}

/// Whoever comes with an old id is told where the backups have gone on, if he knows it not.
fn continued(source: &ClusterId, known: [&ClusterId; 2], cards: &[CardDocument]) -> Option<String> {
    let on = cards.iter().rev().find_map(|card| card.continued_by.as_ref());
    let on = on.filter(|on| !known.contains(on))?;
    Some(format!(
        "a card says that cluster {on} has taken over what is here of cluster {source}: look there, too"
    ))
}

fn skipped_words(skip: SkipResources) -> Vec<String> {
    [("profiles", skip.profiles), ("policies", skip.policies), ("secrets", skip.secrets)]
        .into_iter()
        .filter(|(_, skip)| *skip)
        .map(|(word, _)| word.to_owned())
        .collect()
}

fn steps(
    material: &Material,
    generation: Generation,
    existing: Existing,
    skip: SkipResources,
) -> Vec<String> {
    let build = match material {
        Material::Chain { base, segments, .. } => {
            format!(
                "build the catalog of generation {}: base {base} and {} segments",
                generation.0,
                segments.len()
            )
        }
        Material::Exports => {
            format!(
                "build the catalog of generation {} from what the exports say of themselves",
                generation.0
            )
        }
    };
    let mut steps = vec![
        build,
        "compare the digests, fail unfinished actions, unbind restore points of absent namespaces".to_owned(),
        "place ConfigMap k10-dr-remove-to-get-ownership".to_owned(),
        "switch to the new catalog".to_owned(),
    ];
    if matches!(material, Material::Chain { .. }) {
        let write = match existing {
            Existing::Replace => "create or replace",
            Existing::Keep => "create missing",
        };
        let put_back = |word: &str, skip: bool| {
            if skip { format!("leave out {word}, as asked") } else { format!("{write} {word}") }
        };
        steps.extend([
            put_back("secrets", skip.secrets),
            put_back("profiles", skip.profiles),
            put_back("other configuration", false),
            put_back("policies", skip.policies),
        ]);
    }
    steps
}

impl RecoveryPlan {
    /// Whether it is what somebody gets who asks for this id.
    pub(crate) fn is_of(&self, asked: &ClusterId) -> bool {
        self.source == *asked || self.asked.as_ref() == Some(asked)
    }

    /// The point of the source's chain that the new one leaves from.
    pub fn fork(&self) -> Option<Fork> {
        let Material::Chain { repository, base, segments, through } = &self.material else { return None };
        // Whoever holds the ownership may have changed since the base was written.
        let last = segments.last().unwrap_or(base);
        let at = Position { sequence: *through, ..*last };
        Some(Fork { cluster: self.source.clone(), repository: *repository, at })
    }

    /// The same plan for another request: what is left out and what is replaced are as that one says.
    pub(crate) fn asked_again(self, skip: SkipResources, existing: Existing) -> Self {
        Self { skip: skipped_words(skip), existing: effective(existing, self.mode), ..self }
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

#[cfg(test)]
mod tests;
