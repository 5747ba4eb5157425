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
    pub material: Material,
    /// The generation that is opened, one above any seen.
    pub generation: Generation,
    pub skip: Vec<String>,
    /// What the newest base counts, as an estimate of what will be there.
    pub counts: BTreeMap<String, u64>,
    /// Restore point contents in the catalog that is replaced.
    pub present: u64,
    pub steps: Vec<String>,
    pub warnings: Vec<String>,
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
    pub target: &'a ClusterId,
    pub point: &'a str,
    pub mode: DrMode,
    pub material: Material,
    pub highest_generation: Generation,
    pub counts: BTreeMap<String, u64>,
    pub skip: SkipResources,
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
        target,
        point,
        mode,
        material,
        highest_generation,
        counts,
        skip,
        present,
        created,
        cards,
        fips,
        mut warnings,
    } = observed;
    let generation = Generation(highest_generation.0 + 1);
    if present > 0 {
        warnings.push(format!(
            "the catalog of this instance holds {present} restore point contents; it is replaced, which spec.replaceCatalog \
             must confirm"
        ));
    }
    warnings.extend(lacks(&material, mode));
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
        steps: steps(&material, generation, mode, skip),
        material,
        generation,
        skip: skipped_words(skip),
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

fn steps(material: &Material, generation: Generation, mode: DrMode, skip: SkipResources) -> Vec<String> {
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
        let existing = if mode.is_quick() { "create or replace" } else { "create missing" };
        let put_back = |word: &str, skip: bool| {
            if skip { format!("leave out {word}, as asked") } else { format!("{existing} {word}") }
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

    /// The same plan, leaving out something else.
    pub(crate) fn skipping(self, skip: SkipResources) -> Self {
        Self { skip: skipped_words(skip), ..self }
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
mod tests {
    use keelson_model::Sequence;

    use super::*;
    use crate::layout::Epoch;

    fn at(epoch: u32, sequence: u64) -> Position {
        Position { epoch: Epoch(epoch), generation: Generation(1), sequence: Sequence(sequence) }
    }

    /// Ownership changed hands after the base: what was read last is of the later epoch.
    #[test]
    fn a_recovery_leaves_its_source_at_the_last_entry_that_was_read() {
        let replay = |segments: Vec<Position>, through| Replay {
            base: at(1, 10),
            segments,
            through: Sequence(through),
        };
        let fork = |replay: Replay| {
            let id: ClusterId = "0c3e8c52-6a0b".parse().unwrap();
            let (newer, other) = ("1d4f9d63-7b1c".parse().unwrap(), "2e5fae74-8c2d".parse().unwrap());
            let plan = decide(Observed {
                profile: "vault",
                source: &id,
                asked: &newer,
                target: &id,
                point: "latest",
                mode: DrMode::Legacy,
                material: Material::of_chain(RepositoryId::from_bytes([1; 16]), replay),
                highest_generation: Generation(1),
                counts: BTreeMap::new(),
                skip: SkipResources::default(),
                present: 0,
                created: Timestamp::UNIX_EPOCH,
                cards: &[],
                fips: false,
                warnings: vec!["lost: a run".to_owned()],
            });
            assert_eq!(plan.warnings[0], "lost: a run");
            assert!(plan.is_of(&id) && plan.is_of(&newer) && !plan.is_of(&other));
            plan.fork().unwrap().at
        };
        assert_eq!(fork(replay(vec![at(1, 11), at(2, 15)], 17)), at(2, 17));
        assert_eq!(fork(replay(vec![], 10)), at(1, 10));
    }

    #[test]
    fn what_a_card_says_of_the_source_is_a_note_of_the_plan() {
        let id = |text: &str| -> ClusterId { text.parse().unwrap() };
        let (source, target) = (id("0c3e8c52-6a0b"), id("1d4f9d63-7b1c"));
        let check_for = |asked: &ClusterId, cards: &[(bool, Option<&str>)], fips: bool, expected: &[&str]| {
            let card = |(fips, on): &(bool, Option<&str>)| CardDocument {
                format: 0,
                product_version: "1".to_owned(),
                fips: *fips,
                created: Timestamp::UNIX_EPOCH,
                continued_by: on.map(id),
            };
            let cards: Vec<_> = cards.iter().map(card).collect();
            let plan = decide(Observed {
                profile: "vault",
                source: &source,
                asked,
                target: &target,
                point: "exports",
                mode: DrMode::QuickNoSnapshot,
                material: Material::Exports,
                highest_generation: Generation(1),
                counts: BTreeMap::new(),
                skip: SkipResources::default(),
                present: 0,
                created: Timestamp::UNIX_EPOCH,
                cards: &cards,
                fips,
                warnings: Vec::new(),
            });
            let told: Vec<_> =
                plan.warnings.iter().filter(|text| text.contains("cluster 0c3e8c52")).collect();
            assert_eq!(told.len(), expected.len(), "{cards:?} {fips}: {told:?}");
            assert!(told.iter().zip(expected).all(|(told, part)| told.contains(part)), "{told:?}");
        };
        let check = |cards: &[(bool, Option<&str>)], fips: bool, expected: &[&str]| {
            check_for(&source, cards, fips, expected);
        };
        let (lost, gained) = ("ran in FIPS mode and this instance does not", "did not run in FIPS mode");
        check(&[], true, &[]);
        check(&[(true, None)], true, &[]);
        check(&[(false, None)], false, &[]);
        check(&[(true, None)], false, &[lost]);
        check(&[(false, None)], true, &[gained]);
        // Whoever has taken over since ran in another mode.
        check(&[(false, None), (true, Some("1d4f9d63-7b1c"))], false, &[lost]);
        check(&[(true, Some("2e5fae74-8c2d"))], false, &[lost, "cluster 2e5fae74-8c2d has taken over"]);
        // Whoever comes with the newer id gets a moment of the older one.
        check_for(&id("2e5fae74-8c2d"), &[(true, Some("2e5fae74-8c2d"))], false, &[lost]);
    }
}
