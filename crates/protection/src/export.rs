//! Export: copies what a restore point holds from the platform's own volume into a repository in a location.
//!
//! Guarantees: a fenced instance exports nothing. The exported restore point and the end of the action are one commit,
//! after the outcome lies in the location; the outcome says everything that the restore point does, so that a catalog
//! can be rebuilt from the location alone.

use std::collections::BTreeMap;
use std::time::Duration;

use keelson_catalog::RowKey;
use keelson_model::names::label;
use keelson_model::{Chain, Classified, ErrorClass};
use keelson_repository::{
    LoadIndexError, NamedStream, Open, OutcomeDraft, ReadError, Reader, Repository, Session, SessionError,
    SessionPurpose, WriteError,
};
use keelson_resources::actions::export::ExportProgress;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::actions::{self, Finished};
use crate::backup::{self, BackupDescription, StoredBackup, new_point};
use crate::engine::{Failure, Job, read};
use crate::grants;
use crate::kinds;
use crate::locations::{self, Location};
use crate::records::Record;
use crate::restore_points::{self, Artifact, ContentInternal, ExportedTo};
use crate::streams::{hold, hold_writer, new_session};

/// How often it is looked how far an export is; it is told less often.
const PROGRESS_LOOK_EVERY: Duration = Duration::from_secs(2);

/// An export that was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error("there is no restore point '{point}'")]
    NoPoint { point: String },
    #[error("restore point '{point}' has lost its content")]
    NoContent { point: String },
    #[error("restore point '{name}' is an export already")]
    Exported { name: String },
    #[error("the export names no profile")]
    NoProfile,
    #[error("load the index of a repository")]
    LoadIndex { source: LoadIndexError },
    #[error("begin a session")]
    Begin { source: SessionError },
    #[error("keep the sessions of the export alive")]
    Hold { source: SessionError },
    #[error("read what is to be exported")]
    Read { source: ReadError },
    #[error("decode what the backup says of itself")]
    Decode { source: serde_json::Error },
    #[error("write stream '{stream}' to the location")]
    Write { stream: String, source: WriteError },
    #[error("commit the export")]
    Commit { source: keelson_repository::CommitError },
}

impl Classified for ExportError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoPoint { .. } | Self::NoContent { .. } => ErrorClass::NotFound,
            Self::Exported { .. } | Self::NoProfile => ErrorClass::Invalid,
            Self::LoadIndex { source } => source.class(),
            Self::Begin { source } | Self::Hold { source } => source.class(),
            Self::Read { source } => source.class(),
            Self::Decode { .. } => ErrorClass::Corrupt,
            Self::Write { source, .. } => source.class(),
            Self::Commit { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoPoint { .. } => "export.no_point",
            Self::NoContent { .. } => "export.no_content",
            Self::Exported { .. } => "export.exported",
            Self::NoProfile => "export.no_profile",
            Self::LoadIndex { .. } => "export.load_index",
            Self::Begin { .. } => "export.begin",
            Self::Hold { .. } => "export.hold",
            Self::Read { .. } => "export.read",
            Self::Decode { .. } => "export.decode",
            Self::Write { .. } => "export.write",
            Self::Commit { .. } => "export.commit",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source } => source.hint(),
            Self::Write { source, .. } => source.hint(),
            Self::Commit { source } => source.hint(),
            _ => None,
        }
    }
}

pub(crate) async fn execute(job: &Job) -> Result<Finished, Failure> {
    let content = content_of_subject(job)?;
    let source: ContentInternal = content.internal()?;
    if source.artifact.exported.is_some() {
        return Err(ExportError::Exported { name: content.name }.into());
    }
    let profile = job.action.body.spec["profile"]["name"].as_str().ok_or(ExportError::NoProfile)?;
    let opening = async { Ok(job.platform.open_writable(profile).await?) };
    let location = job.phase("Opening location", opening).await?;
    let exporting = export(job, &content, &source.artifact, &location);
    let Exported { stored, to: exported, ungranted } = job.phase("Exporting RestorePoint", exporting).await?;
    let artifact = Artifact {
        repository: stored.repository,
        outcome: stored.outcome,
        exported: Some(exported),
        copy: None,
        objects: source.artifact.objects,
        bytes: source.artifact.bytes,
        stored_bytes: Some(stored.stored_bytes),
    };
    let mut point = new_point(&stored.description, artifact, &stored.description.point);
    point.labels.extend(locations::export_labels(profile));
    let mut finished = job.phase("Creating RestorePoint", restore_points::finish_with(job, &point)).await?;
    let progress = ExportProgress {
        total_bytes: source.artifact.bytes,
        read_bytes: source.artifact.bytes,
        processed_bytes: source.artifact.bytes,
        transferred_bytes: stored.stored_bytes,
        updated_time: Some(job.platform.clock.now().into()),
        ..ExportProgress::default()
    };
    finished.status.insert(PROGRESS_DETAILS.to_owned(), json!(progress));
    finished.exceptions.extend(ungranted);
    Ok(finished)
}

const PROGRESS_DETAILS: &str = "progressDetails";

/// What was exported.
#[derive(Serialize, Deserialize)]
struct Exported {
    stored: StoredBackup,
    to: ExportedTo,
    /// Why other installations cannot import it, if they cannot.
    ungranted: Option<String>,
}

/// Copies the artifact to the location, unless an earlier attempt has.
async fn export(
    job: &Job,
    content: &Record,
    artifact: &Artifact,
    location: &Location,
) -> Result<Exported, Failure> {
    if let Some(exported) = job.recorded::<Exported>("exported")? {
        return Ok(exported);
    }
    let application = content.label(label::APP_NAMESPACE).to_owned();
    let (row, target) = job.platform.export_repository(location, &application).await?;
    let to = ExportedTo {
        profile: location.profile.clone(),
        place: location.place.clone(),
        root: row.root().to_string(),
        granted: None,
    };
    let from = job.platform.local_repository().await?;
    let stored = Box::pin(copy(job, &from, &target, artifact, &job.action)).await?;
    // A backup that others cannot import is one all the same.
    let granted = grants::give(&job.platform, &job.database, &job.action, (&row, &target)).await;
    let ungranted =
        granted.err().map(|error| format!("other installations cannot import it: {}", Chain(&error)));
    let exported = Exported { stored, to, ungranted };
    job.record("exported", &exported).await?;
    Ok(exported)
}

/// The content behind the restore point that an action names, of an application or of the cluster scope.
pub(crate) fn content_of_subject(job: &Job) -> Result<Record, Failure> {
    let key = point_of_subject(&job.action);
    let shown = || match key.namespace.as_str() {
        "" => key.name.clone(),
        namespace => format!("{namespace}/{}", key.name),
    };
    let point = read(&job.database, &key)?.ok_or_else(|| ExportError::NoPoint { point: shown() })?;
    let content = point.body.spec["restorePointContentRef"]["name"].as_str().unwrap_or_default();
    let content = read(&job.database, &RowKey::new(kinds::restore_point_contents(), "", content))?;
    content.ok_or_else(|| ExportError::NoContent { point: shown() }.into())
}

fn point_of_subject(action: &Record) -> RowKey {
    let subject = &action.body.spec["subject"];
    let name = subject["name"].as_str().unwrap_or_default();
    // Where a subject says no kind, it is of the kind that the action is for.
    let of_cluster = action.kind == kinds::restore_cluster_actions()
        || subject["kind"] == kinds::cluster_restore_point().kind;
    if of_cluster {
        return RowKey::new(kinds::cluster_restore_points(), "", name);
    }
    RowKey::new(kinds::restore_points(), subject["namespace"].as_str().unwrap_or(&action.namespace), name)
}

/// Copies one outcome from a repository to another: opened, decrypted, sealed under the other's keys.
pub(crate) async fn copy(
    job: &Job,
    from: &Repository<Open>,
    to: &Repository<Open>,
    artifact: &Artifact,
    action: &Record,
) -> Result<StoredBackup, Failure> {
    if let Some(stored) = backup::committed_before(job, to, Some(artifact.outcome)).await? {
        return Ok(stored);
    }
    job.check_cancelled()?;
    let now = job.platform.clock.now();
    let source = from.load_index().await.map_err(|source| ExportError::LoadIndex { source })?;
    let reader = source.begin_reading(new_session(SessionPurpose::Restore, now)).await;
    let reader = reader.map_err(|source| ExportError::Begin { source })?;
    let copied = copy_from(job, &reader, to, artifact, action).await;
    if let Err(error) = reader.finish(job.platform.clock.now()).await {
        tracing::debug!(cause = %Chain(&error), "a reading session stays open until its stated end");
    }
    copied
}

async fn copy_from(
    job: &Job,
    reader: &Reader,
    to: &Repository<Open>,
    artifact: &Artifact,
    action: &Record,
) -> Result<StoredBackup, Failure> {
    let clock = &*job.platform.clock;
    let target = to.load_index().await.map_err(|source| ExportError::LoadIndex { source })?;
    let session = target.begin(new_session(SessionPurpose::Export, clock.now())).await;
    let session = session.map_err(|source| ExportError::Begin { source })?;
    let life = session.life();
    let lost = |source| ExportError::Hold { source }.into();
    let copying = async {
        let copying = copy_into(job, reader, (to, session), artifact, action);
        hold(clock, reader.life(), copying).await.map_err(lost)?
    };
    hold_writer(clock, life, copying, lost).await
}

async fn copy_into(
    job: &Job,
    reader: &Reader,
    (to, session): (&Repository<Open>, Session),
    artifact: &Artifact,
    action: &Record,
) -> Result<StoredBackup, Failure> {
    let now = job.platform.clock.now();
    let copying = copy_streams(job, reader, &session, artifact, action);
    let (description, streams) = job.unless_cancelled(copying).await?;
    // From here on the copy is made, whoever wants it no more: what is stored has a name.
    backup::note_committing(job, to, &session, Some(artifact.outcome)).await?;
    let sent = session.progress();
    let draft = OutcomeDraft {
        created: now,
        description: serde_json::to_vec(&description).expect("plain data"),
        streams,
        retain_until: None,
    };
    let outcome = session.commit(draft).await.map_err(|source| ExportError::Commit { source })?;
    let stored_bytes = sent.read().bytes_sent;
    Ok(StoredBackup { repository: to.id(), outcome: outcome.id, stored_bytes, description })
}

async fn copy_streams(
    job: &Job,
    reader: &Reader,
    session: &Session,
    artifact: &Artifact,
    action: &Record,
) -> Result<(BackupDescription, Vec<NamedStream>), Failure> {
    let outcome = reader.outcome(artifact.outcome).await.map_err(|source| ExportError::Read { source })?;
    let writing = async {
        let mut streams = Vec::new();
        for stream in outcome.streams() {
            let written = session.write(reader.read(&stream.reference)).await;
            let reference =
                written.map_err(|source| ExportError::Write { stream: stream.name.clone(), source })?;
            streams.push(NamedStream { reference, ..stream.clone() });
        }
        Ok::<_, Failure>(streams)
    };
    let streams = tokio::select! {
        streams = writing => streams?,
        () = show_progress(job, session, artifact, action) => unreachable!("progress is shown as long as it is written"),
    };
    let mut description: BackupDescription =
        serde_json::from_slice(outcome.description()).map_err(|source| ExportError::Decode { source })?;
    if action.kind == kinds::export_actions() {
        description.point = restore_points::point_name(action);
        relabel(&mut description.labels, action);
        description.expires_at = action.body.spec["expiresAt"].as_str().and_then(|text| text.parse().ok());
        // Retention is of policies: what somebody exported by hand is his.
        description.manual |= !action.labels.contains_key(label::RUN_ACTION_NAME);
    }
    Ok((description, streams))
}

/// An export is of the policy and the run that made it, and of none where somebody made it by hand: whoever was granted what
/// the policy exports was not granted that.
fn relabel(labels: &mut BTreeMap<String, String>, export: &Record) {
    labels.retain(|key, _| !label::OF_A_RUN.contains(&key.as_str()));
    labels.extend(export.labels.clone());
}

/// Shows how far the copying of an export is. A run that copies many restore points has a progress of its own.
async fn show_progress(job: &Job, session: &Session, artifact: &Artifact, action: &Record) {
    if action.kind != kinds::export_actions() {
        return std::future::pending().await;
    }
    let (progress, begun) = (session.progress(), tokio::time::Instant::now());
    loop {
        let read = progress.read();
        let processed = read.bytes_read.min(artifact.bytes);
        let told = ExportProgress {
            total_bytes: artifact.bytes,
            read_bytes: processed,
            processed_bytes: processed,
            transferred_bytes: read.bytes_sent,
            processing_rate: processed.checked_div(begun.elapsed().as_secs()).unwrap_or(processed),
            updated_time: Some(job.platform.clock.now().into()),
            ..ExportProgress::default()
        };
        let percent = (100 * processed).checked_div(artifact.bytes).unwrap_or(0);
        let tell = |action: &mut Record| actions::set_status(action, PROGRESS_DETAILS, json!(told));
        job.progress_with(percent.min(99) as u8, tell).await;
        tokio::time::sleep(PROGRESS_LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use keelson_catalog::Class;

    use super::*;

    /// Another cluster imported what somebody had exported by hand of a backup that the policy had made.
    #[test]
    fn what_is_exported_by_hand_is_not_of_the_policy_that_backed_it_up() {
        let of_policy = [(label::POLICY_NAME, "nightly"), (label::RUN_ACTION_NAME, "run")];
        let own = [(label::APP_NAMESPACE, "shop"), ("team", "a")];
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<_, _> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let now = jiff::Timestamp::UNIX_EPOCH;
        let mut export = Record::new(kinds::export_action(), "shop", "by-hand", now, Class::Local);
        export.labels = labels(&own[..1]);
        let mut of_backup = labels(&[&of_policy[..], &own[..]].concat());
        relabel(&mut of_backup, &export);
        assert_eq!(of_backup, labels(&own));
        export.labels.extend(labels(&of_policy));
        relabel(&mut of_backup, &export);
        assert_eq!(of_backup, labels(&[&of_policy[..], &own[..]].concat()));
    }
}
