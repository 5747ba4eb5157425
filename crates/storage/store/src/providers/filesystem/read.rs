//! How objects leave a directory: bytes, descriptions, ordered listings.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::folder::{find_folder, step_into};
use super::pool::Call;
use super::timestamp;
use crate::path::SEGMENTS_MAX;
use crate::{ByteRange, ListPage, Listing, OBJECT_BYTES_MAX, ObjectMeta, StoreError, StorePath};

/// Names of one folder held in memory at a time, however many it has.
const NAMES_MAX: usize = 4096;

pub(super) fn read(call: &Call, root: &Path, range: ByteRange) -> Result<Bytes, StoreError> {
    let folder = folder_of(call, root)?;
    read_in(call, &folder, call.path.name(), range)
}

pub(super) fn read_in(
    call: &Call,
    folder: &OwnedFd,
    name: &str,
    range: ByteRange,
) -> Result<Bytes, StoreError> {
    // NONBLOCK: somebody may have put a pipe there.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::LOOP | Errno::NXIO) => return Err(call.fault(Errno::NOENT)),
        Err(errno) => return Err(call.fault(errno)),
    };
    let stat = rustix::fs::fstat(&file).map_err(|errno| call.fault(errno))?;
    let length = object_length(call, &stat)?;
    let range =
        range.resolve(length).ok_or_else(|| StoreError::OutOfRange { path: call.path.clone(), length })?;
    let wanted = range.end - range.start;
    if wanted > OBJECT_BYTES_MAX {
        let (operation, path) = (call.operation, call.path.clone());
        return Err(StoreError::TooLarge { operation, path, length: wanted, limit: OBJECT_BYTES_MAX });
    }
    let mut body = vec![0; wanted as usize];
    let mut filled = 0;
    while filled < body.len() {
        match rustix::io::pread(&file, &mut body[filled..], range.start + filled as u64) {
            Ok(0) => {
                let (path, found) = (call.path.clone(), filled as u64);
                return Err(StoreError::Incomplete { path, expected: wanted, found });
            }
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(call.fault(errno)),
        }
    }
    Ok(body.into())
}

pub(super) fn describe(call: &Call, root: &Path) -> Result<ObjectMeta, StoreError> {
    let folder = folder_of(call, root)?;
    let stat = rustix::fs::statat(&folder, call.path.name(), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| call.fault(errno))?;
    let length = object_length(call, &stat)?;
    Ok(meta(call.path.clone(), length, &stat))
}

fn folder_of(call: &Call, root: &Path) -> Result<OwnedFd, StoreError> {
    let parent = call.path.parent().ok_or_else(|| call.fault(Errno::NOENT))?;
    find_folder(call, root, &parent)?.ok_or_else(|| call.fault(Errno::NOENT))
}

/// Only plain files are objects: a folder, a link or a device is not there.
fn object_length(call: &Call, stat: &Stat) -> Result<u64, StoreError> {
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let length = u64::try_from(stat.st_size).ok().filter(|_| is_file);
    length.ok_or_else(|| call.fault(Errno::NOENT))
}

fn meta(path: StorePath, length: u64, stat: &Stat) -> ObjectMeta {
    let modified = timestamp(stat);
    ObjectMeta { path, length, version: None, modified, retain_until: None, altered: false }
}

/// One page of what lies beneath `call.path`, in the order of whole paths.
pub(super) fn list(call: &Call, root: &Path, page: &ListPage) -> Result<Listing, StoreError> {
    let Some(folder) = find_folder(call, root, &call.path)? else { return Ok(Listing::default()) };
    let after = page.after.as_ref().map_or("", StorePath::as_str);
    let prefix = if call.path.is_root() { String::new() } else { format!("{}/", call.path) };
    let after = match after.strip_prefix(&prefix) {
        Some(rest) => rest,
        None if *after < *prefix => "",
        None => return Ok(Listing::default()),
    };
    let mut walk = Walk { call, root, limit: page.limit(), listing: Listing::default() };
    walk.visit(&folder, &call.path, after)?;
    Ok(walk.listing)
}

/// The names of the folders right beneath `call.path` that hold at least one object at some depth.
pub(super) fn list_folders(call: &Call, root: &Path) -> Result<Vec<String>, StoreError> {
    let Some(folder) = find_folder(call, root, &call.path)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let mut cursor = Cursor::After(String::new());
    loop {
        let entries = or_gone(call, root, &call.path, next_entries(&folder, &cursor))?;
        let Some(last) = entries.as_ref().and_then(|entries| entries.last()) else { break };
        cursor = Cursor::Past(last.clone());
        for entry in entries.into_iter().flatten().filter(Entry::is_folder) {
            let Ok(path) = call.path.join(entry.name()) else { continue };
            let mut walk = Walk { call, root, limit: 1, listing: Listing::default() };
            walk.descend(&folder, &path, "")?;
            if !walk.listing.objects.is_empty() {
                found.push(entry.name().to_owned());
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// A depth-first walk in the order of whole paths.
struct Walk<'a> {
    call: &'a Call,
    root: &'a Path,
    limit: usize,
    listing: Listing,
}

impl Walk<'_> {
    /// Adds what lies beneath `folder` and after `after`, a path relative to it.
    fn visit(&mut self, folder: &OwnedFd, path: &StorePath, after: &str) -> Result<(), StoreError> {
        let mut cursor = Cursor::After(after.to_owned());
        loop {
            let entries = or_gone(self.call, self.root, path, next_entries(folder, &cursor))?;
            let Some(last) = entries.as_ref().and_then(|entries| entries.last()) else { return Ok(()) };
            cursor = Cursor::Past(last.clone());
            for entry in entries.into_iter().flatten() {
                let Ok(path) = path.join(entry.name()) else { continue };
                if entry.is_folder() {
                    self.descend(folder, &path, after.strip_prefix(&entry.0).unwrap_or(""))?;
                } else {
                    self.add(folder, path)?;
                }
                if self.listing.more {
                    return Ok(());
                }
            }
        }
    }

    fn descend(&mut self, folder: &OwnedFd, path: &StorePath, after: &str) -> Result<(), StoreError> {
        if path.segments().count() >= SEGMENTS_MAX {
            return Ok(());
        }
        let child = match step_into(folder, path.name()) {
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            other => other,
        };
        match or_gone(self.call, self.root, path, child)? {
            Some(child) => self.visit(&child, path, after),
            None => Ok(()),
        }
    }

    fn add(&mut self, folder: &OwnedFd, path: StorePath) -> Result<(), StoreError> {
        let stat = match rustix::fs::statat(folder, path.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            other => other,
        };
        let parent = path.parent().unwrap_or_else(StorePath::root);
        let Some(stat) = or_gone(self.call, self.root, &parent, stat)? else { return Ok(()) };
        let Ok(length) = object_length(self.call, &stat) else { return Ok(()) };
        if self.listing.objects.len() == self.limit {
            self.listing.more = true;
        } else {
            self.listing.objects.push(meta(path, length, &stat));
        }
        Ok(())
    }
}

/// What was asked of a folder; nothing if it was removed meanwhile, which a file server calls a stale handle. A share
/// that is gone as a whole says the same and must not pass for an empty folder: hence the look from the root.
fn or_gone<T>(
    call: &Call,
    root: &Path,
    folder: &StorePath,
    answer: Result<T, Errno>,
) -> Result<Option<T>, StoreError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Errno::NOENT | Errno::STALE) => match find_folder(call, root, folder)? {
            None => Ok(None),
            // It is there again, and what this one holds is not known.
            Some(_another) => Err(call.fault(Errno::STALE)),
        },
        Err(errno) => Err(call.fault(errno)),
    }
}

/// A name as it sorts among whole paths: that of a folder ends in a slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry(String);

impl Entry {
    fn is_folder(&self) -> bool {
        self.0.ends_with('/')
    }

    fn name(&self) -> &str {
        self.0.trim_end_matches('/')
    }
}

/// Where in a folder to go on.
enum Cursor {
    /// Behind a path that may lie deeper: the folder that leads to it has more to show.
    After(String),
    /// Behind an entry with all that it holds.
    Past(Entry),
}

impl Cursor {
    fn admits(&self, entry: &Entry) -> bool {
        match self {
            Self::After(path) => *entry.0 > **path || (entry.is_folder() && path.starts_with(&entry.0)),
            Self::Past(seen) => entry > seen,
        }
    }
}

/// The first entries from the cursor on, in order; none when the folder is done. Reads the whole folder each time
/// but keeps only `NAMES_MAX` of its names.
fn next_entries(folder: &OwnedFd, cursor: &Cursor) -> Result<Vec<Entry>, Errno> {
    let directory = Dir::read_from(folder)?;
    let mut first = BTreeSet::new();
    for entry in directory {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        let kind = match entry.file_type() {
            FileType::Unknown => match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(_vanished) => continue,
            },
            known => known,
        };
        let entry = match kind {
            FileType::RegularFile => Entry(name.to_owned()),
            FileType::Directory => Entry(format!("{name}/")),
            _ => continue,
        };
        // Temporaries, `.nfs*`, `.` and `..` are no names of objects.
        if name.parse::<StorePath>().is_err() || !cursor.admits(&entry) {
            continue;
        }
        first.insert(entry);
        if first.len() > NAMES_MAX {
            first.pop_last();
        }
    }
    Ok(first.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operation;

    #[test]
    fn a_folder_that_vanished_is_empty_and_a_share_that_vanished_is_not() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let root = directory.path().join("share");
        std::fs::create_dir_all(root.join("there"))?;
        let call = Call { operation: Operation::List, path: StorePath::root(), location: "share".into() };
        for errno in [Errno::NOENT, Errno::STALE] {
            let ask = |folder: &str| or_gone::<()>(&call, &root, &folder.parse().unwrap(), Err(errno));
            assert!(matches!(ask("gone/deep"), Ok(None)), "{errno:?}");
            assert!(matches!(ask("there"), Err(StoreError::Stale { .. })), "{errno:?}");
        }
        std::fs::remove_dir_all(&root)?;
        let gone = or_gone::<()>(&call, &root, &"gone".parse()?, Err(Errno::STALE));
        assert!(matches!(gone, Err(StoreError::MissingLocation { .. })), "{gone:?}");
        Ok(())
    }
}
