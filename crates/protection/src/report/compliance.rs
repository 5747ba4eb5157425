//! Decides which applications are protected as their policies say. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keelson_model::action::ActionState;
use keelson_resources::policy::ParsedPolicy;
use keelson_resources::report::ComplianceResults;

use super::ends::{Ends, Last, Protected};

/// Names of applications that a report tells.
const NAMED_MAX: usize = 50;

/// A policy that is valid and not paused, and the applications that it selects.
pub(super) struct Managed {
    pub policy: ParsedPolicy,
    pub applications: Vec<String>,
}

impl Managed {
    pub(super) fn protected(&self) -> impl Iterator<Item = Protected> {
        self.applications.iter().map(|application| Protected {
            policy: (self.policy.namespace.clone(), self.policy.name.clone()),
            application: application.clone(),
        })
    }
}

/// An application is compliant if every policy that selects it has protected it.
pub(super) fn decide_compliance(
    applications: &[String],
    managed: &[Managed],
    ends: &Ends,
    now: Timestamp,
) -> ComplianceResults {
    let mut compliant: BTreeMap<&str, bool> = BTreeMap::new();
    for Managed { policy, applications } in managed {
        for application in applications {
            let last = ends.last((&policy.namespace, &policy.name), application);
            let is_met = decide_met(policy, last, now);
            *compliant.entry(application).or_insert(true) &= is_met;
        }
    }
    let mut results =
        ComplianceResults { application_count: applications.len() as u64, ..ComplianceResults::default() };
    for application in applications {
        match compliant.get(application.as_str()) {
            Some(true) => results.compliant_count += 1,
            Some(false) => {
                results.non_compliant_count += 1;
                if results.some_non_compliant_apps.len() < NAMED_MAX {
                    results.some_non_compliant_apps.push(application.clone());
                }
            }
            None => results.unmanaged_count += 1,
        }
    }
    results
}

/// The last backup went well, and so did the last export if the policy exports and there was one; and since that backup the
/// policy was due once at most: that run may still be under way.
fn decide_met(policy: &ParsedPolicy, last: Last, now: Timestamp) -> bool {
    let Some(backup) = last.backup.filter(|end| end.state == ActionState::Complete) else { return false };
    if !policy.exports.is_empty() && last.export.is_some_and(|export| export.state != ActionState::Complete) {
        return false;
    }
    let Some(schedule) = &policy.schedule else { return true };
    let twice = schedule.next_after(backup.began).and_then(|once| schedule.next_after(once));
    twice.is_none_or(|twice| now < twice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::ends::End;

    fn policy(frequency: &str, actions: &[&str]) -> ParsedPolicy {
        let vault = json!({ "profile": { "name": "vault" } });
        let action = |action: &&str| match *action {
            "export" => json!({ "action": "export", "exportParameters": vault }),
            action => json!({ "action": action }),
        };
        let actions: Vec<_> = actions.iter().map(action).collect();
        let selector = json!({ "matchExpressions": [
            { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": ["shop"] } ] });
        let mut spec = json!({ "frequency": frequency, "selector": selector, "actions": actions });
        if frequency != "@onDemand" {
            spec["retention"] = json!({ "daily": 7 });
        }
        let object = json!({ "metadata": { "name": "p", "namespace": "kasten-io" }, "spec": spec });
        keelson_resources::policy::parse(&object).unwrap()
    }

    fn end(at: &str, state: ActionState) -> Option<End> {
        let at = at.parse().unwrap();
        Some(End { began: at, at, state })
    }

    #[test]
    fn a_policy_is_met_until_it_was_due_twice() {
        use ActionState::{Cancelled, Complete, Failed};
        let check = |frequency: &str, last: Last, now: &str, expected: bool| {
            let met = decide_met(&policy(frequency, &["backup"]), last, now.parse().unwrap());
            assert_eq!(met, expected, "{frequency} {last:?} {now}");
        };
        let backed_up = |state| Last { backup: end("2026-03-04T00:00:10Z", state), export: None };
        check("@daily", Last::default(), "2026-03-04T12:00:00Z", false);
        check("@daily", backed_up(Complete), "2026-03-04T12:00:00Z", true);
        check("@daily", backed_up(Complete), "2026-03-05T23:59:59Z", true);
        check("@daily", backed_up(Complete), "2026-03-06T00:00:00Z", false);
        check("@daily", backed_up(Failed), "2026-03-04T12:00:00Z", false);
        check("@daily", backed_up(Cancelled), "2026-03-04T12:00:00Z", false);
        check("@onDemand", backed_up(Complete), "2030-01-01T00:00:00Z", true);
    }

    /// A failed export of a policy that had stopped to export counted for ever.
    #[test]
    fn an_export_that_failed_counts_for_as_long_as_its_policy_exports() {
        use ActionState::{Complete, Failed};
        let check = |actions: &[&str], export: Option<End>, expected: bool| {
            let last = Last { backup: end("2026-03-04T00:00:10Z", Complete), export };
            let now = "2026-03-04T12:00:00Z".parse().unwrap();
            assert_eq!(decide_met(&policy("@daily", actions), last, now), expected, "{actions:?} {last:?}");
        };
        let exported = |state| end("2026-03-04T00:01:00Z", state);
        check(&["backup", "export"], None, true);
        check(&["backup", "export"], exported(Complete), true);
        check(&["backup", "export"], exported(Failed), false);
        check(&["backup"], exported(Failed), true);
    }

    #[test]
    fn an_application_that_no_policy_selects_is_unmanaged() {
        let applications = ["bank", "shop", "wiki"].map(str::to_owned);
        let managed =
            [Managed { policy: policy("@daily", &["backup"]), applications: vec!["shop".to_owned()] }];
        let now = "2026-03-04T12:00:00Z".parse().unwrap();
        let results = decide_compliance(&applications, &managed, &Ends::default(), now);
        let expected = ComplianceResults {
            application_count: 3,
            non_compliant_count: 1,
            unmanaged_count: 2,
            some_non_compliant_apps: vec!["shop".to_owned()],
            ..ComplianceResults::default()
        };
        assert_eq!(results, expected);
    }
}
