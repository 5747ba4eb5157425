//! A run of the DR policy: copies what lies only on the platform's volume (Legacy), ships to the head of the journal,
//! writes a manifest that names that point, and lets retention decide which earlier runs go. Shipping goes on meanwhile.

mod locks;
pub(super) mod retention;

use std::collections::BTreeSet;

use keelson_catalog::{Class, Query, ReadError, RowKey, Stored};
use keelson_crypto::ObjectKind;
use keelson_model::recovery::DrMode;
use keelson_model::{RepositoryId, Revision, SessionId, retention::Tiers};
use keelson_repository::{OutcomeDraft, SessionPurpose};
use keelson_resources::actions::run::DrRun;
use keelson_store::{StoreError, StoreExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::actions::Finished;
use crate::documents;
use crate::engine::{Failure, Job};
use crate::export;
use crate::kinds;
use crate::locations::Location;
use crate::platform::commit;
use crate::policies::Policy;
use crate::records::Record;
use crate::recovery::documents::{DOCUMENT_VERSION, ManifestDocument};
use crate::recovery::ship::{self, Reached, scope_of, summary_of};
use crate::recovery::{RecoveryError, enable, state};
use crate::restore_points::{Artifact, ContentInternal, ExportedTo};
use crate::streams::new_session;

const PAGE: usize = 200;

/// What the outcome of a run says of itself: retention reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RunDescription {
    manual: bool,
    tiers: Tiers,
    action_time: jiff::Timestamp,
}

pub(crate) async fn execute(job: &Job, policy: &Policy) -> Result<Finished, Failure> {
    let dr = policy.parsed.disaster_recovery.as_ref().ok_or(RecoveryError::NotEnabled)?;
    let (profile, mode) = (dr.profile.as_str(), enable::mode_of(&job.platform, dr));
    enable::enable(&job.platform, profile, mode).await?;
    let location =
        job.platform.open_writable(profile).await.map_err(|source| RecoveryError::Location { source })?;
    if mode == DrMode::Legacy {
        copy_local_points(job, &location).await?;
    }
    let reached = ship::ship_now(&job.platform).await?;
    locks::lengthen(&job.platform, &reached).await?;
    let manifest = write_manifest(job, policy, &reached).await?;
    retention::apply(&job.platform, &reached, &location, &policy.parsed.retention_of(false)).await?;
    state::write_last_run(&job.platform, job.platform.clock.now()).await?;
    let mut finished = Finished::default();
    let made = DrRun {
        mode: manifest.mode,
        at: manifest.at.to_string(),
        base: manifest.base.to_string(),
        state: manifest.state.into(),
    };
    finished.status.insert("disasterRecovery".to_owned(), json!(made));
    Ok(finished)
}

async fn write_manifest(
    job: &Job,
    policy: &Policy,
    reached: &Reached,
) -> Result<ManifestDocument, RecoveryError> {
    let now = job.platform.clock.now();
    let at = reached.at;
    match reached.shelf().manifest(at).await {
        // A run at the same position names the same state.
        Ok(earlier) => return Ok(earlier),
        Err(RecoveryError::Fetch { source: StoreError::NotFound { .. }, .. }) => {}
        Err(error) => return Err(error),
    }
    let scheduled = job.action.body.spec["scheduledTime"].as_str().and_then(|text| text.parse().ok());
    let schedule = policy.parsed.schedule.as_ref();
    let tiers = scheduled.and_then(|at| Some(schedule?.tiers_at(at)));
    let description = RunDescription {
        manual: scheduled.is_none(),
        tiers: tiers.unwrap_or(Tiers::NONE),
        action_time: scheduled.unwrap_or(now),
    };
    let outcome = record_outcome(reached, &description, now).await?;
    let scope = scope_of(reached.mode);
    let state = summary_of(&reached.head, Some(scope), reached.base.state.counts.clone());
    debug_assert!(!scope.covers(Class::Derived));
    let manifest = ManifestDocument {
        version: DOCUMENT_VERSION,
        at,
        base: reached.base.at,
        mode: reached.mode,
        created: now,
        state,
        outcome,
    };
    let path = reached.folder.manifest(at);
    let keys = reached.repository.keyring();
    let bytes = documents::seal(keys.newest(), ObjectKind::Manifest, &path, &manifest)
        .map_err(|source| RecoveryError::Document { source })?;
    match reached.store.create(&path, bytes).await {
        Ok(_) => {}
        Err(StoreError::AlreadyExists { .. }) => return reached.shelf().manifest(at).await,
        Err(source) => return Err(RecoveryError::Put { path, source }),
    }
    retention::keep_facts(&job.platform, reached, &manifest, &description).await?;
    Ok(manifest)
}

async fn record_outcome(
    reached: &Reached,
    description: &RunDescription,
    now: jiff::Timestamp,
) -> Result<SessionId, RecoveryError> {
    let indexed =
        reached.repository.load_index().await.map_err(|source| RecoveryError::LoadIndex { source })?;
    let session = indexed
        .begin(new_session(SessionPurpose::Backup, now))
        .await
        .map_err(|source| RecoveryError::Begin { source })?;
    let draft = OutcomeDraft {
        created: now,
        description: serde_json::to_vec(description).expect("plain data"),
        streams: Vec::new(),
        retain_until: None,
    };
    let outcome = session.commit(draft).await.map_err(|source| RecoveryError::CommitOutcome { source })?;
    Ok(outcome.id)
}

/// Legacy holds local restore points too: what lies on the platform's volume is copied once, deduplicated. Looks at the
/// contents that changed since the last run, and at all of them where the journal does not reach back so far.
async fn copy_local_points(job: &Job, location: &Location) -> Result<(), Failure> {
    let through = job.database.head().revision;
    let copying = Copying { job, location, local: job.platform.local_repository_id() };
    let copied = state::copied(&job.platform, copying.repository().await?)?;
    match copied {
        Some(since) if copying.changed_since(since).await? => {}
        Some(_) | None => copying.all().await?,
    }
    state::write_copied(&job.platform, copying.repository().await?, through).await?;
    Ok(())
}

struct Copying<'a> {
    job: &'a Job,
    location: &'a Location,
    /// The repository on the platform's volume.
    local: RepositoryId,
}

impl Copying<'_> {
    async fn repository(&self) -> Result<RepositoryId, RecoveryError> {
        let slot = self.job.platform.shipper.lock().await;
        let shipper = slot.as_ref().ok_or(RecoveryError::NotEnabled)?;
        Ok(shipper.target().repository.id())
    }

    async fn all(&self) -> Result<(), Failure> {
        let mut query = Query::all(kinds::restore_point_contents(), PAGE);
        loop {
            let page =
                self.job.database.list(&query).map_err(|source| RecoveryError::ReadState { source })?;
            for stored in &page.rows {
                self.copy(stored).await?;
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Says whether the journal reaches back so far.
    async fn changed_since(&self, mut since: Revision) -> Result<bool, Failure> {
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

    async fn copy(&self, stored: &Stored) -> Result<(), Failure> {
        let content = Record::parse(stored)?;
        let internal: ContentInternal = content.internal()?;
        let artifact = &internal.artifact;
        if artifact.repository != self.local || artifact.exported.is_some() || artifact.copy.is_some() {
            return Ok(());
        }
        copy_local_point(self.job, self.location, content, internal).await
    }
}

async fn copy_local_point(
    job: &Job,
    location: &Location,
    mut content: Record,
    mut internal: ContentInternal,
) -> Result<(), Failure> {
    let from = job.platform.local_repository().await?;
    let (repository, root) = {
        let slot = job.platform.shipper.lock().await;
        let shipper = slot.as_ref().ok_or(RecoveryError::NotEnabled)?;
        (shipper.target().repository.clone(), shipper.target().folder.repository().to_string())
    };
    let stored = export::copy(job, &from, &repository, &internal.artifact, &content).await?;
    let exported = ExportedTo { profile: location.profile.clone(), place: location.place.clone(), root };
    internal.artifact.copy = Some(Box::new(Artifact {
        repository: stored.repository,
        outcome: stored.outcome,
        exported: Some(exported),
        copy: None,
        stored_bytes: stored.stored_bytes,
        ..internal.artifact.clone()
    }));
    content.body.internal = serde_json::to_value(&internal).expect("plain data");
    let written = commit(&job.database, "disaster recovery", vec![content.replace()]).await;
    // A content that has changed meanwhile is copied by the next run.
    match written {
        Ok(_) | Err(keelson_catalog::CommitError::Conflict { .. }) => Ok(()),
        Err(source) => Err(RecoveryError::WriteState { source }.into()),
    }
}
