//! The passphrase slots that every repository of the lineage carries, and the vault key that they wrap.
//!
//! The order of a changed passphrase: 1 vault key n+1 and its slots are kept by this installation, in one commit; 2
//! each repository gets `keys/<n+1>` and then the slots, at the latest before its next pack, and whoever was granted it the
//! new data key; 3 that it has them is recorded. Guarantees: whatever stopped on the way, the next try completes it; a
//! repository that could not be reached is tried again and named until then, since without its slots it dies with this
//! cluster. A place is opened once a round, while nobody waits for it, and let be once it is out of reach.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use keelson_catalog::RowKey;
use keelson_crypto::{KdfCost, Passphrase, PassphraseStrength, Slot, VaultKey, WeakPassphrase, random_bytes};
use keelson_model::{Chain, Classified, ErrorClass, RepositoryId, SlotId};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::identity::RepositoryKeys;
use crate::layout::ClusterFolder;
use crate::locations::{Location, Place};
use crate::ownership;
use crate::platform::Platform;
use crate::recovery::RecoveryError;
use crate::recovery::former;
use crate::recovery::state::DrRepository;
use crate::repositories::{self, RepositoriesError, RepositoryRow};

/// How often repositories that lack a slot are tried again.
const EVERY: Duration = Duration::from_secs(60);

/// Sees to it that this installation holds slots of the newest vault key for these passphrases and no others.
///
/// A further passphrase gets a slot beside the others. One that is gone makes a new vault key.
pub(crate) async fn settle(
    platform: &Platform,
    passphrases: &[Arc<Passphrase>],
) -> Result<(), RecoveryError> {
    let RepositoryKeys { vault, slots } = platform.repository_keys();
    let (standing, new) = tokio::task::block_in_place(|| compare(&slots, passphrases));
    if standing.len() == slots.len() && new.is_empty() {
        return Ok(());
    }
    let cost = platform.settings.passphrase_cost;
    let mut identity = platform.identity();
    let kept = if standing.len() == slots.len() {
        let added = seal_all(&new, vault.newest(), cost)?;
        slots.into_iter().chain(added).collect::<Vec<_>>()
    } else {
        for passphrase in &new {
            check_strength(passphrase, cost)?;
        }
        let number = vault.newest().number().checked_add(1).ok_or(RecoveryError::KeysExhausted)?;
        let key = VaultKey::generate(number);
        let sealed = seal(&passphrases.iter().collect::<Vec<_>>(), &key, cost)?;
        identity.keep_vault_key(&platform.instance_key, &key);
        tracing::info!(vault_key = number, "the passphrase has changed; later data needs the new one");
        sealed
    };
    identity.keep_slots(&kept);
    platform.become_identity(identity).await.map_err(|source| RecoveryError::Identity { source })
}

/// The slots that one of the passphrases opens, and the passphrases that open none.
fn compare<'a>(
    slots: &[Slot],
    passphrases: &'a [Arc<Passphrase>],
) -> (BTreeSet<SlotId>, Vec<&'a Arc<Passphrase>>) {
    let (mut standing, mut new) = (BTreeSet::new(), Vec::new());
    for passphrase in passphrases {
        let untaken = slots.iter().filter(|slot| !standing.contains(&slot.id()));
        match untaken.into_iter().find(|slot| slot.open(passphrase).is_ok()).map(Slot::id) {
            Some(id) => drop(standing.insert(id)),
            None => new.push(passphrase),
        }
    }
    (standing, new)
}

fn seal_all(new: &[&Arc<Passphrase>], key: &VaultKey, cost: KdfCost) -> Result<Vec<Slot>, RecoveryError> {
    for passphrase in new {
        check_strength(passphrase, cost)?;
    }
    seal(new, key, cost)
}

/// Deriving a key takes a third of a second of one core.
pub(crate) fn seal(
    passphrases: &[&Arc<Passphrase>],
    key: &VaultKey,
    cost: KdfCost,
) -> Result<Vec<Slot>, RecoveryError> {
    let seal =
        |passphrase: &&Arc<Passphrase>| Slot::seal(SlotId::from_bytes(random_bytes()), passphrase, cost, key);
    tokio::task::block_in_place(|| passphrases.iter().map(seal).collect::<Result<_, _>>())
        .map_err(|source| RecoveryError::SealSlot { source })
}

fn check_strength(passphrase: &Passphrase, cost: KdfCost) -> Result<(), RecoveryError> {
    find_weakness(passphrase, cost).map_err(|source| RecoveryError::WeakPassphrase { source })?;
    if passphrase.strength() == PassphraseStrength::Weak {
        tracing::warn!("the passphrase of disaster recovery is short; 14 characters or more resist guessing");
    }
    Ok(())
}

/// What is too weak for anything new.
pub(crate) fn find_weakness(passphrase: &Passphrase, cost: KdfCost) -> Result<(), WeakPassphrase> {
    match passphrase.strength() {
        PassphraseStrength::TooShort => Err(WeakPassphrase::TooShort),
        PassphraseStrength::Common => Err(WeakPassphrase::Common),
        PassphraseStrength::Weak if matches!(cost, KdfCost::Pbkdf2HmacSha256 { .. }) => {
            Err(WeakPassphrase::TooShortForFips)
        }
        PassphraseStrength::Weak | PassphraseStrength::Fair => Ok(()),
    }
}

/// An exported application that only this cluster can open with the passphrase in force.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ExportAtRisk {
    pub application: String,
    pub profile: String,
}

/// The exports that die with this cluster: their repositories lack the newest slots, or there are none.
pub(crate) fn exports_at_risk(platform: &Platform) -> Vec<ExportAtRisk> {
    let ids = platform.repository_keys().slot_ids();
    let rows = export_rows(platform).unwrap_or_default();
    let lacking = rows.into_iter().filter(|(_, row)| ids.is_empty() || row.slots != ids);
    let at_risk = lacking
        .map(|(_, row)| ExportAtRisk { application: row.application, profile: row.profile })
        .collect::<BTreeSet<_>>();
    at_risk.into_iter().collect()
}

/// The export repositories that this instance may write to. While ownership is pending its source's are not.
fn export_rows(platform: &Platform) -> Result<Vec<(RowKey, RepositoryRow)>, RecoveryError> {
    let ownership =
        ownership::read(&platform.instance).map_err(|source| RecoveryError::Ownership { source })?;
    let catalog = platform.catalog().map_err(|source| RecoveryError::Away { source })?;
    let mut rows =
        repositories::export_rows(&catalog).map_err(|source| RecoveryError::ReadState { source })?;
    rows.retain(|(_, row)| !ownership.is_pending(&row.place, &row.cluster));
    Ok(rows)
}

/// A repository that lacks keys or slots, and the profile that it is known by.
#[derive(Debug)]
struct Lacking {
    profile: String,
    which: Which,
}

#[derive(Debug)]
enum Which {
    Export(RowKey),
    Former(RepositoryId),
}

/// What lacks keys or slots and may be written to, by the place where it lies. What cannot be listed is logged.
fn list_lacking(platform: &Platform) -> BTreeMap<Place, Vec<Lacking>> {
    let ids = platform.repository_keys().slot_ids();
    let mut lacking: BTreeMap<Place, Vec<Lacking>> = BTreeMap::new();
    if ids.is_empty() {
        return lacking;
    }
    let rows = export_rows(platform).unwrap_or_else(|error| {
        tracing::warn!(cause = %Chain(&error), "the export repositories could not be listed");
        Vec::new()
    });
    for (key, row) in rows.into_iter().filter(|(_, row)| row.slots != ids) {
        let which = Which::Export(key);
        lacking.entry(row.place).or_default().push(Lacking { profile: row.profile, which });
    }
    let former = former_repositories(platform).unwrap_or_else(|error| {
        tracing::warn!(cause = %Chain(&error), "the former repositories of the platform could not be listed");
        Vec::new()
    });
    for known in former.into_iter().filter(|known| known.slots != ids) {
        let which = Which::Former(known.repository);
        lacking.entry(known.place).or_default().push(Lacking { profile: known.profile, which });
    }
    lacking
}

/// Those that this instance may write to.
fn former_repositories(platform: &Platform) -> Result<Vec<DrRepository>, RecoveryError> {
    let ownership =
        ownership::read(&platform.instance).map_err(|source| RecoveryError::Ownership { source })?;
    let mut former = former::list(platform)?;
    former.retain(|known| !ownership.is_pending(&known.place, &known.cluster));
    Ok(former)
}

/// Gives every repository of the lineage the keys and slots that it lacks. One that cannot be had is logged.
async fn spread(platform: &Platform) {
    for (place, lacking) in list_lacking(platform) {
        let mut profiles: Vec<String> = Vec::new();
        for Lacking { profile, .. } in &lacking {
            if !profiles.contains(profile) {
                profiles.push(profile.clone());
            }
        }
        match platform.open_place(&place, &profiles).await {
            Ok(location) => complete_place(platform, &location, lacking).await,
            Err(source) => warn_of(&place, lacking.len(), &RecoveryError::Location { source }),
        }
    }
}

/// The same in a place that is open, at once. Whoever completes the others is woken and not waited for.
pub(crate) async fn spread_at(platform: &Platform, location: &Location) {
    let mut lacking = list_lacking(platform);
    if let Some(here) = lacking.remove(&location.place) {
        complete_place(platform, location, here).await;
    }
    if !lacking.is_empty() {
        platform.slots_lacking.notify_one();
    }
}

/// One after the other, each in a turn of `enabling` of its own, until the place is out of reach.
async fn complete_place(platform: &Platform, location: &Location, mut lacking: Vec<Lacking>) {
    let total = lacking.len();
    // One that always fails as if its store were away does not keep the same others waiting each time.
    lacking.rotate_left(usize::from(u16::from_le_bytes(random_bytes())) % total.max(1));
    for (done, Lacking { which, .. }) in lacking.into_iter().enumerate() {
        let turn = platform.enabling.lock().await;
        let completed = match &which {
            Which::Export(key) => complete_export(platform, location, key).await,
            Which::Former(id) => complete_former(platform, location, *id).await,
        };
        drop(turn);
        let Err(error) = completed else { continue };
        if matches!(error.class(), ErrorClass::Unavailable { .. }) {
            return warn_of(&location.place, total - done, &error);
        }
        tracing::warn!(
            repository = ?which,
            profile = location.profile,
            cause = %Chain(&error),
            "this repository dies with this cluster: it lacks the newest passphrase slot"
        );
    }
}

fn warn_of(place: &Place, repositories: usize, error: &RecoveryError) {
    tracing::warn!(
        %place,
        repositories,
        cause = %Chain(error),
        "what lies here dies with this cluster: its repositories lack the newest passphrase slot"
    );
}

/// As the catalog knows it now: since it was listed it may have been completed, or the catalog been replaced.
async fn complete_export(
    platform: &Platform,
    location: &Location,
    key: &RowKey,
) -> Result<(), RecoveryError> {
    let ids = platform.repository_keys().slot_ids();
    let row = read_export(platform, key)?;
    let lacks = |row: &RepositoryRow| row.place == location.place && row.slots != ids;
    let Some(row) = row.filter(lacks).filter(|_| !ids.is_empty()) else { return Ok(()) };
    ownership::prove(platform, location, &row.cluster)
        .await
        .map_err(|source| RecoveryError::Ownership { source })?;
    let opened = platform.open_export(location, key.clone(), row).await;
    opened.map(drop).map_err(|source| RecoveryError::Repository { source })
}

fn read_export(platform: &Platform, key: &RowKey) -> Result<Option<RepositoryRow>, RecoveryError> {
    let catalog = platform.catalog().map_err(|source| RecoveryError::Away { source })?;
    let stored = catalog.read(key).map_err(|source| RecoveryError::ReadState { source })?;
    Ok(stored.and_then(|stored| RepositoryRow::parse(&stored.row.body)))
}

async fn complete_former(
    platform: &Platform,
    location: &Location,
    id: RepositoryId,
) -> Result<(), RecoveryError> {
    let keys = platform.repository_keys();
    let ids = keys.slot_ids();
    let known = former_repositories(platform)?.into_iter().find(|known| known.repository == id);
    let lacks = |known: &DrRepository| known.place == location.place && known.slots != ids;
    let Some(known) = known.filter(lacks).filter(|_| !ids.is_empty()) else { return Ok(()) };
    ownership::prove(platform, location, &known.cluster)
        .await
        .map_err(|source| RecoveryError::Ownership { source })?;
    let folder = ClusterFolder::new(&known.cluster).dr_repository(known.repository);
    let root = folder.repository();
    let (store, profile, cache) = (location.store.clone(), &location.profile, &platform.index_cache);
    match repositories::open_current(store, root, &keys, profile, &known.slots, cache).await {
        // One that is gone, or was never made, needs nothing; one with keys of its own gets nothing.
        Ok(_) | Err(RepositoriesError::OtherKeys { .. }) => {}
        Err(source) => return Err(RecoveryError::Repository { source }),
    }
    let profile = location.profile.clone();
    former::keep(platform, &DrRepository { slots: ids, profile, ..known }).await
}

/// Tries what lacks its slots, from time to time and when it is woken, until stopped.
pub(crate) async fn run_slots(platform: Arc<Platform>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => (),
            () = platform.slots_lacking.notified() => (),
            () = stop.cancelled() => return,
        }
        tokio::select! { () = spread(&platform) => (), () = stop.cancelled() => return }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_fips_mode_a_new_passphrase_has_fourteen_bytes() {
        let check = |text: &str, cost, refused: Option<WeakPassphrase>| {
            let checked = check_strength(&Passphrase::new(text.into()), cost);
            let found = checked.err().map(|error| match error {
                RecoveryError::WeakPassphrase { source } => source,
                other => panic!("{other}"),
            });
            assert_eq!(found, refused, "{text}");
        };
        check("thirteen-byte", KdfCost::FIPS, Some(WeakPassphrase::TooShortForFips));
        check("fourteen-bytes", KdfCost::FIPS, None);
        check("thirteen-byte", KdfCost::LOWEST, None);
        check("seven77", KdfCost::LOWEST, Some(WeakPassphrase::TooShort));
        check("disaster-recovery", KdfCost::FIPS, Some(WeakPassphrase::Common));
    }
}
