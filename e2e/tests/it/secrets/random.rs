//! Random bytes of an application, which no compression makes smaller: what is stored of them is searched for as it is, and
//! within whatever is compressed and not encrypted.

use anyhow::{Result, ensure};
use k8s_openapi::ByteString;
use keelson_testkit::random_hex;
use serde_json::{Value, json};

use super::{Emitted, Planted, bytes_of};
use crate::world::APPLICATION;

/// As many as the kernel gives in one call.
const PIECE_BYTES: usize = 256;
const PIECES: usize = 48;
/// Some parts are looked for, so that it does not matter where they were cut. Each begins where a group of three does.
const STEP_BYTES: usize = 3 << 10;
const PART_BYTES: usize = 48;

/// Random bytes, in an object of the application.
pub(super) struct Random {
    pub(super) object: Value,
    bytes: Vec<u8>,
}

impl Random {
    /// One for each kind that holds bytes, in base64.
    pub(super) fn both() -> Result<[Self; 2]> {
        let random = || bytes_of(&(0..PIECES).map(|_| random_hex::<PIECE_BYTES>()).collect::<String>());
        let (of_secret, of_config_map) = (random()?, random()?);
        let object = |kind: &str, field: &str, bytes: &[u8]| {
            json!({
                "apiVersion": "v1", "kind": kind, "metadata": { "name": "random", "namespace": APPLICATION },
                (field): { "random": ByteString(bytes.to_owned()) },
            })
        };
        Ok([
            Self { object: object("Secret", "data", &of_secret), bytes: of_secret },
            Self { object: object("ConfigMap", "binaryData", &of_config_map), bytes: of_config_map },
        ])
    }

    pub(super) fn planted(&self) -> Vec<Planted> {
        let what = format!("random bytes of a {}", self.object["kind"].as_str().unwrap_or_default());
        self.bytes.chunks(STEP_BYTES).map(|bytes| Planted::new(&what, &bytes[..PART_BYTES])).collect()
    }

    /// The search finds them as the object has them, also compressed, behind whatever a file begins with.
    pub(super) fn assert_is_found(&self) -> Result<()> {
        let planted = self.planted();
        let text = self.object.to_string();
        let compressed = zstd::bulk::compress(text.as_bytes(), 3)?;
        for (form, file) in [
            ("bytes", [b"head", &self.bytes[..]].concat()),
            ("text", text.into_bytes()),
            ("compressed text", [b"head", &compressed[..], b"tail"].concat()),
        ] {
            let mut known = Emitted::default();
            known.add_stored(form, &file);
            ensure!(known.find(&planted).len() >= planted.len(), "random bytes are not found as {form}");
        }
        Ok(())
    }
}
