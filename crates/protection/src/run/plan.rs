//! Decides the children of a policy run. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keelson_catalog::{RowKey, RowKind};
use keelson_model::names::{CLUSTER_SCOPE, label};
use keelson_model::retention::Tiers;
use keelson_model::schedule::Frequency;
use keelson_resources::KindInfo;
use keelson_resources::policy::{ParsedImport, ParsedPolicy, ParsedReport};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{cluster_scope, kinds};

/// What a run will do, decided once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunPlan {
    pub policy: String,
    pub policy_namespace: String,
    /// One entry for each application that the policy selects, and one for the cluster scope if it selects that.
    pub applications: Vec<ApplicationRun>,
    /// The export that follows each backup, if the policy has one.
    pub export: Option<ExportStep>,
    /// What a policy that imports does instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<ImportStep>,
    /// What a policy that reports does instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportStep>,
    pub backup_filters: Value,
    /// As the policy says; null where it says nothing.
    #[serde(default)]
    pub ignore_exceptions: Value,
    /// What retention counts the restore points of this run for. None of a run by hand.
    #[serde(default)]
    pub tiers: Tiers,
}

impl RunPlan {
    /// The profiles that it leads to.
    pub(super) fn profiles(&self) -> Vec<&str> {
        let export = self.export.iter().filter_map(|export| export.profile["name"].as_str());
        export.chain(self.import.iter().map(|import| import.profile.as_str())).collect()
    }
}

/// The names that one application's children will have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ApplicationRun {
    pub application: String,
    pub backup: String,
    pub export: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExportStep {
    pub profile: Value,
}

/// The import of a run, and the restore that may follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImportStep {
    pub import: String,
    pub profile: String,
    /// Without its key, which is held by then.
    pub receive_string: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreStep>,
}

/// The restore of what was imported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RestoreStep {
    pub restore: String,
    pub filters: Value,
    pub overwrite_existing: bool,
}

/// The report of a run, and of which span it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReportStep {
    pub report: String,
    pub days: u32,
    pub hours: u32,
}

impl RunPlan {
    /// Every child that a run may make.
    pub(crate) fn children(&self, install_namespace: &str) -> Vec<RowKey> {
        let of_applications =
            self.applications.iter().flat_map(|run| [run.backup(), run.export(install_namespace)]);
        let restore = self.import.as_ref().and_then(|step| step.restore.as_ref());
        of_applications
            .chain(self.import.iter().map(|step| step.place(install_namespace)))
            .chain(restore.map(|step| step.place(install_namespace)))
            .chain(self.report.iter().map(|step| step.place(install_namespace)))
            .map(|place| place.key())
            .collect()
    }
}

impl ImportStep {
    pub(crate) fn place<'a>(&'a self, install_namespace: &'a str) -> ChildPlace<'a> {
        ChildPlace { kind: kinds::import_action(), namespace: install_namespace, name: &self.import }
    }
}

impl RestoreStep {
    pub(crate) fn place<'a>(&'a self, install_namespace: &'a str) -> ChildPlace<'a> {
        ChildPlace { kind: kinds::batch_restore_action(), namespace: install_namespace, name: &self.restore }
    }
}

impl ReportStep {
    pub(crate) fn place<'a>(&'a self, install_namespace: &'a str) -> ChildPlace<'a> {
        ChildPlace { kind: kinds::report_action(), namespace: install_namespace, name: &self.report }
    }
}

impl ApplicationRun {
    pub(crate) fn is_of_cluster_scope(&self) -> bool {
        self.application == CLUSTER_SCOPE
    }

    /// What backs it up, and where that is made.
    pub(crate) fn backup(&self) -> ChildPlace<'_> {
        match self.is_of_cluster_scope() {
            true => ChildPlace { kind: kinds::backup_cluster_action(), namespace: "", name: &self.backup },
            false => {
                ChildPlace { kind: kinds::backup_action(), namespace: &self.application, name: &self.backup }
            }
        }
    }

    /// What exports it, and where that is made: what lies in no namespace is exported from the install namespace.
    pub(crate) fn export<'a>(&'a self, install_namespace: &'a str) -> ChildPlace<'a> {
        let namespace = if self.is_of_cluster_scope() { install_namespace } else { &self.application };
        ChildPlace { kind: kinds::export_action(), namespace, name: &self.export }
    }
}

/// What a child of a run is, and where it is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChildPlace<'a> {
    pub kind: &'static KindInfo,
    pub namespace: &'a str,
    pub name: &'a str,
}

impl ChildPlace<'_> {
    pub(crate) fn key(&self) -> RowKey {
        RowKey::new(RowKind::new(self.kind.row_kind()), self.namespace, self.name)
    }
}

/// The labels of a child: which policy and which run it belongs to, and which application, if it is of one.
pub(crate) fn child_labels(
    plan: &RunPlan,
    run: &str,
    run_namespace: &str,
    application: Option<&str>,
) -> BTreeMap<String, String> {
    let mut labels = application.map(crate::requests::application_labels).unwrap_or_default();
    for (key, value) in [
        (label::POLICY_NAME, plan.policy.as_str()),
        (label::POLICY_NAMESPACE, &plan.policy_namespace),
        (label::RUN_ACTION_NAME, run),
        (label::RUN_ACTION_NAMESPACE, run_namespace),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

/// Whether a run exports what it backs up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exports {
    Due,
    NotNow,
}

/// The tiers of retention that a run at this time counts for.
pub(crate) fn decide_tiers(policy: &ParsedPolicy, scheduled: Option<Timestamp>) -> Option<Tiers> {
    policy.schedule.as_ref().zip(scheduled).map(|(schedule, at)| schedule.tiers_at(at))
}

/// Exports may be rarer than backups. A run by hand, and a policy that runs on demand, always exports.
pub(crate) fn decide_exports(policy: &ParsedPolicy, tiers: Option<Tiers>) -> Exports {
    let rarer = policy.exports.iter().find_map(|export| export.frequency).and_then(Frequency::tier);
    match rarer.zip(tiers) {
        Some((rarer, tiers)) if !tiers.contains(rarer) => Exports::NotNow,
        _ => Exports::Due,
    }
}

pub(crate) fn plan(
    policy: (&str, &str),
    spec: &Value,
    applications: &[String],
    (tiers, exports): (Option<Tiers>, Exports),
    mut name: impl FnMut() -> String,
) -> RunPlan {
    let action = |kind: &str| {
        let actions = spec["actions"].as_array().into_iter().flatten();
        actions.into_iter().find(|action| action["action"] == kind).cloned()
    };
    let backup = action("backup").unwrap_or(Value::Null);
    let export = action("export")
        .filter(|_| exports == Exports::Due)
        .map(|export| ExportStep { profile: export["exportParameters"]["profile"].clone() });
    RunPlan {
        policy: policy.1.to_owned(),
        policy_namespace: policy.0.to_owned(),
        applications: applications
            .iter()
            .map(|application| ApplicationRun {
                application: application.clone(),
                backup: format!("scheduled-{}", name()),
                export: format!("scheduled-{}", name()),
            })
            .collect(),
        export,
        import: None,
        report: None,
        backup_filters: backup["backupParameters"]["filters"].clone(),
        ignore_exceptions: backup["backupParameters"]["ignoreExceptions"].clone(),
        tiers: tiers.unwrap_or_default(),
    }
}

/// A run that reports makes one child.
pub(crate) fn plan_report(
    policy: (&str, &str),
    span: ParsedReport,
    name: impl FnOnce() -> String,
) -> RunPlan {
    let ParsedReport { days, hours } = span;
    RunPlan {
        policy: policy.1.to_owned(),
        policy_namespace: policy.0.to_owned(),
        applications: Vec::new(),
        export: None,
        import: None,
        report: Some(ReportStep { report: format!("scheduled-{}", name()), days, hours }),
        backup_filters: Value::Null,
        ignore_exceptions: Value::Null,
        tiers: Tiers::NONE,
    }
}

/// A run that imports makes one child, and a second one if it restores.
pub(crate) fn plan_import(
    policy: (&str, &str),
    import: &ParsedImport,
    receive_string: String,
    mut name: impl FnMut() -> String,
) -> RunPlan {
    let step = ImportStep {
        import: format!("scheduled-{}", name()),
        profile: import.profile.clone(),
        receive_string,
        restore: import.restore.as_ref().map(|restore| RestoreStep {
            restore: format!("scheduled-{}", name()),
            filters: restore.filters.clone(),
            overwrite_existing: restore.overwrite_existing,
        }),
    };
    RunPlan {
        policy: policy.1.to_owned(),
        policy_namespace: policy.0.to_owned(),
        applications: Vec::new(),
        export: None,
        import: Some(step),
        report: None,
        backup_filters: Value::Null,
        ignore_exceptions: Value::Null,
        tiers: Tiers::NONE,
    }
}

/// What a child takes over from the specification of its run.
fn hand_down(run: &Value, fields: &[&str], spec: &mut Value) {
    for field in fields {
        if !run[*field].is_null() {
            spec[*field] = run[*field].clone();
        }
    }
}

pub(crate) fn backup_spec(plan: &RunPlan, application: &ApplicationRun, run: &Value) -> Value {
    let filters = &plan.backup_filters;
    let mut spec = if application.is_of_cluster_scope() {
        json!({ "filters": cluster_scope::filters_of(filters) })
    } else {
        let name = &application.application;
        let mut spec = json!({ "subject": { "name": name, "namespace": name } });
        if !filters.is_null() {
            spec["filters"] = filters.clone();
        }
        spec
    };
    if !plan.ignore_exceptions.is_null() {
        spec["ignoreExceptions"] = plan.ignore_exceptions.clone();
    }
    hand_down(run, &["scheduledTime", "expiresAt"], &mut spec);
    spec
}

pub(crate) fn export_spec(
    export: &ExportStep,
    application: &ApplicationRun,
    point: &str,
    run: &Value,
) -> Value {
    let subject = if application.is_of_cluster_scope() {
        json!({ "kind": kinds::cluster_restore_point().kind, "name": point })
    } else {
        json!({ "kind": "RestorePoint", "name": point, "namespace": application.application })
    };
    let mut spec = json!({ "subject": subject, "profile": export.profile });
    hand_down(run, &["expiresAt"], &mut spec);
    spec
}

pub(crate) fn import_spec(step: &ImportStep, install_namespace: &str) -> Value {
    json!({
        "profile": { "name": step.profile, "namespace": install_namespace },
        "receiveString": step.receive_string,
    })
}

/// The restore of contents, each with its application.
pub(crate) fn restore_spec(step: &RestoreStep, contents: &[(String, String)]) -> Value {
    let subject = |(application, content): &(String, String)| json!({ "namespace": application, "restorePointContentName": content });
    let mut spec = json!({ "subjects": contents.iter().map(subject).collect::<Vec<_>>() });
    if step.overwrite_existing {
        spec["overwriteExisting"] = json!(true);
    }
    if !step.filters.is_null() {
        spec["filters"] = step.filters.clone();
    }
    spec
}

pub(crate) fn report_spec(step: &ReportStep, install_namespace: &str, run: &Value) -> Value {
    let mut spec = json!({
        "subject": { "name": install_namespace, "namespace": install_namespace },
        "statsIntervalDays": step.days,
        "statsIntervalHours": step.hours,
    });
    hand_down(run, &["scheduledTime"], &mut spec);
    spec
}

#[cfg(test)]
mod tests;
