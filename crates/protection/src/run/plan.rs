//! Decides the children of a policy run. Pure.

use std::collections::BTreeMap;

use keelson_model::names::label;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a run will do, decided once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunPlan {
    pub policy: String,
    pub policy_namespace: String,
    /// One entry for each application that the policy selects.
    pub applications: Vec<ApplicationRun>,
    /// The export that follows each backup, if the policy has one.
    pub export: Option<ExportStep>,
    pub backup_filters: Value,
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

/// The labels of a child: which policy and which run it belongs to.
pub(crate) fn child_labels(
    plan: &RunPlan,
    run: &str,
    run_namespace: &str,
    application: &str,
) -> BTreeMap<String, String> {
    let mut labels = crate::requests::application_labels(application);
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

pub(crate) fn plan(
    policy: (&str, &str),
    spec: &Value,
    applications: &[String],
    mut name: impl FnMut() -> String,
) -> RunPlan {
    let action = |kind: &str| {
        let actions = spec["actions"].as_array().into_iter().flatten();
        actions.into_iter().find(|action| action["action"] == kind).cloned()
    };
    let backup = action("backup").unwrap_or(Value::Null);
    let export =
        action("export").map(|export| ExportStep { profile: export["exportParameters"]["profile"].clone() });
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
        backup_filters: backup["backupParameters"]["filters"].clone(),
    }
}

pub(crate) fn backup_spec(plan: &RunPlan, application: &str, scheduled: &Value) -> Value {
    let mut spec = json!({ "subject": { "name": application, "namespace": application } });
    if !plan.backup_filters.is_null() {
        spec["filters"] = plan.backup_filters.clone();
    }
    if !scheduled.is_null() {
        spec["scheduledTime"] = scheduled.clone();
    }
    spec
}

pub(crate) fn export_spec(export: &ExportStep, application: &str, point: &str) -> Value {
    json!({
        "subject": { "kind": "RestorePoint", "name": point, "namespace": application },
        "profile": export.profile,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_names_every_child_before_the_first_is_made() {
        let spec = json!({ "actions": [
            { "action": "backup" },
            { "action": "export", "exportParameters": { "profile": { "name": "nfs", "namespace": "kasten-io" } } },
        ]});
        let mut number = 0;
        let plan = plan(("kasten-io", "hourly"), &spec, &["shop".into(), "wiki".into()], || {
            number += 1;
            number.to_string()
        });
        let names: Vec<_> =
            plan.applications.iter().map(|run| (&*run.application, &*run.backup, &*run.export)).collect();
        assert_eq!(names, [("shop", "scheduled-1", "scheduled-2"), ("wiki", "scheduled-3", "scheduled-4")]);
        assert_eq!(plan.export.unwrap().profile["name"], "nfs");
    }
}
