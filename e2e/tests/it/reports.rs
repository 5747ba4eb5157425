//! Reports as people ask for them and read them with kubectl.

use anyhow::{Context, Result};
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::stage::{ACTIONS, CONFIG, NAMESPACE, Stage};
use crate::world::action;

const REPORTS_POLICY: &str = "k10-system-reports-policy";
const REPORTS: &str = "reports.reporting.kio.kasten.io";

fn policy(name: &str, retention: &Value) -> Value {
    json!({
        "apiVersion": CONFIG, "kind": "Policy", "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": {
            "frequency": "@daily", "retention": retention, "selector": {},
            "actions": [{ "action": "report", "reportParameters": { "statsIntervalDays": 1 } }],
        },
    })
}

fn asked(days: u32) -> Value {
    json!({ "subject": { "name": NAMESPACE, "namespace": NAMESPACE }, "statsIntervalDays": days })
}

fn table(stage: &Stage) -> Result<Vec<Vec<String>>> {
    let printed = stage.kubectl(&["get", REPORTS, "-n", NAMESPACE], "")?;
    Ok(printed.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect())
}

#[test]
fn what_cannot_be_reported_is_refused_and_reports_are_made_by_policy_or_by_hand() -> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = Stage::raise(share.directory(), &[])?;
    assert_refused(&stage).context("what cannot be reported")?;
    assert_made(&stage).context("a report by a policy and one by hand")
}

fn assert_made(stage: &Stage) -> Result<()> {
    stage.apply(&policy(REPORTS_POLICY, &json!({ "daily": 30 })))?;
    stage.wait_valid("policy", REPORTS_POLICY)?;
    let subject = json!({ "kind": "Policy", "name": REPORTS_POLICY, "namespace": NAMESPACE });
    stage.create(&action("RunAction", "now", NAMESPACE, json!({ "subject": subject })))?;
    stage.complete("runaction", NAMESPACE, "now")?;
    stage.create(&action("ReportAction", "by-hand", NAMESPACE, asked(7)))?;
    let made = stage.complete("reportaction", NAMESPACE, "by-hand")?;
    let report = made["status"]["report"]["name"].as_str().context("the report")?;

    let table = table(stage)?;
    assert_eq!(table[0], ["NAME", "LICENSE", "DR", "TIME", "AGE"]);
    assert_eq!(table.len(), 3, "{table:?}");
    assert!(table[1..].iter().all(|row| row[1] == "NotRequired" && row[2] == "Disabled"), "{table:?}");
    let path = format!("/apis/{ACTIONS}/namespaces/{NAMESPACE}/reportactions/by-hand/details");
    let details: Value = serde_json::from_str(&stage.kubectl(&["get", "--raw", &path], "")?)?;
    let phases = details["status"]["actionDetails"]["phases"].as_array().context("phases")?;
    let names: Vec<_> = phases.iter().filter_map(|phase| phase["name"].as_str()).collect();
    assert_eq!(names, ["Collecting information", "Writing Report"]);

    // What an action made stays when the action goes.
    stage.delete(&["reportaction", "by-hand", "-n", NAMESPACE])?;
    let kept = stage.get(&[REPORTS, report, "-n", NAMESPACE])?.context("the report is gone")?;
    assert_eq!(kept["spec"]["statsIntervalDays"], 7, "{kept}");
    assert_eq!(kept["results"]["general"]["clusterId"], stage.cluster_id()?);
    Ok(())
}

/// A report of no span, one that is made elsewhere, and policies that keep none or other ones than they make.
fn assert_refused(stage: &Stage) -> Result<()> {
    let refused = |object: &Value, words: &str| -> Result<()> {
        let said = stage.try_kubectl(&["create", "-f", "-"], &object.to_string())?;
        assert!(said.code != 0 && said.stderr.contains(words), "{words}: {}", said.stderr);
        Ok(())
    };
    let zero = "spec.statsIntervalDays: Required value: the sum of statsIntervalDays and statsIntervalHours";
    refused(&action("ReportAction", "none", NAMESPACE, asked(0)), zero)?;
    stage.namespace("shop")?;
    let elsewhere = "metadata.namespace: Invalid value: \"shop\": must be \"kasten-io\"";
    refused(&action("ReportAction", "elsewhere", "shop", asked(1)), elsewhere)?;
    for (name, retention, told) in [
        ("keeps-none", json!({}), "spec.retention.daily is required for a policy that reports @daily"),
        (
            "keeps-tiers",
            json!({ "daily": 7, "monthly": 12 }),
            "only the tier of the policy's frequency is kept",
        ),
    ] {
        stage.apply(&policy(name, &retention))?;
        let status = stage.validation("policy", name)?;
        assert!(status["validation"] == "Failed" && status["error"].to_string().contains(told), "{status}");
    }
    assert_eq!(table(stage)?.len(), 0, "nothing was reported");
    Ok(())
}
