//! Everything that a control plane holds, as its API server lists it, and the way back to it.
//!
//! What servers put in by themselves, at a time of their own, is left to them: it says nothing of a test.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::discovery::{ApiCapabilities, ApiGroup, ApiResource, Discovery, verbs};
use kube::{Client, Error};
use serde_json::{Value, json};

/// What takes a test's objects away, the definitions of kinds at last, needs a second or two; a loaded machine, or one that
/// stands still for a while, far more.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);
/// Five seconds after the end of a namespace its controller begins to delete what is in it, by the name alone: whoever had
/// taken the namespace out of its hands by then, and made another of the name, would lose what is in that.
const BEFORE_CONTROLLER: Duration = Duration::from_secs(4);

const NAMESPACES: &str = "namespaces";
/// Their finalizer takes the objects of the kind away, which nobody else could any more.
const DEFINITIONS: &str = "customresourcedefinitions";
/// The namespaces that cannot be deleted.
const LASTING: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// What servers write there whenever they like.
const OF_SERVERS: [&str; 5] = ["endpoints", "endpointslices", "events", "leasecandidates", "leases"];
/// The same of what is in no namespace.
const OF_SERVERS_ALONE: [&str; 3] = ["clustertrustbundles", "ipaddresses", "servicecidrs"];
/// An APIService that stands for a definition, or for a group of the API server's own.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    api_version: String,
    plural: String,
    namespace: Option<String>,
    name: String,
}

pub(super) struct Contents {
    objects: BTreeMap<Place, Value>,
}

/// A kind whose objects can be listed and deleted.
struct Resource {
    api: ApiResource,
    capabilities: ApiCapabilities,
}

/// Objects of one kind in one namespace, or in none.
struct Batch<'a> {
    resource: &'a Resource,
    namespace: Option<String>,
    objects: Vec<&'a DynamicObject>,
    /// There are no others of the kind in the namespace.
    is_all: bool,
}

impl Contents {
    pub(super) async fn of(client: &Client) -> Result<Self> {
        let resources = resources(client).await?;
        let listed = list_all(client, &resources).await?;
        let objects = listed.iter().flat_map(|(resource, objects)| {
            objects.iter().map(move |object| (resource.place(object), essence(object)))
        });
        Ok(Self { objects: objects.collect() })
    }

    /// Deletes what was added, and asserts that all else is as it was.
    pub(super) async fn restore(&self, client: &Client) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Of a kind that was just defined the API server tells a little later.
            let resources = resources(client).await?;
            let listed = list_all(client, &resources).await?;
            let batches = self.added(&listed);
            let Some(first) = batches.first() else { return self.compare(&listed) };
            ensure!(Instant::now() < deadline, "{} will not go", first.told());
            remove(client, batches).await?;
            tokio::time::sleep(POLL).await;
        }
    }

    fn added<'a>(&self, listed: &'a [(&'a Resource, Vec<DynamicObject>)]) -> Vec<Batch<'a>> {
        let mut batches = Vec::new();
        for (resource, objects) in listed {
            let resource: &Resource = resource;
            let mut added: BTreeMap<Option<String>, Vec<&DynamicObject>> = BTreeMap::new();
            for object in objects {
                if !self.objects.contains_key(&resource.place(object)) {
                    added.entry(object.metadata.namespace.clone()).or_default().push(object);
                }
            }
            for (namespace, added) in added {
                let all = objects.iter().filter(|object| object.metadata.namespace == namespace).count();
                let is_all = added.len() == all;
                batches.push(Batch { resource, namespace, objects: added, is_all });
            }
        }
        batches
    }

    fn compare(&self, listed: &[(&Resource, Vec<DynamicObject>)]) -> Result<()> {
        let mut found = BTreeSet::new();
        for (resource, objects) in listed {
            for object in objects {
                let place = resource.place(object);
                ensure!(self.objects.get(&place) == Some(&essence(object)), "{place:?} was changed");
                found.insert(place);
            }
        }
        let gone = self.objects.keys().find(|place| !found.contains(place));
        ensure!(gone.is_none(), "{gone:?} is gone");
        Ok(())
    }
}

impl Resource {
    fn place(&self, object: &DynamicObject) -> Place {
        Place {
            api_version: self.api.api_version.clone(),
            plural: self.api.plural.clone(),
            namespace: object.metadata.namespace.clone(),
            name: object.metadata.name.clone().unwrap_or_default(),
        }
    }

    fn is_of_servers(&self, object: &DynamicObject) -> bool {
        let plural = self.api.plural.as_str();
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let labels = object.metadata.labels.as_ref();
        match object.metadata.namespace.as_deref() {
            None if plural == NAMESPACES => name != "default" && LASTING.contains(&name),
            None => {
                OF_SERVERS_ALONE.contains(&plural)
                    || labels.is_some_and(|labels| labels.contains_key(AUTOMANAGED))
            }
            Some(namespace) if LASTING.contains(&namespace) => {
                // Controllers have accounts of their own, and each namespace has one and the authority's certificate.
                OF_SERVERS.contains(&plural)
                    || (plural == "serviceaccounts" && (namespace == "kube-system" || name == "default"))
                    || name == "kube-root-ca.crt"
            }
            Some(_) => false,
        }
    }

    fn in_namespace(&self, client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.api),
            None => Api::all_with(client.clone(), &self.api),
        }
    }
}

impl Batch<'_> {
    fn names(&self) -> Vec<&str> {
        self.objects.iter().filter_map(|object| object.metadata.name.as_deref()).collect()
    }

    /// The names of those that nobody has ended yet.
    fn names_of_lasting(&self) -> Vec<&str> {
        let lasting = self.objects.iter().filter(|object| object.metadata.deletion_timestamp.is_none());
        lasting.filter_map(|object| object.metadata.name.as_deref()).collect()
    }

    /// Whether all of them are gone at once.
    async fn delete(&self, client: &Client) -> Result<bool> {
        let api = self.resource.in_namespace(client, self.namespace.as_deref());
        let at_once = DeleteParams::background().grace_period(0);
        // What servers have in the others was not listed.
        let is_all = self.is_all && self.namespace.as_deref().is_some_and(|it| !LASTING.contains(&it));
        if is_all && self.resource.capabilities.supports_operation(verbs::DELETE_COLLECTION) {
            let deleted = api.delete_collection(&at_once, &ListParams::default()).await;
            settle(deleted).with_context(|| format!("delete {}", self.told()))?;
        } else {
            for name in self.names() {
                let deleted = api.delete(name, &at_once).await;
                settle(deleted).with_context(|| format!("delete {}", self.told()))?;
            }
        }
        if self.resource.api.plural == DEFINITIONS {
            return Ok(false);
        }
        let is_held = |object: &&&DynamicObject| object.metadata.finalizers.iter().flatten().next().is_some();
        let held = self.objects.iter().filter(is_held);
        let nobody_holds = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        for name in held.filter_map(|object| object.metadata.name.as_deref()) {
            let patched = api.patch(name, &PatchParams::default(), &nobody_holds).await;
            settle(patched).with_context(|| format!("let go of {}", self.told()))?;
        }
        Ok(true)
    }

    fn told(&self) -> String {
        format!("{} {:?} of {:?}", self.resource.api.plural, self.names(), self.namespace)
    }
}

/// What is not there any more, or changes meanwhile, is looked at again.
fn settle<T>(said: kube::Result<T>) -> Result<()> {
    match said {
        Err(Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}

/// 1. Namespaces end, so that nothing new comes into them.
/// 2. What is in them, and what is in none, goes; definitions at last, for they wait for what is of their kind.
/// 3. Namespaces of which nothing is left are gone, without the five seconds for which their controller waits. Those at which
///    it may be at work already are left to it.
async fn remove(client: &Client, batches: Vec<Batch<'_>>) -> Result<()> {
    let (namespaces, mut others): (Vec<_>, Vec<_>) =
        batches.into_iter().partition(|batch| batch.resource.api.plural == NAMESPACES);
    others.sort_by_key(|batch| batch.resource.api.plural == DEFINITIONS);
    let usual = DeleteParams::default();
    let begun = Instant::now();
    let ending: Vec<&str> = namespaces.iter().flat_map(Batch::names_of_lasting).collect();
    for batch in &namespaces {
        for name in batch.names() {
            let deleted = batch.resource.in_namespace(client, None).delete(name, &usual).await;
            settle(deleted).with_context(|| format!("end namespace '{name}'"))?;
        }
    }
    let mut held = BTreeSet::new();
    for batch in &others {
        if !batch.delete(client).await? {
            held.extend(batch.namespace.clone());
        }
    }
    for namespace in ending {
        if !held.contains(namespace) && begun.elapsed() < BEFORE_CONTROLLER {
            finalize(client, namespace).await.with_context(|| format!("finalize namespace '{namespace}'"))?;
        }
    }
    Ok(())
}

async fn finalize(client: &Client, namespace: &str) -> Result<()> {
    let ended = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace },
        "spec": { "finalizers": [] },
    });
    let path = format!("/api/v1/namespaces/{namespace}/finalize");
    let request = http::Request::put(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&ended)?)?;
    settle(client.request_text(request).await)
}

/// Events are served by two groups.
async fn resources(client: &Client) -> Result<Vec<Resource>> {
    let discovery = Discovery::new(client.clone()).run_aggregated().await.context("discover kinds")?;
    let kinds = discovery.groups().filter(|group| group.name() != "events.k8s.io");
    let kinds = kinds.flat_map(ApiGroup::resources_by_stability);
    let is_kept = |capabilities: &ApiCapabilities| {
        [verbs::LIST, verbs::DELETE].iter().all(|verb| capabilities.supports_operation(verb))
    };
    let kept = kinds.filter(|(_, capabilities)| is_kept(capabilities));
    Ok(kept.map(|(api, capabilities)| Resource { api, capabilities }).collect())
}

/// All objects but those of servers.
async fn list_all<'a>(
    client: &Client,
    resources: &'a [Resource],
) -> Result<Vec<(&'a Resource, Vec<DynamicObject>)>> {
    let mut listed = Vec::new();
    for resource in resources {
        let objects = match resource.in_namespace(client, None).list(&ListParams::default()).await {
            Ok(objects) => objects.items,
            // The definition of the kind has gone.
            Err(Error::Api(status)) if status.code == 404 => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("list {}", resource.api.plural)),
        };
        let kept = objects.into_iter().filter(|object| !resource.is_of_servers(object));
        listed.push((resource, kept.collect()));
    }
    Ok(listed)
}

/// An object but for what changes without anybody's will.
fn essence(object: &DynamicObject) -> Value {
    let mut data = object.data.clone();
    if let Some(fields) = data.as_object_mut() {
        fields.remove("status");
        // A controller writes them together from those of others.
        if fields.get("aggregationRule").is_some_and(|rule| !rule.is_null()) {
            fields.remove("rules");
        }
    }
    let metadata = &object.metadata;
    json!({
        "uid": metadata.uid, "labels": metadata.labels, "annotations": metadata.annotations,
        "ends": metadata.deletion_timestamp.is_some(), "data": data,
    })
}
