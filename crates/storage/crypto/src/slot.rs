//! A passphrase slot: the newest vault key, wrapped under a passphrase.
//!
//! A check value tells a wrong passphrase before anything is unwrapped, and commits the slot to one key. A
//! plain checksum tells damaged bytes from a wrong passphrase. `docs/format/slots-and-keys.md` draws it.

mod kdf;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use keelson_model::{Classified, ErrorClass, SlotId};
use zeroize::Zeroizing;

use crate::digest::Sha256;
use crate::passphrase::Passphrase;
use crate::secret::{KEY_BYTES, Secret, random_bytes};
use crate::vault_key::VaultKey;

pub use kdf::KdfCost;

const MAGIC: &[u8; 8] = b"KEELSLOT";
const VERSION: u16 = 0;
const SALT_BYTES: usize = 32;
const CHECK_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

const AT_VERSION: usize = 8;
const AT_KDF: usize = 10;
const AT_NUMBER: usize = 12;
const AT_COST: usize = 16;
const AT_ID: usize = 28;
const AT_SALT: usize = 44;
const AT_CHECK: usize = AT_SALT + SALT_BYTES;
const AT_NONCE: usize = AT_CHECK + CHECK_BYTES;
const AT_SEALED: usize = AT_NONCE + NONCE_LEN;
const AT_CHECKSUM: usize = AT_SEALED + KEY_BYTES + TAG_BYTES;
pub(crate) const SLOT_BYTES: usize = AT_CHECKSUM + Sha256::LENGTH;

/// Bytes that are not a slot.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeSlotError {
    /// Another length, another magic, a reserved byte in use, or a checksum that does not match.
    #[error("passphrase slot is damaged")]
    Damaged,
    /// A later release wrote it.
    #[error("passphrase slot has format version {found}, newer than this release knows")]
    NewerFormat {
        /// The version found.
        found: u16,
    },
    /// A function this release does not know, or a cost that would be no protection or never end.
    #[error("passphrase slot asks for a key derivation outside the allowed bounds")]
    Cost,
}

impl Classified for DecodeSlotError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Damaged | Self::Cost => ErrorClass::Corrupt,
            Self::NewerFormat { .. } => ErrorClass::Invalid,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Damaged => "crypto.slot.damaged",
            Self::NewerFormat { .. } => "crypto.slot.newer_format",
            Self::Cost => "crypto.slot.cost",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NewerFormat { .. } => Some("use the release that wrote it, or a later one".to_owned()),
            Self::Damaged | Self::Cost => None,
        }
    }
}

/// A slot cannot be made with this cost.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the cost of the key derivation is outside the allowed bounds")]
pub struct SealSlotError;

impl Classified for SealSlotError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }

    fn code(&self) -> &'static str {
        "crypto.slot.seal_cost"
    }
}

/// A slot that does not open.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OpenSlotError {
    /// The slot is whole, and another passphrase made it.
    #[error("the passphrase does not open slot '{slot}'")]
    WrongPassphrase {
        /// The slot tried.
        slot: SlotId,
    },
    /// The passphrase is right, and the wrapped key was changed.
    #[error("slot '{slot}' was tampered with")]
    Tampered {
        /// The slot tried.
        slot: SlotId,
    },
}

impl Classified for OpenSlotError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::WrongPassphrase { .. } => ErrorClass::Denied,
            Self::Tampered { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::WrongPassphrase { .. } => "crypto.slot.wrong_passphrase",
            Self::Tampered { .. } => "crypto.slot.tampered",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::WrongPassphrase { .. } => {
                Some("give the passphrase that was in force when this was written".to_owned())
            }
            Self::Tampered { .. } => None,
        }
    }
}

/// A sealed slot, as it lies in `slots/<id>`. It holds no secret in the clear.
#[derive(Clone, PartialEq, Eq)]
pub struct Slot {
    id: SlotId,
    vault_key_number: u32,
    cost: KdfCost,
    bytes: [u8; SLOT_BYTES],
}

impl Slot {
    /// Wraps `key` under `passphrase`. Takes as long as `cost` asks for.
    pub fn seal(
        id: SlotId,
        passphrase: &Passphrase,
        cost: KdfCost,
        key: &VaultKey,
    ) -> Result<Self, SealSlotError> {
        let (function, numbers) = cost.encode().ok_or(SealSlotError)?;
        let mut bytes = [0; SLOT_BYTES];
        bytes[..AT_VERSION].copy_from_slice(MAGIC);
        bytes[AT_VERSION..AT_KDF].copy_from_slice(&VERSION.to_le_bytes());
        bytes[AT_KDF] = function;
        bytes[AT_NUMBER..AT_COST].copy_from_slice(&key.number().to_le_bytes());
        for (place, number) in bytes[AT_COST..AT_ID].chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[AT_ID..AT_SALT].copy_from_slice(id.as_bytes());
        bytes[AT_SALT..AT_CHECK].copy_from_slice(&random_bytes::<SALT_BYTES>());

        let derived = Derived::from(passphrase, cost, &bytes[AT_SALT..AT_CHECK]);
        bytes[AT_CHECK..AT_NONCE].copy_from_slice(derived.check.expose());
        let (header, body) = bytes.split_at_mut(AT_NONCE);
        let (nonce, body) = body.split_at_mut(NONCE_LEN);
        let (sealed, rest) = body.split_at_mut(KEY_BYTES);
        sealed.copy_from_slice(key.secret().expose());
        let (used, tag) = derived
            .cipher()
            .seal_in_place_separate_tag(Aad::from(&*header), sealed)
            .expect("a key is shorter than the cipher's bound");
        nonce.copy_from_slice(used.as_ref());
        rest[..TAG_BYTES].copy_from_slice(tag.as_ref());
        let checksum = Sha256::of(&bytes[..AT_CHECKSUM]);
        bytes[AT_CHECKSUM..].copy_from_slice(checksum.as_bytes());
        Ok(Self { id, vault_key_number: key.number(), cost, bytes })
    }

    /// Unwraps the vault key. Takes as long as the slot's cost asks for, which is bounded.
    pub fn open(&self, passphrase: &Passphrase) -> Result<VaultKey, OpenSlotError> {
        let derived = Derived::from(passphrase, self.cost, &self.bytes[AT_SALT..AT_CHECK]);
        verify_slices_are_equal(derived.check.expose(), &self.bytes[AT_CHECK..AT_NONCE])
            .map_err(|_| OpenSlotError::WrongPassphrase { slot: self.id })?;
        let tampered = || OpenSlotError::Tampered { slot: self.id };
        let nonce =
            Nonce::try_assume_unique_for_key(&self.bytes[AT_NONCE..AT_SEALED]).map_err(|_| tampered())?;
        let mut sealed = Zeroizing::new(self.bytes[AT_SEALED..AT_CHECKSUM].to_vec());
        let plain = derived
            .cipher()
            .open_in_place(nonce, Aad::from(&self.bytes[..AT_NONCE]), &mut sealed)
            .map_err(|_| tampered())?;
        VaultKey::from_slice(self.vault_key_number, plain).map_err(|_| tampered())
    }

    /// Reads a slot. Nothing is derived yet, and nothing costly can be asked for by bad bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeSlotError> {
        if bytes.len() < AT_KDF || &bytes[..AT_VERSION] != MAGIC {
            return Err(DecodeSlotError::Damaged);
        }
        let found = u16::from_le_bytes([bytes[AT_VERSION], bytes[AT_VERSION + 1]]);
        if found > VERSION {
            return Err(DecodeSlotError::NewerFormat { found });
        }
        let bytes: [u8; SLOT_BYTES] = bytes.try_into().map_err(|_| DecodeSlotError::Damaged)?;
        let checksum = Sha256::of(&bytes[..AT_CHECKSUM]);
        if checksum.as_bytes() != &bytes[AT_CHECKSUM..] || bytes[AT_KDF + 1] != 0 {
            return Err(DecodeSlotError::Damaged);
        }
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let costs = [number(AT_COST), number(AT_COST + 4), number(AT_COST + 8)];
        let cost = KdfCost::decode(bytes[AT_KDF], costs).ok_or(DecodeSlotError::Cost)?;
        let mut id = [0; SlotId::LENGTH];
        id.copy_from_slice(&bytes[AT_ID..AT_SALT]);
        Ok(Self { id: SlotId::from_bytes(id), vault_key_number: number(AT_NUMBER), cost, bytes })
    }

    /// The bytes to store.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes.to_vec()
    }

    /// Its name in `slots/`.
    pub fn id(&self) -> SlotId {
        self.id
    }

    /// Which vault key it wraps.
    pub fn vault_key_number(&self) -> u32 {
        self.vault_key_number
    }

    /// What opening it costs.
    pub fn cost(&self) -> KdfCost {
        self.cost
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, vault_key_number, cost, bytes: _ } = self;
        f.debug_struct("Slot")
            .field("id", id)
            .field("vault_key_number", vault_key_number)
            .field("cost", cost)
            .finish_non_exhaustive()
    }
}

struct Derived {
    check: Secret,
    wrap: Secret,
}

impl Derived {
    fn from(passphrase: &Passphrase, cost: KdfCost, salt: &[u8]) -> Self {
        let root = cost.derive(passphrase, salt);
        Self { check: root.derive(&[b"keelson/0/slot/check"]), wrap: root.derive(&[b"keelson/0/slot/wrap"]) }
    }

    fn cipher(&self) -> RandomizedNonceKey {
        RandomizedNonceKey::new(&AES_256_GCM, self.wrap.expose()).expect("the key has the cipher's length")
    }
}

#[cfg(test)]
mod tests;
