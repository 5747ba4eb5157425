//! Backup: reads an application, or the cluster scope, out of the cluster into a repository on the platform's own volume.
//!
//! Guarantees: the restore point and the end of the action are one commit, after the outcome is stored. What was left
//! out is listed in the outcome, and what of it is a loss is told by the action's exceptions. What cannot be read
//! fails the backup, unless `ignoreExceptions` says to go on without. Limits: volumes are not part of it yet; a claim is
//! reported.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use keelson_model::names::CLUSTER_SCOPE;
use keelson_model::retention::Tiers;
use keelson_model::{Classified, ErrorClass, RepositoryId, SessionId};
use keelson_repository::{
    LoadIndexError, NamedStream, ObjectError, Open, OutcomeDraft, Repository, Session, SessionError,
    SessionPurpose, SessionResult, StreamRef, WriteError,
};
use keelson_workload::{
    CaptureError, CaptureReport, CaptureRequest, CaptureScope, ClusterFilters, Filters, InvalidName, Layer,
    NamespaceName, ObjectEncoder, Omission, StatusRule,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::actions::Finished;
use crate::engine::{Failure, Job};
use crate::kinds;
use crate::restore_points::{self, Artifact, ContentInternal, NewPoint};
use crate::streams::{PIECES_IN_FLIGHT, from_channel, hold_writer, new_session};

/// Objects between the cluster and the encoders.
const OBJECTS_IN_FLIGHT: usize = 64;

/// A backup that was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error("'{name}' is no namespace")]
    Name { name: String, source: InvalidName },
    #[error("the filters of the backup are not understood")]
    Filters { source: serde_json::Error },
    #[error("capture {scope}")]
    Capture { scope: CaptureScope, source: CaptureError },
    #[error("{resource} of {scope} could not be read{}: {why}", and_more(*others))]
    Incomplete { scope: CaptureScope, resource: String, why: String, others: usize },
    #[error("load the index of the local repository")]
    LoadIndex { source: LoadIndexError },
    #[error("begin a session in the local repository")]
    Begin { source: SessionError },
    #[error("keep the session of the backup alive")]
    Hold { source: SessionError },
    #[error("store the {layer} of {scope}")]
    Write { scope: CaptureScope, layer: &'static str, source: WriteError },
    #[error("commit the backup of {scope}")]
    Commit { scope: CaptureScope, source: keelson_repository::CommitError },
    #[error("look whether an earlier attempt has stored '{outcome}'")]
    LookBack { outcome: SessionId, source: ObjectError },
    #[error("decode what an earlier attempt has stored as '{outcome}'")]
    Decode { outcome: SessionId, source: serde_json::Error },
}

fn and_more(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" (nor {others} more)") }
}

impl Classified for BackupError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Name { .. } | Self::Filters { .. } => ErrorClass::Invalid,
            Self::Capture { source, .. } => source.class(),
            Self::Incomplete { .. } => ErrorClass::Unavailable { retry_after: None },
            Self::LoadIndex { source } => source.class(),
            Self::Begin { source } | Self::Hold { source } => source.class(),
            Self::Write { source, .. } => source.class(),
            Self::Commit { source, .. } => source.class(),
            Self::LookBack { source, .. } => source.class(),
            Self::Decode { .. } => ErrorClass::Corrupt,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "backup.name",
            Self::Filters { .. } => "backup.filters",
            Self::Capture { .. } => "backup.capture",
            Self::Incomplete { .. } => "backup.incomplete",
            Self::LoadIndex { .. } => "backup.load_index",
            Self::Begin { .. } => "backup.begin",
            Self::Hold { .. } => "backup.hold",
            Self::Write { .. } => "backup.write",
            Self::Commit { .. } => "backup.commit",
            Self::LookBack { .. } => "backup.look_back",
            Self::Decode { .. } => "backup.decode",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Capture { source, .. } => source.hint(),
            Self::Incomplete { .. } => Some(
                "mend what is told, or leave it out by a filter; `kubectl get apiservices` shows which servers do not \
                 answer, and deleting the APIService of one that is gone for good ends it; with ignoreExceptions: true \
                 the backup goes on without what cannot be read"
                    .to_owned(),
            ),
            Self::Write { source, .. } => source.hint(),
            Self::Commit { source, .. } => source.hint(),
            _ => None,
        }
    }
}

/// What an outcome says of itself, so that a catalog can be rebuilt from the location alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BackupDescription {
    pub application: String,
    /// The name that the restore point has or had.
    pub point: String,
    pub labels: BTreeMap<String, String>,
    pub action_time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<Timestamp>,
    #[serde(default)]
    pub manual: bool,
    #[serde(default)]
    pub tiers: Tiers,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    pub report: CaptureReport,
    pub bytes: u64,
}

/// What is recorded once the outcome lies in the repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredBackup {
    pub repository: RepositoryId,
    pub outcome: SessionId,
    pub stored_bytes: u64,
    pub description: BackupDescription,
}

/// Written down just before an outcome is committed, so that an attempt after a kill finds what was stored.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Committing {
    repository: RepositoryId,
    outcome: SessionId,
    /// What is copied, if anything: one action may copy many.
    copy_of: Option<SessionId>,
    /// At least: the last packs are on their way yet.
    stored_bytes: u64,
}

const COMMITTING: &str = "committing";

/// Says what is about to be committed.
pub(crate) async fn note_committing(
    job: &Job,
    repository: &Repository<Open>,
    session: &Session,
    copy_of: Option<SessionId>,
) -> Result<(), Failure> {
    let stored_bytes = session.progress().read().bytes_sent;
    let (repository, outcome) = (repository.id(), session.id());
    job.record(COMMITTING, &Committing { repository, outcome, copy_of, stored_bytes }).await?;
    Ok(())
}

/// What an earlier attempt of this action committed and was killed before it could say so.
pub(crate) async fn committed_before(
    job: &Job,
    repository: &Repository<Open>,
    copy_of: Option<SessionId>,
) -> Result<Option<StoredBackup>, Failure> {
    let Some(noted) = job.recorded::<Committing>(COMMITTING)? else { return Ok(None) };
    if (noted.repository, noted.copy_of) != (repository.id(), copy_of) {
        return Ok(None);
    }
    let Committing { repository: id, outcome, stored_bytes, .. } = noted;
    let found = match repository.fetch_outcome(outcome).await {
        Ok(found) if found.result() == SessionResult::Committed => found,
        Ok(_) => return Ok(None),
        // It never arrived, or is of no use.
        Err(error) if error.class().is_lasting() => return Ok(None),
        Err(source) => return Err(BackupError::LookBack { outcome, source }.into()),
    };
    let description = serde_json::from_slice(found.description());
    let description = description.map_err(|source| BackupError::Decode { outcome, source })?;
    Ok(Some(StoredBackup { repository: id, outcome, stored_bytes, description }))
}

pub(crate) async fn execute(job: &Job) -> Result<Finished, Failure> {
    let storing = async {
        if let Some(stored) = job.recorded::<StoredBackup>("stored")? {
            return Ok(stored);
        }
        let stored = Box::pin(store(job)).await?;
        job.record("stored", &stored).await?;
        Ok(stored)
    };
    let phase = match is_of_cluster_scope(job) {
        true => "Cluster configuration",
        false => "Application configuration",
    };
    let stored = job.phase(phase, storing).await?;
    let StoredBackup { repository, outcome, stored_bytes, description } = stored;
    let artifact = Artifact {
        repository,
        outcome,
        exported: None,
        copy: None,
        objects: description.report.objects,
        bytes: description.bytes,
        stored_bytes: Some(stored_bytes),
    };
    let point = new_point(&description, artifact, &description.point);
    let mut finished = job.phase("Creating RestorePoint", restore_points::finish_with(job, &point)).await?;
    finished.exceptions.extend(exceptions(&description.report));
    Ok(finished)
}

pub(crate) fn new_point(description: &BackupDescription, artifact: Artifact, name: &str) -> NewPoint {
    NewPoint {
        application: description.application.clone(),
        name: name.to_owned(),
        labels: description.labels.clone(),
        action_time: description.action_time,
        scheduled_time: description.scheduled_time,
        internal: ContentInternal {
            artifact,
            manual: description.manual,
            tiers: description.tiers,
            expires_at: description.expires_at,
            retiring: None,
        },
    }
}

/// What a user would miss. What the cluster makes again is in the outcome only.
fn exceptions(report: &CaptureReport) -> Vec<String> {
    let losses = report.omitted.iter().filter(|omission| omission.reason.is_loss());
    losses.map(Omission::to_string).collect()
}

/// What could not be read fails the backup, unless it was told to go on without.
fn check_failures(
    report: &mut CaptureReport,
    scope: &CaptureScope,
    exceptions: Exceptions,
) -> Result<(), BackupError> {
    let Some(failed) = report.failed.first() else { return Ok(()) };
    if exceptions == Exceptions::Ignore {
        report.accept_failures();
        return Ok(());
    }
    Err(BackupError::Incomplete {
        scope: scope.clone(),
        resource: failed.resource.clone(),
        why: failed.why.clone(),
        others: report.failed.len() - 1,
    })
}

/// What `ignoreExceptions` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exceptions {
    Fail,
    Ignore,
}

impl Exceptions {
    fn of(spec: &serde_json::Value) -> Self {
        if spec["ignoreExceptions"] == true { Self::Ignore } else { Self::Fail }
    }
}

async fn store(job: &Job) -> Result<StoredBackup, Failure> {
    let repository = job.platform.local_repository().await?;
    if let Some(stored) = committed_before(job, &repository, None).await? {
        return Ok(stored);
    }
    job.check_cancelled()?;
    let request = request(job)?;
    let indexed = repository.load_index().await.map_err(|source| BackupError::LoadIndex { source })?;
    let begin = new_session(SessionPurpose::Backup, job.platform.clock.now());
    let session = indexed.begin(begin).await.map_err(|source| BackupError::Begin { source })?;
    let life = session.life();
    let storing = async {
        let description = job.unless_cancelled(capture(job, &request, &session)).await?;
        // From here on the backup is made, whoever wants it no more: what is stored has a name.
        commit(job, &request.scope, &repository, session, description).await
    };
    hold_writer(&*job.platform.clock, life, storing, |source| BackupError::Hold { source }.into()).await
}

async fn commit(
    job: &Job,
    scope: &CaptureScope,
    repository: &Repository<Open>,
    session: Session,
    (description, streams): (BackupDescription, Vec<NamedStream>),
) -> Result<StoredBackup, Failure> {
    note_committing(job, repository, &session, None).await?;
    let sent = session.progress();
    let draft = OutcomeDraft {
        created: job.platform.clock.now(),
        description: serde_json::to_vec(&description).expect("plain data"),
        streams,
        retain_until: None,
    };
    let failed = |source| BackupError::Commit { scope: scope.clone(), source };
    let outcome = session.commit(draft).await.map_err(failed)?;
    let stored_bytes = sent.read().bytes_sent;
    Ok(StoredBackup { repository: repository.id(), outcome: outcome.id, stored_bytes, description })
}

/// What is captured.
fn request(job: &Job) -> Result<CaptureRequest, BackupError> {
    let filters = &job.action.body.spec["filters"];
    let failed = |source| BackupError::Filters { source };
    let (scope, filters) = if is_of_cluster_scope(job) {
        let filters = Option::<ClusterFilters>::deserialize(filters).map_err(failed)?;
        (CaptureScope::Cluster, filters.unwrap_or_default().into())
    } else {
        let name = application_of(job);
        let namespace: NamespaceName = name.parse().map_err(|source| BackupError::Name { name, source })?;
        let filters = Option::<Filters>::deserialize(filters).map_err(failed)?;
        (CaptureScope::Application(namespace), filters.unwrap_or_default())
    };
    Ok(CaptureRequest { scope, filters, status: StatusRule::Drop })
}

/// Captures into the session: one stream a layer, all written at once.
async fn capture(
    job: &Job,
    request: &CaptureRequest,
    session: &Session,
) -> Result<(BackupDescription, Vec<NamedStream>), Failure> {
    let scope = &request.scope;
    let (objects, received) = mpsc::channel(OBJECTS_IN_FLIGHT);
    let mut writers = Vec::new();
    let mut inlets = Vec::new();
    for layer in Layer::ALL {
        let (pieces, receiver) = mpsc::channel::<Option<Bytes>>(PIECES_IN_FLIGHT);
        inlets.push(Inlet { layer, encoder: None, pieces });
        writers.push(async move { (layer, session.write(from_channel(receiver)).await) });
    }
    let capturing = job.platform.cluster.capture(request, objects);
    let (report, bytes, written) =
        tokio::join!(capturing, distribute(received, inlets), futures::future::join_all(writers));
    let mut report = report.map_err(|source| BackupError::Capture { scope: scope.clone(), source })?;
    check_failures(&mut report, scope, Exceptions::of(&job.action.body.spec))?;
    let mut streams = Vec::new();
    for (layer, reference) in written {
        let reference: StreamRef = reference.map_err(|source| BackupError::Write {
            scope: scope.clone(),
            layer: layer.name(),
            source,
        })?;
        if reference.length() > 0 {
            let name = layer.name().to_owned();
            streams.push(NamedStream { name, reference, attributes: BTreeMap::new() });
        }
    }
    Ok((describe(job, report, bytes), streams))
}

/// Where objects of one layer are turned into bytes.
struct Inlet {
    layer: Layer,
    encoder: Option<ObjectEncoder>,
    pieces: mpsc::Sender<Option<Bytes>>,
}

/// Sends each object to its layer's stream, then closes all of them. Returns the bytes sent.
async fn distribute(
    mut objects: mpsc::Receiver<keelson_workload::CapturedObject>,
    mut inlets: Vec<Inlet>,
) -> u64 {
    let mut bytes = 0;
    while let Some(object) = objects.recv().await {
        let Some(inlet) = inlets.iter_mut().find(|inlet| inlet.layer == object.layer) else { continue };
        if let Some(piece) = inlet.encoder.get_or_insert_default().push(&object) {
            bytes += piece.len() as u64;
            if inlet.pieces.send(Some(piece)).await.is_err() {
                return bytes;
            }
        }
    }
    for Inlet { encoder, pieces, .. } in inlets {
        if let Some(last) = encoder.map(ObjectEncoder::finish) {
            bytes += last.len() as u64;
            drop(pieces.send(Some(last)).await);
        }
        drop(pieces.send(None).await);
    }
    bytes
}

fn is_of_cluster_scope(job: &Job) -> bool {
    job.action.kind == kinds::backup_cluster_actions()
}

fn application_of(job: &Job) -> String {
    if is_of_cluster_scope(job) {
        return CLUSTER_SCOPE.to_owned();
    }
    let subject = &job.action.body.spec["subject"];
    let named = subject["namespace"].as_str().or(subject["name"].as_str());
    named.unwrap_or(&job.action.namespace).to_owned()
}

fn describe(job: &Job, report: CaptureReport, bytes: u64) -> BackupDescription {
    let action = &job.action;
    let scheduled_time = action.body.spec["scheduledTime"].as_str().and_then(|text| text.parse().ok());
    let action_time = scheduled_time.unwrap_or(action.created);
    // Decided with the run: the policy may have gone since.
    let tiers = Tiers::deserialize(&job.internal.subject["tiers"]).unwrap_or_default();
    BackupDescription {
        application: application_of(job),
        point: restore_points::point_name(action),
        labels: action.labels.clone(),
        action_time,
        scheduled_time,
        manual: scheduled_time.is_none(),
        tiers,
        expires_at: action.body.spec["expiresAt"].as_str().and_then(|text| text.parse().ok()),
        report,
        bytes,
    }
}

#[cfg(test)]
mod tests;
