//! Builds a catalog of a new generation from a base and its segments, beside the current one.
//!
//! 1. Rows of the base in key order, digests added up and compared.
//! 2. Entries of the segments, each proven by the chain and by the digests after it.
//! 3. The first transaction of the new generation.
//! 4. All on the disk; only then `DataDir::switch` makes it current.
//!
//! Until 4 there is no log to roll back with: whatever fails, the folder is thrown away.

mod first;

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use keelson_model::{Clock, Generation, Revision, Sequence};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

pub use self::first::FirstTransaction;
use crate::change::Actor;
use crate::data_dir::sync_folder;
use crate::database::Database;
use crate::database::open::Opening;
use crate::database::schema;
use crate::database::tables::{delete_row, find_row, insert_row, meta, put_head, put_meta, update_row};
use crate::digest::{Counts, Digests, Head, Proof};
use crate::error::{ReadBaseError, RebuildError, sqlite};
use crate::format::Malformed;
use crate::format::base::{BaseHeader, Frame, Origin, encode_origin, read_frame, read_header};
use crate::format::entry::{Effect, Entry, Part};
use crate::format::record::Record;
use crate::format::segment::decode_segment;
use crate::row::{Class, RowKey, Scope};

/// Where to stop within the shipped chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Everything there is.
    End,
    /// After this entry.
    Sequence(Sequence),
    /// Before the first entry that was committed later.
    Time(Timestamp),
}

impl Until {
    fn allows(self, entry: &Entry) -> bool {
        match self {
            Self::End => true,
            Self::Sequence(last) => entry.revision.sequence() <= last,
            Self::Time(last) => entry.at <= last.as_microsecond(),
        }
    }
}

/// How far a segment was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// What is taken over now.
    pub head: Head,
    /// The segment goes beyond the point that was asked for: no further segment is needed.
    pub reached: bool,
}

/// A catalog under construction.
pub struct Rebuild {
    path: PathBuf,
    generation: Generation,
    connection: Connection,
    proof: Arc<Proof>,
    clock: Arc<dyn Clock>,
    wrapped_key: Vec<u8>,
    source: Option<Source>,
    building: Arc<()>,
}

/// How far the source was taken over. Classes beyond the scope have no rows here.
#[derive(Debug, Clone, Copy)]
struct Source {
    scope: Scope,
    head: Head,
}

/// A catalog that is whole and on the disk, but not current yet.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) database: Database,
    pub(crate) generation: Generation,
    pub(crate) building: Arc<()>,
}

impl Prepared {
    /// The catalog as it will be; to be read, not to be written before the switch.
    pub fn database(&self) -> &Database {
        &self.database
    }
}

fn write_error(error: rusqlite::Error) -> RebuildError {
    RebuildError::Write { source: sqlite(error) }
}

fn base_error(error: ReadBaseError) -> RebuildError {
    match error {
        ReadBaseError::Decode { source } => RebuildError::DecodeBase { source },
        ReadBaseError::Read { source } => RebuildError::ReadBase { source },
    }
}

impl Rebuild {
    pub(crate) fn begin(
        opening: Opening<'_>,
        generation: Generation,
        wrapped_key: Vec<u8>,
        building: Arc<()>,
    ) -> Result<Self, RebuildError> {
        let Opening { path, proof, clock } = opening;
        let mut connection = schema::open_writer(path, OpenFlags::SQLITE_OPEN_CREATE).map_err(write_error)?;
        connection.pragma_update(None, "journal_mode", "OFF").map_err(write_error)?;
        connection.pragma_update(None, "synchronous", "OFF").map_err(write_error)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(write_error)?;
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Exclusive).map_err(write_error)?;
        schema::migrate(&transaction).map_err(write_error)?;
        transaction.commit().map_err(write_error)?;
        connection.execute_batch("BEGIN EXCLUSIVE").map_err(write_error)?;
        let path = path.to_owned();
        Ok(Self { path, generation, connection, proof, clock, wrapped_key, source: None, building })
    }

    /// What was taken over so far.
    pub fn head(&self) -> Option<Head> {
        self.source.map(|source| source.head)
    }

    /// The classes that the base holds.
    pub fn scope(&self) -> Option<Scope> {
        self.source.map(|source| source.scope)
    }

    /// Takes over nothing, where no base is left: the new generation begins with what its first transaction brings.
    pub fn start_empty(&mut self) -> Result<(), RebuildError> {
        if self.source.is_some() {
            return Err(RebuildError::Order);
        }
        let head = Head {
            revision: Revision::new(self.generation, Sequence(0)),
            digests: Digests::default(),
            chain: self.proof.genesis(self.generation),
        };
        self.source = Some(Source { scope: Scope::ConfigurationAndLocal, head });
        Ok(())
    }

    /// Loads the rows of a base and proves them against its head. Memory is a frame.
    pub fn put_base(&mut self, base: &mut dyn Read) -> Result<Head, RebuildError> {
        if self.source.is_some() {
            return Err(RebuildError::Order);
        }
        let (BaseHeader { scope, head, origin: _, wrapped_key: _ }, header, tag) =
            read_header(base).map_err(base_error)?;
        if self.proof.base_header(&header) != tag {
            return Err(RebuildError::BaseKey);
        }
        let (wanted, of_base) = (self.generation, head.revision.generation());
        if wanted <= of_base {
            return Err(RebuildError::NotAbove { wanted, base: of_base });
        }
        let digests = self.load_rows(base, scope, head.revision)?;
        if let Some(class) = digests.first_difference(&head.digests, scope) {
            return Err(RebuildError::Digest { class, at: head.revision });
        }
        let head = Head { digests, ..head };
        self.source = Some(Source { scope, head });
        Ok(head)
    }

    fn load_rows(
        &mut self,
        base: &mut dyn Read,
        scope: Scope,
        last: Revision,
    ) -> Result<Digests, RebuildError> {
        let malformed = RebuildError::DecodeBase { source: Malformed::bytes("base") };
        let (mut digests, mut counts) = (Digests::default(), Counts::default());
        let mut before: Option<RowKey> = None;
        loop {
            let rows = match read_frame(base).map_err(base_error)? {
                Frame::Rows(rows) => rows,
                Frame::End(expected) if expected == counts => return Ok(digests),
                Frame::End(_) => return Err(malformed),
            };
            for row in rows {
                let ascends = before.as_ref().is_none_or(|before| *before < row.key);
                if !ascends || !scope.covers(row.class) || row.revision > last {
                    return Err(malformed);
                }
                insert_row(&self.connection, &row).map_err(write_error)?;
                self.proof.add(&mut digests, &row);
                counts.add(row.class);
                before = Some(row.key);
            }
        }
    }

    /// Applies a whole segment. Entries that are already in are skipped, a gap is an error.
    pub fn apply_segment(&mut self, segment: &[u8]) -> Result<Head, RebuildError> {
        Ok(self.apply_segment_until(segment, Until::End)?.head)
    }

    /// Applies the entries of a segment up to a point.
    pub fn apply_segment_until(&mut self, segment: &[u8], until: Until) -> Result<Applied, RebuildError> {
        let Source { scope, mut head } = self.source.ok_or(RebuildError::Order)?;
        let segment = decode_segment(segment).map_err(|source| RebuildError::DecodeSegment { source })?;
        if Class::ALL.into_iter().any(|class| scope.covers(class) && !segment.scope.covers(class)) {
            return Err(RebuildError::ScopeDiffers);
        }
        for entry in segment.entries {
            if self.is_in(&entry, &head)? {
                continue;
            }
            if !until.allows(&entry) {
                return Ok(Applied { head, reached: true });
            }
            head = self.apply_entry(&entry, scope, &head)?;
            self.source = Some(Source { scope, head });
        }
        Ok(Applied { head, reached: false })
    }

    /// Whether the entry was taken over before. It must follow otherwise.
    fn is_in(&self, entry: &Entry, head: &Head) -> Result<bool, RebuildError> {
        let next = Sequence((head.revision.sequence().0 + 1).min(Sequence::MAX.0));
        let next = Revision::new(head.revision.generation(), next);
        if entry.revision.generation() != head.revision.generation() || entry.revision > next {
            return Err(RebuildError::Gap { expected: next, found: entry.revision });
        }
        if entry.revision == head.revision && entry.digest != head.chain {
            return Err(RebuildError::Chain { at: entry.revision });
        }
        Ok(entry.revision <= head.revision)
    }

    fn apply_entry(&mut self, entry: &Entry, scope: Scope, head: &Head) -> Result<Head, RebuildError> {
        let at = entry.revision;
        if entry.previous != head.chain || self.proof.entry(entry) != entry.digest {
            return Err(RebuildError::Chain { at });
        }
        let decode = |source| RebuildError::DecodeSegment { source };
        let mut effects = Vec::new();
        for class in Class::ALL.into_iter().filter(|&class| scope.covers(class)) {
            if let Part::LeftOut(_) = entry.parts[class.index()] {
                return Err(RebuildError::ScopeDiffers);
            }
            effects.extend(entry.effects(class).map_err(decode)?);
        }
        let mut digests = head.digests;
        // A row that changes its class leaves one part and enters another: first all that goes, then all that comes.
        for effect in &effects {
            match effect {
                Effect::Deleted(Record { key, .. }) | Effect::Left(key) => self.remove(key, &mut digests)?,
                Effect::Created(_) | Effect::Updated { .. } => {}
            }
        }
        for effect in &effects {
            match effect {
                Effect::Created(row) | Effect::Updated { record: row, before: _ } => {
                    self.put(row, &mut digests)?;
                }
                Effect::Deleted(_) | Effect::Left(_) => {}
            }
        }
        if let Some(class) = digests.first_difference(&entry.digests, scope) {
            return Err(RebuildError::Digest { class, at });
        }
        Ok(Head { revision: at, digests, chain: entry.digest })
    }

    /// A row that is not there makes no difference here; the digests tell.
    fn remove(&self, key: &RowKey, digests: &mut Digests) -> Result<(), RebuildError> {
        if let Some(found) = find_row(&self.connection, key).map_err(write_error)? {
            delete_row(&self.connection, &found).map_err(write_error)?;
            self.proof.remove(digests, &found.record);
        }
        Ok(())
    }

    fn put(&self, row: &Record, digests: &mut Digests) -> Result<(), RebuildError> {
        match find_row(&self.connection, &row.key).map_err(write_error)? {
            Some(found) => {
                update_row(&self.connection, &found, row).map_err(write_error)?;
                self.proof.remove(digests, &found.record);
            }
            None => insert_row(&self.connection, row).map_err(write_error)?,
        }
        self.proof.add(digests, row);
        Ok(())
    }

    /// Opens the new generation: `first` says what changes before anybody sees it. Its changes are the first
    /// entries of the new journal; there is at least one entry, even if it says nothing.
    pub fn finish<E: From<RebuildError>>(
        self,
        actor: &Actor,
        first: impl FnOnce(&mut FirstTransaction<'_>) -> Result<(), E>,
    ) -> Result<Prepared, E> {
        let source = self.source.ok_or(RebuildError::Order)?;
        let mut transaction = FirstTransaction::begin(&self, source.head, actor);
        first(&mut transaction)?;
        let head = transaction.close()?;
        Ok(self.seal(source, head)?)
    }

    fn seal(self, source: Source, head: Head) -> Result<Prepared, RebuildError> {
        let Self { path, generation, connection, proof, clock, wrapped_key, source: _, building } = self;
        put_head(&connection, &head).map_err(write_error)?;
        let Head { revision, digests: _, chain } = source.head;
        if revision.generation() != generation {
            let origin = Origin { revision, chain };
            put_meta(&connection, meta::ORIGIN, &encode_origin(Some(&origin))).map_err(write_error)?;
        }
        put_meta(&connection, meta::FINGERPRINT, &proof.fingerprint()).map_err(write_error)?;
        put_meta(&connection, meta::WRAPPED_KEY, &wrapped_key).map_err(write_error)?;
        connection.execute_batch("COMMIT").map_err(write_error)?;
        connection.close().map_err(|(_, error)| write_error(error))?;

        let fail = |source| RebuildError::File { path: path.clone(), source };
        File::open(&path).and_then(|file| file.sync_all()).map_err(fail)?;
        path.parent().map_or(Ok(()), sync_folder).map_err(fail)?;
        let opening = Opening { path: &path, proof, clock };
        let database =
            opening.open(generation).map_err(|source| RebuildError::Open { source: Box::new(source) })?;
        Ok(Prepared { database, generation, building })
    }
}
