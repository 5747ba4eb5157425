//! All outcomes of a repository, read several at a time in the order of their ids.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use keelson_model::SessionId;
use keelson_store::{ObjectMeta, StoreError, StoreExt};

use crate::core::Core;
use crate::limits::OUTCOME_READS_IN_FLIGHT;
use crate::object::ObjectError;
use crate::outcome::{Outcome, fetch_outcome};
use crate::paths;

/// An outcome as it was listed and read.
pub(crate) struct OutcomeRead {
    pub(crate) id: SessionId,
    /// Later versions lie over it.
    pub(crate) altered: bool,
    /// When the store took it.
    pub(crate) stored_at: Timestamp,
    pub(crate) outcome: Result<Outcome, ObjectError>,
}

/// Which outcomes are read.
#[derive(Clone, Copy)]
pub(crate) enum Wanted<'a> {
    All,
    These(&'a HashSet<SessionId>),
    AllBut(&'a HashSet<SessionId>),
}

impl Wanted<'_> {
    fn contains(self, id: &SessionId) -> bool {
        match self {
            Self::All => true,
            Self::These(ids) => ids.contains(id),
            Self::AllBut(ids) => !ids.contains(id),
        }
    }
}

/// Reads outcomes. An error of the stream is one of the listing.
pub(crate) fn read_outcomes<'a>(
    core: &'a Arc<Core>,
    wanted: Wanted<'a>,
) -> BoxStream<'a, Result<OutcomeRead, StoreError>> {
    let folder = core.paths.join(paths::OUTCOMES);
    let listed = core.store.stream(&folder);
    let chosen = listed.filter_map(move |object| {
        std::future::ready(match object {
            Err(error) => Some(Err(error)),
            Ok(object) => {
                let id = paths::parse_name::<SessionId>(&object.path).filter(|id| wanted.contains(id));
                id.map(|id| Ok((id, object)))
            }
        })
    });
    let reads = chosen.map(move |chosen| async move {
        let (id, object) = chosen?;
        let ObjectMeta { version, altered, modified, .. } = object;
        let outcome = fetch_outcome(core, id, version).await;
        Ok(OutcomeRead { id, altered, stored_at: modified, outcome })
    });
    reads.buffered(OUTCOME_READS_IN_FLIGHT).boxed()
}
