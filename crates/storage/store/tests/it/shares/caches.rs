//! What a client's kernel remembers of a share, and how long a store says it may.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keelson_store::probe::{Unfit, probe};
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_store::{Store, StoreExt};
use keelson_testkit::{Share, in_nfs_guest};

use super::{block_on, path};

#[test]
fn a_share_says_how_late_it_shows_what_others_wrote_and_is_refused_beyond() -> Result<()> {
    in_nfs_guest(|share| {
        block_on(async {
            for version in Share::VERSIONS {
                let store = FilesystemStore::open(share.mounted(version)).await?;
                ensure!(store.capabilities().listing_delay == Duration::from_secs(150));
                let dialect = probe(&store, &format!("fit-{version:?}"), store.time().await?).await?;
                ensure!(dialect.unfit().is_empty(), "{version:?}: {dialect:?}");

                let patient = share.mount(version, "acdirmax=120")?;
                let store = FilesystemStore::open(patient).await?;
                ensure!(store.capabilities().listing_delay == Duration::from_secs(270));
                let dialect = probe(&store, &format!("late-{version:?}"), store.time().await?).await?;
                ensure!(dialect.unfit() == [Unfit::ShowsLate], "{version:?}: {dialect:?}");
            }
            let local = FilesystemStore::open(share.export()).await?;
            ensure!(
                local.capabilities().listing_delay == Duration::ZERO,
                "a local directory makes nobody wait"
            );
            Ok(())
        })
    })
}

/// What the promised delay rests on: the cache ends when the mount says so. With 3 s instead of a minute, so that a test
/// can wait, and with `nocto`: otherwise opening a folder asks the server whether it has changed.
#[test]
fn what_a_client_looked_for_in_vain_is_seen_when_its_cache_ends() -> Result<()> {
    in_nfs_guest(|share| {
        block_on(async {
            for version in Share::VERSIONS {
                let options = "nocto,acregmin=3,acregmax=3,acdirmin=3,acdirmax=3";
                let reader = FilesystemStore::open(share.mount(version, options)?).await?;
                let writer = FilesystemStore::open(share.mount(version, options)?).await?;
                let (marks, mark) =
                    (path(&format!("{version:?}/marks")), path(&format!("{version:?}/marks/a")));
                ensure!(reader.list_all(&marks).await?.is_empty());
                ensure!(!reader.exists(&mark).await?);

                writer.create(&mark, "x".into()).await?;
                let created = Instant::now();
                while reader.list_all(&marks).await?.is_empty() || !reader.exists(&mark).await? {
                    ensure!(
                        created.elapsed() < Duration::from_secs(20),
                        "{version:?}: the mark is never seen"
                    );
                    tokio::task::yield_now().await;
                }
                println!("{version:?}: seen after {:?}", created.elapsed());
            }
            Ok(())
        })
    })
}
