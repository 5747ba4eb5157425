//! Folders as open directories: every step down is one name, and no symbolic link is followed.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::pool::Call;
use crate::{StoreError, StorePath};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// The folders remembered as safe on disk; forgetting one costs a flush.
const SYNCED_FOLDERS_MAX: usize = 4096;

/// Opens the location's directory, which its owner may have reached by a symbolic link.
pub(super) fn open_root(call: &Call, root: &Path) -> Result<OwnedFd, StoreError> {
    rustix::fs::openat(CWD, root, FOLDER, Mode::empty()).map_err(|errno| call.root_fault(errno))
}

/// Opens a folder; nothing if it is not there, or if an object or a link lies in the way.
pub(super) fn find_folder(
    call: &Call,
    root: &Path,
    folder: &StorePath,
) -> Result<Option<OwnedFd>, StoreError> {
    let mut directory = open_root(call, root)?;
    for name in folder.segments() {
        directory = match step_into(&directory, name) {
            Ok(child) => child,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(call.fault(errno)),
        };
    }
    Ok(Some(directory))
}

pub(super) fn step_into(directory: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(directory, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())
}

/// Removes folders from `folder` upward as long as they are empty. What somebody fills meanwhile stays.
pub(super) fn remove_empty_folders(call: &Call, root: &Path, folder: &StorePath) -> Result<(), StoreError> {
    let mut folder = folder.clone();
    while let Some(parent) = folder.parent() {
        let Some(directory) = find_folder(call, root, &parent)? else { return Ok(()) };
        if rustix::fs::unlinkat(&directory, folder.name(), AtFlags::REMOVEDIR).is_err() {
            return Ok(());
        }
        folder = parent;
    }
    Ok(())
}

/// Makes folders, and remembers which are known to outlive a crash.
#[derive(Debug, Default)]
pub(super) struct FolderMaker {
    synced: Mutex<HashSet<StorePath>>,
}

impl FolderMaker {
    /// Opens a folder, made if need be, safe on disk together with all that lead to it.
    pub(super) fn open(&self, call: &Call, root: &Path, folder: &StorePath) -> Result<OwnedFd, StoreError> {
        let mut directory = open_root(call, root)?;
        let mut path = StorePath::root();
        for name in folder.segments() {
            let child = match step_into(&directory, name) {
                Err(Errno::NOENT) => {
                    self.forget(&path);
                    make(&directory, name).and_then(|()| step_into(&directory, name))
                }
                other => other,
            };
            let child = child.map_err(|errno| call.fault(errno))?;
            path = path.join(name).map_err(|source| StoreError::NameObject { source })?;
            if !self.is_synced(&path) {
                rustix::fs::fsync(&directory).map_err(|errno| call.fault(errno))?;
                self.remember(&path);
            }
            directory = child;
        }
        Ok(directory)
    }

    fn is_synced(&self, folder: &StorePath) -> bool {
        self.lock().contains(folder)
    }

    fn remember(&self, folder: &StorePath) {
        let mut synced = self.lock();
        if synced.len() >= SYNCED_FOLDERS_MAX {
            synced.clear();
        }
        synced.insert(folder.clone());
    }

    /// Forgets everything beneath `folder`: something was missing there.
    fn forget(&self, folder: &StorePath) {
        self.lock().retain(|known| known.strip_prefix(folder).is_none());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<StorePath>> {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make(directory: &OwnedFd, name: &str) -> Result<(), Errno> {
    let mode = Mode::RWXU | Mode::RWXG | Mode::RWXO;
    match rustix::fs::mkdirat(directory, name, mode) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}
