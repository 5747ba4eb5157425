//! A policy on a preset, as the policy that it stands for.

use keelson_model::names::DR_POLICY;
use serde_json::{Map, Value, json};

use crate::fingerprint::spec_hash;

/// What a preset gives a policy besides its exports.
const OF_BACKUP: [&str; 5] = ["frequency", "subFrequency", "backupWindow", "enableStaggering", "retention"];

/// Namespace and name of the preset that a policy names.
pub fn preset_of(policy: &Value) -> Option<(String, String)> {
    let reference = policy["spec"].get("presetRef").filter(|reference| !reference.is_null())?;
    let own = policy["metadata"]["namespace"].as_str().unwrap_or_default();
    let namespace = reference["namespace"].as_str().filter(|namespace| !namespace.is_empty()).unwrap_or(own);
    Some((namespace.to_owned(), reference["name"].as_str().unwrap_or_default().to_owned()))
}

/// Whether the status of a preset is about its specification. Until it is, nothing can be said of the policies on it.
pub fn is_judged(preset: &Value) -> bool {
    preset["status"]["hash"].as_u64() == Some(u64::from(spec_hash(&preset["spec"])))
}

/// The policy with all that its preset gives, and without naming it. `preset` is that object, if it is there.
pub fn resolve(policy: &Value, preset: Option<&Value>) -> Result<Value, Vec<String>> {
    let Some((namespace, name)) = preset_of(policy) else { return Ok(policy.clone()) };
    let refuse = |fault: String| Err(vec![format!("spec.presetRef: {fault}")]);
    if policy["metadata"]["name"] == DR_POLICY {
        return refuse(format!("policy '{DR_POLICY}' takes no preset"));
    }
    let Some(preset) = preset else {
        return refuse(format!("there is no preset '{name}' in namespace '{namespace}'"));
    };
    if !is_judged(preset) {
        return refuse(format!("preset '{namespace}/{name}' has not been validated as it stands"));
    }
    if preset["status"]["validation"] != "Success" {
        return refuse(format!("preset '{namespace}/{name}' is not valid"));
    }
    let mut resolved = policy.clone();
    if let Some(spec) = resolved["spec"].as_object_mut() {
        spec.remove("presetRef");
        let faults = fill(spec, &preset["spec"]);
        if !faults.is_empty() {
            return Err(faults);
        }
    }
    Ok(resolved)
}

fn fill(spec: &mut Map<String, Value>, preset: &Value) -> Vec<String> {
    let backup = &preset["backup"];
    for field in OF_BACKUP {
        if !backup[field].is_null() && spec.get(field).is_none_or(Value::is_null) {
            spec.insert(field.to_owned(), backup[field].clone());
        }
    }
    let mut faults = Vec::new();
    let Some(actions) = spec.get_mut("actions").and_then(Value::as_array_mut) else { return faults };
    for (index, action) in actions.iter_mut().enumerate().filter(|(_, action)| action["action"] == "backup") {
        if !action["backupParameters"]["profile"].is_null() {
            faults.push(format!("spec.actions[{index}].backupParameters.profile: the preset names it"));
        } else if !backup["profile"].is_null()
            && let Some(profile) = field_at(action, &["backupParameters", "profile"])
        {
            *profile = backup["profile"].clone();
        }
    }
    let export = &preset["export"];
    // An export of the policy's own stays as it is.
    let is_own = |action: &Value| !action["exportParameters"]["profile"].is_null();
    match actions.iter().position(|action| action["action"] == "export") {
        Some(at) if is_own(&actions[at]) => {}
        Some(at) if export.is_null() => drop(actions.remove(at)),
        Some(at) => fill_export(&mut actions[at], export),
        None if export.is_null() => {}
        None => {
            let mut action = json!({ "action": "export" });
            fill_export(&mut action, export);
            actions.push(action);
        }
    }
    faults
}

fn fill_export(action: &mut Value, export: &Value) {
    for (field, value) in export.as_object().into_iter().flatten() {
        let given = match field.as_str() {
            "retention" => field_at(action, &["retention"]),
            parameter => field_at(action, &["exportParameters", parameter]),
        };
        if let Some(given) = given.filter(|given| given.is_null()) {
            *given = value.clone();
        }
    }
}

/// A field inside a value, made if it is not there. None where something on the way has no fields.
fn field_at<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, field| {
        if value.is_null() {
            *value = json!({});
        }
        Some(value.as_object_mut()?.entry(*field).or_insert(Value::Null))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(actions: Value) -> Value {
        json!({ "metadata": { "namespace": "shop", "name": "own" }, "spec": {
            "presetRef": { "name": "gold", "namespace": "kasten-io" },
            "selector": { "matchLabels": { "k10.kasten.io/appNamespace": "shop" } },
            "actions": actions,
        }})
    }

    fn preset(export: Value) -> Value {
        let mut spec = json!({ "backup": {
            "frequency": "@hourly", "subFrequency": { "minutes": [5] }, "retention": { "hourly": 24, "daily": 7 },
            "profile": { "name": "p" },
        }});
        if !export.is_null() {
            spec["export"] = export;
        }
        json!({ "status": { "validation": "Success", "hash": spec_hash(&spec) }, "spec": spec })
    }

    fn daily() -> Value {
        let profile = json!({ "name": "vault", "namespace": "kasten-io" });
        json!({ "frequency": "@daily", "profile": profile, "exportData": { "enabled": true }, "retention": { "daily": 3 } })
    }

    fn actions(policy: Value, preset: &Value) -> Value {
        resolve(&policy, Some(preset)).unwrap()["spec"]["actions"].clone()
    }

    #[test]
    fn a_preset_gives_schedule_retention_and_profile() {
        let resolved = resolve(&policy(json!([{ "action": "backup" }])), Some(&preset(Value::Null))).unwrap();
        assert_eq!(
            resolved["spec"],
            json!({
                "selector": { "matchLabels": { "k10.kasten.io/appNamespace": "shop" } },
                "frequency": "@hourly", "subFrequency": { "minutes": [5] }, "retention": { "hourly": 24, "daily": 7 },
                "actions": [{ "action": "backup", "backupParameters": { "profile": { "name": "p" } } }],
            })
        );
        let parsed = crate::policy::parse(&resolved).unwrap();
        assert_eq!((parsed.frequency.as_str(), parsed.profiles()), ("@hourly", vec!["p"]));
    }

    #[test]
    fn an_export_comes_and_goes_with_the_presets_unless_it_has_settings_of_its_own() {
        let backup = json!({ "action": "backup", "backupParameters": { "profile": { "name": "p" } } });
        let bare = json!({ "action": "export" });
        let own = json!({ "action": "export", "exportParameters": { "profile": { "name": "mine" } } });
        let profile = json!({ "name": "vault", "namespace": "kasten-io" });
        let parameters =
            json!({ "frequency": "@daily", "profile": profile, "exportData": { "enabled": true } });
        let given =
            json!({ "action": "export", "exportParameters": parameters, "retention": { "daily": 3 } });
        let plain = json!({ "action": "backup" });
        let check = |before: Value, export: Value, expected: Value| {
            assert_eq!(actions(policy(before.clone()), &preset(export)), expected, "{before}");
        };
        check(json!([plain]), daily(), json!([backup, given]));
        check(json!([plain, bare]), daily(), json!([backup, given]));
        check(json!([plain, bare]), Value::Null, json!([backup]));
        check(json!([plain, own]), daily(), json!([backup, own]));
        check(json!([plain, own]), Value::Null, json!([backup, own]));
    }

    #[test]
    fn a_preset_that_is_not_there_or_not_valid_as_it_stands_makes_the_policy_invalid() {
        let on_preset = policy(json!([{ "action": "backup" }]));
        let check = |policy: &Value, preset: Option<&Value>, expected: &str| {
            assert_eq!(resolve(policy, preset).unwrap_err(), [expected]);
        };
        check(&on_preset, None, "spec.presetRef: there is no preset 'gold' in namespace 'kasten-io'");
        let stale = "spec.presetRef: preset 'kasten-io/gold' has not been validated as it stands";
        let mut changed = preset(Value::Null);
        changed["spec"]["backup"]["frequency"] = json!("@daily");
        check(&on_preset, Some(&changed), stale);
        let mut failed = preset(Value::Null);
        failed["status"]["validation"] = json!("Failed");
        check(&on_preset, Some(&failed), "spec.presetRef: preset 'kasten-io/gold' is not valid");
        let named =
            policy(json!([{ "action": "backup", "backupParameters": { "profile": { "name": "q" } } }]));
        let fault = "spec.actions[0].backupParameters.profile: the preset names it";
        check(&named, Some(&preset(Value::Null)), fault);
        let mut disaster_recovery = on_preset.clone();
        disaster_recovery["metadata"]["name"] = json!(DR_POLICY);
        let fault = "spec.presetRef: policy 'k10-disaster-recovery-policy' takes no preset";
        check(&disaster_recovery, Some(&preset(Value::Null)), fault);
        let without = json!({ "metadata": {}, "spec": { "frequency": "@daily" } });
        assert_eq!(resolve(&without, None), Ok(without.clone()));
    }
}
