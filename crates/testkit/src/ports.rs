//! Free ports and random names for servers that tests start side by side.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Mutex, OnceLock};

use anyhow::{Context, Result};
use rustix::rand::{GetRandomFlags, getrandom};

/// Below the range from which the kernel takes ports for outgoing connections, so that none of those can slip in
/// between our look and the server's bind.
const FIRST_PORT: u16 = 10_240;
/// More than the longest suite asks for.
const PORTS_OF_A_PROCESS: u16 = 2_000;
const PROCESSES: u16 = 11;
const ATTEMPTS: usize = 1_000;

/// Ports handed out by this process and perhaps not bound yet.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// The ports from which this process takes, which no other takes from while it lives: between our look and the server's
/// bind, a test of another suite looks too. Where many run, those who come late take from all.
fn own_ports() -> Range<u16> {
    static OWN: OnceLock<Option<(u16, UnixListener)>> = OnceLock::new();
    let own = OWN.get_or_init(|| (0..PROCESSES).find_map(|number| Some((number, hold(number)?))));
    let ports = |number: u16| FIRST_PORT + number * PORTS_OF_A_PROCESS;
    match own {
        Some((number, _)) => ports(*number)..ports(number + 1),
        None => ports(0)..ports(PROCESSES),
    }
}

/// A name that the kernel gives to one socket at a time, and takes back however its process ends.
fn hold(number: u16) -> Option<UnixListener> {
    let name = format!("keelson-testkit-ports-{number}");
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).ok()?).ok()
}

/// A port of 127.0.0.1 that nobody listens on and that this process has not handed out before.
pub fn free_port() -> Result<u16> {
    free_port_at(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The same at another address of this machine, where other ports may be taken than on loopback.
pub fn free_port_at(address: IpAddr) -> Result<u16> {
    let mut taken = TAKEN.lock().map_err(|_| anyhow::anyhow!("a thread panicked while it chose a port"))?;
    let own = own_ports();
    let ports = own.end - own.start;
    (0..ATTEMPTS)
        .map(|_| own.start + u16::from_le_bytes(random()) % ports)
        .find(|port| TcpListener::bind((address, *port)).is_ok() && taken.insert(*port))
        .with_context(|| format!("find a free port of {address}"))
}

/// `N` random bytes in hexadecimal, for names and passwords that live as long as a test.
pub fn random_hex<const N: usize>() -> String {
    random::<N>().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = getrandom(&mut bytes[..], GetRandomFlags::empty());
    assert!(matches!(filled, Ok(n) if n == N), "the kernel gives up to 256 random bytes in one call");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_a_process_are_nobody_elses_while_it_lives() -> Result<()> {
        let number = PROCESSES + u16::try_from(std::process::id() % 10_000)?;
        let held = hold(number).context("hold what nobody holds")?;
        assert!(hold(number).is_none());
        drop(held);
        assert!(hold(number).is_some());
        let own = own_ports();
        assert!(own.contains(&free_port()?));
        Ok(())
    }
}
