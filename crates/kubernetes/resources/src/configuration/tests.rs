//! Tables over the checks of each kind.

use serde_json::json;

use super::*;

const INSTALL: &str = "kasten-io";

fn object(kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    json!({ "kind": kind, "metadata": { "namespace": namespace, "name": name }, "spec": spec })
}

/// What a verdict looks at, of which no kind may be left out that a check asks for.
fn around(kind: &str, objects: &[Value]) -> Around {
    let looks_at = validation(kind).looks_at;
    let of = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).cloned().collect();
    Around {
        install_namespace: INSTALL.to_owned(),
        objects: looks_at.iter().map(|kind| (*kind, of(kind))).collect(),
    }
}

fn validation(kind: &str) -> &'static Validation {
    CONFIGURATION.iter().find(|of| of.kind == kind).unwrap().validation.unwrap()
}

fn check(object: &Value, others: &[Value], expected: &[&str]) {
    let kind = object["kind"].as_str().unwrap();
    let faults = (validation(kind).check)(object, &around(kind, others));
    assert_eq!(faults, expected, "{object}");
}

fn file_store(name: &str, validation: &str) -> Value {
    let spec = json!({ "type": "Location", "locationSpec": { "type": "FileStore", "fileStore": { "claimName": "c" } } });
    let mut profile = object("Profile", INSTALL, name, spec);
    profile["status"] = json!({ "validation": validation });
    profile
}

fn bucket(name: &str, provider: &str, secret_type: &str, validation: &str) -> Value {
    let store = json!({ "objectStoreType": provider, "name": "bucket" });
    let credential = json!({ "secretType": secret_type, "secret": { "name": "s" } });
    let location = json!({ "type": "ObjectStore", "objectStore": store, "credential": credential });
    let mut profile =
        object("Profile", INSTALL, name, json!({ "type": "Location", "locationSpec": location }));
    profile["status"] = json!({ "validation": validation });
    profile
}

#[test]
fn each_kind_comes_after_those_that_it_refers_to() {
    for (index, of) in CONFIGURATION.iter().enumerate() {
        let Some(validation) = of.validation else { continue };
        for named in validation.looks_at.iter().filter(|named| **named != of.kind) {
            let before = CONFIGURATION[..index].iter().any(|earlier| earlier.kind == *named);
            assert!(before, "{} refers to {named}", of.kind);
        }
    }
    assert_eq!(CONFIGURATION.last().unwrap().kind, "Policy");
}

fn preset(export: Value) -> Value {
    let backup = json!({ "frequency": "@hourly", "retention": { "hourly": 24, "daily": 7 } });
    let mut spec = json!({ "backup": backup });
    if !export.is_null() {
        spec["export"] = export;
    }
    object("PolicyPreset", INSTALL, "gold", spec)
}

fn preset_with(pointer: &str, value: Value) -> Value {
    let export =
        json!({ "exportData": { "enabled": true }, "profile": { "name": "vault" }, "frequency": "@daily" });
    let mut preset = preset(export);
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    preset["spec"].pointer_mut(parent).unwrap()[field] = value;
    preset
}

#[test]
fn a_preset_is_held_to_the_rules_of_a_policy_and_names_fit_profiles() {
    let vault = [file_store("vault", "Success"), file_store("sick", "Failed")];
    check(&preset(Value::Null), &[], &[]);
    let cases = [
        (preset_with("/export/frequency", json!("@daily")), ""),
        (
            preset_with("/backup/frequency", json!("@onDemand")),
            "spec.backup.frequency: a preset cannot have frequency @onDemand",
        ),
        (preset_with("/backup/retention", json!({})), "spec.backup.retention keeps nothing"),
        (preset_with("/backup/frequency", json!("@daily")), "spec.backup.retention.hourly"),
        (preset_with("/backup/subFrequency", json!({ "hours": [1, 2] })), "spec.backup.subFrequency.hours"),
        (preset_with("/backup/enableStaggering", json!(true)), "enableStaggering needs backupWindow"),
        (
            preset_with("/export/frequency", json!("@weekly")),
            "spec.export.frequency '@weekly' without spec.export.retention needs spec.backup.retention.weekly",
        ),
        (preset_with("/export/retention", json!({ "hourly": 1 })), "spec.export.retention.hourly"),
        (
            preset_with("/export/frequency", json!("@onDemand")),
            "spec.export.frequency '@onDemand' does not fit the backup's '@hourly'",
        ),
        (
            preset_with("/export/profile", json!({ "name": "gone" })),
            "spec.export.profile: there is no profile 'gone' in namespace 'kasten-io'",
        ),
        (preset_with("/export/profile", json!({ "name": "sick" })), "the profile's validation failed"),
        (
            preset_with("/export/profile", json!({ "name": "vault", "namespace": "shop" })),
            "spec.export.profile.namespace 'shop' is not 'kasten-io', where profiles are",
        ),
        (
            preset_with("/backup/profile", json!({ "name": "gone" })),
            "spec.backup.profile: there is no profile 'gone'",
        ),
        (
            preset_with("/export/blockModeProfile", json!({ "name": "vault" })),
            "spec.export.blockModeProfile: profile 'vault' is no VBR profile",
        ),
    ];
    for (preset, expected) in cases {
        let faults = (validation("PolicyPreset").check)(&preset, &around("PolicyPreset", &vault)).join("; ");
        assert!(faults.contains(expected) && faults.is_empty() == expected.is_empty(), "{preset}: {faults}");
    }
    let mut coarse = preset_with("/backup/frequency", json!("@weekly"));
    coarse["spec"]["backup"]["retention"] = json!({ "weekly": 4 });
    check(&coarse, &vault, &["spec.export.frequency '@daily' does not fit the backup's '@weekly'"]);
}

#[test]
fn the_type_of_a_preset_follows_what_it_does() {
    let type_of = validation("PolicyPreset").type_of.unwrap();
    assert_eq!(type_of(Some(&preset(Value::Null))), "backup");
    assert_eq!(type_of(Some(&preset_with("/export/frequency", json!("@daily")))), "backup-export");
    assert_eq!(type_of(None), "unknown");
}

fn transforms(name: &str, transforms: Value) -> Value {
    object("TransformSet", INSTALL, name, json!({ "transforms": transforms }))
}

#[test]
fn a_transform_has_commands_or_names_a_set_that_does_not_lead_back() {
    let command = json!({ "op": "replace", "path": "/spec/replicas", "value": 3 });
    let whole = json!({ "subject": { "resource": "deployments" }, "name": "scale", "json": [command] });
    let own = |change: fn(&mut Value)| {
        let mut transform = whole.clone();
        change(&mut transform);
        transforms("own", json!([transform]))
    };
    let path = "spec.transforms[0]";
    check(&own(|_| ()), &[], &[]);
    check(
        &own(|one| one["json"] = json!([])),
        &[],
        &[&format!("{path}: a transform has either json or transformSetRef")],
    );
    check(
        &own(|one| one["transformSetRef"] = json!({ "name": "other" })),
        &[],
        &[&format!("{path}: a transform has either json or transformSetRef")],
    );
    check(
        &own(|one| one["name"] = json!("")),
        &[],
        &[&format!("{path}.name is required for a transform with json")],
    );
    let needed = format!("{path}.subject needs at least one of group, version, resource and name");
    check(&own(|one| one["subject"] = json!({})), &[], &[&needed]);
    check(
        &own(|one| one["json"][0]["path"] = json!("spec")),
        &[],
        &[&format!("{path}.json[0]: path 'spec' does not begin with '/'")],
    );

    let names = |set: &str| transforms("own", json!([{ "transformSetRef": { "name": set } }]));
    let there = |set: &str, next: &str| transforms(set, json!([{ "transformSetRef": { "name": next } }]));
    let reference = format!("{path}.transformSetRef");
    let missing = format!("{reference}: there is no transform set 'a' in namespace 'kasten-io'");
    check(&names("a"), &[], &[&missing]);
    check(&names("a"), &[transforms("a", json!([whole]))], &[]);
    check(&names("a"), &[there("a", "b"), there("b", "a")], &[]);
    let back = format!("{reference}: 'a' leads back to this set");
    check(&names("a"), &[there("a", "b"), there("b", "own"), names("a")], &[&back]);
    let itself = format!("{reference}: 'own' leads back to this set");
    check(&names("own"), &[names("own")], &[&itself]);
    let elsewhere =
        transforms("own", json!([{ "transformSetRef": { "name": "a", "namespace": "elsewhere" } }]));
    let missing = format!("{reference}: there is no transform set 'a' in namespace 'elsewhere'");
    check(&elsewhere, &[transforms("a", json!([]))], &[&missing]);
}

#[test]
fn a_blueprint_binding_needs_requirements_of_exactly_one_sort() {
    let binding = |resources: Value| {
        let spec = json!({ "blueprintRef": { "name": "b", "namespace": INSTALL }, "resources": resources });
        object("BlueprintBinding", INSTALL, "all", spec)
    };
    let one = |requirement: Value| binding(json!({ "matchAny": [requirement] }));
    let type_of = |values: Value| json!({ "type": { "operator": "In", "values": values } });
    let labels = |operator: &str, values: Value| json!({ "labels": { "key": "app", "operator": operator, "values": values } });
    check(&one(type_of(json!([{ "group": "apps", "resource": "statefulsets" }]))), &[], &[]);
    check(&one(json!({ "namespace": { "operator": "NotIn", "values": ["shop"] } })), &[], &[]);
    check(&one(json!({ "annotations": { "key": "a", "operator": "DoesNotExist" } })), &[], &[]);
    check(&one(labels("Exists", json!([]))), &[], &[]);
    check(&one(labels("NotIn", json!(["x"]))), &[], &[]);
    let nothing = "spec.resources: matchAll or matchAny needs at least one requirement";
    check(&binding(json!({})), &[], &[nothing]);
    let at = |fault: &str| format!("spec.resources.matchAny[0]: {fault}");
    let exactly = at("a requirement is exactly one of type, namespace, annotations and labels");
    check(&one(json!({})), &[], &[&exactly]);
    let mut two = labels("Exists", json!([]));
    two["namespace"] = json!({ "operator": "In", "values": ["shop"] });
    check(&one(two), &[], &[&exactly]);
    let needed = at("In and NotIn need values");
    check(&one(type_of(json!([]))), &[], &[&needed]);
    check(&one(labels("In", json!([]))), &[], &[&needed]);
    check(&one(labels("Exists", json!(["x"]))), &[], &[&at("Exists and DoesNotExist take no values")]);
    let empty = at("each value needs at least one of group, version, resource and name");
    check(&one(type_of(json!([{}]))), &[], &[&empty]);
    let mut elsewhere = one(labels("Exists", json!([])));
    elsewhere["metadata"]["namespace"] = json!("shop");
    check(&elsewhere, &[], &["a blueprint binding counts only in namespace 'kasten-io': create it there"]);
}

#[test]
fn an_audit_configuration_names_a_valid_profile_of_type_s3() {
    let profiles = [
        bucket("s3", "S3", "AwsAccessKey", "Success"),
        bucket("new", "S3", "AwsAccessKey", "Pending"),
        bucket("sick", "S3", "AwsAccessKey", "Failed"),
        bucket("azure", "AZ", "AzStorageAccount", "Success"),
        file_store("share", "Success"),
    ];
    let audit = |profile: Value| object("AuditConfig", INSTALL, "audit", json!({ "profile": profile }));
    check(&audit(json!({ "name": "s3" })), &profiles, &[]);
    check(&audit(json!({ "name": "s3", "namespace": INSTALL })), &profiles, &[]);
    check(&audit(json!({ "name": "new" })), &profiles, &[]);
    check(&audit(json!({ "name": "sick" })), &profiles, &["profile 'sick' is not valid"]);
    for other in ["azure", "share"] {
        let fault = format!("profile '{other}' is no location of type S3, which audit events need");
        check(&audit(json!({ "name": other })), &profiles, &[&fault]);
    }
    let missing = "there is no profile 'gone' in namespace 'kasten-io'";
    check(&audit(json!({ "name": "gone" })), &profiles, &[missing]);
    let misnamed = "spec.profile.namespace 'shop' is not 'kasten-io', where profiles are";
    check(&audit(json!({ "name": "s3", "namespace": "shop" })), &profiles, &[misnamed]);
}

#[test]
fn a_storage_is_bound_once_in_each_kind_to_a_context_that_is_there() {
    let context = object("StorageSecurityContext", INSTALL, "nfs", json!({ "security": { "userId": 1000 } }));
    let binding = |namespace: &str, name: &str, subjects: Value| {
        let spec = json!({ "storageSecurityContextRef": { "name": "nfs" }, "subjects": subjects });
        object("StorageSecurityContextBinding", namespace, name, spec)
    };
    let class = json!({ "kind": "StorageClass", "name": "gp2" });
    let volume = json!({ "kind": "Volume", "name": "gp2", "namespace": "shop" });
    check(&context, &[], &[]);
    let own = binding(INSTALL, "own", json!([class, volume]));
    let among = |others: &[Value]| [&[context.clone(), own.clone()], others].concat();
    check(&own, &among(&[]), &[]);
    let missing = "there is no storage security context 'nfs' in namespace 'kasten-io'";
    check(&own, std::slice::from_ref(&own), &[missing]);
    check(&own, &among(&[binding(INSTALL, "other", json!([{ "kind": "Provisioner", "name": "gp2" }]))]), &[]);
    let twice = "StorageClass 'gp2' is bound by 'other' too; a storage takes one of a kind";
    check(&own, &among(&[binding(INSTALL, "other", json!([class]))]), &[twice]);
    let twice = "Volume 'shop/gp2' is bound by 'other' too; a storage takes one of a kind";
    check(&own, &among(&[binding(INSTALL, "other", json!([volume]))]), &[twice]);
    // One that does not count stands in nobody's way.
    check(&own, &among(&[binding("shop", "other", json!([class]))]), &[]);
    let misplaced =
        "a storage security context binding counts only in namespace 'kasten-io': create it there";
    check(
        &binding("shop", "other", json!([{ "kind": "Provisioner", "name": "x" }])),
        &among(&[]),
        &[misplaced],
    );
    let repeated = binding(INSTALL, "own", json!([class, class]));
    check(&repeated, &among(&[]), &["spec.subjects[1]: StorageClass 'gp2' appears twice"]);
    let named = json!({ "kind": "StorageClass", "name": "gp2", "namespace": "shop" });
    let named = binding(INSTALL, "own", json!([named]));
    check(&named, &among(&[]), &["spec.subjects[0].namespace is for kind Volume only"]);
}

#[test]
fn a_pod_specification_asks_for_amounts_within_its_limits() {
    let spec = |options: Value| object("ActionPodSpec", INSTALL, "big", json!({ "options": options }));
    let resources = |requests: Value, limits: Value| {
        let resources = json!({ "requests": requests, "limits": limits });
        spec(json!([{ "podType": "*", "resources": resources }]))
    };
    check(&spec(json!([{ "podType": "*" }, { "podType": "restore-data-dr" }])), &[], &[]);
    check(
        &resources(json!({ "cpu": 1, "memory": "512Mi" }), json!({ "cpu": "1000m", "memory": "1Gi" })),
        &[],
        &[],
    );
    let twice = spec(json!([{ "podType": "*" }, { "podType": "*" }]));
    check(&twice, &[], &["spec.options[1].podType '*' appears twice"]);
    let path = "spec.options[0].resources";
    let more = format!("{path}.requests.ephemeral-storage is more than the limit");
    let storage = |amount: &str| json!({ "ephemeral-storage": amount });
    check(&resources(storage("2Gi"), storage("2G")), &[], &[&more]);
    let no_amount = format!("{path}.limits.memory 'much' is not an amount");
    check(&resources(json!({}), json!({ "memory": "much" })), &[], &[&no_amount]);
    let negative = format!("{path}.requests.cpu '-1' is not an amount");
    check(&resources(json!({ "cpu": -1 }), json!({ "cpu": 1 })), &[], &[&negative]);
}

#[test]
fn a_pod_specification_that_is_bound_is_there() {
    let binding = |reference: Value| {
        object("ActionPodSpecBinding", "shop", "b", json!({ "actionPodSpecRef": reference }))
    };
    let spec = object("ActionPodSpec", INSTALL, "big", json!({ "options": [{ "podType": "*" }] }));
    let specs = [spec];
    check(&binding(json!({ "name": "big", "namespace": INSTALL })), &specs, &[]);
    let missing = "there is no action pod specification 'big' in namespace 'shop'";
    check(&binding(json!({ "name": "big" })), &specs, &[missing]);
    let faults = (validation("ActionPodSpecBinding").check)(
        &binding(json!({ "name": "" })),
        &around("ActionPodSpecBinding", &specs),
    );
    assert!(faults.len() == 1 && faults[0].starts_with("spec.actionPodSpecRef.name ''"), "{faults:?}");
}

#[test]
fn what_cannot_be_read_is_refused_with_the_field() {
    for of in CONFIGURATION.iter().filter(|of| of.validation.is_some()) {
        let faults = (validation(of.kind).check)(&json!({ "spec": 7 }), &Around::default());
        assert!(faults.len() == 1 && faults[0].starts_with("spec: "), "{} {faults:?}", of.kind);
    }
}
