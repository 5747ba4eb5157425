//! Where an API server listens, and what follows from that: alone on loopback, or with nodes around it.

use std::net::Ipv4Addr;

/// Controllers that look after nodes, clouds and volumes' attachment, none of which exist on loopback.
const CONTROLLERS_WITHOUT_NODES: &str = "*,-cloud-node-lifecycle-controller,-node-ipam-controller,\
    -node-lifecycle-controller,-node-route-controller,-service-lb-controller,-taint-eviction-controller,\
    -device-taint-eviction-controller,-persistentvolume-attach-detach-controller,\
    -persistentvolume-expander-controller,-horizontal-pod-autoscaler-controller,-service-cidr-controller,\
    -legacy-serviceaccount-token-cleaner-controller";
/// No cloud, and nodes know their pods' addresses by themselves.
const CONTROLLERS_WITH_NODES: &str =
    "*,-cloud-node-lifecycle-controller,-node-ipam-controller,-node-route-controller,-service-lb-controller";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seat {
    /// Only this machine reaches it.
    Loopback,
    /// Nodes and pods reach it at an address of this machine, and its services have addresses of their own, of which
    /// `services` is the network's, with 21 bits.
    AmongNodes { host: Ipv4Addr, services: Ipv4Addr },
}

impl Seat {
    pub(super) fn address(self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::AmongNodes { host, .. } => host,
        }
    }

    /// What a client may call the API server beside its usual names.
    pub(super) fn names(self) -> Vec<String> {
        match self {
            Self::Loopback => Vec::new(),
            Self::AmongNodes { host, services } => {
                // The first of the services is `kubernetes.default`.
                let [a, b, c, d] = services.octets();
                vec![host.to_string(), Ipv4Addr::new(a, b, c, d + 1).to_string()]
            }
        }
    }

    pub(super) fn api_server_flags(self) -> Vec<String> {
        let flags: Vec<String> = match self {
            Self::Loopback => [
                "--authorization-mode=RBAC",
                // A Service may not point at loopback, so `kubernetes.default` stays without endpoints.
                "--endpoint-reconciler-type=none",
                "--service-cluster-ip-range=10.0.0.0/16",
                // Resolves the Service itself and not its endpoints, which is what makes `ExternalName` work.
                "--enable-aggregator-routing=false",
            ]
            .map(ToOwned::to_owned)
            .into(),
            Self::AmongNodes { services, .. } => vec![
                "--authorization-mode=Node,RBAC".to_owned(),
                format!("--service-cluster-ip-range={services}/21"),
                // Nobody resolves the names of nodes.
                "--kubelet-preferred-address-types=InternalIP".to_owned(),
                "--enable-aggregator-routing=true".to_owned(),
            ],
        };
        let address = self.address();
        let listening = [format!("--bind-address={address}"), format!("--advertise-address={address}")];
        listening.into_iter().chain(flags).collect()
    }

    pub(super) fn controllers(self) -> &'static str {
        match self {
            Self::Loopback => CONTROLLERS_WITHOUT_NODES,
            Self::AmongNodes { .. } => CONTROLLERS_WITH_NODES,
        }
    }

    pub(super) fn controller_manager_flags(self) -> &'static [&'static str] {
        match self {
            Self::Loopback => &[],
            // No test loses a node. Where the whole machine stands still for a minute, its nodes are not lost either.
            Self::AmongNodes { .. } => &["--node-monitor-grace-period=10m"],
        }
    }
}
