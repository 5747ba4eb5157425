//! Free ports and random names for servers that tests start side by side.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Mutex;

use anyhow::{Context, Result};
use rustix::rand::{GetRandomFlags, getrandom};

/// Below the range from which the kernel takes ports for outgoing connections, so that none of those can slip in
/// between our look and the server's bind.
const FIRST_PORT: u16 = 10_240;
const PORTS: u16 = 22_000;
const ATTEMPTS: usize = 1_000;

/// Ports handed out by this process and perhaps not bound yet.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port of 127.0.0.1 that nobody listens on and that this process has not handed out before.
pub fn free_port() -> Result<u16> {
    free_port_at(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The same at another address of this machine.
pub(crate) fn free_port_at(address: IpAddr) -> Result<u16> {
    let mut taken = TAKEN.lock().map_err(|_| anyhow::anyhow!("a thread panicked while it chose a port"))?;
    (0..ATTEMPTS)
        .map(|_| FIRST_PORT + u16::from_le_bytes(random()) % PORTS)
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
