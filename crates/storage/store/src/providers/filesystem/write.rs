//! How an object comes into a directory: whole, once, and safe on disk before anybody is told.
//!
//! 1. open the folder, made and flushed if need be
//! 2. write a temporary file in it, flush it
//! 3. link it to its name, which fails if the name is taken (an overwrite renames instead)
//! 4. unlink the temporary name
//! 5. flush the folder
//!
//! A crash leaves a temporary file at worst, which listings skip and `Store::sweep` removes.

use std::path::Path;

use bytes::Bytes;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::folder::{FolderMaker, find_folder, open_root, remove_empty_folders};
use super::pool::Call;
use super::{read, timestamp};
use crate::path::RESERVED_PREFIX;
use crate::{ByteRange, Feature, PutMode, StoreError, Written};

/// How often a folder may vanish under a writer's hands, removed as empty by another, before it gives up. A file server
/// calls that a stale handle.
const FOLDER_TRIES: usize = 8;

pub(super) fn write(
    call: &Call,
    root: &Path,
    folders: &FolderMaker,
    body: &Bytes,
    mode: PutMode,
) -> Result<Written, StoreError> {
    let Some(parent) = call.path.parent() else {
        return Err(StoreError::MixKeyAndFolder { operation: call.operation, path: call.path.clone() });
    };
    let attempt = || {
        let folder = folders.open(call, root, &parent)?;
        Temporary::create(call, &folder, body)?.publish(call, root, mode)
    };
    for _ in 1..FOLDER_TRIES {
        match attempt() {
            Err(StoreError::NotFound { .. } | StoreError::Stale { .. }) => {}
            outcome => return outcome,
        }
    }
    match attempt() {
        Err(StoreError::NotFound { operation, path }) => {
            let (location, source) = (call.location.to_string(), Errno::NOENT.into());
            Err(StoreError::Busy { operation, path, location, retry_after: None, source })
        }
        outcome => outcome,
    }
}

/// A flushed file under a name that nobody looks at. Dropping it unlinks that name.
pub(super) struct Temporary<'a> {
    folder: &'a OwnedFd,
    name: String,
    pub(super) stat: Stat,
}

impl<'a> Temporary<'a> {
    pub(super) fn create(call: &Call, folder: &'a OwnedFd, body: &[u8]) -> Result<Self, StoreError> {
        let name = temporary_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH;
        let file = rustix::fs::openat(folder, &name, flags, mode).map_err(|errno| call.fault(errno))?;
        let filled = fill(&file, body).and_then(|()| rustix::fs::fstat(&file));
        match filled {
            Ok(stat) => Ok(Self { folder, name, stat }),
            Err(errno) => {
                // Closed first: a client of NFS only renames what is open. Then the first failure is the one to tell; a
                // file that stays is skipped by listings.
                drop(file);
                let _ = rustix::fs::unlinkat(folder, &name, AtFlags::empty());
                Err(call.fault(errno))
            }
        }
    }

    fn publish(self, call: &Call, root: &Path, mode: PutMode) -> Result<Written, StoreError> {
        let name = call.path.name();
        let stored_at = match mode {
            PutMode::Overwrite => {
                rustix::fs::renameat(self.folder, &self.name, self.folder, name)
                    .map_err(|errno| call.fault(errno))?;
                timestamp(&self.stat)
            }
            PutMode::Create | PutMode::CreateUnique => self.link(call, root, name)?,
        };
        let folder = self.folder;
        drop(self);
        rustix::fs::fsync(folder).map_err(|errno| call.fault(errno))?;
        Ok(Written { version: None, stored_at })
    }

    fn link(&self, call: &Call, root: &Path, name: &str) -> Result<jiff::Timestamp, StoreError> {
        match rustix::fs::linkat(self.folder, &self.name, self.folder, name, AtFlags::empty()) {
            Ok(()) => Ok(timestamp(&self.stat)),
            Err(Errno::EXIST) => self.settle(call, root, name),
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
                Err(StoreError::Unsupported {
                    operation: call.operation,
                    location: call.location.to_string(),
                    feature: Feature::Links,
                })
            }
            Err(errno) => Err(call.fault(errno)),
        }
    }

    /// The name is taken, perhaps by us: an NFS server may have linked it and lost the answer, or a caller repeats
    /// a write that it does not know to have succeeded.
    fn settle(&self, call: &Call, root: &Path, name: &str) -> Result<jiff::Timestamp, StoreError> {
        let stat = |name: &str| {
            rustix::fs::statat(self.folder, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| call.fault(errno))
        };
        let (ours, theirs) = (stat(&self.name)?, stat(name)?);
        if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino) && ours.st_nlink == 2 {
            return Ok(timestamp(&ours));
        }
        if FileType::from_raw_mode(theirs.st_mode) == FileType::Directory {
            return Err(StoreError::MixKeyAndFolder { operation: call.operation, path: call.path.clone() });
        }
        if theirs.st_size == ours.st_size
            && read::read(call, root, ByteRange::All)?
                == read::read_in(call, self.folder, &self.name, ByteRange::All)?
        {
            return Ok(timestamp(&theirs));
        }
        Err(StoreError::AlreadyExists { path: call.path.clone() })
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // After a rename it is gone already; otherwise listings skip it.
        let _ = rustix::fs::unlinkat(self.folder, &self.name, AtFlags::empty());
    }
}

fn fill(file: &OwnedFd, mut body: &[u8]) -> Result<(), Errno> {
    while !body.is_empty() {
        match rustix::io::write(file, body) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => body = &body[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    rustix::fs::fsync(file)
}

fn temporary_name() -> String {
    format!("{RESERVED_PREFIX}{}", hex::encode(crate::random::bytes::<16>()))
}

/// Removes an object and the folders that it leaves empty. What is not there counts as removed.
pub(super) fn delete(call: &Call, root: &Path) -> Result<(), StoreError> {
    let Some(parent) = call.path.parent() else { return Ok(()) };
    let Some(folder) = find_folder(call, root, &parent)? else { return Ok(()) };
    match rustix::fs::unlinkat(&folder, call.path.name(), AtFlags::empty()) {
        Ok(()) => rustix::fs::fsync(&folder).map_err(|errno| call.fault(errno))?,
        // A folder is no object.
        Err(Errno::NOENT | Errno::ISDIR) => return Ok(()),
        Err(Errno::STALE) if find_folder(call, root, &parent)?.is_none() => return Ok(()),
        Err(errno) => return Err(call.fault(errno)),
    }
    remove_empty_folders(call, root, &parent)
}

/// The clock of the file system: what it stamps on a new file.
pub(super) fn read_time(call: &Call, root: &Path) -> Result<jiff::Timestamp, StoreError> {
    let folder = open_root(call, root)?;
    Ok(timestamp(&Temporary::create(call, &folder, &[])?.stat))
}
