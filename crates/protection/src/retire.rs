//! Retire: states that what a restore point content holds is to be removed, then forgets the content.
//!
//! Guarantees: nothing is stated without a proof of ownership made at that moment; without one the action ends
//! `Skipped` with the reason and the content stays. Storage is freed later, by pruning.

use keelson_catalog::{Change, Expect, RowKey};
use keelson_model::{Classified, ErrorClass};
use keelson_repository::{Ownership, RetireError};
use serde::Deserialize;

use crate::actions::Finished;
use crate::engine::{Failure, Job, read};
use crate::kinds;
use crate::orphans;
use crate::ownership;
use crate::records::Record;
use crate::repositories::RepositoriesError;
use crate::restore_points::{self, Artifact, ContentInternal};

/// A content that was not retired.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RetireActionError {
    #[error("the action does not say what to retire")]
    NoSubject { source: serde_json::Error },
    #[error("'{root}' does not say whose backups it holds")]
    NoCluster { root: String },
    #[error("retire the outcome of content '{content}'")]
    Retire { content: String, source: RetireError },
}

impl Classified for RetireActionError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoSubject { .. } | Self::NoCluster { .. } => ErrorClass::Corrupt,
            Self::Retire { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoSubject { .. } => "retire.no_subject",
            Self::NoCluster { .. } => "retire.no_cluster",
            Self::Retire { .. } => "retire.retire",
        }
    }
}

#[derive(Deserialize)]
struct Subject {
    content: String,
    uid: String,
}

pub(crate) async fn execute(job: &Job) -> Result<Finished, Failure> {
    let subject = Subject::deserialize(&job.internal.subject)
        .map_err(|source| RetireActionError::NoSubject { source })?;
    let key = RowKey::new(kinds::restore_point_contents(), "", subject.content);
    let content = read(&job.database, &key)?.filter(|content| content.uid == subject.uid);
    let Some(content) = content else { return Ok(Finished::default()) };
    let internal: ContentInternal = content.internal()?;
    job.check_cancelled()?;
    // What was imported is its source's: here it is forgotten, and nothing is stated there.
    if internal.artifact.is_imported() {
        return forget(job, &content, &internal.artifact);
    }
    let retiring = retire(job, &content.name, &internal.artifact);
    match job.phase("Retiring RestorePoint", retiring).await? {
        // The content keeps its mark: retention asks again after a while, and not at its next look.
        Some(refusal) => Ok(Finished::skipped(refusal)),
        None => forget(job, &content, &internal.artifact),
    }
}

/// Why it may not be retired by this instance, or nothing once it is.
async fn retire(job: &Job, content: &str, artifact: &Artifact) -> Result<Option<String>, Failure> {
    let (repository, artifact) = match job.platform.open_artifact(artifact, None).await {
        Ok(opened) => opened,
        // It was local to a cluster that is gone: there is nothing to free.
        Err(RepositoriesError::LostWithItsCluster) => return Ok(None),
        Err(failure) => return Err(failure.into()),
    };
    let lineage = job.platform.identity().lineage;
    // Of what was opened: the copy of a local backup lies in a location too, perhaps in somebody else's folder.
    let proof = match &artifact.exported {
        // Nobody else can reach the platform's own volume.
        None => Ownership::proven_by_newest_epoch(lineage, 1),
        Some(exported) => {
            let location = job.platform.open_location(&exported.profile).await?;
            let cluster = exported.cluster();
            let cluster =
                cluster.ok_or_else(|| RetireActionError::NoCluster { root: exported.root.clone() })?;
            match ownership::prove_removal(&job.platform, &location, &cluster).await {
                Ok(proof) => proof,
                Err(refusal) if refusal.class() == ErrorClass::Denied => {
                    return Ok(Some(refusal.to_string()));
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    };
    job.check_cancelled()?;
    match repository.retire(artifact.outcome, &proof, job.platform.clock.now()).await {
        Ok(_) | Err(RetireError::Absent { .. }) => Ok(None),
        Err(refusal @ RetireError::OutdatedKey) => Ok(Some(refusal.to_string())),
        Err(source) => Err(RetireActionError::Retire { content: content.to_owned(), source }.into()),
    }
}

/// Its copies in locations are left to maintenance, which comes back until it may and can retire them.
fn forget(job: &Job, content: &Record, artifact: &Artifact) -> Result<Finished, Failure> {
    let gone = |record: &Record| Change::Delete {
        key: record.key(),
        expect: record.revision.map_or(Expect::Any, Expect::At),
    };
    let mut changes = vec![gone(content)];
    changes.extend(orphans::note_copies(artifact, job.platform.clock.now()));
    if let Some(bound) = restore_points::bound_to(content) {
        changes.extend(read(&job.database, &bound.key())?.as_ref().map(gone));
    }
    Ok(Finished { changes, ..Finished::default() })
}
