//! Decides the children of a policy run. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keelson_model::names::label;
use keelson_model::retention::Tiers;
use keelson_model::schedule::Frequency;
use keelson_resources::policy::ParsedPolicy;
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
    /// As the policy says; null where it says nothing.
    #[serde(default)]
    pub ignore_exceptions: Value,
    /// What retention counts the restore points of this run for. None of a run by hand.
    #[serde(default)]
    pub tiers: Tiers,
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
        backup_filters: backup["backupParameters"]["filters"].clone(),
        ignore_exceptions: backup["backupParameters"]["ignoreExceptions"].clone(),
        tiers: tiers.unwrap_or_default(),
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

pub(crate) fn backup_spec(plan: &RunPlan, application: &str, run: &Value) -> Value {
    let mut spec = json!({ "subject": { "name": application, "namespace": application } });
    if !plan.backup_filters.is_null() {
        spec["filters"] = plan.backup_filters.clone();
    }
    if !plan.ignore_exceptions.is_null() {
        spec["ignoreExceptions"] = plan.ignore_exceptions.clone();
    }
    hand_down(run, &["scheduledTime", "expiresAt"], &mut spec);
    spec
}

pub(crate) fn export_spec(export: &ExportStep, application: &str, point: &str, run: &Value) -> Value {
    let mut spec = json!({
        "subject": { "kind": "RestorePoint", "name": point, "namespace": application },
        "profile": export.profile,
    });
    hand_down(run, &["expiresAt"], &mut spec);
    spec
}

#[cfg(test)]
mod tests {
    use keelson_model::retention::Tier;

    use super::*;

    #[test]
    fn a_run_names_every_child_before_the_first_is_made() {
        let spec = json!({ "actions": [
            { "action": "backup" },
            { "action": "export", "exportParameters": { "profile": { "name": "nfs", "namespace": "kasten-io" } } },
        ]});
        let mut number = 0;
        let policy = ("kasten-io", "hourly");
        let plan = plan(
            policy,
            &spec,
            &["shop".into(), "wiki".into()],
            (Some(Tiers::NONE.with(Tier::Hourly)), Exports::Due),
            || {
                number += 1;
                number.to_string()
            },
        );
        let names: Vec<_> =
            plan.applications.iter().map(|run| (&*run.application, &*run.backup, &*run.export)).collect();
        assert_eq!(names, [("shop", "scheduled-1", "scheduled-2"), ("wiki", "scheduled-3", "scheduled-4")]);
        assert!(plan.tiers.contains(Tier::Hourly), "the policy may go before its restore points are made");
        let export = plan.export.clone().unwrap();
        assert_eq!(export.profile["name"], "nfs");

        let run = json!({ "subject": { "name": "hourly" }, "expiresAt": "2027-01-31T00:00:00Z" });
        assert_eq!(backup_spec(&plan, "shop", &run)["expiresAt"], run["expiresAt"]);
        assert_eq!(export_spec(&export, "shop", "point", &run)["expiresAt"], run["expiresAt"]);
    }

    #[test]
    fn a_backup_ignores_exceptions_if_its_policy_says_so() {
        let check = |parameters: Value, expected: Value| {
            let spec = json!({ "actions": [{ "action": "backup", "backupParameters": parameters }] });
            let policy = ("kasten-io", "hourly");
            let plan = plan(policy, &spec, &["shop".into()], (None, Exports::NotNow), String::new);
            assert_eq!(backup_spec(&plan, "shop", &json!({}))["ignoreExceptions"], expected);
        };
        check(json!({ "ignoreExceptions": true }), json!(true));
        check(json!({ "ignoreExceptions": false }), json!(false));
        check(json!({}), Value::Null);
    }

    /// Every run exported, whatever the export's frequency said.
    #[test]
    fn a_run_exports_when_it_counts_for_the_frequency_of_the_export() {
        let policy = |frequency: Value| {
            let profile = json!({ "name": "nfs", "namespace": "kasten-io" });
            let object = json!({ "metadata": { "name": "p", "namespace": "kasten-io" }, "spec": {
                "frequency": "@hourly", "retention": { "hourly": 24, "daily": 7 },
                "selector": { "matchExpressions": [
                    { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": ["shop"] } ] },
                "actions": [{ "action": "backup" }, { "action": "export", "exportParameters": {
                    "profile": profile, "frequency": frequency } }],
            }});
            keelson_resources::policy::parse(&object).unwrap()
        };
        let check = |frequency: &str, at: Option<&str>, expected: Exports| {
            let at = at.map(|at| at.parse().unwrap());
            let policy = policy(json!(frequency));
            assert_eq!(decide_exports(&policy, decide_tiers(&policy, at)), expected, "{frequency} {at:?}");
        };
        check("@daily", Some("2026-03-04T00:00:00Z"), Exports::Due);
        check("@daily", Some("2026-03-04T01:00:00Z"), Exports::NotNow);
        check("@weekly", Some("2026-03-04T00:00:00Z"), Exports::NotNow);
        check("@weekly", Some("2026-03-08T00:00:00Z"), Exports::Due);
        check("@hourly", Some("2026-03-04T01:00:00Z"), Exports::Due);
        check("@daily", None, Exports::Due);
    }
}
