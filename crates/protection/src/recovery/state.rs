//! What the instance file knows of disaster recovery: where it is enabled to, and a recovery that is under way.

use jiff::Timestamp;
use keelson_catalog::{Change, Class, Database, Expect, OpenCatalogError, RowKey, RowKind};
use keelson_model::recovery::DrMode;
use keelson_model::{ClusterId, Generation, RepositoryId, Revision, Sequence, SlotId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::locations::Place;
use crate::ownership;
use crate::passphrases::KnownSource;
use crate::platform::{Platform, commit};
use crate::records::plain_row;
use crate::recovery::RecoveryError;
use crate::recovery::documents::{Fork, StateSummary};
use crate::recovery::drill::Drills;
use crate::recovery::former;
use crate::recovery::plan::RecoveryPlan;
use crate::recovery::ship::writers::Started;

/// Where and how the platform protects itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enabled {
    pub profile: String,
    pub place: Place,
    pub repository: RepositoryId,
    pub mode: DrMode,
    pub enabled_at: Timestamp,
    /// The vault key in force when the repository was made: one for each passphrase, beside those before.
    #[serde(default)]
    pub vault_key: u32,
    /// The passphrase slots that it carries.
    #[serde(default)]
    pub slots: Vec<SlotId>,
    /// Set until the first base of a recovered instance says where it left its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Fork>,
}

/// Where this lineage protected itself before, and the passphrase slots that the repository is known to carry: it gets
/// each new key and slot too, so that the newest passphrase opens everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrRepository {
    pub profile: String,
    pub place: Place,
    pub cluster: ClusterId,
    pub repository: RepositoryId,
    pub slots: Vec<SlotId>,
}

/// A repository that is about to be made, so that a try that was cut short is taken up and not begun anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Enabling {
    pub place: Place,
    pub vault_key: u32,
    pub repository: RepositoryId,
}

/// A chain that is about to be left. Once the catalog has gone on, neither it nor the store tells how far the two went
/// together: it stands here before, so that a try that was cut short is taken up and not begun anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Moving {
    pub place: Place,
    /// The last point of the chain that is this instance's, in the generation that is left with it.
    pub fork: Fork,
    /// The one that is to be made.
    pub repository: RepositoryId,
    /// In which the catalog goes on.
    pub generation: Generation,
    /// Why the chain is left, as it was found the first time.
    pub why: String,
}

impl Moving {
    /// Whether a catalog of this generation is the one that went on. Before it has, nothing was made and the fork can be
    /// found anew; one beyond came from elsewhere.
    pub(crate) fn has_gone_on(&self, catalog: Generation) -> bool {
        self.fork.at.generation < catalog && catalog <= self.generation
    }
}

/// A recovery of this instance: the last one, done or not.
///
/// Written just before the switch, and counts once `CURRENT` names its generation: from then on the run only rolls
/// forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recovered {
    pub plan: RecoveryPlan,
    /// The state as it was shipped and rebuilt.
    #[serde(default)]
    pub state: StateSummary,
    /// The repository that was recovered from; none where exports were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came_from: Option<DrRepository>,
    /// What the replaced catalog believed was forgotten: where it was enabled to, and what it owned.
    pub settled: bool,
    pub finished: bool,
    /// Whoever asked for the same before that has what he asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Exports that were made before this and that the catalog does not know are to be looked for once it is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_exports: Option<Timestamp>,
}

/// Exports that the catalog does not know are to be looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LateExports {
    /// Below whose folder, besides those of the repositories that the catalog names.
    pub cluster: ClusterId,
    /// What was made later is not meant.
    pub before: Timestamp,
}

/// Configuration of the recovered catalog that the cluster has not taken yet. The catalog keeps it, and it is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Owed {
    /// Of its row, as are namespace and name.
    pub kind: String,
    pub namespace: String,
    pub name: String,
    /// What the cluster said the last time.
    pub why: String,
}

impl Owed {
    pub(crate) fn of(key: RowKey, why: String) -> Self {
        let RowKey { kind, namespace, name } = key;
        Self { kind: kind.as_str().to_owned(), namespace, name, why }
    }

    pub(crate) fn key(&self) -> RowKey {
        RowKey::new(RowKind::new(self.kind.as_str()), self.namespace.as_str(), self.name.as_str())
    }
}

/// The chain that was left because it was not this instance's alone, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    pub from: RepositoryId,
    pub at: Timestamp,
    pub why: String,
}

/// Entries that waited for the location and were dropped. Until a base is written the chain has an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    pub at: Timestamp,
    /// The last of them.
    pub through: u64,
}

/// None of a chain's bases could be used, and a new one was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BasesLost {
    pub repository: RepositoryId,
    pub at: Timestamp,
    pub why: String,
}

impl BasesLost {
    /// In words for a person.
    pub fn tell(&self) -> String {
        let Self { repository, at: _, why } = self;
        format!(
            "no base of repository {repository} could be used, and a new one was written; no state before it can be \
             recovered: {why}"
        )
    }
}

/// How much of the catalog's journal a repository holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Covered {
    pub repository: RepositoryId,
    pub generation: Generation,
    pub by_base: Sequence,
    pub shipped: Sequence,
}

const ENABLED: &str = "enabled";
const ENABLING: &str = "enabling";
const RECOVERED: &str = "recovered";
const LATE_EXPORTS: &str = "late exports";
const OWED: &str = "owed";
const STARTED: &str = "started";
const MOVED: &str = "moved";
const MOVING: &str = "moving";
const COPIED: &str = "copied";
const DROPPED: &str = "dropped";
const BASES_LOST: &str = "bases lost";
const COVERED: &str = "covered";
const DRILL: &str = "drill";
const LAST_RUN: &str = "last run";
const PASSPHRASE_SOURCE: &str = "passphrase source";

fn key(name: &str) -> RowKey {
    RowKey::new(RowKind::new("disaster-recovery"), "", name)
}

fn read<T: DeserializeOwned>(instance: &Database, name: &str) -> Result<Option<T>, RecoveryError> {
    let stored = instance.read(&key(name)).map_err(|source| RecoveryError::ReadState { source })?;
    stored
        .map(|stored| serde_json::from_slice(&stored.row.body))
        .transpose()
        .map_err(|source| RecoveryError::DecodeState { source })
}

fn put<T: Serialize>(name: &str, state: &T, now: Timestamp) -> Change {
    let row = plain_row(key(name), Class::Local, state, now);
    Change::Put { row, expect: Expect::Any }
}

async fn write(platform: &Platform, change: Change) -> Result<(), RecoveryError> {
    write_all(platform, vec![change]).await
}

async fn write_all(platform: &Platform, changes: Vec<Change>) -> Result<(), RecoveryError> {
    let written = commit(&platform.instance, "disaster recovery", changes).await;
    written.map(drop).map_err(|source| RecoveryError::WriteState { source })
}

/// Where disaster recovery is enabled to, if it is.
pub fn enabled(platform: &Platform) -> Result<Option<Enabled>, RecoveryError> {
    read(&platform.instance, ENABLED)
}

pub(crate) async fn write_enabled(platform: &Platform, state: &Enabled) -> Result<(), RecoveryError> {
    write(platform, put(ENABLED, state, platform.clock.now())).await
}

/// This process's starts in a repository.
pub(crate) fn started(platform: &Platform, repository: RepositoryId) -> Result<Started, RecoveryError> {
    let known: Option<Started> = read(&platform.instance, STARTED)?;
    let known = known.filter(|known| known.repository == repository);
    Ok(known.unwrap_or_else(|| Started::never(repository)))
}

pub(crate) async fn write_started(platform: &Platform, state: &Started) -> Result<(), RecoveryError> {
    write(platform, put(STARTED, state, platform.clock.now())).await
}

/// The last time that shipping left a chain for a new one.
pub fn moved(platform: &Platform) -> Result<Option<Moved>, RecoveryError> {
    read(&platform.instance, MOVED)
}

/// What an earlier try to leave a chain has noted, of whichever chain.
pub(crate) fn moving(platform: &Platform) -> Result<Option<Moving>, RecoveryError> {
    read(&platform.instance, MOVING)
}

pub(crate) async fn write_moving(platform: &Platform, state: &Moving) -> Result<(), RecoveryError> {
    write(platform, put(MOVING, state, platform.clock.now())).await
}

/// From here on the new repository is shipped to.
pub(crate) async fn write_moved(
    platform: &Platform,
    before: &Enabled,
    enabled: &Enabled,
    moved: &Moved,
) -> Result<(), RecoveryError> {
    former::keep_enabled(platform, before.clone()).await?;
    let now = platform.clock.now();
    // A volume that was put back to a snapshot does not know what was exported since.
    let late = LateExports { cluster: platform.cluster_id.clone(), before: now };
    let changes = vec![
        put(ENABLED, enabled, now),
        put(MOVED, moved, now),
        Change::delete(key(MOVING)),
        put(LATE_EXPORTS, &late, now),
    ];
    write_all(platform, changes).await
}

/// Up to where the catalog was looked through for local restore points to copy into a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Copied {
    repository: RepositoryId,
    through: Revision,
}

pub(crate) fn copied(
    platform: &Platform,
    repository: RepositoryId,
) -> Result<Option<Revision>, RecoveryError> {
    let copied: Option<Copied> = read(&platform.instance, COPIED)?;
    Ok(copied.filter(|copied| copied.repository == repository).map(|copied| copied.through))
}

pub(crate) async fn write_copied(
    platform: &Platform,
    repository: RepositoryId,
    through: Revision,
) -> Result<(), RecoveryError> {
    write(platform, put(COPIED, &Copied { repository, through }, platform.clock.now())).await
}

/// What was dropped and no base makes good yet.
pub fn dropped(platform: &Platform) -> Result<Option<Dropped>, RecoveryError> {
    read(&platform.instance, DROPPED)
}

pub(crate) async fn write_dropped(platform: &Platform, state: &Dropped) -> Result<(), RecoveryError> {
    write(platform, put(DROPPED, state, platform.clock.now())).await
}

/// A base that is newer makes good what was dropped.
pub(crate) async fn clear_dropped(platform: &Platform, base: u64) -> Result<(), RecoveryError> {
    match dropped(platform)? {
        Some(dropped) if dropped.through <= base => write(platform, Change::delete(key(DROPPED))).await,
        Some(_) | None => Ok(()),
    }
}

/// The last time that none of a chain's bases could be used.
pub fn bases_lost(platform: &Platform) -> Result<Option<BasesLost>, RecoveryError> {
    read(&platform.instance, BASES_LOST)
}

pub(crate) async fn write_bases_lost(platform: &Platform, state: &BasesLost) -> Result<(), RecoveryError> {
    write(platform, put(BASES_LOST, state, platform.clock.now())).await
}

/// What was shipped, as of a minute ago at most.
pub fn covered(platform: &Platform) -> Result<Option<Covered>, RecoveryError> {
    read_covered(&platform.instance)
}

pub(crate) fn read_covered(instance: &Database) -> Result<Option<Covered>, RecoveryError> {
    read(instance, COVERED)
}

pub(crate) async fn write_covered(
    instance: &Database,
    state: &Covered,
    now: Timestamp,
) -> Result<(), RecoveryError> {
    if read_covered(instance)?.as_ref() == Some(state) {
        return Ok(());
    }
    let written = commit(instance, "disaster recovery", vec![put(COVERED, state, now)]).await;
    written.map(drop).map_err(|source| RecoveryError::WriteState { source })
}

/// The drills of a repository: the last one, and when the next is due.
pub fn drills(platform: &Platform) -> Result<Option<Drills>, RecoveryError> {
    read(&platform.instance, DRILL)
}

pub(crate) async fn write_drills(platform: &Platform, state: &Drills) -> Result<(), RecoveryError> {
    write(platform, put(DRILL, state, platform.clock.now())).await
}

/// When the DR policy last ran to its end.
pub fn last_run(platform: &Platform) -> Result<Option<Timestamp>, RecoveryError> {
    read(&platform.instance, LAST_RUN)
}

pub(crate) async fn write_last_run(platform: &Platform, at: Timestamp) -> Result<(), RecoveryError> {
    write(platform, put(LAST_RUN, &at, platform.clock.now())).await
}

/// Where the passphrase in force came from, if it was from elsewhere, and whether it can be read there.
pub fn passphrase_source(platform: &Platform) -> Result<Option<KnownSource>, RecoveryError> {
    read(&platform.instance, PASSPHRASE_SOURCE)
}

pub(crate) async fn write_passphrase_source(
    platform: &Platform,
    state: Option<&KnownSource>,
) -> Result<(), RecoveryError> {
    let change = match state {
        Some(state) => put(PASSPHRASE_SOURCE, state, platform.clock.now()),
        None => Change::delete(key(PASSPHRASE_SOURCE)),
    };
    write(platform, change).await
}

/// The repository that an earlier try of the same was about to make.
pub(crate) fn enabling(platform: &Platform) -> Result<Option<Enabling>, RecoveryError> {
    read(&platform.instance, ENABLING)
}

pub(crate) async fn write_enabling(platform: &Platform, state: &Enabling) -> Result<(), RecoveryError> {
    write(platform, put(ENABLING, state, platform.clock.now())).await
}

/// The repository is there: from here on it is the one in use, and the one before is a former one.
pub(crate) async fn complete_enabling(
    platform: &Platform,
    state: &Enabled,
    before: Option<Enabled>,
) -> Result<(), RecoveryError> {
    if let Some(before) = before {
        former::keep_enabled(platform, before).await?;
    }
    let parent = find_left(platform, &state.place)?.or_else(|| state.parent.clone());
    let enabled = put(ENABLED, &Enabled { parent, ..state.clone() }, platform.clock.now());
    write_all(platform, vec![enabled, Change::delete(key(ENABLING)), Change::delete(key(MOVING))]).await
}

/// Where a chain was left for a repository that nothing will be shipped to any more, since another takes its place: its
/// moments are found from that one. Whoever owns nothing yet names its source, from which alone it is followed.
fn find_left(platform: &Platform, place: &Place) -> Result<Option<Fork>, RecoveryError> {
    let Some(left) = moving(platform)?.filter(|left| left.place == *place) else { return Ok(None) };
    let catalog = platform.catalog().map_err(|source| RecoveryError::Away { source })?;
    let ownership =
        ownership::read(&platform.instance).map_err(|source| RecoveryError::Ownership { source })?;
    let owns = !ownership.is_pending(place, &platform.cluster_id);
    Ok((owns && left.has_gone_on(catalog.generation())).then_some(left.fork))
}

pub(crate) async fn forget_enabled(platform: &Platform) -> Result<(), RecoveryError> {
    if let Some(before) = enabled(platform)? {
        former::keep_enabled(platform, before).await?;
    }
    write(platform, Change::delete(key(ENABLED))).await
}

/// Another lineage begins: what was in use belongs to the one before. Its own, besides those that the catalog names, is
/// the source's.
pub(crate) async fn begin_lineage(platform: &Platform, recovered: &Recovered) -> Result<(), RecoveryError> {
    if let Some(source) = &recovered.came_from {
        former::keep(platform, source).await?;
    }
    let late = |before| LateExports { cluster: recovered.plan.source.clone(), before };
    let late = match recovered.late_exports.map(late) {
        Some(late) => put(LATE_EXPORTS, &late, platform.clock.now()),
        None => Change::delete(key(LATE_EXPORTS)),
    };
    let before = [ENABLED, ENABLING, MOVING].map(|name| Change::delete(key(name)));
    write_all(platform, before.into_iter().chain([late]).collect()).await
}

/// The last recovery of this instance that switched catalogs. None where what says which catalog is in use is damaged: that
/// one is away then, and whoever recovers another waits for nothing.
pub fn recovered(platform: &Platform) -> Result<Option<Recovered>, RecoveryError> {
    let Some(recovered) = read::<Recovered>(&platform.instance, RECOVERED)? else { return Ok(None) };
    match platform.data.current_generation() {
        Ok(current) => Ok(has_switched(&recovered, current).then_some(recovered)),
        Err(OpenCatalogError::Corrupt { .. }) => Ok(None),
        Err(source) => Err(RecoveryError::Current { source }),
    }
}

fn has_switched(recovered: &Recovered, current: Option<Generation>) -> bool {
    current.is_some_and(|current| recovered.plan.generation <= current)
}

pub(crate) async fn write_recovered(platform: &Platform, state: &Recovered) -> Result<(), RecoveryError> {
    write(platform, put(RECOVERED, state, platform.clock.now())).await
}

/// Everything was put back but this.
pub(crate) async fn finish(platform: &Platform, owed: &[Owed]) -> Result<(), RecoveryError> {
    let now = platform.clock.now();
    let mut changes = vec![put(OWED, &owed, now)];
    if let Some(recovered) = recovered(platform)? {
        changes.push(put(RECOVERED, &Recovered { finished: true, finished_at: Some(now), ..recovered }, now));
    }
    write_all(platform, changes).await
}

/// What the cluster does not hold yet of the recovered configuration.
pub(crate) fn owed(platform: &Platform) -> Result<Vec<Owed>, RecoveryError> {
    read(&platform.instance, OWED).map(Option::unwrap_or_default)
}

pub(crate) async fn write_owed(platform: &Platform, owed: &[Owed]) -> Result<(), RecoveryError> {
    write(platform, put(OWED, &owed, platform.clock.now())).await
}

pub(crate) fn late_exports(platform: &Platform) -> Result<Option<LateExports>, RecoveryError> {
    read(&platform.instance, LATE_EXPORTS)
}

/// They have been looked for.
pub(crate) async fn end_late_exports(platform: &Platform) -> Result<(), RecoveryError> {
    write(platform, Change::delete(key(LATE_EXPORTS))).await
}

/// Whether a recovery has switched catalogs and not put everything back yet. Unreadable counts as unfinished.
pub fn is_unfinished(platform: &Platform) -> bool {
    match read::<Recovered>(&platform.instance, RECOVERED) {
        Ok(Some(recovered)) if !recovered.finished => {
            platform.data.current_generation().map_or(true, |current| has_switched(&recovered, current))
        }
        Ok(_) => false,
        Err(_) => true,
    }
}
