//! A tenant who names what belongs to somebody else, for each reference of each kind: refused when the object is made,
//! and refused when it is carried out where the right was taken away in between.

use keelson_resources::{KINDS, KindInfo, Reference, Verb, spec_hash};
use serde_json::{Value, json};

use crate::environment::{Environment, INSTALL_NAMESPACE, environment, eventually};

/// Kinds of which no object refers to anything.
const NAMING_NOTHING: &[&str] = &["BackupClusterAction"];
/// Nothing of it is left to do once it is made.
const DONE_AT_ONCE: [&str; 3] = ["RestorePoint", "CancelAction", "Passkey"];
const POLICIES: &str = "policies.config.kio.kasten.io";
const PRESETS: &str = "policypresets.config.kio.kasten.io";

/// What may be asked for: the kind, where such objects are made (nowhere if in no namespace), and a spec. All references of all of them are tried.
fn asked() -> Vec<(&'static str, &'static str, Value)> {
    let point = json!({ "kind": "RestorePoint", "name": "secrets", "namespace": "victim" });
    let source = json!({ "profileName": "vault", "sourceClusterID": "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa" });
    let review = json!({
        "kastenDRReviewRef": { "name": "theirs", "namespace": INSTALL_NAMESPACE },
        "id": format!("{:032}.1.1", 0),
    });
    let policy = json!({ "kind": "Policy", "name": "nightly", "namespace": "robbers" });
    let subject = json!({ "namespace": "victim", "restorePointName": "secrets" });
    let by_content = json!({ "namespace": "victim", "restorePointContentName": "theirs" });
    let of_cluster = json!({ "namespace": "kasten-io-cluster", "restorePointName": "theirs" });
    let cluster_point = json!({ "kind": "ClusterRestorePoint", "name": "theirs" });
    let content = json!({ "kind": "RestorePointContent", "name": "theirs" });
    let begun = json!({ "kind": "BackupAction", "name": "begun", "namespace": "robbers" });
    let profile = json!({ "name": "vault", "namespace": INSTALL_NAMESPACE });
    let repository = json!({ "kind": "StorageRepository", "name": "metadata-repository-x", "namespace": INSTALL_NAMESPACE });
    let platform = json!({ "name": INSTALL_NAMESPACE, "namespace": INSTALL_NAMESPACE });
    vec![
        ("BackupAction", "robbers", json!({ "subject": { "name": "robbers", "namespace": "robbers" } })),
        ("ExportAction", INSTALL_NAMESPACE, json!({ "subject": point, "profile": profile })),
        ("ExportAction", INSTALL_NAMESPACE, json!({ "subject": cluster_point, "profile": profile })),
        ("ReportAction", INSTALL_NAMESPACE, json!({ "subject": platform, "statsIntervalHours": 1 })),
        ("RestoreAction", "robbers", json!({ "subject": point })),
        ("UpgradeAction", INSTALL_NAMESPACE, json!({ "subject": repository, "profile": profile })),
        ("UpgradeAction", INSTALL_NAMESPACE, json!({ "subject": policy, "profile": profile })),
        ("RunAction", "robbers", json!({ "subject": policy })),
        ("ValidateAction", "robbers", json!({ "subject": point })),
        ("ValidateAction", "robbers", json!({ "subject": content })),
        ("BatchRestoreAction", INSTALL_NAMESPACE, json!({ "subjects": [subject] })),
        ("CancelAction", "robbers", json!({ "subject": begun })),
        ("BatchRestoreAction", INSTALL_NAMESPACE, json!({ "subjects": [by_content] })),
        ("BatchRestoreAction", INSTALL_NAMESPACE, json!({ "subjects": [of_cluster] })),
        ("RestoreClusterAction", "", json!({ "subject": cluster_point })),
        ("RestorePoint", "robbers", json!({ "restorePointContentRef": { "name": "theirs" } })),
        ("Passkey", "", json!({ "secret": { "name": "passphrase", "namespace": "victim" } })),
        ("KastenDRReview", INSTALL_NAMESPACE, json!({ "sourceClusterInfo": source })),
        ("KastenDRRestore", INSTALL_NAMESPACE, json!({ "sourceClusterInfo": source })),
        ("KastenDRRestore", INSTALL_NAMESPACE, json!({ "kastenDRReviewDetails": review })),
    ]
}

/// A tenant who has every right that an object takes but one.
struct Attempt {
    user: String,
    kind: &'static KindInfo,
    object: Value,
    /// Among the attempts of the kind. Of recoveries only one may exist at a time.
    round: usize,
    rights: Vec<Reference>,
    withheld: Reference,
}

/// What lies in no namespace is told none.
fn metadata(name: &str, namespace: &str) -> Value {
    match namespace {
        "" => json!({ "name": name }),
        namespace => json!({ "name": name, "namespace": namespace }),
    }
}

fn kind_of(name: &str) -> &'static KindInfo {
    KINDS.iter().find(|kind| kind.kind == name).unwrap_or_else(|| panic!("no kind is called {name}"))
}

fn attempts() -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    for (name, namespace, spec) in asked() {
        let kind = kind_of(name);
        let object = |user: &str| {
            json!({
                "apiVersion": kind.api_version(), "kind": kind.kind,
                "metadata": metadata(user, namespace), "spec": spec,
            })
        };
        let references = (kind.references)(&object("any"), INSTALL_NAMESPACE);
        assert!(!references.is_empty(), "this {name} names nothing: {spec}");
        for withheld in &references {
            let user = format!("robber-{}", attempts.len());
            let others = references.iter().filter(|reference| *reference != withheld).cloned();
            let round = attempts.iter().filter(|attempt| attempt.kind.kind == name).count();
            let (object, rights) = (object(&user), others.chain([making(kind, namespace)]).collect());
            attempts.push(Attempt { user, kind, object, round, rights, withheld: withheld.clone() });
        }
    }
    attempts
}

/// The right to make objects of a kind.
fn making(kind: &KindInfo, namespace: &str) -> Reference {
    Reference {
        verb: Verb::Create,
        group: kind.group,
        resource: kind.plural,
        namespace: kind.is_namespaced().then(|| namespace.to_owned()),
        name: None,
    }
}

/// A run of a policy that exports, by somebody who may read the policy and not the profile.
fn exporting_run(user: &str, namespace: &str, policy: &str) -> Attempt {
    let kind = kind_of("RunAction");
    let policy = json!({ "kind": "Policy", "name": policy, "namespace": namespace });
    let object = json!({
        "apiVersion": kind.api_version(), "kind": kind.kind,
        "metadata": metadata(user, namespace), "spec": { "subject": policy },
    });
    let mut rights = (kind.references)(&object, INSTALL_NAMESPACE);
    rights.push(making(kind, namespace));
    let withheld = Reference::read("config.kio.kasten.io", "profiles", INSTALL_NAMESPACE, "vault");
    Attempt { user: user.to_owned(), kind, object, round: 0, rights, withheld }
}

/// A role with one right, and its binding to one user.
fn grant(name: &str, user: &str, right: &Reference) -> [Value; 2] {
    let mut rule =
        json!({ "apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb.as_str()] });
    if let Some(name) = &right.name {
        rule["resourceNames"] = json!([name]);
    }
    let rbac = "rbac.authorization.k8s.io";
    let (scope, metadata) = match &right.namespace {
        Some(namespace) => ("", json!({ "name": name, "namespace": namespace })),
        None => ("Cluster", json!({ "name": name })),
    };
    let version = format!("{rbac}/v1");
    [
        json!({ "apiVersion": version, "kind": format!("{scope}Role"), "metadata": metadata, "rules": [rule] }),
        json!({
            "apiVersion": version, "kind": format!("{scope}RoleBinding"), "metadata": metadata,
            "roleRef": { "apiGroup": rbac, "kind": format!("{scope}Role"), "name": name },
            "subjects": [{ "apiGroup": rbac, "kind": "User", "name": user }],
        }),
    ]
}

fn list(items: Vec<Value>) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

impl Attempt {
    fn usual_rights(&self) -> Vec<Value> {
        let numbered = self.rights.iter().enumerate();
        numbered
            .flat_map(|(number, right)| grant(&format!("{}-{number}", self.user), &self.user, right))
            .collect()
    }

    fn last_right(&self) -> [Value; 2] {
        grant(&format!("{}-last", self.user), &self.user, &self.withheld)
    }

    fn make(&self, cluster: &Environment) -> Result<String, String> {
        cluster.kubectl_as(&self.user, &["create", "-f", "-"], &self.object.to_string())
    }

    /// Refused by us, whatever else it takes is granted.
    fn await_refusal(&self, cluster: &Environment) {
        let Reference { verb, resource, name, .. } = &self.withheld;
        let words = format!("User \"{}\" cannot {} resource \"{resource}\"", self.user, verb.as_str());
        let named = name.as_ref().map(|name| format!("(its spec names \"{name}\")")).unwrap_or_default();
        let what = format!("{} of {} is refused: {words}", self.kind.kind, self.user);
        eventually(&what, || match self.make(cluster) {
            Ok(made) => panic!("{made} although {} was not granted", self.withheld.resource),
            // The API server itself may not know yet of what was granted.
            Err(told) => (told.contains(&words) && told.contains(&named)).then_some(()),
        });
    }

    /// Refused for what shows only when the policy is looked at.
    fn await_refusal_of_run(&self, cluster: &Environment) {
        let words = self.denial();
        eventually(&words, || match self.make(cluster) {
            Ok(made) => panic!("{made} although {} was not granted", self.withheld.resource),
            Err(told) => told.contains(&words).then_some(()),
        });
    }

    /// For which right what was asked for is not done.
    fn denial(&self) -> String {
        let Reference { verb, resource, name, .. } = &self.withheld;
        let (verb, name) = (verb.as_str(), name.as_deref().unwrap_or_default());
        format!("user '{}' may not {verb} {resource} '{name}'", self.user)
    }

    fn await_revocation(&self, cluster: &Environment) {
        let Reference { verb, group, resource, namespace, name } = &self.withheld;
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": { "user": self.user, "groups": ["system:authenticated"], "resourceAttributes": {
                "verb": verb.as_str(), "group": group, "resource": resource,
                "namespace": namespace.as_deref().unwrap_or_default(), "name": name.as_deref().unwrap_or_default(),
            }},
        });
        let words = ["create", "-f", "-", "-o", "jsonpath={.status.allowed}"];
        eventually("the right is gone", || {
            let allowed = cluster.try_kubectl(&words, &review.to_string()).unwrap();
            (allowed == "false").then_some(())
        });
    }

    /// What was made ends without having been done, and says for which right.
    fn await_failure(&self, cluster: &Environment) {
        let namespace = self.object["metadata"]["namespace"].as_str().unwrap_or("default");
        let resource = format!("{}.{}", self.kind.plural, self.kind.group);
        let words = ["get", &resource, &self.user, "-n", namespace, "-o", "jsonpath={.status}"];
        let status = eventually(&format!("{} of {} ends", self.kind.kind, self.user), || {
            let status: Value = serde_json::from_str(&cluster.kubectl(&words)).unwrap();
            let ends = ["Complete", "Failed", "Skipped", "success", "failed"];
            ends.contains(&status["state"].as_str().unwrap()).then_some(status)
        });
        let (told, state) = (self.denial(), status["state"].as_str().unwrap());
        assert!(
            state.eq_ignore_ascii_case("failed") && status["error"].to_string().contains(&told),
            "{status}"
        );
    }
}

/// Made while the last right to it is there, and carried out when that was taken away.
fn make_and_carry_out(cluster: &Environment, attempts: &[&Attempt]) {
    let last = list(attempts.iter().flat_map(|attempt| attempt.last_right()).collect());
    cluster.try_kubectl(&["create", "-f", "-"], &last).unwrap();
    for attempt in attempts {
        eventually(&format!("{} may", attempt.user), || attempt.make(cluster).ok());
    }
    cluster.try_kubectl(&["delete", "-f", "-"], &last).unwrap();
    for attempt in attempts {
        attempt.await_revocation(cluster);
    }
    cluster.work_while(|cluster| {
        for attempt in attempts.iter().filter(|attempt| !DONE_AT_ONCE.contains(&attempt.kind.kind)) {
            attempt.await_failure(cluster);
        }
    });
}

/// A policy with this specification, of the application `robbers`.
fn policy(name: &str, namespace: &str, mut spec: Value) -> Value {
    spec["selector"] = json!({ "matchExpressions": [
        { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": ["robbers"] },
    ]});
    json!({
        "apiVersion": "config.kio.kasten.io/v1alpha1", "kind": "Policy",
        "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    })
}

/// Makes a policy or a preset, and finds it sound, as the controllers would.
fn create_sound(cluster: &Environment, resource: &str, object: &Value) {
    cluster.create(object).unwrap();
    let text = |field: &str| object["metadata"][field].as_str().unwrap();
    let words = [text("name"), "-n", text("namespace")];
    let found = cluster.kubectl(&[&["get", resource, "-o", "jsonpath={.spec}"], &words[..]].concat());
    let spec: Value = serde_json::from_str(&found).unwrap();
    let judged = json!({ "status": { "validation": "Success", "hash": spec_hash(&spec) } }).to_string();
    let patch = ["patch", resource, "--subresource=status", "--type=merge", "-p", &judged];
    cluster.kubectl(&[&patch[..], &words[..]].concat());
}

/// A policy that exports.
fn create_exporting(cluster: &Environment, namespace: &str) {
    let export = json!({ "action": "export", "exportParameters": { "profile": vault() } });
    let spec = json!({ "frequency": "@onDemand", "actions": [{ "action": "backup" }, export] });
    create_sound(cluster, POLICIES, &policy("exporting", namespace, spec));
}

/// A policy that names no profile, on a preset that does.
fn create_on_preset(cluster: &Environment, namespace: &str) {
    let preset = json!({
        "apiVersion": "config.kio.kasten.io/v1alpha1", "kind": "PolicyPreset",
        "metadata": { "name": "gold", "namespace": INSTALL_NAMESPACE },
        "spec": {
            "backup": { "frequency": "@daily", "retention": { "daily": 7 } },
            "export": { "profile": vault(), "exportData": { "enabled": true } },
        },
    });
    create_sound(cluster, PRESETS, &preset);
    let named = json!({ "name": "gold", "namespace": INSTALL_NAMESPACE });
    let spec = json!({ "presetRef": named, "actions": [{ "action": "backup" }] });
    create_sound(cluster, POLICIES, &policy("on-preset", namespace, spec));
}

fn vault() -> Value {
    json!({ "name": "vault", "namespace": INSTALL_NAMESPACE })
}

fn prepare(cluster: &Environment) {
    let definitions = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../deploy/crds");
    cluster.kubectl(&["apply", "-f", definitions]);
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]);
    for namespace in ["robbers", "victim"] {
        cluster.namespace(namespace);
    }
    cluster.kubectl(&[
        "create",
        "secret",
        "generic",
        "passphrase",
        "-n",
        "victim",
        "--from-literal=passphrase=of the victim alone",
    ]);
    cluster.put("restorepoints", "victim", "secrets", &[]);
    cluster.put_in_state("backupactions", "robbers", "begun", &[], "Pending");
    cluster.put_in_state("restorepointcontents", "", "theirs", &[], "Unbound");
    cluster.put("clusterrestorepoints", "", "theirs", &[]);
    let spec = json!({ "frequency": "@onDemand", "actions": [{ "action": "backup" }] });
    cluster.create(&policy("nightly", "robbers", spec)).unwrap();
}

#[test]
fn what_a_spec_names_is_refused_without_the_right_to_it_at_creation_and_at_execution() {
    let attempts = attempts();
    let uncovered: Vec<_> = KINDS
        .iter()
        .filter(|kind| kind.allows(Verb::Create) && !NAMING_NOTHING.contains(&kind.kind))
        .filter(|kind| !attempts.iter().any(|attempt| attempt.kind.kind == kind.kind))
        .map(|kind| kind.kind)
        .collect();
    assert_eq!(uncovered, [""; 0], "say what such an object may name");

    let cluster = Environment::start();
    prepare(&cluster);
    let usual = attempts.iter().flat_map(Attempt::usual_rights).collect();
    cluster.try_kubectl(&["create", "-f", "-"], &list(usual)).unwrap();
    for attempt in &attempts {
        attempt.await_refusal(&cluster);
    }
    let rounds = attempts.iter().map(|attempt| attempt.round).max().unwrap();
    for round in 0..=rounds {
        let attempts: Vec<_> = attempts.iter().filter(|attempt| attempt.round == round).collect();
        make_and_carry_out(&cluster, &attempts);
        for kind in ["kastendrreviews", "kastendrrestores"] {
            cluster.kubectl(&["delete", kind, "--all", "-n", INSTALL_NAMESPACE]);
        }
    }
}

/// A tenant exported through any profile: what a policy of his names, or its preset, was asked of nobody.
#[test]
fn a_policy_of_a_tenant_runs_for_whoever_may_read_its_profiles_at_creation_and_at_execution() {
    let cluster = Environment::start();
    prepare(&cluster);
    for namespace in ["robbers", INSTALL_NAMESPACE] {
        create_exporting(&cluster, namespace);
    }
    create_on_preset(&cluster, "robbers");
    let runs = [
        exporting_run("robber", "robbers", "exporting"),
        exporting_run("robber-by-preset", "robbers", "on-preset"),
    ];
    // There the profile was named by an administrator.
    let of_administrators = exporting_run("clerk", INSTALL_NAMESPACE, "exporting");
    let usual = runs.iter().chain([&of_administrators]).flat_map(Attempt::usual_rights).collect();
    cluster.try_kubectl(&["create", "-f", "-"], &list(usual)).unwrap();
    for run in &runs {
        run.await_refusal_of_run(&cluster);
    }
    eventually("the clerk may", || of_administrators.make(&cluster).ok());
    make_and_carry_out(&cluster, &runs.each_ref());
}

/// No right helps: what an action of a namespace does stays in it.
#[test]
fn a_namespace_of_somebody_else_cannot_be_named_at_all() {
    let cluster = environment();
    for namespace in ["fenced", "beyond"] {
        cluster.namespace(namespace);
    }
    cluster.put("restorepoints", "fenced", "own", &[]);
    let own = json!({ "kind": "RestorePoint", "name": "own", "namespace": "fenced" });
    for (kind, spec, field) in [
        ("BackupAction", json!({ "subject": { "name": "beyond", "namespace": "beyond" } }), "spec.subject"),
        (
            "BackupAction",
            json!({ "subject": { "name": "beyond", "namespace": "fenced" } }),
            "spec.subject.name",
        ),
        ("RestoreAction", json!({ "subject": own, "targetNamespace": "beyond" }), "spec.targetNamespace"),
        (
            "RunAction",
            json!({ "subject": { "kind": "Policy", "name": "p", "namespace": "beyond" } }),
            "spec.subject.namespace",
        ),
        (
            "ExportAction",
            json!({ "subject": own, "profile": { "name": "p", "namespace": INSTALL_NAMESPACE } }),
            "metadata.namespace",
        ),
    ] {
        let object = json!({
            "apiVersion": kind_of(kind).api_version(), "kind": kind,
            "metadata": { "name": "reach", "namespace": "fenced" }, "spec": spec,
        });
        // As the administrator, who may everything.
        let told = cluster.create(&object).unwrap_err();
        assert!(told.contains("is invalid") && told.contains(field), "{kind} {spec}: {told}");
    }
}
