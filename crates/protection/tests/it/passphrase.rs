//! A changed passphrase: later data needs the new one, everything opens with it, and a stop anywhere is made good.

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::Poll;

use anyhow::{Context, Result, ensure};
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::enable::enable;
use keelson_protection::{INSTANCE_SECRET, Platform};
use keelson_workload::NamespacedName;

use crate::platform::{NAMESPACE, Site};
use crate::stage::open_repository;

const FIRST: &str = "the first of the phrases";
const SECOND: &str = "the second of the phrases";
const THIRD: &str = "a third and longer phrase";

/// The platform's repositories in the share, the oldest first.
fn repositories(share: &Path, platform: &Platform) -> Result<Vec<PathBuf>> {
    let folder = share.join("k10").join(platform.cluster_id().as_str()).join("dr");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.join("format").exists() {
            found.push((std::fs::metadata(path.join("format"))?.created()?, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// What must hold once the second passphrase is in force.
async fn check_changed(site: &Site, platform: &Platform) -> Result<()> {
    let all = repositories(site.share.path(), platform)?;
    ensure!(all.len() == 2, "one repository for each passphrase, not {all:?}");
    let (old, new) = (&all[0], &all[1]);
    for repository in [old, new] {
        let opened = open_repository(repository, SECOND).await?;
        let numbers: Vec<_> = opened.vault_keys().iter().map(keelson_crypto::VaultKey::number).collect();
        ensure!(numbers == [1, 2], "the new passphrase leads to every vault key, not {numbers:?}");
    }
    let sealed_with = open_repository(new, SECOND).await?.keyring().newest().number();
    ensure!(sealed_with == 2, "later data is sealed under key 2, not {sealed_with}");
    ensure!(open_repository(new, FIRST).await.is_err(), "the old passphrase opens what was written later");
    ensure!(
        open_repository(old, FIRST).await?.keyring().newest().number() == 1,
        "older data still opens with it"
    );
    ensure!(std::fs::read_dir(new.join("bases"))?.next().is_some(), "the new repository has a base");
    Ok(())
}

async fn enable_dr(platform: &Platform) -> Result<()> {
    enable(platform, "vault", DrMode::Legacy).await.map(drop).context("enable")
}

/// The same vault key was sealed again: the old passphrase opened everything that came later.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_passphrase_leaves_the_old_one_what_it_had_and_nothing_more() -> Result<()> {
    let site = Site::start().await?;
    let platform = site.open().await?;
    site.set_passphrases(&[("key", FIRST)]).await?;
    enable_dr(&platform).await?;
    enable_dr(&platform).await?;
    ensure!(repositories(site.share.path(), &platform)?.len() == 1, "enabling again changes nothing");

    site.set_passphrases(&[("key", SECOND)]).await?;
    enable_dr(&platform).await?;
    check_changed(&site, &platform).await?;

    // A further one opens the repository in use, and makes no key.
    site.set_passphrases(&[("key", SECOND), ("key-office", THIRD)]).await?;
    enable_dr(&platform).await?;
    let all = repositories(site.share.path(), &platform)?;
    ensure!(all.len() == 2, "a further passphrase makes no repository");
    ensure!(open_repository(&all[1], THIRD).await?.vault_keys().newest().number() == 2);
    site.plane.give_back().await
}

/// A work that is cut short at many moments ends after more polls than these: it was cut at its first await and at a later one.
/// How many more it takes is the affair of the machine, since what is there already is not awaited.
pub(crate) const POLLS_CUT: usize = 3;

/// Polls a future so many times, then lets it fall as a kill would. Says whether it had ended by then.
pub(crate) async fn poll_times<T>(work: impl Future<Output = T>, times: usize) -> Option<T> {
    let (mut work, mut left) = (pin!(work), times);
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

/// Any await may be the last one: each is tried, in a process of its own, and the next completes the change.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_stops_anywhere_is_completed_by_the_next_try() -> Result<()> {
    let site = Site::start().await?;
    site.set_passphrases(&[("key", FIRST)]).await?;
    enable_dr(&*site.open().await?).await?;
    let (data, share) = (copy_of(site.data.path())?, copy_of(site.share.path())?);
    site.set_passphrases(&[("key", SECOND)]).await?;
    for times in (1..).step_by(2) {
        replace(site.data.path(), data.path())?;
        replace(site.share.path(), share.path())?;
        let stopped = site.open().await?;
        let ended = poll_times(enable_dr(&stopped), times).await;
        drop(stopped);
        let platform = site.open().await?;
        enable_dr(&platform).await.with_context(|| format!("after {times} steps"))?;
        check_changed(&site, &platform).await.with_context(|| format!("after {times} steps"))?;
        if ended.is_some() {
            ensure!(times > POLLS_CUT, "the change was not cut short twice: it ended after {times} polls");
            return site.plane.give_back().await;
        }
    }
    unreachable!("the change ends")
}

pub(crate) fn copy_of(folder: &Path) -> Result<tempfile::TempDir> {
    let copy = tempfile::tempdir()?;
    copy_into(folder, copy.path())?;
    Ok(copy)
}

fn copy_into(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().context("a name")?);
        if path.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy_into(&path, &target)?;
        } else {
            std::fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

pub(crate) fn replace(folder: &Path, with: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { std::fs::remove_dir_all(&path)? } else { std::fs::remove_file(&path)? }
    }
    copy_into(with, folder)
}

/// The Secret's key was the instance key itself: it could not be changed without losing everything under it.
#[tokio::test(flavor = "multi_thread")]
async fn the_instance_secret_can_be_rotated_with_the_key_before_beside_it() -> Result<()> {
    let site = Site::start().await?;
    site.set_passphrases(&[("key", FIRST)]).await?;
    enable_dr(&*site.open().await?).await?;
    let at = NamespacedName::new(NAMESPACE, INSTANCE_SECRET);
    let secret = site.cluster().await?.read_secret(&at).await?.context("the Secret")?;
    let old = secret.data["instance-key"].to_vec();
    let new = vec![7; 32];

    let current = ("instance-key".to_owned(), new.clone());
    site.set_secret(INSTANCE_SECRET, vec![current.clone()]).await?;
    ensure!(site.open().await.is_err(), "a foreign key opens nothing");

    let previous = ("previous-instance-key".to_owned(), old);
    site.set_secret(INSTANCE_SECRET, vec![current.clone(), previous.clone()]).await?;
    enable_dr(&*site.open().await?).await?;
    enable_dr(&*site.open().await?).await?;

    // From here on only the new key counts.
    let emptied = ("previous-instance-key".to_owned(), vec![9; 32]);
    site.set_secret(INSTANCE_SECRET, vec![current, emptied]).await?;
    let platform = site.open().await?;
    enable_dr(&platform).await?;
    ensure!(repositories(site.share.path(), &platform)?.len() == 1);
    drop(platform);
    site.set_secret(INSTANCE_SECRET, vec![("instance-key".to_owned(), previous.1)]).await?;
    ensure!(site.open().await.is_err(), "the old key opens nothing any more");
    site.plane.give_back().await
}
