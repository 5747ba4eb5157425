//! Puts together what a report says. Pure.

use keelson_model::names::DR_POLICY;
use keelson_resources::report::{
    ActionResults, DisasterRecoveryResult, GeneralResults, Immutability, LicensingResults, PolicyResults,
    PolicySummary, ProfileResults, ProfileSummary, ReportResults,
};
use serde_json::Value;

use super::compliance::decide_compliance;
use super::observe::Observed;
use crate::locations;

/// Policies and profiles that a report tells one by one: an object of the cluster has at most a mebibyte and a half.
const SUMMARIES_MAX: usize = 500;

pub(super) fn compose(observed: &Observed) -> ReportResults {
    ReportResults {
        general: GeneralResults {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            namespace: observed.install_namespace.clone(),
            cluster_version: observed.cluster_version.clone(),
            cluster_id: observed.cluster_id.clone(),
        },
        licensing: LicensingResults::not_required(),
        actions: ActionResults { count_stats: observed.ends.counts.clone() },
        polices: PolicyResults {
            disaster_recovery: disaster_recovery(observed),
            count: observed.policies.len() as u64,
            summaries: observed.policies.iter().take(SUMMARIES_MAX).map(summarise_policy).collect(),
        },
        profiles: ProfileResults {
            count: observed.profiles.len() as u64,
            summaries: observed.profiles.iter().take(SUMMARIES_MAX).map(summarise_profile).collect(),
        },
        compliance: decide_compliance(
            &observed.applications,
            &observed.managed,
            &observed.ends,
            observed.span.end,
        ),
        storage: observed.storage.clone(),
        services: observed.services.clone(),
    }
}

fn text(object: &Value, pointer: &str) -> Option<String> {
    object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn word(holds: bool) -> String {
    if holds { "Enabled" } else { "Disabled" }.to_owned()
}

fn disaster_recovery(observed: &Observed) -> DisasterRecoveryResult {
    let Some(profile) = &observed.protected_through else {
        return DisasterRecoveryResult {
            status: word(false),
            backup_frequency: None,
            profile: None,
            immutability: None,
        };
    };
    let namespace = observed.install_namespace.as_str();
    let find = |objects: &'_ [Value], name: &str| {
        let is_it = |object: &&Value| {
            object["metadata"]["name"] == name && object["metadata"]["namespace"] == namespace
        };
        objects.iter().find(is_it).cloned()
    };
    let policy = find(&observed.policies, DR_POLICY);
    DisasterRecoveryResult {
        status: word(true),
        backup_frequency: policy.and_then(|policy| text(&policy, "/spec/frequency")),
        profile: Some(profile.clone()),
        immutability: find(&observed.profiles, profile).and_then(|profile| immutability(&profile)),
    }
}

/// None of what is no location, or not understood.
fn immutability(profile: &Value) -> Option<Immutability> {
    let name = profile["metadata"]["name"].as_str().unwrap_or_default();
    let spec = locations::known_profile(name, profile).ok()?.spec?;
    let period = spec.protection_period();
    let protection_days = period.map_or(0, |period| period.0.as_secs() / (24 * 3600));
    Some(Immutability { protection: word(period.is_some()), protection_days })
}

fn summarise_policy(policy: &Value) -> PolicySummary {
    let actions = policy["spec"]["actions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let profiles = ["backupParameters", "exportParameters", "importParameters"];
    let mut profile_names: Vec<String> = actions
        .iter()
        .flat_map(|action| profiles.map(|parameters| text(action, &format!("/{parameters}/profile/name"))))
        .flatten()
        .collect();
    profile_names.sort_unstable();
    profile_names.dedup();
    PolicySummary {
        name: text(policy, "/metadata/name").unwrap_or_default(),
        namespace: text(policy, "/metadata/namespace").unwrap_or_default(),
        actions: actions.iter().filter_map(|action| text(action, "/action")).collect(),
        frequency: text(policy, "/spec/frequency"),
        preset: text(policy, "/spec/presetRef/name"),
        profile_names,
        paused: policy["spec"]["paused"] == true,
        validation: text(policy, "/status/validation"),
    }
}

fn summarise_profile(profile: &Value) -> ProfileSummary {
    let location = text(profile, "/spec/locationSpec/type");
    ProfileSummary {
        name: text(profile, "/metadata/name").unwrap_or_default(),
        namespace: text(profile, "/metadata/namespace").unwrap_or_default(),
        r#type: location.or_else(|| text(profile, "/spec/type")),
        object_store_type: text(profile, "/spec/locationSpec/objectStore/objectStoreType"),
        immutability: immutability(profile),
        validation: text(profile, "/status/validation"),
    }
}

#[cfg(test)]
mod tests {
    use keelson_resources::report::StorageResults;
    use serde_json::json;

    use super::*;
    use crate::report::Span;
    use crate::report::ends::Ends;

    fn bucket() -> Value {
        let credential = json!({ "secretType": "AwsAccessKey", "secret": { "name": "s3-creds" } });
        let store =
            json!({ "objectStoreType": "S3", "name": "b", "region": "r", "protectionPeriod": "168h0m0s" });
        json!({
            "metadata": { "name": "vault", "namespace": "kasten-io" },
            "spec": { "type": "Location", "locationSpec": {
                "type": "ObjectStore", "credential": credential, "objectStore": store } },
            "status": { "validation": "Success" },
        })
    }

    fn observed(protected_through: Option<&str>) -> Observed {
        let dr = json!({
            "metadata": { "name": DR_POLICY, "namespace": "kasten-io" },
            "spec": { "frequency": "@hourly", "actions": [
                { "action": "backup", "backupParameters": { "profile": { "name": "vault" } } } ] },
            "status": { "validation": "Success" },
        });
        Observed {
            span: Span::before("2026-03-04T09:30:00Z".parse().unwrap(), 1, 0),
            install_namespace: "kasten-io".to_owned(),
            cluster_id: "0c3e8c52".to_owned(),
            cluster_version: None,
            applications: Vec::new(),
            managed: Vec::new(),
            ends: Ends::default(),
            storage: StorageResults::default(),
            policies: vec![dr],
            profiles: vec![bucket()],
            protected_through: protected_through.map(str::to_owned),
            services: Vec::new(),
            unknown: Vec::new(),
        }
    }

    #[test]
    fn what_protects_the_platform_is_told_with_its_profile() {
        let results = json!(compose(&observed(Some("vault"))));
        let expected = json!({
            "status": "Enabled", "backupFrequency": "@hourly", "profile": "vault",
            "immutability": { "protection": "Enabled", "protectionDays": 7 },
        });
        assert_eq!(results["polices"]["k10DR"], expected);
        assert_eq!(results["polices"]["summaries"][0]["profileNames"], json!(["vault"]));
        assert_eq!(results["profiles"]["summaries"][0]["objectStoreType"], "S3");
        let results = json!(compose(&observed(None)));
        assert_eq!(results["polices"]["k10DR"], json!({ "status": "Disabled" }));
        let results = json!(compose(&observed(Some("gone"))));
        let expected = json!({ "status": "Enabled", "backupFrequency": "@hourly", "profile": "gone" });
        assert_eq!(results["polices"]["k10DR"], expected);
    }

    /// What nobody knows here has no field, and the version of a cluster that did not say it none either.
    #[test]
    fn nothing_is_told_that_is_not_known() {
        let results = json!(compose(&observed(None)));
        let names: Vec<_> = results["general"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!(results["licensing"], json!({ "status": "NotRequired" }));
        assert!(results["storage"]["pvcStats"].is_null());
    }

    #[test]
    fn a_report_of_very_many_policies_stays_small() {
        let mut many = observed(None);
        let name = "n".repeat(63);
        many.policies = vec![
            json!({ "metadata": { "name": name, "namespace": name }, "spec": { "actions": [
                { "action": "backup", "backupParameters": { "profile": { "name": name } } },
                { "action": "export", "exportParameters": { "profile": { "name": name } } } ] } });
            100_000
        ];
        let results = compose(&many);
        assert_eq!((results.polices.count, results.polices.summaries.len()), (100_000, SUMMARIES_MAX));
        assert!(json!(results).to_string().len() < 1 << 20);
    }
}
