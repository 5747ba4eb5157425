//! What the children of a run are, and what each is told.

use keelson_model::retention::Tier;
use keelson_resources::ReceiveString;
use keelson_resources::policy::ParsedRestore;

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
    let shop = &plan.applications[0];
    assert_eq!(backup_spec(&plan, shop, &run)["expiresAt"], run["expiresAt"]);
    assert_eq!(export_spec(&export, shop, "point", &run)["expiresAt"], run["expiresAt"]);
}

#[test]
fn the_cluster_scope_has_children_of_its_own_and_its_own_part_of_the_filters() {
    let included = json!([{ "resource": "storageclasses" }]);
    let filters =
        json!({ "includeResources": [{ "resource": "secrets" }], "includeClusterResources": included });
    let spec = json!({ "actions": [
        { "action": "backup", "backupParameters": { "filters": filters, "ignoreExceptions": true } },
        { "action": "export", "exportParameters": { "profile": { "name": "nfs" } } },
    ]});
    let applications = [CLUSTER_SCOPE.into(), "shop".into()];
    let plan = plan(("kasten-io", "all"), &spec, &applications, (None, Exports::Due), || "x".to_owned());
    let [cluster, shop] = &plan.applications[..] else { panic!("{plan:?}") };
    assert_eq!(cluster.backup().key(), RowKey::new(kinds::backup_cluster_actions(), "", "scheduled-x"));
    assert_eq!(shop.backup().key(), RowKey::new(kinds::backup_actions(), "shop", "scheduled-x"));
    let at = |run: &ApplicationRun| run.export("kasten-io").namespace.to_owned();
    assert_eq!((at(cluster), at(shop)), ("kasten-io".to_owned(), "shop".to_owned()));
    let run = json!({ "scheduledTime": "2026-03-04T00:00:00Z" });
    let backup = backup_spec(&plan, cluster, &run);
    let expected = json!({ "filters": { "includeClusterResources": included }, "ignoreExceptions": true,
        "scheduledTime": run["scheduledTime"] });
    assert_eq!(backup, expected);
    let export = export_spec(plan.export.as_ref().unwrap(), cluster, "p", &run);
    assert_eq!(export["subject"], json!({ "kind": "ClusterRestorePoint", "name": "p" }));
}

#[test]
fn a_backup_ignores_exceptions_if_its_policy_says_so() {
    let check = |parameters: Value, expected: Value| {
        let spec = json!({ "actions": [{ "action": "backup", "backupParameters": parameters }] });
        let policy = ("kasten-io", "hourly");
        let plan = plan(policy, &spec, &["shop".into()], (None, Exports::NotNow), String::new);
        let shop = &plan.applications[0];
        assert_eq!(backup_spec(&plan, shop, &json!({}))["ignoreExceptions"], expected);
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

#[test]
fn a_run_that_imports_restores_what_was_imported_if_its_policy_says_so() {
    let restore = ParsedRestore { filters: json!({ "includeResources": [] }), overwrite_existing: true };
    let mut import = ParsedImport {
        profile: "theirs".to_owned(),
        receive_string: ReceiveString("secret".to_owned()),
        restore: Some(restore),
    };
    let mut number = 0;
    let mut name = || {
        number += 1;
        number.to_string()
    };
    let plan = plan_import(("kasten-io", "in"), &import, "name".to_owned(), &mut name);
    let names: Vec<_> = plan.children("kasten-io").into_iter().map(|child| child.name).collect();
    assert_eq!(names, ["scheduled-1", "scheduled-2"]);
    assert!(!json!(plan).to_string().contains("secret"), "a plan is kept");
    let step = plan.import.unwrap();
    assert_eq!(import_spec(&step, "kasten-io")["receiveString"], "name");
    let spec = restore_spec(&step.restore.unwrap(), &[("shop".to_owned(), "shop-x".to_owned())]);
    let expected = json!({
        "subjects": [{ "namespace": "shop", "restorePointContentName": "shop-x" }],
        "overwriteExisting": true, "filters": { "includeResources": [] },
    });
    assert_eq!(spec, expected);
    import.restore = None;
    let plan = plan_import(("kasten-io", "in"), &import, "name".to_owned(), &mut name);
    assert_eq!(plan.children("kasten-io").len(), 1);
}

#[test]
fn a_run_that_reports_makes_one_child_in_the_install_namespace() {
    let plan = plan_report(("kasten-io", "reports"), ParsedReport { days: 1, hours: 12 }, || "x".to_owned());
    let children = plan.children("kasten-io");
    assert_eq!(
        children,
        [RowKey::new(RowKind::new(kinds::report_action().row_kind()), "kasten-io", "scheduled-x")]
    );
    let labels = child_labels(&plan, "run", "kasten-io", None);
    assert!(!labels.contains_key(label::APP_NAME) && labels[label::RUN_ACTION_NAME] == "run", "{labels:?}");
    let run = json!({ "scheduledTime": "2026-03-04T00:00:00Z", "expiresAt": "2027-01-31T00:00:00Z" });
    let expected = json!({
        "subject": { "name": "kasten-io", "namespace": "kasten-io" },
        "statsIntervalDays": 1, "statsIntervalHours": 12, "scheduledTime": "2026-03-04T00:00:00Z",
    });
    assert_eq!(report_spec(&plan.report.unwrap(), "kasten-io", &run), expected);
}
