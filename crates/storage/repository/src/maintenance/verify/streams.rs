//! Streams: every node of every tree is read, and every chunk that it names must be somewhere.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::outcomes::{is_root, read_all};
use super::{Damage, Verifier, VerifyError};
use crate::maintenance::outcomes::OutcomeRead;
use crate::read::{ChunkReader, ReadError, walk_chunks};

impl Verifier<'_> {
    pub(super) async fn walk_streams(&mut self) -> Result<(), VerifyError> {
        let core = Arc::clone(&self.core);
        let chunks = ChunkReader::new(&core, &self.index);
        let mut outcomes = read_all(&core);
        while let Some(read) = outcomes.next().await {
            let OutcomeRead { id, outcome, .. } = read?;
            let Ok(outcome) = outcome else { continue };
            let needed = self.moves.needed_by(&outcome);
            let damaged = needed.iter().any(|pack| self.damaged_packs.contains_key(pack));
            // A damaged pack is a finding already; its outcome is named there.
            if self.retired.contains(&id) || !is_root(&outcome) || damaged {
                continue;
            }
            for stream in outcome.streams() {
                let walked =
                    walk_chunks(chunks.clone(), &stream.reference).try_for_each(|()| async { Ok(()) });
                match walked.await {
                    Ok(()) => {}
                    Err(ReadError::Chunk { chunk, source }) if !source.is_damage() => {
                        return Err(VerifyError::Stream { source: ReadError::Chunk { chunk, source } });
                    }
                    Err(error) => {
                        let (path, stream) = (core.paths.outcome(id), stream.name.clone());
                        self.find(Damage::Stream { path, stream, error }, vec![id]);
                    }
                }
            }
        }
        Ok(())
    }
}
