//! A server that does not answer: callers are told by the deadline, and the work goes on when it is back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use keelson_model::{Chain, Classified, ErrorClass};
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_store::{Store, StoreError, StoreExt, StorePath};
use keelson_testkit::{Share, eventually, in_nfs_guest};

use super::{block_on, leftovers, path};

/// What a call may take on top of its deadline in a guest without a processor of its own. Who waited for the server would
/// wait for ever.
const SLACK: Duration = Duration::from_secs(30);

#[test]
fn a_server_that_is_away_is_told_by_the_deadline_and_served_again() -> Result<()> {
    in_nfs_guest(|share| {
        block_on(async {
            let mut stores = Vec::new();
            for version in Share::VERSIONS {
                let mounted = share.mount(version, "hard")?;
                let store = FilesystemStore::open(mounted).await?;
                store.create(&path(&format!("{version:?}/before")), "x".into()).await?;
                stores.push((version, store));
            }
            share.stop_server()?;
            let begun = Instant::now();
            let calls = stores.iter().map(|(version, store)| async move {
                let (key, root) = (path(&format!("{version:?}/meanwhile")), StorePath::root());
                let (put, list, time) = tokio::join!(
                    store.create(&key, vec![7; 100_000].into()),
                    store.list_all(&root),
                    store.time(),
                );
                [put.err(), list.err(), time.err()]
            });
            for told in join_all(calls).await.into_iter().flatten() {
                let told = told.context("a server that is away was answered for")?;
                ensure!(matches!(told, StoreError::Unanswered { .. }), "{told:?}");
                ensure!(told.to_string().ends_with("the share did not answer for 30 s"), "{told}");
                ensure!(told.class() == ErrorClass::Unavailable { retry_after: None });
            }
            let waited = begun.elapsed();
            ensure!(waited < Duration::from_secs(30) + SLACK, "they waited for {waited:?}");

            share.start_server()?;
            for (version, store) in &stores {
                let key = path(&format!("{version:?}/meanwhile"));
                // What nobody waited for is still carried out, whole or not at all.
                let found =
                    eventually("the write that was queued", async || match store.fetch_all(&key).await {
                        Ok(found) => Ok(Some(found)),
                        Err(StoreError::NotFound { .. } | StoreError::Unanswered { .. }) => Ok(None),
                        Err(error) => Err(error).context("read what was queued"),
                    });
                ensure!(found.await? == vec![7; 100_000], "{version:?}: half written");
                store.create(&key, vec![7; 100_000].into()).await.context("repeat it")?;
                store.create(&path(&format!("{version:?}/after")), "x".into()).await?;
            }
            ensure!(leftovers(&share.export())?.is_empty(), "a temporary was left");
            Ok(())
        })
    })
}

/// A share that hangs may hold threads, but neither the runtime's end nor the process's. The guest powers off only
/// when this process has ended, with the server still away.
#[test]
fn a_server_that_is_away_holds_up_no_shutdown() -> Result<()> {
    in_nfs_guest(|share| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let mut begun = Instant::now();
        for version in Share::VERSIONS {
            let mounted = share.mount(version, "hard")?;
            let store = runtime.block_on(FilesystemStore::open(mounted))?;
            share.stop_server()?;
            begun = Instant::now();
            runtime.block_on(async {
                let key = path("a/b");
                let call = store.create(&key, "x".into());
                let waited = tokio::time::timeout(Duration::from_secs(1), call).await;
                ensure!(waited.is_err(), "a server that is away was answered for: {waited:?}");
                Ok(())
            })?;
            if version == Share::VERSIONS[0] {
                share.start_server()?;
            }
        }
        drop(runtime);
        let waited = begun.elapsed();
        ensure!(waited < SLACK, "the runtime took {waited:?} to end");
        Ok(())
    })
}

/// Mounted `soft` the kernel gives up by itself. That is an error like another, and no half object either.
#[test]
fn a_soft_mount_that_gives_up_is_told_and_served_again() -> Result<()> {
    in_nfs_guest(|share| {
        block_on(async {
            let key = path("a/object");
            let mut stores = Vec::new();
            for version in Share::VERSIONS {
                let store = FilesystemStore::open(share.mount(version, "timeo=30")?).await?;
                store.create(&path(&format!("a/before-{version:?}")), "x".into()).await?;
                stores.push(store);
            }
            share.stop_server()?;
            let calls = stores.iter().map(|store| store.create(&key, vec![7; 100_000].into()));
            for told in join_all(calls).await {
                let told = told.err().context("a server that is away was answered for")?;
                println!("{}", Chain(&told));
                ensure!(matches!(told.class(), ErrorClass::Unavailable { .. }), "{told:?}");
            }
            share.start_server()?;
            for store in &stores {
                // Each meets the other's equal bytes or its own.
                store.create(&key, vec![7; 100_000].into()).await?;
                ensure!(store.fetch_all(&key).await? == vec![7; 100_000]);
            }
            Ok(())
        })
    })
}
