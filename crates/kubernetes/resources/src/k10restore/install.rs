//! How the operator is installed: the objects of a plain manifest, and a bundle for the Operator Lifecycle Manager.

use keelson_model::names::group;
use serde_json::{Value, json};

use super::{GROUP, KIND, PLURAL, definition, form};
use crate::crd::render_yaml;
use crate::roles::{account, bind, named, role, rule};

/// The name of the operator's account, Deployment and package.
pub const ACCOUNT: &str = "keelson-operator";
/// What runs unless the manifest is changed.
pub const IMAGE: &str = concat!("ghcr.io/keelson-io/keelson:", env!("CARGO_PKG_VERSION"));
/// With Vault's token and with its authority.
const VAULT_SECRETS: [&str; 2] = ["vault-ca", "vault-creds"];
const HEALTH_PORT: u16 = 8081;
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Generated files below `deploy/operator`, each with the objects that it holds.
pub fn files(install_namespace: &str) -> Vec<(String, Vec<Value>)> {
    let definition_file = format!("crds/{PLURAL}.{GROUP}.yaml");
    let mut objects = account_objects(install_namespace);
    objects.push(deployment(install_namespace));
    let mut files = vec![(definition_file, vec![definition()]), ("operator.yaml".to_owned(), objects)];
    files.extend(bundle().into_iter().map(|(path, object)| (format!("bundle/{path}"), vec![object])));
    files
}

/// The account with its rights, all of them in the one namespace.
pub fn account_objects(namespace: &str) -> Vec<Value> {
    let role = role(ACCOUNT, namespace, &rules());
    let binding = bind(&role, ACCOUNT, &account(ACCOUNT, namespace));
    let service_account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": ACCOUNT, "namespace": namespace, "labels": labels() },
    });
    vec![service_account, role, binding]
}

fn rules() -> Vec<Value> {
    let statuses = format!("{PLURAL}/status");
    vec![
        rule(&[GROUP], &[PLURAL], &["get", "list", "watch"]),
        rule(&[GROUP], &[&statuses], &["patch"]),
        rule(&[group::DR], &["kastendrrestores"], &["create", "delete", "get", "list"]),
        // Whoever asks for a recovery must be allowed to read what it names: the profile, and the Secrets with Vault's token
        // and authority, here under the names that are documented.
        rule(&[group::CONFIG], &["profiles"], &["get"]),
        named(rule(&[""], &["secrets"], &["get"]), &VAULT_SECRETS),
        rule(&["events.k8s.io"], &["events"], &["create"]),
    ]
}

fn labels() -> Value {
    json!({ "app.kubernetes.io/name": ACCOUNT, "app.kubernetes.io/part-of": "k10" })
}

/// Two at once would do no harm, and no good either.
pub fn deployment(namespace: &str) -> Value {
    let selector = json!({ "app.kubernetes.io/name": ACCOUNT });
    let here = json!({ "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } });
    let container = json!({
        "name": "operator",
        "image": IMAGE,
        "args": ["operator", "--namespace", "$(POD_NAMESPACE)", format!("--health=0.0.0.0:{HEALTH_PORT}")],
        "ports": [{ "name": "health", "containerPort": HEALTH_PORT }],
        "livenessProbe": {
            "httpGet": { "path": "/healthz", "port": "health" },
            "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6,
        },
        "env": [{ "name": "POD_NAMESPACE", "valueFrom": here }],
        "resources": {
            "requests": { "cpu": "10m", "memory": "32Mi" },
            "limits": { "memory": "128Mi" },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
        },
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": ACCOUNT, "namespace": namespace, "labels": labels() },
        "spec": {
            "replicas": 1,
            "strategy": { "type": "Recreate" },
            "selector": { "matchLabels": selector },
            "template": {
                "metadata": { "labels": labels() },
                "spec": {
                    "serviceAccountName": ACCOUNT,
                    "securityContext": {
                        "runAsNonRoot": true,
                        "seccompProfile": { "type": "RuntimeDefault" },
                    },
                    "tolerations": tolerations(),
                    "containers": [container],
                },
            },
        },
    })
}

/// A node that is lost is given up after half a minute, instead of five.
fn tolerations() -> Vec<Value> {
    let toleration = |taint: &str| {
        json!({
            "key": format!("node.kubernetes.io/{taint}"), "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": 30,
        })
    };
    ["not-ready", "unreachable"].map(toleration).into()
}

/// The files of the bundle by their paths in it.
pub fn bundle() -> Vec<(String, Value)> {
    vec![
        (format!("manifests/{ACCOUNT}.clusterserviceversion.yaml"), service_version()),
        (format!("manifests/{PLURAL}.{GROUP}.crd.yaml"), definition()),
        ("metadata/annotations.yaml".to_owned(), annotations()),
    ]
}

fn annotations() -> Value {
    let of = |field: &str| format!("operators.operatorframework.io.bundle.{field}.v1");
    json!({
        "annotations": {
            (of("mediatype")): "registry+v1",
            (of("manifests")): "manifests/",
            (of("metadata")): "metadata/",
            (of("package")): ACCOUNT,
            (of("channels")): "alpha",
            "operators.operatorframework.io.bundle.channel.default.v1": "alpha",
        },
    })
}

/// What a form is filled in with at first.
fn example() -> Value {
    json!({
        "apiVersion": format!("{GROUP}/{}", group::VERSION),
        "kind": KIND,
        "metadata": { "name": "k10restore" },
        "spec": {
            "sourceClusterID": "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa",
            "profileName": "vaulted-s3",
            "pointInTime": "",
            "skipResource": "",
            "restore": { "timeout": 90 },
            "quickMode": { "enabled": false, "overrideResources": false },
            "vault": {
                "enabled": false, "address": "", "role": "", "serviceAccountTokenPath": "", "secretName": "",
                "mountPath": "", "namespace": "", "caSecretName": "",
            },
        },
    })
}

fn service_version() -> Value {
    // Only in the namespace of the installation, where alone a recovery is made.
    let modes = [
        ("OwnNamespace", true),
        ("SingleNamespace", false),
        ("MultiNamespace", false),
        ("AllNamespaces", false),
    ];
    let modes = modes.map(|(mode, supported)| json!({ "type": mode, "supported": supported }));
    let deployment = deployment("");
    let examples = render_json(&json!([example()]));
    json!({
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "ClusterServiceVersion",
        "metadata": {
            "name": format!("{ACCOUNT}.v{VERSION}"),
            "annotations": {
                "alm-examples": examples,
                "capabilities": "Basic Install",
                "categories": "Storage",
                "containerImage": IMAGE,
                "description": "Recovers the platform from its own backups.",
                "repository": env!("CARGO_PKG_REPOSITORY"),
            },
        },
        "spec": {
            "displayName": "Keelson Operator",
            "description": "Recovers the platform from its own backups, as a K10restore asks. A fresh platform, a location \
                            profile and the Secret k10-dr-secret come first.",
            "version": VERSION,
            "maturity": "alpha",
            "keywords": ["backup", "disaster recovery"],
            "provider": { "name": "Keelson", "url": env!("CARGO_PKG_REPOSITORY") },
            "links": [{ "name": "Keelson", "url": env!("CARGO_PKG_REPOSITORY") }],
            "installModes": modes,
            "install": {
                "strategy": "deployment",
                "spec": {
                    "permissions": [{ "serviceAccountName": ACCOUNT, "rules": rules() }],
                    "deployments": [{ "name": ACCOUNT, "label": labels(), "spec": deployment["spec"] }],
                },
            },
            "customresourcedefinitions": { "owned": [owned()] },
        },
    })
}

fn owned() -> Value {
    json!({
        "name": format!("{PLURAL}.{GROUP}"),
        "version": group::VERSION,
        "kind": KIND,
        "displayName": "K10restore",
        "description": "A recovery of the platform from a location. It runs once.",
        "resources": [{ "kind": "KastenDRRestore", "name": "", "version": group::VERSION }],
        "specDescriptors": form::spec_descriptors(),
        "statusDescriptors": form::status_descriptors(),
    })
}

/// JSON whose keys are in the order of YAML files, whoever else is in the build.
fn render_json(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            let text = |(name, field): (&String, &Value)| format!("{}:{}", json!(name), render_json(field));
            format!("{{{}}}", fields.into_iter().map(text).collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(render_json).collect::<Vec<_>>().join(",")),
        plain => plain.to_string(),
    }
}

/// The text of a generated file.
pub fn render(objects: &[Value]) -> String {
    objects.iter().map(render_yaml).collect::<Vec<_>>().join("---\n")
}
