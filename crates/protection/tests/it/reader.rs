//! What Keelson writes, read by the program that was written from `docs/format` alone. Both must agree on everything
//! that either can say.

mod keys;
mod owners;
mod platform;
mod repacked;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::TryStreamExt;
use keelson_crypto::Passphrase;
use keelson_repository::{Locked, Outcome, Reader, Repository, SessionPurpose, SessionResult, Unlock};
use keelson_store::Store;
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_testkit::FormatReader;
use serde_json::Value;

/// A repository as our own code sees it.
struct Ours {
    key: String,
    outcomes: Vec<Outcome>,
    retired: BTreeSet<String>,
    reader: Reader,
}

impl Ours {
    async fn open(location: &Path, key: &str, passphrase: &str) -> Result<Self> {
        let store: Arc<dyn Store> = Arc::new(FilesystemStore::open(location).await?);
        let passphrase = Arc::new(Passphrase::new(passphrase.as_bytes().to_vec()));
        let locked = Repository::<Locked>::at(store, key.parse()?)?;
        let open = locked.open(Unlock::Passphrase(&passphrase)).await?;
        let mut outcomes = Vec::new();
        for id in open.list_outcomes().await? {
            outcomes.push(open.fetch_outcome(id).await?);
        }
        let retired = open.list_retired().await?.iter().map(|retired| retired.outcome.to_string()).collect();
        let reader = open.load_index().await?.begin_reading_unannounced().await?;
        Ok(Self { key: key.to_owned(), outcomes, retired, reader })
    }

    async fn bytes(&self, outcome: &Outcome, stream: &str) -> Result<Vec<u8>> {
        let reference = outcome.stream(stream).context("the stream is gone")?.reference;
        let pieces: Vec<Bytes> = self.reader.read(&reference).try_collect().await?;
        Ok(pieces.concat())
    }
}

/// The folders below `k10/<cluster>` that are repositories.
fn repositories(location: &Path) -> Result<Vec<String>> {
    let formats = files(location)?.into_iter().filter(|path| path.ends_with("format"));
    let folders = formats.filter_map(|path| path.parent().and_then(Path::to_str).map(str::to_owned));
    Ok(folders.collect())
}

/// All files, in order, below the location and relative to it.
fn files(location: &Path) -> Result<Vec<PathBuf>> {
    let (mut folders, mut found) = (vec![location.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path)
            } else {
                found.push(path.strip_prefix(location)?.to_owned())
            }
        }
    }
    found.sort();
    Ok(found)
}

fn purpose(purpose: SessionPurpose) -> &'static str {
    match purpose {
        SessionPurpose::Backup => "backup",
        SessionPurpose::Export => "export",
        SessionPurpose::Restore => "restore",
        SessionPurpose::Base => "base",
        SessionPurpose::Verify => "verify",
        SessionPurpose::Repack => "repack",
    }
}

fn result(result: SessionResult) -> &'static str {
    match result {
        SessionResult::Committed => "committed",
        SessionResult::Done => "done",
        SessionResult::Aborted => "aborted",
    }
}

/// JSON if it is an object, hexadecimal otherwise, as the reader prints it.
fn printed(bytes: &[u8]) -> Value {
    let object = serde_json::from_slice(bytes).ok().filter(Value::is_object);
    object.unwrap_or_else(|| serde_json::json!({ "hex": hex::encode(bytes) }))
}

/// Every outcome is listed as we know it, and every stream that can be read is the same, byte for byte. Returns how
/// many streams were compared.
async fn compare(reader: &FormatReader, location: &Path, passphrase: &str, ours: &Ours) -> Result<usize> {
    let told = reader.read(location, passphrase, &["list"])?;
    ensure!(told.code == 0, "{}", told.stderr);
    let lines = told.lines()?;
    let listed: Vec<&Value> = lines
        .iter()
        .filter(|line| line["outcome"].is_string() && line["repository"] == ours.key.as_str())
        .collect();
    assert_eq!(listed.len(), ours.outcomes.len());
    let mut compared = 0;
    for outcome in &ours.outcomes {
        let id = outcome.id.to_string();
        let line = listed.iter().find(|line| line["outcome"] == id.as_str()).context("not listed")?;
        assert_eq!(line["result"], result(outcome.result()));
        assert_eq!(line["purpose"], purpose(outcome.purpose()));
        let created: jiff::Timestamp = line["created"].as_str().context("a time")?.parse()?;
        assert_eq!(created, outcome.created());
        assert_eq!(line["description"], printed(outcome.description()));
        assert_eq!(line["retired"], ours.retired.contains(&id));
        let streams = line["streams"].as_array().context("streams")?;
        assert_eq!(streams.len(), outcome.streams().len());
        for (stream, theirs) in outcome.streams().iter().zip(streams) {
            assert_eq!(theirs["name"], stream.name.as_str());
            assert_eq!(theirs["bytes"], stream.reference.length());
            assert_eq!(theirs["attributes"], serde_json::to_value(&stream.attributes)?);
            if ours.retired.contains(&id) {
                continue;
            }
            let written = reader.read(location, passphrase, &["cat", &ours.key, &id, &stream.name])?;
            ensure!(written.code == 0, "{}", written.stderr);
            ensure!(
                written.stdout == ours.bytes(outcome, &stream.name).await?,
                "stream {} differs",
                stream.name
            );
            compared += 1;
        }
    }
    Ok(compared)
}

/// Flips a bit in the middle of one object of each kind and expects it to be named. The bytes are put back.
fn flip_each_kind(reader: &FormatReader, location: &Path, passphrase: &str, kinds: &[&str]) -> Result<()> {
    for kind in kinds {
        flip_last(reader, location, passphrase, |path| path.iter().any(|segment| segment == *kind))
            .with_context(|| format!("objects of kind {kind}"))?;
    }
    Ok(())
}

/// The same of the last object that is meant.
fn flip_last(
    reader: &FormatReader,
    location: &Path,
    passphrase: &str,
    is_meant: impl Fn(&Path) -> bool,
) -> Result<()> {
    let file =
        files(location)?.into_iter().rfind(|path| is_meant(path)).context("no such object is there")?;
    let whole = fs::read(location.join(&file))?;
    for at in [whole.len() / 3, whole.len() / 2, whole.len() - 10] {
        let mut harmed = whole.clone();
        harmed[at] ^= 1 << (at % 8);
        fs::write(location.join(&file), harmed)?;
        let told = reader.read(location, passphrase, &["verify"])?;
        let named = format!("damaged: {}", file.display());
        ensure!(told.code == 1, "byte {at} of {} is damaged, and nobody noticed", file.display());
        ensure!(told.stderr.contains(&named), "{named} is not in: {}", told.stderr);
    }
    fs::write(location.join(&file), whole)?;
    ensure_sound(reader, location, passphrase).context("after it was put back").map(drop)
}

/// Nothing is damaged and nothing is left unread. Gives the summary.
fn ensure_sound(reader: &FormatReader, location: &Path, passphrase: &str) -> Result<Value> {
    let told = reader.read(location, passphrase, &["verify"])?;
    ensure!(told.code == 0, "exit code {}: {}", told.code, told.stderr);
    told.lines()?.pop().context("verify says nothing")
}
