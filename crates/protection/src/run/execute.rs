//! Makes the children of a run, waits for them, then lets retention decide what goes.

use std::time::Duration;

use keelson_catalog::{CommitError, RowKey};
use keelson_model::action::ActionState;
use keelson_model::names::{DR_POLICY, label};
use keelson_model::{Classified, ErrorClass};
use serde_json::{Value, json};

use crate::access;
use crate::actions::{self, Finished};
use crate::batch;
use crate::cancel;
use crate::engine::{Failure, Job, read};
use crate::grants;
use crate::kinds;
use crate::namespaces;
use crate::platform::commit;
use crate::policies::{self, Policy};
use crate::records::{Record, random_suffix};
use crate::recovery;
use crate::report;
use crate::retention;
use crate::run::plan::{self, ApplicationRun, ChildPlace, ImportStep, RunPlan};
use crate::run::policy_of;

/// Children are looked at after every commit, and at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A run that cannot be carried out as a whole.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("policy '{policy}' selects no application that exists")]
    NothingSelected { policy: String },
    #[error("{failed} of {all} actions of this run failed; the first: {first}")]
    ChildrenFailed { failed: usize, all: usize, first: String },
    #[error("action '{name}' exists already and is not of this run")]
    Taken { name: String },
    #[error("make action '{name}'")]
    Submit { name: String, source: CommitError },
}

impl Classified for RunError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NothingSelected { .. } => ErrorClass::NotFound,
            Self::ChildrenFailed { .. } | Self::Taken { .. } => ErrorClass::Invalid,
            Self::Submit { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NothingSelected { .. } => "run.nothing_selected",
            Self::ChildrenFailed { .. } => "run.children_failed",
            Self::Taken { .. } => "run.taken",
            Self::Submit { .. } => "run.submit",
        }
    }
}

/// How one child ended.
struct Ended {
    state: ActionState,
    record: Option<Record>,
    /// Why there is nothing to show for it although nothing failed.
    note: Option<String>,
}

impl Ended {
    /// The application went away after the run had chosen it.
    fn gone(application: &str) -> Self {
        let note = format!("namespace '{application}' went away during the run");
        Self { state: ActionState::Skipped, record: None, note: Some(note) }
    }
}

pub(crate) async fn execute(job: &Job) -> Result<Finished, Failure> {
    let (namespace, name) = policy_of(&job.action);
    let is_own = name == DR_POLICY && namespace == job.platform.settings.install_namespace;
    if job.is_cancelled() && !is_own {
        // Whatever has become of the policy meanwhile.
        if let Some(plan) = job.recorded("plan")? {
            cancel_children(job, &plan).await?;
        }
    }
    let policy = policies::fetch_valid(&job.platform, namespace, name).await?;
    if is_own {
        return recovery::run::execute(job, &policy).await;
    }
    let requester = job.requester();
    let check = |profiles| access::check_run(&job.platform, &requester, namespace, profiles);
    check(policy.parsed.profiles()).await?;
    let selecting = select(job, &policy, (namespace, name));
    let plan = job.phase("Selecting applications", selecting).await?;
    // An attempt goes on with the plan of the one before, whatever has become of the policy.
    check(plan.profiles()).await?;
    let carrying_out = async {
        let children = carry_out(job, &plan).await;
        if job.is_cancelled() {
            cancel_children(job, &plan).await?;
        }
        let mut finished = summarise(&policy.object, &children?)?;
        let expires = !job.action.body.spec["expiresAt"].is_null();
        finished.exceptions.extend(expires.then(|| never_expires(&plan)).flatten());
        Ok(finished)
    };
    let done = job.phase("Running actions", carrying_out).await;
    if done.is_err() && job.is_cancelled() {
        return done;
    }
    // Also where children failed: others may have made what takes the place of older points.
    let retained = job.phase("Applying retention", apply_retention(job, &policy)).await;
    let finished = done?;
    retained?;
    Ok(finished)
}

/// Why `expiresAt` has no effect on what a run makes, where it has none.
fn never_expires(plan: &RunPlan) -> Option<String> {
    let why = match plan {
        RunPlan { report: Some(_), .. } => "a report by hand stays until somebody deletes it",
        RunPlan { import: Some(_), .. } => "what is imported goes when its source retires it",
        _ => return None,
    };
    Some(format!("spec.expiresAt has no effect: {why}"))
}

async fn apply_retention(job: &Job, policy: &Policy) -> Result<(), Failure> {
    match (&policy.parsed.import, policy.parsed.report) {
        // What was imported stays as long as its source keeps it.
        (Some(_), _) => {}
        (None, Some(_)) => report::retain(&job.platform, policy).await?,
        (None, None) => retention::apply(&job.platform, &job.database, policy).await?,
    }
    Ok(())
}

/// The plan of the run, decided by its first attempt.
async fn select(job: &Job, policy: &Policy, (namespace, name): (&str, &str)) -> Result<RunPlan, Failure> {
    if let Some(plan) = job.recorded("plan")? {
        return Ok(plan);
    }
    job.check_cancelled()?;
    if let Some(import) = &policy.parsed.import {
        let held = grants::hold(&job.platform, &import.receive_string).await?.to_text().0;
        return Ok(job.plan(|| plan::plan_import((namespace, name), import, held, random_suffix)).await?);
    }
    if let Some(span) = policy.parsed.report {
        return Ok(job.plan(|| plan::plan_report((namespace, name), span, random_suffix)).await?);
    }
    let applications = policies::select_applications(&job.platform, policy).await?;
    if applications.is_empty() {
        return Err(RunError::NothingSelected { policy: name.to_owned() }.into());
    }
    let spec = policy.object["spec"].clone();
    let scheduled = job.action.body.spec["scheduledTime"].as_str().and_then(|at| at.parse().ok());
    let tiers = plan::decide_tiers(&policy.parsed, scheduled);
    let counts = (tiers, plan::decide_exports(&policy.parsed, tiers));
    Ok(job.plan(|| plan::plan((namespace, name), &spec, &applications, counts, random_suffix)).await?)
}

async fn carry_out(job: &Job, plan: &RunPlan) -> Result<Vec<Ended>, Failure> {
    let asked = &job.action.body.spec;
    let install_namespace = job.platform.settings.install_namespace.as_str();
    if let Some(step) = &plan.import {
        return import(job, plan, step).await;
    }
    if let Some(step) = &plan.report {
        let spec = plan::report_spec(step, install_namespace, asked);
        let key = submit(job, plan, Child::of_platform(step.place(install_namespace)), spec).await?;
        return Ok(vec![job.unless_cancelled(wait(job, &key)).await?]);
    }
    let mut backups = Vec::new();
    let mut ended = Vec::new();
    for run in &plan.applications {
        let is_there = run.is_of_cluster_scope()
            || namespaces::find_staying(&job.platform, &run.application).await?.is_some();
        if !is_there {
            ended.push(Ended::gone(&run.application));
            continue;
        }
        let spec = plan::backup_spec(plan, run, asked);
        backups.push((run, submit(job, plan, Child::of(run, run.backup()), spec).await?));
    }
    let mut exports = Vec::new();
    for (run, key) in backups {
        let backup = job.unless_cancelled(wait(job, &key)).await?;
        let point = backup
            .record
            .as_ref()
            .and_then(|record| record.body.status["restorePoint"]["name"].as_str().map(str::to_owned));
        if plan.export.is_some() && point.is_none() && backup.state == ActionState::Complete {
            ended.push(Ended::gone(&run.application));
        }
        if let (Some(export), Some(point)) = (&plan.export, point) {
            let spec = plan::export_spec(export, run, &point, asked);
            let child = Child::of(run, run.export(install_namespace));
            exports.push(submit(job, plan, child, spec).await?);
        }
        ended.push(backup);
    }
    for key in exports {
        ended.push(job.unless_cancelled(wait(job, &key)).await?);
    }
    Ok(ended)
}

/// Imports, and restores the newest of each application that was imported. Of what a person has to decide about it is only
/// told.
async fn import(job: &Job, plan: &RunPlan, step: &ImportStep) -> Result<Vec<Ended>, Failure> {
    let install_namespace = job.platform.settings.install_namespace.as_str();
    let spec = plan::import_spec(step, install_namespace);
    let key = submit(job, plan, Child::of_platform(step.place(install_namespace)), spec).await?;
    let mut imported = job.unless_cancelled(wait(job, &key)).await?;
    let contents = match &imported.record {
        Some(record) if imported.state == ActionState::Complete => contents_of(job, record)?,
        _ => Vec::new(),
    };
    let (by_hand, contents): (Vec<_>, Vec<_>) =
        contents.into_iter().partition(|(application, _)| is_by_hand(install_namespace, application));
    if step.restore.is_some() && !by_hand.is_empty() {
        let names: Vec<_> = by_hand.into_iter().map(|(_, content)| content).collect();
        imported.note =
            Some(format!("left to be restored by hand, as of no application: {}", names.join(", ")));
    }
    let mut ended = vec![imported];
    if let Some(restore) = step.restore.as_ref().filter(|_| !contents.is_empty()) {
        let spec = plan::restore_spec(restore, &contents);
        let shown = Some(batch::waiting(contents.len()));
        let child = Child { shown, ..Child::of_platform(restore.place(install_namespace)) };
        let key = submit(job, plan, child, spec).await?;
        ended.push(job.unless_cancelled(wait(job, &key)).await?);
    }
    Ok(ended)
}

/// A run writes with the rights of the platform what the location holds, which is its source's: roles and bindings of the
/// whole cluster, or what the platform or the cluster runs by, would be decided about there.
fn is_by_hand(install_namespace: &str, application: &str) -> bool {
    policies::is_no_application(install_namespace, application)
}

/// What an import has offered to be restored, each with its application.
fn contents_of(job: &Job, import: &Record) -> Result<Vec<(String, String)>, Failure> {
    let names = import.body.internal["details"]["restorePointContents"].as_array();
    let mut contents = Vec::new();
    for name in names.into_iter().flatten().filter_map(Value::as_str) {
        let key = RowKey::new(kinds::restore_point_contents(), "", name);
        let content = read(&job.database, &key)?;
        contents.extend(content.map(|it| (it.label(label::APP_NAMESPACE).to_owned(), name.to_owned())));
    }
    Ok(contents)
}

/// What a child is, and of which application.
struct Child<'a> {
    place: ChildPlace<'a>,
    application: Option<&'a str>,
    /// What it shows from the beginning.
    shown: Option<Value>,
}

impl<'a> Child<'a> {
    fn of(run: &'a ApplicationRun, place: ChildPlace<'a>) -> Self {
        Self { place, application: Some(&run.application), shown: None }
    }

    fn of_platform(place: ChildPlace<'a>) -> Self {
        Self { place, application: None, shown: None }
    }
}

/// Makes a child, unless an earlier attempt has made it.
async fn submit(
    job: &Job,
    plan: &RunPlan,
    Child { place, application, shown }: Child<'_>,
    spec: Value,
) -> Result<RowKey, Failure> {
    job.check_cancelled()?;
    let ChildPlace { kind, namespace, name } = place;
    let mut child = actions::new_action(kind, namespace, name, spec, job.platform.clock.now());
    if kind.is_namespaced()
        && let Some(namespace) = namespaces::recall_staying(&job.platform, namespace).await?
    {
        namespaces::note(&mut child, &namespace);
    }
    if let Some(details) = shown {
        actions::set_status(&mut child, "actionDetails", details);
    }
    child.labels = plan::child_labels(plan, &job.action.name, &job.action.namespace, application);
    let key = child.key();
    let subject = json!({ "tiers": plan.tiers });
    match commit(&job.database, "policy run", actions::submit(child, &job.requester(), subject)).await {
        Ok(_) => Ok(key),
        Err(CommitError::Conflict { key: taken, .. }) if taken == key => {
            let is_ours = read(&job.database, &key)?.is_none_or(|known| is_child(&known, &job.action));
            if is_ours { Ok(key) } else { Err(RunError::Taken { name: name.to_owned() }.into()) }
        }
        Err(source) => Err(RunError::Submit { name: name.to_owned(), source }.into()),
    }
}

/// A run that is cancelled ends when the last of its children has.
async fn cancel_children(job: &Job, plan: &RunPlan) -> Result<(), Failure> {
    let by = job.cancelled_by()?;
    let mut children = Vec::new();
    for key in plan.children(&job.platform.settings.install_namespace) {
        if read(&job.database, &key)?.is_some_and(|known| is_child(&known, &job.action)) {
            cancel::cancel(&job.platform, &job.database, &key, &by, "policy run").await?;
            children.push(key);
        }
    }
    for child in children {
        wait(job, &child).await?;
    }
    Ok(())
}

/// Nobody but the platform sets these labels.
fn is_child(action: &Record, run: &Record) -> bool {
    action.label(label::RUN_ACTION_NAME) == run.name
        && action.label(label::RUN_ACTION_NAMESPACE) == run.namespace
}

async fn wait(job: &Job, child: &RowKey) -> Result<Ended, Failure> {
    let mut commits = job.platform.commits();
    loop {
        commits.borrow_and_update();
        match read(&job.database, child)? {
            // Somebody deleted it: nothing more will come of it.
            None => return Ok(Ended { state: ActionState::Cancelled, record: None, note: None }),
            Some(record) => {
                let state = actions::state(&record).unwrap_or(ActionState::Pending);
                if state.is_finished() {
                    return Ok(Ended { state, record: Some(record), note: None });
                }
            }
        }
        let _ = tokio::time::timeout(LOOK_EVERY, commits.changed()).await;
    }
}

fn summarise(policy: &Value, children: &[Ended]) -> Result<Finished, Failure> {
    let failed: Vec<&Ended> = children
        .iter()
        .filter(|child| !matches!(child.state, ActionState::Complete | ActionState::Skipped))
        .collect();
    if let Some(first) = failed.first() {
        let message = |record: &Record| {
            let why = record.body.status["error"]["message"].as_str().unwrap_or("no reason was recorded");
            format!("{} of '{}': {why}", record.kind, record.label(label::APP_NAMESPACE))
        };
        let first = first.record.as_ref().map_or_else(|| "an action was deleted".to_owned(), message);
        return Err(RunError::ChildrenFailed { failed: failed.len(), all: children.len(), first }.into());
    }
    let mut finished = Finished::default();
    finished.status.insert(
        "policySpec".to_owned(),
        json!({
            "actions": policy["spec"]["actions"],
            "selector": policy["spec"]["selector"],
        }),
    );
    finished.exceptions = children
        .iter()
        .filter_map(|child| child.record.as_ref())
        .filter_map(|record| record.body.status["exceptions"].as_array())
        .flatten()
        .filter_map(|exception| exception["message"].as_str().map(str::to_owned))
        .chain(children.iter().filter_map(|child| child.note.clone()))
        .collect();
    Ok(finished)
}

#[cfg(test)]
mod tests {
    use keelson_model::names::CLUSTER_SCOPE;

    use super::*;

    #[test]
    fn what_is_of_no_application_is_not_restored_by_an_import() {
        for name in [CLUSTER_SCOPE, "kasten-io", "default", "kube-system"] {
            assert!(is_by_hand("kasten-io", name), "{name}");
        }
        assert!(!is_by_hand("kasten-io", "shop"));
    }
}
