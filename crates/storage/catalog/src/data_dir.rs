//! The data directory: its lock, the instance file, the generations, and which of them is current.
//!
//! ```text
//! LOCK  CURRENT  instance.sqlite  instance.UNFINISHED  <generation>/catalog.sqlite  <generation>/UNFINISHED
//! ```
//!
//! A database file is never renamed over another, whose `-wal` would be replayed into it: a recovery has a folder
//! of its own, marked unfinished until `CURRENT` names it. What bears the mark and is not current was never used. The
//! instance file is marked while it is made.

mod current;
mod file_system;

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use keelson_crypto::CatalogKey;
use keelson_model::{Clock, Generation};

pub(crate) use current::parse_generation;

use crate::database::open::{Opening, read_wrapped_key};
use crate::database::{Database, Inner};
use crate::digest::Proof;
use crate::error::{DataDirError, OpenCatalogError, OpenCheck, RebuildError};
use crate::rebuild::{Prepared, Rebuild};

const LOCK: &str = "LOCK";
const INSTANCE: &str = "instance.sqlite";
/// What SQLite keeps beside a file goes with it.
const INSTANCE_FILES: [&str; 3] = ["instance.sqlite-wal", "instance.sqlite-shm", INSTANCE];
const SCRATCH: &str = "scratch";
const INSTANCE_UNFINISHED: &str = "instance.UNFINISHED";
const CATALOG: &str = "catalog.sqlite";
const UNFINISHED: &str = "UNFINISHED";

/// The instance file is a database that is never recovered, so its generation never moves.
const INSTANCE_GENERATION: Generation = Generation(1);

/// A data directory that this process alone uses.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    /// Alive while a recovery is being built; a second one would clear the first one's folder away.
    building: Mutex<Weak<()>>,
    /// The catalog in use, as long as somebody uses it.
    open: Mutex<Weak<Inner>>,
    /// The lock belongs to this open file; the kernel lets go of it when the process ends, however it ends.
    _lock: File,
}

impl DataDir {
    /// Makes the directory where it is absent, refuses network file systems, takes the lock, and removes what an
    /// interrupted recovery left.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, DataDirError> {
        let fail = |source| DataDirError::File { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)?;
        if let Some(file_system) = file_system::find_network_file_system(path).map_err(fail)? {
            return Err(DataDirError::NetworkFileSystem { path: path.to_owned(), file_system });
        }
        let lock = lock(path)?;
        let data_dir = Self {
            path: path.to_owned(),
            clock,
            building: Mutex::default(),
            open: Mutex::default(),
            _lock: lock,
        };
        data_dir.remove_unfinished().map_err(fail)?;
        Ok(data_dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the instance file. `wrapped_key` is its key as the caller wrapped it. One that a crash leaves half made
    /// is removed by the next start.
    pub fn create_instance(
        &self,
        key: &CatalogKey,
        wrapped_key: &[u8],
    ) -> Result<Database, OpenCatalogError> {
        let path = self.path.join(INSTANCE);
        if path.exists() {
            return Err(OpenCatalogError::Exists { path });
        }
        let fail = |source| OpenCatalogError::File { path: path.clone(), source };
        let mark = self.path.join(INSTANCE_UNFINISHED);
        File::create(&mark).and_then(|file| file.sync_all()).map_err(fail)?;
        sync_folder(&self.path).map_err(fail)?;
        let database = self.opening(&path, key).create(INSTANCE_GENERATION, wrapped_key)?;
        sync_folder(&self.path).map_err(fail)?;
        fs::remove_file(&mark).map_err(fail)?;
        // A mark that came back would take away what is written from here on.
        sync_folder(&self.path).map_err(fail)?;
        Ok(database)
    }

    /// Opens the instance file.
    pub fn open_instance(&self, key: &CatalogKey) -> Result<Database, OpenCatalogError> {
        self.opening(&self.path.join(INSTANCE), key).open(INSTANCE_GENERATION)
    }

    /// The instance file's key as it was wrapped.
    pub fn instance_wrapped_key(&self) -> Result<Vec<u8>, OpenCatalogError> {
        read_wrapped_key(&self.path.join(INSTANCE))
    }

    /// Makes an instance file that is thrown away by the next start, for a process that can only say what is wrong.
    pub fn create_scratch(&self, key: &CatalogKey) -> Result<Database, OpenCatalogError> {
        let folder = self.path.join(SCRATCH);
        let fail = |source| OpenCatalogError::File { path: folder.clone(), source };
        DirBuilder::new().mode(0o700).create(&folder).map_err(fail)?;
        self.opening(&folder.join(INSTANCE), key).create(INSTANCE_GENERATION, &[])
    }

    /// The generation that `CURRENT` names; none in a directory that never had a catalog.
    pub fn current_generation(&self) -> Result<Option<Generation>, OpenCatalogError> {
        let fail = |source| OpenCatalogError::File { path: self.path.clone(), source };
        let corrupt = |check| OpenCatalogError::Corrupt { path: self.path.clone(), check };
        match current::read(&self.path).map_err(fail)? {
            current::Current::Names(generation) => Ok(Some(generation)),
            current::Current::Malformed => Err(corrupt(OpenCheck::Current)),
            current::Current::Absent if self.generations().map_err(fail)?.is_empty() => Ok(None),
            current::Current::Absent => Err(corrupt(OpenCheck::CurrentMissing)),
        }
    }

    /// The generations that were finished and are still there, oldest first.
    pub fn generations(&self) -> io::Result<Vec<Generation>> {
        let mut generations = Vec::new();
        for generation in self.folders()? {
            if !self.is_unfinished(generation)? {
                generations.push(generation);
            }
        }
        Ok(generations)
    }

    fn folders(&self) -> io::Result<Vec<Generation>> {
        let mut generations = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                generations.extend(entry.file_name().to_str().and_then(parse_generation));
            }
        }
        generations.sort();
        Ok(generations)
    }

    /// Makes the first catalog of a directory that has none, and makes it current.
    pub fn create_first(&self, key: &CatalogKey, wrapped_key: &[u8]) -> Result<Database, OpenCatalogError> {
        let generation = Generation(1);
        let folder = self.folder(generation);
        if self.current_generation()?.is_some() {
            return Err(OpenCatalogError::Exists { path: folder });
        }
        let fail = |source| OpenCatalogError::File { path: folder.clone(), source };
        make_unfinished(&self.path, &folder).map_err(fail)?;
        let database = self.opening(&folder.join(CATALOG), key).create(generation, wrapped_key)?;
        sync_folder(&folder).map_err(fail)?;
        self.make_current(generation).map_err(fail)?;
        self.note_open(&database);
        Ok(database)
    }

    /// Opens the current catalog. Whatever it finds wrong, it deletes and replaces nothing.
    pub fn open_current(&self, key: &CatalogKey) -> Result<Database, OpenCatalogError> {
        let (generation, path) = self.current_file()?;
        let database = self.opening(&path, key).open(generation)?;
        self.note_open(&database);
        Ok(database)
    }

    fn note_open(&self, database: &Database) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = database.downgrade();
    }

    /// The current catalog's key as it was wrapped.
    pub fn current_wrapped_key(&self) -> Result<Vec<u8>, OpenCatalogError> {
        read_wrapped_key(&self.current_file()?.1)
    }

    /// Starts to build the catalog of a generation above the current one, beside it. `wrapped_key` is the catalog
    /// key as this instance wraps it.
    pub fn begin_recovery(
        &self,
        generation: Generation,
        key: &CatalogKey,
        wrapped_key: &[u8],
    ) -> Result<Rebuild, RebuildError> {
        let open = |source| DataDirError::Open { source: Box::new(source) };
        let wrap = |source| RebuildError::DataDir { source: Box::new(source) };
        let current = self.current_generation().map_err(open).map_err(wrap)?;
        if let Some(current) = current.filter(|&current| generation <= current) {
            return Err(wrap(DataDirError::NotNext { wanted: generation, current }));
        }
        let building = self.start_building().map_err(wrap)?;
        let folder = self.folder(generation);
        let fail = |source| RebuildError::File { path: folder.clone(), source };
        self.remove_unfinished().map_err(fail)?;
        make_unfinished(&self.path, &folder).map_err(fail)?;
        let path = folder.join(CATALOG);
        let opening = self.opening(&path, key);
        Rebuild::begin(opening, generation, wrapped_key.to_vec(), building)
    }

    fn start_building(&self) -> Result<Arc<()>, DataDirError> {
        let mut building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        if building.strong_count() > 0 {
            return Err(DataDirError::Rebuilding { path: self.path.clone() });
        }
        let token = Arc::new(());
        *building = Arc::downgrade(&token);
        Ok(token)
    }

    /// Makes the rebuilt catalog the current one: from here on a restart opens it. The one before takes no commit
    /// any more, or it would acknowledge what nobody will read.
    pub fn switch(&self, prepared: Prepared) -> Result<Database, RebuildError> {
        let Prepared { database, generation, building: _building } = prepared;
        let fail = |source| RebuildError::File { path: self.folder(generation), source };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let before = Database::upgrade(&open);
        if let Some(before) = &before {
            before.supersede();
        }
        if let Err(source) = self.make_current(generation) {
            // After the rename it is the current one, whatever failed then.
            let is_current = matches!(self.current_generation(), Ok(Some(current)) if current == generation);
            if let Some(before) = before.filter(|_| !is_current) {
                before.readmit();
            }
            return Err(fail(source));
        }
        *open = database.downgrade();
        Ok(database)
    }

    /// Removes what recoveries have built that ended before their switch: on a volume that is full nothing else could be
    /// written for want of that room. One that is under way is left alone.
    pub fn abandon_recovery(&self) -> Result<(), DataDirError> {
        let Ok(_building) = self.start_building() else { return Ok(()) };
        let removed = self.remove_unfinished();
        removed.map_err(|source| DataDirError::File { path: self.path.clone(), source })
    }

    /// Removes a generation that is not the current one, once its recovery is complete.
    pub fn drop_generation(&self, generation: Generation) -> Result<(), DataDirError> {
        let open = |source| DataDirError::Open { source: Box::new(source) };
        if self.current_generation().map_err(open)? == Some(generation) {
            return Err(DataDirError::InUse { generation });
        }
        let folder = self.folder(generation);
        remove_folder(&folder).map_err(|source| DataDirError::File { path: folder, source })
    }

    fn current_file(&self) -> Result<(Generation, PathBuf), OpenCatalogError> {
        let absent = || OpenCatalogError::Absent { path: self.path.clone() };
        let generation = self.current_generation()?.ok_or_else(absent)?;
        let path = self.folder(generation).join(CATALOG);
        if !path.exists() {
            return Err(OpenCatalogError::Corrupt { path, check: OpenCheck::File });
        }
        Ok((generation, path))
    }

    fn opening<'a>(&self, path: &'a Path, key: &CatalogKey) -> Opening<'a> {
        Opening { path, proof: Arc::new(Proof::new(key)), clock: Arc::clone(&self.clock) }
    }

    fn folder(&self, generation: Generation) -> PathBuf {
        self.path.join(generation.0.to_string())
    }

    /// An empty folder is one whose mark was not written yet, or was already removed.
    fn is_unfinished(&self, generation: Generation) -> io::Result<bool> {
        let folder = self.folder(generation);
        Ok(folder.join(UNFINISHED).exists() || fs::read_dir(folder)?.next().is_none())
    }

    fn make_current(&self, generation: Generation) -> io::Result<()> {
        current::write(&self.path, generation)?;
        // It is current, marked or not; the next start takes away a mark that stays.
        let _ = fs::remove_file(self.folder(generation).join(UNFINISHED));
        Ok(())
    }

    /// What is current is finished, even if a crash kept the mark; what else is unfinished was never used.
    fn remove_unfinished(&self) -> io::Result<()> {
        self.remove_unfinished_instance()?;
        remove_folder(&self.path.join(SCRATCH))?;
        let current = match current::read(&self.path)? {
            current::Current::Names(current) => Some(current),
            current::Current::Absent => None,
            current::Current::Malformed => return Ok(()),
        };
        for generation in self.folders()? {
            let folder = self.folder(generation);
            if !self.is_unfinished(generation)? {
                continue;
            }
            if current != Some(generation) {
                remove_folder(&folder)?;
            } else if folder.join(UNFINISHED).exists() {
                fs::remove_file(folder.join(UNFINISHED))?;
            }
        }
        Ok(())
    }

    fn remove_unfinished_instance(&self) -> io::Result<()> {
        let mark = self.path.join(INSTANCE_UNFINISHED);
        if !mark.exists() {
            return Ok(());
        }
        for name in INSTANCE_FILES {
            match fs::remove_file(self.path.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        sync_folder(&self.path)?;
        fs::remove_file(mark)
    }
}

/// `flock`: like an OFD lock it belongs to the open file and not to the process, so that no other `close` in this
/// process loses it. The two differ only on network file systems, which are refused.
fn lock(path: &Path) -> Result<File, DataDirError> {
    let lock = path.join(LOCK);
    let fail = |source| DataDirError::File { path: lock.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&lock).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DataDirError::Locked { path: path.to_owned(), lock }),
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}

/// The mark is on the disk before anything that it marks.
fn make_unfinished(parent: &Path, folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)?;
    File::create_new(folder.join(UNFINISHED))?.sync_all()?;
    sync_folder(folder)?;
    sync_folder(parent)
}

/// The mark goes last: a removal that is interrupted is taken up again.
fn remove_folder(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path.file_name().is_none_or(|name| name != UNFINISHED) {
            fs::remove_file(path)?;
        }
    }
    fs::remove_dir_all(folder)
}

pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
