//! Restore: puts what a restore point holds back into a namespace, or into the cluster scope, as the requester may.
//!
//! Guarantees: an object that the API server refuses is reported and the others are restored; the action is complete
//! with exceptions then, and failed only if nothing could be restored. One that is cancelled leaves what it has restored.
//! Limits: volumes are not part of it yet.

use std::time::Duration;

use keelson_model::{Chain, Classified, ErrorClass};
use keelson_repository::{LoadIndexError, ReadError, Reader, SessionError};
use keelson_resources::actions::restore::RestoreDetails;
use keelson_workload::{
    Authority, ClusterFilters, Conflicts, Filters, Impersonation, InvalidName, NamespaceName, RbacRule,
    RestoreError, RestoreReport, RestoreRequest, RestoreScope,
};
use serde::Deserialize;
use serde_json::json;

use crate::access;
use crate::actions::Finished;
use crate::engine::{Failure, Job};
use crate::export::content_of_subject;
use crate::kinds;
use crate::requester::Requester;
use crate::restore_points::{Artifact, ContentInternal};
use crate::streams::{begin_reading, hold, stored_objects};

/// Failures that are told one by one; the rest is counted.
const EXCEPTIONS_MAX: usize = 100;
const TERMINATING_WAIT: Duration = Duration::from_secs(60);

/// A restore that was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreActionError {
    #[error("'{name}' is no namespace")]
    Name { name: String, source: InvalidName },
    #[error("the filters of the restore are not understood")]
    Filters { source: serde_json::Error },
    #[error("load the index of the repository")]
    LoadIndex { source: LoadIndexError },
    #[error("begin a session in the repository")]
    Begin { source: SessionError },
    #[error("keep the session of the restore alive")]
    Hold { source: SessionError },
    #[error("read what is to be restored")]
    Read { source: ReadError },
    #[error("restore into {scope}")]
    Restore { scope: RestoreScope, source: RestoreError },
    #[error("none of {all} objects could be restored; the first: {first}")]
    NothingRestored { all: u64, first: String },
}

impl Classified for RestoreActionError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Name { .. } | Self::Filters { .. } | Self::NothingRestored { .. } => ErrorClass::Invalid,
            Self::LoadIndex { source } => source.class(),
            Self::Begin { source } | Self::Hold { source } => source.class(),
            Self::Read { source } => source.class(),
            Self::Restore { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "restore.name",
            Self::Filters { .. } => "restore.filters",
            Self::LoadIndex { .. } => "restore.load_index",
            Self::Begin { .. } => "restore.begin",
            Self::Hold { .. } => "restore.hold",
            Self::Read { .. } => "restore.read",
            Self::Restore { .. } => "restore.restore",
            Self::NothingRestored { .. } => "restore.nothing_restored",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source } => source.hint(),
            Self::Restore { source, .. } => source.hint(),
            _ => None,
        }
    }
}

pub(crate) async fn execute(job: &Job) -> Result<Finished, Failure> {
    let content = content_of_subject(job)?;
    let internal: ContentInternal = content.internal()?;
    let request = request(job, content.label(keelson_model::names::label::APP_NAMESPACE))?;
    let opening = async {
        // What lies in no namespace comes back to where it was.
        if let Some(target) = request.scope.target() {
            access::check_restore(&job.platform, &job.requester(), &content, target.as_str()).await?;
        }
        job.check_cancelled()?;
        open(job, &internal.artifact).await
    };
    let (reader, artifact) = job.phase("Opening RestorePoint", opening).await?;
    // What it has begun with an object it brings to its end, although dropped.
    let restoring = job.unless_cancelled(Box::pin(restore(job, &request, &reader, &artifact)));
    let restoring = async {
        match hold(&*job.platform.clock, reader.life(), restoring).await {
            Ok(restored) => restored,
            Err(source) => Err(RestoreActionError::Hold { source }.into()),
        }
    };
    let phase = match request.scope {
        RestoreScope::Application { .. } => "Restoring Application Components",
        RestoreScope::Cluster => "Restoring Cluster Components",
    };
    let restored = job.phase(phase, restoring).await;
    if let Err(error) = reader.finish(job.platform.clock.now()).await {
        tracing::debug!(cause = %Chain(&error), "a reading session stays open until its stated end");
    }
    summarise(&restored?)
}

/// What the artifact leads to, and a reader of the repository that holds it.
async fn open(job: &Job, artifact: &Artifact) -> Result<(Reader, Artifact), Failure> {
    let other_profile = job.action.body.spec["artifactOverrideProfile"]["name"].as_str();
    let (repository, artifact) = job.platform.open_artifact(artifact, other_profile).await?;
    let indexed = repository.load_index().await.map_err(|source| RestoreActionError::LoadIndex { source })?;
    let reader = begin_reading(&indexed, job.platform.clock.now()).await;
    Ok((reader.map_err(|source| RestoreActionError::Begin { source })?, artifact))
}

async fn restore(
    job: &Job,
    request: &RestoreRequest,
    reader: &Reader,
    artifact: &Artifact,
) -> Result<RestoreReport, Failure> {
    let outcome =
        reader.outcome(artifact.outcome).await.map_err(|source| RestoreActionError::Read { source })?;
    let total = artifact.objects.max(1);
    let done = std::sync::atomic::AtomicU64::new(0);
    let note = |progress: keelson_workload::RestoreProgress| {
        done.store(progress.done, std::sync::atomic::Ordering::Relaxed);
    };
    let restoring = job.platform.cluster.restore(request, stored_objects(reader, &outcome), &note);
    let showing = async {
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            job.progress((100 * done.load(std::sync::atomic::Ordering::Relaxed) / total).min(99) as u8).await;
        }
    };
    let report = tokio::select! {
        report = restoring => report,
        () = showing => unreachable!("progress is shown for as long as the restore runs"),
    };
    let scope = request.scope.clone();
    Ok(report.map_err(|source| RestoreActionError::Restore { scope, source })?)
}

fn request(job: &Job, original: &str) -> Result<RestoreRequest, Failure> {
    if job.action.kind == kinds::restore_cluster_actions() {
        return Ok(cluster_request(job)?);
    }
    let spec = &job.action.body.spec;
    let name = |text: &str| -> Result<NamespaceName, RestoreActionError> {
        text.parse().map_err(|source| RestoreActionError::Name { name: text.to_owned(), source })
    };
    let target = spec["targetNamespace"].as_str().unwrap_or(&job.action.namespace);
    let filters = Option::<Filters>::deserialize(&spec["filters"])
        .map_err(|source| RestoreActionError::Filters { source })?
        .unwrap_or_default();
    let asks_for_rights = |filter: &keelson_workload::ResourceFilter| {
        filter.group == "rbac.authorization.k8s.io"
            || ["roles", "rolebindings"].contains(&filter.resource.as_str())
    };
    let rbac = match filters.include_resources.iter().any(asks_for_rights) {
        true => RbacRule::Restore,
        false => RbacRule::Leave,
    };
    let conflicts = Conflicts {
        overwrite_existing: spec["overwriteExisting"].as_bool().unwrap_or(false),
        ..Conflicts::default()
    };
    Ok(RestoreRequest {
        scope: RestoreScope::Application { original: name(original)?, target: name(target)? },
        filters,
        conflicts,
        rbac,
        authority: authority(job),
        terminating_wait: TERMINATING_WAIT,
        ..RestoreRequest::in_place(name(target)?, &job.action.uid)
    })
}

/// What exists outside namespaces is left as it is, so that nothing has to be said of conflicts. Rights are asked for by
/// the kind of the action, and given by those of the requester. The platform's own rights would give any, to whomever a
/// backup of another cluster names: what it restores by itself brings none.
fn cluster_request(job: &Job) -> Result<RestoreRequest, RestoreActionError> {
    let filters = Option::<ClusterFilters>::deserialize(&job.action.body.spec["filters"])
        .map_err(|source| RestoreActionError::Filters { source })?
        .unwrap_or_default();
    let rbac = match job.requester() {
        Requester::Platform => RbacRule::Leave,
        Requester::User(_) => RbacRule::Restore,
    };
    let everything = RestoreRequest::of_cluster_scope(&job.action.uid);
    Ok(RestoreRequest { filters: filters.into(), rbac, authority: authority(job), ..everything })
}

/// A restore does what its requester may do; what the platform does by itself it does with its own rights.
fn authority(job: &Job) -> Authority {
    let requester: keelson_workload::Requester = match job.requester() {
        Requester::Platform => return Authority::Platform,
        Requester::User(user) => user.into(),
    };
    match Impersonation::try_from(&requester) {
        Ok(impersonation) => Authority::OnBehalfOf(impersonation),
        Err(_) => Authority::Reviewed(requester),
    }
}

fn summarise(report: &RestoreReport) -> Result<Finished, Failure> {
    let restored = report.created + report.replaced + report.recreated + report.unchanged;
    let told = |failure: &keelson_workload::ObjectFailure| format!("{}: {}", failure.object, failure.why);
    if restored == 0 && report.failed > 0 {
        let first = report.failures.first().map(told).unwrap_or_default();
        return Err(RestoreActionError::NothingRestored { all: report.failed, first }.into());
    }
    let mut finished = Finished::default();
    finished.exceptions.extend(report.failures.iter().take(EXCEPTIONS_MAX).map(told));
    finished.exceptions.extend(report.owners_dropped.iter().take(EXCEPTIONS_MAX).map(|dropped| {
        format!("{}: its owner {} was not restored and does not exist", dropped.object, dropped.owner)
    }));
    let more = report.failed.saturating_sub(EXCEPTIONS_MAX as u64);
    if more > 0 {
        finished.exceptions.push(format!("{more} more objects could not be restored"));
    }
    finished.exceptions.extend(
        report
            .omitted
            .iter()
            .map(|omission| format!("{} {}: {}", omission.count, omission.resource, omission.reason)),
    );
    let details = RestoreDetails {
        created: report.created,
        replaced: report.replaced,
        recreated: report.recreated,
        unchanged: report.unchanged,
        skipped: report.skipped,
        failed: report.failed,
    };
    finished.status.insert("restoreDetails".to_owned(), json!(details));
    Ok(finished)
}
