//! What a cluster leaves on this machine for as long as it runs: files, processes, mounts, groups of processes, and what
//! `network.bash` gives it: a number, wires, routes, and the bridge that all clusters share.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::network::BRIDGE;
use crate::eventually::eventually;
use crate::supervisor::processes_in;

const INTERFACES: &str = "/sys/class/net";
const GROUPS: &str = "/sys/fs/cgroup";
/// One file for each who holds on to a number, or to the bridge alone.
const HELD: &str = "/run/keelson-testbed/held";
const PLACES: usize = 8;

/// Where a cluster shows on this machine. Needs nothing of the cluster, so that it may be asked when that is gone.
pub struct Traces {
    directory: PathBuf,
    number: u8,
}

impl Traces {
    /// Of a cluster that runs, which has all of them.
    pub fn of(directory: &Path) -> Result<Self> {
        let held = fs::read_to_string(directory.join("held")).context("read the number of the cluster")?;
        let (_, number) = held.trim().split_once(' ').context("read the number of the cluster")?;
        let number = number.parse().context("read the number of the cluster")?;
        let traces = Self { directory: directory.to_owned(), number };
        let found = traces.found()?;
        ensure!(found.len() == PLACES, "a cluster that runs shows everywhere: {found:?}");
        Ok(traces)
    }

    /// What there is of them at the moment, in words.
    pub fn found(&self) -> Result<Vec<&'static str>> {
        let number = self.number;
        let (wire, group) = (format!("kt-{number}-"), format!("keelson-testbed-{number}-"));
        let begins = |names: &[String], beginning: &str| names.iter().any(|name| name.starts_with(beginning));
        let (interfaces, held) = (names_in(Path::new(INTERFACES)), names_in(Path::new(HELD)));
        let has_number = held.contains(&format!("cluster-{number}"));
        // Of the bridge: others may need it still, and whoever is the last takes it down.
        let counts = has_number || held.is_empty();
        let places: [(&'static str, bool); PLACES] = [
            ("the directory", self.directory.exists()),
            ("processes", !processes_in(&self.directory).is_empty()),
            ("mounts", mounts()?.contains(&*self.directory.to_string_lossy())),
            ("groups of processes", begins(&groups(), &group)),
            ("the number", has_number),
            ("wires", begins(&interfaces, &wire)),
            ("routes", leads_to(&routes()?, number)),
            ("the bridge", counts && interfaces.iter().any(|name| name == BRIDGE)),
        ];
        Ok(places.into_iter().filter_map(|(place, is_there)| is_there.then_some(place)).collect())
    }

    pub async fn are_gone(&self) -> Result<()> {
        eventually("nothing is left of the cluster", async || Ok(self.found()?.is_empty().then_some(())))
            .await
            .with_context(|| format!("left of {}: {:?}", self.directory.display(), self.found()))
    }
}

/// What a folder holds that may not be there.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().map_while(Result::ok);
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Those at the root of the one hierarchy, or of each.
fn groups() -> Vec<String> {
    let mut groups = names_in(Path::new(GROUPS));
    let below: Vec<_> = groups.iter().flat_map(|name| names_in(&Path::new(GROUPS).join(name))).collect();
    groups.extend(below);
    groups
}

fn routes() -> Result<String> {
    fs::read_to_string("/proc/net/route").context("read the routes of this machine")
}

/// Pure. Whether one of these routes leads over the bridge to pods or services of the cluster with this number.
fn leads_to(routes: &str, number: u8) -> bool {
    routes.lines().any(|route| {
        let mut fields = route.split_whitespace();
        let (interface, network) = (fields.next(), fields.next());
        // Hexadecimal, of the bytes as they lie in memory.
        let network = network.and_then(|network| u32::from_str_radix(network, 16).ok());
        let third = network.map(|network| network.to_ne_bytes()[2]);
        interface == Some(BRIDGE) && third.is_some_and(|third| third / 16 == number)
    })
}

/// Those of all processes, each in its namespace.
fn mounts() -> Result<String> {
    let mut mounts = String::new();
    for process in fs::read_dir("/proc")?.map_while(Result::ok) {
        // A process may have ended by now.
        mounts.push_str(&fs::read_to_string(process.path().join("mountinfo")).unwrap_or_default());
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_of_the_cluster_to_whose_network_it_leads_over_the_bridge() {
        let table = |interface: &str, network: [u8; 4]| {
            let network = u32::from_ne_bytes(network);
            format!("Iface\tDestination\tGateway\n{interface}\t{network:08X}\t00000000\n")
        };
        let pods = table("keelson-tb", [10, 90, 40, 0]);
        assert!(leads_to(&pods, 2));
        assert!(!leads_to(&pods, 1) && !leads_to(&pods, 3), "of another cluster");
        assert!(leads_to(&table("keelson-tb", [10, 90, 32, 0]), 2), "services");
        assert!(!leads_to(&table("keelson-tb", [10, 90, 0, 0]), 2), "the nodes of all clusters");
        assert!(!leads_to(&table("eth0", [10, 90, 40, 0]), 2));
    }
}
