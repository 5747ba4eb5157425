//! Who this installation is: instance id, lineage, and the keys it holds, wrapped by the instance Secret.
//!
//! Kept in the instance file, which is never shipped and never restored: a copy of a catalog cannot mistake itself
//! for the original.

use std::collections::BTreeMap;

use keelson_catalog::{Change, Class, Database, Expect, Row, RowKey, RowKind};
use keelson_crypto::{CatalogKey, DecodeSlotError, InstanceKey, OpenBoxError, Slot, VaultKey, VaultKeyring};
use keelson_model::{Classified, ClusterId, ErrorClass, Generation, InstanceId, LineageId, SlotId};
use keelson_repository::{Open, Repository};
use keelson_workload::RequestError;
use serde::{Deserialize, Serialize};

use crate::platform::commit;

const CATALOG_KEY_CONTEXT: &[u8] = b"instance";

/// The identity as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub instance: InstanceId,
    pub lineage: LineageId,
    /// The cluster whose data this installation took over, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<ClusterId>,
    /// Vault keys by number, each wrapped by the instance key (hex).
    vault_keys: BTreeMap<u32, String>,
    /// The slots (hex) of the newest vault key, which every repository of the lineage carries. None before a passphrase.
    #[serde(default)]
    slots: Vec<String>,
    /// Of a recovery that is about to switch generations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adoption: Option<Adoption>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Adoption {
    generation: u32,
    lineage: LineageId,
    origin: ClusterId,
    vault_keys: BTreeMap<u32, String>,
    #[serde(default)]
    slots: Vec<String>,
}

/// What opens the repositories of this lineage: its vault keys, and the slots of the newest one.
#[derive(Clone)]
pub(crate) struct RepositoryKeys {
    pub vault: VaultKeyring,
    pub slots: Vec<Slot>,
}

impl RepositoryKeys {
    pub(crate) fn slot_ids(&self) -> Vec<SlotId> {
        self.slots.iter().map(Slot::id).collect()
    }

    /// Those of the slots that a repository is known to carry: one of them has opened it.
    pub(crate) fn slots_in(&self, repository: &Repository<Open>) -> Vec<SlotId> {
        let opened = repository.opened_slot().map(Slot::id);
        self.slot_ids().into_iter().filter(|id| Some(*id) == opened).collect()
    }
}

/// The identity cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("read Secret '{name}' with the instance key")]
    ReadSecret { name: String, source: RequestError },
    #[error("Secret '{namespace}/{name}' does not hold a 32-byte '{key}'")]
    MalformedSecret { namespace: String, name: &'static str, key: &'static str },
    #[error("neither 'instance-key' of Secret '{namespace}/{name}' nor a Passkey opens the volume: {}", why.join("; "))]
    NoPasskey { namespace: String, name: &'static str, why: Vec<String> },
    #[error(
        "Secret '{namespace}/{name}' holds what Passkeys open another volume with, and this one is empty"
    )]
    OfAnotherVolume { namespace: String, name: &'static str },
    #[error("the Secret '{namespace}/{name}' is gone, but the volume holds data that only it opens")]
    LostSecret { namespace: String, name: &'static str },
    #[error("read the identity of this installation")]
    Read { source: keelson_catalog::ReadError },
    #[error("write the identity of this installation")]
    Write { source: keelson_catalog::CommitError },
    #[error("decode the identity of this installation")]
    Decode { source: serde_json::Error },
    #[error("the identity holds no vault key")]
    NoVaultKey,
    #[error("decode a passphrase slot of this installation")]
    DecodeSlot { source: DecodeSlotError },
    #[error("unwrap {what} with the instance key")]
    Unwrap { what: &'static str, source: OpenBoxError },
}

impl Classified for IdentityError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::ReadSecret { source, .. } => source.class(),
            Self::MalformedSecret { .. } => ErrorClass::Invalid,
            Self::OfAnotherVolume { .. } => ErrorClass::Conflict,
            Self::LostSecret { .. } | Self::NoPasskey { .. } => ErrorClass::NotFound,
            Self::Read { source } => source.class(),
            Self::Write { source } => source.class(),
            Self::DecodeSlot { source } => source.class(),
            Self::Decode { .. } | Self::NoVaultKey | Self::Unwrap { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ReadSecret { .. } => "identity.secret.read",
            Self::MalformedSecret { .. } => "identity.secret.malformed",
            Self::OfAnotherVolume { .. } => "identity.secret.of_another_volume",
            Self::LostSecret { .. } => "identity.secret.lost",
            Self::NoPasskey { .. } => "identity.secret.no_passkey",
            Self::Read { .. } => "identity.read",
            Self::Write { .. } => "identity.write",
            Self::Decode { .. } => "identity.decode",
            Self::NoVaultKey => "identity.vault_key.absent",
            Self::DecodeSlot { source } => source.code(),
            Self::Unwrap { .. } => "identity.unwrap",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::LostSecret { .. } | Self::Unwrap { .. } => Some(
                "put the original Secret back, or start with an empty volume and without this Secret, and recover with the \
                 cluster id and passphrase"
                    .to_owned(),
            ),
            Self::OfAnotherVolume { .. } => Some(
                "start with that volume; if it is lost, delete this Secret, start again, and recover with the cluster id \
                 and passphrase"
                    .to_owned(),
            ),
            Self::NoPasskey { .. } => Some(
                "put back the Secret of one of the Passkeys with its passphrase under 'passphrase', or start with an \
                 empty volume and without this Secret, and recover with the cluster id and passphrase"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl Identity {
    fn row_key() -> RowKey {
        RowKey::new(RowKind::new("identity"), "", "self")
    }

    pub(crate) fn read(instance: &Database) -> Result<Option<Self>, IdentityError> {
        let stored = instance.read(&Self::row_key()).map_err(|source| IdentityError::Read { source })?;
        stored
            .map(|stored| serde_json::from_slice(&stored.row.body))
            .transpose()
            .map_err(|source| IdentityError::Decode { source })
    }

    /// A first start: new ids, and a first vault key that no passphrase knows yet.
    pub(crate) fn new(key: &InstanceKey) -> Self {
        let mut identity = Self {
            instance: InstanceId::from_bytes(keelson_crypto::random_bytes()),
            lineage: LineageId::from_bytes(keelson_crypto::random_bytes()),
            origin: None,
            vault_keys: BTreeMap::new(),
            slots: Vec::new(),
            adoption: None,
        };
        identity.keep_vault_key(key, &VaultKey::generate(VaultKey::FIRST));
        identity
    }

    /// Keeps the slots of the newest vault key, in place of those of an older one.
    pub(crate) fn keep_slots(&mut self, slots: &[Slot]) {
        self.slots = slots.iter().map(|slot| hex::encode(slot.to_bytes())).collect();
    }

    pub(crate) fn keep_vault_key(&mut self, key: &InstanceKey, vault: &VaultKey) {
        self.vault_keys.insert(vault.number(), hex::encode(vault.wrap(key)));
    }

    /// Keeps what a recovered generation needs, before that generation is current: a kill on either side of the switch
    /// finds the keys that belong to the catalog in use.
    pub(crate) fn prepare_adoption(
        &mut self,
        key: &InstanceKey,
        generation: Generation,
        lineage: LineageId,
        origin: ClusterId,
        keys: &RepositoryKeys,
    ) {
        let RepositoryKeys { vault, slots } = keys;
        let slots = slots.iter().map(|slot| hex::encode(slot.to_bytes())).collect();
        let vault_keys = vault.iter().map(|vault| (vault.number(), hex::encode(vault.wrap(key)))).collect();
        self.adoption = Some(Adoption { generation: generation.0, lineage, origin, vault_keys, slots });
    }

    /// Takes over the lineage and keys that were kept for this generation. Says whether there were any.
    pub(crate) fn complete_adoption(&mut self, current: Generation) -> bool {
        let Some(adoption) = self.adoption.take_if(|adoption| adoption.generation == current.0) else {
            return false;
        };
        self.lineage = adoption.lineage;
        self.origin = Some(adoption.origin);
        self.vault_keys = adoption.vault_keys;
        self.slots = adoption.slots;
        true
    }

    pub(crate) fn repository_keys(&self, key: &InstanceKey) -> Result<RepositoryKeys, IdentityError> {
        let mut ring: Option<VaultKeyring> = None;
        for (number, wrapped) in &self.vault_keys {
            let bytes = hex::decode(wrapped).unwrap_or_default();
            let vault = VaultKey::unwrap(*number, key, &bytes)
                .map_err(|source| IdentityError::Unwrap { what: "a vault key", source })?;
            match &mut ring {
                Some(ring) => ring.insert(vault),
                None => ring = Some(VaultKeyring::new(vault)),
            }
        }
        let vault = ring.ok_or(IdentityError::NoVaultKey)?;
        let slot = |text: &String| Slot::from_bytes(&hex::decode(text).unwrap_or_default());
        let slots = self.slots.iter().map(slot).collect::<Result<_, _>>();
        let slots = slots.map_err(|source| IdentityError::DecodeSlot { source })?;
        Ok(RepositoryKeys { vault, slots })
    }

    pub(crate) fn put(&self, now: jiff::Timestamp) -> Change {
        let key = Self::row_key();
        let row = Row {
            kind: key.kind,
            namespace: key.namespace,
            name: key.name,
            uid: self.instance.to_string(),
            labels: BTreeMap::new(),
            created: now,
            class: Class::Local,
            body: serde_json::to_vec(self).expect("plain data"),
        };
        Change::Put { row, expect: Expect::Any }
    }

    pub(crate) async fn write(&self, instance: &Database, now: jiff::Timestamp) -> Result<(), IdentityError> {
        commit(instance, "identity", vec![self.put(now)])
            .await
            .map(drop)
            .map_err(|source| IdentityError::Write { source })
    }
}

/// The catalog key as this installation keeps it beside the catalog.
pub(crate) fn wrap_catalog_key(key: &InstanceKey, catalog: &CatalogKey) -> Vec<u8> {
    catalog.wrap(key, CATALOG_KEY_CONTEXT)
}

pub(crate) fn unwrap_catalog_key(key: &InstanceKey, wrapped: &[u8]) -> Result<CatalogKey, IdentityError> {
    CatalogKey::unwrap(key, CATALOG_KEY_CONTEXT, wrapped)
        .map_err(|source| IdentityError::Unwrap { what: "the catalog key", source })
}
