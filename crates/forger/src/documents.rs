//! Documents beside the repositories, drawn by `docs/format/disaster-recovery.md`: genuine ones that say something else,
//! or, where the forger cannot open one, made-up ones.

use anyhow::{Context, Result};
use bytes::Bytes;
use keelson_crypto::{Keyring, ObjectKind, Sealer, Sha256, open_object, random_bytes};
use serde_json::{Value, json};

use super::Site;

/// So far beyond the genuine ones the forged names go.
const EPOCHS_AHEAD: u64 = 7;
const ENTRIES_AHEAD: u64 = 1_000;

pub(super) fn seal(keys: &Keyring, kind: ObjectKind, parts: &[Vec<u8>], document: &Value) -> Result<Bytes> {
    let mut sealer = Sealer::new(keys.newest(), kind);
    for part in parts {
        sealer.part(part)?;
    }
    Ok(sealer.finish(&serde_json::to_vec(document)?)?.bytes)
}

/// A claim that goes on from the one before, of an instance that nobody knows.
pub(super) fn claim(folder: &str, before: &[u8]) -> Value {
    let cluster = folder.rsplit('/').next().unwrap_or_default();
    json!({
        "instance": random_hex::<16>(), "cluster": cluster, "claimed_at": "2026-01-01T00:00:00Z",
        "previous": Sha256::of(before).to_string(),
    })
}

impl Site<'_> {
    /// A later base, segment and manifest, and the start of another process.
    pub(super) async fn forge_chain(&mut self, root: &str, keys: &Keyring) -> Result<()> {
        for (folder, kind, fields) in [
            ("bases", ObjectKind::Base, &["at"][..]),
            ("segments", ObjectKind::Segment, &["first", "last"]),
            ("manifests", ObjectKind::Manifest, &["at", "base"]),
        ] {
            let beneath = format!("{root}/{folder}/");
            let Some(newest) = self.there.iter().rfind(|path| path.starts_with(&beneath)).cloned() else {
                continue;
            };
            let position = later(newest.rsplit('/').next().context("a name")?)?;
            let bytes = self.read(&newest).await?;
            let (parts, mut document) = match open_object(keys, kind, &bytes) {
                Ok(opened) => {
                    let parts = (0..opened.parts().len() as u32).map(|part| opened.part(part));
                    (parts.collect::<Result<Vec<_>, _>>()?, serde_json::from_slice(opened.directory())?)
                }
                Err(_) => (vec![random_hex::<64>().into_bytes()], json!({ "version": 0 })),
            };
            for field in fields {
                document[*field] = position.clone();
            }
            let name = name_of(&position);
            let forged = seal(keys, kind, &parts, &document)?;
            self.put(format!("{beneath}{name}"), forged)?;
        }
        let start = json!({
            "version": 0, "instance": random_hex::<16>(), "nonce": random_hex::<16>(),
            "head": { "epoch": 1, "generation": 1, "sequence": 1 }, "chain": random_hex::<32>(),
            "started_at": "2026-01-01T00:00:00Z",
        });
        let start = seal(keys, ObjectKind::Start, &[], &start)?;
        self.put(format!("{root}/starts/00000099"), start)
    }
}

fn later(name: &str) -> Result<Value> {
    let numbers: Vec<u64> = name.split('-').map(str::parse).collect::<Result<_, _>>()?;
    let [epoch, generation, sequence] = numbers[..] else { anyhow::bail!("'{name}' is no position") };
    Ok(json!({
        "epoch": epoch + EPOCHS_AHEAD, "generation": generation, "sequence": sequence + ENTRIES_AHEAD,
    }))
}

fn name_of(position: &Value) -> String {
    let number = |field: &str| position[field].as_u64().unwrap_or_default();
    format!("{:08}-{:08}-{:014}", number("epoch"), number("generation"), number("sequence"))
}

fn random_hex<const N: usize>() -> String {
    hex::encode(random_bytes::<N>())
}
