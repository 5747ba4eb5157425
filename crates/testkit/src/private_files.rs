//! Files and folders with keys in them, which nobody but their owner reads, whatever the umask says.

use std::fs::{OpenOptions, Permissions};
use std::io::{Result, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use tempfile::TempDir;

const FILE_MODE: u32 = 0o600;
pub(crate) const FOLDER_MODE: u32 = 0o700;

/// Writes a file as `fs::write` does.
pub fn write_private(path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    // One that was there has kept its mode.
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    file.write_all(content.as_ref())
}

/// A new folder below `TMPDIR`.
pub fn make_private_folder(prefix: &str) -> Result<TempDir> {
    tempfile::Builder::new().prefix(prefix).permissions(Permissions::from_mode(FOLDER_MODE)).tempdir()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn nobody_else_reads_what_is_written_in_a_new_file_and_over_an_old_one() {
        let folder = make_private_folder("keelson-private-").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.path()), 0o700);
        let (new, old) = (folder.path().join("new"), folder.path().join("old"));
        fs::write(&old, "longer than what comes").unwrap();
        fs::set_permissions(&old, Permissions::from_mode(0o644)).unwrap();
        for file in [&new, &old] {
            write_private(file, "key").unwrap();
            assert_eq!((mode(file), fs::read_to_string(file).unwrap().as_str()), (0o600, "key"));
        }
    }
}
