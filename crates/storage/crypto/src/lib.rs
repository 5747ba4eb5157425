//! Keys, passphrase slots and the envelope: the only crate that names a cipher.
//!
//! Knows nothing of storage, of the catalog's rows or of Kubernetes. Everything is synchronous; whoever
//! seals or opens much does it on a blocking pool. Bytes that are not what was sealed are an error of class
//! `Corrupt`, never a panic. Secrets are zeroed, and have no `Debug`, `Display`, `Clone` or `Serialize`.
//!
//! `docs/format/envelope.md`, `slots-and-keys.md` and `kit.md` draw every byte.

#![warn(missing_docs)]

mod catalog_key;
mod data_key;
mod digest;
mod envelope;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod grant;
mod kit;
mod passphrase;
mod row_digest;
mod sealed_box;
mod secret;
mod signature;
mod slot;
mod vault_key;

pub use catalog_key::{CatalogKey, ChainKey};
pub use data_key::{ChunkIdentity, DataKey, GearTable, Keyring, Scope};
pub use digest::{Sha256, Sha256Stream};
pub use envelope::{
    HEADER_BYTES, OBJECT_BYTES_MAX, OBJECT_OVERHEAD_BYTES, ObjectId, ObjectKind, OpenObjectError,
    OpenedObject, PART_OVERHEAD_BYTES, PARTS_MAX, PartLocation, PartOpener, SealObjectError, SealedObject,
    Sealer, open_object, peek_object_id,
};
pub use grant::GrantKey;
pub use kit::{KIT_BYTES_MAX, OpenKitError, SealKitError, open_kit, seal_kit};
pub use passphrase::{Passphrase, PassphraseStrength, WeakPassphrase};
pub use row_digest::{RowDigest, RowDigestKey};
pub use sealed_box::{OpenBoxError, WRAPPED_KEY_BYTES};
pub use secret::{Fingerprint, KeyLengthError, random_bytes};
pub use signature::{ParseSignatureError, Signature, SigningKey, VerifySignatureError, VerifyingKey};
pub use slot::{DecodeSlotError, KdfCost, OpenSlotError, SealSlotError, Slot};
pub use vault_key::{InstanceKey, VaultKey, VaultKeyring, WrappingKey};
