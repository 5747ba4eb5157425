//! Which kinds the cluster serves, read in two requests from the aggregated discovery (Kubernetes 1.26 and newer).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::Cluster;
use crate::kinds::{Kind, Scope, split_api_version};
use crate::request::{Call, RequestError, Verb};

const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// A kind in the version the server prefers, and the versions it serves besides.
#[derive(Debug, Clone)]
pub(crate) struct ServedKind {
    pub(crate) kind: Arc<Kind>,
    pub(crate) verbs: Vec<String>,
    /// The preferred first.
    pub(crate) versions: Vec<String>,
}

impl ServedKind {
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }
}

/// All kinds of a cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServedKinds {
    kinds: Vec<ServedKind>,
    by_kind: BTreeMap<(String, String), usize>,
    /// Versions of groups whose own server does not answer, as `group/version`.
    pub(crate) stale: Vec<String>,
}

impl ServedKinds {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ServedKind> {
        self.kinds.iter()
    }

    pub(crate) fn find(&self, group: &str, kind: &str) -> Option<&ServedKind> {
        self.by_kind.get(&(group.to_owned(), kind.to_owned())).map(|index| &self.kinds[*index])
    }

    #[cfg(test)]
    pub(crate) fn add_for_tests(&mut self, served: ServedKind) {
        let key = (served.kind.group.clone(), served.kind.kind.clone());
        self.by_kind.insert(key, self.kinds.len());
        self.kinds.push(served);
    }

    fn add(&mut self, group: &str, version: &str, resource: WireResource) {
        let Some(response_kind) = resource.response_kind else { return };
        // A server may serve one group's resource with a kind of another (`scale`, `evictions`): not objects.
        if response_kind.kind.is_empty()
            || response_kind.group.as_deref().is_some_and(|own| !own.is_empty() && own != group)
        {
            return;
        }
        let key = (group.to_owned(), response_kind.kind.clone());
        if let Some(index) = self.by_kind.get(&key) {
            let known = &mut self.kinds[*index];
            if known.kind.resource == resource.resource {
                known.versions.push(version.to_owned());
            }
            return;
        }
        let scope = if resource.scope == "Namespaced" { Scope::Namespaced } else { Scope::Cluster };
        self.by_kind.insert(key, self.kinds.len());
        self.kinds.push(ServedKind {
            kind: Arc::new(Kind {
                group: group.to_owned(),
                version: version.to_owned(),
                kind: response_kind.kind,
                resource: resource.resource,
                scope,
            }),
            verbs: resource.verbs,
            versions: vec![version.to_owned()],
        });
    }
}

#[derive(Deserialize)]
struct WireGroups {
    #[serde(default)]
    items: Vec<WireGroup>,
}

#[derive(Deserialize)]
struct WireGroup {
    #[serde(default)]
    metadata: WireGroupName,
    #[serde(default)]
    versions: Vec<WireVersion>,
}

#[derive(Deserialize, Default)]
struct WireGroupName {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct WireVersion {
    version: String,
    #[serde(default)]
    freshness: String,
    #[serde(default)]
    resources: Vec<WireResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireResource {
    resource: String,
    response_kind: Option<WireKind>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
}

#[derive(Deserialize)]
struct WireKind {
    group: Option<String>,
    kind: String,
}

impl Cluster {
    pub(crate) async fn discover(&self) -> Result<ServedKinds, RequestError> {
        let mut served = ServedKinds::default();
        for url in ["/api", "/apis"] {
            let target = format!("discovery '{url}'");
            let mut call = Call::new(Verb::Read, &target, url.to_owned());
            call.accept = ACCEPT;
            let groups: WireGroups = self.wire().send_json(&call).await?;
            for group in groups.items {
                collect_group(&mut served, group);
            }
        }
        Ok(served)
    }

    /// The kind that a manifest means by `apiVersion` and `kind`.
    pub async fn resolve_kind(&self, api_version: &str, kind: &str) -> Result<Kind, RequestError> {
        let (group, version) = split_api_version(api_version);
        let served = self.discover().await?;
        let found =
            served.find(group, kind).filter(|found| found.versions.iter().any(|known| known == version));
        let found = found.ok_or_else(|| RequestError::KindNotServed {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        })?;
        Ok(Kind { version: version.to_owned(), ..(*found.kind).clone() })
    }
}

fn collect_group(served: &mut ServedKinds, group: WireGroup) {
    let name = group.metadata.name;
    for version in group.versions {
        if version.freshness == "Stale" {
            served.stale.push(format!("{name}/{}", version.version));
        }
        for resource in version.resources {
            served.add(&name, &version.version, resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_version_is_taken_and_the_others_remembered() {
        let groups: WireGroups = serde_json::from_str(
            r#"{"items": [{"metadata": {"name": "example.com"}, "versions": [
                {"version": "v2", "freshness": "Current", "resources": [
                    {"resource": "widgets", "scope": "Namespaced", "verbs": ["list", "get"],
                     "responseKind": {"group": "example.com", "version": "v2", "kind": "Widget"}}]},
                {"version": "v1", "freshness": "Stale", "resources": [
                    {"resource": "widgets", "scope": "Namespaced", "verbs": ["list"],
                     "responseKind": {"group": "example.com", "version": "v1", "kind": "Widget"}},
                    {"resource": "oldies", "scope": "Cluster", "verbs": ["list"],
                     "responseKind": {"group": "example.com", "version": "v1", "kind": "Oldie"}}]}]}]}"#,
        )
        .expect("well-formed");
        let mut served = ServedKinds::default();
        groups.items.into_iter().for_each(|group| collect_group(&mut served, group));
        let widget = served.find("example.com", "Widget").expect("served");
        assert_eq!(
            (widget.kind.version.as_str(), widget.versions.as_slice()),
            ("v2", &["v2".to_owned(), "v1".to_owned()][..])
        );
        assert!(widget.can("get") && !widget.can("create"));
        assert_eq!(served.find("example.com", "Oldie").map(|kind| kind.kind.scope), Some(Scope::Cluster));
        assert_eq!(served.stale, ["example.com/v1"]);
    }
}
