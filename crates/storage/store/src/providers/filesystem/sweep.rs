//! Removes what writers that died left in a directory.

use std::path::Path;

use jiff::Timestamp;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType};

use super::folder::find_folder;
use super::pool::Call;
use super::timestamp;
use crate::path::RESERVED_PREFIX;
use crate::{StoreError, StorePath};

/// Removes temporary files beneath a folder, last written before then, and counts them.
pub(super) fn sweep(
    call: &Call,
    root: &Path,
    beneath: StorePath,
    written_before: Timestamp,
) -> Result<u64, StoreError> {
    let mut removed = 0;
    let mut folders = vec![beneath];
    while let Some(path) = folders.pop() {
        let Some(folder) = find_folder(call, root, &path)? else { continue };
        let directory = Dir::read_from(&folder).map_err(|errno| call.fault(errno))?;
        for entry in directory {
            let entry = entry.map_err(|errno| call.fault(errno))?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let may_be_folder = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
            if name.starts_with(RESERVED_PREFIX) {
                removed += u64::from(remove_if_old(&folder, name, written_before));
            } else if let Some(child) = path.join(name).ok().filter(|_| may_be_folder) {
                folders.push(child);
            }
        }
    }
    Ok(removed)
}

/// What cannot be removed now is found again by the next sweep.
fn remove_if_old(folder: &OwnedFd, name: &str, written_before: Timestamp) -> bool {
    let Ok(stat) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
    timestamp(&stat) < written_before && rustix::fs::unlinkat(folder, name, AtFlags::empty()).is_ok()
}
