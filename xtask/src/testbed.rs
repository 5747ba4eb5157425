//! `cargo xtask testbed`: a control plane or a whole cluster, and if wanted an S3 server, that stay until a person ends
//! them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use keelson_testkit::{
    BucketProtection, ControlPlane, Detached, Minio, NodeCluster, Nodes, host_address, testbed_program,
    write_private,
};
use serde::{Deserialize, Serialize};

/// What is written down beside the servers' directories.
const RECORD: &str = "testbed.json";
const BUCKET: &str = "keelson";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start etcd, kube-apiserver and kube-controller-manager on free ports; print how to reach them
    Up {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        extent: Extent,
    },
    /// Kill the servers and delete all they have written
    Down {
        #[command(flatten)]
        name: Name,
    },
    /// List what is up
    Status,
}

#[derive(Args)]
pub(crate) struct Name {
    /// Which test bed; several can be up side by side
    #[arg(long, default_value = "default")]
    name: String,
}

#[derive(Args, Clone, Copy)]
pub(crate) struct Extent {
    /// Start a whole cluster: a scheduler, and a node that runs pods. Takes root, and a machine which nobody else uses
    #[arg(long)]
    nodes: bool,
    /// Start an S3 server with a bucket too; with nodes, one that pods reach
    #[arg(long)]
    s3: bool,
}

/// A test bed that is up, or was.
#[derive(Serialize, Deserialize)]
struct Record {
    control_plane: Detached,
    url: String,
    kubeconfig: PathBuf,
    #[serde(default)]
    nodes: bool,
    s3: Option<S3>,
}

#[derive(Serialize, Deserialize)]
struct S3 {
    server: Detached,
    endpoint: String,
    access_key: String,
    secret_key: String,
}

pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Up { name, extent } => up(name, *extent)?,
        Command::Down { name } => down(name)?,
        Command::Status => status()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(name: &Name, extent: Extent) -> Result<()> {
    if let (true, Err(reason)) = (extent.nodes, Nodes::available()) {
        bail!(reason);
    }
    let folder = name.folder()?;
    let kubectl = testbed_program("kubectl")?;
    if let Some(record) = Record::read(&folder)? {
        ensure!(
            record.is_up(),
            "'{0}' has ended by itself; `down --name {0}` removes what it left",
            name.name
        );
        ensure!(
            record.s3.is_some() || !extent.s3,
            "'{0}' is up without S3; `down --name {0}` first",
            name.name
        );
        ensure!(
            record.nodes || !extent.nodes,
            "'{0}' is up without nodes; `down --name {0}` first",
            name.name
        );
        println!("'{}' is up already\n", name.name);
        record.print(&kubectl);
        return Ok(());
    }
    // Nothing recorded: what lies there is of a start that was interrupted, and its servers have gone with it.
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let runtime = tokio::runtime::Runtime::new().context("start a runtime")?;
    let record = runtime.block_on(start(name, &folder, extent))?;
    record.print(&kubectl);
    Ok(())
}

async fn start(name: &Name, folder: &Path, extent: Extent) -> Result<Record> {
    let minio = match extent {
        Extent { s3: false, .. } => None,
        Extent { nodes: false, .. } => Some(Minio::start_in(folder.join("s3")).await?),
        // The bridge is there for as long as the cluster is, which starts before we end.
        Extent { nodes: true, .. } => Some(Minio::start_in_at(folder.join("s3"), host_address()?).await?),
    };
    if let Some(minio) = &minio {
        minio.create_bucket(BUCKET, BucketProtection::None).await?;
    }
    let directory = folder.join("control-plane");
    let (control_plane, url, kubeconfig) = match extent.nodes {
        true => {
            let cluster = NodeCluster::start_in(&name.name, directory).await?;
            let (url, kubeconfig) = (cluster.url().to_owned(), cluster.kubeconfig().to_owned());
            (cluster.detach()?, url, kubeconfig)
        }
        false => {
            let plane = ControlPlane::start_in(directory).await?;
            let (url, kubeconfig) = (plane.url().to_owned(), plane.kubeconfig().to_owned());
            (plane.detach()?, url, kubeconfig)
        }
    };
    let record = match minio.map(S3::detach).transpose() {
        Ok(s3) => Record { control_plane, url, kubeconfig, nodes: extent.nodes, s3 },
        Err(error) => {
            control_plane.end()?;
            return Err(error);
        }
    };
    if let Err(error) = record.write(folder) {
        record.end()?;
        return Err(error);
    }
    Ok(record)
}

fn down(name: &Name) -> Result<()> {
    let folder = name.folder()?;
    let Some(record) = Record::read(&folder)? else {
        println!("'{}' is not up", name.name);
        return Ok(());
    };
    record.end()?;
    fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    println!("'{}' is down, nothing is left of it", name.name);
    Ok(())
}

fn status() -> Result<()> {
    let folder = state_folder()?;
    println!("{:<16} {:<6} {:<28} KUBECONFIG", "NAME", "STATE", "SERVER");
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(()) };
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let Some(record) = Record::read(&entry.path())? else { continue };
        let state = if record.is_up() { "up" } else { "ended" };
        let name = entry.file_name();
        let name = name.to_string_lossy();
        println!("{name:<16} {state:<6} {:<28} {}", record.url, record.kubeconfig.display());
        if let Some(s3) = &record.s3 {
            let state = if s3.server.is_running() { "up" } else { "ended" };
            println!("{:<16} {state:<6} {:<28}", "", s3.endpoint);
        }
    }
    Ok(())
}

impl Name {
    fn folder(&self) -> Result<PathBuf> {
        let fits = |character: char| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-'
        };
        if self.name.is_empty() || !self.name.chars().all(fits) {
            bail!("'{}' is no name for a test bed: use a-z, 0-9 and -", self.name);
        }
        Ok(state_folder()?.join(&self.name))
    }
}

/// Outside the tree, so that a clean checkout stays one.
fn state_folder() -> Result<PathBuf> {
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = match state {
        Some(state) => state,
        None => Path::new(&env::var_os("HOME").context("HOME is not set")?).join(".local/state"),
    };
    Ok(state.join("keelson/testbed"))
}

impl Record {
    fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(RECORD);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).map(Some).with_context(|| format!("read {}", path.display()))
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(RECORD);
        write_private(&path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("write {}", path.display()))
    }

    fn is_up(&self) -> bool {
        self.control_plane.is_running()
    }

    fn end(&self) -> Result<()> {
        self.control_plane.end()?;
        self.s3.as_ref().map_or(Ok(()), |s3| s3.server.end())
    }

    fn print(&self, kubectl: &Path) {
        println!("API server  {}", self.url);
        println!("logs        {}", self.control_plane.directory().display());
        println!("kubeconfig  {}", self.kubeconfig.display());
        if let Some(s3) = &self.s3 {
            println!("S3          {} bucket {BUCKET}", s3.endpoint);
            println!("            access key {} secret key {}", s3.access_key, s3.secret_key);
        }
        println!("kubectl     {}", kubectl.display());
        println!("\nexport KUBECONFIG={}", self.kubeconfig.display());
    }
}

impl S3 {
    fn detach(minio: Minio) -> Result<Self> {
        let (access_key, secret_key) = (minio.access_key().to_owned(), minio.secret_key().to_owned());
        let endpoint = minio.endpoint();
        Ok(Self { server: minio.detach()?, endpoint, access_key, secret_key })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_down_with_its_keys_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let server = json!({ "directory": "/nowhere", "shell": 1, "started": 1 });
        let s3 = json!({
            "server": server, "endpoint": "http://127.0.0.1:9", "access_key": "key", "secret_key": "secret",
        });
        let record = json!({
            "control_plane": server, "url": "https://127.0.0.1:9", "kubeconfig": "/nowhere/kubeconfig", "s3": s3,
        });
        let record: Record = serde_json::from_value(record).unwrap();
        record.write(folder.path()).unwrap();
        let mode = fs::metadata(folder.path().join(RECORD)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = Record::read(folder.path()).unwrap().unwrap();
        assert_eq!(read.s3.unwrap().secret_key, "secret");
    }
}
