//! What of a Passkey's row tells its passphrase from another one where its form is gone: the row is what a recovery brings.
//!
//! Whoever changes the Secret of a Passkey, or puts one of its name into a new cluster, must not become a holder of the key by
//! that. Limits: rows from before this was kept have none, and take what their Secret holds.

use keelson_crypto::{KdfCost, Passphrase, SealKitError, open_kit, seal_kit};
use serde::{Deserialize, Serialize};

use crate::records::Record;

/// The private part of a Passkey.
#[derive(Serialize, Deserialize)]
struct Internal {
    /// Nothing, sealed under the passphrase. In hexadecimal digits.
    check: String,
}

fn heading(uid: &str) -> String {
    format!("keelson/0/passkey-check/{uid}/")
}

/// Takes as long as `cost` asks for.
pub(super) fn add(record: &mut Record, passphrase: &[u8], cost: KdfCost) -> Result<(), SealKitError> {
    let passphrase = Passphrase::new(passphrase.to_vec());
    let content = heading(&record.uid);
    let sealed = tokio::task::block_in_place(|| seal_kit(&passphrase, cost, content.as_bytes()))?;
    let internal = Internal { check: hex::encode(sealed) };
    record.body.internal = serde_json::to_value(internal).expect("plain data");
    Ok(())
}

/// Whether the passphrase is known not to be the one that the Passkey was made with.
pub(super) fn refuses(record: &Record, passphrase: &[u8]) -> bool {
    let Ok(Internal { check }) = record.internal() else { return false };
    let Ok(sealed) = hex::decode(check) else { return true };
    let passphrase = Passphrase::new(passphrase.to_vec());
    let opened = tokio::task::block_in_place(|| open_kit(&passphrase, &sealed));
    opened.map_or(true, |content| *content != *heading(&record.uid).as_bytes())
}
