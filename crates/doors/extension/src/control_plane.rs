//! Who of those that ask holds up the cluster, by the names that Kubernetes gives its own.

use keelson_protection::Requester;

/// All controllers, where they have no accounts of their own.
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
const NAMESPACE_CONTROLLER: &str = "system:serviceaccount:kube-system:namespace-controller";
const BEGINNINGS: [&str; 3] = ["system:apiserver", "system:kube-", "system:serviceaccount:kube-system:"];

pub(crate) fn is_control_plane(name: &str) -> bool {
    BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// Who empties a namespace that is being deleted.
pub(crate) fn is_namespace_controller(requester: &Requester) -> bool {
    [NAMESPACE_CONTROLLER, CONTROLLER_MANAGER].contains(&requester.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_looks_like_the_control_plane_who_is_not_of_it() {
        for name in [CONTROLLER_MANAGER, NAMESPACE_CONTROLLER, "system:apiserver", "system:kube-scheduler"] {
            assert!(is_control_plane(name), "{name}");
        }
        for name in
            ["system:anonymous", "system:node:n1", "system:serviceaccount:kube-systems:x", "kube-admin"]
        {
            assert!(!is_control_plane(name), "{name}");
        }
    }
}
