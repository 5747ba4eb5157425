//! Faults strike the calls that were chosen and no others.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use keelson_model::{Classified, ErrorClass};
use keelson_store::providers::memory::MemoryStore;
use keelson_store::{Operation, PutOptions, Read, Store, StoreError, StorePath};
use keelson_testkit::{Calls, Failure, Fault, FaultyStore, Span};

fn path(text: &str) -> StorePath {
    text.parse().expect("a path of this test")
}

async fn put(store: &dyn Store, at: &str) -> Result<(), StoreError> {
    store.put(&path(at), Bytes::from_static(b"bytes"), PutOptions::create()).await.map(drop)
}

async fn is_there(store: &dyn Store, at: &str) -> bool {
    store.fetch(&path(at), Read::all()).await.is_ok()
}

#[tokio::test]
async fn a_failure_before_the_effect_leaves_nothing_and_one_after_it_leaves_the_object() -> Result<()> {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    store.inject(Calls::Effects, Span::Only(2), Fault::Before(Failure::Broken));
    store.inject(Calls::Beneath(path("late")), Span::Only(1), Fault::After(Failure::Full));

    put(&store, "first").await?;
    let refused = put(&store, "second").await.expect_err("the second effect fails");
    assert!(matches!(refused.class(), ErrorClass::Unavailable { .. }));
    let lost = put(&store, "late/third").await.expect_err("the answer is lost");
    assert_eq!(lost.code(), "store.location.full");

    let mut found = Vec::new();
    for at in ["first", "second", "late/third"] {
        found.push(is_there(&store, at).await);
    }
    assert_eq!(found, [true, false, true]);
    assert_eq!(store.count(&Calls::Effects), 3);
    assert_eq!(store.calls().len(), 6);
    Ok(())
}

#[tokio::test]
async fn a_store_that_is_cut_off_stays_so_until_it_is_healed() -> Result<()> {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    store.inject(Calls::All, Span::From(2), Fault::Before(Failure::BadCredentials));
    put(&store, "before").await?;
    assert!(!is_there(&store, "before").await);
    assert!(store.time().await.is_err());
    store.heal();
    assert!(is_there(&store, "before").await);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_silent_store_never_answers_and_a_slow_one_does() -> Result<()> {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()));
    let hour = Duration::from_secs(3600);
    store.inject(Calls::Of(Operation::Put), Span::Only(1), Fault::Silence);
    store.inject(Calls::Of(Operation::Put), Span::Only(2), Fault::Delay(hour));
    assert!(tokio::time::timeout(2 * hour, put(&store, "never")).await.is_err());
    let begun = tokio::time::Instant::now();
    put(&store, "slow").await?;
    assert!(begun.elapsed() >= hour);
    assert!(!is_there(&store, "never").await);
    Ok(())
}
