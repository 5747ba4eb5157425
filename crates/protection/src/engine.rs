//! Carries out actions: finds what is unfinished, runs it in bounded slots, tries again, records the end.
//!
//! Guarantees: an action that was acknowledged is carried out or ends `Failed` with a reason, across restarts;
//! its result and its end are one commit. Assumes: the steps of a use case may run again after a kill.
//! What somebody cancels is tried no more and ends `Cancelled`, unless it is done by then.
//! Limits: [`ATTEMPTS_MAX`] attempts, a killed process counting as one; [`SLOTS`] data actions at once.

mod backlog;
mod ending;
mod job;
mod phases;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use keelson_catalog::{Change, Database, Expect, RowKey};
use keelson_model::action::ActionState;
use keelson_model::{Classified, ErrorClass};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, info_span, warn};

use crate::access;
use crate::actions::{self, ActionInternal, Finished, Told, Work};
use crate::cancel::Attempt;
use crate::engine::backlog::{Backlog, Taken, waits_for_others};
use crate::engine::ending::{end, end_cancelled, give_up, note_failed_attempt, tell_unrecorded};
use crate::platform::{Platform, commit};
use crate::records::Record;
use crate::{backup, batch, export, import, report, restore, retire, run, upgrade, validate};

pub(crate) use job::{Failure, Job};

pub(crate) const ATTEMPTS_MAX: u32 = 3;
/// Data actions at once: each may hold four packs of 16 MiB in flight, so this bounds memory too.
const SLOTS: usize = 4;
/// The list is longer than one look, and there is room.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
const BETWEEN_ATTEMPTS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];
/// An action that could not even be begun stays in hand for so long: the catalog takes or gives nothing just now.
const BEFORE_BEGINNING_AGAIN: Duration = Duration::from_secs(5);
const ACTOR: &str = "engine";

/// Runs until stopped. What is in flight then is taken up again by the next process.
pub(crate) async fn run_actions(platform: Arc<Platform>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(SLOTS));
    let mut commits = platform.commits();
    let mut backlog = Backlog::new();
    let mut running = JoinSet::new();
    let mut owner: HashMap<tokio::task::Id, String> = HashMap::new();
    loop {
        commits.borrow_and_update();
        let taken = take(&platform, &mut backlog);
        for work in taken.work {
            let span = info_span!("action", kind = work.kind, namespace = work.namespace, name = work.name);
            let uid = work.uid.clone();
            let task = carry_out(platform.clone(), work, slots.clone(), stop.child_token()).instrument(span);
            owner.insert(running.spawn(task).id(), uid);
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(LOOK_AGAIN), if taken.more => (),
            changed = commits.changed() => if changed.is_err() { break },
            Some(ended) = running.join_next_with_id() => {
                let id = match &ended { Ok((id, ())) => *id, Err(error) => error.id() };
                if let Err(error) = ended {
                    error!(error = &error as &dyn std::error::Error, "an action's task ended abnormally");
                }
                if let Some(uid) = owner.remove(&id) {
                    backlog.let_go(&uid);
                }
            }
        }
    }
    while running.join_next().await.is_some() {}
    // An object that a restore deleted to make it anew is not left deleted.
    platform.cluster.finish_steps().await;
}

fn take(platform: &Platform, backlog: &mut Backlog) -> Taken {
    let Ok(database) = platform.catalog() else { return Taken::default() };
    backlog.take(&database).unwrap_or_else(|error| {
        warn!(error = &error as &dyn std::error::Error, "the list of unfinished actions could not be read");
        Taken::default()
    })
}

pub(crate) fn read(database: &Database, key: &RowKey) -> Result<Option<Record>, ReadRecordError> {
    let stored =
        database.read(key).map_err(|source| ReadRecordError::Read { name: key.name.clone(), source })?;
    stored
        .map(|stored| Record::parse(&stored))
        .transpose()
        .map_err(|source| ReadRecordError::Decode { name: key.name.clone(), source })
}

/// A row is there but cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadRecordError {
    #[error("read '{name}' from the catalog")]
    Read { name: String, source: keelson_catalog::ReadError },
    #[error("decode '{name}' of the catalog")]
    Decode { name: String, source: crate::records::DecodeRecordError },
}

impl Classified for ReadRecordError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. } => source.class(),
            Self::Decode { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "catalog.row.read",
            Self::Decode { source, .. } => source.code(),
        }
    }
}

/// Attempts one action until it has ended or the process stops.
async fn carry_out(platform: Arc<Platform>, work: Work, slots: Arc<Semaphore>, stop: CancellationToken) {
    let under_way = platform.attempts.begin(&work.uid);
    loop {
        let Some(slot) = slot_for(&work, &slots, &stop).await else { return };
        let job = match begin_attempt(&platform, &work, &under_way).await {
            Begun::Attempt(job) => *job,
            Begun::NothingLeft => return,
            Begun::NotNow => {
                let _ = tokio::time::timeout(BEFORE_BEGINNING_AGAIN, stop.cancelled()).await;
                return;
            }
        };
        let attempt = job.internal.attempts;
        let result = tokio::select! {
            result = perform(&job) => result,
            () = superseded(&job) => return info!("a recovery has replaced the catalog of this action"),
            () = stop.cancelled() => return,
        };
        let ended = match result {
            Ok(finished) => end(&job, finished).await,
            Err(failure) => Err(failure),
        };
        let Err(failure) = ended else { return };
        if job.is_cancelled() {
            return end_cancelled(&job, &failure).await;
        }
        let again = failure.0.class().is_retryable() && attempt < ATTEMPTS_MAX;
        if !again {
            return give_up(&job, &failure).await;
        }
        note_failed_attempt(&job, &failure).await;
        drop(slot);
        let pause = BETWEEN_ATTEMPTS[(attempt as usize - 1).min(BETWEEN_ATTEMPTS.len() - 1)];
        tokio::select! {
            () = tokio::time::sleep(pause) => (),
            // It looks whether an attempt before left something that is done.
            () = under_way.cancelled() => (),
            () = stop.cancelled() => return,
        }
    }
}

/// Ends when another catalog than the job's is in use. There the action has failed already, or never was.
async fn superseded(job: &Job) {
    let mut commits = job.platform.commits();
    let own = job.database.generation();
    loop {
        commits.borrow_and_update();
        if job.platform.catalog().is_ok_and(|catalog| catalog.generation() != own) {
            return;
        }
        if commits.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// What only waits for its children takes no slot: otherwise it could take them all.
async fn slot_for(
    work: &Work,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<Option<OwnedSemaphorePermit>> {
    if waits_for_others(work) {
        return Some(None);
    }
    tokio::select! {
        slot = slots.clone().acquire_owned() => slot.ok().map(Some),
        () = stop.cancelled() => None,
    }
}

/// What became of the beginning of an attempt.
enum Begun {
    Attempt(Box<Job>),
    /// The action is gone or has ended.
    NothingLeft,
    /// The catalog could not be read or written.
    NotNow,
}

/// Counts the attempt before anything is done, so that a crash counts too.
async fn begin_attempt(platform: &Arc<Platform>, work: &Work, under_way: &Attempt<'_>) -> Begun {
    let Ok(database) = platform.catalog() else { return Begun::NotNow };
    let mut action = match read(&database, &work.action()) {
        Ok(Some(action)) if action.uid == work.uid && !has_ended(&action) => action,
        Ok(_) => return forget(&database, work).await,
        Err(error) => {
            error!(error = &error as &dyn std::error::Error, "an action cannot be read");
            return Begun::NotNow;
        }
    };
    let mut internal: ActionInternal = action.internal().unwrap_or_default();
    phases::close_interrupted(&mut internal.phases, platform.clock.now());
    if internal.cancelled_by.is_some() {
        under_way.cancel();
    } else if internal.attempts >= ATTEMPTS_MAX {
        let message =
            format!("given up after {ATTEMPTS_MAX} attempts: the process ended in the middle of each");
        let told = Told::plain(&message, ErrorClass::Cancelled);
        actions::set_phases(&mut action, &internal.phases);
        let changes = actions::fail(&mut action, &told, platform.clock.now());
        let ended = commit(&database, ACTOR, changes).await.map(drop);
        let begun = if ended.is_ok() { Begun::NothingLeft } else { Begun::NotNow };
        tell_unrecorded(ended);
        return begun;
    }
    internal.attempts += 1;
    action.body.internal = serde_json::to_value(&internal).expect("plain data");
    actions::set_state(&mut action, ActionState::Running);
    if action.body.status.get("startTime").is_none() {
        actions::set_status(&mut action, "startTime", json!(platform.clock.now()));
    }
    let revision = match commit(&database, ACTOR, vec![action.replace()]).await {
        Ok(revision) => revision,
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "an attempt could not begin");
            return Begun::NotNow;
        }
    };
    action.revision = Some(revision);
    Begun::Attempt(Box::new(Job::new(platform, database, action, internal, under_way.token())))
}

/// Cancelled while it waited for its turn.
fn has_ended(action: &Record) -> bool {
    actions::state(action).is_some_and(ActionState::is_finished)
}

/// The action was deleted or has ended: nothing is owed to anybody.
async fn forget(database: &Database, work: &Work) -> Begun {
    let key = RowKey { kind: actions::work_kind(), namespace: String::new(), name: work.uid.clone() };
    let changes =
        vec![Change::Delete { key, expect: Expect::Any }, Change::DropSteps { run: work.uid.clone() }];
    if let Err(error) = commit(database, ACTOR, changes).await {
        warn!(
            error = &error as &dyn std::error::Error,
            "the work of an action that is over stays on the list"
        );
        return Begun::NotNow;
    }
    Begun::NothingLeft
}

async fn perform(job: &Job) -> Result<Finished, Failure> {
    access::check_action(job).await?;
    carry_out_kind(job).await
}

fn carry_out_kind(job: &Job) -> BoxFuture<'_, Result<Finished, Failure>> {
    let kind = job.action.kind.as_str();
    match keelson_resources::kind_of_row(kind).map(|info| info.kind) {
        Some("RunAction") => run::execute(job).boxed(),
        Some("BackupAction" | "BackupClusterAction") => backup::execute(job).boxed(),
        Some("BatchRestoreAction") => batch::execute(job).boxed(),
        Some("ExportAction") => export::execute(job).boxed(),
        Some("ImportAction") => import::execute(job).boxed(),
        Some("ReportAction") => report::execute(job).boxed(),
        Some("RestoreAction" | "RestoreClusterAction") => restore::execute(job).boxed(),
        Some("RetireAction") => retire::execute(job).boxed(),
        Some("UpgradeAction") => upgrade::execute(job).boxed(),
        Some("ValidateAction") => validate::execute(job).boxed(),
        _ => ready(Err(UnknownAction { kind: kind.to_owned() }.into())).boxed(),
    }
}

/// A newer platform wrote an action that this one does not know.
#[derive(Debug, thiserror::Error)]
#[error("this version carries out no '{kind}'")]
struct UnknownAction {
    kind: String,
}

impl Classified for UnknownAction {
    fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }

    fn code(&self) -> &'static str {
        "action.unknown_kind"
    }
}
