//! Images without a network: what is imported into the nodes, those to come too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The image of pods that need no program of ours: busybox, with a shell. It is the sandbox of all pods too.
pub const BOX_IMAGE: &str = "localhost/keelson/box:1";

const MAKE_BOX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testbed/box");
/// In the cluster's directory; `node.bash` imports what lies there.
const FOLDER: &str = "images";

/// Makes the image that every cluster has.
pub(super) fn prepare(cluster: &Path) -> Result<()> {
    let folder = cluster.join(FOLDER);
    fs::create_dir_all(&folder).context("create the directory of images")?;
    let output = Command::new(MAKE_BOX).arg(folder.join("0.tar")).output().context("run testbed/box")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Keeps a copy of `archive`, an OCI layout or what `docker save` writes, for nodes to come and answers where it is.
pub(super) fn keep(cluster: &Path, archive: &Path) -> Result<PathBuf> {
    let folder = cluster.join(FOLDER);
    let images = fs::read_dir(&folder).context("list the images")?.count();
    let copy = folder.join(format!("{images}.tar"));
    fs::copy(archive, &copy).with_context(|| format!("copy the image {}", archive.display()))?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notes::skip;

    #[test]
    fn the_same_busybox_makes_the_same_image_whatever_the_umask() -> Result<()> {
        if !Path::new("/bin/busybox").exists() {
            skip("no image of busybox: /bin/busybox is missing, see scripts/prerequisites");
            return Ok(());
        }
        let folder = tempfile::tempdir()?;
        let image_under = |umask: &str| -> Result<Vec<u8>> {
            let archive = folder.path().join(umask);
            let mut script = Command::new("sh");
            script.args(["-c", r#"umask "$1" && exec "$2" "$3""#, "make", umask, MAKE_BOX]).arg(&archive);
            let output = script.output().context("run testbed/box")?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
            fs::read(&archive).context("read the image")
        };
        assert!(image_under("022")? == image_under("077")?, "they differ");
        Ok(())
    }
}
