//! What each decorator adds.

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use keelson_store::decorators::{Backoff, Limit, Limits, Meter, Prefixed, Retry, Tally};
use keelson_store::providers::memory::MemoryStore;
use keelson_store::{ListPage, Operation, PutOptions, Read, Store, StoreError, StoreExt, StorePath};
use keelson_testkit::{Calls, Failure, Fault, FaultyStore, Span};
use tokio::time::Instant;

fn path(text: &str) -> StorePath {
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn retry_gets_through_a_store_that_is_busy_now_and_then() -> Result<()> {
    let faulty = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())));
    faulty.inject(Calls::Of(Operation::Put), Span::Only(1), Fault::Before(Failure::Busy));
    faulty.inject(Calls::Of(Operation::Fetch), Span::Only(1), Fault::Before(Failure::Broken));
    let store = Retry::new(faulty.clone());
    store.create(&path("a"), "x".into()).await?;
    assert_eq!(store.fetch_all(&path("a")).await?, "x");
    assert_eq!(faulty.calls().len(), 4);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_was_lost_succeeds_when_repeated() -> Result<()> {
    let faulty = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())));
    faulty.inject(Calls::Of(Operation::Put), Span::Only(1), Fault::After(Failure::Broken));
    let store = Retry::new(faulty.clone());
    store.create(&path("a"), "ours".into()).await?;
    let theirs = store.create(&path("a"), "theirs".into()).await;
    assert!(matches!(theirs, Err(StoreError::AlreadyExists { .. })), "{theirs:?}");
    assert_eq!(faulty.calls().len(), 3, "what is taken is not asked for again");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn retry_gives_up_after_its_attempts_with_the_last_error() -> Result<()> {
    let faulty = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())));
    faulty.inject(Calls::All, Span::From(1), Fault::Before(Failure::Broken));
    let store = Retry::with_backoff(faulty.clone(), Backoff { attempts_max: 4, ..Backoff::default() });
    let answer = store.list(&StorePath::root(), &ListPage::first()).await;
    assert!(matches!(answer, Err(StoreError::Unreachable { .. })), "{answer:?}");
    assert_eq!(faulty.calls().len(), 4);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_after_the_time_for_all_of_them() -> Result<()> {
    let faulty = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())));
    faulty.inject(Calls::All, Span::From(1), Fault::Before(Failure::Broken));
    let attempts = async |within| {
        let before = faulty.calls().len();
        let store = Retry::with_backoff(faulty.clone(), Backoff { within, ..Backoff::default() });
        let begun = Instant::now();
        let answer = store.list(&StorePath::root(), &ListPage::first()).await;
        assert!(matches!(answer, Err(StoreError::Unreachable { .. })), "{answer:?}");
        assert!(begun.elapsed() <= within, "{:?}", begun.elapsed());
        faulty.calls().len() - before
    };
    assert_eq!(attempts(Duration::ZERO).await, 1);
    // Pauses of 0.1 to 0.2 s, then of 0.2 to 0.4 s: the second comes in time, the fourth does not.
    assert!((2..=3).contains(&attempts(Duration::from_millis(500)).await));
    assert_eq!(attempts(Duration::from_secs(60)).await, 6);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn limit_lets_so_many_calls_run_at_a_time() -> Result<()> {
    let faulty = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())));
    faulty.inject(Calls::All, Span::From(1), Fault::Delay(Duration::from_secs(1)));
    let calls_max = NonZeroUsize::new(3).unwrap();
    let store = Limit::new(faulty, Limits { calls_max, bytes_per_second_max: None });
    let begun = Instant::now();
    let asked = path("a");
    let calls = (0..9).map(|_| store.exists(&asked));
    futures::future::try_join_all(calls).await?;
    assert_eq!(begun.elapsed().as_secs(), 3);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn limit_paces_bytes_both_ways() -> Result<()> {
    let limits = Limits { calls_max: NonZeroUsize::MAX, bytes_per_second_max: NonZeroU64::new(1000) };
    let limits = Limits { calls_max: limits.calls_max.min(NonZeroUsize::new(8).unwrap()), ..limits };
    let store = Limit::new(Arc::new(MemoryStore::new()), limits);
    let begun = Instant::now();
    store.create(&path("a"), vec![0; 4000].into()).await?;
    assert_eq!(begun.elapsed().as_secs(), 4);
    store.fetch(&path("a"), Read::last(2000)).await?;
    assert_eq!(begun.elapsed().as_secs(), 6);
    Ok(())
}

#[tokio::test]
async fn meter_counts_calls_bytes_and_errors() -> Result<()> {
    let meter = Meter::new(Arc::new(MemoryStore::new()));
    let shared: Arc<dyn Store> = Arc::new(meter.clone());
    shared.put(&path("a/b"), "12345".into(), PutOptions::create_unique()).await?;
    shared.fetch(&path("a/b"), Read::span(1, 2)).await?;
    shared.list_all(&StorePath::root()).await?;
    shared.list_folders(&StorePath::root()).await?;
    shared.delete(&path("a/b"), None).await?;
    assert!(!shared.exists(&path("a/b")).await?);
    let expected = Tally {
        puts: 1,
        fetches: 1,
        heads: 1,
        lists: 1,
        folder_lists: 1,
        deletes: 1,
        errors: 1,
        bytes_put: 5,
        bytes_fetched: 2,
        ..Tally::default()
    };
    assert_eq!(meter.tally(), expected);
    Ok(())
}

#[tokio::test]
async fn prefixed_sees_nothing_outside_of_its_folder() -> Result<()> {
    let memory = Arc::new(MemoryStore::new());
    memory.create(&path("k10/other"), "x".into()).await?;
    memory.create(&path("k10/ours-not/a"), "x".into()).await?;
    let store = Prefixed::new(memory.clone(), path("k10/ours"));
    store.create(&path("a"), "y".into()).await?;
    assert_eq!(store.list_all(&StorePath::root()).await?.len(), 1);
    assert_eq!(memory.fetch_all(&path("k10/ours/a")).await?, "y");
    assert_eq!(store.location(), "memory/k10/ours");
    Ok(())
}
