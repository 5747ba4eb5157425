//! A recovery kit: one file that a passphrase of its own opens. What it holds is its owner's business.
//!
//! A slot wraps a key made for this kit alone; the content is the one part of an envelope under a key that derives from
//! it. `docs/format/kit.md` draws the bytes.

use keelson_model::{Classified, ErrorClass, SlotId};
use zeroize::Zeroizing;

use crate::data_key::Keyring;
use crate::envelope::{ObjectId, ObjectKind, OpenObjectError, SealObjectError, Sealer, open_object};
use crate::passphrase::Passphrase;
use crate::secret::random_bytes;
use crate::slot::{DecodeSlotError, KdfCost, OpenSlotError, SLOT_BYTES, SealSlotError, Slot};
use crate::vault_key::VaultKey;

const MAGIC: &[u8; 8] = b"KEELKIT\0";
const VERSION: u16 = 0;
const AT_VERSION: usize = 8;
const AT_RESERVED: usize = 10;
const AT_SLOT: usize = 16;
const AT_OBJECT: usize = AT_SLOT + SLOT_BYTES;

/// Nothing longer is a kit: the file is read into memory before anything of it is known.
pub const KIT_BYTES_MAX: usize = 8 << 20;

/// A kit cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealKitError {
    /// The cost is out of bounds.
    #[error("wrap the key of a recovery kit")]
    Slot {
        /// Why not.
        source: SealSlotError,
    },
    /// The content is too long.
    #[error("seal a recovery kit")]
    Content {
        /// Why not.
        source: SealObjectError,
    },
}

impl Classified for SealKitError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Slot { source } => source.class(),
            Self::Content { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Slot { .. } => "crypto.kit.seal_slot",
            Self::Content { .. } => "crypto.kit.seal_content",
        }
    }
}

/// A file that does not open as a kit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OpenKitError {
    /// It does not begin as a kit does.
    #[error("this is not a recovery kit")]
    Foreign,
    /// A later release wrote it.
    #[error("the recovery kit has format version {found}, newer than this release knows")]
    NewerFormat {
        /// The version found.
        found: u16,
    },
    /// It ends too early, is longer than any kit, or uses what is reserved.
    #[error("the recovery kit is damaged or cut short ({length} bytes)")]
    Damaged {
        /// The length found.
        length: usize,
    },
    /// The slot in it is damaged.
    #[error("the recovery kit is damaged")]
    Slot {
        /// What is wrong with it.
        source: DecodeSlotError,
    },
    /// Another passphrase made it.
    #[error("the passphrase does not open this recovery kit")]
    WrongPassphrase,
    /// The passphrase is right, and the wrapped key was changed.
    #[error("the key of the recovery kit was tampered with")]
    Key {
        /// What is wrong with it.
        source: OpenSlotError,
    },
    /// The passphrase is right, and the content is not what was sealed.
    #[error("the recovery kit is damaged or was tampered with")]
    Content {
        /// What is wrong with it.
        source: OpenObjectError,
    },
}

impl Classified for OpenKitError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Foreign | Self::NewerFormat { .. } => ErrorClass::Invalid,
            Self::Damaged { .. } => ErrorClass::Corrupt,
            Self::Slot { source } => source.class(),
            Self::WrongPassphrase => ErrorClass::Denied,
            Self::Key { source } => source.class(),
            Self::Content { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Foreign => "crypto.kit.foreign",
            Self::NewerFormat { .. } => "crypto.kit.newer_format",
            Self::Damaged { .. } => "crypto.kit.damaged",
            Self::Slot { .. } => "crypto.kit.slot",
            Self::WrongPassphrase => "crypto.kit.wrong_passphrase",
            Self::Key { .. } => "crypto.kit.key",
            Self::Content { .. } => "crypto.kit.content",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Foreign => Some("keelson dr kit makes one".to_owned()),
            Self::NewerFormat { .. } => Some("use the release that wrote it, or a later one".to_owned()),
            Self::WrongPassphrase => Some(
                "give the passphrase that the kit was made with; it is not that of disaster recovery"
                    .to_owned(),
            ),
            Self::Damaged { .. } | Self::Slot { .. } | Self::Key { .. } | Self::Content { .. } => Some(
                "use another copy of the kit; recovery without one needs what the kit would hold".to_owned(),
            ),
        }
    }
}

/// Seals `content` under a passphrase. Takes as long as `cost` asks for.
pub fn seal_kit(passphrase: &Passphrase, cost: KdfCost, content: &[u8]) -> Result<Vec<u8>, SealKitError> {
    let key = VaultKey::generate(VaultKey::FIRST);
    let slot = Slot::seal(SlotId::from_bytes(random_bytes()), passphrase, cost, &key)
        .map_err(|source| SealKitError::Slot { source })?;
    seal_under(&slot, &key, content)
}

pub(crate) fn seal_under(slot: &Slot, key: &VaultKey, content: &[u8]) -> Result<Vec<u8>, SealKitError> {
    let failed = |source| SealKitError::Content { source };
    let keys = Keyring::of_kit(key, slot.id());
    let mut sealer =
        Sealer::with_id(keys.newest(), ObjectKind::Kit, ObjectId::from_bytes(*slot.id().as_bytes()));
    sealer.part(content).map_err(failed)?;
    let object = sealer.finish(b"").map_err(failed)?.bytes;
    let mut bytes = Vec::with_capacity(AT_OBJECT + object.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.resize(AT_SLOT, 0);
    bytes.extend_from_slice(&slot.to_bytes());
    bytes.extend_from_slice(&object);
    Ok(bytes)
}

/// A kit as its file shows it, before any passphrase.
pub(crate) struct SealedKit<'a> {
    pub(crate) slot: Slot,
    object: &'a [u8],
}

impl<'a> SealedKit<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, OpenKitError> {
        if bytes.get(..AT_VERSION) != Some(MAGIC.as_slice()) {
            return Err(OpenKitError::Foreign);
        }
        let damaged = OpenKitError::Damaged { length: bytes.len() };
        if bytes.len() < AT_OBJECT || bytes.len() > KIT_BYTES_MAX {
            return Err(damaged);
        }
        let found = u16::from_le_bytes([bytes[AT_VERSION], bytes[AT_VERSION + 1]]);
        if found > VERSION {
            return Err(OpenKitError::NewerFormat { found });
        }
        if bytes[AT_RESERVED..AT_SLOT].iter().any(|byte| *byte != 0) {
            return Err(damaged);
        }
        let (head, object) = bytes.split_at(AT_OBJECT);
        let slot = Slot::from_bytes(&head[AT_SLOT..]).map_err(|source| OpenKitError::Slot { source })?;
        Ok(Self { slot, object })
    }

    pub(crate) fn open_with(&self, key: &VaultKey) -> Result<Zeroizing<Vec<u8>>, OpenKitError> {
        let failed = |source| OpenKitError::Content { source };
        let keys = Keyring::of_kit(key, self.slot.id());
        let opened = open_object(&keys, ObjectKind::Kit, self.object).map_err(failed)?;
        if opened.id().as_bytes() != self.slot.id().as_bytes() || opened.parts().len() != 1 {
            return Err(failed(OpenObjectError::Directory { kind: ObjectKind::Kit }));
        }
        opened.part(0).map(Zeroizing::new).map_err(failed)
    }
}

/// Opens what [`seal_kit`] made. Takes as long as the kit's cost asks for, which is bounded.
pub fn open_kit(passphrase: &Passphrase, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenKitError> {
    let kit = SealedKit::parse(bytes)?;
    let key = kit.slot.open(passphrase).map_err(|source| match source {
        OpenSlotError::WrongPassphrase { .. } => OpenKitError::WrongPassphrase,
        OpenSlotError::Tampered { .. } => OpenKitError::Key { source },
    })?;
    kit.open_with(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.as_bytes().to_vec())
    }

    #[test]
    fn a_kit_opens_with_its_passphrase_and_with_no_other() {
        let sealed = seal_kit(&passphrase("in the safe"), KdfCost::LOWEST, b"content").unwrap();
        assert_eq!(open_kit(&passphrase("in the safe"), &sealed).unwrap().as_slice(), b"content");
        assert_eq!(open_kit(&passphrase("in the desk"), &sealed), Err(OpenKitError::WrongPassphrase));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_of_a_kit_is_refused() {
        let key = VaultKey::generate(VaultKey::FIRST);
        let slot =
            Slot::seal(SlotId::from_bytes([3; 16]), &passphrase("safe"), KdfCost::LOWEST, &key).unwrap();
        let sealed = seal_under(&slot, &key, b"content").unwrap();
        let open = |bytes: &[u8]| SealedKit::parse(bytes).and_then(|kit| kit.open_with(&key));
        assert_eq!(open(&sealed).unwrap().as_slice(), b"content");
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&damaged).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(open(&sealed[..length]).is_err(), "length {length}");
        }
    }

    /// The slot of one kit before the content of another.
    #[test]
    fn a_kit_is_not_put_together_from_two() {
        let key = VaultKey::generate(VaultKey::FIRST);
        let sealed = |id: u8| {
            let slot = Slot::seal(SlotId::from_bytes([id; 16]), &passphrase("safe"), KdfCost::LOWEST, &key);
            seal_under(&slot.unwrap(), &key, b"content").unwrap()
        };
        let mixed = [&sealed(1)[..AT_OBJECT], &sealed(2)[AT_OBJECT..]].concat();
        let opened = SealedKit::parse(&mixed).unwrap().open_with(&key);
        assert!(matches!(opened, Err(OpenKitError::Content { .. })), "{opened:?}");
    }
}
