//! Discovery: which groups, versions, kinds and verbs there are. Made once; what changes while we run is only of which
//! groups no resources are listed for now.
//!
//! The namespace controller deletes nothing in a cluster where the discovery of one group fails, so discovery
//! answers whatever state the catalog is in.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use keelson_resources::{KINDS, KindInfo, Verb};
use serde_json::{Value, json};

use crate::accept::{DiscoveryFormat, choose_discovery, require_json};
use crate::openapi;
use crate::refusal::Refusal;

const JSON: &str = "application/json";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A document that never changes, and its tag.
#[derive(Debug)]
pub(crate) struct Document {
    content_type: &'static str,
    etag: String,
    bytes: axum::body::Bytes,
}

/// Groups that are served and have no resources, as far as discovery tells: their data has been away for some time, and
/// they are about to be taken off the cluster. Who asks for one of their objects under a name that he remembers is told
/// 503; the API server tells him 404 for a group that is gone, which a garbage collector takes for the death of an owner. So
/// everybody forgets the names first.
#[derive(Debug, Default)]
pub struct Withheld(ArcSwap<BTreeSet<GroupVersion>>);

impl Withheld {
    pub(crate) fn replace(&self, groups: BTreeSet<GroupVersion>) {
        self.0.store(Arc::new(groups));
    }
}

/// All documents about what we serve.
#[derive(Debug)]
pub(crate) struct Documents {
    withheld: Arc<Withheld>,
    groups: Document,
    aggregated: Document,
    version: Document,
    openapi_v2: Document,
    openapi_index: Document,
    groups_by_name: Vec<(&'static str, Document)>,
    /// By group and version: the resources, and their schemas.
    versions: Vec<(GroupVersion, Document, Document)>,
}

/// One version of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupVersion {
    pub group: &'static str,
    pub version: &'static str,
}

impl GroupVersion {
    pub(crate) fn kinds(self) -> impl Iterator<Item = &'static KindInfo> {
        KINDS.iter().filter(move |kind| kind.group == self.group && kind.version == self.version)
    }
}

impl std::fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.group, self.version)
    }
}

/// Every group and version that we serve.
pub fn group_versions() -> Vec<GroupVersion> {
    let mut found: Vec<GroupVersion> =
        KINDS.iter().map(|kind| GroupVersion { group: kind.group, version: kind.version }).collect();
    found.sort();
    found.dedup();
    found
}

impl Document {
    pub(crate) fn new(content_type: &'static str, value: &Value) -> Self {
        let bytes = serde_json::to_vec(value).expect("a JSON tree has string keys");
        let etag = format!("\"{:016X}\"", fingerprint(&bytes));
        Self { content_type, etag, bytes: bytes.into() }
    }

    /// The tag without quotes, for use in links.
    pub(crate) fn hash(&self) -> &str {
        self.etag.trim_matches('"')
    }

    fn respond(&self, headers: &HeaderMap) -> Response {
        let known = headers
            .get_all(IF_NONE_MATCH)
            .into_iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|tag| tag.trim().trim_start_matches("W/") == self.etag);
        let mut response = Response::new(if known { Body::empty() } else { Body::from(self.bytes.clone()) });
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let out = response.headers_mut();
        out.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        out.insert(VARY, HeaderValue::from_static("Accept"));
        if let Ok(etag) = HeaderValue::from_str(&self.etag) {
            out.insert(ETAG, etag);
        }
        response
    }
}

/// Tells documents apart; nothing trusts it. FNV-1a, so that the tag is the same in every process.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl Documents {
    pub(crate) fn new() -> Self {
        let json_document = |value: &Value| Document::new(JSON, value);
        let group_versions = group_versions();
        let versions: Vec<(GroupVersion, Document, Document)> = group_versions
            .iter()
            .map(|version| {
                let resources = resource_list(*version, version.kinds());
                (*version, json_document(&resources), json_document(&openapi::v3(*version)))
            })
            .collect();
        let index = openapi::index(versions.iter().map(|(version, _, schemas)| (*version, schemas.hash())));
        let groups: Vec<Value> = group_versions.iter().map(|version| group(*version)).collect();
        Self {
            withheld: Arc::default(),
            groups: json_document(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})),
            aggregated: Document::new(AGGREGATED, &aggregated(&group_versions, &BTreeSet::new())),
            version: json_document(&version()),
            openapi_v2: json_document(&openapi::v2(&group_versions)),
            openapi_index: json_document(&index),
            groups_by_name: group_versions
                .iter()
                .map(|version| {
                    let mut group = group(*version);
                    group["kind"] = json!("APIGroup");
                    group["apiVersion"] = json!("v1");
                    (version.group, json_document(&group))
                })
                .collect(),
            versions,
        }
    }

    pub(crate) fn withheld(&self) -> Arc<Withheld> {
        Arc::clone(&self.withheld)
    }

    pub(crate) fn groups(&self, headers: &HeaderMap) -> Result<Response, Refusal> {
        let withheld = self.withheld.0.load();
        Ok(match choose_discovery(headers)? {
            DiscoveryFormat::Plain => self.groups.respond(headers),
            DiscoveryFormat::Aggregated if withheld.is_empty() => self.aggregated.respond(headers),
            DiscoveryFormat::Aggregated => {
                Document::new(AGGREGATED, &aggregated(&group_versions(), &withheld)).respond(headers)
            }
        })
    }

    pub(crate) fn group(&self, name: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
        let found = self.groups_by_name.iter().find(|(group, _)| *group == name);
        respond(found.map(|(_, document)| document), headers)
    }

    pub(crate) fn resources(
        &self,
        group: &str,
        version: &str,
        headers: &HeaderMap,
    ) -> Result<Response, Refusal> {
        let found = self.find(group, version);
        match found.filter(|(version, ..)| self.withheld.0.load().contains(version)) {
            Some((version, ..)) => {
                respond(Some(&Document::new(JSON, &resource_list(*version, std::iter::empty()))), headers)
            }
            None => respond(found.map(|(_, resources, _)| resources), headers),
        }
    }

    pub(crate) fn version(&self, headers: &HeaderMap) -> Result<Response, Refusal> {
        respond(Some(&self.version), headers)
    }

    pub(crate) fn openapi_v2(&self, headers: &HeaderMap) -> Result<Response, Refusal> {
        respond(Some(&self.openapi_v2), headers)
    }

    pub(crate) fn openapi_index(&self, headers: &HeaderMap) -> Result<Response, Refusal> {
        respond(Some(&self.openapi_index), headers)
    }

    pub(crate) fn openapi(
        &self,
        group: &str,
        version: &str,
        headers: &HeaderMap,
    ) -> Result<Response, Refusal> {
        respond(self.find(group, version).map(|(_, _, schemas)| schemas), headers)
    }

    fn find(&self, group: &str, version: &str) -> Option<&(GroupVersion, Document, Document)> {
        self.versions.iter().find(|(found, _, _)| found.group == group && found.version == version)
    }
}

fn respond(document: Option<&Document>, headers: &HeaderMap) -> Result<Response, Refusal> {
    require_json(headers)?;
    document.map(|document| document.respond(headers)).ok_or_else(Refusal::no_such_path)
}

fn version() -> Value {
    let number = env!("CARGO_PKG_VERSION");
    let mut parts = number.split('.');
    json!({
        "major": parts.next(), "minor": parts.next(), "gitVersion": format!("v{number}"),
        "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

fn group(version: GroupVersion) -> Value {
    let version_entry = json!({"groupVersion": version.to_string(), "version": version.version});
    json!({"name": version.group, "versions": [version_entry], "preferredVersion": version_entry})
}

fn verbs(kind: &KindInfo) -> Vec<&'static str> {
    let mut verbs: Vec<&str> = kind.verbs.iter().map(|verb| verb.as_str()).collect();
    verbs.sort_unstable();
    verbs
}

fn resource_list(version: GroupVersion, kinds: impl Iterator<Item = &'static KindInfo>) -> Value {
    let mut resources = Vec::new();
    for kind in kinds {
        resources.push(json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.is_namespaced(),
            "kind": kind.kind, "verbs": verbs(kind), "shortNames": kind.short_names, "categories": kind.categories,
        }));
        if kind.details {
            resources.push(json!({
                "name": format!("{}/details", kind.plural), "singularName": "", "namespaced": kind.is_namespaced(),
                "kind": kind.kind, "verbs": [Verb::Get.as_str()],
            }));
        }
    }
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version.to_string(), "resources": resources,
    })
}

/// A version that is not in it is stale to the API server, and discovery as a whole has failed.
fn aggregated(versions: &[GroupVersion], withheld: &BTreeSet<GroupVersion>) -> Value {
    let items: Vec<Value> = versions
        .iter()
        .map(|version| {
            let kinds = version.kinds().filter(|_| !withheld.contains(version));
            let resources: Vec<Value> = kinds.map(aggregated_resource).collect();
            json!({
                "metadata": {"name": version.group, "creationTimestamp": null},
                "versions": [{"version": version.version, "freshness": "Current", "resources": resources}],
            })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    })
}

fn aggregated_resource(kind: &'static KindInfo) -> Value {
    let response = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let mut resource = json!({
        "resource": kind.plural, "responseKind": response, "singularResource": kind.singular,
        "scope": if kind.is_namespaced() { "Namespaced" } else { "Cluster" },
        "verbs": verbs(kind), "shortNames": kind.short_names, "categories": kind.categories,
    });
    if kind.details {
        resource["subresources"] = json!([
            {"subresource": "details", "responseKind": response, "verbs": [Verb::Get.as_str()]}
        ]);
    }
    resource
}
