//! The passphrase slots that every repository of the lineage carries, and the vault key that they wrap.
//!
//! The order of a changed passphrase: 1 vault key n+1 and its slots are kept by this installation, in one commit; 2
//! each repository gets `keys/<n+1>` and then the slots, at the latest before its next pack, and whoever was granted it the
//! new data key; 3 that it has them is recorded. Guarantees: whatever stopped on the way, the next try completes it; a
//! repository that could not be reached is tried again and named until then, since without its slots it dies with this
//! cluster.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keelson_catalog::RowKey;
use keelson_crypto::{KdfCost, Passphrase, PassphraseStrength, Slot, VaultKey, WeakPassphrase, random_bytes};
use keelson_model::{Chain, SlotId};
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

/// Gives every repository of the lineage the keys and slots that it lacks. One that cannot be had is logged.
pub(crate) async fn spread(platform: &Platform) {
    let ids = platform.repository_keys().slot_ids();
    if ids.is_empty() {
        return;
    }
    let rows = export_rows(platform).unwrap_or_else(|error| {
        tracing::warn!(cause = %Chain(&error), "the export repositories could not be listed");
        Vec::new()
    });
    for (key, row) in rows.into_iter().filter(|(_, row)| row.slots != ids) {
        let (application, profile) = (row.application.clone(), row.profile.clone());
        if let Err(error) = complete_export(platform, key, row).await {
            tracing::warn!(
                application,
                profile,
                cause = %Chain(&error),
                "these exports die with this cluster: their repository lacks the newest passphrase slot"
            );
        }
    }
    if let Err(error) = complete_former(platform, &ids).await {
        tracing::warn!(cause = %Chain(&error), "a former repository of the platform lacks the newest slot");
    }
}

async fn complete_export(platform: &Platform, key: RowKey, row: RepositoryRow) -> Result<(), RecoveryError> {
    let location = open_place(platform, &row.profile, &row.place).await?;
    ownership::prove(platform, &location, &row.cluster)
        .await
        .map_err(|source| RecoveryError::Ownership { source })?;
    let opened = platform.open_export(&location, key, row).await;
    opened.map(drop).map_err(|source| RecoveryError::Repository { source })
}

/// A profile that leads elsewhere by now says nothing about where the repository lies.
async fn open_place(platform: &Platform, profile: &str, place: &Place) -> Result<Location, RecoveryError> {
    let location =
        platform.open_location(profile).await.map_err(|source| RecoveryError::Location { source })?;
    if location.place != *place {
        let source = RepositoriesError::OtherPlace { profile: profile.to_owned() };
        return Err(RecoveryError::Repository { source });
    }
    Ok(location)
}

async fn complete_former(platform: &Platform, ids: &[SlotId]) -> Result<(), RecoveryError> {
    let ownership =
        ownership::read(&platform.instance).map_err(|source| RecoveryError::Ownership { source })?;
    let mut failure = None;
    for known in former::list(platform)? {
        if known.slots == ids || ownership.is_pending(&known.place, &known.cluster) {
            continue;
        }
        match complete_former_one(platform, &known).await {
            Ok(()) => former::keep(platform, &DrRepository { slots: ids.to_vec(), ..known }).await?,
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or(Ok(()), Err)
}

async fn complete_former_one(platform: &Platform, known: &DrRepository) -> Result<(), RecoveryError> {
    let location = open_place(platform, &known.profile, &known.place).await?;
    ownership::prove(platform, &location, &known.cluster)
        .await
        .map_err(|source| RecoveryError::Ownership { source })?;
    let folder = ClusterFolder::new(&known.cluster).dr_repository(known.repository);
    let keys = platform.repository_keys();
    let root = folder.repository();
    let opened = repositories::open_current(
        location.store,
        root,
        &keys,
        &known.profile,
        &known.slots,
        &platform.index_cache,
    );
    match opened.await {
        // One that is gone, or was never made, needs nothing; one with keys of its own gets nothing.
        Ok(_) | Err(RepositoriesError::OtherKeys { .. }) => Ok(()),
        Err(source) => Err(RecoveryError::Repository { source }),
    }
}

/// Tries again what lacks its slots, until stopped.
pub(crate) async fn run_slots(platform: Arc<Platform>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! { _ = tick.tick() => (), () = stop.cancelled() => return }
        let _turn = platform.enabling.lock().await;
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
