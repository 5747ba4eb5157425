//! The way to the bucket is TLS, and no system knows who signed its certificate: the chart is told of that authority. A part of
//! a story, whose backups and restores all go that way.

use anyhow::{Context, Result, ensure};
use keelson_testkit::TlsFront;
use serde_json::json;

use super::installation::Cluster;
use super::scene::{BUCKET, Scene};
use super::typed::{AUTHORITIES, extended, with};
use crate::stage::{NAMESPACE, block_on, profile};

/// Another way to the bucket of all stories.
pub(super) fn open_front(scene: &Scene) -> Result<TlsFront> {
    block_on(TlsFront::open(&scene.minio.endpoint(), scene.host))
}

/// A fresh platform with the Secret and the profile, which leads to the bucket by way of `front`.
pub(super) fn begins_behind(cluster: &Cluster<'_>, front: &TlsFront, more: &str) -> Result<()> {
    cluster.makes_namespace()?;
    cluster.makes_passphrase()?;
    cluster.types("$ printf '%s' '<pem>' >custom-ca-bundle.pem", &[("pem", front.authority())])?;
    cluster.types(AUTHORITIES, &[])?;
    cluster.installs(&extended(with::AUTHORITIES, more))?;
    cluster.makes_profile_of("vault", BUCKET, &json!({ "endpoint": front.endpoint() }))
}

/// The same platform does not believe who has a certificate of yet another authority, and says what is wrong.
pub(super) fn believes_no_stranger(scene: &Scene, cluster: &Cluster<'_>) -> Result<()> {
    let stranger = open_front(scene)?;
    let vault = cluster.get(&["profile", "vault", "-n", NAMESPACE])?.context("the profile is gone")?;
    let mut spec = vault["spec"].clone();
    spec["locationSpec"]["objectStore"]["endpoint"] = stranger.endpoint().into();
    cluster.apply(&profile("stranger", &spec))?;
    let refused = cluster.until("a stranger is refused", || {
        let profile = cluster.get(&["profile", "stranger", "-n", NAMESPACE])?;
        Ok(profile.filter(|profile| profile["status"]["validation"] == "Failed"))
    })?;
    let told = refused["status"]["error"].to_string();
    ensure!(told.contains("its certificate was not accepted"), "{told}");
    cluster.kubectl(&["delete", "profile", "stranger", "-n", NAMESPACE, "--timeout=2m"], "").map(drop)
}
