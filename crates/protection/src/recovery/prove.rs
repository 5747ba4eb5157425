//! Proves what was shipped, without a platform: the newest catalog is built anew in a folder of its own and thrown
//! away, and everything else of the chain is opened once.
//!
//! Guarantees: writes nothing to the location. What is damaged, lost or a stranger's is a finding; an error is what kept
//! the look from its end. Limits: the folder takes the room of the catalog.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use keelson_catalog::{Actor, DataDir};
use keelson_crypto::Passphrase;
use keelson_model::{Chain, Classified, Clock, ClusterId, Generation, RepositoryId, Sequence, SessionId};
use keelson_store::Store;

use crate::actions;
use crate::kinds;
use crate::layout::Position;
use crate::locations::Place;
use crate::records::Record;
use crate::recovery::RecoveryError;
use crate::recovery::documents::{BaseDocument, SegmentDirectory};
use crate::recovery::execute::{catalog_key, rebuild};
use crate::recovery::open::{OpenChain, open_chains};
use crate::recovery::read::{Shelf, StoredName, is_damage, warning};
use crate::restore_points::{self, Artifact, ContentInternal, ExportedTo};

/// Small objects that are read side by side.
const READS_IN_FLIGHT: usize = 8;
/// Findings of one chain that are told: the first.
const FINDINGS_MAX: usize = 1_000;

/// What a look at the chain of one repository brought.
#[derive(Debug)]
pub struct ChainProof {
    pub repository: RepositoryId,
    /// Objects that were opened.
    pub bases: u64,
    pub segments: u64,
    pub runs: u64,
    /// The catalog that was built; none where it cannot be built.
    pub built: Option<Built>,
    pub findings: Vec<String>,
}

/// A catalog as it would be recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Its last entry.
    pub through: Position,
    /// The digest of that entry in the journal's chain.
    pub chain: [u8; 32],
    pub restore_points: u64,
}

/// What all chains of a cluster brought.
#[derive(Debug, Default)]
pub struct Proof {
    pub chains: Vec<ChainProof>,
    /// What repositories must hold, by their root: what runs, bases and restore points name.
    pub expected: BTreeMap<String, Needed>,
    /// Repositories that cannot be used at all.
    pub findings: Vec<String>,
}

/// Outcomes that something names.
#[derive(Debug, Default)]
pub struct Needed {
    pub outcomes: Vec<SessionId>,
    /// Where the exports of restore points are; it may be another location than the one that is looked at.
    pub place: Option<Place>,
}

/// Proves every chain of a cluster that one of the passphrases opens. `work` is an empty folder.
pub async fn prove(
    store: &Arc<dyn Store>,
    cluster: &ClusterId,
    passphrases: &[Arc<Passphrase>],
    work: &Path,
    clock: Arc<dyn Clock>,
) -> Result<Proof, RecoveryError> {
    let (chains, findings) = open_chains(store, cluster, passphrases).await?;
    let mut proof = Proof { findings, ..Proof::default() };
    for open in &chains {
        let work = work.join(open.chain.repository.to_string());
        proof.chains.push(prove_chain(open, &work, &clock, &mut proof.expected).await?);
    }
    Ok(proof)
}

async fn prove_chain(
    open: &OpenChain,
    work: &Path,
    clock: &Arc<dyn Clock>,
    expected: &mut BTreeMap<String, Needed>,
) -> Result<ChainProof, RecoveryError> {
    let mut proof = ChainProof {
        repository: open.chain.repository,
        bases: 0,
        segments: 0,
        runs: open.manifests.len() as u64,
        built: None,
        findings: open.warnings.clone(),
    };
    let own = expected.entry(open.folder.repository().to_string()).or_default();
    own.outcomes.extend(open.manifests.iter().map(|run| run.outcome));
    let mut reach = Reach::default();
    for base in open_bases(open, &mut proof).await? {
        if standing(open, &base).await? {
            own.outcomes.push(base.outcome);
        }
        reach.begin(base.at);
    }
    open_segments(open, &mut reach, &mut proof).await?;
    for run in open.manifests.iter().filter(|run| !reach.covers(run.at)) {
        proof.note(format!("the run at {} cannot be reached: segments before it are gone", run.at));
    }
    match build(open, work, clock, expected).await {
        Ok(built) => proof.built = Some(built),
        Err(error) if error.class().is_lasting() => {
            proof.note(format!("the newest catalog cannot be built: {}", Chain(&error)));
        }
        Err(error) => return Err(error),
    }
    Ok(proof)
}

impl ChainProof {
    /// The same damage may show on several ways. After so many it is clear that somebody has put objects there.
    fn note(&mut self, finding: String) {
        if self.findings.len() < FINDINGS_MAX && !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }
}

async fn open_bases(open: &OpenChain, proof: &mut ChainProof) -> Result<Vec<BaseDocument>, RecoveryError> {
    let shelf = open.shelf();
    let mut bases = Vec::new();
    for name in shelf.bases().await? {
        match shelf.base(name.at).await {
            Ok(base) => {
                proof.bases += 1;
                bases.push(base);
            }
            Err(error) if is_damage(&error) => proof.note(warning(&error)),
            Err(error) => return Err(error),
        }
    }
    Ok(bases)
}

/// Whether a base's outcome must be there.
async fn standing(open: &OpenChain, base: &BaseDocument) -> Result<bool, RecoveryError> {
    let retired = open.repository.fetch_retirement(base.outcome).await;
    retired.map(|retired| retired.is_none()).map_err(|source| RecoveryError::ListRetired { source })
}

/// Opens every segment, each byte of it, and follows how far they lead.
async fn open_segments(
    open: &OpenChain,
    reach: &mut Reach,
    proof: &mut ChainProof,
) -> Result<(), RecoveryError> {
    let shelf = open.shelf();
    let names = shelf.segments(None).await?;
    let mut read =
        futures::stream::iter(names).map(|name| open_segment(shelf, name)).buffered(READS_IN_FLIGHT);
    while let Some(segment) = read.next().await {
        match segment {
            Ok(segment) => {
                proof.segments += 1;
                if !reach.take(segment.first, segment.last) {
                    proof.note(format!(
                        "segment {} leads nowhere: what lies before it is gone",
                        segment.first
                    ));
                }
            }
            Err(error) if is_damage(&error) => proof.note(warning(&error)),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn open_segment(shelf: Shelf<'_>, name: StoredName) -> Result<SegmentDirectory, RecoveryError> {
    let bytes = shelf.bytes(&shelf.folder.segment(name.at)).await?;
    shelf.open_segment(name.at, &bytes).map(|(directory, _)| directory)
}

/// Builds the newest catalog, and notes what its restore points need.
async fn build(
    open: &OpenChain,
    work: &Path,
    clock: &Arc<dyn Clock>,
    expected: &mut BTreeMap<String, Needed>,
) -> Result<Built, RecoveryError> {
    let latest = open.chain.latest().ok_or(RecoveryError::Interrupted)?;
    let (replay, base) = open.plan_replay(latest.generation, latest.sequence, &mut Vec::new()).await?;
    let key = catalog_key(open, &base)?;
    let data = DataDir::open(work, clock.clone()).map_err(|source| RecoveryError::Work { source })?;
    let rebuild = data
        .begin_recovery(Generation(latest.generation.0 + 1), &key, b"")
        .map_err(|source| RecoveryError::Rebuild { source })?;
    let indexed = open.repository.load_index().await.map_err(|source| RecoveryError::LoadIndex { source })?;
    let reader =
        indexed.begin_reading_unannounced().await.map_err(|source| RecoveryError::Begin { source })?;
    let (rebuild, head) = rebuild::replay(rebuild, open, &reader, &base, &replay).await?;
    let (mut restore_points, mut named) = (0, Vec::new());
    let finding = tokio::task::spawn_blocking(move || {
        let prepared = rebuild.finish(&Actor::new("verify"), |transaction| {
            let mut under_way = HashSet::new();
            rebuild::each(transaction, kinds::retire_actions(), |action| {
                if actions::state(&action).is_some_and(|state| !state.is_finished()) {
                    under_way.insert(action.name);
                }
                Vec::new()
            })?;
            rebuild::each(transaction, kinds::restore_point_contents(), |content| {
                restore_points += 1;
                // One that is on its way out needs nothing.
                if !restore_points::retired_by(&content).is_some_and(|action| under_way.contains(action)) {
                    named.extend(exported_to(&content));
                }
                Vec::new()
            })
        });
        prepared.map(|_| (restore_points, named))
    });
    let (restore_points, named) = finding.await.map_err(|_| RecoveryError::Interrupted)??;
    for (ExportedTo { place, root, .. }, outcome) in named {
        let needed = expected.entry(root).or_default();
        needed.outcomes.push(outcome);
        needed.place = Some(place);
    }
    Ok(Built { through: latest, chain: head.chain, restore_points })
}

/// Where a restore point was exported to, and as which outcome.
fn exported_to(content: &Record) -> Option<(ExportedTo, SessionId)> {
    let ContentInternal { artifact, .. } = content.internal().ok()?;
    let Artifact { outcome, exported, .. } = artifact;
    // What was imported is its source's to prove.
    exported.filter(|exported| !exported.is_imported()).map(|exported| (exported, outcome))
}

/// How far the segments lead from each base without a gap.
#[derive(Debug, Default)]
struct Reach {
    bases: Vec<(Position, Sequence)>,
}

impl Reach {
    fn begin(&mut self, base: Position) {
        self.bases.push((base, base.sequence));
    }

    /// Takes the next segment in order. False if no base leads to it.
    fn take(&mut self, first: Position, last: Position) -> bool {
        let mut led = false;
        for (base, reached) in &mut self.bases {
            let follows = first.sequence.0 <= reached.0 + 1 && last.sequence > base.sequence;
            if base.generation == first.generation && follows {
                led = true;
                *reached = (*reached).max(last.sequence);
            }
        }
        led
    }

    fn covers(&self, at: Position) -> bool {
        let covers = |(base, reached): &(Position, Sequence)| {
            base.generation == at.generation && (base.sequence..=*reached).contains(&at.sequence)
        };
        self.bases.iter().any(covers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Epoch;

    fn at(generation: u32, sequence: u64) -> Position {
        Position { epoch: Epoch(1), generation: Generation(generation), sequence: Sequence(sequence) }
    }

    #[test]
    fn a_segment_behind_a_gap_leads_nowhere_and_what_a_later_base_opens_does() {
        let mut reach = Reach::default();
        reach.begin(at(1, 0));
        reach.begin(at(1, 20));
        reach.begin(at(2, 7));
        for (first, last, expected) in [
            (at(1, 1), at(1, 3), true),
            (at(1, 4), at(1, 9), true),
            (at(1, 12), at(1, 14), false),
            (at(1, 19), at(1, 25), true),
            (at(2, 8), at(2, 9), true),
            (at(3, 1), at(3, 2), false),
        ] {
            assert_eq!(reach.take(first, last), expected, "{first}");
        }
        for (point, expected) in [
            (at(1, 0), true),
            (at(1, 9), true),
            (at(1, 10), false),
            (at(1, 14), false),
            (at(1, 25), true),
            (at(2, 6), false),
            (at(2, 9), true),
            (at(3, 1), false),
        ] {
            assert_eq!(reach.covers(point), expected, "{point}");
        }
    }
}
