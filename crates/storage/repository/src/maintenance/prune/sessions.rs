//! Waiting for the sessions that were there when the mark was made, and ending those that have outlived their life.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use keelson_crypto::{ObjectId, ObjectKind};
use keelson_model::{SessionId, later};
use keelson_store::{ObjectMeta, PutOptions, StoreError, StoreExt};

use super::PruneError;
use super::observe::list;
use crate::core::Core;
use crate::format::outcome_record::{OutcomeRecord, SessionResult};
use crate::format::session_record::{SessionPurpose, SessionRecord};
use crate::limits::UNREADABLE_SESSION_LIFE;
use crate::object::{Expected, ObjectError, WriteObjectError, seal_record};
use crate::paths;

/// Sessions without an outcome. Those that began later are none of its business.
pub(super) struct Waiting(BTreeMap<SessionId, Life>);

#[derive(Clone, Copy)]
struct Life {
    purpose: SessionPurpose,
    until: Timestamp,
}

impl Waiting {
    /// Lists sessions first and outcomes afterwards: who commits between the two need not be waited for.
    pub(super) async fn begin(core: &Arc<Core>) -> Result<Self, PruneError> {
        let sessions = list(core, paths::SESSIONS).await?.into_iter();
        let sessions: HashSet<SessionId> =
            sessions.filter_map(|object| paths::parse_name(&object.path.parent()?)).collect();
        let mut waiting: BTreeMap<_, _> = sessions
            .into_iter()
            .map(|id| (id, Life { purpose: SessionPurpose::Backup, until: Timestamp::MIN }))
            .collect();
        let folder = core.paths.join(paths::OUTCOMES);
        let mut outcomes = core.store.stream(&folder);
        while let Some(outcome) = outcomes.next().await {
            let outcome = outcome.map_err(|source| PruneError::List { folder: folder.clone(), source })?;
            if let Some(id) = paths::parse_name(&outcome.path) {
                waiting.remove(&id);
            }
        }
        Ok(Self(waiting))
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn longest(&self) -> Option<(SessionId, Timestamp)> {
        self.0.iter().map(|(id, life)| (*id, life.until)).max_by_key(|(_, until)| *until)
    }

    /// Forgets those that have ended, and ends those whose life has passed. Gives the number of the latter.
    pub(super) async fn look(&mut self, core: &Arc<Core>, now: Timestamp) -> Result<u64, PruneError> {
        let mut ended = 0;
        let ids: Vec<_> = self.0.keys().copied().collect();
        for id in ids {
            let path = core.paths.outcome(id);
            let there = core.store.exists(&path).await;
            if there.map_err(|source| PruneError::Look { path, source })? {
                self.0.remove(&id);
                continue;
            }
            // What was known may be out of date: a renewal may have come.
            let Some(life) = read_life(core, id).await? else {
                // Somebody removed its records, which happens only after its outcome was there.
                self.0.remove(&id);
                continue;
            };
            if life.until < now {
                ended += u64::from(end(core, id, life.purpose, now).await?);
                self.0.remove(&id);
            } else {
                self.0.insert(id, life);
            }
        }
        Ok(ended)
    }
}

/// Until when a session lives, renewals included. `None` if no record of it is there.
pub(super) async fn read_end_of_life(
    core: &Arc<Core>,
    id: SessionId,
) -> Result<Option<Timestamp>, PruneError> {
    Ok(read_life(core, id).await?.map(|life| life.until))
}

/// Ends a session if its life has passed. Says whether it was ended now, by us.
pub(super) async fn end_if_overdue(
    core: &Arc<Core>,
    id: SessionId,
    now: Timestamp,
) -> Result<bool, PruneError> {
    match read_life(core, id).await? {
        Some(life) if life.until < now => end(core, id, life.purpose, now).await,
        Some(_) | None => Ok(false),
    }
}

/// `None` if no record of the session is there.
async fn read_life(core: &Arc<Core>, id: SessionId) -> Result<Option<Life>, PruneError> {
    let mut longest: Option<Life> = None;
    for object in list(core, &format!("{}/{id}", paths::SESSIONS)).await? {
        let life = match fetch_session(core, id, &object).await {
            Ok(SessionRecord { purpose, lives_until: until, .. }) => Life { purpose, until },
            Err(ObjectError::Missing { .. }) => continue,
            Err(error) if error.is_damage() => {
                tracing::warn!(error = &error as &dyn std::error::Error, "session record cannot be read");
                let until = later(object.modified, UNREADABLE_SESSION_LIFE);
                Life { purpose: SessionPurpose::Backup, until }
            }
            Err(source) => return Err(PruneError::Read { source: Box::new(source) }),
        };
        longest = longest.filter(|longest| longest.until >= life.until).or(Some(life));
    }
    Ok(longest)
}

async fn fetch_session(
    core: &Core,
    id: SessionId,
    object: &ObjectMeta,
) -> Result<SessionRecord, ObjectError> {
    let id = ObjectId::from_bytes(*id.as_bytes());
    let expected = Expected { kind: ObjectKind::Session, id, path: object.path.clone() };
    let bytes = expected.fetch(core.store.as_ref(), object.version.clone()).await?;
    let body = expected.open_record(&core.keys, &bytes)?;
    SessionRecord::decode(&body).map_err(|source| expected.decode_error(source))
}

/// Creates `outcomes/<id>`. Whoever is first has ended the session; says whether that was us.
async fn end(
    core: &Core,
    id: SessionId,
    purpose: SessionPurpose,
    now: Timestamp,
) -> Result<bool, PruneError> {
    let (path, object_id) = (core.paths.outcome(id), ObjectId::from_bytes(*id.as_bytes()));
    let record = OutcomeRecord::bare(SessionResult::Aborted, purpose, now);
    let object = seal_record(&core.keys, ObjectKind::Outcome, object_id, &record.encode());
    let object = object.map_err(|source| PruneError::Write {
        source: WriteObjectError::Seal { path: path.clone(), source },
    })?;
    match core.store.put(&path, object.bytes, PutOptions::create()).await {
        Ok(_) => Ok(true),
        Err(StoreError::AlreadyExists { .. }) => Ok(false),
        Err(source) => Err(PruneError::Write { source: WriteObjectError::Put { path, source } }),
    }
}
