//! The catalog by itself: durable commits beside plain SQLite, pages out of very many rows, and many watchers.
//!
//! Straight on the crate `keelson-catalog`: no API server, no network, no JSON. A watcher does what a watch of the API
//! server does with the catalog; that one gathers what comes within 5 ms of its last read besides.

mod commits;
mod figures;
mod pages;
mod seed;
mod watchers;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use keelson_catalog::{DataDir, Database};
use keelson_crypto::{CatalogKey, InstanceKey};
use serde::{Deserialize, Serialize};

pub(crate) use self::figures::Figures;
use crate::clock::WallClock;
use crate::instance::peak_memory;
use crate::{say, step};

/// Each has a process of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Commit,
    Fill,
    Page,
    Watch,
}

impl Step {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Commit, "catalog-commit"),
        (Self::Fill, "catalog-fill"),
        (Self::Page, "catalog-page"),
        (Self::Watch, "catalog-watch"),
    ];

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(step, name)| (name == word).then_some(step))
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Filled {
    seconds: f64,
    disk_bytes: u64,
    peak_memory: u64,
}

pub(crate) async fn measure(rows: u64) -> Result<Figures> {
    ensure!(
        rows.is_multiple_of(seed::NAMESPACES) && rows >= seed::ROWS_MIN,
        "rows come in thousands, {} at least",
        seed::ROWS_MIN
    );
    std::fs::create_dir_all("target").context("make a folder for the catalog")?;
    let folder = tempfile::Builder::new().prefix("bench-catalog-").tempdir_in("target")?;
    let (folder, rows_word) = (folder.path(), rows.to_string());
    let words: [&OsStr; 2] = [folder.as_os_str(), rows_word.as_ref()];
    say("committing");
    let commits = step::run("catalog-commit", &words).await?;
    say(&format!("filling a catalog with {rows} rows"));
    let filled = step::run("catalog-fill", &words).await?;
    say("reading pages");
    let pages = step::run("catalog-page", &words).await?;
    say("watching");
    let watches = step::run("catalog-watch", &words).await?;
    Ok(Figures { rows, commits, filled, pages, watches })
}

/// The inside of a step: prints what it measured.
pub(crate) async fn take(step: Step, folder: &Path, rows: u64) -> Result<()> {
    let folder = folder.to_owned();
    match step {
        Step::Commit => step::tell(&blocking(move || commits::measure(&folder)).await?),
        Step::Fill => step::tell(&blocking(move || fill(&folder, rows)).await?),
        Step::Page => step::tell(&blocking(move || pages::measure(&open(&folder)?.1, rows)).await?),
        Step::Watch => step::tell(&watchers::measure(blocking(move || open(&folder)).await?.1).await?),
    }
}

/// Nothing in the catalog is async.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("a step of the bench")?
}

fn fill(folder: &Path, rows: u64) -> Result<Filled> {
    let (_data_dir, database) = create(&data_below(folder))?;
    let began = Instant::now();
    seed::fill(&database, rows)?;
    let seconds = began.elapsed().as_secs_f64();
    // The last handle closes the file, which then holds all that its log held.
    drop(database);
    Ok(Filled {
        seconds,
        disk_bytes: crate::index::folder_bytes(&data_below(folder))?,
        peak_memory: peak_memory("self")?,
    })
}

fn data_below(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// The directory's lock is held as long as its value lives.
fn create(path: &Path) -> Result<(DataDir, Database)> {
    let data_dir = DataDir::open(path, Arc::new(WallClock)).context("make a data directory")?;
    let database = data_dir.create_first(&key()?, b"the key of a bench").context("make a catalog")?;
    Ok((data_dir, database))
}

fn open(folder: &Path) -> Result<(DataDir, Database)> {
    let data_dir = DataDir::open(&data_below(folder), Arc::new(WallClock)).context("open the directory")?;
    let database = data_dir.open_current(&key()?).context("open the catalog")?;
    Ok((data_dir, database))
}

/// All steps derive the same.
fn key() -> Result<CatalogKey> {
    Ok(CatalogKey::derive_instance(&InstanceKey::from_slice(&[7; 32])?))
}
