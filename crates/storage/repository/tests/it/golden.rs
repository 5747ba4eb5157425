//! A repository of the first format, as it lay in a bucket: what once was written must open for ever.

use std::sync::Arc;

use keelson_model::RepositoryId;
use keelson_repository::{Depth, SessionPurpose, SessionResult, Unlock};
use keelson_store::providers::memory::MemoryStore;
use keelson_store::{Store, StoreExt};

use crate::world::*;

/// One object a line: its key and its bytes.
const GOLDEN: &str = include_str!("golden.txt");

/// Noise that does not compress, zeros that do, and noise again, so that chunks repeat.
fn content() -> Vec<u8> {
    [noise(40, 3000), vec![0; 3000], noise(41, 2000), noise(40, 3000)].concat()
}

#[tokio::test]
async fn the_golden_repository_opens() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    for line in GOLDEN.lines() {
        let (path, bytes) = line.split_once(' ').unwrap();
        store.create(&path.parse().unwrap(), hex::decode(bytes).unwrap().into()).await.unwrap();
    }
    let opened = locked(&store).open(Unlock::Passphrase(&passphrase(PASSPHRASE))).await.unwrap();
    assert_eq!(opened.id(), RepositoryId::from_bytes([7; 16]));
    let [id] = opened.list_outcomes().await.unwrap()[..] else { panic!("one outcome") };
    let outcome = opened.fetch_outcome(id).await.unwrap();
    assert_eq!((outcome.result(), outcome.purpose()), (SessionResult::Committed, SessionPurpose::Backup));
    assert_eq!((outcome.created(), outcome.description()), (now(), b"{}".as_slice()));
    assert_eq!(read_back(&store, id).await.unwrap(), content());
    assert!(verify(&store, Depth::Full, &[id]).await.is_whole());
}
