//! Cancelling actions: the wish is kept in the action, so that it outlives the process, and told to the attempt under way.
//!
//! Guarantees: what was not begun never begins. An attempt that has not stored its result stores none, closes its sessions
//! and is followed by no other; one that has, ends with what it made, so that nothing is left that nobody names. What a
//! restore has put back by then stays.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keelson_catalog::{Actor, CommitError, Database, RowKey};
use keelson_model::action::ActionState;
use keelson_model::{Classified, ErrorClass};
use tokio_util::sync::CancellationToken;

use crate::actions::{self, ActionInternal};
use crate::engine::{ReadRecordError, read};
use crate::platform::{Platform, commit};
use crate::records::Record;

/// Tries when the action changes meanwhile.
const TRIES_MAX: u32 = 5;

/// Somebody wants no more of the action.
#[derive(Debug, thiserror::Error)]
#[error("the action was cancelled")]
pub(crate) struct Cancelled;

impl Classified for Cancelled {
    fn class(&self) -> ErrorClass {
        ErrorClass::Cancelled
    }

    fn code(&self) -> &'static str {
        "action.cancelled"
    }
}

/// The actions that are carried out at the moment, by uid.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<HashMap<String, CancellationToken>>);

/// One of them, for as long as it is.
pub(crate) struct Attempt<'a> {
    attempts: &'a Attempts,
    uid: String,
    token: CancellationToken,
}

impl Attempts {
    /// Must be called before the action is read: a wish that comes later finds the attempt, an earlier one is read.
    pub(crate) fn begin(&self, uid: &str) -> Attempt<'_> {
        let token = CancellationToken::new();
        self.lock().insert(uid.to_owned(), token.clone());
        Attempt { attempts: self, uid: uid.to_owned(), token }
    }

    fn cancel(&self, uid: &str) {
        if let Some(token) = self.lock().get(uid) {
            token.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    pub(crate) fn cancel(&self) {
        self.token.cancel();
    }

    pub(crate) async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    pub(crate) fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.attempts.lock().remove(&self.uid);
    }
}

/// What somebody finds who wants to cancel an action.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    /// There is nothing left to cancel.
    Ended(ActionState),
    /// It is cancelled, or will be as soon as whoever carries it out comes to it.
    Unfinished,
    /// The same, and somebody wanted it before: nothing was written for this wish.
    Wanted,
}

/// An action was not cancelled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CancelError {
    #[error("read the action that is to be cancelled")]
    Read { source: ReadRecordError },
    #[error("write that the action is cancelled")]
    Commit { source: CommitError },
}

impl Classified for CancelError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source } => source.class(),
            Self::Commit { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "cancel.read",
            Self::Commit { .. } => "cancel.commit",
        }
    }
}

/// What would be found.
pub(crate) fn look(database: &Database, key: &RowKey) -> Result<Found, ReadRecordError> {
    Ok(judge(read(database, key)?.as_ref()))
}

fn judge(action: Option<&Record>) -> Found {
    let Some(action) = action else { return Found::Nothing };
    match actions::state(action) {
        Some(state) if state.is_finished() => Found::Ended(state),
        Some(_) | None => Found::Unfinished,
    }
}

/// Cancels an action that has not ended. One that was never begun has ended then.
pub(crate) async fn cancel(
    platform: &Platform,
    database: &Database,
    key: &RowKey,
    by: &str,
    actor: impl Into<Actor>,
) -> Result<Found, CancelError> {
    let actor: Actor = actor.into();
    let mut tries = 0;
    loop {
        let found = read(database, key).map_err(|source| CancelError::Read { source })?;
        let standing = judge(found.as_ref());
        let (Some(mut action), Found::Unfinished) = (found, &standing) else { return Ok(standing) };
        let known: ActionInternal = action.internal().unwrap_or_default();
        if known.cancelled_by.is_some() {
            platform.attempts.cancel(&action.uid);
            return Ok(Found::Wanted);
        }
        actions::note_cancelled(&mut action, by);
        let changes = match known.attempts {
            0 => actions::cancel(&mut action, platform.clock.now()),
            _ => vec![action.replace()],
        };
        match commit(database, actor.clone(), changes).await {
            Ok(_) => {}
            Err(CommitError::Conflict { key: changed, .. }) if changed == *key && tries < TRIES_MAX => {
                tries += 1;
                continue;
            }
            Err(source) => return Err(CancelError::Commit { source }),
        }
        platform.attempts.cancel(&action.uid);
        return Ok(Found::Unfinished);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_hears_of_a_wish_while_it_lasts_and_not_of_one_for_another() {
        let attempts = Attempts::default();
        let (one, other) = (attempts.begin("one"), attempts.begin("other"));
        attempts.cancel("one");
        attempts.cancel("nobody");
        assert!(one.token().is_cancelled() && !other.token().is_cancelled());
        drop(one);
        let again = attempts.begin("one");
        assert!(!again.token().is_cancelled(), "the wish is in the catalog and read from there");
        drop((again, other));
        assert!(attempts.lock().is_empty());
    }
}
