//! The objects of an application, listed and compared without the program's help: a judge must not share the code
//! that it judges.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, gvk::GroupVersion};
use kube::discovery::{Discovery, Scope, verbs};
use serde_json::{Map, Value};

use super::cluster::Cluster;

const KINDS_AT_ONCE: usize = 8;

/// What controllers make anew from other objects, or what tells of the past. None of it is an application's own.
const REMADE: [&str; 8] = [
    "Pod",
    "ReplicaSet",
    "ControllerRevision",
    "Endpoints",
    "EndpointSlice",
    "Event",
    "Lease",
    "LeaseCandidate",
];
/// Every namespace gets it from the cluster.
const CLUSTER_CONFIG_MAP: &str = "kube-root-ca.crt";

/// The objects of one application by `Kind.group/name`, each without what a cluster gives anew.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Objects {
    by_name: BTreeMap<String, Value>,
}

impl Objects {
    /// Lists everything in a namespace and the definitions of its custom kinds. The namespace itself is made by the
    /// user, who is told that it was kept as it is.
    pub(super) async fn of(cluster: &Cluster, namespace: &str) -> Result<Self> {
        let client = cluster.client();
        let discovery = Discovery::new(client.clone()).run_aggregated().await.context("discover kinds")?;
        let mut kinds = Vec::new();
        for group in discovery.groups().filter(|group| !group.name().ends_with(".kio.kasten.io")) {
            let served = group.recommended_resources().into_iter();
            kinds.extend(served.filter(|(kind, capabilities)| {
                capabilities.scope == Scope::Namespaced
                    && capabilities.supports_operation(verbs::LIST)
                    && capabilities.supports_operation(verbs::CREATE)
                    && !REMADE.contains(&kind.kind.as_str())
            }));
        }
        let lists: Vec<Vec<(String, Value)>> = stream::iter(kinds)
            .map(|(kind, _)| list(client.clone(), kind, namespace))
            .buffer_unordered(KINDS_AT_ONCE)
            .try_collect()
            .await?;
        let mut listed: Vec<_> = lists.into_iter().flatten().collect();
        listed.extend(definitions(cluster, &listed).await?);
        Ok(Self::from_listed(listed))
    }

    fn from_listed(listed: Vec<(String, Value)>) -> Self {
        let names_by_uid: BTreeMap<String, String> = listed
            .iter()
            .filter_map(|(name, object)| Some((object["metadata"]["uid"].as_str()?.to_owned(), name.clone())))
            .collect();
        let strip = |(name, object): (String, Value)| {
            let stripped = strip(&name, object, &names_by_uid);
            (name, stripped)
        };
        Self { by_name: listed.into_iter().map(strip).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// How many there are of each kind, the most frequent first.
    pub(super) fn census(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.by_name.keys() {
            let kind = name.split(['.', '/']).next().unwrap_or_default();
            *counts.entry(kind).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
    }

    /// What is missing, new or different in `other`, with the places where it differs.
    pub(super) fn differences(&self, application: &str, other: &Self) -> Vec<String> {
        differences(application, &self.by_name, &other.by_name)
    }
}

async fn list(client: Client, kind: ApiResource, namespace: &str) -> Result<Vec<(String, Value)>> {
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &kind);
    let parameters = ListParams::default();
    let list = api.list(&parameters).await.with_context(|| format!("list {}", kind.plural))?;
    let named = list.items.into_iter().map(|object| {
        let name = object.metadata.name.clone().unwrap_or_default();
        let dot = if kind.group.is_empty() { "" } else { "." };
        Ok((format!("{}{dot}{}/{name}", kind.kind, kind.group), serde_json::to_value(object)?))
    });
    let named: Vec<(String, Value)> = named.collect::<Result<_>>()?;
    Ok(named.into_iter().filter(|(name, _)| *name != format!("ConfigMap/{CLUSTER_CONFIG_MAP}")).collect())
}

/// The definitions of the custom kinds among the objects.
async fn definitions(cluster: &Cluster, listed: &[(String, Value)]) -> Result<Vec<(String, Value)>> {
    let is_used = |definition: &Value| {
        let of_definition = |object: &Value| {
            let api_version: Option<GroupVersion> =
                object["apiVersion"].as_str().and_then(|text| text.parse().ok());
            object["kind"] == definition["spec"]["names"]["kind"]
                && api_version.is_some_and(|it| definition["spec"]["group"] == it.group)
        };
        listed.iter().any(|(_, object)| of_definition(object))
    };
    let all = cluster.list("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").await?;
    let name = |definition: &Value| {
        format!("CustomResourceDefinition/{}", definition["metadata"]["name"].as_str().unwrap_or_default())
    };
    Ok(all.into_iter().filter(is_used).map(|definition| (name(&definition), definition)).collect())
}

/// Takes out what a cluster gives anew. An owner's uid is replaced by the owner it leads to. One that leads nowhere
/// stays, and so differs from that of the other cluster.
fn strip(name: &str, mut object: Value, names_by_uid: &BTreeMap<String, String>) -> Value {
    let Some(fields) = object.as_object_mut() else { return object };
    fields.remove("status");
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        strip_metadata(metadata, names_by_uid);
    }
    if let Some(spec) =
        fields.get_mut("spec").and_then(Value::as_object_mut).filter(|_| name.starts_with("Service/"))
    {
        // An address is the cluster's gift, "None" is the user's wish.
        if spec.get("clusterIP").is_some_and(|address| address != "None") {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
    }
    object
}

fn strip_metadata(metadata: &mut Map<String, Value>, names_by_uid: &BTreeMap<String, String>) {
    for field in ["uid", "resourceVersion", "generation", "creationTimestamp"] {
        metadata.remove(field);
    }
    if let Some(managers) = metadata.remove("managedFields") {
        metadata.insert("managedFields".to_owned(), comparable_managers(managers, names_by_uid));
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove("deployment.kubernetes.io/revision");
    }
    let owners = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut);
    for owner in owners.into_iter().flatten() {
        if let Some(name) = owner["uid"].as_str().and_then(|uid| names_by_uid.get(uid)) {
            owner["uid"] = name.clone().into();
        }
    }
}

/// Who owns which field, but for the status and for the time of it. Owner references are named by uid there, too.
fn comparable_managers(managers: Value, names_by_uid: &BTreeMap<String, String>) -> Value {
    let Value::Array(managers) = managers else { return managers };
    let owners_of_fields = managers.into_iter().filter(|manager| manager["subresource"].is_null());
    let mut texts: Vec<String> = owners_of_fields
        .map(|mut manager| {
            manager.as_object_mut().map(|manager| manager.remove("time"));
            let text = manager.to_string();
            match uid_key(&text).and_then(|uid| Some((uid, names_by_uid.get(uid)?))) {
                Some((uid, name)) => text.replace(uid, name),
                None => text,
            }
        })
        .collect();
    texts.sort();
    texts.into()
}

/// The uid in the first key `k:{"uid":"…"}`, with quotes as they are inside a JSON string. Nothing here has two owners.
fn uid_key(text: &str) -> Option<&str> {
    let (_, after) = text.split_once(r#"k:{\"uid\":\""#)?;
    after.split_once('\\').map(|(uid, _)| uid)
}

/// Compares two sets of named values.
pub(super) fn differences(
    what: &str,
    expected: &BTreeMap<String, Value>,
    found: &BTreeMap<String, Value>,
) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, value) in expected {
        match found.get(name) {
            None => differences.push(format!("{what}: {name} is missing")),
            Some(other) if other != value => {
                let places = places(value, other).join(", ");
                differences.push(format!("{what}: {name} differs at {places}"));
            }
            Some(_) => {}
        }
    }
    let new = found.keys().filter(|name| !expected.contains_key(*name));
    differences.extend(new.map(|name| format!("{what}: {name} was not there before")));
    differences
}

/// Paths at which two values differ. Values are not told: they may be secret.
fn places(expected: &Value, found: &Value) -> Vec<String> {
    fn walk(path: &str, expected: &Value, found: &Value, places: &mut Vec<String>) {
        match (expected, found) {
            (Value::Object(expected), Value::Object(found)) => {
                let keys: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
                for key in keys {
                    let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                    walk(&format!("{path}/{key}"), &of(expected), &of(found), places);
                }
            }
            _ if expected != found => places.push(path.to_owned()),
            _ => {}
        }
    }
    let mut places = Vec::new();
    walk("", expected, found, &mut places);
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn listed(owner_uid: &str, size: u64) -> Objects {
        Objects::from_listed(vec![
            ("Shop.example.com/a".to_owned(), json!({ "metadata": { "uid": owner_uid } })),
            (
                "ConfigMap/b".to_owned(),
                json!({
                    "metadata": { "ownerReferences": [{ "name": "a", "uid": "1" }], "resourceVersion": owner_uid },
                    "data": { "size": size },
                }),
            ),
        ])
    }

    #[test]
    fn a_changed_value_is_named_by_its_place_and_not_told() {
        let told = listed("1", 5).differences("shop", &listed("1", 6));
        assert_eq!(told, ["shop: ConfigMap/b differs at /data/size"]);
    }

    #[test]
    fn an_owner_reference_that_leads_nowhere_is_a_difference() {
        let told = listed("1", 5).differences("shop", &listed("2", 5));
        assert_eq!(told, ["shop: ConfigMap/b differs at /metadata/ownerReferences"]);
    }

    #[test]
    fn who_owns_a_reference_is_compared_by_the_object_it_leads_to() {
        let managers = |uid: &str| {
            let key = format!("k:{{\"uid\":\"{uid}\"}}");
            json!([{ "manager": "m", "time": uid, "fieldsV1": { "f:ownerReferences": { key: {} } } }])
        };
        let names = |uid: &str| [(uid.to_owned(), "Shop.example.com/a".to_owned())].into();
        let (here, there) = ("4f0c2a9e-here", "81b7d3f6-there");
        let original = comparable_managers(managers(here), &names(here));
        assert_eq!(original, comparable_managers(managers(there), &names(there)));
        assert_ne!(original, comparable_managers(managers(here), &names(there)));
    }

    #[test]
    fn a_missing_and_a_new_object_are_told() {
        let (mut fewer, all) = (listed("1", 5), listed("1", 5));
        fewer.by_name.remove("ConfigMap/b");
        assert_eq!(all.differences("shop", &fewer), ["shop: ConfigMap/b is missing"]);
        assert_eq!(fewer.differences("shop", &all), ["shop: ConfigMap/b was not there before"]);
    }
}
