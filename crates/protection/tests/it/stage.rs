//! A platform in process on a real API server: what a test has to put there before, and what the controllers would do.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keelson_catalog::DataDirError;
use keelson_crypto::Passphrase;
use keelson_model::Clock;
use keelson_model::names::{DR_POLICY, DR_SECRET};
use keelson_protection::validation::{PolicyVerdict, validate_policy};
use keelson_protection::{OpenPlatformError, Platform, RecoveryBounds, Settings};
use keelson_repository::{Locked, Open, Repository, Unlock};
use keelson_resources::spec_hash;
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_store::{Store, StorePath};
use keelson_testkit::{Planes, ReusedPlane, eventually};
use keelson_workload::{Cluster, Kind, NamespacedName, Secret};
use serde_json::{Value, json};

pub(crate) const NAMESPACE: &str = "kasten-io";
pub(crate) const PASSPHRASE: &str = "a long enough phrase";

pub(crate) fn config(kind: &str, resource: &str) -> Kind {
    Kind::namespaced("config.kio.kasten.io/v1alpha1", kind, resource)
}

/// A control plane that knows our kinds and holds nothing else, for as long as no other test has it.
pub(crate) async fn take_plane() -> Result<ReusedPlane> {
    static PLANES: LazyLock<Planes> = LazyLock::new(Planes::default);
    PLANES.take(async |plane| define_kinds(&Cluster::from_client(plane.client().await?)).await).await
}

async fn define_kinds(cluster: &Cluster) -> Result<()> {
    for (_, definition) in keelson_resources::crd::crds() {
        cluster.apply_manifest(&definition).await?;
    }
    for (_, definition) in keelson_resources::crd::crds() {
        let name = definition["metadata"]["name"].as_str().context("a name")?;
        cluster.wait_established(name, Duration::from_secs(180)).await?;
    }
    Ok(())
}

pub(crate) async fn prepare(cluster: &Cluster) -> Result<()> {
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    cluster.apply_manifest(&namespace).await?;
    set_passphrase(cluster, PASSPHRASE).await
}

pub(crate) async fn set_passphrase(cluster: &Cluster, passphrase: &str) -> Result<()> {
    let at = NamespacedName::new(NAMESPACE, DR_SECRET);
    cluster.apply_secret(&Secret::opaque(at, [("key".to_owned(), passphrase.into())])).await?;
    Ok(())
}

pub(crate) fn settings(data: &Path, share: &Path) -> Settings {
    Settings {
        install_namespace: NAMESPACE.to_owned(),
        data: data.to_owned(),
        mounts: "/nowhere".into(),
        claims: BTreeMap::from([("share".to_owned(), share.to_owned())]),
        ownership_grace: Duration::from_secs(1),
        clock_difference_max: jiff::SignedDuration::MAX,
        quick_mode: false,
        recovery_bounds: RecoveryBounds::USUAL,
        passphrase_cost: keelson_protection::KdfCost::LOWEST,
        aws: keelson_protection::AwsEnvironment::default(),
    }
}

/// Another test that starts a process holds a copy of a volume's lock from its fork to its exec: a moment.
pub(crate) async fn open_platform(
    settings: Settings,
    cluster: Cluster,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Platform>> {
    eventually("the volume is let go of", async || {
        match Platform::open(settings.clone(), cluster.clone(), clock.clone()).await {
            Err(OpenPlatformError::DataDir { source: DataDirError::Locked { .. }, .. }) => Ok(None),
            opened => Ok(Some(opened?)),
        }
    })
    .await
}

/// Opens a repository that lies in a folder of this machine.
pub(crate) async fn open_repository(folder: &Path, phrase: &str) -> Result<Repository<Open>> {
    let passphrase = Arc::new(Passphrase::new(phrase.as_bytes().to_vec()));
    let store: Arc<dyn Store> = Arc::new(FilesystemStore::open(folder).await?);
    let locked = Repository::<Locked>::at(store, StorePath::root())?;
    Ok(locked.open(Unlock::Passphrase(&passphrase)).await?)
}

/// What the controllers would do. The profile is not probed: its share lives by another clock than this test.
pub(crate) async fn make_valid(platform: &Platform, kind: &Kind, object: &Value) -> Result<()> {
    let cluster = platform.cluster();
    let applied = cluster.apply_object(kind, object).await?;
    let name = applied["metadata"]["name"].as_str().context("a name")?;
    if kind.kind == "Policy" {
        let parsed =
            keelson_resources::policy::parse(&applied).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
        let verdict = validate_policy(platform, &parsed).await;
        ensure!(matches!(verdict, PolicyVerdict::Sound { .. }), "{verdict:?}");
    }
    let status = json!({ "validation": "Success", "hash": spec_hash(&applied["spec"]) });
    cluster.patch_status(kind, Some(NAMESPACE), name, &status).await?;
    Ok(())
}

pub(crate) fn profile() -> Value {
    json!({
        "apiVersion": "config.kio.kasten.io/v1alpha1", "kind": "Profile",
        "metadata": { "name": "vault", "namespace": NAMESPACE },
        "spec": { "type": "Location", "locationSpec": {
            "type": "FileStore", "fileStore": { "claimName": "share" } } },
    })
}

pub(crate) fn plain_policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "config.kio.kasten.io/v1alpha1", "kind": "Policy",
        "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec,
    })
}

pub(crate) fn policy() -> Value {
    json!({
        "apiVersion": "config.kio.kasten.io/v1alpha1", "kind": "Policy",
        "metadata": { "name": DR_POLICY, "namespace": NAMESPACE },
        "spec": {
            "frequency": "@hourly",
            "retention": { "hourly": 4, "daily": 1, "weekly": 1, "monthly": 1, "yearly": 1 },
            "selector": { "matchExpressions": [
                { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": [NAMESPACE] } ] },
            "actions": [{ "action": "backup", "backupParameters": {
                "filters": {}, "profile": { "name": "vault", "namespace": NAMESPACE } } }],
        },
    })
}
