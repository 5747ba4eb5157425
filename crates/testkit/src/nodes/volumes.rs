//! The storage of a cluster: a default class whose volumes are made beforehand, so that nobody need run who makes them.
//!
//! Each is a folder of this machine, the same one from every node, as a disk on a network would be. Nobody holds it to its
//! size, and what a claim leaves behind is not used for another.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

/// The default class.
pub const STORAGE_CLASS: &str = "standard";

/// How often a claim of a cluster can be bound: for any number of pods, and for one at a time.
const SHARED: u8 = 32;
const EXCLUSIVE: u8 = 8;

pub(super) async fn prepare(client: &Client, cluster: &Path) -> Result<()> {
    let class = json!({
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": { "storageclass.kubernetes.io/is-default-class": "true" },
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate",
        "reclaimPolicy": "Retain",
    });
    let class: StorageClass = serde_json::from_value(class)?;
    let classes: Api<StorageClass> = Api::all(client.clone());
    classes.create(&PostParams::default(), &class).await.context("create the class of storage")?;
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    for number in 0..SHARED + EXCLUSIVE {
        // A volume that is for one pod at a time may not be anything else.
        let (name, modes) = match number < SHARED {
            true => (format!("shared-{number}"), vec!["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"]),
            false => (format!("exclusive-{}", number - SHARED), vec!["ReadWriteOncePod"]),
        };
        let folder = cluster.join("volumes").join(&name);
        fs::create_dir_all(&folder).with_context(|| format!("create the volume {name}"))?;
        // The group of a pod is not given to such a volume, so it is everybody's.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))
            .with_context(|| format!("open the volume {name}"))?;
        let volume = json!({
            "metadata": { "name": name },
            "spec": {
                "capacity": { "storage": "100Gi" },
                "accessModes": modes,
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": STORAGE_CLASS,
                "hostPath": { "path": folder, "type": "Directory" },
            },
        });
        let volume: PersistentVolume = serde_json::from_value(volume)?;
        volumes
            .create(&PostParams::default(), &volume)
            .await
            .with_context(|| format!("create volume {name}"))?;
    }
    Ok(())
}
