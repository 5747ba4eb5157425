//! The proof of a state: one keyed additive digest per class, and the chain of the journal's entries.

use keelson_crypto::{CatalogKey, ChainKey, RowDigest, RowDigestKey};
use keelson_model::{Generation, Revision};

use crate::format::entry::Entry;
use crate::format::record::Record;
use crate::row::{Class, Scope};

/// One keyed additive digest per class over the stored bytes of its rows. Equal digests mean equal rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digests {
    /// Of the rows of `Class::Configuration`.
    pub configuration: RowDigest,
    /// Of the rows of `Class::Local`.
    pub local: RowDigest,
    /// Of the rows of `Class::Derived`.
    pub derived: RowDigest,
}

impl Digests {
    /// The digest of one class.
    pub fn of(&self, class: Class) -> RowDigest {
        match class {
            Class::Configuration => self.configuration,
            Class::Local => self.local,
            Class::Derived => self.derived,
        }
    }

    fn of_mut(&mut self, class: Class) -> &mut RowDigest {
        match class {
            Class::Configuration => &mut self.configuration,
            Class::Local => &mut self.local,
            Class::Derived => &mut self.derived,
        }
    }

    pub(crate) fn to_bytes(self) -> [[u8; 32]; 3] {
        Class::ALL.map(|class| self.of(class).to_bytes())
    }

    /// The first class of the scope whose rows differ.
    pub fn first_difference(&self, other: &Self, scope: Scope) -> Option<Class> {
        Class::ALL.into_iter().find(|&class| scope.covers(class) && self.of(class) != other.of(class))
    }
}

/// Where a catalog stands: position, state and history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Of the last entry.
    pub revision: Revision,
    /// Of the rows after it.
    pub digests: Digests,
    /// The digest of the last entry, and through it of every entry before.
    pub chain: [u8; 32],
}

/// Rows of each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Of `Class::Configuration`.
    pub configuration: u64,
    /// Of `Class::Local`.
    pub local: u64,
    /// Of `Class::Derived`.
    pub derived: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, class: Class) {
        *match class {
            Class::Configuration => &mut self.configuration,
            Class::Local => &mut self.local,
            Class::Derived => &mut self.derived,
        } += 1;
    }

    /// Of all classes.
    pub fn total(&self) -> u64 {
        self.configuration + self.local + self.derived
    }
}

/// The keys of a catalog that prove its rows and its journal. All derive from the catalog key.
pub(crate) struct Proof {
    chain: ChainKey,
    rows: [RowDigestKey; 3],
    fingerprint: [u8; 16],
}

impl Proof {
    pub(crate) fn new(key: &CatalogKey) -> Self {
        Self {
            chain: key.chain_key(),
            rows: Class::ALL.map(|class| key.row_digest_key(class.to_byte())),
            fingerprint: *key.fingerprint().as_bytes(),
        }
    }

    /// Tells a wrong key before anything is read with it.
    pub(crate) fn fingerprint(&self) -> [u8; 16] {
        self.fingerprint
    }

    pub(crate) fn add(&self, digests: &mut Digests, row: &Record) {
        digests.of_mut(row.class).add(&self.rows[row.class.index()], &row.encode());
    }

    pub(crate) fn remove(&self, digests: &mut Digests, row: &Record) {
        digests.of_mut(row.class).remove(&self.rows[row.class.index()], &row.encode());
    }

    /// What the first entry of a catalog that was never recovered follows.
    pub(crate) fn genesis(&self, generation: Generation) -> [u8; 32] {
        self.chain.authenticate(&[b"keelson/0/genesis", &generation.0.to_le_bytes()])
    }

    /// The digest by which a class of an entry is known where its changes are left out.
    pub(crate) fn part(&self, class: Class, changes: &[u8]) -> [u8; 32] {
        self.chain.authenticate(&[b"keelson/0/part", &[class.to_byte()], changes])
    }

    /// The digest of an entry: of all it says, and of the entry before.
    pub(crate) fn entry(&self, entry: &Entry) -> [u8; 32] {
        let [configuration, local, derived] = Class::ALL.map(|class| entry.part_digest(self, class));
        let digests = entry.digests.to_bytes();
        self.chain.authenticate(&[
            b"keelson/0/entry",
            &entry.revision.as_u64().to_le_bytes(),
            &entry.at.to_le_bytes(),
            entry.actor.as_bytes(),
            &configuration,
            &local,
            &derived,
            &digests[0],
            &digests[1],
            &digests[2],
            &entry.previous,
        ])
    }

    pub(crate) fn base_header(&self, header: &[u8]) -> [u8; 32] {
        self.chain.authenticate(&[b"keelson/0/base", header])
    }
}
