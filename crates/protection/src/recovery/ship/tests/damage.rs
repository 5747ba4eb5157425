//! Damage, strangers and losses: named, never followed, and never a reason to hide what is proven.

use keelson_crypto::ObjectKind;
use keelson_model::SessionId;

use super::*;
use crate::documents;
use crate::recovery::documents::{DOCUMENT_VERSION, ManifestDocument};
use crate::recovery::open::open_chains;

/// A run at the head, as the policy makes it.
pub(super) async fn run(world: &World, shipper: &Shipper) -> ManifestDocument {
    let reached = shipper.reached(world.catalog.head()).unwrap();
    let manifest = ManifestDocument {
        version: DOCUMENT_VERSION,
        at: reached.at,
        base: reached.base.at,
        mode: reached.mode,
        created: world.clock.now(),
        state: summary_of(&reached.head, Some(scope_of(reached.mode)), reached.base.state.counts.clone()),
        outcome: SessionId::from_bytes(random_bytes()),
    };
    let path = reached.folder.manifest(manifest.at);
    let keys = reached.repository.keyring();
    let bytes = documents::seal(keys.newest(), ObjectKind::Manifest, &path, &manifest).unwrap();
    reached.store.create(&path, bytes).await.unwrap();
    manifest
}

/// A chain with two bases, segments and a run, and its head.
async fn shipped(world: &World) -> (Shipper, Head) {
    let (mut shipper, _) = world.begin(LEGACY).await;
    world.commits(3);
    world.ship(&mut shipper).await.unwrap();
    shipper.base.as_mut().unwrap().grow(5 << 20);
    world.commits(3);
    world.ship(&mut shipper).await.unwrap();
    run(world, &shipper).await;
    world.commits(2);
    world.ship(&mut shipper).await.unwrap();
    (shipper, world.catalog.head())
}

/// What a review finds as the latest, and its warnings.
async fn look(world: &World) -> (Sequence, Vec<String>) {
    let open = world.open().await;
    (open.chain.latest().unwrap().sequence, open.warnings)
}

fn later(shipper: &Shipper) -> Position {
    shipper.position(Sequence(99))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_chain_gives_no_warning() {
    let world = World::new();
    let (_, head) = shipped(&world).await;
    assert_eq!(look(&world).await, (head.revision.sequence(), Vec::new()));
    assert_eq!(world.open().await.manifests.len(), 1);
}

/// Each was followed: the copy of an old object under a newer name was the latest state.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_under_another_name_is_reported_and_never_followed() {
    let world = World::new();
    let (shipper, head) = shipped(&world).await;
    let folder = world.folder();
    let open = world.open().await;
    let newest = world.names(&folder.segments()).await.last().unwrap().parse().unwrap();
    let copies = [
        (folder.base(open.chain.bases[0]), folder.base(later(&shipper))),
        (folder.segment(newest), folder.segment(later(&shipper))),
        (folder.manifest(open.manifests[0].at), folder.manifest(later(&shipper))),
    ];
    for (from, to) in copies {
        let bytes = world.memory.fetch_all(&from).await.unwrap();
        world.memory.tamper(&to, bytes);
        let (latest, warnings) = look(&world).await;
        assert_eq!(latest, head.revision.sequence());
        assert!(warnings.iter().any(|warning| warning.contains("copied there")), "{warnings:?}");
        assert_eq!(world.rebuild(&world.open().await, latest).await.unwrap(), hex::encode(head.chain));
        world.memory.tamper_by_deleting(&to);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_open_is_passed_over_and_the_rest_is_used() {
    let world = World::new();
    let (shipper, head) = shipped(&world).await;
    let (folder, open) = (world.folder(), world.open().await);
    let retired = folder.repository().join(&format!("retired/{}", open.manifests[0].outcome)).unwrap();
    let names = [
        folder.base(later(&shipper)),
        folder.segment(later(&shipper)),
        folder.manifest(later(&shipper)),
        retired,
    ];
    for name in &names {
        world.memory.tamper(name, Bytes::from_static(b"of a stranger"));
    }
    let open = world.open().await;
    assert_eq!(open.chain.latest().unwrap().sequence, head.revision.sequence());
    assert_eq!((open.warnings.len(), open.manifests.len()), (4, 1), "{:?}", open.warnings);
    assert_eq!(world.rebuild(&open, head.revision.sequence()).await.unwrap(), hex::encode(head.chain));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_between_two_segments_does_not_stop_a_recovery_and_a_damaged_one_does() {
    let world = World::new();
    let (shipper, head) = shipped(&world).await;
    let folder = world.folder();
    world.memory.tamper(&folder.segment(shipper.position(Sequence(8))), Bytes::from_static(b"x"));
    world.assert_reachable(&[head]).await;
    let open = world.open().await;
    let behind: Vec<String> = world.names(&folder.segments()).await;
    let damaged = behind.iter().map(|name| name.parse::<Position>().unwrap()).find(|at| at.sequence.0 == 1);
    world.memory.tamper(&folder.segment(damaged.unwrap()), Bytes::from_static(b"x"));
    let error = world.rebuild(&open, Sequence(3)).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Invalid, "refused by the plan");
    world.assert_reachable(&[head]).await;
}

/// The newest base is damaged: the one before it and all segments since lead to the same state.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_newest_base_is_made_good_by_the_one_before() {
    let world = World::new();
    let (_, head) = shipped(&world).await;
    let newest = *world.open().await.chain.bases.last().unwrap();
    world.memory.tamper(&world.folder().base(newest), Bytes::from_static(b"x"));
    let (latest, warnings) = look(&world).await;
    assert_eq!((latest, warnings.len()), (head.revision.sequence(), 1), "{warnings:?}");
    world.assert_reachable(&[head]).await;
}

/// Shipping ended in the same error at each start, until what waited was dropped.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_without_a_base_that_opens_gets_a_new_one() {
    for deleted in [false, true] {
        let world = World::new();
        world.commits(2);
        let (mut shipper, mut known) = world.begin(LEGACY).await;
        world.commits(3);
        world.ship(&mut shipper).await.unwrap();
        let base = world.folder().base(shipper.base.as_ref().unwrap().document.at);
        match deleted {
            true => world.memory.tamper_by_deleting(&base),
            false => world.memory.tamper(&base, Bytes::from_static(b"rotted")),
        }
        let mut shipper = world.take_up(LEGACY, &mut known).await.unwrap();
        assert!(shipper.lost.is_some(), "it is told");
        world.commits(2);
        world.ship(&mut shipper).await.unwrap();
        let mut heads = vec![world.catalog.head()];
        heads.extend(world.commits(2));
        world.ship(&mut shipper).await.unwrap();
        world.assert_reachable(&heads).await;
        let shipper = world.take_up(LEGACY, &mut known).await.unwrap();
        assert_eq!(shipper.lost, None, "once is enough");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_cannot_be_reached_for_now_is_not_replaced() {
    let world = World::new();
    world.commits(2);
    let (_, mut known) = world.begin(LEGACY).await;
    let bases = Calls::Beneath(world.folder().bases());
    world.store.inject(bases, Span::From(2), Fault::Before(Failure::Broken));
    let refused = world.take_up(LEGACY, &mut known).await.map(drop).unwrap_err();
    assert!(matches!(refused, RecoveryError::Fetch { .. }), "{}", Chain(&refused));
}

/// Without a base the segments tell that the chain is ahead of the catalog: a base in it would have led nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_volume_does_not_go_on_in_a_chain_whose_bases_are_gone() {
    let world = World::new();
    world.commits(2);
    let (mut shipper, mut known) = world.begin(LEGACY).await;
    let older = world.copy_volume();
    world.commits(5);
    world.ship(&mut shipper).await.unwrap();
    let base = world.folder().base(shipper.base.as_ref().unwrap().document.at);
    world.memory.tamper(&base, Bytes::from_static(b"rotted"));
    older.commits(1);
    let found = divergence(older.take_up(LEGACY, &mut known).await);
    assert!(matches!(found, Divergence::Ahead { .. }), "{found}");
    assert_eq!(found.generation(), Some(Generation(1)), "the catalog goes on in a later one");
}

/// What lay just before the newest base hid the segments that led up to it, or stopped every start.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_before_the_newest_base_hides_no_stretch() {
    for (killed, mode) in [(false, LEGACY), (true, LEGACY), (true, QUICK)] {
        let world = World::new();
        world.commits(2);
        let (mut shipper, mut known) = world.begin(mode).await;
        let mut heads = world.commits(3);
        world.ship(&mut shipper).await.unwrap();
        heads.extend(world.commits(3));
        shipper.write_base(&world.sender()).await.unwrap();
        if !killed {
            world.ship(&mut shipper).await.unwrap();
        }
        let base = shipper.base.as_ref().unwrap().document.at;
        let before = Position { sequence: Sequence(base.sequence.0 - 1), ..base };
        world.memory.tamper(&world.folder().base(before), Bytes::from_static(b"of a stranger"));
        let mut shipper = world.take_up(mode, &mut known).await.unwrap();
        heads.extend(world.commits(2));
        world.ship(&mut shipper).await.unwrap();
        world.assert_reachable(&heads).await;
    }
}

/// Whoever deletes the last segments takes the platform back in time; the run that proves it was hidden.
#[tokio::test(flavor = "multi_thread")]
async fn segments_that_a_run_proves_and_that_are_gone_are_named_as_a_loss() {
    let world = World::new();
    let (mut shipper, _) = world.begin(LEGACY).await;
    world.commits(3);
    world.ship(&mut shipper).await.unwrap();
    world.commits(3);
    world.ship(&mut shipper).await.unwrap();
    let proven = run(&world, &shipper).await;
    let last = shipper.position(Sequence(4));
    world.memory.tamper_by_deleting(&world.folder().segment(last));
    let (latest, warnings) = look(&world).await;
    assert_eq!(latest, Sequence(3));
    assert!(warnings[0].contains("lost") && warnings[0].contains(&proven.at.to_string()), "{warnings:?}");
    let open = world.open().await;
    assert!(open.chain.base_for(proven.at.generation, proven.at.sequence).is_err(), "not offered");
}

pub(super) fn phrase(text: &str) -> Arc<keelson_crypto::Passphrase> {
    Arc::new(keelson_crypto::Passphrase::new(text.as_bytes().to_vec()))
}

pub(super) fn slot(world: &World, passphrase: &keelson_crypto::Passphrase) -> keelson_crypto::Slot {
    let id = keelson_model::SlotId::from_bytes(random_bytes());
    let cost = keelson_crypto::KdfCost::LOWEST;
    keelson_crypto::Slot::seal(id, passphrase, cost, world.vault.newest()).unwrap()
}

/// A chain that this passphrase opens.
async fn shipped_under(world: &World, passphrase: &keelson_crypto::Passphrase) -> Head {
    let (_, head) = shipped(world).await;
    let repository = world.target(LEGACY, 1).await.repository;
    repository.add_slot(&slot(world, passphrase)).await.unwrap();
    head
}

/// The `format` of a new repository of that id.
async fn format_of(id: RepositoryId) -> Bytes {
    let world = World { repository: id, ..World::new() };
    world.target(LEGACY, 1).await;
    world.memory.fetch_all(&world.folder().repository().join("format").unwrap()).await.unwrap()
}

pub(super) fn plant_format(world: &World, repository: RepositoryId, bytes: &[u8]) {
    let folder = ClusterFolder::new(&cluster()).dr_repository(repository);
    world.memory.tamper(&folder.repository().join("format").unwrap(), Bytes::copy_from_slice(bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_repository_does_not_hide_the_one_beside_it() {
    let world = World::new();
    let ours = phrase("a passphrase that is long enough");
    let head = shipped_under(&world, &ours).await;
    let other = RepositoryId::from_bytes(random_bytes());
    plant_format(&world, other, b"x");
    let (chains, warnings) = open_chains(&world.location().store, &cluster(), &[ours]).await.unwrap();
    assert_eq!(chains.len(), 1);
    assert_eq!(chains[0].chain.latest().unwrap().sequence, head.revision.sequence());
    assert!(warnings[0].contains(&other.to_string()), "{warnings:?}");
}

/// The first 64 names were looked at. What has no key of ours says nothing about the passphrase either.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_folders_hides_no_repository() {
    let world = World::new();
    let ours = phrase("a passphrase that is long enough");
    shipped_under(&world, &ours).await;
    let format = world.folder().repository().join("format").unwrap();
    let copied = world.memory.fetch_all(&format).await.unwrap();
    for number in 0..100_u8 {
        let id = RepositoryId::from_bytes([0, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        // One without slots, and copies: neither needs a key.
        let mut bytes = copied.to_vec();
        match number {
            0 => bytes = format_of(id).await.to_vec(),
            _ if number % 2 == 0 => {}
            _ => bytes.truncate(1),
        }
        plant_format(&world, id, &bytes);
    }
    let store = world.location().store;
    let (chains, warnings) = open_chains(&store, &cluster(), &[ours]).await.unwrap();
    assert_eq!(chains.len(), 1);
    assert_eq!(chains[0].chain.repository, world.repository);
    assert!(warnings.len() == 11 && warnings[10].contains("90 more"), "{warnings:?}");
    let wrong = open_chains(&store, &cluster(), &[phrase("another")]).await.map(drop).unwrap_err();
    assert!(matches!(wrong, RecoveryError::WrongPassphrase { .. }), "{}", Chain(&wrong));
}

/// A planted slot, made of ours, ended the opening before the further passphrases were tried.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_under_one_passphrase_does_not_keep_the_next_from_being_tried() {
    let world = World::new();
    let [first, second] = ["a passphrase with a bad slot", "a passphrase with a good one"].map(phrase);
    shipped_under(&world, &second).await;
    let harmed = slot(&world, &first);
    let mut bytes = harmed.to_bytes();
    let end = bytes.len() - keelson_crypto::Sha256::LENGTH;
    bytes[end - 1] ^= 1;
    let checksum = keelson_crypto::Sha256::of(&bytes[..end]);
    bytes[end..].copy_from_slice(checksum.as_bytes());
    let name = world.folder().repository().join(&format!("slots/{}", harmed.id())).unwrap();
    world.memory.tamper(&name, bytes.into());
    let store = world.location().store;
    let (chains, _) = open_chains(&store, &cluster(), &[first.clone(), second]).await.unwrap();
    assert_eq!(chains.len(), 1);
    let error = open_chains(&store, &cluster(), &[first, phrase("another")]).await.map(drop).unwrap_err();
    assert!(Chain(&error).to_string().contains("was tampered with"), "{}", Chain(&error));
}

/// A thousand were passed over, and hid the latest state and the runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unreadable_objects_hides_neither_the_latest_state_nor_the_runs() {
    let world = World::new();
    let (shipper, head) = shipped(&world).await;
    let folder = world.folder();
    for number in 1_000..2_500 {
        let at = shipper.position(Sequence(number));
        for name in [folder.base(at), folder.segment(at), folder.manifest(at)] {
            world.memory.tamper(&name, Bytes::from_static(b"of a stranger"));
        }
    }
    let open = world.open().await;
    assert_eq!(open.chain.latest().unwrap().sequence, head.revision.sequence());
    assert_eq!(open.manifests.len(), 1);
    assert_eq!(open.warnings.len(), 3 * 11, "{:?}", open.warnings);
    assert!(open.warnings[10].contains("1490 more"), "{:?}", open.warnings);
}
