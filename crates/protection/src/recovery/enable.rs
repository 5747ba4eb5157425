//! Enabling disaster recovery: claim, card, repository with its passphrase slot, a start, and a base at once.
//!
//! Guarantees: running it again finds what an earlier try has made, and completes it. Where the passphrase in force is
//! kept elsewhere and cannot be read there now, what is enabled stays so.
//! The order: 1 the profile is fit; 2 the passphrases are strong and have slots; 3 ownership of this cluster's folder
//! is claimed; 4 the card is there; 5 the repository's id is recorded; 6 it is there with its keys and slots; 7 it is
//! the one in use; 8 a start and a base; 9 the other repositories of this place have the slots, and those elsewhere get
//! them from whoever is woken for it: a place that is out of reach holds nobody up.

use keelson_crypto::random_bytes;
use keelson_model::recovery::DrMode;
use keelson_model::{RepositoryId, SlotId};
use keelson_resources::policy::DrPolicy;

use crate::layout::ClusterFolder;
use crate::locations::Location;
use crate::ownership;
use crate::passphrases::watched::{self, Watched};
use crate::platform::Platform;
use crate::recovery::state::{self, Enabled, Enabling};
use crate::recovery::{RecoveryError, cards, ship, slots};
use crate::repositories;

/// Enables disaster recovery to a profile, or brings what is enabled in line with it.
pub async fn enable(platform: &Platform, profile: &str, mode: DrMode) -> Result<Enabled, RecoveryError> {
    let turn = platform.enabling.lock().await;
    let location =
        platform.open_writable(profile).await.map_err(|source| RecoveryError::Location { source })?;
    let away = match watched::read(platform).await? {
        Watched::Read { passphrases, source } => {
            slots::settle(platform, &passphrases).await?;
            watched::settle(platform, source).await?;
            None
        }
        Watched::Away(error) => Some(error),
    };
    let newest = platform.vault().newest().number();
    let before = state::enabled(platform)?;
    let enabled = match before {
        Some(before) if before.place == location.place && before.vault_key == newest => {
            keep(platform, &location, before, profile, mode).await?
        }
        before => match away {
            None => begin_anew(platform, &location, before, mode).await?,
            // What is begun anew must open with a passphrase that somebody can still read.
            Some(source) => return Err(RecoveryError::Passphrase { source }),
        },
    };
    ship::begin(platform, &location, &enabled).await?;
    drop(turn);
    slots::spread_at(platform, &location).await;
    Ok(enabled)
}

/// The repository stays; profile, mode and further passphrases may differ.
async fn keep(
    platform: &Platform,
    location: &Location,
    before: Enabled,
    profile: &str,
    mode: DrMode,
) -> Result<Enabled, RecoveryError> {
    let slots = platform.repository_keys().slot_ids();
    let enabled = Enabled { mode, profile: profile.to_owned(), slots, ..before.clone() };
    if enabled.slots != before.slots {
        create(platform, location, &enabled, &before.slots).await?;
    }
    if enabled != before {
        state::write_enabled(platform, &enabled).await?;
    }
    Ok(enabled)
}

/// A new repository, beside those of earlier passphrases and places.
async fn begin_anew(
    platform: &Platform,
    location: &Location,
    before: Option<Enabled>,
    mode: DrMode,
) -> Result<Enabled, RecoveryError> {
    let claimed = ownership::prove(platform, location, &platform.cluster_id).await;
    allow_beside_the_source(claimed)?;
    cards::write_first(platform, &*location.store).await?;

    let vault_key = platform.vault().newest().number();
    let begun = state::enabling(platform)?
        .filter(|begun| begun.place == location.place && begun.vault_key == vault_key);
    let enabling = match begun {
        Some(begun) => begun,
        None => {
            let repository = RepositoryId::from_bytes(random_bytes());
            let enabling = Enabling { place: location.place.clone(), vault_key, repository };
            state::write_enabling(platform, &enabling).await?;
            enabling
        }
    };
    let enabled = Enabled {
        profile: location.profile.clone(),
        place: enabling.place,
        repository: enabling.repository,
        mode,
        enabled_at: platform.clock.now(),
        vault_key,
        slots: platform.repository_keys().slot_ids(),
        parent: state::recovered(platform)?.and_then(|recovered| recovered.plan.fork()),
    };
    create(platform, location, &enabled, &[]).await?;
    state::complete_enabling(platform, &enabled, before).await?;
    Ok(enabled)
}

async fn create(
    platform: &Platform,
    location: &Location,
    enabled: &Enabled,
    carried: &[SlotId],
) -> Result<(), RecoveryError> {
    let folder = ClusterFolder::new(&platform.cluster_id).dr_repository(enabled.repository);
    let (keys, store) = (platform.repository_keys(), location.store.clone());
    let root = folder.repository();
    let (profile, cache) = (&location.profile, &platform.index_cache);
    repositories::create_or_open(store, root, enabled.repository, &keys, profile, carried, cache)
        .await
        .map(drop)
        .map_err(|source| RecoveryError::Repository { source })
}

/// The mode that a DR policy asks for. One that says nothing gets what the installation was told.
pub fn mode_of(platform: &Platform, policy: &DrPolicy) -> DrMode {
    match policy.mode {
        DrMode::Legacy if platform.settings.quick_mode => DrMode::QuickNoSnapshot,
        mode => mode,
    }
}

/// Turns disaster recovery off. What was stored stays.
pub async fn disable(platform: &Platform) -> Result<(), RecoveryError> {
    let _turn = platform.enabling.lock().await;
    ship::stop(platform).await;
    state::forget_enabled(platform).await
}

/// Whoever was enabled long ago and has shipped since finds out here that another instance has claimed the backups.
pub(crate) async fn require_ownership(platform: &Platform, location: &Location) -> Result<(), RecoveryError> {
    allow_beside_the_source(ownership::prove(platform, location, &platform.cluster_id).await)
}

/// A recovered instance that does not own its source's backups yet still protects itself, beside them.
fn allow_beside_the_source(
    claimed: Result<crate::layout::Epoch, ownership::OwnershipError>,
) -> Result<(), RecoveryError> {
    match claimed {
        Ok(_) | Err(ownership::OwnershipError::Pending { .. }) => Ok(()),
        Err(source) => Err(RecoveryError::Ownership { source }),
    }
}
