//! Which file systems a catalog must not lie on.

use std::io;
use std::path::Path;

/// The file system's name if it is one of the network, where SQLite's shared memory and locks do not hold.
pub(super) fn find_network_file_system(path: &Path) -> io::Result<Option<&'static str>> {
    let magic = rustix::fs::statfs(path)?.f_type;
    // The kernel's magics have 32 bits; the field's width and sign differ between architectures.
    Ok(name_network_file_system(magic as u32))
}

/// Magics of the kernel's `linux/magic.h` and of the file systems' own sources. FUSE is refused because what
/// stands behind it, an object store or another machine, cannot be told.
fn name_network_file_system(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517b => "SMB",
        0xff53_4d42 => "CIFS",
        0xfe53_4d42 => "SMB2",
        0x6573_5546 => "FUSE",
        0x0102_1997 => "9P",
        0x5346_414f => "AFS",
        0x7375_7245 => "Coda",
        0x00c3_6400 => "CephFS",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x7461_636f => "OCFS2",
        0x0116_1970 => "GFS2",
        0x1983_0326 => "BeeGFS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        let ext4 = 0xef53;
        let xfs = 0x5846_5342;
        let overlay = 0x794c_7630;
        let tmpfs = 0x0102_1994;
        for local in [ext4, xfs, overlay, tmpfs] {
            assert_eq!(name_network_file_system(local), None);
        }
        assert_eq!(name_network_file_system(0x6969), Some("NFS"));
        assert_eq!(name_network_file_system(0xfe53_4d42), Some("SMB2"));
    }
}
