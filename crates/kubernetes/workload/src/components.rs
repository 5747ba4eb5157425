//! The component of an application that an object belongs to: how details sort what people look for. Pure.

use crate::kinds::Kind;

/// What an object is to whoever looks at an application. In the order in which details show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// Configuration, accounts and rights, and of the kinds that every cluster serves all that is nothing else.
    Config,
    Network,
    Workloads,
    /// Objects of kinds that the cluster was taught, and the definitions of these.
    CustomResources,
    Volumes,
}

impl Component {
    pub fn of(kind: &Kind) -> Self {
        let is_row = |row: &&(&str, &str, Self)| kind.is(row.0, row.1);
        match COMPONENTS.iter().find(is_row) {
            Some(row) => row.2,
            None if BUILT_IN.contains(&kind.group.as_str()) => Self::Config,
            None => Self::CustomResources,
        }
    }
}

/// Group, kind, component.
const COMPONENTS: &[(&str, &str, Component)] = &[
    ("", "Service", Component::Network),
    ("", "Endpoints", Component::Network),
    ("discovery.k8s.io", "EndpointSlice", Component::Network),
    ("networking.k8s.io", "Ingress", Component::Network),
    ("networking.k8s.io", "IngressClass", Component::Network),
    ("networking.k8s.io", "NetworkPolicy", Component::Network),
    ("route.openshift.io", "Route", Component::Network),
    ("", "Pod", Component::Workloads),
    ("", "PodTemplate", Component::Workloads),
    ("", "ReplicationController", Component::Workloads),
    ("apps", "Deployment", Component::Workloads),
    ("apps", "StatefulSet", Component::Workloads),
    ("apps", "DaemonSet", Component::Workloads),
    ("apps", "ReplicaSet", Component::Workloads),
    ("batch", "Job", Component::Workloads),
    ("batch", "CronJob", Component::Workloads),
    ("apps.openshift.io", "DeploymentConfig", Component::Workloads),
    ("apiextensions.k8s.io", "CustomResourceDefinition", Component::CustomResources),
    ("", "PersistentVolumeClaim", Component::Volumes),
];

/// Groups that the API server itself serves. Their name does not tell: `snapshot.storage.k8s.io` is a custom one.
const BUILT_IN: &[&str] = &[
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_shown_where_people_look_for_it() {
        let check = |api_version: &str, kind: &str, expected: Component| {
            assert_eq!(Component::of(&Kind::namespaced(api_version, kind, "x")), expected, "{kind}");
        };
        check("v1", "Secret", Component::Config);
        check("v1", "ServiceAccount", Component::Config);
        check("rbac.authorization.k8s.io/v1", "RoleBinding", Component::Config);
        check("autoscaling/v2", "HorizontalPodAutoscaler", Component::Config);
        check("v1", "Service", Component::Network);
        check("networking.k8s.io/v1", "NetworkPolicy", Component::Network);
        check("apps/v1", "StatefulSet", Component::Workloads);
        check("v1", "PersistentVolumeClaim", Component::Volumes);
        check("shop.example.com/v1", "Deployment", Component::CustomResources);
        check("snapshot.storage.k8s.io/v1", "VolumeSnapshot", Component::CustomResources);
        check("apiextensions.k8s.io/v1", "CustomResourceDefinition", Component::CustomResources);
    }
}
