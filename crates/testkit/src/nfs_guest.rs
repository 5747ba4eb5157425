//! A machine with a real NFS server and real NFS clients, for tests that need a network share.
//!
//! The host's kernel may have no NFS, and a test must not mount shares on it. So a test boots user-mode Linux on the
//! host's own root file system, mounted read-only (`testbed/nfs/init`), and runs *itself* inside, which takes about
//! three seconds. Everything it starts is in a pid namespace that goes with the guest.
//!
//! Without the guest's programs, or where the kernel lets no guest boot, the test is skipped and says why.

mod gate;
mod share;

use std::any::type_name_of_val;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, ensure};

pub use self::gate::Gate;
pub use self::share::{NfsVersion, Share};
use crate::notes::skip;
use crate::supervisor::{Program, Supervisor};

const INIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testbed/nfs/init");
const WHOLE_XSAVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testbed/nfs/whole_xsave.c");
/// Names the directory in which init finds what to run; only the guest has it.
const INSIDE: &str = "KEELSON_GUEST";
const KERNEL: &str = "linux.uml";
/// The guest calls the others, from the host's own file system.
const PROGRAMS: [&str; 8] =
    [KERNEL, "ip", "modprobe", "rpcbind", "exportfs", "rpc.mountd", "rpc.nfsd", "mount.nfs"];
const PROGRAM_FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const GUEST: &str = "guest";
const MEMORY: &str = "mem=512M";
/// From power on to power off. A guest that takes longer is killed.
const TIMEOUT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(100);
/// A guest that says this goes on for ever.
const PANIC: &str = "Kernel panic";

/// Runs `test`, the body of the test function that calls this, in a guest of its own.
pub fn in_nfs_guest<T: FnOnce(Share) -> Result<()>>(test: T) -> Result<()> {
    let name = name_of(&test)?;
    if env::var_os(INSIDE).is_some() {
        return test(Share);
    }
    if let Some(reason) = obstacle() {
        skip(&format!("no guest with NFS: {reason}"));
        return Ok(());
    }
    let log = boot(name)?;
    let said = |what: &str| log.lines().find_map(|line| Some(line.split_once(what)?.1.trim()));
    if said("keelson-guest: booted").is_none() {
        let reason = log.lines().find(|line| line.contains(PANIC)).unwrap_or_else(|| tail(&log));
        skip(&format!("no guest with NFS: it does not boot: {reason}"));
        return Ok(());
    }
    let passed = said("keelson-guest: ended") == Some("0") && log.contains("test result: ok. 1 passed");
    ensure!(passed, "in the guest:\n{log}");
    Ok(())
}

/// The path of the function around the closure `test`, as libtest knows it.
fn name_of<T>(test: &T) -> Result<&'static str> {
    let name = type_name_of_val(test).strip_suffix("::{{closure}}");
    let name = name.and_then(|name| Some(name.split_once("::")?.1));
    name.context("a test in a guest is a closure in its test function")
}

/// Why this machine cannot even try.
fn obstacle() -> Option<String> {
    // A guest has the rights of who starts it on every file, and servers inside change theirs.
    if !rustix::process::geteuid().is_root() {
        return Some("it takes root".to_owned());
    }
    let found = |name: &&str| PROGRAM_FOLDERS.iter().any(|folder| Path::new(folder).join(name).exists());
    let missing = PROGRAMS.into_iter().find(|name| !found(name))?;
    Some(format!("{missing} is missing, see scripts/prerequisites"))
}

/// Answers all that the guest said from power on to power off.
fn boot(test: &str) -> Result<String> {
    let mut supervisor = Supervisor::start("nfs-guest")?;
    let directory = supervisor.directory().to_owned();
    let program = env::current_exe().context("find the program of the tests")?;
    let words = [program.as_os_str(), "--exact".as_ref(), test.as_ref(), "--nocapture".as_ref()];
    let command: Vec<u8> = words.iter().flat_map(|word| word.as_bytes().iter().copied().chain([0])).collect();
    fs::write(directory.join("command"), command).context("write what the guest runs")?;

    supervisor.run(GUEST, &guest(&directory)?)?;
    let deadline = Instant::now() + TIMEOUT;
    let said = || -> Result<String> {
        // Not there yet, where the guest has not begun.
        let log = match fs::read(directory.join(format!("{GUEST}.log"))) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            log => log.context("read what the guest said")?,
        };
        Ok(String::from_utf8_lossy(&log).replace('\r', ""))
    };
    while supervisor.is_running(GUEST) {
        if Instant::now() > deadline || said()?.contains(PANIC) {
            supervisor.kill(GUEST)?;
        }
        thread::sleep(POLL);
    }
    said()
}

fn guest(directory: &Path) -> Result<Program> {
    let directory = directory.to_str().filter(|path| !path.contains(char::is_whitespace));
    let directory = directory.context("a guest needs a TMPDIR without spaces")?;
    // A guest's processes are the host's: in a pid namespace they all die with the first.
    let namespace = Program::new("unshare").args(["--pid", "--fork", "--kill-child"]);
    let init = fs::canonicalize(INIT).context("find the guest's init")?;
    let whole_xsave = format!("{directory}/whole_xsave.so");
    let compiler =
        Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o", &whole_xsave, WHOLE_XSAVE]).output();
    let compiled = compiler.context("run cc")?;
    ensure!(
        compiled.status.success(),
        "compile {WHOLE_XSAVE}: {}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let mut init_word = OsString::from("init=");
    init_word.push(init);
    Ok(namespace
        .arg(KERNEL)
        .args(["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", MEMORY, "quiet"])
        .args(["con=null", "con0=null,fd:1"])
        .arg(format!("uml_dir={directory}/"))
        .arg(format!("{INSIDE}={directory}"))
        .arg(init_word)
        .env("LD_PRELOAD", &whole_xsave)
        .env("TMPDIR", directory))
}

fn tail(log: &str) -> &str {
    log.trim_end().rsplit('\n').next().unwrap_or_default()
}
