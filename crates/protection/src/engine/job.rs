//! One attempt at one action: what a use case is given, and what it may record on its way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keelson_catalog::{Change, CommitError, Database};
use keelson_model::action::ActionState;
use keelson_model::{Causes, Chain, Classified, ErrorClass};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::actions::{self, ActionInternal, Told};
use crate::cancel::Cancelled;
use crate::engine::phases::Phases;
use crate::engine::{ACTOR, ReadRecordError, read};
use crate::platform::{Platform, commit};
use crate::records::Record;
use crate::requester::Requester;

const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Why an attempt ended without a result.
#[derive(Debug)]
pub(crate) struct Failure(pub(super) Box<dyn Classified>);

impl<E: Classified> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl Failure {
    pub(crate) fn class(&self) -> ErrorClass {
        self.0.class()
    }

    pub(crate) fn told(&self) -> Told {
        let chain = Chain(&*self.0);
        let message = match self.0.hint() {
            Some(hint) => format!("{chain}; hint: {hint}"),
            None => chain.to_string(),
        };
        Told { message, cause: Causes(&*self.0).to_string(), class: self.0.class() }
    }
}

/// One attempt at one action.
pub(crate) struct Job {
    pub platform: Arc<Platform>,
    pub database: Database,
    pub action: Record,
    pub internal: ActionInternal,
    /// Fires when somebody cancels the action; it has fired already where that was before this attempt.
    cancelled: CancellationToken,
    phases: Phases,
    /// When progress was last shown.
    reported: Mutex<Option<tokio::time::Instant>>,
}

/// A step's result could not be kept, or what was kept cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error("record step '{step}' of action '{action}'")]
    Record { step: &'static str, action: String, source: CommitError },
    #[error("read the steps of action '{action}'")]
    Read { action: String, source: keelson_catalog::ReadError },
    #[error("decode step '{step}' of action '{action}'")]
    Decode { step: &'static str, action: String, source: serde_json::Error },
}

impl Classified for StepError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Record { source, .. } => source.class(),
            Self::Read { source, .. } => source.class(),
            Self::Decode { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Record { .. } => "action.step.record",
            Self::Read { .. } => "action.step.read",
            Self::Decode { .. } => "action.step.decode",
        }
    }
}

impl Job {
    pub(super) fn new(
        platform: &Arc<Platform>,
        database: Database,
        action: Record,
        internal: ActionInternal,
        cancelled: CancellationToken,
    ) -> Self {
        let phases = Phases::of(internal.phases.clone());
        let (platform, reported) = (platform.clone(), Mutex::new(None));
        Self { platform, database, action, internal, cancelled, phases, reported }
    }

    /// Asked between the phases of an action: after this nothing is begun that would have to be taken back.
    pub(crate) fn check_cancelled(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Who cancelled the action: whoever asked for it, as long as nobody did.
    pub(crate) fn cancelled_by(&self) -> Result<String, ReadRecordError> {
        let now = read(&self.database, &self.action.key())?;
        let internal = now.and_then(|action| action.internal::<ActionInternal>().ok());
        let cancelled_by = internal.and_then(|internal| internal.cancelled_by);
        Ok(cancelled_by.unwrap_or_else(|| self.requester().name().to_owned()))
    }

    /// Works until somebody cancels the action, and drops the work then: for what may be left at any await.
    pub(crate) async fn unless_cancelled<T, E: From<Cancelled>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::select! {
            biased;
            () = self.cancelled.cancelled() => Err(Cancelled.into()),
            done = work => done,
        }
    }

    /// Who asked for the action.
    pub(crate) fn requester(&self) -> Requester {
        self.internal.requester.clone().unwrap_or(Requester::Platform)
    }

    /// What an earlier attempt recorded under this name.
    pub(crate) fn recorded<T: DeserializeOwned>(&self, step: &'static str) -> Result<Option<T>, StepError> {
        let action = || self.action.name.clone();
        let steps = self
            .database
            .steps(&self.action.uid)
            .map_err(|source| StepError::Read { action: action(), source })?;
        let Some(found) = steps.into_iter().find(|known| known.name == step) else { return Ok(None) };
        serde_json::from_slice(&found.result).map(Some).map_err(|source| StepError::Decode {
            step,
            action: action(),
            source,
        })
    }

    pub(crate) async fn record<T: Serialize>(&self, step: &'static str, result: &T) -> Result<(), StepError> {
        let change = Change::RecordStep {
            run: self.action.uid.clone(),
            step: step.to_owned(),
            result: serde_json::to_vec(result).expect("a step's result is plain data"),
        };
        commit(&self.database, ACTOR, vec![change]).await.map(drop).map_err(|source| StepError::Record {
            step,
            action: self.action.name.clone(),
            source,
        })
    }

    /// The plan of this action: decided once, the same in every later attempt.
    pub(crate) async fn plan<T: Serialize + DeserializeOwned>(
        &self,
        decide: impl FnOnce() -> T,
    ) -> Result<T, StepError> {
        if let Some(plan) = self.recorded("plan")? {
            return Ok(plan);
        }
        let plan = decide();
        self.record("plan", &plan).await?;
        Ok(plan)
    }

    /// One phase of the action, which is the same in every attempt. What becomes of it is told by the action's details.
    pub(crate) async fn phase<T>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.phases.begin(name, self.internal.attempts, self.platform.clock.now());
        self.show(|_| {}).await;
        // What reads and writes a bucket is large, and would lie in every future above.
        let done = Box::pin(work).await;
        let (state, why) = match &done {
            Ok(_) => (ActionState::Complete, None),
            Err(_) if self.is_cancelled() => (ActionState::Cancelled, None),
            Err(failure) => (ActionState::Failed, Some(failure.told())),
        };
        self.phases.end(name, state, why.as_ref(), self.platform.clock.now());
        done
    }

    /// Writes what is known of the phases into an action that is about to be written.
    pub(super) fn tell_phases(&self, action: &mut Record) {
        actions::set_phases(action, &self.phases.list());
    }

    /// Shows progress, at most every ten seconds.
    pub(crate) async fn progress(&self, percent: u8) {
        self.progress_with(percent, |_| {}).await;
    }

    /// The same, with more to say than a percentage.
    pub(crate) async fn progress_with(&self, percent: u8, more: impl FnOnce(&mut Record)) {
        {
            let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
            if reported.is_some_and(|reported| reported.elapsed() < PROGRESS_EVERY) {
                return;
            }
            *reported = Some(tokio::time::Instant::now());
        }
        self.phases.touch(self.platform.clock.now());
        self.show(|action| {
            actions::set_status(action, "progress", json!(percent.min(99)));
            more(action);
        })
        .await;
    }

    /// Keeps what the details of the action tell besides its phases, also when the action fails.
    pub(crate) async fn tell_details(&self, details: &impl Serialize) {
        self.show(|action| actions::set_details(action, details)).await;
    }

    /// Shows how far the action is. Nothing depends on that.
    pub(crate) async fn show(&self, change: impl FnOnce(&mut Record)) {
        let Ok(Some(mut action)) = read(&self.database, &self.action.key()) else { return };
        if action.uid != self.action.uid {
            return;
        }
        change(&mut action);
        self.tell_phases(&mut action);
        if let Err(error) = commit(&self.database, ACTOR, vec![action.replace()]).await {
            info!(error = &error as &dyn std::error::Error, "progress was not recorded");
        }
    }
}
