//! What every cluster of a scenario finds around it, at an address that its pods reach: the chart repository, and a bucket.
//! And the image, which is made once for each build of the program.

use std::fs::{self, File};
use std::net::{IpAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use keelson_testkit::{
    BucketProtection, Minio, Program, Supervisor, eventually, free_port_at, host_address, processes_in,
};

use crate::charts::write_repository;
use crate::stage::block_on;

pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
pub(super) const BUCKET: &str = "vault";
/// Below the bucket.
pub(super) const PATH: &str = "backups";
/// Of what it is given the digests, and then of each file below the folder of the authorities, all as one digest.
const DIGEST: &str = r#"{ sha256sum "$@" &&
find "$AUTHORITIES" -name '*.crt' -print0 | sort -z | xargs -0 -r sha256sum; } | sha256sum"#;
/// From where an image takes the authorities that it trusts.
const AUTHORITIES: &str = "/usr/share/ca-certificates";

pub(super) struct Scene {
    pub(super) host: IpAddr,
    /// An OCI layout in a tar.
    pub(super) image: PathBuf,
    /// Where `helm repo add` is sent, and below it the values files.
    pub(super) charts: String,
    pub(super) minio: Minio,
    own: Supervisor,
}

impl Scene {
    pub(super) fn set() -> Result<Self> {
        let host = host_address()?;
        let image = image()?;
        let mut own = Supervisor::start("scene")?;
        let charts = serve_charts(&mut own, host)?;
        let minio = block_on(Minio::start_at(host))?;
        block_on(minio.create_bucket(BUCKET, BucketProtection::None))?;
        Ok(Self { host, image, charts, minio, own })
    }

    /// A folder of its own, which everybody may write to and which is the same for all nodes of all clusters.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        // On the way to it others may look, too.
        let folder = self.own.directory().join(name);
        fs::create_dir(&folder).with_context(|| format!("create {}", folder.display()))?;
        fs::set_permissions(self.own.directory(), fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
        Ok(folder)
    }

    /// Every version of every key of a bucket.
    pub(super) fn versions(&self, bucket: &str) -> Result<Vec<Version>> {
        block_on(versions(&self.minio, bucket))
    }

    /// The bytes of one.
    pub(super) fn read(&self, bucket: &str, version: &Version) -> Result<Vec<u8>> {
        block_on(read(&self.minio, bucket, version)).with_context(|| format!("read {}", version.key))
    }

    /// The bucket's server keeps its connections and answers nobody until this is dropped.
    pub(super) fn freeze_minio(&self) -> Result<Frozen> {
        let is_minio = |process: &u32| {
            fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim() == "minio")
        };
        let found = processes_in(self.minio.directory()).into_iter().find(is_minio);
        let frozen = Frozen(found.context("MinIO does not run")?);
        signal(frozen.0, "STOP")?;
        Ok(frozen)
    }
}

/// One version of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) key: String,
    pub(super) id: String,
    /// In seconds since 1970.
    pub(super) written: i64,
}

async fn versions(minio: &Minio, bucket: &str) -> Result<Vec<Version>> {
    let client = minio.client();
    let (mut found, mut key, mut id) = (Vec::new(), None, None);
    loop {
        let page = client.list_object_versions().bucket(bucket);
        let page = page.set_key_marker(key.take()).set_version_id_marker(id.take()).send().await;
        let page = page.with_context(|| format!("list bucket {bucket}"))?;
        found.extend(page.versions().iter().filter_map(|version| {
            let written = version.last_modified.as_ref()?.secs();
            Some(Version { key: version.key()?.to_owned(), id: version.version_id()?.to_owned(), written })
        }));
        match page.is_truncated {
            Some(true) => (key, id) = (page.next_key_marker, page.next_version_id_marker),
            _ => return Ok(found),
        }
    }
}

async fn read(minio: &Minio, bucket: &str, version: &Version) -> Result<Vec<u8>> {
    let get = minio.client().get_object().bucket(bucket).key(&version.key).version_id(&version.id);
    Ok(get.send().await?.body.collect().await?.to_vec())
}

/// A process that does nothing.
pub(super) struct Frozen(u32);

impl Drop for Frozen {
    fn drop(&mut self) {
        // What comes after it notices.
        let _ = signal(self.0, "CONT");
    }
}

fn signal(process: u32, name: &str) -> Result<()> {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status()?;
    ensure!(sent.success(), "kill -{name} {process}");
    Ok(())
}

/// Makes the chart repository and hands it out.
fn serve_charts(own: &mut Supervisor, host: IpAddr) -> Result<String> {
    let folder = own.directory().join("charts");
    write_repository(&folder)?;
    let address = format!("{host}:{}", free_port_at(host)?);
    let server = Program::new("/bin/busybox").args(["httpd", "-f", "-p", &address, "-h"]).arg(&folder);
    own.run("httpd", &server)?;
    block_on(eventually("the charts are handed out", async || {
        ensure!(own.is_running("httpd"), "busybox httpd ended:\n{}", own.log_tail("httpd"));
        Ok(TcpStream::connect(&address).is_ok().then_some(()))
    }))?;
    Ok(format!("http://{address}"))
}

/// The image of the program that is tested. It takes a while to make, so it is kept beside the program, under the digest of
/// what it is made of; who comes second waits for who makes it.
fn image() -> Result<PathBuf> {
    let program = keelson_e2e::program()?;
    let folder = program.parent().context("a program lies in a folder")?.join("e2e-image");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let turn = File::create(folder.join(".turn")).context("take turns at the image")?;
    turn.lock().context("take turns at the image")?;
    let ingredients = ingredients(&program)?;
    let image = folder.join(format!("{}.tar", ingredients.digest));
    if !ingredients.are_all_known || !image.exists() {
        remove_images(&folder)?;
        let half = folder.join("half.tar");
        told(keelson_e2e::xtask()?.arg("image").arg("--program").arg(&program).arg("--output").arg(&half))?;
        fs::rename(&half, &image).context("keep the image")?;
    }
    Ok(image)
}

/// What an image is made of.
struct Ingredients {
    digest: String,
    /// Where the maker does not lie beside the program, cargo makes it anew, and nobody knows what it makes.
    are_all_known: bool,
}

/// Besides the program that is what makes it, which holds the files that are the same in each image, and the authorities.
fn ingredients(program: &Path) -> Result<Ingredients> {
    let maker = program.with_file_name("xtask");
    let are_all_known = maker.is_file();
    let files = [program, maker.as_path()].into_iter().take(1 + usize::from(are_all_known));
    let script = ["-o", "pipefail", "-c", DIGEST, "digest"];
    let digest = told(Command::new("bash").args(script).args(files).env("AUTHORITIES", AUTHORITIES))?;
    let digest = digest.split(' ').next().filter(|digest| !digest.is_empty());
    Ok(Ingredients { digest: digest.context("sha256sum says nothing")?.to_owned(), are_all_known })
}

/// Of other builds: each is as large as the program.
fn remove_images(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tar") {
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Runs a program to its end and answers what it wrote.
pub(super) fn told(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    String::from_utf8(output.stdout).with_context(|| format!("read the answer of {command:?}"))
}
