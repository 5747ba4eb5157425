//! The file that names the generation in use.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use keelson_model::Generation;

use super::sync_folder;

const CURRENT: &str = "CURRENT";
const BESIDE: &str = "CURRENT.new";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Current {
    Absent,
    Names(Generation),
    Malformed,
}

pub(super) fn read(data_dir: &Path) -> io::Result<Current> {
    match fs::read_to_string(data_dir.join(CURRENT)) {
        Ok(text) => {
            Ok(text.strip_suffix('\n').and_then(parse_generation).map_or(Current::Malformed, Current::Names))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Current::Absent),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Current::Malformed),
        Err(error) => Err(error),
    }
}

/// Written beside, made durable, renamed, made durable: it names the old generation or the new one, never nothing.
pub(super) fn write(data_dir: &Path, generation: Generation) -> io::Result<()> {
    let beside = data_dir.join(BESIDE);
    let mut file = File::create(&beside)?;
    writeln!(file, "{}", generation.0)?;
    file.sync_all()?;
    fs::rename(&beside, data_dir.join(CURRENT))?;
    sync_folder(data_dir)
}

/// A number as we print it, and nothing else.
pub(crate) fn parse_generation(text: &str) -> Option<Generation> {
    let generation = Generation(text.parse().ok()?);
    (generation.0 > 0 && generation <= Generation::MAX && generation.0.to_string() == text)
        .then_some(generation)
}
