//! The index of a very large repository: how much memory, disk and time its local copy takes.
//!
//! A repository in a directory gets real, sealed index objects that describe packs which are not there. A process of
//! its own then opens it and loads the index, by the way that every session goes: list, read, open, decode, sort,
//! merge. A second process opens the copy that the first has left, and looks chunks up.

mod figures;
mod seed;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use keelson_crypto::{InstanceKey, VaultKey, VaultKeyring};
use keelson_model::ChunkId;
use keelson_repository::{IndexCache, Indexed, Open, Repository, Unlock};
use keelson_store::StorePath;
use keelson_store::providers::filesystem::FilesystemStore;
use serde::{Deserialize, Serialize};

pub(crate) use self::figures::Figures;
use crate::instance::peak_memory;
use crate::{say, step};

/// Chunks asked for in one go.
const LOOKUPS_AT_ONCE: u64 = 20_000;
/// With files and filters out of memory.
const LOOKUPS_COLD: u64 = 20_000;
const LOOKUPS_WARM: u64 = 1_000_000;

/// A step that has a process of its own, so that the memory it takes is told apart.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Build,
    LookUp,
}

/// What the process that builds says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Built {
    seconds: f64,
    cpu_seconds: f64,
    peak_memory: u64,
}

/// What the process that looks chunks up says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LookedUp {
    open_seconds: f64,
    present_cold: Rate,
    absent_cold: Rate,
    present_warm: Rate,
    absent_warm: Rate,
    peak_memory: u64,
}

/// How fast lookups were, one after the other.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Rate {
    per_second: f64,
    /// What one took of a processor, which other programs on the machine change less.
    cpu_microseconds: f64,
}

pub(crate) async fn measure(chunks: u64) -> Result<Figures> {
    std::fs::create_dir_all("target").context("make a folder for the repository")?;
    let folder = tempfile::Builder::new().prefix("bench-index-").tempdir_in("target")?;
    say(&format!("writing the index objects of {chunks} chunks"));
    let began = Instant::now();
    let seeded = seed::write(&create(folder.path()).await?, chunks).await?;
    say(&format!("{} objects in {:.0} s", seeded.objects, began.elapsed().as_secs_f64()));

    say("loading the index");
    let built: Built = run(Step::Build, folder.path(), chunks).await?;
    let disk_bytes = folder_bytes(&folder.path().join("index"))?;
    say("looking chunks up");
    let looked_up: LookedUp = run(Step::LookUp, folder.path(), chunks).await?;
    Ok(Figures { chunks, seeded, built, disk_bytes, looked_up })
}

async fn run<T: for<'a> Deserialize<'a>>(step: Step, folder: &Path, chunks: u64) -> Result<T> {
    let word = match step {
        Step::Build => "index-build",
        Step::LookUp => "index-look-up",
    };
    step::run(word, &[folder.as_os_str(), chunks.to_string().as_ref()]).await
}

/// The inside of a step: prints what it measured.
pub(crate) async fn take(step: Step, folder: &Path, chunks: u64) -> Result<()> {
    match step {
        Step::Build => step::tell(&build(folder).await?),
        Step::LookUp => step::tell(&look_up(folder, chunks).await?),
    }
}

async fn build(folder: &Path) -> Result<Built> {
    let repository = open(folder).await?;
    let began = Instant::now();
    drop(repository.load_index().await?);
    let seconds = began.elapsed().as_secs_f64();
    Ok(Built { seconds, cpu_seconds: cpu_seconds()?, peak_memory: peak_memory("self")? })
}

async fn look_up(folder: &Path, chunks: u64) -> Result<LookedUp> {
    forget_files(&folder.join("index"))?;
    let repository = open(folder).await?;
    let began = Instant::now();
    let index = repository.load_index().await?;
    let open_seconds = began.elapsed().as_secs_f64();
    let present = |number: u64| seed::chunk_id(spread(number) % chunks);
    let absent = |number: u64| seed::chunk_id(chunks + spread(number) % chunks);
    let present_cold = rate(&index, LOOKUPS_COLD, true, present).await?;
    let absent_cold = rate(&index, LOOKUPS_COLD, false, absent).await?;
    // Brings the filters and most blocks into memory.
    rate(&index, LOOKUPS_WARM, true, |number| present(number + LOOKUPS_COLD)).await?;
    let present_warm = rate(&index, LOOKUPS_WARM, true, |number| present(number + LOOKUPS_COLD)).await?;
    let absent_warm = rate(&index, LOOKUPS_WARM, false, |number| absent(number + LOOKUPS_COLD)).await?;
    let peak_memory = peak_memory("self")?;
    Ok(LookedUp { open_seconds, present_cold, absent_cold, present_warm, absent_warm, peak_memory })
}

/// Looks `count` chunks up, one after the other, and holds every answer against what it must be.
async fn rate(
    index: &Repository<Indexed>,
    count: u64,
    expected: bool,
    id: impl Fn(u64) -> ChunkId,
) -> Result<Rate> {
    let (mut seconds, mut cpu) = (0.0, 0.0);
    for first in (0..count).step_by(LOOKUPS_AT_ONCE as usize) {
        let ids: Vec<_> = (first..first + LOOKUPS_AT_ONCE).map(&id).collect();
        let (began, before) = (Instant::now(), cpu_seconds()?);
        let known = index.known_chunks(ids).await?;
        seconds += began.elapsed().as_secs_f64();
        cpu += cpu_seconds()? - before;
        ensure!(known.iter().all(|known| *known == expected), "the index is wrong about a chunk");
    }
    Ok(Rate { per_second: count as f64 / seconds, cpu_microseconds: cpu * 1e6 / count as f64 })
}

async fn create(folder: &Path) -> Result<Repository<Open>> {
    let new = keelson_repository::NewRepository {
        id: keelson_model::RepositoryId::from_bytes([1; 16]),
        vault: &vault()?,
        slots: &[],
        chunks: Default::default(),
    };
    Ok(locked(folder).await?.create(new).await?)
}

async fn open(folder: &Path) -> Result<Repository<Open>> {
    let cache = IndexCache::open(&folder.join("index"))?;
    Ok(locked(folder).await?.indexed_in(&cache).open(Unlock::Vault(&vault()?)).await?)
}

async fn locked(folder: &Path) -> Result<Repository<keelson_repository::Locked>> {
    let folder: PathBuf = folder.join("store");
    std::fs::create_dir_all(&folder)?;
    let store = FilesystemStore::open(&folder).await?;
    Ok(Repository::at(std::sync::Arc::new(store), StorePath::root())?)
}

/// Both processes derive the same keys.
fn vault() -> Result<VaultKeyring> {
    Ok(VaultKeyring::new(VaultKey::derive_local(&InstanceKey::from_slice(&[7; 32])?)))
}

/// The same for the same number, and without order.
pub(crate) fn spread(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What this process has taken of the processors so far, in the kernel's ticks of 10 ms.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("read this process's times")?;
    let (_, fields) = stat.rsplit_once(')').context("the times have no name before them")?;
    let ticks: Vec<u64> =
        fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<u64>() as f64 / 100.0)
}

pub(crate) fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes +=
            if entry.file_type()?.is_dir() { folder_bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

/// Asks the kernel to drop what it keeps of the files in memory.
fn forget_files(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            forget_files(&path)?;
        } else {
            let file = std::fs::File::open(&path)?;
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    Ok(())
}
