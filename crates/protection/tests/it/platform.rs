//! A platform on a real API server, with shares that are folders.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use keelson_model::ManualClock;
use keelson_model::names::DR_SECRET;
use keelson_protection::{KdfCost, Platform, RecoveryBounds, Settings};
use keelson_resources::spec_hash;
use keelson_testkit::ReusedPlane;
use keelson_workload::{Cluster, Kind, NamespacedName, Secret};
use serde_json::{Value, json};

use crate::stage::{open_platform, take_plane};

pub(crate) const NAMESPACE: &str = "kasten-io";

/// What outlives a process of the platform.
pub(crate) struct Site {
    pub plane: ReusedPlane,
    pub data: tempfile::TempDir,
    pub share: tempfile::TempDir,
}

impl Site {
    pub(crate) async fn start() -> Result<Self> {
        let site =
            Self { plane: take_plane().await?, data: tempfile::tempdir()?, share: tempfile::tempdir()? };
        let cluster = site.cluster().await?;
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
        cluster.apply_manifest(&namespace).await?;
        site.make_profile("vault", "share").await?;
        Ok(site)
    }

    pub(crate) async fn cluster(&self) -> Result<Cluster> {
        Ok(Cluster::from_client(self.plane.client().await?))
    }

    pub(crate) async fn make_profile(&self, name: &str, claim: &str) -> Result<()> {
        let kind = Kind::namespaced("config.kio.kasten.io/v1alpha1", "Profile", "profiles");
        let profile = json!({
            "apiVersion": "config.kio.kasten.io/v1alpha1", "kind": "Profile",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": { "type": "Location", "locationSpec": {
                "type": "FileStore", "fileStore": { "claimName": claim } } },
        });
        let cluster = self.cluster().await?;
        let applied: Value = cluster.apply_object(&kind, &profile).await?;
        let status = json!({ "validation": "Success", "hash": spec_hash(&applied["spec"]) });
        cluster.patch_status(&kind, Some(NAMESPACE), name, &status).await?;
        Ok(())
    }

    pub(crate) async fn set_passphrases(&self, data: &[(&str, &str)]) -> Result<()> {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
        self.set_secret(DR_SECRET, data.collect()).await
    }

    /// Replaces it: server-side apply takes away the keys that are not there any more.
    pub(crate) async fn set_secret(&self, name: &str, data: Vec<(String, Vec<u8>)>) -> Result<()> {
        let at = NamespacedName::new(NAMESPACE, name);
        self.cluster().await?.apply_secret(&Secret::opaque(at, data)).await?;
        Ok(())
    }

    /// A process of the platform, without its services.
    pub(crate) async fn open(&self) -> Result<Arc<Platform>> {
        self.open_on(self.data.path()).await
    }

    pub(crate) async fn open_on(&self, data: &Path) -> Result<Arc<Platform>> {
        let settings = Settings {
            install_namespace: NAMESPACE.to_owned(),
            data: data.to_owned(),
            mounts: "/nowhere".into(),
            claims: BTreeMap::from([("share".to_owned(), self.share.path().to_owned())]),
            ownership_grace: std::time::Duration::from_secs(60),
            clock_difference_max: jiff::SignedDuration::MAX,
            quick_mode: false,
            recovery_bounds: RecoveryBounds::USUAL,
            passphrase_cost: KdfCost::LOWEST,
            aws: keelson_protection::AwsEnvironment::default(),
        };
        let clock = Arc::new(ManualClock::new("2026-03-04T09:30:00Z".parse()?));
        open_platform(settings, self.cluster().await?, clock).await
    }
}
