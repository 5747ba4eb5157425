//! What a directory is mounted from, and so how late it may show what others wrote.
//!
//! A client of a network share answers out of the attributes and names that it has cached. How long is an option of the
//! mount, and nobody but the kernel knows it.

use std::fs;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::fd::OwnedFd;

/// File systems of this machine alone. Any other may be changed behind this kernel's back.
const LOCAL: [&str; 14] = [
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "tmpfs", "vfat",
    "xfs", "zfs",
];
/// For how long NFS caches a folder unless the mount says otherwise; also assumed of what says nothing.
const CACHED_DEFAULT: Duration = Duration::from_secs(60);
/// A longer one is as good as for ever, and could not be doubled.
const CACHED_MAX: Duration = Duration::from_hours(24 * 365);
/// For an object's way to the server and a listing's back.
const ON_THE_WAY: Duration = Duration::from_secs(30);

/// For how long a listing of that directory may miss what another client has created: twice the cache, as a folder
/// that was new to us may have been looked up in vain just before, and some time on the way. Nought if it is local.
pub(super) fn listing_delay(directory: &OwnedFd) -> Duration {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let descriptor = read(&format!("/proc/self/fdinfo/{}", directory.as_raw_fd()));
    delay_of(&descriptor, &read("/proc/self/mountinfo"))
}

/// What cannot be found out counts as a share.
fn delay_of(descriptor: &str, mounts: &str) -> Duration {
    let cached = match find_mount(descriptor, mounts) {
        Some(mount) if LOCAL.contains(&mount.kind) => return Duration::ZERO,
        Some(mount) => mount.cached(),
        None => CACHED_DEFAULT,
    };
    cached.clamp(CACHED_DEFAULT, CACHED_MAX) * 2 + ON_THE_WAY
}

/// A table of mounts, for `fuzz`.
#[cfg(any(test, fuzzing))]
pub(crate) fn withstand_mounts(bytes: &[u8]) -> bool {
    let Ok(mounts) = std::str::from_utf8(bytes) else { return false };
    let descriptor = "pos:\t0\nmnt_id:\t30\n";
    let delay = delay_of(descriptor, mounts);
    assert!(delay.is_zero() || delay >= CACHED_DEFAULT * 2 + ON_THE_WAY, "{delay:?}");
    find_mount(descriptor, mounts).is_some()
}

/// The two fields of `/proc/self/mountinfo` that matter here.
struct Mount<'a> {
    kind: &'a str,
    options: &'a str,
}

fn find_mount<'a>(descriptor: &str, mounts: &'a str) -> Option<Mount<'a>> {
    let id = descriptor.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    let line = mounts.lines().find(|line| line.split(' ').next() == Some(id))?;
    // The optional fields before the dash vary in number.
    let (_, about) = line.split_once(" - ")?;
    let mut fields = about.split(' ');
    let kind = fields.next()?;
    Some(Mount { kind, options: fields.nth(1).unwrap_or_default() })
}

impl Mount<'_> {
    /// For how long a folder's attributes are believed. NFS says `acdirmax`, SMB says `actimeo` where that is all.
    fn cached(&self) -> Duration {
        let seconds = self.options.split(',').find_map(|option| match option.split_once('=') {
            Some(("acdirmax" | "actimeo", seconds)) => seconds.parse().ok(),
            _ => None,
        });
        seconds.map_or(CACHED_DEFAULT, Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, seconds: u64) {
        let mounts = format!("21 1 8:1 / / rw - ext4 /dev/sda1 rw\n{line}\n");
        let delay = delay_of("pos:\t0\nflags:\t0100000\nmnt_id:\t30\nino:\t2\n", &mounts);
        assert_eq!(delay.as_secs(), seconds, "{line}");
    }

    #[test]
    fn what_others_write_is_listed_after_the_attribute_cache_of_the_mount() {
        check("30 21 0:44 / /share rw,relatime shared:7 - nfs4 host:/x rw,vers=4.2,hard,addr=10.0.0.1", 150);
        check("30 21 0:44 / /share rw - nfs host:/x rw,vers=3,acregmax=5,acdirmin=5,acdirmax=5,hard", 150);
        check("30 21 0:44 / /share rw - nfs host:/x rw,vers=3,acdirmax=60", 150);
        check("30 21 0:44 / /share rw - nfs host:/x rw,vers=3,acdirmin=30,acdirmax=120", 270);
        check("30 21 0:44 / /share rw - cifs //host/x rw,vers=3.1.1,actimeo=1", 150);
        check("30 21 0:44 / /share rw - cifs //host/x rw,vers=3.1.1,actimeo=600", 1230);
        check("30 21 0:44 / /share rw - 9p host rw", 150);
        check("30 21 0:44 / /data rw,noatime shared:1 master:2 - xfs /dev/sdb rw", 0);
        check("30 21 0:44 / / rw - overlay overlay rw,lowerdir=/a", 0);
        check("31 21 0:44 / /elsewhere rw - ext4 /dev/sdb rw", 150);
        check("30 torn", 150);
    }

    /// Twice as much is more than a duration holds: it ended in a panic.
    #[test]
    fn a_mount_that_caches_for_ever_is_late_by_years() {
        let years = 2 * 365 * 24 * 3600;
        check("30 21 0:44 / /share rw - nfs host:/x rw,acdirmax=18446744073709551615", years + 30);
    }

    #[test]
    fn a_directory_of_this_machine_shows_everything_at_once() -> std::io::Result<()> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let directory = OwnedFd::from(fs::File::open("/proc/self")?);
        let descriptor = fs::read_to_string(format!("/proc/self/fdinfo/{}", directory.as_raw_fd()))?;
        assert_eq!(find_mount(&descriptor, &mounts).map(|mount| mount.kind), Some("proc"));
        Ok(())
    }
}
