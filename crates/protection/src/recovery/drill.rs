//! Drills: once a day the platform shows that it would come back.
//!
//! The newest catalog is built from the location with the passphrase of the Secret, as a recovery does it, compared with
//! the one in use, and thrown away. Repositories of the location are asked for what that catalog names; a share of
//! their packs is read.
//!
//! Each ends in a report that the platform signs. Guarantees: writes nothing to the location. A drill that failed is
//! told until one goes well. Limits: the volume needs room for a second catalog for a while; of the exports,
//! [`EXPORTS_MAX`] repositories are looked at in one drill, all of them in turn.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keelson_crypto::SigningKey;
use keelson_model::{Chain, RepositoryId, is_due, later};
use keelson_repository::{Depth, Locked, Repository, Unlock, Verification};
use keelson_store::StorePath;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::layout::Position;
use crate::locations::{Location, Place};
use crate::passphrases;
use crate::platform::Platform;
use crate::recovery::RecoveryError;
use crate::recovery::prove::{ChainProof, Needed, Proof, prove};
use crate::recovery::report::{REPORTS_MAX, ReportDocument};
use crate::recovery::state::{self, Enabled};

const LOOK_EVERY: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// After disaster recovery was enabled: the first base has to arrive.
const FIRST_AFTER: Duration = Duration::from_secs(3600);
const EXPORTS_MAX: usize = 16;
/// Of each repository; at most 16 MiB each.
const PACKS_READ: usize = 8;
/// A report names so many; it counts all.
const FINDINGS_MAX: usize = 20;

/// The drills of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drills {
    pub repository: RepositoryId,
    pub next: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<DrillReport>,
    /// The last export repository that was asked: the next drill goes on behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_through: Option<String>,
    /// Signed, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<SignedReport>,
}

/// A report of a drill, signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedReport {
    pub at: Timestamp,
    pub text: String,
}

/// How a drill went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillReport {
    pub at: Timestamp,
    pub seconds: u64,
    /// The last entry of the catalog that was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    pub restore_points: u64,
    pub repositories: u64,
    pub bytes_read: u64,
    /// What is damaged or lost, or why the drill did not come to its end; the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
    pub findings_total: u64,
}

impl DrillReport {
    pub fn is_green(&self) -> bool {
        self.findings_total == 0
    }

    fn find(&mut self, finding: String) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

pub(crate) async fn run_drills(platform: Arc<Platform>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! { _ = tick.tick() => (), () = stop.cancelled() => return }
        let looked = tokio::select! {
            looked = drill_if_due(&platform) => looked,
            () = stop.cancelled() => return,
        };
        if let Err(error) = looked {
            tracing::warn!(cause = %Chain(&error), "whether a drill is due is not known");
        }
    }
}

async fn drill_if_due(platform: &Arc<Platform>) -> Result<(), RecoveryError> {
    let Some(enabled) = state::enabled(platform)? else { return Ok(()) };
    let now = platform.clock.now();
    let known = state::drills(platform)?;
    let repository = enabled.repository;
    let drills = match known {
        Some(drills) if drills.repository == repository => drills,
        earlier => {
            // What was signed stays evidence, whichever repository it is about.
            let reports = earlier.map(|drills| drills.reports).unwrap_or_default();
            let next = later(now, FIRST_AFTER);
            let drills = Drills { repository, next, last: None, asked_through: None, reports };
            return state::write_drills(platform, &drills).await;
        }
    };
    if !is_due(drills.next, EVERY, now) {
        return Ok(());
    }
    let mut asked_through = drills.asked_through;
    let report = drill(platform, &enabled, &mut asked_through).await;
    if report.is_green() {
        tracing::info!(seconds = report.seconds, through = report.through, "a drill went well");
    } else {
        let first = report.findings.first();
        tracing::error!(
            findings = report.findings_total,
            first,
            "a drill failed: a recovery might not succeed"
        );
    }
    let next = later(platform.clock.now(), EVERY);
    let mut reports = drills.reports;
    reports.extend(sign(platform, &report));
    reports.drain(..reports.len().saturating_sub(REPORTS_MAX));
    let drills = Drills { repository, next, last: Some(report), asked_through, reports };
    state::write_drills(platform, &drills).await
}

/// None where the first vault key of the lineage is not at hand: a replaced passphrase led to later ones only.
fn sign(platform: &Platform, report: &DrillReport) -> Option<SignedReport> {
    let identity = platform.identity();
    let key = SigningKey::of_lineage(&platform.vault(), identity.lineage)?;
    let cluster = platform.cluster_id.clone();
    let document = ReportDocument::new(cluster, identity.instance, identity.lineage, report.clone());
    Some(SignedReport { at: report.at, text: document.sign(&key) })
}

/// One drill, to its end whatever it meets.
async fn drill(
    platform: &Arc<Platform>,
    enabled: &Enabled,
    asked_through: &mut Option<String>,
) -> DrillReport {
    let began = tokio::time::Instant::now();
    let mut report = DrillReport { at: platform.clock.now(), ..DrillReport::default() };
    let work = platform.settings.data.join("drill");
    clear(&work).await;
    if let Err(error) = look(platform, enabled, &work, &mut report, asked_through).await {
        report.find(format!("the drill did not come to its end: {}", Chain(&error)));
    }
    clear(&work).await;
    report.seconds = began.elapsed().as_secs();
    report
}

async fn look(
    platform: &Arc<Platform>,
    enabled: &Enabled,
    work: &std::path::Path,
    report: &mut DrillReport,
    asked_through: &mut Option<String>,
) -> Result<(), RecoveryError> {
    let location = platform.open_location(&enabled.profile).await;
    let location = location.map_err(|source| RecoveryError::Location { source })?;
    let passphrases = passphrases::read(platform, None).await;
    let passphrases = passphrases.map_err(|source| RecoveryError::Passphrase { source })?;
    let (cluster, clock) = (&platform.cluster_id, platform.clock.clone());
    let shipped = shipped_to(platform, enabled.repository).await;
    let Proof { chains, expected, findings } =
        prove(&location.store, cluster, &passphrases, work, clock).await?;
    findings.into_iter().for_each(|finding| report.find(finding));
    match chains.into_iter().find(|chain| chain.repository == enabled.repository) {
        Some(chain) => compare(platform, chain, shipped, report)?,
        None => report.find(format!(
            "repository {} does not open with the passphrase of the Secret",
            enabled.repository
        )),
    }
    for (root, needed) in choose(expected, &location.place, asked_through) {
        if let Err(why) = ask(platform, &location, &root, needed, report).await {
            report.find(format!("repository '{root}': {why}"));
        }
    }
    Ok(())
}

/// The last entry that the store has acknowledged, as far as this process knows.
async fn shipped_to(platform: &Platform, repository: RepositoryId) -> Option<Position> {
    let shipper = platform.shipper.lock().await;
    let ours = shipper.as_ref().filter(|shipper| shipper.target().enabled.repository == repository)?;
    Some(ours.position(ours.shipped()))
}

/// What was built is what the catalog in use said at that entry, and leads at least as far as what had been shipped
/// before it was built.
fn compare(
    platform: &Platform,
    chain: ChainProof,
    shipped: Option<Position>,
    report: &mut DrillReport,
) -> Result<(), RecoveryError> {
    chain.findings.into_iter().for_each(|finding| report.find(finding));
    let Some(built) = chain.built else { return Ok(()) };
    report.through = Some(built.through.to_string());
    report.restore_points = built.restore_points;
    if let Some(shipped) = shipped.filter(|shipped| shipped.revision() > built.through.revision()) {
        report.find(format!(
            "what lies there leads to {}, and {shipped} was shipped: it was rolled back, or its end was cut off",
            built.through
        ));
    }
    let catalog = platform.catalog().map_err(|source| RecoveryError::Away { source })?;
    let ours =
        catalog.chain_at(built.through.sequence).map_err(|source| RecoveryError::ReadState { source })?;
    let same_generation = catalog.generation() == built.through.generation;
    if same_generation && ours.is_some_and(|ours| ours != built.chain) {
        report.find(format!("the catalog that was built is not the one in use: at {}", built.through));
    }
    Ok(())
}

/// Our own repository, and exports of this location in turn: from the one behind that which was asked last.
fn choose(
    expected: BTreeMap<String, Needed>,
    place: &Place,
    asked_through: &mut Option<String>,
) -> Vec<(String, Needed)> {
    let (own, exports): (Vec<_>, Vec<_>) =
        expected.into_iter().partition(|(_, needed)| needed.place.is_none());
    let mut exports: Vec<_> =
        exports.into_iter().filter(|(_, needed)| needed.place.as_ref() == Some(place)).collect();
    let asked = |root: &String| asked_through.as_ref().is_some_and(|through| root <= through);
    let from = exports.partition_point(|(root, _)| asked(root)) % exports.len().max(1);
    exports.rotate_left(from);
    exports.truncate(EXPORTS_MAX);
    *asked_through = exports.last().map(|(root, _)| root.clone());
    own.into_iter().chain(exports).collect()
}

/// Whether a repository holds what is named, and a share of its packs is whole.
async fn ask(
    platform: &Platform,
    location: &Location,
    root: &str,
    needed: Needed,
    report: &mut DrillReport,
) -> Result<(), String> {
    let told = |error: &(dyn std::error::Error + 'static)| Chain(error).to_string();
    let path: StorePath = root.parse().map_err(|error: keelson_store::ParsePathError| told(&error))?;
    let locked = Repository::<Locked>::at(location.store.clone(), path).map_err(|error| told(&error))?;
    let open = locked.open(Unlock::Vault(&platform.vault())).await.map_err(|error| told(&error))?;
    let indexed = open.load_index().await.map_err(|error| told(&error))?;
    let reader = indexed.begin_reading_unannounced().await.map_err(|error| told(&error))?;
    let verification = Verification { depth: Depth::Sample { packs: PACKS_READ }, expected: needed.outcomes };
    let verified = reader.verify(&verification, &|_| ()).await.map_err(|error| told(&error))?;
    report.repositories += 1;
    report.bytes_read += verified.bytes_read;
    verified.findings.iter().for_each(|finding| report.find(finding.to_string()));
    Ok(())
}

/// What an interrupted drill has left goes, too.
async fn clear(work: &std::path::Path) {
    let work: PathBuf = work.to_owned();
    let cleared = tokio::task::spawn_blocking(move || match std::fs::remove_dir_all(&work) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err((work, error)),
        _ => Ok(()),
    });
    if let Ok(Err((work, error))) = cleared.await {
        tracing::warn!(error = &error as &dyn std::error::Error, "'{}' stays", work.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_first_findings_and_counts_all() {
        let mut report = DrillReport::default();
        assert!(report.is_green());
        (0..50).for_each(|number| report.find(number.to_string()));
        assert_eq!((report.findings.len(), report.findings_total), (FINDINGS_MAX, 50));
        assert!(!report.is_green());
    }

    fn root(number: usize) -> String {
        format!("k10/0c3e8c52/exports/application-{number:02}/0123")
    }

    /// Each drill began at a random one, and which were never asked was a matter of luck.
    #[test]
    fn drills_ask_all_exports_of_the_location_in_turn() {
        let claim = |claim: &str| Place::FileStore { claim: claim.to_owned(), path: String::new() };
        let exports = |numbers: &[usize]| {
            let needed = |place| Needed { outcomes: Vec::new(), place };
            let ours = numbers.iter().map(|number| (root(*number), needed(Some(claim("share")))));
            let mut expected: BTreeMap<_, _> = ours.collect();
            expected.insert("k10/0c3e8c52/dr/4567".to_owned(), needed(None));
            expected.insert("k10/0c3e8c52/exports/elsewhere/89ab".to_owned(), needed(Some(claim("other"))));
            expected
        };
        let mut asked_through = None;
        let mut drill = |numbers: &[usize]| -> Vec<String> {
            let mut chosen = choose(exports(numbers), &claim("share"), &mut asked_through).into_iter();
            assert_eq!(chosen.next().unwrap().0, "k10/0c3e8c52/dr/4567");
            chosen.map(|(root, _)| root).collect()
        };
        let roots = |numbers: &[usize]| numbers.iter().copied().map(root).collect::<Vec<_>>();
        let all: Vec<_> = (0..40).collect();
        assert_eq!(drill(&all), roots(&all[..16]));
        assert_eq!(drill(&all), roots(&all[16..32]));
        assert_eq!(drill(&all), roots(&[&all[32..], &all[..8]].concat()));
        // The one that was asked last has gone, and others have come.
        let changed: Vec<_> = (0..41).filter(|number| *number != 7).collect();
        assert_eq!(drill(&changed), roots(&changed[7..23]));
        assert_eq!(drill(&[1, 2]), roots(&[1, 2]));
        assert_eq!(drill(&[]), roots(&[]));
        assert_eq!(drill(&all), roots(&all[..16]));
    }
}
