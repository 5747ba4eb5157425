//! Reads the trail, while it is written or while nothing runs: all series in the order of their times, a line at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::vec;

use jiff::Timestamp;
use keelson_model::{Classified, ErrorClass};
use serde::Deserialize;

use super::series::files;
use super::{FOLDER, SERIES};

/// No event is longer: of whoever asks, as much is kept as fits.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// The trail cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadAuditError {
    #[error("there is no trail of audit events in '{}'", path.display())]
    NoTrail { path: PathBuf },
    #[error("read audit events from '{}'", path.display())]
    ReadFile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("a line in '{}' is no audit event", path.display())]
    DecodeLine {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

impl Classified for ReadAuditError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoTrail { .. } => ErrorClass::NotFound,
            Self::ReadFile { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                ErrorClass::Denied
            }
            Self::ReadFile { .. } => ErrorClass::Unavailable { retry_after: None },
            Self::DecodeLine { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoTrail { .. } => "audit.read.no_trail",
            Self::ReadFile { .. } => "audit.read.file",
            Self::DecodeLine { .. } => "audit.read.line",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoTrail { .. } => Some("--data is the directory that 'keelson serve' was given".to_owned()),
            Self::ReadFile { .. } | Self::DecodeLine { .. } => None,
        }
    }
}

/// One event as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub at: Timestamp,
    pub user: String,
    /// Without its end.
    pub line: String,
}

/// All that is kept in a platform's volume, by time. Holds one event of each series.
#[derive(Debug)]
pub struct Reading {
    series: Vec<Walk>,
}

/// Begins to read the trail in a platform's data directory.
pub fn read(data: &Path) -> Result<Reading, ReadAuditError> {
    let folder = data.join(FOLDER);
    let walk = |name| Walk::begin(&folder, name);
    Ok(Reading { series: SERIES.into_iter().map(walk).collect::<Result<_, _>>()? })
}

impl Iterator for Reading {
    type Item = Result<Told, ReadAuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        for walk in &mut self.series {
            if let Err(error) = walk.look() {
                self.series.clear();
                return Some(Err(error));
            }
        }
        let waiting = self.series.iter_mut().filter(|walk| walk.next.is_some());
        waiting.min_by_key(|walk| walk.next.as_ref().map(|told| told.at))?.next.take().map(Ok)
    }
}

/// One series.
#[derive(Debug)]
struct Walk {
    files: vec::IntoIter<(u64, PathBuf)>,
    open: Option<(PathBuf, BufReader<File>)>,
    next: Option<Told>,
}

impl Walk {
    fn begin(folder: &Path, name: &str) -> Result<Self, ReadAuditError> {
        let files = files(folder, name).map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                ReadAuditError::NoTrail { path: folder.to_owned() }
            }
            _ => ReadAuditError::ReadFile { path: folder.to_owned(), source },
        })?;
        Ok(Self { files: files.into_iter(), open: None, next: None })
    }

    /// Makes sure that the next event is at hand, if there is one.
    fn look(&mut self) -> Result<(), ReadAuditError> {
        while self.next.is_none() {
            let Some((path, file)) = &mut self.open else {
                let Some((_, path)) = self.files.next() else { return Ok(()) };
                match File::open(&path) {
                    Ok(file) => self.open = Some((path, BufReader::new(file))),
                    // The oldest went meanwhile.
                    Err(source) if source.kind() == ErrorKind::NotFound => {}
                    Err(source) => return Err(ReadAuditError::ReadFile { path, source }),
                }
                continue;
            };
            match read_line(file).map_err(|source| ReadAuditError::ReadFile { path: path.clone(), source })? {
                Some(line) => {
                    let told = parse(line);
                    self.next = Some(
                        told.map_err(|source| ReadAuditError::DecodeLine { path: path.clone(), source })?,
                    );
                }
                None => self.open = None,
            }
        }
        Ok(())
    }
}

/// What has no end yet is still being written.
fn read_line(file: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    file.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.pop_if(|last| *last == b'\n').is_none() {
        return if line.len() as u64 == LINE_BYTES_MAX {
            Err(ErrorKind::InvalidData.into())
        } else {
            Ok(None)
        };
    }
    String::from_utf8(line).map(Some).map_err(|_| ErrorKind::InvalidData.into())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage_timestamp: Timestamp,
    user: User,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

fn parse(line: String) -> Result<Told, serde_json::Error> {
    let Line { stage_timestamp, user } = serde_json::from_str(&line)?;
    Ok(Told { at: stage_timestamp, user: user.username, line })
}

/// A file of a series, for `fuzz`: each line is told as it stands there. Says whether one was.
#[cfg(any(test, fuzzing))]
pub(crate) fn withstand_lines(bytes: &[u8]) -> bool {
    let (mut rest, mut at) = (bytes, 0);
    while let Ok(Some(line)) = read_line(&mut rest) {
        let Ok(told) = parse(line) else { break };
        let end = at + told.line.len();
        assert_eq!((told.line.as_bytes(), bytes[end]), (&bytes[at..end], b'\n'));
        at = end + 1;
    }
    at > 0
}
