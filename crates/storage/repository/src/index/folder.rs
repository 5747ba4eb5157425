//! The folder that one repository's rolls lie in: `<id>.part` while one is written, `<id>.roll` when it is whole.
//!
//! Order: 1 write `.part`, flush it to the disk; 2 rename it to `.roll`; 3 only later remove the rolls that it replaces.
//! There is no list of rolls: what is there and whole counts, and of an index object that two rolls hold one is passed
//! over. Whatever a crash leaves is either of no use, and removed when the folder is opened next, or right.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::IndexCacheError;

const PART: &str = "part";
const ROLL: &str = "roll";

/// Where the folder is.
#[derive(Debug)]
enum Place {
    /// It outlives the process.
    Kept(PathBuf),
    /// It is made when it is needed, and removed at the end.
    Temporary(Mutex<Option<tempfile::TempDir>>),
}

#[derive(Debug)]
pub(crate) struct Folder {
    place: Place,
    #[cfg(test)]
    pub(super) on_effect: Mutex<Option<OnEffect>>,
}

impl Folder {
    pub(super) fn kept(path: PathBuf) -> Self {
        Self::new(Place::Kept(path))
    }

    pub(super) fn temporary() -> Self {
        Self::new(Place::Temporary(Mutex::default()))
    }

    fn new(place: Place) -> Self {
        Self {
            place,
            #[cfg(test)]
            on_effect: Mutex::default(),
        }
    }

    /// Removes what is no roll, and opens the others. A folder that is absent has none.
    pub(super) fn find_rolls(&self) -> Result<Vec<(PathBuf, File)>, IndexCacheError> {
        let Place::Kept(path) = &self.place else { return Ok(Vec::new()) };
        let fail = |source| IndexCacheError::Folder { path: path.clone(), source };
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(fail(source)),
        };
        let mut rolls = Vec::new();
        for entry in entries {
            let path = entry.map_err(fail)?.path();
            if path.extension() != Some(OsStr::new(ROLL)) {
                let _ = fs::remove_file(path);
            } else if let Ok(file) = File::open(&path) {
                rolls.push((path, file));
            }
        }
        rolls.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(rolls)
    }

    pub(super) fn create(&self, id: &[u8; 16]) -> Result<(File, PathBuf), IndexCacheError> {
        let name: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.path()?.join(name).with_extension(PART);
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|source| IndexCacheError::Write { path: path.clone(), source })?;
        self.note_effect();
        Ok((file, path))
    }

    pub(super) fn publish(&self, part: &Path) -> Result<PathBuf, IndexCacheError> {
        let path = part.with_extension(ROLL);
        self.note_effect();
        fs::rename(part, &path).map_err(|source| IndexCacheError::Write { path: path.clone(), source })?;
        self.note_effect();
        Ok(path)
    }

    fn path(&self) -> Result<PathBuf, IndexCacheError> {
        let path = match &self.place {
            Place::Kept(path) => path.clone(),
            Place::Temporary(folder) => {
                let mut folder = folder.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(folder) = &*folder {
                    return Ok(folder.path().to_owned());
                }
                let made = tempfile::Builder::new().prefix("keelson-index-").tempdir();
                let made =
                    made.map_err(|source| IndexCacheError::Folder { path: std::env::temp_dir(), source })?;
                return Ok(folder.insert(made).path().to_owned());
            }
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| IndexCacheError::Folder { path: path.clone(), source })?;
        Ok(path)
    }

    /// A file was made, written to, renamed or removed.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests look at the folder after each effect"))]
    pub(super) fn note_effect(&self) {
        #[cfg(test)]
        if let Some(on_effect) = &*self.on_effect.lock().unwrap() {
            (on_effect.0)();
        }
    }
}

/// What a test does after each effect.
#[cfg(test)]
pub(super) struct OnEffect(pub(super) Box<dyn Fn() + Send + Sync>);

#[cfg(test)]
impl std::fmt::Debug for OnEffect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnEffect")
    }
}
