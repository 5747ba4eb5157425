//! How an action ends: what it made and its end are one commit, over whatever the action has become meanwhile.

use keelson_catalog::{Change, CommitError, Expect};
use keelson_model::action::ActionState;
use keelson_model::{Classified, ErrorClass};
use tracing::{error, info, warn};

use crate::actions::{self, Finished};
use crate::engine::{ACTOR, Failure, Job, ReadRecordError, read};
use crate::platform::commit;
use crate::records::Record;

/// Of writing the end of an action that changes meanwhile.
const FINISH_TRIES_MAX: u32 = 5;

/// Writes the end and what the action made. Where that cannot be written the action has failed, and says why.
pub(super) async fn end(job: &Job, finished: Finished) -> Result<(), Failure> {
    let ended = finish(job, |action, now| finished.clone().apply(action, now)).await;
    match ended {
        Ok(()) => {
            info!("the action has ended");
            Ok(())
        }
        Err(FinishError::Commit { source: CommitError::Conflict { key, expected: Expect::Absent, .. } }) => {
            Err(EndError::Taken { key: key.to_string() }.into())
        }
        Err(source) => Err(EndError::Record { action: job.action.name.clone(), source }.into()),
    }
}

/// What an action made cannot be recorded.
#[derive(Debug, thiserror::Error)]
enum EndError {
    #[error("{key} exists already and is not of this action")]
    Taken { key: String },
    #[error("record the end of action '{action}'")]
    Record { action: String, source: FinishError },
}

impl Classified for EndError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Taken { .. } => ErrorClass::Invalid,
            Self::Record { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Taken { .. } => "action.end.taken",
            Self::Record { .. } => "action.end.record",
        }
    }
}

/// What became of an action was not written down.
#[derive(Debug, thiserror::Error)]
enum FinishError {
    #[error("read the action")]
    Read { source: ReadRecordError },
    #[error("write the action")]
    Commit { source: CommitError },
}

impl Classified for FinishError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source } => source.class(),
            Self::Commit { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Read { source } => source.code(),
            Self::Commit { source } => source.code(),
        }
    }
}

pub(super) async fn give_up(job: &Job, failure: &Failure) {
    let told = failure.told();
    warn!(code = failure.0.code(), cause = told.cause, "action failed");
    let ended = finish(job, |action, now| actions::fail(action, &told, now)).await;
    tell_unrecorded(ended);
}

/// Whatever stopped it: it was to stop.
pub(super) async fn end_cancelled(job: &Job, failure: &Failure) {
    info!(code = failure.0.code(), "the action was cancelled");
    let ended = finish(job, actions::cancel).await;
    tell_unrecorded(ended);
}

pub(super) async fn note_failed_attempt(job: &Job, failure: &Failure) {
    let told = failure.told();
    warn!(code = failure.0.code(), cause = told.cause, "attempt failed, trying again");
    let noted = finish(job, |action, _| {
        actions::set_state(action, ActionState::AttemptFailed);
        actions::set_status(action, "error", told.to_json());
        vec![action.replace()]
    });
    tell_unrecorded(noted.await);
}

/// Reads the action as it is now, changes it, commits. Progress may move it in between: then once more.
async fn finish(
    job: &Job,
    mut change: impl FnMut(&mut Record, jiff::Timestamp) -> Vec<Change>,
) -> Result<(), FinishError> {
    let mut tries = 0;
    loop {
        let found = read(&job.database, &job.action.key());
        let Some(mut action) = found.map_err(|source| FinishError::Read { source })? else { return Ok(()) };
        if action.uid != job.action.uid {
            return Ok(());
        }
        job.tell_phases(&mut action);
        let changes = change(&mut action, job.platform.clock.now());
        match commit(&job.database, ACTOR, changes).await {
            Ok(_) => return Ok(()),
            Err(CommitError::Conflict { key, .. }) if key == action.key() && tries < FINISH_TRIES_MAX => {
                tries += 1;
            }
            Err(source) => return Err(FinishError::Commit { source }),
        }
    }
}

pub(super) fn tell_unrecorded<E: std::error::Error + 'static>(ended: Result<(), E>) {
    if let Err(error) = ended {
        error!(error = &error as &dyn std::error::Error, "what became of an action was not recorded");
    }
}
