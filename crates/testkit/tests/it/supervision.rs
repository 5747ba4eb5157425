//! However a test ends, no process, port or directory of its servers stays.

use std::env;
use std::fs;
use std::future::pending;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Error, Result};
use keelson_testkit::{ControlPlane, OwnedChild, Program, Supervisor, eventually, processes_in};
use rustix::process::{Pid, Signal, kill_process};

/// Set in a second process of this test binary, which is there to be killed.
const VICTIM: &str = "KEELSON_TESTKIT_VICTIM";

#[tokio::test]
async fn a_killed_test_process_leaves_no_process_port_or_directory() -> Result<()> {
    if env::var_os(VICTIM).is_some() {
        let plane = ControlPlane::start().await?;
        println!("{VICTIM} {} {}", plane.directory().display(), plane.url());
        pending::<()>().await;
    }
    let mut victim = Command::new(env::current_exe()?);
    victim
        .args(["--exact", "supervision::a_killed_test_process_leaves_no_process_port_or_directory"])
        .args(["--nocapture", "--quiet"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped());
    let mut victim = OwnedChild::spawn(&mut victim)?;
    let lines = BufReader::new(victim.stdout.take().context("take the victim's output")?).lines();
    // The harness prints no line end before a test's own output.
    let words = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once(&format!("{VICTIM} ")).map(|(_, words)| words.to_owned()))
        .context("the victim ended before its servers ran")?;
    let (directory, url) = words.split_once(' ').context("read the victim's line")?;
    let address: SocketAddr = url.trim_start_matches("https://").parse()?;
    assert!(TcpStream::connect(address).is_ok());
    assert_eq!(processes_in(Path::new(directory)).len(), 4, "a shell, etcd, API server, controller manager");

    victim.kill()?;
    victim.wait()?;
    nothing_is_left_of(directory.into(), address).await
}

#[tokio::test]
async fn a_panic_leaves_no_process_port_or_directory() -> Result<()> {
    let (supervisor, address) = start_server()?;
    let state = supervisor.directory().to_owned();
    let panicked = thread::spawn(move || {
        let _owned = supervisor;
        panic!("a test fails");
    });
    assert!(panicked.join().is_err());
    nothing_is_left_of(state, address).await
}

#[tokio::test]
async fn a_killed_supervisor_takes_its_programs_with_it() -> Result<()> {
    let (supervisor, address) = start_server()?;
    let state = supervisor.directory().to_owned();
    let shell = Pid::from_raw(i32::try_from(supervisor.id())?).context("read the shell's id")?;
    kill_process(shell, Signal::KILL)?;
    eventually("the program ends", async || Ok(TcpStream::connect(address).is_err().then_some(()))).await?;
    drop(supervisor);
    nothing_is_left_of(state, address).await
}

#[tokio::test]
async fn detached_programs_live_until_they_are_ended() -> Result<()> {
    let (supervisor, address) = start_server()?;
    let state = supervisor.directory().to_owned();
    let detached = supervisor.detach()?;
    assert!(detached.is_running());
    assert!(TcpStream::connect(address).is_ok());
    detached.end()?;
    assert!(!detached.is_running());
    detached.end().context("ending twice is no error")?;
    nothing_is_left_of(state, address).await
}

#[test]
fn what_is_supervised_is_its_owners_alone() -> Result<()> {
    let outer = Supervisor::start("supervision")?;
    let mut inner = Supervisor::start_in(outer.directory().join("state/inner"))?;
    inner.run("told", &Program::new("true").env("KEY", "secret"))?;
    let mode = |path: &Path| Ok::<_, Error>(fs::metadata(path)?.permissions().mode() & 0o777);
    assert_eq!((mode(outer.directory())?, mode(inner.directory())?), (0o700, 0o700));
    assert_eq!(mode(&inner.directory().join("told.argv"))?, 0o600);
    Ok(())
}

/// A small server of our own kind: this test binary is not one, etcd is.
fn start_server() -> Result<(Supervisor, SocketAddr)> {
    let mut supervisor = Supervisor::start("supervision")?;
    let (client, peer) = (keelson_testkit::free_port()?, keelson_testkit::free_port()?);
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let etcd = Program::new(keelson_testkit::testbed_program("etcd")?)
        .arg("--data-dir")
        .arg(supervisor.directory().join("data"))
        .arg(format!("--listen-client-urls={}", url(client)))
        .arg(format!("--advertise-client-urls={}", url(client)))
        .arg(format!("--listen-peer-urls={}", url(peer)))
        .arg(format!("--initial-advertise-peer-urls={}", url(peer)))
        .arg(format!("--initial-cluster=default={}", url(peer)));
    supervisor.run("etcd", &etcd)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, client));
    while TcpStream::connect(address).is_err() {
        anyhow::ensure!(supervisor.is_running("etcd"), "etcd ended:\n{}", supervisor.log_tail("etcd"));
        thread::yield_now();
    }
    Ok((supervisor, address))
}

async fn nothing_is_left_of(directory: PathBuf, address: SocketAddr) -> Result<()> {
    eventually("directory, processes and port are gone", async || {
        let gone = !directory.exists()
            && processes_in(&directory).is_empty()
            && TcpStream::connect(address).is_err();
        Ok(gone.then_some(()))
    })
    .await
}
