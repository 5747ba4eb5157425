//! Shares that are full, read-only, withdrawn or replaced. Each says so, and works again when it is right again.

use std::fs;

use anyhow::{Context, Result, ensure};
use keelson_model::{Classified, ErrorClass};
use keelson_store::probe::{Unfit, probe};
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_store::{Store, StoreError, StoreExt, StorePath};
use keelson_testkit::{Share, eventually, in_nfs_guest};

use super::{block_on, leftovers, path};

#[test]
fn a_full_share_is_told_and_nothing_half_written_is_seen() -> Result<()> {
    in_nfs_guest(|share| {
        block_on(async {
            for version in Share::VERSIONS {
                let store = FilesystemStore::open(share.mounted(version)).await?;
                let (small, large) = (path("packs/small"), path("packs/large"));
                store.create(&small, vec![7; 1000].into()).await?;
                // A file system shrinks below nothing that it holds, and the server keeps deleted files open for a while.
                eventually("a file system of 1 MiB", async || Ok(share.resize("1M").ok())).await?;

                let full = store.create(&large, vec![7; 4 << 20].into()).await;
                ensure!(matches!(full, Err(StoreError::Full { .. })), "{version:?}: {full:?}");
                ensure!(!store.exists(&large).await?);
                ensure!(store.list_all(&StorePath::root()).await?.len() == 1);
                ensure!(leftovers(&share.export())?.is_empty(), "a temporary was left");
                ensure!(store.fetch_all(&small).await? == vec![7; 1000]);

                share.resize("128M")?;
                store.create(&large, vec![7; 4 << 20].into()).await?;
                ensure!(store.fetch_all(&large).await? == vec![7; 4 << 20]);
                store.delete(&large, None).await?;
                store.delete(&small, None).await?;
            }
            Ok(())
        })
    })
}

#[test]
fn a_read_only_export_is_told_and_serves_for_import() -> Result<()> {
    in_nfs_guest(|share| {
        block_on(async {
            fs::create_dir(share.export().join("a"))?;
            fs::write(share.export().join("a/b"), "x")?;
            share.export_as("ro")?;
            for version in Share::VERSIONS {
                let store = FilesystemStore::open(share.mounted(version)).await?;
                for refused in [
                    store.create(&path("a/new"), "x".into()).await.err(),
                    store.create(&path("folder/new"), "x".into()).await.err(),
                    store.delete(&path("a/b"), None).await.err(),
                    store.time().await.err(),
                ] {
                    let refused = refused.context("a read-only export took a write")?;
                    ensure!(matches!(refused, StoreError::ReadOnly { .. }), "{version:?}: {refused:?}");
                    ensure!(refused.class() == ErrorClass::Denied);
                }
                ensure!(store.fetch_all(&path("a/b")).await? == "x");
                ensure!(store.list_all(&StorePath::root()).await?.len() == 1);
                let dialect = probe(&store, "nonce", jiff::Timestamp::UNIX_EPOCH).await?;
                ensure!(dialect.unfit() == [Unfit::ReadOnly], "{dialect:?}");
            }
            Ok(())
        })
    })
}

/// An empty answer here would be the worst: whoever decides by it would think that nothing is there.
#[test]
fn a_withdrawn_or_replaced_export_is_told_and_works_after_a_new_mount() -> Result<()> {
    in_nfs_guest(|share| {
        block_on(async {
            for version in Share::VERSIONS {
                let directory = share.export().join("backups");
                fs::create_dir(&directory)?;
                let mounted = share.mount_folder("/backups", version, "rw")?;
                let store = FilesystemStore::open(mounted).await?;
                store.create(&path("a/b"), "x".into()).await?;

                share.unexport()?;
                check_stale(&store).await.with_context(|| format!("{version:?}, withdrawn"))?;
                share.export_as("rw")?;
                ensure!(store.fetch_all(&path("a/b")).await? == "x", "{version:?}: the same is back");
                store.create(&path("a/c"), "x".into()).await?;

                fs::remove_dir_all(&directory)?;
                fs::create_dir(&directory)?;
                check_stale(&store).await.with_context(|| format!("{version:?}, replaced"))?;

                let again = share.mount_folder("/backups", version, "rw")?;
                let store = FilesystemStore::open(again).await?;
                ensure!(store.list_all(&StorePath::root()).await?.is_empty(), "the new one is empty");
                store.create(&path("a/b"), "x".into()).await?;
                fs::remove_dir_all(&directory)?;
            }
            Ok(())
        })
    })
}

async fn check_stale(store: &FilesystemStore) -> Result<()> {
    for told in [
        store.list_all(&StorePath::root()).await.err(),
        store.list_all(&path("a")).await.err(),
        store.list_folders(&StorePath::root()).await.err(),
        store.fetch_all(&path("a/b")).await.err(),
        store.create(&path("a/c"), "y".into()).await.err(),
        store.delete(&path("a/b"), None).await.err(),
    ] {
        let told = told.context("a share that is gone was answered for")?;
        ensure!(matches!(told, StoreError::Stale { .. }), "{told:?}");
        ensure!(told.hint().is_some_and(|hint| hint.contains("mount the share anew")));
        ensure!(matches!(told.class(), ErrorClass::Unavailable { .. }));
    }
    Ok(())
}
