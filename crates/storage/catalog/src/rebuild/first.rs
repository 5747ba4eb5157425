//! The first transaction of a new generation: settles what the loss of the source left open.

use keelson_model::{Generation, Revision, Sequence};

use super::Rebuild;
use crate::change::{Actor, Change};
use crate::database::draft::{Applier, Draft, check};
use crate::database::lookup;
use crate::database::writer::next_revision;
use crate::digest::Head;
use crate::error::{CommitError, ReadError, RebuildError};
use crate::format::body::{BodyDecoder, BodyEncoder};
use crate::limits::FIRST_ENTRY_BYTES;
use crate::query::{Page, Query};
use crate::row::{RowKey, Stored};

/// Reads the taken-over rows, page by page, and changes them.
///
/// Reads see the changes made so far. However many changes there are, memory stays flat: they are cut into
/// entries, which become visible together.
pub struct FirstTransaction<'a> {
    rebuild: &'a Rebuild,
    actor: &'a Actor,
    source: Head,
    /// After the entries that are closed.
    head: Head,
    draft: Draft,
    encoder: BodyEncoder,
    decoder: BodyDecoder,
}

fn first_error(source: CommitError) -> RebuildError {
    RebuildError::First { source: Box::new(source) }
}

impl<'a> FirstTransaction<'a> {
    pub(super) fn begin(rebuild: &'a Rebuild, source: Head, actor: &'a Actor) -> Self {
        let start = Revision::new(rebuild.generation, Sequence(0));
        let first = Revision::new(rebuild.generation, Sequence(1));
        Self {
            rebuild,
            actor,
            source,
            head: Head { revision: start, ..source },
            draft: Draft::new(first, source.digests),
            encoder: BodyEncoder::new(),
            decoder: BodyDecoder::new(),
        }
    }

    /// What was taken over.
    pub fn source(&self) -> Head {
        self.source
    }

    /// The generation that begins.
    pub fn generation(&self) -> Generation {
        self.rebuild.generation
    }

    /// One row, if it is there.
    pub fn read(&mut self, key: &RowKey) -> Result<Option<Stored>, RebuildError> {
        lookup::read(&self.rebuild.connection, &mut self.decoder, key).map_err(read_error)
    }

    /// One page of a kind.
    pub fn list(&mut self, query: &Query) -> Result<Page, RebuildError> {
        lookup::list(&self.rebuild.connection, &mut self.decoder, query, self.head.revision)
            .map_err(read_error)
    }

    /// Applies a change. After an error the recovery cannot go on.
    pub fn change(&mut self, change: Change) -> Result<(), RebuildError> {
        check(&change).map_err(first_error)?;
        let again = match &change {
            Change::Put { row, expect: _ } => self.draft.names(&row.key()),
            Change::Delete { key, expect: _ } => self.draft.names(key),
            Change::RecordStep { .. } | Change::DropSteps { .. } => false,
        };
        if again || self.draft.bytes() >= FIRST_ENTRY_BYTES {
            self.close_entry()?;
        }
        let mut applier = Applier {
            connection: &self.rebuild.connection,
            proof: &self.rebuild.proof,
            bodies: &mut self.encoder,
        };
        self.draft.apply(&mut applier, change).map_err(first_error)
    }

    /// Closes the last entry; the only one may be empty.
    pub(super) fn close(mut self) -> Result<Head, RebuildError> {
        if self.draft.bytes() > 0 || self.head.revision.sequence() == Sequence(0) {
            self.close_entry()?;
        }
        Ok(self.head)
    }

    fn close_entry(&mut self) -> Result<(), RebuildError> {
        // The draft is replaced below, once the head it starts from is known.
        let draft = std::mem::replace(&mut self.draft, Draft::new(self.head.revision, self.head.digests));
        let at = self.rebuild.clock.now().as_microsecond();
        let applier = Applier {
            connection: &self.rebuild.connection,
            proof: &self.rebuild.proof,
            bodies: &mut self.encoder,
        };
        self.head = draft.append(&applier, self.head.chain, at, self.actor).map_err(first_error)?;
        let next = next_revision(self.head.revision).map_err(first_error)?;
        self.draft = Draft::new(next, self.head.digests);
        Ok(())
    }
}

fn read_error(source: ReadError) -> RebuildError {
    RebuildError::Read { source }
}
