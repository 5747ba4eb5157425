//! What the programs of a node are told: their words and the files that they read.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::images::BOX_IMAGE;
use super::network::Addresses;
use crate::programs::testbed_program;
use crate::supervisor::Program;

/// The context of our kubeconfig files is called so, and CoreDNS wants to be told.
const CONTEXT: &str = "keelson-testbed";
const CONTAINERD: &str = "containerd";
const KUBELET: &str = "kubelet";
const KUBE_PROXY: &str = "kube-proxy";
const COREDNS: &str = "coredns";

/// A node, as its programs see it.
pub(super) struct Settings<'a> {
    pub(super) name: &'a str,
    pub(super) index: u8,
    pub(super) addresses: Addresses,
    /// Its own directory.
    pub(super) directory: &'a Path,
    /// The cluster's, with certificates, registries and the plugins that nobody has.
    pub(super) cluster: &'a Path,
    pub(super) administrator: &'a Path,
    /// The node's own kubeconfig.
    pub(super) kubeconfig: &'a Path,
}

impl Settings<'_> {
    /// Writes all that `node.bash` and the programs read.
    pub(super) fn write(&self) -> Result<()> {
        fs::create_dir_all(self.directory.join("cni")).context("create the directory of a node")?;
        self.write_file("cni/10-pods.conflist", &self.pod_network())?;
        self.write_file("containerd.toml", &self.containerd())?;
        self.write_file("kubelet.json", &self.kubelet())?;
        self.write_file("kube-proxy.json", &self.kube_proxy())?;
        self.write_file("resolv.conf", &format!("nameserver {}\n", self.addresses.name_server()))?;
        let mut programs = vec![
            (
                CONTAINERD,
                Program::new(CONTAINERD).arg("--config").arg(self.directory.join("containerd.toml")),
            ),
            (KUBELET, self.kubelet_program()?),
            (KUBE_PROXY, self.kube_proxy_program()?),
        ];
        if self.index == 0 {
            self.write_file("Corefile", &self.corefile())?;
            let program = Program::new(testbed_program(COREDNS)?).arg("-conf");
            programs.push((COREDNS, program.arg(self.directory.join("Corefile"))));
        }
        for (name, program) in &programs {
            fs::write(self.directory.join(format!("{name}.argv")), program.encode())
                .with_context(|| format!("write the words of {name}"))?;
        }
        let programs: Vec<&str> = programs.iter().map(|(name, _)| *name).collect();
        self.write_file("node.env", &self.environment(&programs))
    }

    fn write_file(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.directory.join(name), text).with_context(|| format!("write {name} of {}", self.name))
    }

    fn environment(&self, programs: &[&str]) -> String {
        let Self { name, index, addresses, .. } = self;
        format!(
            "NODE={name}\nADDRESS={}\nHOST={}\nPODS={}\nCLUSTER_PODS={}\nCGROUP={}\nPROGRAMS='{}'\n",
            addresses.node(*index),
            addresses.host(),
            addresses.pods(*index),
            addresses.all_pods(),
            addresses.cgroup(*index),
            programs.join(" "),
        )
    }

    fn pod_network(&self) -> String {
        let pods = self.addresses.pods(self.index);
        let network = json!({
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [{
                "type": "bridge", "bridge": "cni0", "isGateway": false, "ipMasq": false, "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/var/lib/cni/ipam",
                    "ranges": [[{
                        "subnet": format!("{pods}.0/24"), "gateway": format!("{pods}.1"),
                        "rangeStart": format!("{pods}.2"), "rangeEnd": format!("{pods}.250"),
                    }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                },
            }],
        });
        format!("{network:#}\n")
    }

    fn containerd(&self) -> String {
        format!(
            r#"version = 2
root = "{root}"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{BOX_IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{network}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{registries}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"#,
            root = self.directory.join("containerd").display(),
            network = self.directory.join("cni").display(),
            registries = self.cluster.join("registries").display(),
        )
    }

    fn kubelet(&self) -> String {
        let pki = |file: String| self.cluster.join("pki").join(file);
        let settings = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": { "enabled": false },
                "webhook": { "enabled": true },
                "x509": { "clientCAFile": pki("ca.crt".to_owned()) },
            },
            "authorization": { "mode": "Webhook" },
            "address": self.addresses.node(self.index),
            "tlsCertFile": pki(format!("kubelet-{}.crt", self.name)),
            "tlsPrivateKeyFile": pki(format!("kubelet-{}.key", self.name)),
            "clusterDomain": "cluster.local",
            "clusterDNS": [self.addresses.name_server()],
            "resolvConf": self.directory.join("resolv.conf"),
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", self.addresses.cgroup(self.index)),
            "failCgroupV1": false,
            "failSwapOn": false,
            // The machine's disk and memory belong to others too: no pod is evicted for what those do.
            "localStorageCapacityIsolation": false,
            "enforceNodeAllocatable": [],
            "evictionHard": {},
            "imageGCHighThresholdPercent": 100,
            "serializeImagePulls": false,
            "maxPods": 110,
            // It would make the usual folder, on this machine.
            "volumePluginDir": self.cluster.join("volume-plugins"),
        });
        format!("{settings:#}\n")
    }

    fn kubelet_program(&self) -> Result<Program> {
        Ok(Program::new(testbed_program(KUBELET)?)
            .arg("--config")
            .arg(self.directory.join("kubelet.json"))
            .arg("--kubeconfig")
            .arg(self.kubeconfig)
            .arg(format!("--hostname-override={}", self.name))
            .arg(format!("--node-ip={}", self.addresses.node(self.index)))
            .arg("--v=2"))
    }

    fn kube_proxy(&self) -> String {
        let settings = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": { "kubeconfig": self.administrator },
            "clusterCIDR": self.addresses.all_pods(),
            "hostnameOverride": self.name,
            // Answers between pods of one bridge must come back the way they went. The interval is how long a Service may
            // lag behind its pods; the usual second shows as refused connections.
            "nftables": { "masqueradeAll": true, "minSyncPeriod": "100ms" },
            // Zero: it may not set what is the machine's.
            "conntrack": { "maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
        });
        format!("{settings:#}\n")
    }

    fn kube_proxy_program(&self) -> Result<Program> {
        Ok(Program::new(testbed_program(KUBE_PROXY)?)
            .arg("--config")
            .arg(self.directory.join("kube-proxy.json")))
    }

    /// Three servers in one, because the plugin that makes up answers comes before the others within a server. Whatever
    /// ends in `.test` is this machine; what lies outside of the cluster does not exist.
    fn corefile(&self) -> String {
        let (bind, host) = (self.addresses.name_server(), self.addresses.host());
        let administrator = self.administrator.display();
        format!(
            r#"cluster.local:53 in-addr.arpa:53 {{
  bind {bind}
  errors
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {administrator} {CONTEXT}
    pods insecure
    ttl 0
  }}
}}
test:53 {{
  bind {bind}
  template IN A {{
    answer "{{{{ .Name }}}} 5 IN A {host}"
  }}
  template ANY ANY {{
    rcode NOERROR
  }}
}}
.:53 {{
  bind {bind}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"#
        )
    }
}
