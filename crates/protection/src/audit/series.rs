//! A series of files of lines: appended to, never changed, and the oldest go. Where it ends is where the telling goes on,
//! so that each line is written once, whenever the process dies.
//!
//! Whoever reads takes no lock: a line counts once its end is there.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use keelson_model::names::annotation;
use serde::Deserialize;

use super::event::Place;

/// Of one file; the next line begins another.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Of one series.
const FILES_MAX: usize = 8;
const SUFFIX: &str = ".jsonl";

#[derive(Debug)]
pub(super) struct Series {
    folder: PathBuf,
    name: &'static str,
    file_bytes_max: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
}

impl Series {
    pub(super) fn new(folder: &Path, name: &'static str) -> Self {
        Self { folder: folder.to_owned(), name, file_bytes_max: FILE_BYTES_MAX, open: None }
    }

    /// Removes what was written in part, and returns where the last whole entry stands.
    pub(super) fn resume(&mut self) -> io::Result<Option<Place>> {
        fs::create_dir_all(&self.folder)?;
        self.open = None;
        let mut place = None;
        for (_, path) in files(&self.folder, self.name)?.into_iter().rev() {
            let mut file = File::options().read(true).write(true).open(&path)?;
            let (bytes, last) = whole(&mut file)?;
            file.set_len(bytes)?;
            file.seek(SeekFrom::Start(bytes))?;
            if self.open.is_none() {
                self.open = Some(Open { file, bytes });
            }
            place = last;
            if bytes > 0 {
                break;
            }
        }
        Ok(place)
    }

    /// All of it or nothing.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|open| open.bytes + lines.len() as u64 > self.file_bytes_max) {
            self.begin_file()?;
        }
        let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        let written = open.file.write_all(lines);
        if written.is_err() {
            let cut =
                open.file.set_len(open.bytes).and_then(|()| open.file.seek(SeekFrom::Start(open.bytes)));
            if cut.is_err() {
                // Looked at again from the start.
                self.open = None;
            }
            return written;
        }
        open.bytes += lines.len() as u64;
        Ok(())
    }

    /// What was appended survives the machine too.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.open.as_ref().map_or(Ok(()), |open| open.file.sync_data())
    }

    fn begin_file(&mut self) -> io::Result<()> {
        self.sync()?;
        fs::create_dir_all(&self.folder)?;
        let files = files(&self.folder, self.name)?;
        let number = files.last().map_or(1, |(number, _)| number + 1);
        let path = self.folder.join(format!("{}-{number:010}{SUFFIX}", self.name));
        let file = File::options().create_new(true).append(true).open(path)?;
        File::open(&self.folder)?.sync_all()?;
        self.open = Some(Open { file, bytes: 0 });
        let excess = (files.len() + 1).saturating_sub(FILES_MAX);
        files.iter().take(excess).try_for_each(|(_, path)| fs::remove_file(path))
    }
}

/// The files of a series, the oldest first.
pub(super) fn files(folder: &Path, series: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| {
            name.strip_prefix(series)?.strip_prefix('-')?.strip_suffix(SUFFIX)?.parse().ok()
        });
        found.extend(number.map(|number| (number, entry.path())));
    }
    found.sort();
    Ok(found)
}

fn whole(file: &mut File) -> io::Result<(u64, Option<Place>)> {
    let mut text = Vec::new();
    file.take(2 * FILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(whole_of(&text))
}

/// How far whole entries reach, and where the last of them stands. Of an entry all events are there, or none counts.
fn whole_of(text: &[u8]) -> (u64, Option<Place>) {
    let mut end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    while end > 0 {
        let start = text[..end - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
        let line: Option<Line> = serde_json::from_slice(&text[start..end]).ok();
        match line.map(Line::place) {
            Some(None) => return (end as u64, None),
            Some(Some(place)) if place.number == place.of => return (end as u64, Some(place)),
            Some(Some(_)) | None => end = start,
        }
    }
    (0, None)
}

/// A file of a series, for `fuzz`: what is kept of it ends with a line, and is whole. Says whether anything is.
#[cfg(any(test, fuzzing))]
pub(crate) fn withstand_series(bytes: &[u8]) -> bool {
    let (end, place) = whole_of(bytes);
    let kept = &bytes[..end as usize];
    assert!(kept.is_empty() || kept.ends_with(b"\n"));
    assert_eq!(whole_of(kept), (end, place));
    if let Some(place) = place {
        assert_eq!(Place::parse(&place.text()), Some(place));
    }
    end > 0
}

#[derive(Deserialize)]
struct Line {
    annotations: std::collections::BTreeMap<String, String>,
}

impl Line {
    fn place(self) -> Option<Place> {
        self.annotations.get(annotation::AUDIT_PLACE).and_then(|text| Place::parse(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(revision: u64, number: usize, of: usize) -> Vec<u8> {
        let place = format!("{revision} {number}/{of}");
        format!("{{\"annotations\":{{\"{}\":\"{place}\"}}}}\n", annotation::AUDIT_PLACE).into_bytes()
    }

    fn written(folder: &Path) -> Vec<u8> {
        let files = files(folder, "s").unwrap();
        files.iter().flat_map(|(_, path)| fs::read(path).unwrap()).collect()
    }

    #[test]
    fn of_an_entry_that_was_written_in_part_nothing_counts() {
        let first = line(7, 1, 1);
        let second = [line(9, 1, 3), line(9, 2, 3), line(9, 3, 3)].concat();
        for cut in 0..=second.len() {
            let directory = tempfile::tempdir().unwrap();
            let folder = directory.path().join("audit");
            let mut series = Series::new(&folder, "s");
            assert_eq!(series.resume().unwrap(), None);
            series.append(&first).unwrap();
            series.append(&second[..cut]).unwrap();
            let mut again = Series::new(&folder, "s");
            let place = again.resume().unwrap().unwrap();
            let is_whole = cut == second.len();
            assert_eq!(place.revision.as_u64(), if is_whole { 9 } else { 7 }, "{cut} bytes of it");
            again.append(if is_whole { b"" } else { &second }).unwrap();
            assert_eq!(written(&folder), [&first[..], &second].concat());
        }
    }

    #[test]
    fn the_oldest_files_go_and_the_place_is_found_behind_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut series = Series { file_bytes_max: 100, ..Series::new(directory.path(), "s") };
        series.resume().unwrap();
        for revision in 1..=40 {
            series.append(&line(revision, 1, 1)).unwrap();
        }
        let kept = files(directory.path(), "s").unwrap();
        assert_eq!(kept.len(), FILES_MAX);
        assert!(written(directory.path()).ends_with(&line(40, 1, 1)));
        let (number, _) = kept[FILES_MAX - 1];
        fs::write(directory.path().join(format!("s-{:010}.jsonl", number + 1)), b"{\"annot").unwrap();
        fs::write(directory.path().join("s-notes.txt"), b"not ours").unwrap();
        let mut again = Series::new(directory.path(), "s");
        assert_eq!(again.resume().unwrap().unwrap().revision.as_u64(), 40);
        again.append(&line(41, 1, 1)).unwrap();
        assert!(written(directory.path()).ends_with(&[line(40, 1, 1), line(41, 1, 1)].concat()));
    }
}
