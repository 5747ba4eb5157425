//! What a test in the guest has at hand: the export, mounts of it, and its server's switches.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::ports::random_hex;

const ROOT: &str = "/run/share";
/// An answer is awaited for 2 s, then asked for again, then given up. A share for production is mounted `hard`.
const SOFT: &str = "soft,timeo=20,retrans=1";

/// Which protocol a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NfsVersion {
    Nfs3,
    Nfs42,
}

/// The export and its server.
#[derive(Debug, Clone, Copy)]
pub struct Share;

impl Share {
    pub const VERSIONS: [NfsVersion; 2] = [NfsVersion::Nfs3, NfsVersion::Nfs42];

    /// The export as its server sees it.
    pub fn export(self) -> PathBuf {
        Path::new(ROOT).join("export")
    }

    /// The mount that is there from the start: soft, with short timeouts.
    pub fn mounted(self, version: NfsVersion) -> PathBuf {
        Path::new(ROOT).join(match version {
            NfsVersion::Nfs3 => "v3",
            NfsVersion::Nfs42 => "v4",
        })
    }

    /// Mounts the export once more, as a client with caches of its own. `options` may name another port.
    pub fn mount(self, version: NfsVersion, options: &str) -> Result<PathBuf> {
        self.mount_folder("", version, options)
    }

    /// The same of a folder in the export, written `/folder`.
    pub fn mount_folder(self, folder: &str, version: NfsVersion, options: &str) -> Result<PathBuf> {
        let target = Path::new(ROOT).join(format!("mount-{}", random_hex::<4>()));
        fs::create_dir(&target)?;
        let (version, source) = match version {
            NfsVersion::Nfs3 => ("vers=3,nolock", format!("127.0.0.1:{ROOT}/export{folder}")),
            NfsVersion::Nfs42 => ("vers=4.2", format!("127.0.0.1:/{}", folder.trim_start_matches('/'))),
        };
        let options = format!("{version},proto=tcp,{SOFT},nosharecache,{options}");
        run("mount", &["-t", "nfs", "-o", &options, &source, &target.to_string_lossy()])?;
        Ok(target)
    }

    pub fn unmount(self, mounted: &Path) -> Result<()> {
        run("umount", &[&mounted.to_string_lossy()])
    }

    /// The server forgets its clients and refuses connections.
    pub fn stop_server(self) -> Result<()> {
        run("rpc.nfsd", &["0"])?;
        // Otherwise its clients of NFS 4 would have to claim what they hold first, and others wait for that.
        for client in fs::read_dir("/var/lib/nfs/v4recovery")? {
            fs::remove_dir(client?.path())?;
        }
        Ok(())
    }

    pub fn start_server(self) -> Result<()> {
        run("rpc.nfsd", &["2"])
    }

    /// Exports the directory anew, `ro` or `rw`.
    pub fn export_as(self, access: &str) -> Result<()> {
        let options = format!("{access},no_root_squash,fsid=0,insecure,no_subtree_check");
        run("exportfs", &["-o", &options, &format!("127.0.0.1:{ROOT}/export")])?;
        run("exportfs", &["-f"])
    }

    /// The export is no more, for clients that have it mounted too.
    pub fn unexport(self) -> Result<()> {
        run("exportfs", &["-u", &format!("127.0.0.1:{ROOT}/export")])?;
        run("exportfs", &["-f"])
    }

    /// How much the export's file system may hold.
    pub fn resize(self, size: &str) -> Result<()> {
        run("mount", &["-o", &format!("remount,size={size}"), &self.export().to_string_lossy()])
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let line = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output().with_context(|| line.clone())?;
    ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
