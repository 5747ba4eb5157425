//! A run of the DR policy: copies what lies only on the platform's volume (Legacy), ships to the head of the journal,
//! writes a manifest that names that point, and lets retention decide which earlier runs go. Shipping goes on meanwhile.

mod copies;
pub(super) mod locks;
pub(crate) mod retention;

use keelson_catalog::Class;
use keelson_crypto::ObjectKind;
use keelson_model::recovery::DrMode;
use keelson_model::{SessionId, retention::Tiers};
use keelson_repository::{OutcomeDraft, SessionPurpose};
use keelson_resources::actions::run::DrRun;
use keelson_store::{StoreError, StoreExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::locks::Lengthened;
use crate::actions::Finished;
use crate::documents;
use crate::engine::{Failure, Job};
use crate::policies::Policy;
use crate::recovery::documents::{DOCUMENT_VERSION, ManifestDocument};
use crate::recovery::ship::{self, Reached, scope_of, summary_of};
use crate::recovery::{RecoveryError, enable, state};
use crate::streams::new_session;

/// What the outcome of a run says of itself: retention reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunDescription {
    manual: bool,
    tiers: Tiers,
    action_time: jiff::Timestamp,
}

pub(crate) async fn execute(job: &Job, policy: &Policy) -> Result<Finished, Failure> {
    let dr = policy.parsed.disaster_recovery.as_ref().ok_or(RecoveryError::NotEnabled)?;
    job.check_cancelled()?;
    let (profile, mode) = (dr.profile.as_str(), enable::mode_of(&job.platform, dr));
    enable::enable(&job.platform, profile, mode).await?;
    let location =
        job.platform.open_writable(profile).await.map_err(|source| RecoveryError::Location { source })?;
    enable::require_ownership(&job.platform, &location).await?;
    let copying = async {
        if mode == DrMode::Legacy {
            Box::pin(copies::copy_points(job, &location)).await
        } else {
            Ok(Vec::new())
        }
    };
    let left_behind = job.phase("Copying local restore points", copying).await?;
    job.check_cancelled()?;
    let shipping = async {
        let reached = Box::pin(ship::ship_now(&job.platform)).await?;
        job.platform.unlisted.note_use(reached.repository.id());
        let lengthened = Box::pin(locks::lengthen(&job.platform, &reached)).await?;
        Ok((reached, lengthened))
    };
    let (reached, lengthened) = job.phase("Shipping the catalog", shipping).await?;
    // What was shipped stays; from here on the run is made, whoever wants it no more.
    job.check_cancelled()?;
    let writing = async { Ok(Box::pin(write_manifest(job, policy, &reached, lengthened)).await?) };
    let manifest = job.phase("Writing the manifest", writing).await?;
    let kept = policy.parsed.retention_of(false);
    let retiring = async { Ok(Box::pin(retention::apply(&job.platform, &reached, &location, &kept)).await?) };
    job.phase("Applying retention", retiring).await?;
    state::write_last_run(&job.platform, job.platform.clock.now()).await?;
    let mut finished = Finished { exceptions: left_behind, ..Finished::default() };
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
    _lengthened: Lengthened,
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
