//! Policies as users write them: what parses, and each fault with its sentence.

use keelson_model::recovery::DrMode;
use keelson_model::retention::Retention;
use keelson_model::schedule::Frequency;
use serde_json::{Value, json};

use super::parse::{ParsedPolicy, ParsedReport, ParsedRestore, parse};

fn policy(name: &str, namespace: &str, spec: Value) -> Value {
    json!({ "metadata": { "name": name, "namespace": namespace }, "spec": spec })
}

fn of_namespaces(namespaces: &[&str]) -> Value {
    json!({ "matchExpressions": [
        { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": namespaces },
    ]})
}

fn nightly() -> Value {
    json!({
        "frequency": "@daily",
        "retention": { "daily": 7, "weekly": 4 },
        "selector": of_namespaces(&["shop"]),
        "actions": [
            { "action": "backup", "backupParameters": { "ignoreExceptions": false } },
            {
                "action": "export",
                "exportParameters": { "frequency": "@weekly", "profile": { "name": "p", "namespace": "kasten-io" } },
                "retention": { "weekly": 2 },
            },
        ],
    })
}

fn dr(configuration: Value) -> Value {
    let mut spec = json!({
        "frequency": "@hourly",
        "retention": { "hourly": 4, "daily": 1, "weekly": 1, "monthly": 1, "yearly": 1 },
        "selector": of_namespaces(&["kasten-io"]),
        "actions": [
            { "action": "backup", "backupParameters": { "filters": {}, "profile": { "name": "vaulted-s3" } } },
        ],
        "createdBy": "kasten-io:login-sa",
    });
    if !configuration.is_null() {
        spec["kdrSnapshotConfiguration"] = configuration;
    }
    spec
}

fn parse_dr(spec: Value) -> Result<ParsedPolicy, Vec<String>> {
    parse(&policy("k10-disaster-recovery-policy", "kasten-io", spec))
}

#[test]
fn a_policy_becomes_schedule_selector_and_retention() {
    let parsed = parse(&policy("nightly", "kasten-io", nightly())).unwrap();
    assert_eq!(parsed.frequency, Frequency::Daily);
    let after = "2026-02-03T04:05:06Z".parse().unwrap();
    let next = parsed.schedule.as_ref().and_then(|schedule| schedule.next_after(after));
    assert_eq!(next.map(|next| next.to_string()).as_deref(), Some("2026-02-04T00:00:00Z"));
    assert_eq!(parsed.retention_of(false), Retention { daily: 7, weekly: 4, ..Retention::default() });
    assert_eq!(parsed.retention_of(true), Retention { weekly: 2, ..Retention::default() });
    assert_eq!(parsed.profiles(), ["p"]);
    assert!(parsed.selector.as_ref().is_some_and(|selector| selector.is_exactly("shop")));
    assert_eq!((parsed.paused, parsed.disaster_recovery), (false, None));
}

#[test]
fn an_export_without_retention_of_its_own_keeps_what_the_policy_keeps() {
    let mut spec = nightly();
    spec["actions"][1].as_object_mut().unwrap().remove("retention");
    let parsed = parse(&policy("nightly", "kasten-io", spec)).unwrap();
    assert_eq!(parsed.retention_of(true), parsed.retention_of(false));
}

#[test]
fn a_policy_on_demand_has_no_schedule_and_needs_no_retention() {
    let spec = json!({
        "frequency": "@onDemand",
        "selector": of_namespaces(&["*"]),
        "actions": [{ "action": "backup" }],
    });
    let parsed = parse(&policy("by-hand", "kasten-io", spec)).unwrap();
    assert_eq!((parsed.frequency, parsed.schedule), (Frequency::OnDemand, None));
}

#[test]
fn the_dr_policy_carries_its_target_and_mode() {
    for (configuration, mode) in [
        (Value::Null, DrMode::Legacy),
        (json!({}), DrMode::QuickNoSnapshot),
        (json!({ "takeLocalCatalogSnapshot": true }), DrMode::QuickLocalSnapshot),
    ] {
        let parsed = parse_dr(dr(configuration)).unwrap();
        assert_eq!(parsed.retention, Retention::DISASTER_RECOVERY);
        let particular = parsed.disaster_recovery.expect("it is the DR policy");
        assert_eq!((particular.profile.as_str(), particular.mode), ("vaulted-s3", mode));
    }
    let mut exported = dr(json!({ "takeLocalCatalogSnapshot": true, "exportCatalogSnapshot": true }));
    let export = json!({ "action": "export", "exportParameters": {
        "profile": { "name": "vaulted-s3" }, "exportData": { "enabled": true },
    }});
    exported["actions"].as_array_mut().unwrap().push(export);
    let parsed = parse_dr(exported).unwrap();
    assert_eq!(parsed.disaster_recovery.map(|dr| dr.mode), Some(DrMode::QuickExportedSnapshot));
}

#[test]
fn only_frequency_retention_profile_mode_and_pause_of_the_dr_policy_are_free() {
    let mut free = dr(json!({}));
    free["frequency"] = json!("@daily");
    free["retention"] = json!({ "daily": 3 });
    free["paused"] = json!(true);
    free["actions"][0]["backupParameters"]["profile"]["name"] = json!("other");
    assert!(parse_dr(free).is_ok());

    let mut selector = dr(json!({}));
    selector["selector"] = of_namespaces(&["*"]);
    let mut actions = dr(json!({}));
    actions["actions"].as_array_mut().unwrap().push(json!({
        "action": "export", "exportParameters": { "profile": { "name": "p" } },
    }));
    let mut profile = dr(json!({}));
    profile["actions"][0] = json!({ "action": "backup" });
    for (spec, message) in [
        (
            selector,
            "spec.selector of policy 'k10-disaster-recovery-policy' must be \
             'k10.kasten.io/appNamespace' In ['kasten-io']",
        ),
        (actions, "spec.actions of policy 'k10-disaster-recovery-policy' must be backup and nothing else"),
        (profile, "spec.actions[0].backupParameters.profile is required: it is the target"),
    ] {
        assert_eq!(parse_dr(spec).unwrap_err(), [message]);
    }
}

#[test]
fn a_policy_outside_the_install_namespace_reaches_only_its_own() {
    let placed = |namespace: &str| {
        parse(&policy("nightly", namespace, nightly())).unwrap().check_placement("kasten-io")
    };
    assert_eq!(placed("kasten-io"), Vec::<String>::new());
    assert_eq!(placed("shop"), Vec::<String>::new());
    assert_eq!(
        placed("bank"),
        ["a policy in namespace 'bank' may select only 'k10.kasten.io/appNamespace' In ['bank']"]
    );
    let mut spec = dr(json!({}));
    spec["selector"] = of_namespaces(&["shop"]);
    let stray = parse(&policy("k10-disaster-recovery-policy", "shop", spec)).unwrap();
    assert_eq!(
        stray.check_placement("kasten-io"),
        ["policy 'k10-disaster-recovery-policy' belongs into namespace 'kasten-io'"]
    );
}

fn changed(pointer: &str, value: Value) -> Value {
    let mut spec = nightly();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = spec.pointer_mut(parent).unwrap();
    match field.parse::<usize>() {
        Ok(index) => parent[index] = value,
        Err(_) => parent[field] = value,
    }
    spec
}

fn check_fault(pointer: &str, value: Value, message: &str) {
    let policy = policy("nightly", "kasten-io", changed(pointer, value));
    assert_eq!(parse(&policy).unwrap_err(), [message]);
}

#[test]
fn a_wrong_schedule_retention_or_selector_is_named() {
    for (pointer, value, message) in [
        ("/presetRef", json!({ "name": "gold" }), "spec.presetRef: the preset was not looked up"),
        (
            "/subFrequency",
            json!({ "minutes": [0, 5] }),
            "spec.subFrequency.minutes: several values are possible only with @hourly, not with @daily",
        ),
        (
            "/retention",
            json!({ "hourly": 1, "daily": 7 }),
            "spec.retention.hourly: a policy with @daily cannot keep a finer tier than its frequency",
        ),
        (
            "/retention",
            json!({ "daily": 0 }),
            "spec.retention keeps nothing; give at least one tier a number above 0",
        ),
        ("/retention", Value::Null, "spec.retention is required for a policy that backs up on a schedule"),
        ("/selector", Value::Null, "spec.selector is required for a policy that backs up"),
        (
            "/selector",
            json!({}),
            "spec.selector: selector is empty; to select every application use \
             'k10.kasten.io/appNamespace' In ['*']",
        ),
        ("/enableStaggering", json!(true), "spec.enableStaggering needs spec.backupWindow"),
        (
            "/kdrSnapshotConfiguration",
            json!({}),
            "spec.kdrSnapshotConfiguration is for policy 'k10-disaster-recovery-policy' only",
        ),
    ] {
        check_fault(pointer, value, message);
    }
}

#[test]
fn a_wrong_action_is_named() {
    let hooks = json!({ "hooks": { "preHook": { "blueprint": "b", "actionName": "a" } } });
    for (pointer, value, message) in [
        ("/actions/1", json!({ "action": "export" }), "spec.actions[1].exportParameters.profile is required"),
        (
            "/actions/1/exportParameters/frequency",
            json!("@hourly"),
            "spec.actions[1].exportParameters.frequency '@hourly' does not fit the policy's '@daily'",
        ),
        (
            "/actions/1/exportParameters/receiveString",
            json!("keelson0.00.00"),
            "spec.actions[1].exportParameters.receiveString is for imports: the details of a run show it",
        ),
        (
            "/actions/1/retention",
            json!({ "daily": 1 }),
            "spec.actions[1].retention.daily: a policy with @weekly cannot keep a finer tier than its frequency",
        ),
        (
            "/actions/1",
            json!({ "action": "import" }),
            "spec.actions: an import stands alone, or before a restore",
        ),
        ("/actions/1", json!({ "action": "backup" }), "spec.actions[1]: action 'backup' appears twice"),
        ("/actions/0/backupParameters", hooks, "spec.actions[0]: hooks are not supported by this version"),
    ] {
        check_fault(pointer, value, message);
    }
}

fn reports() -> Value {
    json!({
        "frequency": "@daily",
        "retention": { "daily": 30 },
        "selector": {},
        "actions": [{ "action": "report", "reportParameters": { "statsIntervalDays": 1, "statsIntervalHours": 12 } }],
    })
}

#[test]
fn a_policy_that_reports_needs_no_selector_and_keeps_one_tier() {
    let parsed = parse(&policy("k10-system-reports-policy", "kasten-io", reports())).unwrap();
    assert_eq!(parsed.report, Some(ParsedReport { days: 1, hours: 12 }));
    assert_eq!((parsed.selector.is_none(), parsed.check_placement("kasten-io").len()), (true, 0));
    assert_eq!(parsed.ignored, Vec::<String>::new());
    assert_eq!(
        parsed.check_placement("elsewhere"),
        ["a policy that reports belongs into namespace 'elsewhere'"]
    );
    let check = |pointer: &str, value: Value, expected: &[&str]| {
        let mut spec = reports();
        *spec.pointer_mut(pointer).unwrap() = value;
        assert_eq!(parse(&policy("reports", "kasten-io", spec)).unwrap_err(), expected, "{pointer}");
    };
    let wanting = "spec.retention.daily is required for a policy that reports @daily";
    let nothing = "spec.retention keeps nothing; give at least one tier a number above 0";
    check("/retention", json!({}), &[nothing, wanting]);
    check("/retention", Value::Null, &[wanting]);
    check(
        "/retention",
        json!({ "daily": 7, "weekly": 4 }),
        &["spec.retention.weekly: of reports only the tier of the policy's frequency is kept, 'daily'"],
    );
    let zero = "spec.actions[0].reportParameters: the sum of statsIntervalDays and statsIntervalHours must not be zero";
    check("/actions/0", json!({ "action": "report" }), &[zero]);
}

/// A report beside a backup would be kept by the tiers of the backup.
#[test]
fn a_report_is_the_only_action_of_its_policy() {
    let mut spec = reports();
    spec["actions"].as_array_mut().unwrap().push(json!({ "action": "backup" }));
    spec["selector"] = of_namespaces(&["shop"]);
    let faults = parse(&policy("reports", "kasten-io", spec)).unwrap_err();
    assert_eq!(faults, ["spec.actions: a report is the only action of its policy"]);
    let mut selects = reports();
    selects["selector"] = of_namespaces(&["shop"]);
    let parsed = parse(&policy("reports", "kasten-io", selects)).unwrap();
    assert_eq!(parsed.ignored, ["spec.selector: a report is of every application"]);
    assert_eq!(parsed.selector, None, "it would seem to protect what it selects");
    let mut by_hand = reports();
    by_hand["frequency"] = json!("@onDemand");
    by_hand.as_object_mut().unwrap().remove("retention");
    assert!(parse(&policy("reports", "kasten-io", by_hand)).is_ok());
}

fn imports(parameters: Value) -> Value {
    let import = json!({ "profile": { "name": "theirs" }, "receiveString": "keelson0.00.00" });
    json!({
        "frequency": "@hourly",
        "actions": [
            { "action": "import", "importParameters": import },
            { "action": "restore", "restoreParameters": parameters },
        ],
    })
}

#[test]
fn a_policy_that_imports_needs_no_selector_and_may_restore() {
    let filters = json!({ "includeResources": [{ "resource": "configmaps" }] });
    let restored = imports(json!({ "filters": filters, "overwriteExisting": true, "dataOnly": false }));
    let parsed = parse(&policy("theirs", "kasten-io", restored)).unwrap();
    let import = parsed.import.clone().unwrap();
    assert_eq!(import.restore, Some(ParsedRestore { filters, overwrite_existing: true }));
    assert_eq!((parsed.profiles(), parsed.selector.is_none()), (vec!["theirs"], true));
    assert!(!format!("{parsed:?}").contains("keelson0"), "it would stand in logs");
    assert_eq!(
        parsed.check_placement("elsewhere"),
        ["a policy that imports belongs into namespace 'elsewhere'"]
    );
    let mut alone = imports(Value::Null);
    alone["actions"].as_array_mut().unwrap().pop();
    alone["retention"] = json!({ "hourly": 3 });
    let parsed = parse(&policy("theirs", "kasten-io", alone)).unwrap();
    assert_eq!(parsed.import.and_then(|import| import.restore), None);
    assert_eq!(parsed.ignored, ["spec.retention: what is imported goes when its source retires it"]);
    let mut selects = imports(Value::Null);
    selects["selector"] = of_namespaces(&["shop"]);
    let parsed = parse(&policy("theirs", "kasten-io", selects)).unwrap();
    assert_eq!(parsed.ignored, ["spec.selector: the receive string says what is imported"]);
    assert_eq!(parsed.selector, None, "it would seem to protect what it selects");
}

#[test]
fn a_wrong_import_is_named() {
    let check = |change: &dyn Fn(&mut Value), expected: &[&str]| {
        let mut spec = imports(json!({}));
        change(&mut spec);
        assert_eq!(parse(&policy("theirs", "kasten-io", spec.clone())).unwrap_err(), expected, "{spec}");
    };
    let parameters = "spec.actions[0].importParameters";
    let profile = format!("{parameters}.profile is required");
    let receive = format!("{parameters}.receiveString is required: the details of the exporting run show it");
    check(&|spec| spec["actions"][0] = json!({ "action": "import" }), &[&profile, &receive]);
    check(&|spec| spec["actions"][0]["importParameters"]["receiveString"] = json!(" "), &[&receive]);
    check(
        &|spec| spec["actions"].as_array_mut().unwrap().reverse(),
        &["spec.actions: an import stands alone, or before a restore"],
    );
    check(
        &|spec| spec["actions"][1]["restoreParameters"] = json!({ "transforms": [{ "name": "t" }] }),
        &["spec.actions[1].restoreParameters.transforms is not supported by this version"],
    );
    check(
        &|spec| drop(spec["actions"].as_array_mut().unwrap().remove(0)),
        &["spec.actions: a restore needs an import before it"],
    );
}

#[test]
fn a_policy_without_a_frequency_or_of_another_shape_is_refused() {
    let policy_of = |spec| parse(&policy("nightly", "kasten-io", spec)).unwrap_err();
    assert_eq!(policy_of(changed("/frequency", Value::Null)), ["spec.frequency is required"]);
    let faults = policy_of(json!({ "actions": 3 }));
    assert!(faults[0].starts_with("spec: invalid type"), "{faults:?}");
}

/// Retention asked the catalog for a label of this value, which was none, and the process ended.
#[test]
fn a_policy_whose_name_is_no_label_is_refused() {
    assert!(parse(&policy(&"n".repeat(63), "kasten-io", nightly())).is_ok());
    let faults = parse(&policy(&"n".repeat(64), "kasten-io", nightly())).unwrap_err();
    assert_eq!(faults, ["metadata.name becomes the value of labels: must be no more than 63 characters"]);
}

/// They validated, and nothing of what they select was ever backed up.
#[test]
fn selectors_that_this_version_does_nothing_for_are_refused() {
    let check = |expression: Value, expected: &str| {
        let mut spec = nightly();
        spec["selector"] = json!({ "matchExpressions": [expression] });
        let faults = parse(&policy("nightly", "kasten-io", spec)).unwrap_err();
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{faults:?}");
    };
    let values = json!(["shop/db"]);
    check(
        json!({ "key": "k10.kasten.io/virtualMachineRef", "operator": "In", "values": values }),
        "no virtual machines",
    );
}

#[test]
fn a_policy_may_select_the_cluster_scope_from_the_install_namespace_only() {
    let mut spec = nightly();
    let values = json!(["*", "kasten-io-cluster"]);
    spec["selector"] = json!({ "matchExpressions": [
        { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": values } ] });
    let parsed = parse(&policy("nightly", "kasten-io", spec.clone())).unwrap();
    assert!(parsed.selector.as_ref().is_some_and(|selector| selector.selects_cluster_scope()));
    assert_eq!(parsed.check_placement("kasten-io"), [""; 0]);
    let elsewhere = parse(&policy("nightly", "shop", spec)).unwrap().check_placement("kasten-io");
    assert!(elsewhere.iter().any(|fault| fault.contains("may select only")), "{elsewhere:?}");
}

#[test]
fn what_is_done_about_snapshots_of_the_catalog_is_told() {
    let export = json!({ "action": "export", "exportParameters": {
        "profile": { "name": "vaulted-s3" }, "exportData": { "enabled": true },
    }});
    for (configuration, told) in [
        (Value::Null, vec![]),
        (json!({}), vec![]),
        (json!({ "takeLocalCatalogSnapshot": false }), vec![]),
        (json!({ "takeLocalCatalogSnapshot": true }), vec!["takeLocalCatalogSnapshot"]),
        (
            json!({ "takeLocalCatalogSnapshot": true, "exportCatalogSnapshot": true }),
            vec!["takeLocalCatalogSnapshot", "exportCatalogSnapshot"],
        ),
    ] {
        let mut spec = dr(configuration.clone());
        if configuration["exportCatalogSnapshot"] == true {
            spec["actions"].as_array_mut().unwrap().push(export.clone());
        }
        let ignored = parse_dr(spec).unwrap().ignored;
        assert_eq!(ignored.len(), told.len(), "{ignored:?}");
        let begins = |(said, field): (&String, &&str)| {
            said.starts_with(&format!(
                "spec.kdrSnapshotConfiguration.{field}: no snapshot of the catalog's volume"
            ))
        };
        assert!(ignored.iter().zip(&told).all(begins), "{ignored:?}");
    }
}

/// Each was accepted and passed over in silence.
#[test]
fn what_this_version_does_nothing_for_is_told() {
    let check = |change: fn(&mut Value), expected: &[&str]| {
        let mut spec = nightly();
        change(&mut spec);
        let parsed = parse(&policy("nightly", "kasten-io", spec)).unwrap();
        let paths: Vec<_> = parsed.ignored.iter().filter_map(|told| told.split(": ").next()).collect();
        assert_eq!(paths, expected);
    };
    check(|_| (), &[]);
    check(
        |spec| {
            spec["backupWindow"] =
                json!({ "start": { "hour": 1, "minute": 0 }, "end": { "hour": 3, "minute": 0 } });
            spec["enableStaggering"] = json!(true);
        },
        &["spec.backupWindow.end", "spec.enableStaggering"],
    );
    check(
        |spec| {
            spec["actions"][0]["backupParameters"]["actionPodSpec"] = json!({ "name": "aps" });
            spec["actions"][1]["exportParameters"]["exportData"] = json!({ "enabled": true });
            spec["actions"][1]["exportParameters"]["volumeSnapshots"] = json!({ "awsEbs": {} });
        },
        &[
            "spec.actions[0].backupParameters.actionPodSpec",
            "spec.actions[1].exportParameters.exportData",
            "spec.actions[1].exportParameters.volumeSnapshots",
        ],
    );
}
