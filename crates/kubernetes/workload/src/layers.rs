//! The order in which an application comes back: what others need is there before them.

use serde::{Deserialize, Serialize};

use crate::kinds::Kind;

/// A step of a restore. Objects of one layer do not wait for each other; the next layer waits for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    Namespace,
    /// Definitions of custom kinds; the layer ends when all of them are established.
    Definitions,
    /// What a workload finds when it starts: configuration, services, and the policies that guard it.
    Configuration,
    Storage,
    Accounts,
    Workloads,
    /// What leads to workloads or steers them.
    Routes,
    /// Custom objects and all else, quotas among them: their usage is counted late and would refuse the rest.
    Custom,
}

impl Layer {
    pub const ALL: [Self; 8] = [
        Self::Namespace,
        Self::Definitions,
        Self::Configuration,
        Self::Storage,
        Self::Accounts,
        Self::Workloads,
        Self::Routes,
        Self::Custom,
    ];

    /// The name of the layer's stream in a repository.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Definitions => "definitions",
            Self::Configuration => "configuration",
            Self::Storage => "storage",
            Self::Accounts => "accounts",
            Self::Workloads => "workloads",
            Self::Routes => "routes",
            Self::Custom => "custom",
        }
    }

    pub fn of(kind: &Kind) -> Self {
        let is_row = |row: &&(&str, &str, Self)| kind.is(row.0, row.1);
        LAYERS.iter().find(is_row).map_or(Self::Custom, |row| row.2)
    }
}

/// Group, kind, layer. What is not named here is restored last.
const LAYERS: &[(&str, &str, Layer)] = &[
    ("", "Namespace", Layer::Namespace),
    ("apiextensions.k8s.io", "CustomResourceDefinition", Layer::Definitions),
    ("", "ConfigMap", Layer::Configuration),
    ("", "Secret", Layer::Configuration),
    ("", "LimitRange", Layer::Configuration),
    ("", "Service", Layer::Configuration),
    ("", "Endpoints", Layer::Configuration),
    ("discovery.k8s.io", "EndpointSlice", Layer::Configuration),
    ("networking.k8s.io", "NetworkPolicy", Layer::Configuration),
    ("storage.k8s.io", "StorageClass", Layer::Storage),
    ("", "PersistentVolumeClaim", Layer::Storage),
    ("", "ServiceAccount", Layer::Accounts),
    ("rbac.authorization.k8s.io", "ClusterRole", Layer::Accounts),
    ("rbac.authorization.k8s.io", "Role", Layer::Accounts),
    ("rbac.authorization.k8s.io", "RoleBinding", Layer::Accounts),
    ("", "Pod", Layer::Workloads),
    ("", "PodTemplate", Layer::Workloads),
    ("", "ReplicationController", Layer::Workloads),
    ("apps", "Deployment", Layer::Workloads),
    ("apps", "StatefulSet", Layer::Workloads),
    ("apps", "DaemonSet", Layer::Workloads),
    ("apps", "ReplicaSet", Layer::Workloads),
    ("batch", "Job", Layer::Workloads),
    ("batch", "CronJob", Layer::Workloads),
    ("apps.openshift.io", "DeploymentConfig", Layer::Workloads),
    // Who may not bind any role is asked for the rights of the role, which must be there.
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", Layer::Routes),
    ("networking.k8s.io", "Ingress", Layer::Routes),
    ("route.openshift.io", "Route", Layer::Routes),
    ("autoscaling", "HorizontalPodAutoscaler", Layer::Routes),
    ("policy", "PodDisruptionBudget", Layer::Routes),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_in_order_and_named_apart() {
        assert!(Layer::ALL.is_sorted());
        let names: std::collections::BTreeSet<_> = Layer::ALL.iter().map(|layer| layer.name()).collect();
        assert_eq!(names.len(), Layer::ALL.len());
    }

    #[test]
    fn a_kind_comes_after_what_it_needs() {
        let layer = |api_version, kind| Layer::of(&Kind::namespaced(api_version, kind, "x"));
        assert!(layer("v1", "ServiceAccount") < layer("v1", "Pod"));
        assert!(layer("v1", "Secret") < layer("v1", "ServiceAccount"));
        assert!(layer("networking.k8s.io/v1", "NetworkPolicy") < layer("apps/v1", "Deployment"));
        assert!(layer("apps/v1", "Deployment") < layer("networking.k8s.io/v1", "Ingress"));
        let rbac = "rbac.authorization.k8s.io/v1";
        assert!(layer(rbac, "ClusterRole") < layer(rbac, "ClusterRoleBinding"));
        assert_eq!(layer("v1", "ResourceQuota"), Layer::Custom);
        assert_eq!(layer("shop.example.com/v1", "Deployment"), Layer::Custom);
    }
}
