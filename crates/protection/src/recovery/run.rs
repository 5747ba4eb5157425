//! A run of the DR policy: copies what lies only on the platform's volume (Legacy), ships to the head of the journal,
//! writes a manifest that names that point, and lets retention decide which earlier runs go.

use std::collections::BTreeMap;

use keelson_catalog::{Class, Head, Query};
use keelson_crypto::ObjectKind;
use keelson_model::recovery::DrMode;
use keelson_model::retention::{Origin, Point, RunResult, decide_retired};
use keelson_model::{SessionId, retention::Tiers};
use keelson_repository::{OutcomeDraft, Ownership, RetireError, SessionPurpose};
use keelson_store::{StoreError, StoreExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::actions::Finished;
use crate::documents;
use crate::engine::{Failure, Job};
use crate::export;
use crate::kinds;
use crate::layout::{Epoch, Position};
use crate::locations::Location;
use crate::ownership;
use crate::platform::commit;
use crate::policies::Policy;
use crate::records::Record;
use crate::recovery::documents::{DOCUMENT_VERSION, ManifestDocument};
use crate::recovery::open::{positions, read_document};
use crate::recovery::ship::{Shipper, scope_of, summary_of};
use crate::recovery::{RecoveryError, enable};
use crate::restore_points::{Artifact, ContentInternal, ExportedTo};
use crate::streams::new_session;

const PAGE: usize = 200;
/// Tries to find the journal's head still while others commit.
const HEAD_TRIES_MAX: usize = 5;

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
    let mut slot = job.platform.shipper.lock().await;
    let shipper = slot.as_mut().ok_or(RecoveryError::NotEnabled)?;
    let head = reach_head(job, shipper).await?;
    let manifest = write_manifest(job, policy, shipper, &head).await?;
    retire_runs(job, policy, shipper, &location).await?;
    let mut finished = Finished::default();
    finished.status.insert(
        "disasterRecovery".to_owned(),
        json!({ "mode": mode, "at": manifest.at.to_string(), "base": manifest.base.to_string(),
                "state": manifest.state }),
    );
    Ok(finished)
}

/// Ships until nothing was committed in between, so that the manifest names exactly what lies in the store.
async fn reach_head(job: &Job, shipper: &mut Shipper) -> Result<Head, RecoveryError> {
    let mut head = shipper.ship(&job.platform).await?;
    for _ in 1..HEAD_TRIES_MAX {
        if shipper.shipped() == head.revision.sequence() {
            break;
        }
        head = shipper.ship(&job.platform).await?;
    }
    Ok(head)
}

async fn write_manifest(
    job: &Job,
    policy: &Policy,
    shipper: &Shipper,
    head: &Head,
) -> Result<ManifestDocument, RecoveryError> {
    let now = job.platform.clock.now();
    let scheduled = job.action.body.spec["scheduledTime"].as_str().and_then(|text| text.parse().ok());
    let schedule = policy.parsed.schedule.as_ref();
    let tiers = scheduled.and_then(|at| Some(schedule?.tiers_at(at)));
    let description = RunDescription {
        manual: scheduled.is_none(),
        tiers: tiers.unwrap_or(Tiers::NONE),
        action_time: scheduled.unwrap_or(now),
    };
    let outcome = record_outcome(shipper, &description, now).await?;
    let at = shipper.position(head.revision.sequence());
    let base = shipper.base.as_ref().map_or(at, |base| base.document.at);
    let scope = scope_of(shipper.mode());
    let counts: BTreeMap<String, u64> =
        shipper.base.as_ref().map(|base| base.document.state.counts.clone()).unwrap_or_default();
    let state = summary_of(head, Some(scope), counts);
    debug_assert!(!scope.covers(Class::Derived));
    let manifest = ManifestDocument {
        version: DOCUMENT_VERSION,
        at,
        base,
        mode: shipper.mode(),
        created: now,
        state,
        outcome,
    };
    let path = shipper.folder().manifest(at);
    let bytes =
        documents::seal(shipper.repository.keyring().newest(), ObjectKind::Manifest, &path, &manifest)
            .map_err(|source| RecoveryError::Document { source })?;
    match shipper.store().create(&path, bytes).await {
        // A run at the same position names the same state.
        Ok(_) | Err(StoreError::AlreadyExists { .. }) => Ok(manifest),
        Err(source) => Err(RecoveryError::Put { path, source }),
    }
}

async fn record_outcome(
    shipper: &Shipper,
    description: &RunDescription,
    now: jiff::Timestamp,
) -> Result<SessionId, RecoveryError> {
    let indexed =
        shipper.repository.load_index().await.map_err(|source| RecoveryError::LoadIndex { source })?;
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

/// Legacy holds local restore points too: what lies on the platform's volume is copied once, deduplicated.
async fn copy_local_points(job: &Job, location: &Location) -> Result<(), Failure> {
    let mut query = Query::all(kinds::restore_point_contents(), PAGE);
    loop {
        let page = job.database.list(&query).map_err(|source| RecoveryError::ReadState { source })?;
        for stored in &page.rows {
            let content = Record::parse(stored)?;
            let internal: ContentInternal = content.internal()?;
            if internal.artifact.exported.is_none() && internal.artifact.copy.is_none() {
                copy_local_point(job, location, content, internal).await?;
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(()),
        }
    }
}

async fn copy_local_point(
    job: &Job,
    location: &Location,
    mut content: Record,
    mut internal: ContentInternal,
) -> Result<(), Failure> {
    let from = job.platform.local_repository().await?;
    if from.id() != internal.artifact.repository {
        return Ok(());
    }
    let (repository, root) = {
        let slot = job.platform.shipper.lock().await;
        let shipper = slot.as_ref().ok_or(RecoveryError::NotEnabled)?;
        (shipper.repository.clone(), shipper.folder().repository().to_string())
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

/// Runs that retention lets go are stated as retired; bases and segments that nobody needs are left to pruning.
async fn retire_runs(
    job: &Job,
    policy: &Policy,
    shipper: &Shipper,
    location: &Location,
) -> Result<(), RecoveryError> {
    let runs = standing_runs(shipper).await?;
    let points: Vec<Point<Position>> = runs
        .iter()
        .map(|(manifest, run)| Point {
            id: manifest.at,
            time: run.action_time,
            origin: if run.manual { Origin::Manual } else { Origin::Schedule },
            result: RunResult::Succeeded,
            tiers: run.tiers,
        })
        .collect();
    let retired = decide_retired(&points, &policy.parsed.retention_of(false));
    if retired.is_empty() {
        return Ok(());
    }
    let proof = match ownership::prove(&job.platform, location, &job.platform.cluster_id).await {
        Ok(Epoch(epoch)) => {
            Ownership::proven_by_newest_epoch(job.platform.identity().lineage, u64::from(epoch))
        }
        Err(refusal) => {
            tracing::info!(reason = %refusal, "retention of DR runs waits");
            return Ok(());
        }
    };
    for (manifest, _) in runs.iter().filter(|(manifest, _)| retired.contains(&manifest.at)) {
        let stated = shipper.repository.retire(manifest.outcome, &proof, job.platform.clock.now()).await;
        match stated {
            Ok(_) | Err(RetireError::Absent { .. }) => {}
            Err(source) => return Err(RecoveryError::ListRetired { source }),
        }
    }
    Ok(())
}

/// The manifests that are not retired, each with what its run recorded.
async fn standing_runs(shipper: &Shipper) -> Result<Vec<(ManifestDocument, RunDescription)>, RecoveryError> {
    let store = &**shipper.store();
    let repository = &shipper.repository;
    let retired = repository.list_retired().await.map_err(|source| RecoveryError::ListRetired { source })?;
    let mut runs = Vec::new();
    for at in positions(store, &shipper.folder().manifests()).await? {
        let path = shipper.folder().manifest(at);
        let manifest: ManifestDocument =
            read_document(store, repository, ObjectKind::Manifest, &path).await?;
        if retired.iter().any(|retirement| retirement.outcome == manifest.outcome) {
            continue;
        }
        let outcome = repository.fetch_outcome(manifest.outcome).await;
        let outcome = outcome.map_err(|source| RecoveryError::FetchObject { source })?;
        let Ok(run) = serde_json::from_slice(outcome.description()) else { continue };
        runs.push((manifest, run));
    }
    Ok(runs)
}
