//! A recovery kit: one sealed file that holds what a person must have kept. Drawn in `docs/format/kit.md`.
//!
//! `gather` reads it together from the cluster, `put_in_place` brings it to another one, where everything goes on as
//! without a kit. Guarantees: nothing that stands in the cluster already is overwritten, and where one thing differs
//! nothing is written at all.

mod error;
mod gather;
mod place;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use keelson_crypto::{KdfCost, Passphrase, Slot, VaultKeyring, open_kit, seal_kit};
use keelson_model::{ClusterId, LineageId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::recovery::known_head::KnownHead;

pub use self::error::KitError;
pub use self::gather::{Credentials, gather};
pub use self::place::put_in_place;

/// Holds what only `serve` has and a kit needs: the passphrase slots.
pub const KIT_SECRET: &str = "keelson-kit";
/// The key of [`KIT_SECRET`]: slots, one behind the other.
pub const SLOTS_KEY: &str = "slots";
const KIT_VERSION: u32 = 0;

/// What a kit holds. Printed, it says which kit it is and nothing more.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kit {
    pub version: u32,
    pub made_at: Timestamp,
    /// The release that made it.
    pub made_by: String,
    pub cluster: ClusterId,
    pub lineage: LineageId,
    /// Where the platform was installed.
    pub namespace: String,
    pub profile: KeptProfile,
    /// The Secret that the profile names, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<KeptSecret>,
    /// `k10-dr-secret` as it was.
    pub passphrase: KeptSecret,
    /// The passphrase slots of the newest vault key (hex), should those in the location be gone.
    pub slots: Vec<String>,
    pub head: KnownHead,
    /// What checks the platform's reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_key: Option<String>,
}

/// A profile without its credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptProfile {
    pub name: String,
    pub spec: Value,
}

/// A Secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSecret {
    pub namespace: String,
    pub name: String,
    #[serde(rename = "type")]
    pub secret_type: String,
    pub data: BTreeMap<String, KeptBytes>,
}

/// Bytes of a Secret; hex. Written into the sealed content of a kit and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptBytes(Zeroizing<Vec<u8>>);

impl Serialize for KeptBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(hex::encode(&self.0)))
    }
}

impl<'de> Deserialize<'de> for KeptBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = hex::decode(text.as_bytes());
        bytes
            .map(|bytes| Self(Zeroizing::new(bytes)))
            .map_err(|_| serde::de::Error::custom("not hexadecimal"))
    }
}

impl fmt::Debug for Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kit(cluster {}, made {})", self.cluster, self.made_at)
    }
}

impl Kit {
    /// Seals the kit under a passphrase of its own, at the cost of the slots in it.
    pub fn seal(&self, passphrase: &Passphrase) -> Result<Vec<u8>, KitError> {
        let cost = self.slots()?.first().map_or(KdfCost::RECOMMENDED, Slot::cost);
        let content = Zeroizing::new(serde_json::to_vec(self).expect("plain data"));
        seal_kit(passphrase, cost, &content).map_err(|source| KitError::Seal { source })
    }

    /// Opens what [`Self::seal`] made.
    pub fn open(passphrase: &Passphrase, bytes: &[u8]) -> Result<Self, KitError> {
        let content = open_kit(passphrase, bytes).map_err(|source| KitError::Open { source })?;
        let kit: Self = serde_json::from_slice(&content).map_err(|source| KitError::Decode { source })?;
        if kit.version > KIT_VERSION {
            return Err(KitError::NewerVersion { found: kit.version });
        }
        Ok(kit)
    }

    /// The slots in it.
    pub fn slots(&self) -> Result<Vec<Slot>, KitError> {
        let decode = |text: &String| {
            let bytes = hex::decode(text).unwrap_or_default();
            Slot::from_bytes(&bytes).map_err(|source| KitError::Slot { source })
        };
        self.slots.iter().map(decode).collect()
    }

    /// The passphrases of disaster recovery, each of which opens the backups alone.
    pub fn passphrases(&self) -> Vec<Passphrase> {
        let ours = self.passphrase.data.iter().filter(|(name, _)| is_passphrase(name));
        ours.map(|(_, bytes)| Passphrase::new(bytes.0.to_vec())).collect()
    }

    /// The vault key that the slots in it wrap. Costs a third of a second for each of them.
    pub fn open_slots(&self) -> Result<VaultKeyring, KitError> {
        let passphrases = self.passphrases();
        let open = |slot: &Slot| passphrases.iter().find_map(|passphrase| slot.open(passphrase).ok());
        let mut keys = None;
        for slot in self.slots()? {
            keys = Some(VaultKeyring::new(open(&slot).ok_or(KitError::OtherPassphrase)?));
        }
        keys.ok_or(KitError::OtherPassphrase)
    }
}

fn is_passphrase(name: &str) -> bool {
    name == keelson_model::passphrase::key::KEY || name.starts_with(keelson_model::passphrase::key::FURTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, value: &[u8]) -> KeptSecret {
        KeptSecret {
            namespace: "kasten-io".to_owned(),
            name: name.to_owned(),
            secret_type: "Opaque".to_owned(),
            data: BTreeMap::from([("key".to_owned(), KeptBytes(Zeroizing::new(value.to_vec())))]),
        }
    }

    fn kit() -> Kit {
        let head = serde_json::json!({
            "repository": "01".repeat(16), "chain": "ab".repeat(32), "seenAt": "2026-01-02T03:04:05Z",
            "at": { "epoch": 1, "generation": 2, "sequence": 3 },
        });
        Kit {
            version: KIT_VERSION,
            made_at: Timestamp::UNIX_EPOCH,
            made_by: "0".to_owned(),
            cluster: "0c3e8c52-6a0b".parse().unwrap(),
            lineage: LineageId::from_bytes([2; 16]),
            namespace: "kasten-io".to_owned(),
            profile: KeptProfile {
                name: "vault".to_owned(),
                spec: serde_json::json!({ "type": "Location" }),
            },
            credentials: Some(secret("keys", b"hunter2")),
            passphrase: secret("k10-dr-secret", b"correct horse"),
            slots: Vec::new(),
            head: serde_json::from_value(head).unwrap(),
            report_key: None,
        }
    }

    #[test]
    fn a_kit_opens_as_it_was_and_prints_no_secret() {
        let passphrase = Passphrase::new(b"in the safe".to_vec());
        let content = serde_json::to_vec(&kit()).unwrap();
        let sealed = seal_kit(&passphrase, KdfCost::LOWEST, &content).unwrap();
        let opened = Kit::open(&passphrase, &sealed).unwrap();
        assert!(opened == kit());
        let printed = format!("{opened:?} {opened:#?}");
        assert!(!printed.contains("hunter2") && !printed.contains(&hex::encode("hunter2")), "{printed}");
    }

    #[test]
    fn a_kit_of_a_later_release_says_so() {
        let passphrase = Passphrase::new(b"in the safe".to_vec());
        let content = serde_json::to_vec(&Kit { version: 1, ..kit() }).unwrap();
        let sealed = seal_kit(&passphrase, KdfCost::LOWEST, &content).unwrap();
        assert!(matches!(Kit::open(&passphrase, &sealed), Err(KitError::NewerVersion { found: 1 })));
    }
}
