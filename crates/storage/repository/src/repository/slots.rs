//! Finds the slot that a passphrase opens, among whatever else lies in `slots/`.
//!
//! Anybody who can write to a location can put well-formed slots there, and only a try, costly on purpose, tells them
//! from ours. So nothing is left out for being one too many: a passphrase is wrong when no slot is left to try.
//!
//! Guarantees: of the slots that the passphrase opens the one with the highest vault key number is found, whatever lies
//! beside it; the more lies there the longer it takes, and the log says how far it is. Limits: in memory are
//! [`SLOTS_HELD_MAX`] slots, the oldest; the others are listed again, and come a few at a time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use keelson_crypto::{OpenSlotError, Passphrase, Slot, VaultKey};
use keelson_model::SlotId;
use keelson_store::{ObjectMeta, Store, StoreExt, StorePath};

use super::unlock::{OpenRepositoryError, Strangers, fetch};
use crate::limits::{KEYS_MAX, SLOT_FILE_BYTES_MAX, SLOT_READS_IN_FLIGHT, SLOTS_HELD_MAX, SLOTS_TOLD_EVERY};
use crate::object::offload;
use crate::paths::{self, Paths};

/// Finds the slot of the newest vault key that a passphrase opens. What cannot be used is reported only if none opens.
pub(super) async fn open_slots(
    store: &dyn Store,
    paths: &Paths,
    passphrase: &Arc<Passphrase>,
    strangers: &mut Strangers,
) -> Result<(VaultKey, Slot), OpenRepositoryError> {
    let mut search = Search { store, paths, passphrase, strangers, tried: 0, best: None, fault: None };
    let (oldest, are_all) = search.list_oldest().await?;
    let held: HashSet<StorePath> = oldest.iter().map(|object| object.path.clone()).collect();
    let slots = search.read(oldest).await?;
    for (path, slot) in in_turns(slots) {
        search.attempt(path, slot).await;
    }
    if !are_all {
        search.attempt_others(&held).await?;
    }
    search.end()
}

struct Search<'a> {
    store: &'a dyn Store,
    paths: &'a Paths,
    passphrase: &'a Arc<Passphrase>,
    strangers: &'a mut Strangers,
    tried: usize,
    best: Option<(VaultKey, Slot)>,
    /// A slot that could not be used.
    fault: Option<OpenRepositoryError>,
}

impl Search<'_> {
    fn folder(&self) -> StorePath {
        self.paths.join(paths::SLOTS)
    }

    /// The oldest of what may be slots, and whether there are no others.
    async fn list_oldest(&mut self) -> Result<(Vec<ObjectMeta>, bool), OpenRepositoryError> {
        let folder = self.folder();
        let mut listed = self.store.stream(&folder);
        let (mut oldest, mut are_all) = (Vec::new(), true);
        let failed = |source| OpenRepositoryError::Fetch { path: folder.clone(), source };
        while let Some(object) = listed.try_next().await.map_err(failed)? {
            if !may_be_slot(&object) {
                self.strangers.note(object.path);
                continue;
            }
            oldest.push(object);
            if oldest.len() >= 2 * SLOTS_HELD_MAX {
                keep_oldest(&mut oldest);
                are_all = false;
            }
        }
        are_all &= oldest.len() <= SLOTS_HELD_MAX;
        keep_oldest(&mut oldest);
        Ok((oldest, are_all))
    }

    /// Those that are slots, in the same order.
    async fn read(
        &mut self,
        objects: Vec<ObjectMeta>,
    ) -> Result<Vec<(StorePath, Slot)>, OpenRepositoryError> {
        let store = self.store;
        let fetched = stream::iter(objects).map(|object| async move {
            let bytes = fetch(store, &object).await?;
            Ok((object.path, bytes))
        });
        let mut fetched = fetched.buffered(SLOT_READS_IN_FLIGHT);
        let mut slots = Vec::new();
        while let Some((path, bytes)) = fetched.try_next().await? {
            slots.extend(self.decode(path, &bytes));
        }
        Ok(slots)
    }

    fn decode(&mut self, path: StorePath, bytes: &[u8]) -> Option<(StorePath, Slot)> {
        match Slot::from_bytes(bytes) {
            Ok(slot) if self.paths.slot(slot.id()) == path && slot.vault_key_number() <= KEYS_MAX => {
                return Some((path, slot));
            }
            Ok(_) => self.strangers.note(path),
            Err(source) => {
                self.strangers.note(path.clone());
                self.fault.get_or_insert(OpenRepositoryError::DecodeSlot { path, source });
            }
        }
        None
    }

    /// Tries a slot, unless one of its vault key or a newer one is open already.
    async fn attempt(&mut self, path: StorePath, slot: Slot) {
        let open = self.best.as_ref().map_or(0, |(key, _)| key.number());
        if self.best.is_some() && slot.vault_key_number() <= open {
            return;
        }
        self.tried += 1;
        if self.tried.is_multiple_of(SLOTS_TOLD_EVERY) {
            tracing::warn!(
                folder = %self.folder(),
                tried = self.tried,
                "more slots than passphrases ever make: somebody has put them there; still trying"
            );
        }
        let (passphrase, tried) = (Arc::clone(self.passphrase), slot.clone());
        match offload(move || tried.open(&passphrase)).await {
            Ok(key) => self.best = Some((key, slot)),
            Err(OpenSlotError::WrongPassphrase { .. }) => {}
            // The passphrase is right: that says more than any other fault.
            Err(source) => self.fault = Some(OpenRepositoryError::OpenSlot { path, source }),
        }
    }

    /// What was not among the oldest, in the order of the names.
    async fn attempt_others(&mut self, held: &HashSet<StorePath>) -> Result<(), OpenRepositoryError> {
        let folder = self.folder();
        let store = self.store;
        let others = store
            .stream(&folder)
            .map_err(|source| OpenRepositoryError::Fetch { path: folder.clone(), source });
        let others = others
            .try_filter(|object| std::future::ready(may_be_slot(object) && !held.contains(&object.path)));
        let fetched = others.map_ok(|object| async move {
            let bytes = fetch(store, &object).await?;
            Ok((object.path, bytes))
        });
        let mut fetched = fetched.try_buffered(SLOT_READS_IN_FLIGHT).boxed();
        while let Some((path, bytes)) = fetched.try_next().await? {
            if let Some((path, slot)) = self.decode(path, &bytes) {
                self.attempt(path, slot).await;
            }
        }
        Ok(())
    }

    fn end(self) -> Result<(VaultKey, Slot), OpenRepositoryError> {
        if self.tried >= SLOTS_TOLD_EVERY {
            let (tried, opened) = (self.tried, self.best.is_some());
            tracing::warn!(folder = %self.folder(), tried, opened, "tampering: a flood of passphrase slots was tried");
        }
        if let Some(best) = self.best {
            return Ok(best);
        }
        self.strangers.tell();
        let root = self.paths.root().clone();
        Err(match (self.fault, self.tried) {
            (Some(fault @ OpenRepositoryError::OpenSlot { .. }), _) | (Some(fault), 0) => fault,
            (None, 0) => OpenRepositoryError::NoSlots { root },
            (fault, slots) => OpenRepositoryError::WrongPassphrase {
                root,
                slots,
                beside: fault.map(|fault| fault.to_string()),
            },
        })
    }
}

fn may_be_slot(object: &ObjectMeta) -> bool {
    object.length <= SLOT_FILE_BYTES_MAX && paths::parse_name::<SlotId>(&object.path).is_some()
}

fn keep_oldest(objects: &mut Vec<ObjectMeta>) {
    objects.sort_by_key(|object| object.modified);
    objects.truncate(SLOTS_HELD_MAX);
}

/// Pure. Slots come in the order of their age. The oldest of each vault key first, of those the newest key's; then each
/// key's second, and so on: a flood under one number delays the others by little, whichever number it is.
fn in_turns(slots: Vec<(StorePath, Slot)>) -> Vec<(StorePath, Slot)> {
    let mut turns: BTreeMap<u32, usize> = BTreeMap::new();
    let turn_of = |found: (StorePath, Slot)| {
        let turn = turns.entry(found.1.vault_key_number()).or_default();
        *turn += 1;
        (*turn, found)
    };
    let mut ordered: Vec<_> = slots.into_iter().map(turn_of).collect();
    ordered.sort_by_key(|(turn, (_, slot))| (*turn, Reverse(slot.vault_key_number())));
    ordered.into_iter().map(|(_, found)| found).collect()
}
