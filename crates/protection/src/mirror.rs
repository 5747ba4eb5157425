//! Mirrors configuration from the cluster into the catalog, so that what is shipped always holds it.
//!
//! Profiles, policies and the Secrets that profiles name are rows, written on every change that the watches see.
//! Secrets are sealed under the catalog's key. While a recovery is not finished nothing is removed: the cluster does
//! not hold yet what the recovered catalog does.

use std::collections::{BTreeMap, HashSet};
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use keelson_catalog::{Change, Class, Database, Expect, Query, Row, RowKey, RowKind};
use keelson_model::names::DR_SECRET;
use keelson_workload::{ChangeKind, ConfigEvent, Kind, NamespacedName, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::identity::INSTANCE_SECRET;
use crate::kinds;
use crate::platform::{Platform, commit};
use crate::recovery;

const ACTOR: &str = "mirror";
const PAGE: usize = 500;

/// A mirrored Secret. Values are sealed one by one, each in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MirroredSecret {
    #[serde(rename = "type")]
    pub secret_type: String,
    /// Hex, sealed under the catalog key.
    pub data: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The context under which one value of a Secret is sealed.
pub(crate) fn secret_context(namespace: &str, name: &str, key: &str) -> Vec<u8> {
    format!("secrets/{namespace}/{name}/{key}").into_bytes()
}

pub(crate) async fn run_mirror(platform: Arc<Platform>, stop: CancellationToken) {
    let namespace = platform.settings.install_namespace.clone();
    let configuration = platform.cluster.watch(vec![kinds::profile(), kinds::policy()], None);
    let secrets = platform.cluster.watch(vec![secret_kind()], Some(&namespace));
    let mut events = pin!(futures::stream::select(configuration, secrets));
    let mut seen: BTreeMap<String, HashSet<String>> = BTreeMap::new();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = stop.cancelled() => return,
        };
        match event {
            None => return,
            Some(Err(error)) => {
                debug!(error = &error as &dyn std::error::Error, "the watch of configuration was interrupted")
            }
            Some(Ok(event)) => take(&platform, &namespace, event, &mut seen).await,
        }
    }
}

async fn take(
    platform: &Platform,
    install_namespace: &str,
    event: ConfigEvent,
    seen: &mut BTreeMap<String, HashSet<String>>,
) {
    let Some(row_kind) = row_kind(&event.kind) else {
        if event.change == ChangeKind::Applied
            && let Err(error) = refresh_secret(platform, install_namespace, &event.name).await
        {
            warn!(error = &*error, name = event.name, "a changed Secret could not be mirrored");
        }
        return;
    };
    let known = seen.entry(row_kind.to_string()).or_default();
    let result = match event.change {
        ChangeKind::Restarted => {
            known.clear();
            Ok(())
        }
        ChangeKind::Applied => {
            known.insert(format!("{}/{}", event.namespace, event.name));
            mirror_object(platform, install_namespace, row_kind, &event).await
        }
        ChangeKind::Deleted => {
            known.remove(&format!("{}/{}", event.namespace, event.name));
            remove(platform, row_kind, |key| key.namespace == event.namespace && key.name == event.name).await
        }
        ChangeKind::Listed => {
            let known = known.clone();
            remove(platform, row_kind, |key| !known.contains(&format!("{}/{}", key.namespace, key.name)))
                .await
        }
    };
    if let Err(error) = result {
        warn!(
            error = &*error,
            kind = event.kind.kind,
            name = event.name,
            "configuration could not be mirrored"
        );
    }
}

type MirrorResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn row_kind(kind: &Kind) -> Option<RowKind> {
    match kind.kind.as_str() {
        "Profile" => Some(kinds::profiles()),
        "Policy" => Some(kinds::policies()),
        _ => None,
    }
}

async fn mirror_object(
    platform: &Platform,
    install_namespace: &str,
    kind: RowKind,
    event: &ConfigEvent,
) -> MirrorResult {
    let catalog = platform.catalog()?;
    let mut changes = Vec::new();
    if event.kind.kind == "Profile" {
        changes.extend(secret_of(platform, install_namespace, &event.object).await?);
    }
    let created = event.object["metadata"]["creationTimestamp"].as_str().and_then(|text| text.parse().ok());
    let row = Row {
        kind,
        namespace: event.namespace.clone(),
        name: event.name.clone(),
        uid: event.uid.clone(),
        labels: event.labels.clone(),
        created: created.unwrap_or_else(|| platform.clock.now()),
        class: Class::Configuration,
        body: serde_json::to_vec(&kept(&event.object))?,
    };
    if !is_current(&catalog, &row)? {
        changes.push(Change::Put { row, expect: Expect::Any });
    }
    if changes.is_empty() {
        return Ok(());
    }
    commit(&catalog, ACTOR, changes).await?;
    Ok(())
}

/// A put of the same row would be an entry that says nothing.
fn is_current(catalog: &Database, row: &Row) -> Result<bool, keelson_catalog::ReadError> {
    let stored = catalog.read(&row.key())?;
    Ok(stored.is_some_and(|stored| stored.row.body == row.body && stored.row.labels == row.labels))
}

/// What of an object is its user's: specification, labels, annotations; and whether it was found valid.
fn kept(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut annotations = metadata["annotations"].clone();
    if let Some(map) = annotations.as_object_mut() {
        map.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    json!({
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": metadata["labels"],
            "annotations": annotations,
        },
        "spec": object["spec"],
        "status": {
            "validation": object["status"]["validation"],
            "error": object["status"]["error"],
            "hash": object["status"]["hash"],
        },
    })
}

/// The object that a mirrored row holds.
pub(crate) fn object_of(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

/// The Secret that a profile names, as a row. Only Secrets of the install namespace are ours to keep.
async fn secret_of(
    platform: &Platform,
    install_namespace: &str,
    profile: &Value,
) -> Result<Option<Change>, Box<dyn std::error::Error + Send + Sync>> {
    let spec = &profile["spec"];
    let credential = [&spec["locationSpec"]["credential"], &spec["infra"]["credential"]]
        .into_iter()
        .find_map(|credential| credential["secret"]["name"].as_str())
        .filter(|name| !name.is_empty());
    let Some(name) = credential else { return Ok(None) };
    if [DR_SECRET, INSTANCE_SECRET].contains(&name) {
        return Ok(None);
    }
    sealed_change(platform, install_namespace, name).await
}

fn secret_kind() -> Kind {
    Kind::namespaced("v1", "Secret", "secrets")
}

/// A Secret that a profile named when it was last seen is mirrored already, and changes with the original.
async fn refresh_secret(platform: &Platform, install_namespace: &str, name: &str) -> MirrorResult {
    let catalog = platform.catalog()?;
    let key = RowKey::new(kinds::secrets(), install_namespace, name);
    if catalog.read(&key)?.is_none() {
        return Ok(());
    }
    if let Some(change) = sealed_change(platform, install_namespace, name).await? {
        commit(&catalog, ACTOR, vec![change]).await?;
    }
    Ok(())
}

/// The row of a Secret as it is now; none where it is absent, not ours to keep, or mirrored as it is.
async fn sealed_change(
    platform: &Platform,
    install_namespace: &str,
    name: &str,
) -> Result<Option<Change>, Box<dyn std::error::Error + Send + Sync>> {
    let at = NamespacedName::new(install_namespace, name);
    let Some(secret) = platform.cluster.read_secret(&at).await? else { return Ok(None) };
    if secret.secret_type.starts_with("helm.sh/")
        || secret.secret_type == "kubernetes.io/service-account-token"
    {
        return Ok(None);
    }
    let catalog = platform.catalog()?;
    let key = RowKey::new(kinds::secrets(), install_namespace, name);
    if let Some(stored) = catalog.read(&key)?
        && opens_to(platform, &stored.row, &secret)
    {
        return Ok(None);
    }
    Ok(Some(Change::Put {
        row: seal_secret(platform, key, &secret, platform.clock.now())?,
        expect: Expect::Any,
    }))
}

fn seal_secret(
    platform: &Platform,
    key: RowKey,
    secret: &Secret,
    now: Timestamp,
) -> Result<Row, Box<dyn std::error::Error + Send + Sync>> {
    let data = platform.with_catalog_key(|sealing| {
        let seal = |(field, value): (&String, &zeroize::Zeroizing<Vec<u8>>)| {
            let context = secret_context(&key.namespace, &key.name, field);
            (field.clone(), hex::encode(sealing.seal_field(&context, value)))
        };
        secret.data.iter().map(seal).collect()
    })?;
    let mirrored =
        MirroredSecret { secret_type: secret.secret_type.clone(), data, labels: secret.labels.clone() };
    Ok(Row {
        kind: key.kind.clone(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        uid: secret.uid.clone(),
        labels: BTreeMap::new(),
        created: now,
        class: Class::Configuration,
        body: serde_json::to_vec(&mirrored)?,
    })
}

/// Sealing is random, so an unchanged Secret is told by opening what is stored.
fn opens_to(platform: &Platform, row: &Row, secret: &Secret) -> bool {
    let Ok(mirrored) = serde_json::from_slice::<MirroredSecret>(&row.body) else { return false };
    if mirrored.secret_type != secret.secret_type || !mirrored.data.keys().eq(secret.data.keys()) {
        return false;
    }
    match open_secret(platform, &row.namespace, &row.name, &mirrored) {
        Some(data) => {
            data.iter().all(|(key, value)| secret.data.get(key).is_some_and(|known| **known == **value))
        }
        None => false,
    }
}

/// The values of a mirrored Secret.
pub(crate) fn open_secret(
    platform: &Platform,
    namespace: &str,
    name: &str,
    mirrored: &MirroredSecret,
) -> Option<BTreeMap<String, zeroize::Zeroizing<Vec<u8>>>> {
    let open_all = |sealing: &keelson_crypto::CatalogKey| {
        let open = |(field, sealed): (&String, &String)| {
            let bytes = hex::decode(sealed).ok()?;
            let plain = sealing.open_field(&secret_context(namespace, name, field), &bytes).ok()?;
            Some((field.clone(), plain))
        };
        mirrored.data.iter().map(open).collect()
    };
    platform.with_catalog_key(open_all).ok()?
}

/// Removes rows of objects that are gone from the cluster. Their Secrets go with the last profile that names them.
async fn remove(platform: &Platform, kind: RowKind, is_gone: impl Fn(&RowKey) -> bool) -> MirrorResult {
    if recovery::is_unfinished(platform) {
        return Ok(());
    }
    let catalog = platform.catalog()?;
    let mut query = Query::all(kind, PAGE);
    loop {
        let page = catalog.list(&query)?;
        let gone: Vec<Change> =
            page.rows.iter().map(|row| row.row.key()).filter(&is_gone).map(Change::delete).collect();
        if !gone.is_empty() {
            commit(&catalog, ACTOR, gone).await?;
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(()),
        }
    }
}
