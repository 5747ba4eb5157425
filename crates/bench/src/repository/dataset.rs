//! The files that are backed up: the same in each run, changed and halved in the same way for each program.
//!
//! Mixed: 1 KiB to 256 MiB, text and what does not compress, one in seven a copy of an earlier one. Small: very many of
//! 2 KiB.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::content::{Content, Nature, Random, Vocabulary};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const MIXED_BYTES: u64 = 8 << 30;
/// Of so many parts the largest mixed file is one.
const MIXED_LARGEST: u64 = 32;
const SMALL_FILES: u64 = 1_000_000;
const SMALL_FILE_BYTES: u64 = 2 * KIB;
/// One file in so many changes.
const CHANGED_EVERY: u64 = 100;
/// Of a longer file only a hundredth changes, in its middle.
const REWRITTEN_BYTES_MAX: u64 = 16 * MIB;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Mixed,
    Small,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Mixed, Self::Small];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Small => "small",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Every file by its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dataset {
    pub kind: Kind,
    files: Vec<Content>,
}

impl Dataset {
    /// So many hundredths of the whole.
    pub(super) fn plan(kind: Kind, percent: u64) -> Self {
        let files = match kind {
            Kind::Mixed => plan_mixed(MIXED_BYTES * percent / 100),
            Kind::Small => (0..SMALL_FILES * percent / 100)
                .map(|seed| Content { nature: Nature::Text, seed, bytes: SMALL_FILE_BYTES })
                .collect(),
        };
        Self { kind, files }
    }

    pub(super) fn files(&self) -> u64 {
        self.files.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    fn files_per_folder(&self) -> u64 {
        match self.kind {
            Kind::Mixed => 16,
            Kind::Small => 1_000,
        }
    }

    fn path(&self, root: &Path, number: u64) -> PathBuf {
        root.join(format!("d{:05}/f{number:07}", number / self.files_per_folder()))
    }

    pub(super) fn create(&self, root: &Path) -> Result<()> {
        let vocabulary = Vocabulary::new();
        for (number, content) in (0..).zip(&self.files) {
            let path = self.path(root, number);
            if number % self.files_per_folder() == 0 {
                fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
            }
            let mut file = BufWriter::new(File::create(&path).context("create a file")?);
            vocabulary.write(*content, &mut file)?;
            file.flush()?;
        }
        Ok(())
    }

    /// Rewrites one file in a hundred, evenly spread; of a long one a hundredth.
    pub(super) fn change(&self, root: &Path) -> Result<()> {
        let vocabulary = Vocabulary::new();
        for number in (CHANGED_EVERY / 2..self.files()).step_by(CHANGED_EVERY as usize) {
            let content = self.files[number as usize];
            let (at, bytes) = match content.bytes {
                long if long > REWRITTEN_BYTES_MAX => (long / 2, long / 100),
                short => (0, short),
            };
            let mut file = OpenOptions::new().write(true).open(self.path(root, number))?;
            file.seek(SeekFrom::Start(at))?;
            vocabulary.write(Content { seed: !number, bytes, ..content }, &mut file)?;
        }
        Ok(())
    }

    /// Deletes every other folder.
    pub(super) fn halve(&self, root: &Path) -> Result<()> {
        let folders = self.files().div_ceil(self.files_per_folder());
        for folder in (1..folders).step_by(2) {
            let path = self.path(root, folder * self.files_per_folder());
            fs::remove_dir_all(path.parent().context("a file lies in a folder")?)?;
        }
        Ok(())
    }
}

/// Most files are small, most bytes are in large ones.
fn plan_mixed(total: u64) -> Vec<Content> {
    let largest = (total / MIXED_LARGEST).max(KIB) as f64;
    let mut random = Random::new(3);
    let (mut files, mut bytes) = (Vec::<Content>::new(), 0);
    while bytes < total {
        let (from, to) = match random.next() % 100 {
            0..70 => (1.0, 64.0),
            70..90 => (64.0, 1024.0),
            90..98 => (1024.0, 16_384.0),
            _ => (16_384.0, 262_144.0_f64),
        };
        let kib = from * (to / from).powf(random.fraction());
        let length = (kib * KIB as f64).min(largest) as u64;
        let nature = if random.next() % 5 < 3 { Nature::Text } else { Nature::Incompressible };
        let mut content = Content { nature, seed: files.len() as u64, bytes: length };
        if random.next().is_multiple_of(7) && !files.is_empty() {
            content = files[(random.next() % files.len() as u64) as usize];
        }
        bytes += content.bytes;
        files.push(content);
    }
    files
}

/// Compares every file of one folder with that of another, which may hold nothing else.
pub(super) fn compare(one: &Path, other: &Path) -> Result<()> {
    let names = |folder: &Path| -> Result<Vec<_>> {
        let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
        let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    };
    let (here, there) = (names(one)?, names(other)?);
    ensure!(here == there, "{} came back with other files", one.display());
    for name in here {
        let (one, other) = (one.join(&name), other.join(&name));
        if one.is_dir() {
            compare(&one, &other)?;
        } else {
            ensure!(fs::read(&one)? == fs::read(&other)?, "{} came back changed", one.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixed_dataset_is_as_large_as_asked_and_has_all_that_it_should() {
        let dataset = Dataset::plan(Kind::Mixed, 100);
        assert!(dataset.bytes().abs_diff(MIXED_BYTES) <= 256 * MIB, "{}", dataset.bytes());
        let sizes = || dataset.files.iter().map(|file| file.bytes);
        assert!(sizes().min().unwrap() >= KIB && sizes().max().unwrap() <= 256 * MIB);
        assert!(sizes().max().unwrap() > 128 * MIB && sizes().min().unwrap() < 2 * KIB);
        let copies = (0..).zip(&dataset.files).filter(|(number, file)| file.seed != *number).count();
        assert!((dataset.files.len() / 10..dataset.files.len() / 5).contains(&copies), "{copies}");
        assert_eq!(dataset, Dataset::plan(Kind::Mixed, 100), "the same in each run");
        let small = Dataset::plan(Kind::Small, 2);
        assert_eq!((small.files(), small.bytes()), (20_000, 20_000 * 2048));
    }

    #[test]
    fn one_file_in_a_hundred_changes_and_half_of_the_folders_go() {
        let dataset =
            Dataset { kind: Kind::Small, files: Dataset::plan(Kind::Small, 1).files[..4_000].to_vec() };
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, other) = (one.path(), other.path());
        dataset.create(one).unwrap();
        dataset.create(other).unwrap();
        compare(one, other).unwrap();
        dataset.change(one).unwrap();
        let differs = |number| {
            fs::read(dataset.path(one, number)).unwrap() != fs::read(dataset.path(other, number)).unwrap()
        };
        assert_eq!((0..dataset.files()).filter(|number| differs(*number)).count(), 40);
        assert!(compare(one, other).unwrap_err().to_string().ends_with("f0000050 came back changed"));
        dataset.halve(other).unwrap();
        assert_eq!(fs::read_dir(other).unwrap().count(), 2);
        assert!(compare(one, other).unwrap_err().to_string().ends_with("other files"));
    }
}
