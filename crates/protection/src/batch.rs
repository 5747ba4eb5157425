//! A batch: restores many applications, each by a RestoreAction of its own, and counts what becomes of them. The cluster
//! scope is restored before all others: they may need what it defines.
//!
//! Guarantees: children are named in the plan before the first is made, so a repeated attempt finds its own; what was
//! restored and what was not is told application by application, in a batch that fails too. It fails only if nothing
//! was restored. Each child is reviewed for whoever asked for the batch. Cancelled, it ends when its children have.

mod plan;

use std::collections::BTreeMap;
use std::time::Duration;

use keelson_catalog::{CommitError, Database, Query, RowKey};
use keelson_model::action::ActionState;
use keelson_model::names::{group, label};
use keelson_model::selector::LabelSelector;
use keelson_model::{Classified, ErrorClass};
use keelson_resources::actions::batch_restore::{
    BatchCounts, BatchDetails, BatchRestoreActionSpec, BatchSubject, target_namespace,
};
use keelson_resources::{Reference, Verb};
use keelson_workload::{Kind, RequestError as ClusterError};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use self::plan::BatchPlan;
use self::plan::{
    PlannedRestore, Source, child_spec, cluster_child_spec, decide_latest, decide_source, place_of,
};
use crate::actions::{self, Finished};
use crate::engine::{Failure, Job, read};
use crate::namespaces::{self, Lifetime};
use crate::platform::commit;
use crate::records::{Record, random_suffix};
use crate::requests::{self, Effect, NewObject, RequestError};
use crate::{access, cancel, kinds};

/// Children are looked at after every commit, and at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The name of a child must fit a label's value, with a suffix.
const CHILD_NAME_MAX: usize = 57;

/// A batch, or one application of it, that was not restored.
#[derive(Debug, thiserror::Error)]
enum BatchError {
    #[error("the spec of the batch is not understood")]
    Spec { source: serde_json::Error },
    #[error("look for the latest restore point of '{namespace}'")]
    Latest { namespace: String, source: keelson_catalog::ReadError },
    #[error("none of {all} applications was restored; the first: {first}")]
    NothingRestored { all: usize, first: String },
    #[error("namespace '{namespace}' is terminating")]
    Terminating { namespace: String },
    #[error("create namespace '{namespace}'")]
    CreateNamespace { namespace: String, source: ClusterError },
    #[error("action '{name}' exists already and is not of this batch")]
    Taken { name: String },
    #[error("make action '{name}'")]
    Submit { name: String, source: CommitError },
    #[error("make restore point '{name}'")]
    Bind { name: String, source: RequestError },
}

impl Classified for BatchError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Spec { .. }
            | Self::NothingRestored { .. }
            | Self::Terminating { .. }
            | Self::Taken { .. } => ErrorClass::Invalid,
            Self::Latest { source, .. } => source.class(),
            Self::CreateNamespace { source, .. } => source.class(),
            Self::Submit { source, .. } => source.class(),
            Self::Bind { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Spec { .. } => "batch.spec",
            Self::Latest { .. } => "batch.latest",
            Self::NothingRestored { .. } => "batch.nothing_restored",
            Self::Terminating { .. } => "batch.terminating",
            Self::CreateNamespace { .. } => "batch.create_namespace",
            Self::Taken { .. } => "batch.taken",
            Self::Submit { .. } => "batch.submit",
            Self::Bind { .. } => "batch.bind",
        }
    }
}

/// How the restore of one application stands.
enum Standing {
    /// Its RestoreAction, or the RestoreClusterAction.
    Child(RowKey),
    /// It was never begun.
    Refused(String),
}

pub(crate) async fn execute(job: &Job) -> Result<Finished, Failure> {
    if let (true, Some(plan)) = (job.is_cancelled(), job.recorded::<BatchPlan>("plan")?) {
        cancel_children(job, &plan).await?;
    }
    let plan = job.phase("Selecting restore points", select(job)).await?;
    let restoring = async {
        let details = carry_out(job, &plan).await;
        if job.is_cancelled() {
            cancel_children(job, &plan).await?;
        }
        details
    };
    let (details, reasons) = job.phase("Restoring applications", restoring).await?;
    if details.restored_applications.is_empty() {
        let first = reasons.into_iter().next().unwrap_or_default();
        return Err(BatchError::NothingRestored { all: plan.restores.len(), first }.into());
    }
    let mut finished = Finished { exceptions: reasons, ..Finished::default() };
    finished.status.insert("actionDetails".to_owned(), shown(&details));
    Ok(finished)
}

/// As the status of the batch shows it; phases are in its details only.
fn shown(details: &BatchDetails) -> Value {
    let mut shown = json!(details);
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("phases");
    }
    shown
}

/// What a batch of so many applications shows before it is begun.
pub(crate) fn waiting(subjects: usize) -> Value {
    let subjects_count = subjects as u32;
    let actions = BatchCounts { total: subjects_count, ..BatchCounts::default() };
    shown(&BatchDetails { subjects_count, actions, ..BatchDetails::default() })
}

/// The plan of the batch, decided by its first attempt.
async fn select(job: &Job) -> Result<BatchPlan, Failure> {
    if let Some(plan) = job.recorded("plan")? {
        return Ok(plan);
    }
    job.check_cancelled()?;
    let spec = BatchRestoreActionSpec::deserialize(&job.action.body.spec);
    let spec = spec.map_err(|source| BatchError::Spec { source })?;
    let mut restores = Vec::new();
    for subject in &spec.subjects {
        let kept = job.action.name.floor_char_boundary(CHILD_NAME_MAX);
        let base = job.action.name[..kept].trim_end_matches(['-', '.']);
        restores.push(PlannedRestore {
            namespace: subject.namespace.clone(),
            target: match place_of(&subject.namespace) {
                "" => String::new(),
                namespace => target_namespace(&job.action.body.spec, namespace),
            },
            child: format!("{base}-{}", random_suffix()),
            source: find_source(job, &spec, subject).await?,
        });
    }
    Ok(job.plan(|| BatchPlan { restores }).await?)
}

async fn find_source(
    job: &Job,
    spec: &BatchRestoreActionSpec,
    subject: &BatchSubject,
) -> Result<Source, Failure> {
    let BatchSubject { namespace, restore_point_name, restore_point_content_name } = subject;
    let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let point = || format!("{namespace}-{}", random_suffix());
    if let Some(name) = named(restore_point_name) {
        return Ok(Source::Point { namespace: place_of(namespace).to_owned(), name });
    }
    if let Some(name) = named(restore_point_content_name) {
        let content = read(&job.database, &RowKey::new(kinds::restore_point_contents(), "", &*name))?;
        return Ok(match content {
            Some(content) => decide_source(&content, namespace, point),
            None => Source::Nothing { why: format!("there is no restore point content '{name}'") },
        });
    }
    let contents = contents_of(&job.database, namespace)
        .map_err(|source| BatchError::Latest { namespace: namespace.clone(), source })?;
    let local = job.platform.local_repository_id();
    let Some(latest) = decide_latest(&contents, &spec.restore_points_discovery_range, local) else {
        let why = "there is no restore point that could be restored from here";
        return Ok(Source::Nothing { why: why.to_owned() });
    };
    let source = decide_source(latest, namespace, point);
    // Whoever may list the points of a namespace may have those; what lies elsewhere needs a right of its own.
    let is_listed = matches!(&source, Source::Point { namespace: bound, .. } if bound == place_of(namespace));
    if !is_listed {
        let read = reference(Verb::Get, group::APPS, "restorepointcontents", Some(&latest.name));
        match access::check_reference(&job.platform, &job.requester(), read).await {
            Ok(()) => {}
            Err(denied) if denied.class() == ErrorClass::Denied => {
                return Ok(Source::Nothing { why: denied.to_string() });
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(source)
}

fn contents_of(database: &Database, namespace: &str) -> Result<Vec<Record>, keelson_catalog::ReadError> {
    let labels = LabelSelector::equal(label::APP_NAMESPACE, namespace);
    let query = Query { labels, ..Query::of(kinds::restore_point_contents()) };
    let contents = database.rows(query).filter_map(|stored| match stored {
        Ok(stored) => Record::parse(&stored).ok().map(Ok),
        Err(error) => Some(Err(error)),
    });
    contents.collect()
}

fn reference(verb: Verb, group: &'static str, resource: &'static str, name: Option<&str>) -> Reference {
    Reference { verb, group, resource, namespace: None, name: name.map(str::to_owned) }
}

/// Makes the children, waits for them, and says why applications were not restored.
async fn carry_out(job: &Job, plan: &BatchPlan) -> Result<(BatchDetails, Vec<String>), Failure> {
    let mut standings = Vec::new();
    let (first, others): (Vec<_>, Vec<_>) =
        plan.restores.iter().partition(|restore| restore.is_of_cluster_scope());
    for restore in first.into_iter().chain(others) {
        job.check_cancelled()?;
        let standing = match begin(job, restore).await {
            Ok(child) => {
                if restore.is_of_cluster_scope() {
                    job.unless_cancelled(await_end(job, &child)).await?;
                }
                Standing::Child(child)
            }
            Err(failure) if failure.class().is_retryable() => return Err(failure),
            Err(failure) => Standing::Refused(failure.told().message),
        };
        standings.push((restore, standing));
    }
    job.unless_cancelled(wait(job, &standings)).await
}

/// However it ends: the applications may do without.
async fn await_end(job: &Job, child: &RowKey) -> Result<(), Failure> {
    let mut commits = job.platform.commits();
    loop {
        commits.borrow_and_update();
        let found = read(&job.database, child)?;
        if found.is_none_or(|found| actions::state(&found).is_some_and(ActionState::is_finished)) {
            return Ok(());
        }
        let _ = tokio::time::timeout(LOOK_EVERY, commits.changed()).await;
    }
}

/// The action that restores one application, and what it needs to be there.
async fn begin(job: &Job, restore: &PlannedRestore) -> Result<RowKey, Failure> {
    let key = restore.child_key();
    if let Some(known) = read(&job.database, &key)? {
        let name = || restore.child.clone();
        return if is_child(&known, job) { Ok(key) } else { Err(BatchError::Taken { name: name() }.into()) };
    }
    let batch = &job.action.body.spec;
    let (kind, spec) = match &restore.source {
        Source::Point { name, .. } if restore.is_of_cluster_scope() => {
            (kinds::restore_cluster_action(), cluster_child_spec(batch, name))
        }
        Source::Point { namespace, name } => {
            ensure_namespace(job, &restore.target).await?;
            (kinds::restore_action(), child_spec(batch, (namespace, name)))
        }
        Source::Content { name, point } => {
            ensure_namespace(job, &restore.target).await?;
            bind(job, name, (&restore.target, point)).await?;
            (kinds::restore_action(), child_spec(batch, (&restore.target, point)))
        }
        Source::Nothing { why } => return Err(NothingToRestore { why: why.clone() }.into()),
    };
    let now = job.platform.clock.now();
    let mut child = actions::new_action(kind, &restore.target, &restore.child, spec, now);
    child.labels = child_labels(job, &restore.namespace);
    if kind.is_namespaced()
        && let Some(namespace) = namespaces::recall_staying(&job.platform, &restore.target).await?
    {
        namespaces::note(&mut child, &namespace);
    }
    let changes = actions::submit(child, &job.requester(), Value::Null);
    let made = commit(&job.database, "batch", changes).await;
    made.map_err(|source| BatchError::Submit { name: restore.child.clone(), source })?;
    Ok(key)
}

/// An application has nothing that it could be restored from.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
struct NothingToRestore {
    why: String,
}

impl Classified for NothingToRestore {
    fn class(&self) -> ErrorClass {
        ErrorClass::NotFound
    }

    fn code(&self) -> &'static str {
        "batch.nothing_to_restore"
    }
}

fn child_labels(job: &Job, application: &str) -> BTreeMap<String, String> {
    let mut labels = requests::application_labels(application);
    labels.insert(label::BATCH_RESTORE_ACTION_NAME.to_owned(), job.action.name.clone());
    labels
}

/// Nobody but the platform sets this label.
fn is_child(action: &Record, job: &Job) -> bool {
    action.label(label::BATCH_RESTORE_ACTION_NAME) == job.action.name
}

/// Makes the namespace that is restored into, if whoever asked for the batch may.
async fn ensure_namespace(job: &Job, name: &str) -> Result<(), Failure> {
    match namespaces::find(&job.platform, name).await? {
        Some(live) if live.lifetime == Lifetime::Staying => return Ok(()),
        Some(_) => return Err(BatchError::Terminating { namespace: name.to_owned() }.into()),
        None => {}
    }
    let create = reference(Verb::Create, "", "namespaces", None);
    access::check_reference(&job.platform, &job.requester(), create).await?;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    let kind = Kind::cluster("v1", "Namespace", "namespaces");
    let made = job.platform.cluster.create_object(&kind, &namespace).await;
    made.map_err(|source| BatchError::CreateNamespace { namespace: name.to_owned(), source })?;
    Ok(())
}

/// Makes a restore point of a content in the namespace that is restored into, unless an earlier attempt has.
async fn bind(job: &Job, content: &str, (namespace, name): (&str, &str)) -> Result<(), Failure> {
    let object = NewObject {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        spec: json!({ "restorePointContentRef": { "name": content } }),
    };
    let (platform, requester) = (&job.platform, job.requester());
    let made = requests::create(platform, &requester, kinds::restore_point(), object, Effect::Apply);
    match Box::pin(made).await {
        Ok(_) | Err(RequestError::AlreadyExists { .. }) => Ok(()),
        Err(source) => Err(BatchError::Bind { name: name.to_owned(), source }.into()),
    }
}

/// Waits until all children have ended, and shows meanwhile how many have.
async fn wait(
    job: &Job,
    standings: &[(&PlannedRestore, Standing)],
) -> Result<(BatchDetails, Vec<String>), Failure> {
    let mut commits = job.platform.commits();
    let mut told = BatchDetails::default();
    loop {
        commits.borrow_and_update();
        let (details, reasons) = look(&job.database, standings)?;
        if details != told {
            let ended = details.actions.total - details.actions.running - details.actions.pending;
            let percent = (100 * ended).checked_div(details.actions.total).unwrap_or(100);
            job.show(|action| {
                actions::set_status(action, "progress", json!(percent.min(99)));
                actions::set_status(action, "actionDetails", shown(&details));
            })
            .await;
            told = details;
        }
        if told.actions.running + told.actions.pending == 0 {
            return Ok((told, reasons));
        }
        let _ = tokio::time::timeout(LOOK_EVERY, commits.changed()).await;
    }
}

/// What has become of each application by now.
fn look(
    database: &Database,
    standings: &[(&PlannedRestore, Standing)],
) -> Result<(BatchDetails, Vec<String>), Failure> {
    let total = standings.len() as u32;
    let mut details = BatchDetails {
        subjects_count: total,
        actions: BatchCounts { total, ..BatchCounts::default() },
        ..BatchDetails::default()
    };
    let mut reasons = Vec::new();
    for (restore, standing) in standings {
        let (state, why) = match standing {
            Standing::Refused(why) => (ActionState::Failed, why.clone()),
            Standing::Child(key) => match read(database, key)? {
                Some(child) => (actions::state(&child).unwrap_or(ActionState::Pending), why_of(&child)),
                None => (ActionState::Cancelled, "the action that restored it was deleted".to_owned()),
            },
        };
        *count_of(&mut details.actions, state) += 1;
        if state == ActionState::Complete {
            details.restored_applications.push(restore.namespace.clone());
        } else if state.is_finished() {
            details.failed_applications.push(restore.namespace.clone());
            reasons.push(format!("application '{}' was not restored: {why}", restore.namespace));
        }
    }
    Ok((details, reasons))
}

fn why_of(child: &Record) -> String {
    child.body.status["error"]["message"].as_str().unwrap_or("no reason was recorded").to_owned()
}

fn count_of(counts: &mut BatchCounts, state: ActionState) -> &mut u32 {
    match state {
        ActionState::Pending => &mut counts.pending,
        ActionState::Running | ActionState::AttemptFailed => &mut counts.running,
        ActionState::Failed => &mut counts.failed,
        ActionState::Complete => &mut counts.completed,
        ActionState::Skipped => &mut counts.skipped,
        ActionState::Cancelled | ActionState::Deleting => &mut counts.cancelled,
    }
}

/// Cancels the children that were made, and waits until they have ended.
async fn cancel_children(job: &Job, plan: &BatchPlan) -> Result<(), Failure> {
    let by = job.cancelled_by()?;
    let mut standings = Vec::new();
    for restore in &plan.restores {
        let key = restore.child_key();
        if read(&job.database, &key)?.is_some_and(|known| is_child(&known, job)) {
            cancel::cancel(&job.platform, &job.database, &key, &by, "batch").await?;
            standings.push((restore, Standing::Child(key)));
        } else {
            standings.push((restore, Standing::Refused("the batch was cancelled before".to_owned())));
        }
    }
    wait(job, &standings).await.map(drop)
}
