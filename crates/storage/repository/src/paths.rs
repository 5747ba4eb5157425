//! Where each object of a repository lies beneath its root.

use keelson_crypto::ObjectId;
use keelson_model::{PackId, ParseIdError, SessionId, SlotId};
use keelson_store::{StoreError, StorePath};

pub(crate) const FORMAT: &str = "format";
pub(crate) const SLOTS: &str = "slots";
pub(crate) const KEYS: &str = "keys";
pub(crate) const SESSIONS: &str = "sessions";
pub(crate) const PACKS: &str = "packs";
pub(crate) const INDEX: &str = "index";
pub(crate) const OUTCOMES: &str = "outcomes";
pub(crate) const RETIRED: &str = "retired";
pub(crate) const MARKS: &str = "marks";
pub(crate) const VERDICTS: &str = "verdicts";

/// What a root must leave for the longest of our names, `sessions/<id>/<n>`, and a margin.
const NAME_BYTES_MAX: usize = 64;

/// The names of one repository's objects.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    root: StorePath,
}

impl Paths {
    /// Fails where the root leaves no room for names.
    pub(crate) fn new(root: StorePath) -> Result<Self, StoreError> {
        root.join(&"x".repeat(NAME_BYTES_MAX)).map_err(|source| StoreError::NameObject { source })?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &StorePath {
        &self.root
    }

    /// One of the names above, or something beneath it.
    pub(crate) fn join(&self, relative: &str) -> StorePath {
        self.root.join(relative).expect("our names are plain, and the root leaves room for them")
    }

    pub(crate) fn format(&self) -> StorePath {
        self.join(FORMAT)
    }

    pub(crate) fn slot(&self, id: SlotId) -> StorePath {
        self.join(&format!("{SLOTS}/{id}"))
    }

    pub(crate) fn key(&self, number: u32) -> StorePath {
        self.join(&format!("{KEYS}/{number}"))
    }

    /// A session's first object has number 0; a renewal counts up. No object may have the name of a folder.
    pub(crate) fn session(&self, id: SessionId, renewal: u32) -> StorePath {
        self.join(&format!("{SESSIONS}/{id}/{renewal}"))
    }

    /// Packs are spread over 256 folders, for file systems that slow down with many names in one.
    pub(crate) fn pack(&self, id: PackId) -> StorePath {
        self.join(&format!("{PACKS}/{:02x}/{id}", id.as_bytes()[0]))
    }

    pub(crate) fn index(&self, id: ObjectId) -> StorePath {
        self.join(&format!("{INDEX}/{id}"))
    }

    pub(crate) fn outcome(&self, id: SessionId) -> StorePath {
        self.join(&format!("{OUTCOMES}/{id}"))
    }

    pub(crate) fn retired(&self, id: SessionId) -> StorePath {
        self.join(&format!("{RETIRED}/{id}"))
    }

    pub(crate) fn mark(&self, id: ObjectId) -> StorePath {
        self.join(&format!("{MARKS}/{id}"))
    }

    pub(crate) fn verdict(&self, id: ObjectId) -> StorePath {
        self.join(&format!("{VERDICTS}/{id}"))
    }
}

/// The id that a path ends in.
pub(crate) fn parse_name<T: std::str::FromStr<Err = ParseIdError>>(path: &StorePath) -> Option<T> {
    path.name().parse().ok()
}

/// The object id that a path ends in.
pub(crate) fn parse_object_id(path: &StorePath) -> Option<ObjectId> {
    parse_name::<PackId>(path).map(ObjectId::from)
}
