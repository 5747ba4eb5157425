//! Enabling disaster recovery: claim, card, repository with its passphrase slot, a start, and a base at once.
//!
//! Guarantees: running it again finds what an earlier try has made. A repository is recorded before it is created.
//! The order: 1 the profile is fit and the passphrase strong; 2 ownership of this cluster's folder is claimed; 3 the
//! card is there; 4 the repository is there with its slot; 5 export repositories have the slot; 6 a start and a base.

use keelson_catalog::Query;
use keelson_crypto::{KdfCost, Passphrase, PassphraseStrength, Slot, random_bytes};
use keelson_model::passphrase::WeakPassphrase;
use keelson_model::recovery::DrMode;
use keelson_model::{RepositoryId, SlotId};
use keelson_resources::policy::DrPolicy;
use keelson_store::{StoreError, StoreExt};

use crate::layout::ClusterFolder;
use crate::locations::Location;
use crate::ownership;
use crate::passphrases;
use crate::platform::Platform;
use crate::recovery::documents::{CardDocument, DOCUMENT_VERSION};
use crate::recovery::state::{self, Enabled};
use crate::recovery::{RecoveryError, ship};
use crate::repositories::{self, RepositoryRow};

const PAGE: usize = 500;

/// Enables disaster recovery to a profile, or brings what is enabled in line with it.
pub async fn enable(platform: &Platform, profile: &str, mode: DrMode) -> Result<Enabled, RecoveryError> {
    let location =
        platform.open_writable(profile).await.map_err(|source| RecoveryError::Location { source })?;
    let passphrase =
        passphrases::read(platform).await.map_err(|source| RecoveryError::Passphrase { source })?;
    let before = state::enabled(platform)?;
    if let Some(enabled) = before.as_ref().filter(|enabled| enabled.place == location.place)
        && opens(enabled, &passphrase).await
    {
        let unchanged = enabled.mode == mode && enabled.profile == profile;
        let enabled = Enabled { mode, profile: profile.to_owned(), ..enabled.clone() };
        if !unchanged {
            state::write_enabled(platform, &enabled).await?;
        }
        ship::begin(platform, &location, &enabled).await?;
        return Ok(enabled);
    }
    check_strength(&passphrase)?;
    let claimed = ownership::prove(platform, &location, &platform.cluster_id).await;
    allow_beside_the_source(claimed)?;
    write_card(platform, &location).await?;

    let slot = seal_slot(platform, passphrase).await?;
    let parent = state::recovered(platform)?.and_then(|recovered| recovered.plan.fork());
    let enabled = Enabled {
        profile: profile.to_owned(),
        place: location.place.clone(),
        repository: RepositoryId::from_bytes(random_bytes()),
        mode,
        enabled_at: platform.clock.now(),
        slot: hex::encode(slot.to_bytes()),
        parent,
    };
    let folder = ClusterFolder::new(&platform.cluster_id).dr_repository(enabled.repository);
    repositories::create_or_open(
        location.store.clone(),
        folder.repository(),
        enabled.repository,
        &platform.vault(),
        profile,
        std::slice::from_ref(&slot),
        &platform.index_cache,
    )
    .await
    .map_err(|source| RecoveryError::Repository { source })?;
    state::write_enabled(platform, &enabled).await?;
    add_slot_to_exports(platform, &slot).await?;
    ship::begin(platform, &location, &enabled).await?;
    Ok(enabled)
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
    ship::stop(platform).await;
    state::forget_enabled(platform).await
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

async fn opens(enabled: &Enabled, passphrase: &Passphrase) -> bool {
    let slot = hex::decode(&enabled.slot).ok().and_then(|bytes| Slot::from_bytes(&bytes).ok());
    // Deriving a key takes a third of a second of one core.
    slot.is_some_and(|slot| tokio::task::block_in_place(|| slot.open(passphrase).is_ok()))
}

fn check_strength(passphrase: &Passphrase) -> Result<(), RecoveryError> {
    match passphrase.strength() {
        PassphraseStrength::TooShort => {
            Err(RecoveryError::WeakPassphrase { source: WeakPassphrase::TooShort })
        }
        PassphraseStrength::Common => Err(RecoveryError::WeakPassphrase { source: WeakPassphrase::Common }),
        PassphraseStrength::Weak => {
            tracing::warn!(
                "the passphrase of disaster recovery is short; 14 characters or more resist guessing"
            );
            Ok(())
        }
        PassphraseStrength::Fair => Ok(()),
    }
}

async fn seal_slot(platform: &Platform, passphrase: Passphrase) -> Result<Slot, RecoveryError> {
    let vault = platform.vault();
    let id = SlotId::from_bytes(random_bytes());
    tokio::task::block_in_place(|| Slot::seal(id, &passphrase, KdfCost::RECOMMENDED, vault.newest()))
        .map_err(|source| RecoveryError::SealSlot { source })
}

async fn write_card(platform: &Platform, location: &Location) -> Result<(), RecoveryError> {
    let path = ClusterFolder::new(&platform.cluster_id).card(1);
    let card = CardDocument {
        format: DOCUMENT_VERSION,
        product_version: env!("CARGO_PKG_VERSION").to_owned(),
        fips: false,
        created: platform.clock.now(),
        continued_by: None,
    };
    let bytes = serde_json::to_vec_pretty(&card).expect("plain data");
    match location.store.create(&path, bytes.into()).await {
        Ok(_) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(source) => Err(RecoveryError::Put { path, source }),
    }
}

/// Exports made before disaster recovery was enabled open with the passphrase from now on.
async fn add_slot_to_exports(platform: &Platform, slot: &Slot) -> Result<(), RecoveryError> {
    let catalog = platform.catalog().map_err(|source| RecoveryError::Away { source })?;
    let mut query = Query::all(repositories::row_kind(), PAGE);
    loop {
        let page = catalog.list(&query).map_err(|source| RecoveryError::ReadState { source })?;
        for row in page.rows.iter().filter_map(|stored| RepositoryRow::parse(&stored.row.body)) {
            if row.cluster == platform.cluster_id {
                add_slot(platform, &row, slot).await?;
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(()),
        }
    }
}

async fn add_slot(platform: &Platform, row: &RepositoryRow, slot: &Slot) -> Result<(), RecoveryError> {
    let location =
        platform.open_location(&row.profile).await.map_err(|source| RecoveryError::Location { source })?;
    let root = ClusterFolder::new(&row.cluster).export_repository(&row.application, row.repository);
    let vault = platform.vault();
    let opened = repositories::create_or_open(
        location.store,
        &root,
        row.repository,
        &vault,
        &row.profile,
        &[],
        &platform.index_cache,
    );
    let repository = opened.await.map_err(|source| RecoveryError::Repository { source })?;
    repository
        .add_slot(slot)
        .await
        .map_err(|source| RecoveryError::AddSlot { root: root.to_string(), source })
}
