//! Files of sealed pieces. Each piece ends in a checksum over the file's random id, its place and its bytes, so that
//! nothing damaged, torn or of another file passes for it. Against accidents, not against whoever can write here.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keelson_crypto::{Sha256Stream, random_bytes};

use super::IndexCacheError;
use super::folder::Folder;
use crate::limits::INDEX_READ_AHEAD_BYTES;

pub(super) const CHECKSUM_BYTES: usize = 16;

/// A file that is complete. It stays open, so that its name may go while it is read.
#[derive(Debug)]
pub(super) struct SealedFile {
    file: File,
    path: PathBuf,
    id: [u8; 16],
    damaged: AtomicBool,
    /// Nothing will want it after this process: its name goes with it.
    transient: AtomicBool,
}

impl SealedFile {
    pub(super) fn new(file: File, path: PathBuf, id: [u8; 16]) -> Self {
        Self { file, path, id, damaged: AtomicBool::new(false), transient: AtomicBool::new(false) }
    }

    /// Fills `piece` from the file and gives what stands before its checksum.
    pub(super) fn read<'a>(&self, offset: u64, piece: &'a mut [u8]) -> Result<&'a [u8], IndexCacheError> {
        self.fill(offset, piece)?;
        self.check(offset, piece)
    }

    /// Fills `pieces`, neighbours of `length` bytes each, and checks every one.
    pub(super) fn read_many(
        &self,
        offset: u64,
        pieces: &mut [u8],
        length: usize,
    ) -> Result<(), IndexCacheError> {
        self.fill(offset, pieces)?;
        for (number, piece) in pieces.chunks(length).enumerate() {
            self.check(offset + (number * length) as u64, piece)?;
        }
        Ok(())
    }

    fn fill(&self, offset: u64, bytes: &mut [u8]) -> Result<(), IndexCacheError> {
        self.file.read_exact_at(bytes, offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.damage(),
            _ => {
                self.damage();
                IndexCacheError::Read { path: self.path.clone(), source }
            }
        })
    }

    fn check<'a>(&self, offset: u64, piece: &'a [u8]) -> Result<&'a [u8], IndexCacheError> {
        match piece.split_last_chunk::<CHECKSUM_BYTES>() {
            Some((body, found)) if checksum(&self.id, offset, body) == *found => Ok(body),
            _ => Err(self.damage()),
        }
    }

    /// Notes that it must not be used any more; the next refresh drops it.
    pub(super) fn damage(&self) -> IndexCacheError {
        self.damaged.store(true, Ordering::Release);
        IndexCacheError::Damaged { path: self.path.clone() }
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    pub(super) fn set_transient(&self, transient: bool) {
        self.transient.store(transient, Ordering::Release);
    }
}

impl Drop for SealedFile {
    fn drop(&mut self) {
        if self.transient.load(Ordering::Acquire) {
            // A name that stays costs a little room until the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn checksum(id: &[u8; 16], offset: u64, body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut stream = Sha256Stream::new();
    stream.update(id);
    stream.update(&offset.to_le_bytes());
    stream.update(body);
    let mut short = [0; CHECKSUM_BYTES];
    short.copy_from_slice(&stream.finish().as_bytes()[..CHECKSUM_BYTES]);
    short
}

/// Writes pieces one behind the other into a file with a temporary name, which goes if the file is not finished.
pub(super) struct SealedWriter {
    folder: Arc<Folder>,
    file: File,
    path: PathBuf,
    id: [u8; 16],
    buffer: Vec<u8>,
    /// Bytes before those in the buffer.
    flushed: u64,
    finished: bool,
}

impl SealedWriter {
    pub(super) fn create(folder: &Arc<Folder>) -> Result<Self, IndexCacheError> {
        let id = random_bytes();
        let (file, path) = folder.create(&id)?;
        let (folder, buffer) = (Arc::clone(folder), Vec::with_capacity(2 * INDEX_READ_AHEAD_BYTES));
        Ok(Self { folder, file, path, id, buffer, flushed: 0, finished: false })
    }

    pub(super) fn id(&self) -> [u8; 16] {
        self.id
    }

    pub(super) fn offset(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    /// Writes a piece and its checksum.
    pub(super) fn seal(&mut self, body: &[u8]) -> Result<(), IndexCacheError> {
        let checksum = checksum(&self.id, self.offset(), body);
        self.write(body)?;
        self.write(&checksum)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), IndexCacheError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= INDEX_READ_AHEAD_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), IndexCacheError> {
        self.file.write_all(&self.buffer).map_err(|source| self.fail(source))?;
        self.folder.note_effect();
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Puts the file on disk and gives it its name.
    pub(super) fn finish(mut self) -> Result<SealedFile, IndexCacheError> {
        self.flush()?;
        self.file.sync_data().map_err(|source| self.fail(source))?;
        let path = self.folder.publish(&self.path)?;
        self.finished = true;
        let file = self.file.try_clone().map_err(|source| self.fail(source))?;
        let file = SealedFile::new(file, path, self.id);
        file.set_transient(true);
        Ok(file)
    }

    /// Takes the file's name away: it lasts as long as it is open.
    pub(super) fn finish_nameless(mut self) -> Result<SealedFile, IndexCacheError> {
        self.flush()?;
        let file = self.file.try_clone().map_err(|source| self.fail(source))?;
        Ok(SealedFile::new(file, self.path.clone(), self.id))
    }

    fn fail(&self, source: io::Error) -> IndexCacheError {
        IndexCacheError::Write { path: self.path.clone(), source }
    }
}

impl Drop for SealedWriter {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(&self.path);
        }
    }
}
