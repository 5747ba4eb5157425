//! What a K10restore may say, its definition, and the form that asks for one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::request::FIELDS;
use super::*;

const SOURCE: &str = "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa";

fn read(spec: &Value) -> RecoveryRequest {
    parse(spec).request.unwrap()
}

#[track_caller]
fn refused(spec: &Value, words: &[&str]) {
    let faults = parse(spec).request.unwrap_err();
    assert_eq!(faults.len(), words.len(), "{faults:?}");
    for word in words {
        assert!(faults.iter().any(|fault| fault.contains(word)), "'{word}' is not in {faults:?}");
    }
}

/// Valid, with further fields.
fn with(field: &str, value: Value) -> Value {
    let mut spec = json!({ "sourceClusterID": SOURCE, "profileName": "vaulted-s3" });
    spec[field] = value;
    spec
}

#[test]
fn the_documented_example_asks_for_the_latest_state_of_a_cluster() {
    let spec = json!({
        "sourceClusterID": SOURCE,
        "profileName": "vaulted-s3",
        "pointInTime": null,
        "skipResource": null,
        "vault": {
            "enabled": false, "address": "", "role": "", "serviceAccountTokenPath": "", "secretName": "",
        },
    });
    let asked = parse(&spec);
    assert_eq!(asked.unknown, Vec::<String>::new());
    let source = json!({ "profileName": "vaulted-s3", "sourceClusterID": SOURCE });
    assert_eq!(asked.request.unwrap().recovery_spec(), json!({ "sourceClusterInfo": source }));
}

#[test]
fn every_field_reaches_the_recovery() {
    let spec = json!({
        "sourceClusterID": SOURCE,
        "profile": { "name": "vaulted-s3" },
        "pointInTime": "2022-01-02T16:04:05+01:00",
        "skipResource": " Profile , policies",
        "restore": { "timeout": 30 },
        "quickMode": { "enabled": true, "overrideResources": true },
        "vault": {
            "enabled": true, "address": "https://vault:8200", "secretName": "vault-creds", "role": null,
            "mountPath": "clusters/one", "namespace": "team/backup", "caSecretName": "vault-ca",
        },
    });
    let expected = json!({
        "sourceClusterInfo": {
            "profileName": "vaulted-s3", "sourceClusterID": SOURCE, "pointInTime": "2022-01-02T15:04:05Z",
        },
        "skipResources": "profiles,policies",
        "timeoutMinutes": 30,
        "quickMode": { "enabled": true, "overrideResources": true },
        "vault": {
            "address": "https://vault:8200", "secretName": "vault-creds", "mountPath": "clusters/one",
            "namespace": "team/backup", "caSecretName": "vault-ca",
        },
    });
    assert_eq!(read(&spec).recovery_spec(), expected);
}

#[test]
fn vault_is_not_asked_unless_it_is_enabled() {
    let vault = json!({ "enabled": false, "address": "https://vault:8200", "role": "k10" });
    assert_eq!(read(&with("vault", vault)).vault, None);
    let role = json!({ "enabled": true, "address": "https://vault:8200", "role": "k10" });
    assert_eq!(read(&with("vault", role)).vault.unwrap().role, "k10");
}

/// Else a form would refuse each Quick restore point that it was not told of.
#[test]
fn a_switch_that_is_off_says_nothing_of_the_mode() {
    let off = json!({ "enabled": false, "overrideResources": false });
    assert!(read(&with("quickMode", off)).recovery_spec().get("quickMode").is_none());
    let confirmed = read(&with("quickMode", json!({ "overrideResources": true }))).recovery_spec();
    assert_eq!(confirmed["quickMode"], json!({ "overrideResources": true }));
}

#[test]
fn what_cannot_be_carried_out_is_refused_with_every_fault() {
    refused(&Value::Null, &["spec.sourceClusterID: is required", "spec.profileName: is required"]);
    refused(
        &json!({ "sourceClusterID": " ", "profile": {} }),
        &["sourceClusterID: is required", "profileName"],
    );
    refused(&with("sourceClusterID", json!("../../etc")), &["'../../etc' is not a cluster id"]);
    refused(&with("sourceClusterID", json!(7)), &["spec.sourceClusterID: must be a text"]);
    refused(&with("profileName", json!("Vaulted S3")), &["spec.profileName: 'Vaulted S3'"]);
    refused(&with("profileName", json!(["a"])), &["spec.profileName: must be a text"]);
    refused(&with("profile", json!({ "name": "other" })), &["is not what profile.name says: 'other'"]);
    refused(&with("profile", json!("vaulted-s3")), &["spec.profile: must be an object"]);
    for text in ["yesterday", "2022-01-02", "2022-01-02T15:04:05"] {
        refused(&with("pointInTime", json!(text)), &["is no time of RFC 3339"]);
    }
    refused(&with("skipResource", json!("profiles,catalog")), &["'catalog' cannot be skipped; known are"]);
    for minutes in [json!(0), json!(-1), json!(10_081), json!("90"), json!(1.5)] {
        refused(&with("restore", json!({ "timeout": minutes })), &["minutes from 1 to 10080"]);
    }
    refused(
        &with("quickMode", json!({ "enabled": true })),
        &["spec.quickMode.overrideResources: must be true"],
    );
    refused(
        &with("quickMode", json!({ "enabled": "yes" })),
        &["spec.quickMode.enabled: must be true or false"],
    );
    refused(&with("vault", json!({ "enabled": true })), &["spec.vault.address: is", "spec.vault.secretName"]);
    refused(&with("vault", json!(true)), &["spec.vault: must be an object"]);
    let mut mounted = json!({ "enabled": true, "address": "https://vault:8200", "role": "k10" });
    mounted["mountPath"] = json!(["clusters/one"]);
    refused(&with("vault", mounted), &["spec.vault.mountPath: must be a text"]);
    let mut elsewhere = json!({ "enabled": true, "address": "https://vault:8200", "role": "k10" });
    elsewhere["serviceAccountTokenPath"] = json!("/etc/passwd");
    refused(
        &with("vault", elsewhere),
        &["spec.vault.serviceAccountTokenPath: must be a file below /var/run"],
    );
}

#[test]
fn fields_without_a_meaning_are_named_and_hold_up_nothing() {
    let mut spec = with("airgapped", json!({ "repository": "repo.example.com" }));
    spec["vault"] = json!({ "enabled": false, "token": "s.secret" });
    spec["restore"] = json!({ "specRestoreTimeout": 5 });
    let asked = parse(&spec);
    assert_eq!(asked.unknown, ["airgapped", "restore.specRestoreTimeout", "vault.token"]);
    assert!(asked.request.is_ok());
    let many = (0..40).fold(with("x", json!(1)), |mut spec, number| {
        spec[format!("y{number}")] = json!(number);
        spec
    });
    let unknown = parse(&many).unknown;
    assert_eq!((unknown.len(), unknown.last().map(String::as_str)), (17, Some("25 more")));
}

#[test]
fn the_definition_is_the_documented_one() {
    let definition = definition();
    assert_eq!(definition["metadata"]["name"], "k10restores.apik10.kasten.io");
    let names = json!({
        "kind": "K10restore", "listKind": "K10restoreList", "plural": "k10restores", "singular": "k10restore",
    });
    assert_eq!((&definition["spec"]["names"], &definition["spec"]["scope"]), (&names, &json!("Namespaced")));
    let version = &definition["spec"]["versions"][0];
    assert_eq!((&version["name"], &version["subresources"]), (&json!("v1alpha1"), &json!({ "status": {} })));
    for open in ["spec", "status"] {
        let schema = &version["schema"]["openAPIV3Schema"]["properties"][open];
        assert_eq!(schema["x-kubernetes-preserve-unknown-fields"], true, "{open}");
        assert!(schema["properties"].is_null(), "{open}");
    }
    let columns = version["additionalPrinterColumns"].as_array().unwrap();
    let columns: Vec<_> = columns.iter().map(|it| it["name"].as_str().unwrap().to_uppercase()).collect();
    assert_eq!(columns, ["PHASE", "SOURCE CLUSTERID", "AGE"]);
}

#[test]
fn the_operator_has_rights_in_its_namespace_alone_and_to_two_secrets() {
    let objects = account_objects("kasten-io");
    let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ServiceAccount", "Role", "RoleBinding"]);
    for object in &objects {
        assert_eq!(object["metadata"]["namespace"], "kasten-io", "{object}");
        assert!(!object.to_string().contains(r#""*""#), "{object}");
    }
    let rules = objects[1]["rules"].as_array().unwrap().iter();
    let of_secrets: Vec<_> = rules.filter(|rule| rule.to_string().contains("secrets")).collect();
    assert_eq!(of_secrets.len(), 1);
    let (names, verbs) = (&of_secrets[0]["resourceNames"], &of_secrets[0]["verbs"]);
    assert_eq!((names, verbs), (&json!(["vault-ca", "vault-creds"]), &json!(["get"])));
}

#[test]
fn generated_files_are_read_back_as_what_they_were_made_of() {
    for (path, objects) in files("kasten-io") {
        let text = render(&objects);
        let documents: Vec<Value> =
            text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect();
        assert_eq!(documents, objects, "{path}");
    }
}

/// Documents of a file below `deploy/`, as they lie there.
fn kept(path: &str) -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../deploy/operator").join(path);
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

/// What a console or `kubectl` is given, whoever made it.
#[test]
fn the_kept_manifests_and_the_bundle_agree_in_names_versions_rights_and_the_definition() {
    let [of_crds, of_bundle] =
        ["crds/k10restores.apik10.kasten.io.yaml", "bundle/manifests/k10restores.apik10.kasten.io.crd.yaml"]
            .map(kept);
    assert_eq!((&of_crds, of_bundle.len()), (&of_bundle, 1));
    assert_eq!(of_crds[0], definition());

    let objects = kept("operator.yaml");
    let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ServiceAccount", "Role", "RoleBinding", "Deployment"]);
    for object in &objects {
        let metadata = &object["metadata"];
        assert_eq!((&metadata["name"], &metadata["namespace"]), (&json!(ACCOUNT), &json!("kasten-io")));
    }

    let version = kept("bundle/manifests/keelson-operator.clusterserviceversion.yaml").remove(0);
    let release = env!("CARGO_PKG_VERSION");
    let image = format!("ghcr.io/keelson-io/keelson:{release}");
    assert_eq!(version["metadata"]["name"], format!("keelson-operator.v{release}"));
    assert_eq!(version["metadata"]["annotations"]["containerImage"], image);
    assert_eq!(version["spec"]["version"], release);
    let owned = &version["spec"]["customresourcedefinitions"]["owned"][0];
    assert_eq!((&owned["name"], &owned["kind"]), (&of_crds[0]["metadata"]["name"], &json!("K10restore")));
    assert_eq!(owned["version"], of_crds[0]["spec"]["versions"][0]["name"]);

    let installed = &version["spec"]["install"]["spec"];
    let [deployment, permissions] = [&installed["deployments"][0], &installed["permissions"][0]];
    assert_eq!((&deployment["name"], &permissions["serviceAccountName"]), (&json!(ACCOUNT), &json!(ACCOUNT)));
    assert_eq!(permissions["rules"], objects[1]["rules"]);
    assert_eq!(deployment["spec"], objects[3]["spec"], "both install the same");
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!((&pod["serviceAccountName"], &container["image"]), (&json!(ACCOUNT), &json!(image)));
    assert_eq!(container["livenessProbe"]["httpGet"]["port"], container["ports"][0]["name"]);
    for toleration in pod["tolerations"].as_array().unwrap() {
        assert_eq!(toleration["tolerationSeconds"], 30, "{toleration}");
    }

    let annotations = kept("bundle/metadata/annotations.yaml").remove(0)["annotations"].take();
    let of = |field: &str| annotations[format!("operators.operatorframework.io.bundle.{field}.v1")].clone();
    assert_eq!((of("package"), of("manifests")), (json!(ACCOUNT), json!("manifests/")));
    assert_eq!((of("metadata"), of("mediatype")), (json!("metadata/"), json!("registry+v1")));
}

/// The form as the bundle's file has it.
fn form() -> Vec<Value> {
    let files = files("kasten-io");
    let (_, objects) = files.iter().find(|(path, _)| path.ends_with("clusterserviceversion.yaml")).unwrap();
    let version: Value = serde_saphyr::from_str(&render(objects)).unwrap();
    let owned = &version["spec"]["customresourcedefinitions"]["owned"];
    assert_eq!(owned.as_array().map(Vec::len), Some(1));
    assert_eq!(owned[0]["name"], "k10restores.apik10.kasten.io");
    owned[0]["specDescriptors"].as_array().unwrap().clone()
}

fn descriptors(field: &Value) -> Vec<&str> {
    field["x-descriptors"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect()
}

fn at<'a>(spec: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(spec, |value, field| &value[field])
}

/// What a console shows, by its rule: a field that depends on another is there while that one has the given value.
fn shown(form: &[Value], spec: &Value) -> BTreeSet<String> {
    let is_shown = |field: &&Value| {
        descriptors(field).into_iter().all(|descriptor| {
            let Some((_, rule)) = descriptor.split_once(":fieldDependency:") else { return true };
            let (switch, expected) = rule.rsplit_once(':').unwrap();
            let value = at(spec, switch);
            value.as_str().map_or_else(|| value.to_string(), str::to_owned) == expected
        })
    };
    form.iter().filter(is_shown).map(|field| field["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_form_asks_for_every_field_once_and_for_no_other() {
    let form = form();
    let paths: Vec<_> = form.iter().map(|field| field["path"].as_str().unwrap()).collect();
    let asked: BTreeSet<_> = paths.iter().copied().collect();
    assert_eq!(asked.len(), paths.len(), "{paths:?}");
    // Two ways to say one thing, of which a form needs one.
    let known: BTreeSet<_> = FIELDS.into_iter().filter(|path| *path != "profile.name").collect();
    assert_eq!(asked, known);
    for field in &form {
        assert!(field["displayName"].is_string() && field["description"].is_string(), "{field}");
    }
}

#[test]
fn the_switch_of_vault_shows_and_hides_its_fields() {
    let form = form();
    let switch = form.iter().find(|field| field["path"] == "vault.enabled").unwrap();
    assert_eq!(switch["displayName"], "Enable HashiCorp Vault");
    assert_eq!(descriptors(switch), ["urn:alm:descriptor:com.tectonic.ui:booleanSwitch"]);

    let of_vault: BTreeSet<_> = [
        "vault.address",
        "vault.caSecretName",
        "vault.mountPath",
        "vault.namespace",
        "vault.role",
        "vault.secretName",
        "vault.serviceAccountTokenPath",
    ]
    .map(str::to_owned)
    .into();
    let (off, on) = (json!({ "vault": { "enabled": false } }), json!({ "vault": { "enabled": true } }));
    let (hidden, all) = (shown(&form, &off), shown(&form, &on));
    assert!(hidden.contains("vault.enabled") && hidden.is_disjoint(&of_vault), "{hidden:?}");
    assert_eq!(all.difference(&hidden).cloned().collect::<BTreeSet<_>>(), of_vault);
    // A form that was not touched yet.
    assert_eq!(shown(&form, &json!({})), hidden);
}

#[test]
fn the_example_of_the_bundle_has_every_field_of_the_form() {
    let files = bundle();
    let (_, version) = files.iter().find(|(path, _)| path.ends_with("clusterserviceversion.yaml")).unwrap();
    let examples = version["metadata"]["annotations"]["alm-examples"].as_str().unwrap();
    let examples: Value = serde_json::from_str(examples).unwrap();
    let spec = &examples[0]["spec"];
    assert!(parse(spec).request.is_ok(), "{examples}");
    for field in form() {
        let path = field["path"].as_str().unwrap();
        assert!(!at(spec, path).is_null(), "{path}");
    }
}
