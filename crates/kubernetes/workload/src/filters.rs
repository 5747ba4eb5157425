//! Which objects of an application are meant: an include list replaces the default, an exclude list takes away.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use keelson_model::names::group;

use crate::kinds::Kind;

/// One entry of a filter. What is empty matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResourceFilter {
    /// `core` stands for the group without a name.
    pub group: String,
    pub version: String,
    pub resource: String,
    pub name: String,
    #[serde(alias = "labels")]
    pub match_labels: BTreeMap<String, String>,
}

/// The filters of a backup or a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Filters {
    pub include_resources: Vec<ResourceFilter>,
    pub exclude_resources: Vec<ResourceFilter>,
}

/// The part of the filters of a backup or a restore that is meant for the cluster scope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterFilters {
    pub include_cluster_resources: Vec<ResourceFilter>,
    pub exclude_cluster_resources: Vec<ResourceFilter>,
}

impl From<ClusterFilters> for Filters {
    fn from(filters: ClusterFilters) -> Self {
        Self {
            include_resources: filters.include_cluster_resources,
            exclude_resources: filters.exclude_cluster_resources,
        }
    }
}

/// The resource that, in our own group, stands for what is captured when nothing is said.
const DEFAULTS: &str = "defaults";

/// How a kind stands to the filters before any of its objects is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Named by an include entry: captured though the default leaves it out.
    ByName,
    /// Captured if the default captures it.
    ByDefault,
    No,
}

impl Filters {
    /// Whether any object of the kind can be selected. `versions` are all under which the kind is served.
    pub(crate) fn ask(&self, kind: &Kind, versions: &[String]) -> Asked {
        let whole = |filter: &ResourceFilter| filter.name.is_empty() && filter.match_labels.is_empty();
        if self.exclude_resources.iter().any(|filter| whole(filter) && filter.matches_kind(kind, versions)) {
            return Asked::No;
        }
        if self.include_resources.iter().any(|filter| filter.matches_kind(kind, versions)) {
            return Asked::ByName;
        }
        if self.includes_default() { Asked::ByDefault } else { Asked::No }
    }

    /// Whether a kind that is not known, of this version of a group, may have objects that are selected.
    pub(crate) fn may_select_of(&self, group: &str, version: &str) -> bool {
        let excluded = self.excludes_version(group, version);
        !excluded && (self.includes_default() || self.names_version(group, version))
    }

    /// The same, where the default captures nothing of such a group.
    pub(crate) fn may_name_of(&self, group: &str, version: &str) -> bool {
        !self.excludes_version(group, version) && self.names_version(group, version)
    }

    fn excludes_version(&self, group: &str, version: &str) -> bool {
        let all = |filter: &ResourceFilter| {
            filter.resource.is_empty() && filter.name.is_empty() && filter.match_labels.is_empty()
        };
        self.exclude_resources.iter().any(|filter| all(filter) && filter.matches_version(group, version))
    }

    fn names_version(&self, group: &str, version: &str) -> bool {
        let mut named = self.include_resources.iter().filter(|filter| !filter.is_default());
        named.any(|filter| filter.matches_version(group, version))
    }

    /// Whether this object is selected. `default` says whether it is one of those captured when nothing is said.
    pub(crate) fn selects(
        &self,
        kind: &Kind,
        versions: &[String],
        object: &Selectable<'_>,
        default: bool,
    ) -> bool {
        let matches =
            |filter: &ResourceFilter| filter.matches_kind(kind, versions) && filter.matches_object(object);
        let included = (default && self.includes_default()) || self.include_resources.iter().any(matches);
        included && !self.exclude_resources.iter().any(matches)
    }

    fn includes_default(&self) -> bool {
        self.include_resources.is_empty() || self.include_resources.iter().any(ResourceFilter::is_default)
    }
}

/// What a filter looks at in an object.
pub(crate) struct Selectable<'a> {
    pub(crate) name: &'a str,
    pub(crate) labels: Option<&'a serde_json::Map<String, Value>>,
}

impl<'a> Selectable<'a> {
    pub(crate) fn of(object: &'a Value) -> Self {
        let metadata = &object["metadata"];
        Self { name: metadata["name"].as_str().unwrap_or_default(), labels: metadata["labels"].as_object() }
    }
}

impl ResourceFilter {
    fn is_default(&self) -> bool {
        self.group == group::ACTIONS && self.resource == DEFAULTS
    }

    fn matches_group(&self, group: &str) -> bool {
        let own = if self.group == "core" { "" } else { self.group.as_str() };
        self.group.is_empty() || own == group
    }

    fn matches_version(&self, group: &str, version: &str) -> bool {
        self.matches_group(group) && (self.version.is_empty() || self.version == version)
    }

    fn matches_kind(&self, kind: &Kind, versions: &[String]) -> bool {
        self.matches_group(&kind.group)
            && (self.version.is_empty() || versions.contains(&self.version))
            && (self.resource.is_empty() || self.resource == kind.resource)
    }

    fn matches_object(&self, object: &Selectable<'_>) -> bool {
        let has_label = |(key, value): (&String, &String)| {
            object.labels.and_then(|labels| labels.get(key)).and_then(Value::as_str) == Some(value)
        };
        (self.name.is_empty() || self.name == object.name) && self.match_labels.iter().all(has_label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(group: &str, resource: &str) -> ResourceFilter {
        ResourceFilter { group: group.to_owned(), resource: resource.to_owned(), ..ResourceFilter::default() }
    }

    fn check(filters: &Filters, api_version: &str, resource: &str, object: Value, default: bool) -> bool {
        let kind = Kind::namespaced(api_version, "X", resource);
        filters.selects(&kind, std::slice::from_ref(&kind.version), &Selectable::of(&object), default)
    }

    #[test]
    fn without_filters_the_default_is_selected() {
        let none = Filters::default();
        assert!(check(&none, "v1", "secrets", json!({}), true));
        assert!(!check(&none, "v1", "events", json!({}), false));
    }

    #[test]
    fn an_include_list_replaces_the_default_unless_it_names_it() {
        let mut filters = Filters { include_resources: vec![entry("core", "events")], ..Filters::default() };
        assert!(check(&filters, "v1", "events", json!({}), false));
        assert!(!check(&filters, "v1", "secrets", json!({}), true));
        assert!(!check(&filters, "events.k8s.io/v1", "events", json!({}), false));
        filters.include_resources.push(entry(group::ACTIONS, DEFAULTS));
        assert!(check(&filters, "v1", "secrets", json!({}), true));
    }

    #[test]
    fn exclusion_comes_after_inclusion_and_looks_at_name_and_labels() {
        let by_label = ResourceFilter {
            match_labels: [("tier".to_owned(), "cache".to_owned())].into(),
            ..ResourceFilter::default()
        };
        let by_name = ResourceFilter { name: "scratch".to_owned(), ..entry("", "configmaps") };
        let filters = Filters { exclude_resources: vec![by_label, by_name], ..Filters::default() };
        let named = |name: &str| json!({"metadata": {"name": name}});
        assert!(check(&filters, "v1", "configmaps", named("settings"), true));
        assert!(!check(&filters, "v1", "configmaps", named("scratch"), true));
        assert!(check(&filters, "v1", "secrets", named("scratch"), true));
        let cache = json!({"metadata": {"name": "c", "labels": {"tier": "cache"}}});
        assert!(!check(&filters, "v1", "secrets", cache, true));
    }

    #[test]
    fn a_kind_is_not_read_when_no_object_of_it_can_be_selected() {
        let secrets = Kind::namespaced("v1", "Secret", "secrets");
        let versions = ["v1".to_owned()];
        let excluded = Filters { exclude_resources: vec![entry("core", "secrets")], ..Filters::default() };
        assert_eq!(excluded.ask(&secrets, &versions), Asked::No);
        let others = Filters { include_resources: vec![entry("apps", "deployments")], ..Filters::default() };
        assert_eq!(others.ask(&secrets, &versions), Asked::No);
        assert_eq!(Filters::default().ask(&secrets, &versions), Asked::ByDefault);
        let wrong_version = ResourceFilter { version: "v2".to_owned(), ..entry("core", "secrets") };
        let filters = Filters { include_resources: vec![wrong_version], ..Filters::default() };
        assert_eq!(filters.ask(&secrets, &versions), Asked::No);
    }
}
