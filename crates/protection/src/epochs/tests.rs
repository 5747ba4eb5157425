//! Claims against a store in memory: who wins, who is ignored.

mod explore;
mod lists;

use std::sync::Arc;

use keelson_crypto::{VaultKey, VaultKeyring, random_bytes};
use keelson_store::providers::memory::MemoryStore;

use super::*;

struct Lineage {
    id: LineageId,
    keys: Keyring,
}

fn lineage() -> Lineage {
    let id = LineageId::from_bytes(random_bytes());
    let vault = VaultKeyring::new(VaultKey::generate(VaultKey::FIRST));
    Lineage { id, keys: Keyring::of_lineage(&vault, id).unwrap() }
}

fn cluster() -> ClusterId {
    "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa".parse().unwrap()
}

fn instance() -> InstanceId {
    InstanceId::from_bytes(random_bytes())
}

fn first_claim() -> Claim {
    Claim { instance: instance(), cluster: cluster(), claimed_at: Timestamp::UNIX_EPOCH, previous: None }
}

async fn claim_by(store: &MemoryStore, lineage: &Lineage, instance: InstanceId) -> Result<Epoch, EpochError> {
    let folder = ClusterFolder::new(&cluster());
    claim(store, &folder, lineage.id, &lineage.keys, (instance, cluster()), Timestamp::UNIX_EPOCH).await
}

async fn claims_of(store: &MemoryStore, lineage: &Lineage) -> Claims {
    read_claims(store, &ClusterFolder::new(&cluster()), lineage.id, &lineage.keys).await.unwrap()
}

#[tokio::test]
async fn the_next_claim_takes_over_from_the_one_before() {
    let (store, lineage, first, second) = (MemoryStore::new(), lineage(), instance(), instance());
    assert_eq!(claim_by(&store, &lineage, first).await.unwrap(), Epoch(1));
    assert_eq!(claim_by(&store, &lineage, second).await.unwrap(), Epoch(2));
    let claims = claims_of(&store, &lineage).await;
    assert_eq!(claims.holder.unwrap().claim.instance, second);
    assert!(claims.strangers.is_empty());
}

#[tokio::test]
async fn what_a_stranger_wrote_counts_for_nothing_and_is_reported() {
    let (store, ours, theirs) = (MemoryStore::new(), lineage(), lineage());
    let holder = instance();
    claim_by(&store, &ours, holder).await.unwrap();
    let forged = first_claim();
    for epoch in [Epoch(2), Epoch(9)] {
        let path = ClusterFolder::new(&cluster()).epoch(ours.id, epoch);
        let bytes = documents::seal(theirs.keys.newest(), ObjectKind::Epoch, &path, &forged).unwrap();
        store.create(&path, bytes).await.unwrap();
    }
    let claims = claims_of(&store, &ours).await;
    assert_eq!(claims.holder.unwrap().claim.instance, holder);
    assert_eq!(claims.strangers, [Epoch(2).to_string(), Epoch(9).to_string()]);
    let next = instance();
    assert_eq!(claim_by(&store, &ours, next).await.unwrap(), Epoch(3));
}

/// It opens under the lineage's key and continues its chain: nothing but its length speaks against it.
#[tokio::test]
async fn a_claim_of_more_than_64_kib_counts_for_nothing() {
    let lineage = lineage();
    let path = ClusterFolder::new(&cluster()).epoch(lineage.id, Epoch(1));
    for (padding, counts) in [(60 << 10, true), (64 << 10, false)] {
        let store = MemoryStore::new();
        let claim = first_claim();
        let mut padded = serde_json::to_value(&claim).unwrap();
        padded["padding"] = "x".repeat(padding).into();
        let bytes = documents::seal(lineage.keys.newest(), ObjectKind::Epoch, &path, &padded).unwrap();
        store.create(&path, bytes).await.unwrap();
        let claims = claims_of(&store, &lineage).await;
        assert_eq!(claims.holder.map(|holder| holder.claim), counts.then_some(claim), "{padding}");
        assert_eq!(claims.strangers.is_empty(), counts, "{padding}");
    }
}

#[tokio::test]
async fn more_than_10_000_claims_of_a_lineage_are_refused() {
    let (store, lineage) = (MemoryStore::new(), lineage());
    let folder = ClusterFolder::new(&cluster());
    let mut next = first_claim();
    for number in 1..=10_001 {
        let path = folder.epoch(lineage.id, Epoch(number));
        let bytes = documents::seal(lineage.keys.newest(), ObjectKind::Epoch, &path, &next).unwrap();
        next.previous = Some(Sha256::of(&bytes).to_string());
        store.create(&path, bytes).await.unwrap();
        if number == 10_000 {
            assert_eq!(claims_of(&store, &lineage).await.holder.unwrap().epoch, Epoch(10_000));
        }
    }
    let refused = read_claims(&store, &folder, lineage.id, &lineage.keys).await.unwrap_err();
    assert!(matches!(refused, EpochError::TooMany { limit: 10_000, .. }), "{refused}");
}

/// As whoever synchronizes two copies of a location brings it about: it opens under the lineage's key, and its claimant
/// never knew who holds the epoch before.
#[tokio::test]
async fn a_claim_out_of_another_copy_of_the_location_counts_for_nothing() {
    let (here, there, lineage) = (MemoryStore::new(), MemoryStore::new(), lineage());
    claim_by(&here, &lineage, instance()).await.unwrap();
    let path = |epoch| ClusterFolder::new(&cluster()).epoch(lineage.id, Epoch(epoch));
    there.create(&path(1), here.fetch_all(&path(1)).await.unwrap()).await.unwrap();

    let holder = instance();
    assert_eq!(claim_by(&here, &lineage, holder).await.unwrap(), Epoch(2));
    claim_by(&there, &lineage, instance()).await.unwrap();
    assert_eq!(claim_by(&there, &lineage, instance()).await.unwrap(), Epoch(3));
    here.create(&path(3), there.fetch_all(&path(3)).await.unwrap()).await.unwrap();

    let claims = claims_of(&here, &lineage).await;
    assert_eq!(claims.holder.unwrap().claim.instance, holder);
    assert_eq!(claims.strangers, [Epoch(3).to_string()]);
    assert_eq!(claim_by(&here, &lineage, instance()).await.unwrap(), Epoch(4));
}

/// Whoever can write to the location could end the lineage with ten thousand empty objects.
#[tokio::test]
async fn a_folder_full_of_strangers_objects_does_not_end_the_lineage() {
    let (store, lineage, holder) = (MemoryStore::new(), lineage(), instance());
    claim_by(&store, &lineage, instance()).await.unwrap();
    for number in 100..=(100 + CLAIMS_MAX as u32) {
        let path = ClusterFolder::new(&cluster()).epoch(lineage.id, Epoch(number));
        store.create(&path, Bytes::from_static(b"nothing")).await.unwrap();
    }
    assert_eq!(claim_by(&store, &lineage, holder).await.unwrap(), Epoch(2));
    let claims = claims_of(&store, &lineage).await;
    assert_eq!(claims.holder.unwrap().claim.instance, holder);
    assert_eq!(claims.strangers.len(), CLAIMS_MAX + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_racing_claimants_each_epoch_has_one_holder() {
    let (store, lineage) = (Arc::new(MemoryStore::new()), Arc::new(lineage()));
    let racers = (0..8).map(|_| {
        let (store, lineage) = (store.clone(), lineage.clone());
        async move { claim_by(&store, &lineage, instance()).await }
    });
    let results = futures::future::join_all(racers).await;
    let mut won: Vec<Epoch> = results.into_iter().filter_map(Result::ok).collect();
    let count = won.len();
    won.sort_unstable();
    won.dedup();
    assert_eq!(won.len(), count, "no epoch was won twice");
    assert!(claims_of(&store, &lineage).await.holder.is_some());
}
