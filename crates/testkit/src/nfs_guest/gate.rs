//! Between NFS clients and their server: passes everything on, until it is told to lose the server's answers.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const NFS_PORT: u16 = 2049;
const PATIENCE: Duration = Duration::from_secs(60);
const BUFFER_BYTES: usize = 128 << 10;

/// A port that leads to the server. Its threads live as long as the guest.
#[derive(Debug, Clone)]
pub struct Gate {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// A request with these bytes is passed on; no answer is, from then on.
    trigger: Option<Vec<u8>>,
    losing: bool,
    connections: Vec<TcpStream>,
}

impl Gate {
    pub fn open() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("open a port for clients")?;
        let gate = Self { port: listener.local_addr()?.port(), shared: Arc::default() };
        let shared = Arc::clone(&gate.shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that is away refuses; so does the gate, by closing.
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, NFS_PORT)) {
                    let _ = shared.connect(client, server);
                }
            }
        });
        Ok(gate)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Loses every answer from the request on that holds these bytes.
    pub fn lose_answers_from(&self, request: &str) {
        self.shared.lock().trigger = Some(request.as_bytes().to_vec());
    }

    /// Returns when that request has been passed on.
    pub fn wait_until_losing(&self) -> Result<()> {
        let waited =
            self.shared.changed.wait_timeout_while(self.shared.lock(), PATIENCE, |state| !state.losing);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        ensure!(state.losing, "no client has sent the request whose answer was to be lost");
        Ok(())
    }

    /// Breaks all connections and passes everything on again: clients connect anew and repeat their requests.
    pub fn reconnect(&self) {
        let mut state = self.shared.lock();
        state.losing = false;
        for connection in state.connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(self: &Arc<Self>, client: TcpStream, server: TcpStream) -> io::Result<()> {
        self.lock().connections.extend([client.try_clone()?, server.try_clone()?]);
        let (requests_from, requests_to) = (client.try_clone()?, server.try_clone()?);
        let shared = Arc::clone(self);
        thread::spawn(move || relay(requests_from, requests_to, |read| shared.look_at_request(read)));
        let shared = Arc::clone(self);
        thread::spawn(move || relay(server, client, |_| !shared.lock().losing));
        Ok(())
    }

    fn look_at_request(&self, seen: &[u8]) -> bool {
        let mut state = self.lock();
        let found = state
            .trigger
            .as_ref()
            .is_some_and(|trigger| seen.windows(trigger.len()).any(|window| window == &trigger[..]));
        if found {
            state.trigger = None;
            state.losing = true;
            self.changed.notify_all();
        }
        true
    }
}

/// Passes on what `passes` lets through; ends with the first broken side and breaks the other.
fn relay(mut from: TcpStream, mut to: TcpStream, mut passes: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if passes(&buffer[..read]) && to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
