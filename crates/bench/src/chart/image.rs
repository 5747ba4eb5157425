//! How large an image is: as an archive that is carried, and unpacked as a node keeps it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ImageSize {
    pub(super) archive: u64,
    /// Of all layers, as the tar archives that they are.
    pub(super) unpacked: u64,
}

/// Measures the archive of an OCI layout.
pub(super) async fn measure(archive: &Path) -> Result<ImageSize> {
    let length = fs::metadata(archive).with_context(|| format!("read {}", archive.display()))?.len();
    let folder = tempfile::tempdir().context("make a folder for the image")?;
    let [extract, file, directory] = ["--extract", "--file", "--directory"].map(OsStr::new);
    run("tar", &[extract, file, archive.as_os_str(), directory, folder.path().as_os_str()]).await?;
    let index = json(&folder.path().join("index.json"))?;
    let manifest = json(&blob(folder.path(), &index["manifests"][0])?)?;
    let layers = manifest["layers"].as_array().context("the manifest names no layers")?;
    let mut unpacked = 0;
    for layer in layers {
        let file = blob(folder.path(), layer)?;
        let [decompress, stdout] = ["--decompress", "--stdout"].map(OsStr::new);
        // On the way to standard output it does not matter how the file is called.
        unpacked += run("gzip", &[decompress, stdout, file.as_os_str()]).await?.len() as u64;
    }
    Ok(ImageSize { archive: length, unpacked })
}

/// The file that a descriptor stands for.
fn blob(folder: &Path, descriptor: &Value) -> Result<PathBuf> {
    let digest = descriptor["digest"].as_str().context("a descriptor has no digest")?;
    let (algorithm, hash) = digest.split_once(':').context("a digest names no algorithm")?;
    Ok(folder.join("blobs").join(algorithm).join(hash))
}

fn json(file: &Path) -> Result<Value> {
    let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))
}

/// Runs a program to its end and returns what it wrote.
async fn run(program: &str, words: &[&OsStr]) -> Result<Vec<u8>> {
    let mut command = tokio::process::Command::new(program);
    let output = command.args(words).stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("run {program}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", complaint.trim());
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn succeed(command: &mut Command) -> Result<()> {
        ensure!(command.status()?.success(), "{command:?}");
        Ok(())
    }

    fn pack(layout: &Path, archive: &Path) -> Result<()> {
        let mut tar = Command::new("tar");
        succeed(tar.arg("--create").arg("--file").arg(archive).arg("--directory").arg(layout).arg("."))
    }

    #[tokio::test]
    async fn layers_are_counted_unpacked_and_the_archive_as_it_is() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let layout = folder.path().join("layout");
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        fs::write(layout.join("index.json"), r#"{"manifests":[{"digest":"sha256:m"}]}"#)?;
        fs::write(blobs.join("m"), r#"{"layers":[{"digest":"sha256:a"},{"digest":"sha256:b"}]}"#)?;
        for (name, bytes) in [("a", 100_000), ("b", 5)] {
            let plain = folder.path().join(name);
            fs::write(&plain, vec![7_u8; bytes])?;
            succeed(Command::new("gzip").arg(&plain))?;
            fs::rename(plain.with_extension("gz"), blobs.join(name))?;
        }
        let archive = folder.path().join("image.tar");
        pack(&layout, &archive)?;
        let measured = measure(&archive).await?;
        assert_eq!(measured, ImageSize { archive: fs::metadata(&archive)?.len(), unpacked: 100_005 });

        fs::write(layout.join("index.json"), "{}")?;
        pack(&layout, &archive)?;
        assert!(measure(&archive).await.is_err());
        Ok(())
    }
}
