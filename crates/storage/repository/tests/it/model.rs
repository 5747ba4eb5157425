//! Against a plain map: whatever was written in whatever sessions reads back equal; what was there is not sent again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use keelson_crypto::{VaultKey, VaultKeyring};
use keelson_model::SessionId;
use keelson_repository::{ChunkSizes, Depth, SessionPurpose, SessionResult};
use keelson_store::Store;
use keelson_store::decorators::Meter;
use keelson_store::providers::memory::MemoryStore;
use proptest::prelude::*;

use crate::world::*;

/// A stream is made of segments, so that streams and sessions share content at shifting places.
fn content() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((0..6u64, 0..3000usize), 0..8)
        .prop_map(|segments| segments.into_iter().flat_map(|(seed, length)| noise(seed, length)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_was_written_reads_back_equal(
        sessions in prop::collection::vec(prop::collection::vec(content(), 0..4), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(check_against_model(sessions));
    }
}

async fn check_against_model(sessions: Vec<Vec<Vec<u8>>>) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = create_indexed(&store).await;
    let mut model: BTreeMap<(SessionId, String), Vec<u8>> = BTreeMap::new();
    for contents in sessions {
        let session = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
        let mut streams = Vec::new();
        for (number, content) in contents.into_iter().enumerate() {
            let reference = session.write(pieces(&content)).await.unwrap();
            assert_eq!(reference.length(), content.len() as u64);
            let name = format!("stream {number}");
            streams.push(named(&name, reference));
            model.insert((session.id(), name), content);
        }
        session.commit(draft(streams)).await.unwrap();
    }

    let reader = fresh_reader(&store).await;
    for ((id, name), content) in &model {
        let outcome = reader.outcome(*id).await.unwrap();
        let stream = outcome.stream(name).unwrap();
        assert_eq!(&read(&reader, &stream.reference).await.unwrap(), content);
    }
    let report = verify(&store, Depth::Full, &[]).await;
    assert!(report.is_whole(), "{:?}", report.findings);
}

#[tokio::test]
async fn an_identical_session_sends_no_pack() {
    for site in Site::both() {
        let store = site.store().await;
        let repository = create_indexed(&store).await;
        let content = noise(1, 300_000);
        back_up(&repository, &content).await.unwrap();
        let packs = site.keys("packs").await;

        let session = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
        let progress = session.progress();
        let outcome = write_and_commit(session, &content).await.unwrap();
        let progress = progress.read();
        assert_eq!((progress.packs_sent, progress.chunks_new), (0, 0));
        assert_eq!(site.keys("packs").await, packs);
        assert_eq!(read_back(&store, outcome.id).await.unwrap(), content);
    }
}

#[tokio::test]
async fn an_insertion_sends_little_of_a_stream_again() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = create_indexed(&store).await;
    let mut content = noise(2, 400_000);
    back_up(&repository, &content).await.unwrap();
    content.splice(100..100, *b"inserted near the front");

    let session = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
    let progress = session.progress();
    let outcome = write_and_commit(session, &content).await.unwrap();
    let progress = progress.read();
    assert!(progress.chunks_new * 20 < progress.chunks_known, "{progress:?}");
    assert_eq!(read_back(&store, outcome.id).await.unwrap(), content);
}

/// The default chunk sizes, several packs at once and several requests to read: as it runs in production.
#[tokio::test]
async fn parallel_streams_of_many_packs_read_back_equal() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let vault = VaultKeyring::new(VaultKey::generate(1));
    let repository = create_with(&store, &vault, ChunkSizes::DEFAULT).await.load_index().await.unwrap();

    let contents: Vec<_> = (0..5).map(|seed| noise(seed % 4, 12_000_000 + seed as usize)).collect();
    let session = repository.begin(new_session(SessionPurpose::Export)).await.unwrap();
    let writes = contents.iter().map(|content| session.write(pieces(content)));
    let references = futures::future::try_join_all(writes).await.unwrap();
    let progress = session.progress();
    let streams = references.iter().enumerate().map(|(n, reference)| named(&n.to_string(), *reference));
    let outcome = session.commit(draft(streams.collect())).await.unwrap();
    assert!(outcome.packs().len() >= 3);
    assert_eq!(progress.read().packs_sent, outcome.packs().len() as u64);

    let reader = fresh_reader(&store).await;
    let read: Vec<_> = stream::iter(&references)
        .map(|reference| read(&reader, reference))
        .buffered(5)
        .try_collect()
        .await
        .unwrap();
    assert!(read == contents);
    assert!(verify(&store, Depth::Full, &[outcome.id]).await.is_whole());
}

#[tokio::test]
async fn a_stream_with_a_tree_of_several_levels_reads_back_equal() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let vault = VaultKeyring::new(VaultKey::generate(1));
    let chunks = ChunkSizes::new(64, 128, 192).unwrap();
    let repository = create_with(&store, &vault, chunks).await.load_index().await.unwrap();
    let content = noise(3, 1_500_000);
    let outcome = back_up(&repository, &content).await.unwrap();
    let depth = serde_json::to_value(outcome.streams()[0].reference).unwrap()["root"]["depth"].clone();
    assert_eq!(depth, 2);
    assert!(read_back(&store, outcome.id).await.unwrap() == content);
}

#[tokio::test]
async fn an_empty_stream_and_an_empty_session_are_kept() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = create_indexed(&store).await;
    let outcome = back_up(&repository, b"").await.unwrap();
    assert!(read_back(&store, outcome.id).await.unwrap().is_empty());

    let session = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
    let empty = session.commit(draft(Vec::new())).await.unwrap();
    assert!(fresh_reader(&store).await.outcome(empty.id).await.unwrap().streams().is_empty());
}

/// A listing of packs would grow with the repository. A backup lists marks and index objects; a restore keys,
/// slots, index objects twice, and what was retired.
#[tokio::test]
async fn a_backup_and_a_restore_keep_to_their_budget_of_requests() {
    let meter = Meter::new(Arc::new(MemoryStore::new()));
    let store: Arc<dyn Store> = Arc::new(meter.clone());
    let repository = create_indexed(&store).await;
    let content = noise(5, 3_000_000);

    let before = meter.tally();
    let outcome = back_up(&repository, &content).await.unwrap();
    let backup = meter.tally();
    assert_eq!(backup.lists - before.lists, 2);
    // The session's record, one pack, one index object, the outcome.
    assert_eq!(backup.puts - before.puts, 4);

    assert!(read_back(&store, outcome.id).await.unwrap() == content);
    let restore = meter.tally();
    assert_eq!(restore.lists - backup.lists, 5);
    // Format, key, slot, index, outcome, the tree's nodes, and one request for 4 MiB of neighbours. Nodes are cut by
    // content under a random key: ten of them for these 12,000 chunks as a rule, and practically never forty.
    assert!(restore.fetches - backup.fetches <= 5 + 40 + 2, "{restore:?}");
    assert_eq!(restore.puts, backup.puts);
}

#[tokio::test]
async fn a_stream_reference_survives_json() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = create_indexed(&store).await;
    let outcome = back_up(&repository, &noise(6, 5000)).await.unwrap();
    let reference = outcome.streams()[0].reference;
    let text = serde_json::to_string(&reference).unwrap();
    assert_eq!(serde_json::from_str::<keelson_repository::StreamRef>(&text).unwrap(), reference);
    assert!(serde_json::from_str::<keelson_repository::StreamRef>(r#"{"length":5}"#).is_err());
}

#[tokio::test]
async fn a_failed_source_breaks_the_session_and_nothing_of_it_is_seen() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = create_indexed(&store).await;
    let session = repository.begin(new_session(SessionPurpose::Backup)).await.unwrap();
    let good = session.write(pieces(&noise(1, 10_000))).await.unwrap();
    let failing = stream::iter([Ok(Bytes::from(noise(2, 10_000))), Err(SourceEnded)]);
    let error = session.write(failing).await.unwrap_err();
    assert_eq!(error.to_string(), "read the data to be stored");
    assert!(session.write(pieces(b"more")).await.is_err());
    let id = session.id();
    assert!(session.commit(draft(vec![named("good", good)])).await.is_err());
    assert_eq!(repository.list_outcomes().await.unwrap(), [id]);
    assert_eq!(repository.fetch_outcome(id).await.unwrap().result(), SessionResult::Aborted);
}
