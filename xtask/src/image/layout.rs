//! Layer, configuration, manifest and index: an image as the OCI specifications of images 1.1 lay it out.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::elf::Architecture;
use crate::archive::{Archive, gzip, sha256};

/// What a pod runs as; /etc/passwd in the image knows it.
const USER: &str = "1000:1000";
const ENTRYPOINT: &str = "/keelson";
/// Images of the same content are the same, whenever they are made.
const CREATED: &str = "1970-01-01T00:00:00Z";
const TITLE: &str = "Keelson";
const DESCRIPTION: &str = "Backs up the applications of a Kubernetes cluster, and itself";

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIGURATION: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image that is complete.
pub(super) struct Image {
    /// `oci-layout`, `index.json` and the blobs.
    pub(super) layout: Archive,
    /// That of the manifest, by which the image is pulled and pinned.
    pub(super) digest: String,
    pub(super) packed_bytes: usize,
    pub(super) unpacked_bytes: usize,
}

struct Blob {
    kind: &'static str,
    digest: String,
    content: Vec<u8>,
}

impl Blob {
    fn new(kind: &'static str, content: Vec<u8>) -> Self {
        Self { kind, digest: format!("sha256:{}", sha256(&content)), content }
    }

    fn of_json(kind: &'static str, value: &Value) -> Result<Self> {
        Ok(Self::new(kind, serde_json::to_vec(value).with_context(|| format!("write the {kind}"))?))
    }

    fn descriptor(&self) -> Value {
        json!({ "digest": self.digest, "mediaType": self.kind, "size": self.content.len() })
    }
}

/// The image whose only layer holds `files`, which is called `name` wherever the archive is imported.
pub(super) fn assemble(files: &Archive, architecture: Architecture, name: &str) -> Result<Image> {
    let tar = files.to_tar()?;
    let unpacked_bytes = tar.len();
    let configuration = Blob::of_json(CONFIGURATION, &configuration(&sha256(&tar), architecture))?;
    let layer = Blob::new(LAYER, gzip(&tar)?);
    let manifest = json!({
        "config": configuration.descriptor(),
        "layers": [layer.descriptor()],
        "mediaType": MANIFEST,
        "schemaVersion": 2,
    });
    let manifest = Blob::of_json(MANIFEST, &manifest)?;
    let index = serde_json::to_vec(&index(&manifest, architecture, name)).context("write the index")?;

    let (digest, packed_bytes) = (manifest.digest.clone(), layer.content.len());
    let mut layout = Archive::default();
    layout.add_file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())?;
    layout.add_file("index.json", 0o644, index)?;
    for blob in [configuration, layer, manifest] {
        layout.add_file(&format!("blobs/{}", blob.digest.replace(':', "/")), 0o644, blob.content)?;
    }
    Ok(Image { layout, digest, packed_bytes, unpacked_bytes })
}

fn configuration(layer_sha256: &str, architecture: Architecture) -> Value {
    json!({
        "architecture": architecture.name(),
        "config": {
            "Entrypoint": [ENTRYPOINT],
            "Labels": {
                "org.opencontainers.image.description": DESCRIPTION,
                "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
                "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
                "org.opencontainers.image.title": TITLE,
                "org.opencontainers.image.url": env!("CARGO_PKG_REPOSITORY"),
                "org.opencontainers.image.vendor": TITLE,
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
            },
            "User": USER,
            "WorkingDir": "/",
        },
        "created": CREATED,
        "history": [{ "created": CREATED, "created_by": "cargo xtask image" }],
        "os": "linux",
        "rootfs": { "diff_ids": [format!("sha256:{layer_sha256}")], "type": "layers" },
    })
}

/// containerd takes the name of what it imports from the annotation of its own; others know the tag.
fn index(manifest: &Blob, architecture: Architecture, name: &str) -> Value {
    let mut descriptor = manifest.descriptor();
    descriptor["annotations"] = json!({
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": env!("CARGO_PKG_VERSION"),
    });
    descriptor["platform"] = json!({ "architecture": architecture.name(), "os": "linux" });
    json!({ "manifests": [descriptor], "mediaType": INDEX, "schemaVersion": 2 })
}
