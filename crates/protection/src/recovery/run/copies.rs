//! Legacy holds local restore points too: what lies only on the platform's volume is copied into the repository of
//! disaster recovery, once and deduplicated; what a recovery left behind in another place follows to this one.
//!
//! Guarantees: a copy counts only where a recovery from here finds it. The one that it replaces stays named behind it, so
//! that the repository before stays whole and both go with their content. A copy that its content does not take any
//! more is noted as an orphan in the same commit that decides so. Looks at the contents that changed since the last run,
//! and at all of them where the journal does not reach back so far or something is still to be copied.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use keelson_catalog::{CommitError, Database, ReadError, RowKey, Stored};
use keelson_model::{RepositoryId, Revision};
use keelson_repository::{Open, Repository};
use serde_json::json;

use crate::contents;
use crate::engine::{Failure, Job, read};
use crate::export;
use crate::kinds;
use crate::locations::{Location, Place};
use crate::orphans;
use crate::platform::commit;
use crate::records::Record;
use crate::recovery::{RecoveryError, state};
use crate::restore_points::{self, Artifact, ContentInternal, ExportedTo, Retiring};

const PAGE: usize = 200;
/// Of naming a copy in a content that changes meanwhile.
const NAME_TRIES_MAX: usize = 5;
/// A run tells of so many points that could not be copied.
const TOLD_MAX: usize = 20;

/// Copies what has no copy here yet. Says what could not be had from where it was left; the next run tries it again.
pub(super) async fn copy_points(job: &Job, location: &Location) -> Result<Vec<String>, Failure> {
    let through = job.database.head().revision;
    let mut copying = Copying::begin(job, location).await?;
    let target = copying.target.id();
    match state::copied(&job.platform, target)? {
        Some(since) if copying.changed_since(since).await? => {}
        Some(_) | None => copying.all().await?,
    }
    if copying.left_behind.is_empty() {
        state::write_copied(&job.platform, target, through).await?;
    }
    Ok(copying.left_behind)
}

/// Where copies count.
#[derive(Debug, Clone)]
struct Here {
    /// The repository on the platform's volume.
    local: RepositoryId,
    /// The repository of disaster recovery in force, and where it lies.
    target: RepositoryId,
    place: Place,
}

impl Here {
    /// Whether a recovery from here finds what the artifact leads to, or nobody can help it.
    fn is_safe(&self, Artifact { repository, exported, copy, .. }: &Artifact) -> bool {
        match copy {
            _ if exported.is_some() => true,
            None => *repository != self.local,
            Some(copy) if *repository == self.local => copy.repository == self.target,
            // Nothing else is left of a lost cluster's backup. Within one place nothing is gained by moving it.
            Some(copy) => copy.exported.as_ref().is_some_and(|exported| exported.place == self.place),
        }
    }

    fn is_wanted(&self, database: &Database, content: &Record) -> Result<bool, Failure> {
        let ContentInternal { artifact, .. } = content.internal()?;
        Ok(!self.is_safe(&artifact) && restore_points::retiring(database, content)? != Retiring::Underway)
    }

    /// A content as it is now, unless it is gone, on its way out, or safe already.
    fn wanting(&self, database: &Database, content: &Record) -> Result<Option<Record>, Failure> {
        match read(database, &content.key())?.filter(|found| found.uid == content.uid) {
            Some(found) if self.is_wanted(database, &found)? => Ok(Some(found)),
            Some(_) | None => Ok(None),
        }
    }
}

struct Copying<'a> {
    job: &'a Job,
    here: Here,
    profile: String,
    target: Repository<Open>,
    /// The target's folder.
    root: String,
    left_behind: Vec<String>,
}

impl<'a> Copying<'a> {
    async fn begin(job: &'a Job, location: &Location) -> Result<Self, RecoveryError> {
        let slot = job.platform.shipper.lock().await;
        let target = slot.as_ref().ok_or(RecoveryError::NotEnabled)?.target();
        let here = Here {
            local: job.platform.local_repository_id(),
            target: target.repository.id(),
            place: location.place.clone(),
        };
        Ok(Self {
            job,
            here,
            profile: location.profile.clone(),
            target: target.repository.clone(),
            root: target.folder.repository().to_string(),
            left_behind: Vec::new(),
        })
    }

    async fn all(&mut self) -> Result<(), Failure> {
        let database = self.job.database.clone();
        for stored in contents::all(&database) {
            self.copy(&stored.map_err(|source| RecoveryError::ReadState { source })?).await?;
        }
        Ok(())
    }

    /// Says whether the journal reaches back so far.
    async fn changed_since(&mut self, mut since: Revision) -> Result<bool, Failure> {
        loop {
            let kind = kinds::restore_point_contents();
            let changes = match self.job.database.changes(&kind, None, since, PAGE) {
                Ok(changes) => changes,
                Err(ReadError::Expired { .. } | ReadError::AheadOfUs { .. }) => return Ok(false),
                Err(source) => return Err(RecoveryError::ReadState { source }.into()),
            };
            // As they are now: what an event tells may be gone since.
            let keys: BTreeSet<RowKey> = changes.events.iter().map(|event| event.stored.row.key()).collect();
            for key in keys {
                let stored =
                    self.job.database.read(&key).map_err(|source| RecoveryError::ReadState { source })?;
                if let Some(stored) = stored {
                    self.copy(&stored).await?;
                }
            }
            if changes.complete {
                return Ok(true);
            }
            since = changes.through;
        }
    }

    /// Copies one point, if it needs that. What lies here must be had; what was left elsewhere may be out of reach for good.
    async fn copy(&mut self, stored: &Stored) -> Result<(), Failure> {
        let content = Record::parse(stored)?;
        if !self.here.is_wanted(&self.job.database, &content)? {
            return Ok(());
        }
        let ContentInternal { artifact, .. } = content.internal()?;
        let Err(failure) = self.copy_artifact(&content, &artifact).await else { return Ok(()) };
        if self.here.wanting(&self.job.database, &content)?.is_none() {
            // It was retired under the copy.
            return Ok(());
        }
        if artifact.repository == self.here.local || self.job.is_cancelled() {
            return Err(failure);
        }
        let message = failure.told().message;
        tracing::warn!(content = content.name, cause = message, "a restore point stays where it was left");
        if self.left_behind.len() < TOLD_MAX {
            self.left_behind
                .push(format!("restore point content '{}' was not copied: {message}", content.name));
        }
        Ok(())
    }

    async fn copy_artifact(&self, content: &Record, artifact: &Artifact) -> Result<(), Failure> {
        let (from, source) = self.job.platform.open_artifact(artifact, None).await?;
        let stored = Box::pin(export::copy(self.job, &from, &self.target, &source, content)).await?;
        let (profile, place, root) = (self.profile.clone(), self.here.place.clone(), self.root.clone());
        let copy = Artifact {
            repository: stored.repository,
            outcome: stored.outcome,
            exported: Some(ExportedTo { profile, place, root, granted: None }),
            copy: None,
            objects: artifact.objects,
            bytes: artifact.bytes,
            stored_bytes: Some(stored.stored_bytes),
        };
        name(&self.job.database, &self.here, content, copy, self.job.platform.clock.now()).await
    }
}

/// Names a copy in its content as that is now. Where another run was faster, or the content goes, the copy is an orphan.
async fn name(
    database: &Database,
    here: &Here,
    content: &Record,
    copy: Artifact,
    now: jiff::Timestamp,
) -> Result<(), Failure> {
    let mut tries = 0;
    loop {
        let changes = match here.wanting(database, content)? {
            Some(mut found) => {
                let ContentInternal { artifact, .. } = found.internal()?;
                let copy = Artifact { copy: artifact.copy, ..copy.clone() };
                found.body.internal["artifact"]["copy"] = json!(copy);
                // An earlier attempt may have given it up, when the content was about to go.
                vec![found.replace(), orphans::forget(&copy)]
            }
            None => vec![orphans::note(&copy, now)],
        };
        match commit(database, "disaster recovery", changes).await {
            Ok(_) => return Ok(()),
            Err(CommitError::Conflict { .. }) if tries < NAME_TRIES_MAX => tries += 1,
            Err(source) => return Err(RecoveryError::WriteState { source }.into()),
        }
    }
}
