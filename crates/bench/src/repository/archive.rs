//! A folder of files as one stream: a header before the bytes of each file, in the order of names.
//!
//! The bench's own, because the repository has no trees of files yet: an outcome names streams, at most 65,536, and
//! whatever is in them is their writer's.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

const PIECE_BYTES: usize = 256 * 1024;
/// Length of the name, mode, seconds, nanoseconds, length of the file.
const HEADER_BYTES: usize = 2 + 4 + 8 + 4 + 8;

/// Gives the folder's own files in pieces.
pub(super) fn pack(folder: &Path, mut send: impl FnMut(Bytes) -> Result<()>) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    for path in files {
        let mut file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        let metadata = file.metadata()?;
        let name = path.file_name().context("a file has a name")?.as_encoded_bytes();
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        piece.extend_from_slice(&u16::try_from(name.len())?.to_le_bytes());
        piece.extend_from_slice(&metadata.permissions().mode().to_le_bytes());
        piece.extend_from_slice(&modified.as_secs().to_le_bytes());
        piece.extend_from_slice(&modified.subsec_nanos().to_le_bytes());
        piece.extend_from_slice(&metadata.len().to_le_bytes());
        piece.extend_from_slice(name);
        let mut left = metadata.len();
        while left > 0 {
            let room = PIECE_BYTES.saturating_sub(piece.len()).max(1) as u64;
            let read = (&mut file).take(left.min(room)).read_to_end(&mut piece)? as u64;
            ensure!(read > 0, "{} became shorter while it was read", path.display());
            left -= read;
            if piece.len() >= PIECE_BYTES {
                send(std::mem::replace(&mut piece, Vec::with_capacity(PIECE_BYTES)).into())?;
            }
        }
    }
    if !piece.is_empty() {
        send(piece.into())?;
    }
    Ok(())
}

/// Writes the files of a stream, piece by piece, into a folder that is there.
pub(super) struct Unpacker {
    folder: PathBuf,
    header: Vec<u8>,
    open: Option<Open>,
}

struct Open {
    file: File,
    left: u64,
    mode: u32,
    modified: Duration,
}

impl Unpacker {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, header: Vec::new(), open: None }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match &mut self.open {
                Some(open) => {
                    let (now, rest) = bytes.split_at(bytes.len().min(open.left as usize));
                    open.file.write_all(now).context("write a file")?;
                    open.left -= now.len() as u64;
                    bytes = rest;
                }
                None => bytes = self.take_header(bytes)?,
            }
            if let Some(open) = self.open.take_if(|open| open.left == 0) {
                open.file.set_permissions(Permissions::from_mode(open.mode & 0o7777))?;
                open.file.set_modified(UNIX_EPOCH + open.modified)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<()> {
        ensure!(self.open.is_none() && self.header.is_empty(), "the stream ends within a file");
        Ok(())
    }

    /// Opens the file once its header is whole.
    fn take_header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let mut rest = self.fill_header(bytes, HEADER_BYTES);
        if self.header.len() < HEADER_BYTES {
            return Ok(rest);
        }
        let whole = HEADER_BYTES + usize::from(u16::from_le_bytes([self.header[0], self.header[1]]));
        rest = self.fill_header(rest, whole);
        if self.header.len() < whole {
            return Ok(rest);
        }
        let header = std::mem::take(&mut self.header);
        let number = |at: usize| u64::from_le_bytes(*header[at..].first_chunk().expect("a header is whole"));
        let short = |at: usize| u32::from_le_bytes(*header[at..].first_chunk().expect("a header is whole"));
        let name = std::str::from_utf8(&header[HEADER_BYTES..]).context("a name is text here")?;
        ensure!(!name.contains('/') && name != "..", "a name that leads elsewhere");
        let file = File::create(self.folder.join(name)).context("create a file")?;
        let modified = Duration::new(number(6), short(14));
        self.open = Some(Open { file, left: number(18), mode: short(2), modified });
        Ok(rest)
    }

    fn fill_header<'a>(&mut self, bytes: &'a [u8], to: usize) -> &'a [u8] {
        let missing = to.saturating_sub(self.header.len());
        let (now, rest) = bytes.split_at(bytes.len().min(missing));
        self.header.extend_from_slice(now);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_comes_back_from_its_stream_however_the_stream_is_cut() {
        let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let long: Vec<u8> = (0..3 * PIECE_BYTES + 17).map(|at| (at % 251) as u8).collect();
        for (name, content) in [("a", &b""[..]), ("b", b"short"), ("c", &long), ("d", b"")] {
            fs::write(source.path().join(name), content).unwrap();
        }
        let mut stream = Vec::new();
        pack(source.path(), |piece| {
            stream.extend_from_slice(&piece);
            Ok(())
        })
        .unwrap();
        for cut in [1, 7, HEADER_BYTES, 4096, stream.len()] {
            let folder = target.path().join(cut.to_string());
            fs::create_dir(&folder).unwrap();
            let mut unpacker = Unpacker::new(folder.clone());
            stream.chunks(cut).for_each(|piece| unpacker.push(piece).unwrap());
            unpacker.finish().unwrap();
            super::super::dataset::compare(source.path(), &folder).unwrap();
            let modified = |path: &Path| fs::metadata(path.join("b")).unwrap().modified().unwrap();
            assert_eq!(modified(source.path()), modified(&folder));
        }
    }

    #[test]
    fn a_stream_that_ends_within_a_file_is_noticed() {
        let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(source.path().join("a"), "content").unwrap();
        let mut stream = Vec::new();
        pack(source.path(), |piece| {
            stream.extend_from_slice(&piece);
            Ok(())
        })
        .unwrap();
        for kept in [3, stream.len() - 1] {
            let mut unpacker = Unpacker::new(target.path().to_owned());
            unpacker.push(&stream[..kept]).unwrap();
            unpacker.finish().unwrap_err();
        }
    }
}
