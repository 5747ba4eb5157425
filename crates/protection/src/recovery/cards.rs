//! Cards: what anybody who can list a location may know of a cluster's backups there. Cleartext, and so hints: whoever can
//! write there can write cards too, and nothing is decided by them.
//!
//! `cards/1` is made when disaster recovery is enabled; whoever takes the backups over on another cluster leaves one more,
//! named by the epoch that it claimed, which says where they go on.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use keelson_crypto::KdfCost;
use keelson_model::{Chain, ClusterId};
use keelson_store::{Store, StoreError, StoreExt};
use tokio::time::timeout;

use crate::layout::{ClusterFolder, Epoch};
use crate::platform::Platform;
use crate::recovery::RecoveryError;
use crate::recovery::documents::{CardDocument, DOCUMENT_VERSION};

const CARDS_MAX: usize = 16;
/// A card has some hundred bytes; what is longer is none of ours.
const CARD_BYTES_MAX: u64 = 16 << 10;
/// What is none takes a request each, and whoever can write may leave any number of them.
const HINTS_WITHIN: Duration = Duration::from_secs(20);

/// Whether new slots are made with what FIPS approves.
pub(crate) fn runs_fips(platform: &Platform) -> bool {
    matches!(platform.settings.passphrase_cost, KdfCost::Pbkdf2HmacSha256 { .. })
}

/// The first card of this cluster, in its own folder.
pub(crate) async fn write_first(platform: &Platform, store: &dyn Store) -> Result<(), RecoveryError> {
    let folder = ClusterFolder::new(&platform.cluster_id);
    let written = write(platform, store, &folder, 1, None).await;
    written.map_err(|source| RecoveryError::Put { path: folder.card(1), source })
}

/// Says in the folder of a cluster whose backups were taken over that they go on here. A folder of our own needs no such
/// card.
pub(crate) async fn write_continued(
    platform: &Platform,
    store: &dyn Store,
    source: &ClusterId,
    epoch: Epoch,
) -> Result<(), StoreError> {
    if *source == platform.cluster_id {
        return Ok(());
    }
    let here = Some(platform.cluster_id.clone());
    write(platform, store, &ClusterFolder::new(source), u64::from(epoch.0), here).await
}

/// Found there, it was made by an earlier try, or by a stranger whom nobody believes.
async fn write(
    platform: &Platform,
    store: &dyn Store,
    folder: &ClusterFolder,
    number: u64,
    continued_by: Option<ClusterId>,
) -> Result<(), StoreError> {
    let card = CardDocument {
        format: DOCUMENT_VERSION,
        product_version: env!("CARGO_PKG_VERSION").to_owned(),
        fips: runs_fips(platform),
        created: platform.clock.now(),
        continued_by,
    };
    let bytes = serde_json::to_vec_pretty(&card).expect("plain data");
    match store.create(&folder.card(number), bytes.into()).await {
        Ok(_) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The first cards of a cluster, oldest first.
pub(crate) async fn read(
    store: &dyn Store,
    folder: &ClusterFolder,
) -> Result<Vec<CardDocument>, RecoveryError> {
    let mut found = Vec::new();
    read_into(&mut found, store, folder).await?;
    Ok(found)
}

/// What was read until then is there, where it fails or is stopped.
async fn read_into(
    found: &mut Vec<CardDocument>,
    store: &dyn Store,
    folder: &ClusterFolder,
) -> Result<(), RecoveryError> {
    let cards = folder.cards();
    let failed = |source| RecoveryError::List { folder: cards.clone(), source };
    let mut objects = store.stream(&cards);
    while let Some(object) = objects.try_next().await.map_err(failed)? {
        if found.len() == CARDS_MAX {
            break;
        }
        if object.length > CARD_BYTES_MAX {
            continue;
        }
        let path = object.path;
        let bytes = store.fetch_all(&path).await.map_err(|source| RecoveryError::Fetch { path, source })?;
        found.extend(serde_json::from_slice::<CardDocument>(&bytes).ok());
    }
    Ok(())
}

/// The same, for hints: those that can be read now and in time. No recovery waits for more.
pub(crate) async fn hints(store: &Arc<dyn Store>, cluster: &ClusterId) -> Vec<CardDocument> {
    let folder = ClusterFolder::new(cluster);
    let mut cards = Vec::new();
    match timeout(HINTS_WITHIN, read_into(&mut cards, &**store, &folder)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%cluster, cause = %Chain(&error), "not all cards of a cluster were read");
        }
        Err(_) => tracing::warn!(%cluster, "not all cards of a cluster were read in time"),
    }
    cards
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use keelson_store::providers::memory::MemoryStore;
    use keelson_testkit::{Calls, Fault, FaultyStore, Span};

    use super::*;

    fn card(version: &str) -> CardDocument {
        CardDocument {
            format: DOCUMENT_VERSION,
            product_version: version.to_owned(),
            fips: false,
            created: Timestamp::UNIX_EPOCH,
            continued_by: None,
        }
    }

    #[tokio::test]
    async fn of_cards_the_first_16_that_have_at_most_16_kib_are_read() {
        let cluster = "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa".parse().unwrap();
        let (store, folder) = (MemoryStore::new(), ClusterFolder::new(&cluster));
        for number in 1..=20 {
            let mut bytes = serde_json::to_vec(&card(&number.to_string())).unwrap();
            // White space behind it changes nothing of what it says.
            match number {
                2 => bytes.resize(16 << 10, b' '),
                3 => bytes.resize((16 << 10) + 1, b' '),
                _ => {}
            }
            store.create(&folder.card(number), bytes.into()).await.unwrap();
        }
        let found = read(&store, &folder).await.unwrap();
        let versions: Vec<_> =
            found.iter().map(|card| card.product_version.parse::<u64>().unwrap()).collect();
        assert_eq!(versions, (1..=17).filter(|number| *number != 3).collect::<Vec<_>>());
    }

    /// A flood in the place of cards was read one by one, however long that took.
    #[tokio::test(start_paused = true)]
    async fn no_recovery_waits_for_cards_without_an_end() {
        let cluster = "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa".parse().unwrap();
        let folder = ClusterFolder::new(&cluster);
        let faulty = FaultyStore::new(Arc::new(MemoryStore::new()));
        for number in 1..=2 {
            faulty
                .create(&folder.card(number), serde_json::to_vec(&card("1")).unwrap().into())
                .await
                .unwrap();
        }
        faulty.inject(Calls::Beneath(folder.card(2)), Span::From(1), Fault::Silence);
        let store: Arc<dyn Store> = Arc::new(faulty);
        assert_eq!(hints(&store, &cluster).await, [card("1")], "what was read stays");
    }
}
