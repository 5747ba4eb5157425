//! A directory that is a network share: a real server and real clients of NFS 3 and 4.2, in a guest of their own.
//!
//! Each test boots one and runs itself inside (`testkit`), so that it may stop the server and withdraw the export.

mod away;
mod caches;
mod clients;
mod refusals;

use std::fs;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_store::{Store, StoreExt, StorePath};
use keelson_testkit::store_conformance::run;
use keelson_testkit::{NfsVersion, Share, in_nfs_guest};

fn path(text: &str) -> StorePath {
    text.parse().unwrap()
}

fn block_on<T>(test: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(test)
}

/// Every file beneath a directory that is no object: temporaries, and what NFS keeps of deleted files.
fn leftovers(directory: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            found.extend(leftovers(&entry.path())?);
        } else if name.starts_with('.') {
            found.push(name);
        }
    }
    Ok(found)
}

#[test]
fn a_share_of_nfs_3_conforms_and_keeps_nothing_but_objects() -> Result<()> {
    in_nfs_guest(|share| check_conformance(share, NfsVersion::Nfs3))
}

#[test]
fn a_share_of_nfs_4_conforms_and_keeps_nothing_but_objects() -> Result<()> {
    in_nfs_guest(|share| check_conformance(share, NfsVersion::Nfs42))
}

fn check_conformance(share: Share, version: NfsVersion) -> Result<()> {
    block_on(async {
        let store = Arc::new(FilesystemStore::open(share.mounted(version)).await?);
        run(store.clone(), None).await?;
        let objects = store.list_all(&StorePath::root()).await?;
        ensure!(!objects.is_empty());
        for object in objects {
            store.delete(&object.path, None).await?;
        }
        let left = fs::read_dir(share.export())?.count();
        ensure!(left == 0, "{left} files or folders are left");
        Ok(())
    })
}
