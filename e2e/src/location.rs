//! What lies in a location that is a directory, to show that a refused request has changed nothing there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

/// Every object of a location with its length and the time of its last change. Two are equal if nothing was written,
/// changed or removed between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    objects: BTreeMap<PathBuf, (u64, SystemTime)>,
}

impl Listing {
    pub fn of(location: &Path) -> Result<Self> {
        let mut objects = BTreeMap::new();
        collect(location, location, &mut objects)
            .with_context(|| format!("list the location {}", location.display()))?;
        Ok(Self { objects })
    }

    /// The same without all that lies in folders of this name.
    pub fn without(mut self, folder: &str) -> Self {
        self.objects.retain(|path, _| path.iter().all(|name| name != folder));
        self
    }

    /// The same without what sessions that began since then wrote of themselves: that they are there, and how they ended.
    pub fn without_sessions_since(mut self, before: &Self) -> Self {
        let sessions = |listing: &Self| -> BTreeSet<OsString> {
            let id = |path: &PathBuf| {
                let mut names = path.iter().skip_while(|name| *name != "sessions");
                names.nth(1).map(OsStr::to_owned)
            };
            listing.objects.keys().filter_map(id).collect()
        };
        let (known, now) = (sessions(before), sessions(&self));
        let new: BTreeSet<_> = now.difference(&known).collect();
        self.objects.retain(|path, _| path.iter().all(|name| !new.contains(&name.to_owned())));
        self
    }

    /// What differs between two listings, for a message that can be read.
    pub fn differences(&self, other: &Self) -> Vec<PathBuf> {
        let all = self.objects.keys().chain(other.objects.keys());
        let differs = |path: &&PathBuf| self.objects.get(*path) != other.objects.get(*path);
        all.filter(differs).cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What `other` holds no more, or holds otherwise.
    pub fn changed_in(&self, other: &Self) -> Vec<PathBuf> {
        let changed =
            |(path, object): &(&PathBuf, &(u64, SystemTime))| other.objects.get(*path) != Some(*object);
        self.objects.iter().filter(changed).map(|(path, _)| path.clone()).collect()
    }

    /// Paths relative to the location, in order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.objects.keys().map(PathBuf::as_path)
    }
}

fn collect(root: &Path, folder: &Path, objects: &mut BTreeMap<PathBuf, (u64, SystemTime)>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        // What is only there for a moment is gone by now.
        Err(error) if error.kind() == ErrorKind::NotFound && folder != root => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.file_name().is_some_and(is_passing) {
            continue;
        }
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.is_dir() {
            collect(root, &path, objects)?;
        } else {
            let relative = path.strip_prefix(root).unwrap_or(&path).to_owned();
            objects.insert(relative, (metadata.len(), metadata.modified()?));
        }
    }
    Ok(())
}

/// What a writer has not finished, and what tries a location: neither is an object, and both go by themselves.
fn is_passing(name: &OsStr) -> bool {
    name == "keelson-probe" || name.as_encoded_bytes().starts_with(b".keelson-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_notices_what_was_written_changed_and_removed() -> Result<()> {
        let location = tempfile::tempdir()?;
        let file = location.path().join("folder/object");
        fs::create_dir(location.path().join("folder"))?;
        fs::write(&file, "one")?;
        let before = Listing::of(location.path())?;
        assert_eq!(before, Listing::of(location.path())?);
        assert_eq!(before.paths().collect::<Vec<_>>(), [Path::new("folder/object")]);

        fs::write(&file, "longer")?;
        let changed = Listing::of(location.path())?;
        assert_ne!(before, changed);
        assert_eq!(before.differences(&changed), [Path::new("folder/object")]);
        assert_eq!(before.clone().without("folder"), changed.clone().without("folder"));
        fs::write(location.path().join("new"), "")?;
        assert_ne!(changed, Listing::of(location.path())?);
        assert_eq!(changed.changed_in(&Listing::of(location.path())?), Vec::<PathBuf>::new());
        assert_eq!(before.changed_in(&changed), [Path::new("folder/object")]);
        fs::remove_file(location.path().join("new"))?;
        assert_eq!(changed, Listing::of(location.path())?);
        Ok(())
    }
}
