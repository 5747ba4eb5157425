//! Archives that are the same bytes for the same content: ustar entries in the order of their paths, owned by root and
//! of no time, gzip without a name or a time, and the digests by which both are known.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::digest;
use flate2::{Compression, GzBuilder};

const BLOCK_BYTES: usize = 512;
/// An archive ends with two blocks of zeros.
const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];
const NAME_BYTES_MAX: usize = 100;
const PREFIX_BYTES_MAX: usize = 155;
/// Eleven octal digits.
const FILE_BYTES_MAX: u64 = (1 << 33) - 1;
const FOLDER_MODE: u32 = 0o755;
/// What gzip writes for "no particular system", so that it is the same on all.
const NO_SYSTEM: u8 = 255;

/// Files and folders, by their path without a slash at either end.
#[derive(Default)]
pub(crate) struct Archive {
    entries: BTreeMap<String, Entry>,
}

enum Entry {
    Folder,
    File { mode: u32, content: Vec<u8> },
}

impl Archive {
    pub(crate) fn add_file(&mut self, path: &str, mode: u32, content: Vec<u8>) -> Result<()> {
        let plain = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        ensure!(plain, "'{path}' is no path inside an archive");
        let before = self.entries.insert(path.to_owned(), Entry::File { mode, content });
        ensure!(before.is_none(), "'{path}' would be in the archive twice");
        Ok(())
    }

    /// Adds the folders that the files lie in, for those who do not make them themselves.
    pub(crate) fn add_folders(&mut self) -> Result<()> {
        let ends = |path: &String| -> Vec<String> {
            path.match_indices('/').map(|(end, _)| path[..end].to_owned()).collect()
        };
        for folder in self.entries.keys().flat_map(ends).collect::<Vec<_>>() {
            let there = self.entries.entry(folder.clone()).or_insert(Entry::Folder);
            ensure!(matches!(there, Entry::Folder), "'{folder}' is a file, and others lie below it");
        }
        Ok(())
    }

    pub(crate) fn to_tar(&self) -> Result<Vec<u8>> {
        let mut tar: Vec<u8> = Vec::new();
        for (path, entry) in &self.entries {
            let (header, content) = match entry {
                Entry::Folder => (header(&format!("{path}/"), FOLDER_MODE, 0, b'5'), &[] as &[u8]),
                Entry::File { mode, content } => {
                    (header(path, *mode, content.len() as u64, b'0'), content.as_slice())
                }
            };
            tar.extend(header.with_context(|| format!("put '{path}' into an archive"))?);
            tar.extend(content);
            tar.resize(tar.len().next_multiple_of(BLOCK_BYTES), 0);
        }
        tar.extend(END);
        Ok(tar)
    }

    /// Writes the files below `folder`, as `tar` would unpack them.
    pub(crate) fn unpack(&self, folder: &Path) -> Result<()> {
        for (path, entry) in &self.entries {
            let Entry::File { content, .. } = entry else { continue };
            write_file(&folder.join(path), content)?;
        }
        Ok(())
    }
}

/// Writes a file, and the folders it lies in. A file of that name is replaced as a whole or not at all.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("'{}' is no name of a file", path.display());
    };
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let unfinished = folder.join(format!(".{}.new", name.to_string_lossy()));
    fs::write(&unfinished, content).with_context(|| format!("write {}", unfinished.display()))?;
    fs::rename(&unfinished, path).with_context(|| format!("write {}", path.display()))
}

pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let packed = GzBuilder::new().mtime(0).operating_system(NO_SYSTEM);
    // The highest level takes three times as long for half a percent.
    let mut packed = packed.write(Vec::new(), Compression::default());
    packed.write_all(bytes).context("compress an archive")?;
    packed.finish().context("compress an archive")
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// The ustar header of POSIX.1-1988, which every reader of archives knows.
fn header(path: &str, mode: u32, size: u64, kind: u8) -> Result<[u8; BLOCK_BYTES]> {
    ensure!(size <= FILE_BYTES_MAX, "{size} bytes are too many for one file");
    let (prefix, name) = split(path)?;
    let mut header = [0_u8; BLOCK_BYTES];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(329, b"0000000");
    put(337, b"0000000");
    put(345, prefix.as_bytes());
    // Summed up with blanks where the sum will stand.
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    Ok(header)
}

/// A long path has its beginning in a field of its own, up to a slash that is then left out.
fn split(path: &str) -> Result<(&str, &str)> {
    if path.len() <= NAME_BYTES_MAX {
        return Ok(("", path));
    }
    let mut halves = path.match_indices('/').map(|(at, _)| (&path[..at], &path[at + 1..]));
    let fits = |(prefix, name): &(&str, &str)| {
        prefix.len() <= PREFIX_BYTES_MAX && (1..=NAME_BYTES_MAX).contains(&name.len())
    };
    halves.find(fits).with_context(|| format!("'{path}' is too long for an archive"))
}

#[cfg(test)]
pub(crate) mod tests;
