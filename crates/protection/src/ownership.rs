//! Who may maintain stored backups: exactly one instance of a lineage, and how that changes hands.
//!
//! A recovered instance owns nothing while the ConfigMap `k10-dr-remove-to-get-ownership` exists. Once it has been
//! gone for a while by live reads, the next epoch is claimed in every location that the catalog knows. An instance
//! that finds a higher epoch than its own is *fenced*: it stops maintenance and exports there.
//!
//! Whoever has taken over removes nothing there for [`MAINTENANCE_WAIT`]: time to notice that it was a mistake, by what
//! maintenance tells that it would free. A person who has seen that may end the wait (see `confirm`). Guarantees:
//! nothing in `retired/` is created without a proof made here, and none where the store's clock and ours differ. What
//! decides is the location, never a cached belief: each proof reads the claims anew.

mod claim;
mod clocks;
mod confirm;
mod kept;
mod take;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keelson_catalog::{Change, Class, CommitError, Database, Expect, ReadError, RowKey, RowKind};
use keelson_crypto::Keyring;
use keelson_model::{Chain, Classified, ClusterId, ErrorClass, Generation, later};
use keelson_store::StoreError;
use serde::{Deserialize, Serialize};

use self::claim::claim;
pub(crate) use clocks::{ClockLooks, keep_expired};
pub(crate) use take::run_ownership;

use crate::epochs::{self, EpochError};
use crate::layout::{ClusterFolder, Epoch};
use crate::locations::{EMPTIED_HINT, Location, Place};
use crate::platform::{Platform, commit};
use crate::records::plain_row;
use crate::recovery::cards;
use crate::restore_points::ExportedTo;

/// So long nothing is removed after a take-over.
const MAINTENANCE_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What this instance believes it owns. Kept in the instance file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ownership {
    /// Set by a recovery, cleared when the ConfigMap has gone: from then on it is a matter of each place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// By place and cluster id.
    #[serde(default)]
    pub held: BTreeMap<String, Held>,
    /// By the same key: what is still to be claimed after a recovery.
    #[serde(default)]
    pub unowned: BTreeMap<String, Unowned>,
}

/// A place of the source's backups that could not be claimed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unowned {
    pub profile: String,
    pub place: Place,
    pub cluster: ClusterId,
    /// Why the last try has failed.
    #[serde(default)]
    pub why: String,
}

impl Ownership {
    /// Until when this instance looks at what it does not own: whatever was written there after the moment that was
    /// recovered is somebody else's, and may be an attacker's.
    pub(crate) fn looks_until(&self, cluster: &ClusterId) -> Option<Timestamp> {
        self.pending.as_ref().filter(|pending| pending.source == *cluster)?.seen_until
    }

    /// What lies there is the source's, and this instance does not own it yet.
    pub(crate) fn is_pending(&self, place: &Place, cluster: &ClusterId) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.source == *cluster)
            || self.unowned.contains_key(&held_key(place, cluster))
    }

    /// What lies there is another instance's: it is read and nothing else.
    pub(crate) fn forbids_writing(&self, place: &Place, cluster: &ClusterId) -> bool {
        let held = self.held.get(&held_key(place, cluster));
        self.is_pending(place, cluster) || held.is_some_and(|held| held.fenced_by.is_some())
    }
}

/// A recovery has happened and nobody has confirmed yet that the original is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub source: ClusterId,
    pub since: Timestamp,
    /// The generation that the recovery opens. If it never comes, the recovery did not happen.
    pub generation: Generation,
    /// Of a recovery of an earlier moment: what belongs to it lay in the location by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_until: Option<Timestamp>,
    /// What was pending before, to be put back then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Pending>>,
}

/// An epoch claimed in one location for one cluster id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub profile: String,
    pub place: Place,
    pub cluster: ClusterId,
    pub epoch: Epoch,
    /// When it was taken over from another instance. What was never another's has no such time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Timestamp>,
    /// What would be freed, told while nothing is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreseen: Option<Foreseen>,
    /// A person has seen that, and ended the wait.
    #[serde(default)]
    pub confirmed: bool,
    /// Another instance has claimed a higher epoch since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fenced_by: Option<Epoch>,
}

/// What the first pass after a take-over would free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Foreseen {
    pub at: Timestamp,
    /// Restore points that owners before have retired.
    pub retired: u64,
    pub packs: u64,
    pub bytes: u64,
    /// Restore points that have expired and will be retired.
    pub expired: u64,
}

impl Held {
    /// Until when nothing is removed after it was taken over, unless a person has ended the wait.
    pub(crate) fn waits_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = later(self.taken_at.filter(|_| !self.confirmed)?, MAINTENANCE_WAIT);
        (until > now).then_some(until)
    }
}

/// This instance may not do what only an owner may.
#[derive(Debug, thiserror::Error)]
pub enum OwnershipError {
    #[error("this instance was recovered from cluster {source_cluster} and does not own its backups yet")]
    Pending { source_cluster: ClusterId, namespace: String },
    #[error(
        "the backups of cluster {cluster} in '{profile}' were taken over: nothing is removed before {until}"
    )]
    Waits { profile: String, cluster: ClusterId, until: Timestamp },
    #[error("another instance has claimed epoch {theirs} of '{profile}'; ours is {ours}")]
    Fenced { profile: String, ours: Epoch, theirs: Epoch },
    #[error("the backups of cluster {cluster} in '{profile}' belong to another instance of this lineage")]
    NotOurs { profile: String, cluster: ClusterId },
    #[error("'{profile}' holds nothing any more of cluster {cluster}, whose backups in it are ours")]
    Emptied { profile: String, cluster: ClusterId },
    #[error(
        "the clock of '{profile}' and ours differ by {difference:#}: nothing is removed or taken over there"
    )]
    ClocksDiffer { profile: String, difference: SignedDuration },
    #[error("ask '{profile}' for its time")]
    AskTime { profile: String, source: StoreError },
    #[error("say in '{profile}' where the backups that were taken over go on")]
    LeaveCard { profile: String, source: StoreError },
    #[error("read or make the claim of ownership in '{profile}'")]
    Claims { profile: String, source: EpochError },
    #[error("the keys of this lineage are not at hand")]
    Keys,
    #[error("read what this instance owns")]
    Read { source: ReadError },
    #[error("decode what this instance owns")]
    Decode { source: serde_json::Error },
    #[error("record what this instance owns")]
    Record { source: CommitError },
}

impl Classified for OwnershipError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Pending { .. }
            | Self::Waits { .. }
            | Self::ClocksDiffer { .. }
            | Self::Fenced { .. }
            | Self::NotOurs { .. } => ErrorClass::Denied,
            Self::AskTime { source, .. } | Self::LeaveCard { source, .. } => source.class(),
            Self::Claims { source, .. } => source.class(),
            Self::Emptied { .. } => ErrorClass::NotFound,
            Self::Keys => ErrorClass::Bug,
            Self::Read { source } => source.class(),
            Self::Decode { .. } => ErrorClass::Corrupt,
            Self::Record { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "ownership.pending",
            Self::Waits { .. } => "ownership.waits",
            Self::ClocksDiffer { .. } => "ownership.clocks_differ",
            Self::AskTime { .. } => "ownership.ask_time",
            Self::LeaveCard { .. } => "ownership.leave_card",
            Self::Fenced { .. } => "ownership.fenced",
            Self::NotOurs { .. } => "ownership.not_ours",
            Self::Emptied { .. } => "ownership.emptied",
            Self::Claims { .. } => "ownership.claims",
            Self::Keys => "ownership.keys",
            Self::Read { .. } => "ownership.read",
            Self::Decode { .. } => "ownership.decode",
            Self::Record { .. } => "ownership.record",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Pending { namespace, .. } => Some(format!(
                "if the original is gone for good: kubectl delete configmap {} --namespace {namespace}",
                keelson_model::names::OWNERSHIP_CONFIG_MAP
            )),
            Self::Waits { .. } => Some(
                "if the original still works, shut this instance down; else keelson dr status says what would be freed and \
                 how to end the wait"
                    .to_owned(),
            ),
            Self::ClocksDiffer { .. } => Some("set the clock that is wrong".to_owned()),
            Self::AskTime { source, .. } | Self::LeaveCard { source, .. } => source.hint(),
            Self::Fenced { .. } | Self::NotOurs { .. } => {
                Some("shut this instance down, or recover again to take the backups over".to_owned())
            }
            Self::Claims { source, .. } => source.hint(),
            Self::Emptied { .. } => Some(EMPTIED_HINT.to_owned()),
            Self::Keys | Self::Read { .. } | Self::Decode { .. } | Self::Record { .. } => None,
        }
    }
}

fn row_key() -> RowKey {
    RowKey::new(RowKind::new("ownership"), "", "self")
}

pub(crate) fn read(instance: &Database) -> Result<Ownership, OwnershipError> {
    let stored = instance.read(&row_key()).map_err(|source| OwnershipError::Read { source })?;
    let Some(stored) = stored else { return Ok(Ownership::default()) };
    serde_json::from_slice(&stored.row.body).map_err(|source| OwnershipError::Decode { source })
}

/// Changes what is recorded, in one read and write that nobody else gets between.
pub(crate) async fn update(
    platform: &Platform,
    change: impl Fn(&mut Ownership) + Send,
) -> Result<Ownership, OwnershipError> {
    loop {
        let instance = &platform.instance;
        let stored = instance.read(&row_key()).map_err(|source| OwnershipError::Read { source })?;
        let expect = stored.as_ref().map_or(Expect::Absent, |stored| Expect::At(stored.revision));
        let mut ownership = read(instance)?;
        change(&mut ownership);
        let row = plain_row(row_key(), Class::Local, &ownership, platform.clock.now());
        match commit(instance, "ownership", vec![Change::Put { row, expect }]).await {
            Ok(_) => return Ok(ownership),
            Err(CommitError::Conflict { .. }) => {}
            Err(source) => return Err(OwnershipError::Record { source }),
        }
    }
}

/// From here on this instance owns nothing of `source`, until people say so.
pub(crate) async fn await_release(
    platform: &Platform,
    source: &ClusterId,
    generation: Generation,
    seen_until: Option<Timestamp>,
) -> Result<(), OwnershipError> {
    let since = platform.clock.now();
    let changed = update(platform, |ownership| {
        let before = ownership.pending.take().and_then(|pending| {
            if pending.generation == generation { pending.before } else { Some(Box::new(pending)) }
        });
        ownership.pending = Some(Pending { source: source.clone(), since, generation, seen_until, before });
    });
    changed.await.map(drop)
}

/// What came of taking a pending ownership back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Withdrawn {
    /// There was none, or its recovery took place.
    Nothing,
    /// An earlier one is pending again.
    StillPending,
    /// This instance owns its backups as before.
    OwnsAgain,
}

/// Takes back what is pending for a recovery that did not come to its switch.
pub(crate) async fn withdraw_release(
    platform: &Platform,
    current: Generation,
) -> Result<Withdrawn, OwnershipError> {
    let Some(pending) = read(&platform.instance)?.pending.filter(|pending| pending.generation > current)
    else {
        return Ok(Withdrawn::Nothing);
    };
    let before = pending.before.map(|before| *before);
    let withdrawn = if before.is_some() { Withdrawn::StillPending } else { Withdrawn::OwnsAgain };
    update(platform, |ownership| ownership.pending.clone_from(&before)).await?;
    Ok(withdrawn)
}

/// Forgets what the replaced catalog's lineage had claimed.
pub(crate) async fn forget_held(platform: &Platform) -> Result<(), OwnershipError> {
    let forgotten = update(platform, |ownership| {
        ownership.held.clear();
        ownership.unowned.clear();
    });
    forgotten.await.map(drop)
}

/// Why nothing may be retired now, in words for a person; none where this instance owns its backups.
pub(crate) fn forbids_maintenance(platform: &Platform) -> Option<String> {
    match read(&platform.instance) {
        Ok(Ownership { pending: Some(pending), .. }) => {
            Some(is_pending(platform, &pending.source).to_string())
        }
        Ok(Ownership { held, .. }) => {
            let fenced = held.values().find(|held| held.fenced_by.is_some())?;
            let theirs = fenced.fenced_by.unwrap_or(fenced.epoch);
            let profile = fenced.profile.clone();
            Some(OwnershipError::Fenced { profile, ours: fenced.epoch, theirs }.to_string())
        }
        Err(error) => Some(error.to_string()),
    }
}

fn is_pending(platform: &Platform, source: &ClusterId) -> OwnershipError {
    let namespace = platform.settings.install_namespace.clone();
    OwnershipError::Pending { source_cluster: source.clone(), namespace }
}

/// Why what lies in one place may not be removed now, in words for a person; none where it may.
pub(crate) fn forbids_removal(platform: &Platform, exported: &ExportedTo) -> Option<String> {
    // An import is let go of; what it led to is its source's.
    if exported.is_imported() {
        return None;
    }
    let cluster = exported.cluster()?;
    match read(&platform.instance) {
        Ok(ownership) if ownership.is_pending(&exported.place, &cluster) => {
            Some(is_pending(platform, &cluster).to_string())
        }
        Ok(ownership) => {
            let held = ownership.held.get(&held_key(&exported.place, &cluster))?;
            waits(platform, held).map(|error| error.to_string())
        }
        Err(error) => Some(error.to_string()),
    }
}

fn waits(platform: &Platform, held: &Held) -> Option<OwnershipError> {
    let until = held.waits_until(platform.clock.now())?;
    Some(OwnershipError::Waits { profile: held.profile.clone(), cluster: held.cluster.clone(), until })
}

/// Proves that this instance may remove something there: it owns it, not only since a moment ago, and tells the time as
/// the store does.
pub(crate) async fn prove_removal(
    platform: &Platform,
    location: &Location,
    cluster: &ClusterId,
) -> Result<keelson_repository::Ownership, OwnershipError> {
    let Epoch(epoch) = prove(platform, location, cluster).await?;
    clocks::check(platform, location).await?;
    let ownership = read(&platform.instance)?;
    match ownership.held.get(&held_key(&location.place, cluster)).and_then(|held| waits(platform, held)) {
        Some(error) => Err(error),
        None => Ok(keelson_repository::Ownership::proven_by_newest_epoch(
            platform.identity().lineage,
            u64::from(epoch),
        )),
    }
}

pub(crate) fn held_key(place: &Place, cluster: &ClusterId) -> String {
    format!("{}/{cluster}", place.key())
}

/// The keys under which this lineage's claims are sealed.
pub(crate) fn lineage_keys(platform: &Platform) -> Result<Keyring, OwnershipError> {
    Keyring::of_lineage(&platform.vault(), platform.identity().lineage).ok_or(OwnershipError::Keys)
}

/// Proves that this instance owns a cluster's backups in a location, claiming them where nobody of its lineage has.
///
/// Every proof reads the claims in the location. Finding a higher epoch than its own, it records that it is fenced.
pub(crate) async fn prove(
    platform: &Platform,
    location: &Location,
    cluster: &ClusterId,
) -> Result<Epoch, OwnershipError> {
    let ownership = read(&platform.instance)?;
    let key = held_key(&location.place, cluster);
    // What this instance makes under its own cluster id was never the source's.
    if ownership.is_pending(&location.place, cluster) {
        return Err(is_pending(platform, cluster));
    }
    let (folder, lineage, keys) =
        (ClusterFolder::new(cluster), platform.identity().lineage, lineage_keys(platform)?);
    let failed = |source| OwnershipError::Claims { profile: location.profile.clone(), source };
    let claims = epochs::read_claims(&*location.store, &folder, lineage, &keys).await.map_err(failed)?;
    if let Some(first) = claims.strangers.first() {
        let count = claims.strangers.len();
        tracing::warn!(
            profile = location.profile,
            first,
            count,
            "foreign objects among the claims of ownership"
        );
    }
    let newest = claims.holder.map(|holder| (holder.epoch, holder.claim.instance));
    let (held, ours) = (ownership.held.get(&key), platform.identity().instance);
    if held.is_some() && newest.is_none() {
        kept::require(location, cluster).await?;
    }
    match (held, newest) {
        (Some(held), Some((epoch, instance))) if epoch == held.epoch && instance == ours => Ok(epoch),
        // Claimed by ourselves, and the process ended before it was recorded, or claimed twice at once.
        (held, Some((epoch, instance))) if instance == ours && held.is_none_or(|held| epoch > held.epoch) => {
            record(platform, location, cluster, epoch, held.and_then(|held| held.taken_at)).await
        }
        // The same number too: it could be claimed again if our claim was deleted.
        (Some(held), Some((theirs, instance))) if instance != ours && theirs >= held.epoch => {
            note_fenced(platform, &key, theirs).await?;
            let profile = location.profile.clone();
            Err(OwnershipError::Fenced { profile, ours: held.epoch, theirs })
        }
        (None, Some(_)) => {
            Err(OwnershipError::NotOurs { profile: location.profile.clone(), cluster: cluster.clone() })
        }
        (_, None) | (Some(_), Some(_)) => {
            let epoch = claim(platform, location, cluster).await?;
            record(platform, location, cluster, epoch, None).await
        }
    }
}

/// Takes a place over: claims the next epoch, unless the newest is ours already and only was not recorded. From when on
/// the wait counts must be true, so the store's clock is asked.
async fn take_over(
    platform: &Platform,
    location: &Location,
    cluster: &ClusterId,
) -> Result<Epoch, OwnershipError> {
    clocks::check(platform, location).await?;
    let (identity, keys) = (platform.identity(), lineage_keys(platform)?);
    let folder = ClusterFolder::new(cluster);
    let claims = epochs::read_claims(&*location.store, &folder, identity.lineage, &keys)
        .await
        .map_err(|source| OwnershipError::Claims { profile: location.profile.clone(), source })?;
    let epoch = match claims.holder {
        Some(holder) if holder.claim.instance == identity.instance => holder.epoch,
        Some(_) | None => claim(platform, location, cluster).await?,
    };
    leave_card(platform, location, cluster, epoch).await?;
    record(platform, location, cluster, epoch, Some(platform.clock.now())).await
}

/// A hint for whoever comes with the old id. What cannot be written there at all keeps nobody from owning the rest.
async fn leave_card(
    platform: &Platform,
    location: &Location,
    cluster: &ClusterId,
    epoch: Epoch,
) -> Result<(), OwnershipError> {
    let profile = &location.profile;
    match cards::write_continued(platform, &*location.store, cluster, epoch).await {
        Ok(()) => Ok(()),
        Err(error) if error.class().is_lasting() => {
            tracing::warn!(profile, %cluster, cause = %Chain(&error), "no card says where these backups go on");
            Ok(())
        }
        Err(source) => Err(OwnershipError::LeaveCard { profile: profile.clone(), source }),
    }
}

async fn record(
    platform: &Platform,
    location: &Location,
    cluster: &ClusterId,
    epoch: Epoch,
    taken_at: Option<Timestamp>,
) -> Result<Epoch, OwnershipError> {
    let key = held_key(&location.place, cluster);
    let held = Held {
        profile: location.profile.clone(),
        place: location.place.clone(),
        cluster: cluster.clone(),
        epoch,
        taken_at,
        foreseen: None,
        confirmed: false,
        fenced_by: None,
    };
    tracing::info!(profile = location.profile, %cluster, %epoch, "ownership claimed");
    update(platform, |ownership| {
        ownership.unowned.remove(&key);
        ownership.held.insert(key.clone(), held.clone());
    })
    .await?;
    Ok(epoch)
}

async fn note_fenced(platform: &Platform, key: &str, theirs: Epoch) -> Result<(), OwnershipError> {
    tracing::error!(%theirs, "another instance owns these backups now; maintenance and exports stop here");
    update(platform, |ownership| {
        if let Some(held) = ownership.held.get_mut(key) {
            held.fenced_by = Some(theirs);
        }
    })
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEIRS: &str = "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa";
    const OURS: &str = "5b0c1d9e-2f64-4a55-8f0b-6f3a2d1c7e10";

    fn cluster(id: &str) -> ClusterId {
        id.parse().unwrap()
    }

    fn place(path: &str) -> Place {
        Place::FileStore { claim: "share".to_owned(), path: path.to_owned() }
    }

    /// What is said of `theirs` in place `a`.
    fn at_a() -> String {
        held_key(&place("a"), &cluster(THEIRS))
    }

    fn pending() -> Ownership {
        let (source, since) = (cluster(THEIRS), Timestamp::UNIX_EPOCH);
        let pending = Pending { source, since, generation: Generation(2), seen_until: None, before: None };
        Ownership { pending: Some(pending), ..Ownership::default() }
    }

    fn unowned() -> Ownership {
        let (place, cluster) = (place("a"), cluster(THEIRS));
        let unowned = Unowned { profile: "vault".to_owned(), place, cluster, why: String::new() };
        Ownership { unowned: BTreeMap::from([(at_a(), unowned)]), ..Ownership::default() }
    }

    fn held(fenced_by: Option<Epoch>) -> Ownership {
        let held = Held {
            profile: "vault".to_owned(),
            place: place("a"),
            cluster: cluster(THEIRS),
            epoch: Epoch(1),
            taken_at: None,
            foreseen: None,
            confirmed: false,
            fenced_by,
        };
        Ownership { held: BTreeMap::from([(at_a(), held)]), ..Ownership::default() }
    }

    /// Whether writing is forbidden: to theirs in places `a` and `b`, and to ours in `a`.
    fn check(ownership: &Ownership, expected: [bool; 3]) {
        let forbids = [("a", THEIRS), ("b", THEIRS), ("a", OURS)]
            .map(|(path, id)| ownership.forbids_writing(&place(path), &cluster(id)));
        assert_eq!(forbids, expected, "{ownership:?}");
    }

    #[test]
    fn nothing_is_written_to_what_is_not_owned_yet_or_was_taken_over() {
        check(&Ownership::default(), [false, false, false]);
        check(&pending(), [true, true, false]);
        check(&unowned(), [true, false, false]);
        check(&held(None), [false, false, false]);
        check(&held(Some(Epoch(2))), [true, false, false]);
        check(&Ownership { held: held(None).held, ..unowned() }, [true, false, false]);
        check(&Ownership { held: held(None).held, ..pending() }, [true, true, false]);
    }
}
