//! An API server with our definitions, and how it answers.

use anyhow::{Context, Result, ensure};
use keelson_resources::crd::crds;
use keelson_testkit::{ControlPlane, eventually};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

pub(crate) const NAMESPACE: &str = "default";

pub(crate) async fn client_with_definitions() -> Result<Client> {
    let client = ControlPlane::shared().await?.client().await?;
    let gvk = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let definitions: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&gvk));
    for (_, definition) in crds() {
        let name = definition["metadata"]["name"].as_str().context("a definition has a name")?.to_owned();
        let parameters = PatchParams::apply("test").force();
        definitions.patch(&name, &parameters, &Patch::Apply(&definition)).await?;
        eventually("the definition is established", async || {
            let definition = definitions.get(&name).await?;
            let conditions = definition.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let violation = conditions.iter().find(|condition| condition["type"] == "NonStructuralSchema");
            ensure!(violation.is_none(), "the schema is not structural: {violation:?}");
            let established =
                |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
            Ok(conditions.iter().any(established).then_some(()))
        })
        .await?;
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let [version, kind] = [&spec["versions"][0]["name"], &spec["names"]["kind"]].map(text);
        let gvk = GroupVersionKind::gvk(&text(&spec["group"]), &version, &kind);
        let kind = ApiResource::from_gvk_with_plural(&gvk, &text(&spec["names"]["plural"]));
        let objects: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
        eventually("the kind is served", async || {
            Ok(objects.list(&ListParams::default().limit(1)).await.ok().map(drop))
        })
        .await?;
    }
    Ok(client)
}

pub(crate) fn api(client: &Client, kind: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("config.kio.kasten.io", "v1alpha1", kind);
    Api::namespaced_with(client.clone(), NAMESPACE, &ApiResource::from_gvk(&gvk))
}

pub(crate) fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "config.kio.kasten.io/v1alpha1",
        "kind": kind,
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": spec,
    })
}

/// Creates the object without keeping it, as strictly as kubectl does, and returns what the server says.
pub(crate) async fn try_create(client: &Client, kind: &str, name: &str, spec: &Value) -> Result<String> {
    let object: DynamicObject = serde_json::from_value(object(kind, name, spec))?;
    let parameters = PatchParams::apply("test").dry_run().validation_strict();
    match api(client, kind).patch(name, &parameters, &Patch::Apply(&object)).await {
        Ok(_) => Ok("accepted".to_owned()),
        Err(kube::Error::Api(status)) => Ok(status.message),
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn check_refused(client: &Client, kind: &str, cases: &[(Value, &str)]) -> Result<()> {
    for (spec, expected) in cases {
        let said = try_create(client, kind, "tried", spec).await?;
        ensure!(said.contains(expected), "{spec}\n  said: {said}\n  expected: {expected}");
    }
    Ok(())
}

/// The same with another value at a path, or with none if it is "absent".
pub(crate) fn changed(mut spec: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let parent = spec.pointer_mut(parent).expect("the parent is there").as_object_mut().expect("an object");
    if value == json!("absent") {
        parent.remove(field);
    } else {
        parent.insert(field.to_owned(), value);
    }
    spec
}
