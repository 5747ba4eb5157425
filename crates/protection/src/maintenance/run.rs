//! One run of maintenance in one repository: whether it may begin, how long it may take, and how it went, step by step.

use std::time::Duration;

use jiff::Timestamp;
use keelson_model::{GoDuration, RepositoryId};
use keelson_repository::{Open, Repository};
use keelson_resources::Time;
use keelson_resources::storage_repository::{CommandResult, ProcessResult, StorageRepositorySpec};
use tokio::time::Instant;

use super::Trouble;
use crate::maintenance::places::Place;
use crate::platform::Platform;
use crate::storage_repositories;

const PROCEDURE: &str = "maintenanceRun";

pub(super) struct Run {
    repository: RepositoryId,
    name: String,
    start: Timestamp,
    begun: Instant,
    timeout: Duration,
    steps: Vec<CommandResult>,
}

impl Run {
    /// Refused where people have said so.
    pub(super) fn begin(platform: &Platform, repository: &Repository<Open>) -> Result<Self, Trouble> {
        let settings = settings(platform, repository.id())?;
        let name = repository.root().to_string();
        if settings.disable_maintenance {
            let place = if repository.root().is_root() { "the platform's volume" } else { name.as_str() };
            return Err(Trouble::Refused(format!("the maintenance of '{place}' is disabled")));
        }
        Ok(Self {
            repository: repository.id(),
            name,
            start: platform.clock.now(),
            begun: Instant::now(),
            timeout: settings.process_timeout(),
            steps: Vec::new(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Does one step, or what is left of one, within the time that the run has left. What is cut short is what a stop would
    /// leave: the next run finishes it.
    pub(super) async fn step<T, E: Into<Trouble>>(
        &mut self,
        platform: &Platform,
        desc: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Trouble> {
        let start = Time(platform.clock.now());
        let left = self.timeout.saturating_sub(self.begun.elapsed());
        let done = if left.is_zero() { None } else { tokio::time::timeout(left, Box::pin(work)).await.ok() };
        let done = done.map_or_else(|| Err(self.out_of_time()), |done| done.map_err(Into::into));
        let error = done.as_ref().err().map(|trouble: &Trouble| trouble.why().to_owned());
        let (end_time, succeeded) = (Time(platform.clock.now()), error.is_none());
        match self.steps.last_mut().filter(|last| last.desc == desc) {
            Some(last) => {
                (last.end_time, last.succeeded, last.error) = (end_time, succeeded, error);
            }
            None => self.steps.push(CommandResult {
                desc: desc.to_owned(),
                start_time: start,
                end_time,
                error,
                succeeded,
            }),
        }
        done
    }

    fn out_of_time(&self) -> Trouble {
        let timeout = GoDuration(self.timeout);
        Trouble::Failed(format!(
            "it took longer than its backgroundProcessTimeout of {timeout}; the next run goes on"
        ))
    }

    /// Tells how it went; `why` is what stood in the way of its end.
    pub(super) async fn end(self, platform: &Platform, why: Option<String>) {
        let error = why.or_else(|| self.steps.iter().find_map(|step| step.error.clone()));
        let result = ProcessResult {
            start: Time(self.start),
            end: Time(platform.clock.now()),
            procedure: PROCEDURE.to_owned(),
            succeeded: error.is_none(),
            error,
            command_results: self.steps,
        };
        storage_repositories::note_run(platform, self.repository, &result).await;
    }
}

impl Trouble {
    fn why(&self) -> &str {
        match self {
            Self::Refused(why) | Self::Failed(why) => why,
        }
    }
}

/// No run could begin in any repository of a place.
pub(super) async fn note_all_failed(platform: &Platform, place: &Place, why: &str) {
    let now = Time(platform.clock.now());
    let result = ProcessResult {
        start: now,
        end: now,
        procedure: PROCEDURE.to_owned(),
        succeeded: false,
        error: Some(why.to_owned()),
        command_results: Vec::new(),
    };
    for repository in place.repositories(platform) {
        if settings(platform, repository).is_ok_and(|settings| !settings.disable_maintenance) {
            storage_repositories::note_run(platform, repository, &result).await;
        }
    }
}

/// What cannot be read is not taken for a permission.
fn settings(platform: &Platform, repository: RepositoryId) -> Result<StorageRepositorySpec, Trouble> {
    Ok(storage_repositories::settings(&platform.catalog()?, repository)?)
}
