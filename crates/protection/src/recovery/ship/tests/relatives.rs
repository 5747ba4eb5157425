//! Chains below other cluster ids: what is told of them, and what a stranger can make of them.

use super::damage::{phrase, plant_format, slot};
use super::*;
use crate::recovery::documents::Fork;
use crate::recovery::relatives::{open_ancestors, warn_of_continuations};
use crate::recovery::review::find_earlier;

const MINUTE: Duration = Duration::from_secs(60);

fn id(text: &str) -> ClusterId {
    text.parse().unwrap()
}

/// What was shipped is recovered on another cluster, and ships below its id.
async fn recovered_on(world: World, other: &str) -> World {
    let at = world.open().await.chain.latest().unwrap();
    let fork = Fork { cluster: world.cluster.clone(), repository: world.repository, at };
    let moved = World { repository: RepositoryId::from_bytes(random_bytes()), cluster: id(other), ..world };
    moved.clock.advance(Duration::from_secs(5));
    move_on::open_generation(&moved.catalog, Generation(2)).await.unwrap();
    let mut target = moved.target(LEGACY, 1).await;
    target.enabled.parent = Some(fork);
    ship_into(&moved, target).await;
    moved
}

/// A few entries below our own id.
async fn shipped() -> World {
    let world = World::new();
    let (mut shipper, _) = world.begin(LEGACY).await;
    world.commits(3);
    world.ship(&mut shipper).await.unwrap();
    world
}

async fn copy_chain(world: &World, from: &DrFolder, to: &DrFolder) {
    for object in world.memory.list_all(from.repository()).await.unwrap() {
        let bytes = world.memory.fetch_all(&object.path).await.unwrap();
        let name = object.path.strip_prefix(from.repository()).unwrap();
        world.memory.tamper(&to.repository().join_path(&name).unwrap(), bytes);
    }
}

/// A copy below another id was read to its end, and whoever had made it decided how long every recovery waited for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_below_another_id_goes_on_from_nothing_and_one_without_an_end_holds_no_recovery_up() {
    let world = shipped().await;
    let chains = [world.open().await];
    let moved = recovered_on(world, "1d4f9d63-7b1c").await;
    let copy = ClusterFolder::new(&id("0a1b2c3d-4e5f")).dr_repository(moved.repository);
    copy_chain(&moved, &moved.folder(), &copy).await;
    let store: Arc<dyn Store> = moved.store.clone();
    let look = async |within: Duration| warn_of_continuations(&store, &cluster(), &chains, within).await;
    let real = format!("cluster {} goes on from what is here", moved.cluster);

    let told = look(MINUTE).await;
    assert!(told.len() == 1 && told[0].starts_with(&real), "{told:?}");
    let calls = |folder: StorePath| moved.store.count(&Calls::Beneath(folder));
    assert!(calls(copy.bases()) > 0);
    assert_eq!((calls(copy.segments()), calls(copy.manifests())), (0, 0), "its base says whose it is");

    // So does a listing: what comes behind it is looked at.
    for silent in [copy.bases(), ClusterFolder::new(&id("0a1b2c3d-4e5f")).dr()] {
        moved.store.heal();
        moved.store.inject(Calls::Beneath(silent), Span::From(1), Fault::Silence);
        let told = look(Duration::from_secs(5)).await;
        assert!(told.len() == 2 && told[0].starts_with(&real), "{told:?}");
        assert!(told[1].ends_with("was not found out: looking takes longer than 5 seconds"), "{told:?}");
    }
}

/// What the chain came from was opened first: credentials for its own folder recovered no moment at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_moment_of_its_own_chain_is_found_where_what_it_came_from_may_not_be_read() {
    let world = shipped().await;
    let (early, ours) = (world.clock.now(), phrase("a passphrase that is long enough"));
    let moved = recovered_on(world, "1d4f9d63-7b1c").await;
    let repository = moved.target(LEGACY, 1).await.repository;
    repository.add_slot(&slot(&moved, &ours)).await.unwrap();
    let store: Arc<dyn Store> = moved.store.clone();
    let (now, passphrases) = (moved.clock.now(), [ours]);
    let find = async |time| find_earlier(&store, &moved.cluster, &passphrases, time, now).await.map(drop);

    let beside = ClusterFolder::new(&cluster()).dr();
    moved.store.inject(Calls::Beneath(beside), Span::From(1), Fault::Before(Failure::BadCredentials));
    find(now).await.unwrap();
    let refused = find(early).await.unwrap_err();
    assert!(matches!(refused, RecoveryError::List { .. }), "{}", Chain(&refused));
    moved.store.heal();
    find(early).await.unwrap();
}

/// Repositories that come behind a flood of folders were left out without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_folders_beside_what_was_left_hides_it_not_and_is_told() {
    let moved = recovered_on(shipped().await, "1d4f9d63-7b1c").await;
    let store: Arc<dyn Store> = moved.store.clone();
    let chains = [moved.open().await];
    let fork = chains[0].chain.parent.clone().unwrap();
    let (ancestors, warnings) = open_ancestors(&store, &moved.cluster, &chains).await.unwrap();
    assert_eq!((ancestors.len(), warnings), (1, Vec::new()));
    for number in 0..=u8::MAX {
        let id = [0, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        plant_format(&moved, RepositoryId::from_bytes(id), b"x");
    }
    let (ancestors, warnings) = open_ancestors(&store, &moved.cluster, &chains).await.unwrap();
    assert!(ancestors.len() == 1 && ancestors[0].chain.repository == fork.repository);
    assert!(warnings.len() == 1 && warnings[0].starts_with("not all repositories"), "{warnings:?}");
}

/// The end of what the old passphrase opens was told as the newest state.
#[tokio::test(flavor = "multi_thread")]
async fn of_what_goes_on_under_a_changed_passphrase_the_end_that_is_seen_is_told_as_the_least() {
    let world = shipped().await;
    let chains = [world.open().await];
    let moved = recovered_on(world, "1d4f9d63-7b1c").await;
    let seen = moved.open().await.chain.latest().unwrap();
    let vault = VaultKeyring::new(VaultKey::generate(VaultKey::FIRST));
    let changed = World { repository: RepositoryId::from_bytes(random_bytes()), vault, ..moved };
    ship_into(&changed, changed.target(LEGACY, 1).await).await;
    assert!(changed.open().await.chain.latest().unwrap() > seen);
    let store: Arc<dyn Store> = changed.store.clone();
    let told = warn_of_continuations(&store, &cluster(), &chains, MINUTE).await;
    assert!(told.len() == 1 && told[0].contains(&format!("came at least to {seen}, ")), "{told:?}");
}
