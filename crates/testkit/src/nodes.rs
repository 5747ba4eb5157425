//! Whole clusters: a control plane with a scheduler, and nodes that run pods, each in namespaces of its own.
//!
//! It takes root and some of Debian's packages; without them a test is skipped and says why. Nodes share the machine's
//! kernel and file system, and nothing else: whatever way a test ends, their processes, mounts, namespaces and groups of
//! processes go with it (`supervisor`, `network.bash`). There is no way out but to the machine itself.

mod images;
mod network;
mod node;
mod settings;
mod traces;
mod volumes;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use kube::Client;

use self::network::{Addresses, NODES_MAX};
use self::node::Node;
use crate::control_plane::ControlPlane;
use crate::programs::testbed_program;
use crate::supervisor::{Detached, Program, Supervisor};

pub use self::images::BOX_IMAGE;
pub use self::network::host_address;
pub use self::traces::Traces;
pub use self::volumes::STORAGE_CLASS;

const SCHEDULER: &str = "kube-scheduler";
/// What comes from Debian, with the folders in which it may lie.
const SYSTEM_PROGRAMS: [&str; 10] =
    ["containerd", "ctr", "runc", "nft", "conntrack", "iptables", "ip", "unshare", "nsenter", "setpriv"];
const PROGRAM_FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Done in namespaces that go with it.
const ATTEMPT: &str = "mount -t tmpfs tmpfs /run && ip link add bridge type bridge && nft list tables";
const SYSTEM_FILES: [&str; 3] = ["/usr/lib/cni/bridge", "/usr/lib/cni/host-local", "/bin/busybox"];

/// Which Helm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Helm {
    Three,
    Four,
}

impl Helm {
    pub const ALL: [Self; 2] = [Self::Three, Self::Four];

    fn program(self) -> &'static str {
        match self {
            Self::Three => "helm3",
            Self::Four => "helm4",
        }
    }
}

/// How a node's runtime speaks to a registry.
#[derive(Debug, Clone, Copy)]
pub enum RegistryTrust<'a> {
    PlainHttp,
    /// TLS with a certificate that this authority has signed, in PEM.
    Authority(&'a str),
}

/// Whether nodes can be run here.
#[derive(Debug, Clone, Copy)]
pub struct Nodes;

impl Nodes {
    /// What is missing, in words for `skip`.
    pub fn available() -> Result<(), String> {
        match obstacle(rustix::process::geteuid().is_root()) {
            Some(reason) => Err(format!("no cluster with nodes: {reason}")),
            None => Ok(()),
        }
    }
}

fn obstacle(is_root: bool) -> Option<String> {
    if !is_root {
        return Some("it takes root".to_owned());
    }
    let found = |name: &&str| PROGRAM_FOLDERS.iter().any(|folder| Path::new(folder).join(name).exists());
    let program = SYSTEM_PROGRAMS.into_iter().find(|name| !found(name));
    let missing = program.or_else(|| SYSTEM_FILES.into_iter().find(|file| !Path::new(file).exists()));
    if let Some(missing) = missing {
        return Some(format!("{missing} is missing, see scripts/prerequisites"));
    }
    // Root of a container may be root of little.
    let tried = Command::new("unshare")
        .args(["--fork", "--pid", "--mount", "--net", "--uts", "--ipc", "--mount-proc", "sh", "-c", ATTEMPT])
        .stdin(Stdio::null())
        .output();
    let said = match tried {
        Ok(output) if output.status.success() => return None,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
        Err(error) => error.to_string(),
    };
    Some(format!("this machine does not let it have namespaces of its own: {said}"))
}

/// A running cluster. Dropping it ends it and deletes all that it has written.
pub struct NodeCluster {
    plane: ControlPlane,
    addresses: Addresses,
    name: String,
    nodes: Vec<Node>,
    cut_off: bool,
}

impl NodeCluster {
    /// Starts a cluster with one node in a directory of its own below `TMPDIR`. Its nodes are called `NAME-1`, `NAME-2`.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_with(name, Supervisor::start("nodes")?).await
    }

    /// Starts one in `directory`, which it owns from now on.
    pub async fn start_in(name: &str, directory: PathBuf) -> Result<Self> {
        Self::start_with(name, Supervisor::start_in(directory)?).await
    }

    async fn start_with(name: &str, mut supervisor: Supervisor) -> Result<Self> {
        if let Err(reason) = Nodes::available() {
            anyhow::bail!(reason);
        }
        let addresses = Addresses::take(&mut supervisor)?;
        let plane = ControlPlane::start_among_nodes(supervisor, addresses.seat()).await?;
        let mut cluster = Self { plane, addresses, name: name.to_owned(), nodes: Vec::new(), cut_off: false };
        images::prepare(cluster.directory())?;
        fs::create_dir_all(cluster.registries()).context("create the directory of registries")?;
        let scheduler = Program::new(testbed_program(SCHEDULER)?)
            .arg("--kubeconfig")
            .arg(cluster.kubeconfig())
            .args(["--leader-elect=false", "--secure-port=0"]);
        cluster.plane.supervisor_mut().run(SCHEDULER, &scheduler)?;
        volumes::prepare(&cluster.client().await?, cluster.directory()).await?;
        cluster.add_node().await?;
        Ok(cluster)
    }

    /// Adds a node with namespaces of its own, which has the cluster's images, and answers its name.
    pub async fn add_node(&mut self) -> Result<String> {
        let index = u8::try_from(self.nodes.len()).ok().filter(|index| *index < NODES_MAX);
        let index = index.context("the cluster has no place for one more node")?;
        let name = format!("{}-{}", self.name, index + 1);
        let client = self.client().await?;
        let node = Node::start(&mut self.plane, &client, self.addresses, index, &name).await?;
        for other in &self.nodes {
            other.add_route_to(self.addresses, node.index)?;
            node.add_route_to(self.addresses, other.index)?;
        }
        if self.cut_off {
            node.cut_off(self.addresses)?;
        }
        self.nodes.push(node);
        Ok(name)
    }

    pub fn node_names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    pub fn url(&self) -> &str {
        self.plane.url()
    }

    /// The administrator's kubeconfig (group `system:masters`), for this machine and for pods.
    pub fn kubeconfig(&self) -> &Path {
        self.plane.kubeconfig()
    }

    /// A new client of the administrator. Connections belong to the calling runtime: one client a test.
    pub async fn client(&self) -> Result<Client> {
        self.plane.client().await
    }

    /// The control plane, for users, certificates and tokens.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// `kubectl` as the administrator.
    pub fn kubectl(&self) -> Command {
        self.plane.kubectl()
    }

    /// Helm as the administrator, with a home that is the cluster's. Built when first asked for.
    pub fn helm(&self, version: Helm) -> Result<Command> {
        let home = self.directory().join(version.program());
        let mut helm = Command::new(testbed_program(version.program())?);
        // Its discovery cache is keyed by host and port, which other clusters reuse.
        helm.env("KUBECONFIG", self.kubeconfig()).env("KUBECACHEDIR", home.join("discovery"));
        for (variable, folder) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            helm.env(variable, home.join(folder));
        }
        Ok(helm)
    }

    /// The address of this machine under which pods reach what listens there; every name that ends in `.test` is it.
    pub fn host_address(&self) -> IpAddr {
        IpAddr::V4(self.addresses.host())
    }

    /// Gives an image to every node, those to come too. `archive` is what `docker save` writes, or an OCI layout with the
    /// name in containerd's annotation.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        let archive = images::keep(self.directory(), archive)?;
        self.nodes.iter().try_for_each(|node| node.import(&archive))
    }

    /// From now on the nodes find the registry `host`, as it stands in the names of images, at `url`. What it wants to
    /// know of who asks is in the secrets of pods.
    pub fn trust_registry(&self, host: &str, url: &str, trust: RegistryTrust<'_>) -> Result<()> {
        let folder = self.registries().join(host);
        fs::create_dir_all(&folder)
            .with_context(|| format!("create the directory of the registry {host}"))?;
        let authority = match trust {
            RegistryTrust::PlainHttp => String::new(),
            RegistryTrust::Authority(pem) => {
                let file = folder.join("ca.crt");
                fs::write(&file, pem).context("write the authority of a registry")?;
                format!("  ca = \"{}\"\n", file.display())
            }
        };
        let hosts = format!(
            "server = \"{url}\"\n[host.\"{url}\"]\n  capabilities = [\"pull\", \"resolve\"]\n{authority}"
        );
        fs::write(folder.join("hosts.toml"), hosts).with_context(|| format!("write how to reach {host}"))
    }

    /// From now on, nothing but this machine and the cluster itself can be reached from nodes and pods.
    pub fn cut_off(&mut self) -> Result<()> {
        self.cut_off = true;
        self.nodes.iter().try_for_each(|node| node.cut_off(self.addresses))
    }

    /// A command in the namespaces of the node with this name, as root. What it mounts there, pods of the node see.
    pub fn exec_in_node(&self, node: &str, program: &str) -> Result<Command> {
        let found = self.nodes.iter().find(|candidate| candidate.name == node);
        Ok(found.with_context(|| format!("there is no node '{node}'"))?.command(program))
    }

    /// Kills the API server and starts it again with its data. Nodes and pods go on.
    pub async fn restart_api_server(&mut self) -> Result<()> {
        self.plane.interrupt()?;
        self.plane.resume().await
    }

    /// Fails if a program of a node has ended, with its log: a node may be ready without it.
    pub fn check(&self) -> Result<()> {
        let dead: Vec<String> = self.nodes.iter().filter_map(Node::dead).collect();
        ensure!(dead.is_empty(), "{}", dead.join("\n"));
        Ok(())
    }

    /// Where the programs keep their data and logs; those of the first node are in `node-0`.
    pub fn directory(&self) -> &Path {
        self.plane.directory()
    }

    /// Ends the cluster, deletes what it has written and returns when all is gone. Dropping does the same.
    pub async fn stop(self) -> Result<()> {
        self.plane.stop().await
    }

    /// Lets the cluster outlive this process.
    pub fn detach(self) -> Result<Detached> {
        self.plane.detach()
    }

    fn registries(&self) -> PathBuf {
        self.directory().join("registries")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_root_the_reason_is_one_line() {
        assert_eq!(obstacle(false).as_deref(), Some("it takes root"));
        if let Err(reason) = Nodes::available() {
            assert!(reason.starts_with("no cluster with nodes: ") && !reason.contains('\n'), "{reason}");
        }
    }
}
