//! What a kind is called and where its objects are, in plain words.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::{InvalidName, push_segment};

/// Whether objects of a kind live in namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// One version of one kind, with the plural under which it is served.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub resource: String,
    pub scope: Scope,
}

impl Kind {
    /// A kind of a namespaced resource: `api_version` is `apps/v1`, or `v1` for the core group.
    pub fn namespaced(api_version: &str, kind: &str, resource: &str) -> Self {
        Self::parse(api_version, kind, resource, Scope::Namespaced)
    }

    /// A kind of a resource outside namespaces.
    pub fn cluster(api_version: &str, kind: &str, resource: &str) -> Self {
        Self::parse(api_version, kind, resource, Scope::Cluster)
    }

    fn parse(api_version: &str, kind: &str, resource: &str, scope: Scope) -> Self {
        let (group, version) = split_api_version(api_version);
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            resource: resource.to_owned(),
            scope,
        }
    }

    /// As written in an object: `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// As written for people and in filters: `deployments.apps`, or `pods`.
    pub fn resource_name(&self) -> String {
        if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    pub(crate) fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// The URL of the collection; of all namespaces when none is named.
    pub(crate) fn collection_url(&self, namespace: Option<&str>) -> Result<String, InvalidName> {
        let mut url = String::with_capacity(128);
        if self.group.is_empty() {
            url.push_str("/api");
        } else {
            url.push_str("/apis");
            push_segment(&mut url, &self.group)?;
        }
        push_segment(&mut url, &self.version)?;
        if let (Scope::Namespaced, Some(namespace)) = (self.scope, namespace) {
            url.push_str("/namespaces");
            push_segment(&mut url, namespace)?;
        }
        push_segment(&mut url, &self.resource)?;
        Ok(url)
    }

    pub(crate) fn object_url(&self, namespace: Option<&str>, name: &str) -> Result<String, InvalidName> {
        if self.scope == Scope::Namespaced && namespace.is_none() {
            return Err(InvalidName::new(name, "name with a namespace, as this kind needs"));
        }
        let mut url = self.collection_url(namespace)?;
        push_segment(&mut url, name)?;
        Ok(url)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource_name())
    }
}

/// Splits `apps/v1` into group and version.
pub(crate) fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_knows_its_urls() {
        let deployments = Kind::namespaced("apps/v1", "Deployment", "deployments");
        assert_eq!(
            deployments.object_url(Some("shop"), "web").as_deref(),
            Ok("/apis/apps/v1/namespaces/shop/deployments/web")
        );
        assert_eq!(deployments.collection_url(None).as_deref(), Ok("/apis/apps/v1/deployments"));
        assert!(deployments.object_url(None, "web").is_err());
        let namespaces = Kind::cluster("v1", "Namespace", "namespaces");
        assert_eq!(namespaces.object_url(None, "shop").as_deref(), Ok("/api/v1/namespaces/shop"));
        assert_eq!(deployments.resource_name(), "deployments.apps");
        assert_eq!(namespaces.api_version(), "v1");
    }
}
