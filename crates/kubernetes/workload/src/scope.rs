//! What is captured, and where a restore writes: an application, or the cluster scope, which is all that lies in no
//! namespace.

use std::fmt;

use crate::kinds::Scope;
use crate::names::NamespaceName;

/// What is captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaptureScope {
    /// A namespace and what is in it.
    Application(NamespaceName),
    Cluster,
}

impl CaptureScope {
    /// Where the objects live that are listed.
    pub(crate) fn of_kinds(&self) -> Scope {
        match self {
            Self::Application(_) => Scope::Namespaced,
            Self::Cluster => Scope::Cluster,
        }
    }

    pub(crate) fn namespace(&self) -> Option<&NamespaceName> {
        match self {
            Self::Application(namespace) => Some(namespace),
            Self::Cluster => None,
        }
    }
}

impl fmt::Display for CaptureScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        name_scope(self.namespace(), f)
    }
}

/// Where a restore writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreScope {
    Application {
        /// Where the objects were captured.
        original: NamespaceName,
        /// Where they go.
        target: NamespaceName,
    },
    Cluster,
}

impl RestoreScope {
    pub fn target(&self) -> Option<&NamespaceName> {
        match self {
            Self::Application { target, .. } => Some(target),
            Self::Cluster => None,
        }
    }
}

impl fmt::Display for RestoreScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        name_scope(self.target(), f)
    }
}

fn name_scope(namespace: Option<&NamespaceName>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match namespace {
        Some(namespace) => write!(f, "namespace '{namespace}'"),
        None => f.write_str("the cluster scope"),
    }
}
