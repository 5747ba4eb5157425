//! The addresses of clusters with nodes, and the bridge of this machine over which they reach it and each other. What is
//! done to the machine is done, and undone, by `network.bash`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::control_plane::Seat;
use crate::supervisor::{Program, Supervisor, UNDO};

const SCRIPT: &str = include_str!("network.bash");
pub(super) const BRIDGE: &str = "keelson-tb";
/// The program that holds on to what a cluster or a process was given.
const HOLD: &str = "hold";
/// Its answer comes once it has tidied up after clusters that were killed.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(10);
/// A cluster has eight places.
pub(super) const NODES_MAX: u8 = 8;

/// The address of this machine under which pods of all clusters reach what listens there. It is there for as long as
/// this process, or a cluster of it, lives.
pub fn host_address() -> Result<IpAddr> {
    static HELD: Mutex<Option<(Supervisor, IpAddr)>> = Mutex::new(None);
    let mut held = HELD.lock().map_err(|_| anyhow!("a thread panicked while it raised the bridge"))?;
    if let Some((_, address)) = &*held {
        return Ok(*address);
    }
    let mut supervisor = Supervisor::start("host-address")?;
    let address = hold(&mut supervisor, "host")?.host().into();
    *held = Some((supervisor, address));
    Ok(address)
}

/// The addresses of a cluster that has a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Addresses {
    octet: u8,
    number: u8,
}

impl Addresses {
    /// Takes a number that no cluster of this machine has, for as long as `supervisor` lives.
    pub(super) fn take(supervisor: &mut Supervisor) -> Result<Self> {
        hold(supervisor, "cluster")
    }

    pub(super) fn host(self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.octet, 0, 1)
    }

    pub(super) fn seat(self) -> Seat {
        Seat::AmongNodes { host: self.host(), services: self.services() }
    }

    pub(super) fn services(self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.octet, 16 * self.number, 0)
    }

    /// The network of all pods, in the notation of routes.
    pub(super) fn all_pods(self) -> String {
        format!("10.{}.{}.0/21", self.octet, 16 * self.number + 8)
    }

    /// The address of the place `index`.
    pub(super) fn node(self, index: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.octet, 0, 16 * self.number + index)
    }

    /// The first three numbers of the addresses of its pods.
    pub(super) fn pods(self, index: u8) -> String {
        format!("10.{}.{}", self.octet, 16 * self.number + 8 + index)
    }

    /// Where the cluster's name server listens: the first node's side of its pods.
    pub(super) fn name_server(self) -> String {
        format!("{}.1", self.pods(0))
    }

    /// How a node's processes are grouped; `network.bash` knows the form.
    pub(super) fn cgroup(self, index: u8) -> String {
        format!("keelson-testbed-{}-{index}", self.number)
    }

    /// Lays a wire between the bridge and the network namespace of the process `init`, and tells this machine the way.
    pub(super) fn wire(self, index: u8, init: u32) -> Result<()> {
        let wire = format!("kt-{}-{index}", self.number);
        // Fixed: a cluster that takes the number of an earlier one must not meet stale entries of ARP.
        let hardware = format!("02:00:0a:{:02x}:{:02x}:{index:02x}", self.octet, self.number);
        let init = init.to_string();
        let (node, pods) = (self.node(index).to_string(), format!("{}.0/24", self.pods(index)));
        let ends =
            ["type", "veth", "peer", "name", "eth0", "address", hardware.as_str(), "netns", init.as_str()];
        let words: Vec<&str> = ["link", "add", wire.as_str()].into_iter().chain(ends).collect();
        run("ip", &words)?;
        run("ip", &["link", "set", &wire, "master", BRIDGE, "up"])?;
        run("ip", &["route", "replace", &pods, "via", &node, "dev", BRIDGE])?;
        if index == 0 {
            let services = format!("{}/21", self.services());
            run("ip", &["route", "replace", &services, "via", &node, "dev", BRIDGE])?;
        }
        Ok(())
    }
}

/// Runs the script's `hold` beside what else `supervisor` runs, and sees to it that its end is followed by `release`.
fn hold(supervisor: &mut Supervisor, holder: &str) -> Result<Addresses> {
    let answer = supervisor.directory().join("held");
    fs::write(supervisor.directory().join(UNDO), SCRIPT)
        .context("write how to undo what is done to the network")?;
    let program = Program::new("bash").args(["-c", SCRIPT, "keelson-network", HOLD, holder]).arg(&answer);
    supervisor.run(HOLD, &program)?;
    let deadline = Instant::now() + PATIENCE;
    while !answer.exists() {
        if !supervisor.is_running(HOLD) {
            bail!("take addresses for a cluster: {}", supervisor.log_tail(HOLD));
        }
        ensure!(Instant::now() < deadline, "nobody gives addresses for a cluster");
        thread::sleep(POLL);
    }
    let text = fs::read_to_string(&answer).context("read the addresses of a cluster")?;
    let (octet, number) = text.trim().split_once(' ').context("read the addresses of a cluster")?;
    Ok(Addresses { octet: octet.parse()?, number: number.parse()? })
}

/// Runs a program of the system to its end and answers what it wrote.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let line = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("run {line}"))?;
    ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_clusters_share_an_address() {
        let clusters = (1..=15).map(|number| Addresses { octet: 90, number });
        let mut taken = std::collections::BTreeSet::new();
        for cluster in clusters {
            // Of each network the part that tells it from others: all have one octet in common with what they hold.
            let [_, _, third, _] = cluster.services().octets();
            for part in third..third + 8 {
                assert!(taken.insert(format!("10.90.{part}")), "{cluster:?}: services");
            }
            for index in 0..NODES_MAX {
                assert!(taken.insert(cluster.pods(index)), "{cluster:?}: pods");
                assert!(taken.insert(cluster.node(index).to_string()), "{cluster:?}: nodes");
            }
        }
        assert!(!taken.contains("10.90.0"), "the network of the nodes");
        assert!(!taken.contains("10.90.0.1"), "the address of the machine");
    }
}
