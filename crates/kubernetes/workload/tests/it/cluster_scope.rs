//! The cluster scope is captured, loses some of what it held, and gets back what is missing.

use anyhow::Result;
use keelson_testkit::eventually;
use keelson_workload::{
    Authority, CaptureScope, CapturedObject, Filters, Impersonation, Kind, Requester, ResourceFilter,
    RestoreReport, RestoreRequest, StatusRule,
};
use serde_json::{Value, json};

use crate::application::{Scene, definitions};

const RBAC: &str = "rbac.authorization.k8s.io/v1";

fn classes() -> Kind {
    Kind::cluster("storage.k8s.io/v1", "StorageClass", "storageclasses")
}

fn roles() -> Kind {
    Kind::cluster(RBAC, "ClusterRole", "clusterroles")
}

fn bindings() -> Kind {
    Kind::cluster(RBAC, "ClusterRoleBinding", "clusterrolebindings")
}

fn class(name: &str) -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
        "provisioner": "example.com/none", "parameters": {"tier": "fast"}})
}

fn role(name: &str, resource: &str, verbs: &[&str]) -> Value {
    let group = if resource == "storageclasses" { "storage.k8s.io" } else { "rbac.authorization.k8s.io" };
    json!({"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": name},
        "rules": [{"apiGroups": [group], "resources": [resource], "verbs": verbs}]})
}

fn binding(name: &str, role: &str, user: &str) -> Value {
    json!({"apiVersion": RBAC, "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"kind": "ClusterRole", "name": role, "apiGroup": "rbac.authorization.k8s.io"},
        "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}]})
}

/// A kind that lies in no namespace.
fn gadgets(scene: &Scene) -> Value {
    let mut definition = scene.definition("gadgets", "Gadget");
    definition["spec"]["scope"] = json!("Cluster");
    definition
}

/// What of the cluster scope is this scene's: others change theirs meanwhile.
async fn capture(scene: &Scene, filters: Filters) -> Result<(Vec<CapturedObject>, Vec<String>)> {
    let captured = scene.capture_scope(CaptureScope::Cluster, filters, StatusRule::Drop);
    let (mut objects, report) = captured.await?;
    assert_eq!(report.failed, []);
    objects.retain(|object| object.name.contains(scene.name()));
    Ok((objects, report.omitted.iter().map(ToString::to_string).collect()))
}

fn named(objects: &[CapturedObject]) -> Vec<String> {
    let mut names: Vec<_> =
        objects.iter().map(|object| format!("{} {}", object.kind.resource, object.name)).collect();
    names.sort();
    names
}

fn entry(group: &str, resource: &str) -> ResourceFilter {
    ResourceFilter { group: group.to_owned(), resource: resource.to_owned(), ..ResourceFilter::default() }
}

fn why(report: &RestoreReport, resource: &str) -> Option<String> {
    let failure = report.failures.iter().find(|failure| failure.object.resource.starts_with(resource));
    failure.map(|failure| failure.why.clone())
}

#[tokio::test]
async fn what_is_missing_of_the_cluster_scope_comes_back_and_what_is_there_stays() -> Result<()> {
    let scene = Scene::set("outside").await?;
    scene.apply(&[gadgets(&scene)])?;
    let definition = format!("gadgets.{}.example.com", scene.name());
    scene.cluster.wait_established(&definition, std::time::Duration::from_secs(180)).await?;
    let gadget = json!({"apiVersion": format!("{}.example.com/v1", scene.name()), "kind": "Gadget",
        "metadata": {"name": "outside-one"}, "spec": {"size": 3}});
    let readers = binding("outside-readers", "outside:reader", "somebody");
    let priority = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 7,
        "metadata": {"name": "outside-first"}});
    let reader = role("outside:reader", "clusterroles", &["get"]);
    let objects = [class("outside-fast"), reader, readers, gadget, priority];
    eventually("the custom kind is served", async || Ok(scene.apply(&objects).ok())).await?;

    let (objects, omitted) = capture(&scene, Filters::default()).await?;
    let definition_line = format!("customresourcedefinitions {definition}");
    let default = [
        "clusterrolebindings outside-readers",
        "clusterroles outside:reader",
        &definition_line,
        "storageclasses outside-fast",
    ];
    assert_eq!(named(&objects), default);
    let remade = |resource: &str| {
        let told = format!("{resource}.rbac.authorization.k8s.io: remade by the cluster");
        omitted.iter().any(|line| line.ends_with(&told))
    };
    assert!(remade("clusterroles") && remade("clusterrolebindings"), "{omitted:?}");

    let group = format!("{}.example.com", scene.name());
    let filters = Filters {
        include_resources: vec![entry("actions.kio.kasten.io", "defaults"), entry(&group, "gadgets")],
        exclude_resources: vec![entry("storage.k8s.io", "storageclasses")],
    };
    let (more, _) = capture(&scene, filters).await?;
    assert_eq!(named(&more)[3], "gadgets outside-one");
    assert_eq!(named(&more)[..3], default[..3]);
    let only = Filters { include_resources: vec![entry(&group, "gadgets")], ..Filters::default() };
    let (only, _) = capture(&scene, only).await?;
    assert_eq!(named(&only), [&definition_line, "gadgets outside-one"], "it comes with its definition");

    let mut objects = [&objects[..], &more[3..]].concat();
    objects.sort_by_key(|object| object.layer);
    scene.delete_definition(&definition).await?;
    scene.cluster.delete_object(&classes(), None, "outside-fast").await?;
    scene.cluster.delete_object(&roles(), None, "outside:reader").await?;
    let mut changed = binding("outside-readers", "outside:reader", "somebody else");
    changed["metadata"]["labels"] = json!({"since": "the-backup"});
    scene.apply(&[changed])?;

    let report = scene.restore(&RestoreRequest::of_cluster_scope("test"), &objects).await?;
    assert_eq!(report.failures, []);
    let counts = (report.created, report.replaced, report.unchanged, report.skipped);
    assert_eq!(counts, (4, 0, 0, 1), "{report:?}");
    assert_eq!(
        report.omitted[0].to_string(),
        "1 clusterrolebindings.rbac.authorization.k8s.io: exists already and is kept"
    );
    let read = async |kind: &Kind, name: &str| scene.cluster.read_object(kind, None, name).await;
    let found = read(&classes(), "outside-fast").await?.unwrap_or_default();
    assert_eq!(
        (&found["parameters"]["tier"], &found["metadata"]["namespace"]),
        (&json!("fast"), &Value::Null)
    );
    let kept = read(&bindings(), "outside-readers").await?.unwrap_or_default();
    assert_eq!(kept["subjects"][0]["name"], "somebody else");
    assert!(read(&definitions(), &definition).await?.is_some());
    let again = scene.restore(&RestoreRequest::of_cluster_scope("again"), &objects).await?;
    assert_eq!((again.created, again.unchanged, again.skipped), (0, 4, 1), "{again:?}");
    scene.delete_definition(&definition).await
}

/// A backup of nothing but definitions has no later layer that would wait for them.
#[tokio::test]
async fn definitions_that_come_last_are_established_when_the_restore_ends() -> Result<()> {
    let scene = Scene::set("defined").await?;
    let names = ["ants", "bees", "cats", "dogs", "elks", "foxes"];
    let defined: Vec<_> = names.iter().map(|name| scene.definition(name, &format!("Kind{name}"))).collect();
    scene.apply(&defined)?;
    let only = vec![entry("apiextensions.k8s.io", "customresourcedefinitions")];
    let (objects, _) = capture(&scene, Filters { include_resources: only, ..Filters::default() }).await?;
    assert_eq!(objects.len(), names.len());
    for object in &objects {
        scene.delete_definition(&object.name).await?;
    }

    let report = scene.restore(&RestoreRequest::of_cluster_scope("test"), &objects).await?;
    assert_eq!((report.created, report.failures), (6, vec![]));
    let known = scene.cluster.list_objects(&definitions(), None, None).await?;
    let established = |name: &str| {
        let mut known = known.iter().filter(|known| known["metadata"]["name"] == name);
        let conditions = known.next().and_then(|known| known["status"]["conditions"].as_array());
        let is_met = |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
        conditions.is_some_and(|conditions| conditions.iter().any(is_met))
    };
    let waiting: Vec<_> =
        objects.iter().map(|object| &object.name).filter(|name| !established(name)).collect();
    assert_eq!(waiting, Vec::<&String>::new());
    for object in &objects {
        scene.delete_definition(&object.name).await?;
    }
    Ok(())
}

/// Rights over rights are the requester's own, by whichever way the API server is asked.
#[tokio::test]
async fn a_restore_of_the_cluster_scope_does_what_its_requester_may() -> Result<()> {
    let scene = Scene::set("granted").await?;
    scene.apply(&[
        class("granted-fast"),
        role("granted-power", "clusterrolebindings", &["delete"]),
        role("granted-strong", "clusterrolebindings", &["update"]),
        binding("granted-strong", "granted-strong", "somebody"),
        role("granted-alice-classes", "storageclasses", &["create"]),
        role("granted-alice-roles", "clusterroles", &["create"]),
        role("granted-alice-bindings", "clusterrolebindings", &["create"]),
        binding("granted-alice-classes", "granted-alice-classes", "alice"),
        binding("granted-alice-roles", "granted-alice-roles", "alice"),
        binding("granted-alice-bindings", "granted-alice-bindings", "alice"),
    ])?;
    let (objects, _) = capture(&scene, Filters::default()).await?;
    let alice = Requester { user: "alice".to_owned(), ..Requester::default() };
    let rbac = "rbac.authorization.k8s.io";
    for kind in [("storage.k8s.io", "storageclasses"), (rbac, "clusterroles"), (rbac, "clusterrolebindings")]
    {
        scene.await_right(&alice, "create", kind, "").await?;
    }
    let impersonated = Authority::OnBehalfOf(Impersonation::try_from(&alice)?);
    let grants = "attempting to grant RBAC permissions not currently held";
    for (run, authority, of_role, of_binding) in [
        ("one", impersonated, grants, grants),
        (
            "two",
            Authority::Reviewed(alice),
            "'alice' may not escalate clusterroles",
            "'alice' may not bind clusterroles",
        ),
    ] {
        scene.cluster.delete_object(&classes(), None, "granted-fast").await?;
        scene.cluster.delete_object(&roles(), None, "granted-power").await?;
        scene.cluster.delete_object(&bindings(), None, "granted-strong").await?;
        let request = RestoreRequest { authority, ..RestoreRequest::of_cluster_scope(run) };
        let report = scene.restore(&request, &objects).await?;
        assert_eq!((report.created, report.failed), (1, 2), "{report:?}");
        for (resource, told) in [("clusterroles.", of_role), ("clusterrolebindings.", of_binding)] {
            let refused = why(&report, resource).unwrap_or_default();
            assert!(refused.contains(told), "{resource} {refused}");
        }
        assert!(scene.cluster.read_object(&classes(), None, "granted-fast").await?.is_some());
        scene.apply(&[
            role("granted-power", "clusterrolebindings", &["delete"]),
            binding("granted-strong", "granted-strong", "somebody"),
        ])?;
    }
    Ok(())
}
