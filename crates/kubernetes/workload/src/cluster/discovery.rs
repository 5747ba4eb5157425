//! Which kinds the cluster serves, read in two requests from the aggregated discovery (Kubernetes 1.26 and newer).

use std::collections::BTreeMap;
use std::fmt;
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
    pub(crate) freshness: Freshness,
}

/// Whether the server of a kind answered when the cluster last asked it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    Current,
    /// It did not. What is known of the kind is from before.
    Stale,
}

impl ServedKind {
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }
}

/// A version of a group whose own server does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unanswered {
    pub(crate) group: String,
    pub(crate) version: String,
}

impl Unanswered {
    /// The object that says which server it is.
    pub(crate) fn api_service(&self) -> String {
        format!("{}.{}", self.version, self.group)
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.version)
    }
}

/// All kinds of a cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServedKinds {
    kinds: Vec<ServedKind>,
    /// By group and plural: several resources of a group may be of one kind (`templates` and `processedtemplates`).
    by_resource: BTreeMap<(String, String), usize>,
    /// By group and kind: the one that holds objects.
    by_kind: BTreeMap<(String, String), usize>,
    /// What no other version of the group makes good.
    pub(crate) unanswered: Vec<Unanswered>,
}

impl ServedKinds {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ServedKind> {
        self.kinds.iter()
    }

    pub(crate) fn find(&self, group: &str, kind: &str) -> Option<&ServedKind> {
        self.by_kind.get(&(group.to_owned(), kind.to_owned())).map(|index| &self.kinds[*index])
    }

    pub(crate) fn find_resource(&self, group: &str, resource: &str) -> Option<&ServedKind> {
        self.by_resource.get(&(group.to_owned(), resource.to_owned())).map(|index| &self.kinds[*index])
    }

    pub(crate) fn add(&mut self, served: ServedKind) {
        let (group, index) = (served.kind.group.clone(), self.kinds.len());
        let meant = self.by_kind.entry((group.clone(), served.kind.kind.clone())).or_insert(index);
        if let Some(known) = self.kinds.get(*meant)
            && !known.can("list")
            && served.can("list")
        {
            *meant = index;
        }
        self.by_resource.insert((group, served.kind.resource.clone()), index);
        self.kinds.push(served);
    }

    fn add_version(&mut self, group: &str, version: &str, resource: WireResource, freshness: Freshness) {
        let Some(response_kind) = resource.response_kind else { return };
        // A server may serve one group's resource with a kind of another (`scale`, `evictions`): not objects.
        if response_kind.kind.is_empty()
            || response_kind.group.as_deref().is_some_and(|own| !own.is_empty() && own != group)
        {
            return;
        }
        if let Some(index) = self.by_resource.get(&(group.to_owned(), resource.resource.clone())) {
            self.kinds[*index].versions.push(version.to_owned());
            return;
        }
        let scope = if resource.scope == "Namespaced" { Scope::Namespaced } else { Scope::Cluster };
        self.add(ServedKind {
            kind: Arc::new(Kind {
                group: group.to_owned(),
                version: version.to_owned(),
                kind: response_kind.kind,
                resource: resource.resource,
                scope,
            }),
            verbs: resource.verbs,
            versions: vec![version.to_owned()],
            freshness,
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

/// Versions that answer come first: what they serve is read through them, whatever the server prefers.
fn collect_group(served: &mut ServedKinds, group: WireGroup) {
    let name = group.metadata.name;
    let (stale, current): (Vec<_>, Vec<_>) =
        group.versions.into_iter().partition(|version| version.freshness == "Stale");
    for version in current {
        for resource in version.resources {
            served.add_version(&name, &version.version, resource, Freshness::Current);
        }
    }
    for WireVersion { version, resources, .. } in stale {
        // A server that never answered has told of no resources.
        let made_good = |resource: &WireResource| {
            let found = served.find_resource(&name, &resource.resource);
            found.is_some_and(|found| found.freshness == Freshness::Current)
        };
        if resources.is_empty() || !resources.iter().all(made_good) {
            served.unanswered.push(Unanswered { group: name.clone(), version: version.clone() });
        }
        for resource in resources {
            served.add_version(&name, &version, resource, Freshness::Stale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovered(group: &str) -> ServedKinds {
        let mut served = ServedKinds::default();
        collect_group(&mut served, serde_json::from_str(group).expect("well-formed"));
        served
    }

    #[test]
    fn the_preferred_version_is_taken_and_the_others_remembered() {
        let served = discovered(
            r#"{"metadata": {"name": "example.com"}, "versions": [
                {"version": "v2", "freshness": "Current", "resources": [
                    {"resource": "widgets", "scope": "Namespaced", "verbs": ["list", "get"],
                     "responseKind": {"group": "example.com", "version": "v2", "kind": "Widget"}}]},
                {"version": "v1", "freshness": "Current", "resources": [
                    {"resource": "widgets", "scope": "Namespaced", "verbs": ["list"],
                     "responseKind": {"group": "example.com", "version": "v1", "kind": "Widget"}},
                    {"resource": "oldies", "scope": "Cluster", "verbs": ["list"],
                     "responseKind": {"group": "example.com", "version": "v1", "kind": "Oldie"}}]}]}"#,
        );
        let widget = served.find("example.com", "Widget").expect("served");
        assert_eq!(
            (widget.kind.version.as_str(), widget.versions.as_slice()),
            ("v2", &["v2".to_owned(), "v1".to_owned()][..])
        );
        assert!(widget.can("get") && !widget.can("create"));
        assert_eq!(served.find("example.com", "Oldie").map(|kind| kind.kind.scope), Some(Scope::Cluster));
        assert_eq!(served.unanswered, []);
    }

    #[test]
    fn resources_of_one_kind_stand_beside_each_other() {
        let served = discovered(
            r#"{"metadata": {"name": "template.openshift.io"}, "versions": [
                {"version": "v1", "freshness": "Current", "resources": [
                    {"resource": "processedtemplates", "scope": "Namespaced", "verbs": ["create"],
                     "responseKind": {"group": "template.openshift.io", "version": "v1", "kind": "Template"}},
                    {"resource": "templates", "scope": "Namespaced", "verbs": ["list", "get", "create"],
                     "responseKind": {"group": "template.openshift.io", "version": "v1", "kind": "Template"}}]}]}"#,
        );
        let names: Vec<_> = served.iter().map(|served| served.kind.resource.as_str()).collect();
        assert_eq!(names, ["processedtemplates", "templates"]);
        let template = served.find("template.openshift.io", "Template").expect("served");
        assert_eq!(template.kind.resource, "templates", "what holds objects is meant");
        let processed = served.find_resource("template.openshift.io", "processedtemplates").expect("served");
        assert!(!processed.can("list"));
    }

    #[test]
    fn a_version_that_does_not_answer_is_named_unless_another_makes_it_good() {
        let widget = |version: &str| {
            format!(
                r#"{{"resource": "widgets", "scope": "Namespaced", "verbs": ["list"],
                "responseKind": {{"group": "example.com", "version": "{version}", "kind": "Widget"}}}}"#
            )
        };
        let group = |stale: &str| {
            discovered(&format!(
                r#"{{"metadata": {{"name": "example.com"}}, "versions": [
                {{"version": "v2", "freshness": "Stale", "resources": [{stale}]}},
                {{"version": "v1", "freshness": "Current", "resources": [{}]}}]}}"#,
                widget("v1")
            ))
        };
        let served = group(&widget("v2"));
        assert_eq!(served.unanswered, []);
        let found = served.find("example.com", "Widget").expect("served");
        assert_eq!((found.kind.version.as_str(), found.freshness), ("v1", Freshness::Current));

        let never_told = group("");
        assert_eq!(never_told.unanswered[0].to_string(), "example.com/v2");
        assert_eq!(never_told.unanswered[0].api_service(), "v2.example.com");

        let more = group(&widget("v2").replace("widgets", "gadgets"));
        assert_eq!(more.unanswered.len(), 1);
        let gadgets = more.find_resource("example.com", "gadgets").expect("served");
        assert_eq!(gadgets.freshness, Freshness::Stale);
    }
}
