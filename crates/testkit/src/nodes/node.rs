//! One node: its namespaces, its wire, its programs, from `node.bash`'s first line to the node that is ready.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::{Api, Client};

use super::network::{Addresses, run};
use super::settings::Settings;
use crate::control_plane::ControlPlane;
use crate::supervisor::Program;

const SCRIPT: &str = include_str!("node.bash");
/// Seconds on an idle machine, and twenty times that on a loaded one.
const START_TIMEOUT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) index: u8,
    directory: PathBuf,
    /// The first process of its namespaces.
    init: u32,
}

impl Node {
    /// Starts the node with this place in the cluster and waits until pods may be put on it.
    pub(super) async fn start(
        plane: &mut ControlPlane,
        client: &Client,
        addresses: Addresses,
        index: u8,
        name: &str,
    ) -> Result<Self> {
        let program = format!("node-{index}");
        let cluster = plane.directory().to_owned();
        let directory = cluster.join(&program);
        let kubeconfig = plane.kubeconfig_for(&format!("system:node:{name}"), Some("system:nodes"))?;
        plane.pki().sign_kubelet(name, &addresses.node(index).to_string())?;
        let settings = Settings {
            name,
            index,
            addresses,
            directory: &directory,
            cluster: &cluster,
            administrator: plane.kubeconfig(),
            kubeconfig: &kubeconfig,
        };
        settings.write()?;
        let namespaces = ["--pid", "--mount", "--net", "--uts", "--ipc", "--mount-proc"];
        let words = Program::new("unshare").args(["--fork", "--kill-child"]).args(namespaces);
        let words = words.args(["bash", "-c", SCRIPT, "keelson-node"]).arg(&directory);
        plane.supervisor_mut().run(&program, &words)?;

        let mut node = Self { name: name.to_owned(), index, directory, init: 0 };
        node.wait_for(plane, "waiting").await?;
        node.init = init_of(plane, &program)?;
        addresses.wire(index, node.init)?;
        fs::write(node.directory.join("wired"), "").context("tell a node of its wire")?;
        node.wait_for(plane, "ready").await?;
        node.wait_until_ready(plane, client).await?;
        Ok(node)
    }

    /// A command that runs in the node's namespaces, as root.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--mount", "--net", "--pid", "--uts", "--ipc"]);
        // Otherwise it would be in the root of the mounts, which only programs with whole paths are made for.
        command.arg(format!("--wd={}", self.directory.display())).arg("--").arg(program);
        command
    }

    /// Gives the runtime an image, which says itself what it is called.
    pub(super) fn import(&self, archive: &Path) -> Result<()> {
        let mut import = self.command("ctr");
        import.args(["--namespace", "k8s.io", "images", "import"]).arg(archive);
        let output = import.stdin(Stdio::null()).output().context("run ctr")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "import {} on {}: {}", archive.display(), self.name, said.trim());
        Ok(())
    }

    /// Tells the node which way it is to the pods of another one.
    pub(super) fn add_route_to(&self, addresses: Addresses, other: u8) -> Result<()> {
        let (pods, way) = (format!("{}.0/24", addresses.pods(other)), addresses.node(other).to_string());
        let init = self.init.to_string();
        let enter = ["--target", init.as_str(), "--net", "--", "ip", "route", "replace", pods.as_str()];
        let words: Vec<&str> = enter.into_iter().chain(["via", way.as_str()]).collect();
        run("nsenter", &words).map(drop)
    }

    /// From now on nothing but the machine and the cluster itself can be reached from the node and its pods.
    pub(super) fn cut_off(&self, addresses: Addresses) -> Result<()> {
        let reachable = format!(
            "127.0.0.0/8, {}, {}/29, {}, {}/21",
            addresses.host(),
            addresses.node(0),
            addresses.all_pods(),
            addresses.services(),
        );
        let rules = format!(
            "table ip keelson_gap {{\n\
             chain forward {{ type filter hook forward priority -10; ip daddr != {{ {reachable} }} drop; }}\n\
             chain output {{ type filter hook output priority -10; ip daddr != {{ {reachable} }} drop; }}\n\
             }}\n"
        );
        let mut nft = Command::new("nsenter");
        nft.args(["--target", &self.init.to_string(), "--net", "--", "nft", "--file", "-"]);
        let mut nft = nft.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().context("run nft")?;
        let mut stdin = nft.stdin.take().context("nft takes no input")?;
        stdin.write_all(rules.as_bytes()).context("tell nft the rules")?;
        drop(stdin);
        let output = nft.wait_with_output().context("wait for nft")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cut off {}: {}", self.name, said.trim());
        Ok(())
    }

    /// The programs that have ended, each with its log's end. A node may be ready without one of them.
    pub(super) fn dead(&self) -> Option<String> {
        let dead = fs::read_to_string(self.directory.join("dead")).ok()?;
        let tail = |line: &str| {
            let program = line.split(' ').next().unwrap_or_default();
            let log = fs::read(self.directory.join(format!("{program}.log"))).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            format!("{line}\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        Some(dead.lines().map(tail).collect::<Vec<_>>().join("\n"))
    }

    async fn wait_for(&self, plane: &ControlPlane, file: &str) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !self.directory.join(file).exists() {
            self.pause(plane, deadline).await?;
        }
        Ok(())
    }

    async fn wait_until_ready(&self, plane: &ControlPlane, client: &Client) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        let nodes: Api<NodeObject> = Api::all(client.clone());
        // An error so soon after the start is none to give up for.
        while !nodes.get_opt(&self.name).await.is_ok_and(|node| node.is_some_and(|node| is_ready(&node))) {
            self.pause(plane, deadline).await?;
        }
        Ok(())
    }

    async fn pause(&self, plane: &ControlPlane, deadline: Instant) -> Result<()> {
        let program = format!("node-{}", self.index);
        if let Some(dead) = self.dead() {
            bail!("node {}: {dead}", self.name);
        }
        let log = || plane.supervisor().log_tail(&program);
        ensure!(plane.supervisor().is_running(&program), "node {} ended:\n{}", self.name, log());
        let seconds = START_TIMEOUT.as_secs();
        ensure!(Instant::now() < deadline, "node {} is not ready after {seconds} s:\n{}", self.name, log());
        tokio::time::sleep(POLL).await;
        Ok(())
    }
}

/// Ready, and past the moment in which its taint keeps pods away.
fn is_ready(node: &NodeObject) -> bool {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let tainted =
        node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).is_some_and(|taints| !taints.is_empty());
    ready && !tainted
}

/// The child of `unshare`, as this machine numbers it.
fn init_of(plane: &ControlPlane, program: &str) -> Result<u32> {
    let parent = plane.supervisor().process_id(program).context("the node has ended")?;
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let children = children.context("look for the first process of a node")?;
    let init = children.split_whitespace().next().context("a node has no first process")?;
    init.parse().context("read the first process of a node")
}
