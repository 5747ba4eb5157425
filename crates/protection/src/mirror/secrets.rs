//! Secrets that profiles and Passkeys name, as rows: every value sealed under the catalog's key, each in its place.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keelson_catalog::{Change, Class, Database, Expect, Row, RowKey};
use keelson_crypto::{CatalogKey, Sha256};
use keelson_workload::{Kind, NamespacedName, Secret};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{ACTOR, Held, MirrorError};
use crate::digest;
use crate::kinds;
use crate::platform::{Platform, commit};

/// A mirrored Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MirroredSecret {
    #[serde(rename = "type")]
    pub secret_type: String,
    /// Hex, sealed under the catalog key.
    pub data: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

pub(super) fn kind() -> Kind {
    Kind::namespaced("v1", "Secret", "secrets")
}

/// Writes a Secret of the install namespace as it is now. One that is absent stays as it was.
pub(super) async fn mirror(
    platform: &Platform,
    catalog: &Database,
    name: &str,
    held: Option<&mut Held>,
) -> Result<(), MirrorError> {
    let at = NamespacedName::new(&platform.settings.install_namespace, name);
    let read = platform.cluster.read_secret(&at).await;
    let secret = read.map_err(|source| MirrorError::ReadSecret { name: name.to_owned(), source })?;
    let Some(secret) = secret.filter(is_kept) else { return Ok(()) };
    let key = RowKey::new(kinds::secrets(), &*platform.settings.install_namespace, name);
    let keeps = held.is_some_and(|held| held.is_as_it_was(key.clone(), digest_of(&secret)));
    let stored = catalog.read(&key).map_err(|source| MirrorError::Read { source })?;
    if stored.is_some_and(|stored| keeps || opens_to(platform, &stored.row, &secret)) {
        return Ok(());
    }
    let row = seal(platform, key, &secret, platform.clock.now())?;
    let change = Change::Put { row, expect: Expect::Any };
    commit(catalog, ACTOR, vec![change]).await.map(drop).map_err(|source| MirrorError::Commit { source })
}

fn digest_of(secret: &Secret) -> Sha256 {
    let labels = secret.labels.iter().flat_map(|(label, value)| [label.as_bytes(), value.as_bytes()]);
    let data = secret.data.iter().flat_map(|(field, value)| [field.as_bytes(), value.as_slice()]);
    digest::of_parts([secret.secret_type.as_bytes()].into_iter().chain(labels).chain(data))
}

/// What other programs make for themselves is worth nothing in another cluster.
fn is_kept(secret: &Secret) -> bool {
    !secret.secret_type.starts_with("helm.sh/") && secret.secret_type != "kubernetes.io/service-account-token"
}

/// The context under which one value of a Secret is sealed.
fn context(namespace: &str, name: &str, key: &str) -> Vec<u8> {
    format!("secrets/{namespace}/{name}/{key}").into_bytes()
}

fn seal(platform: &Platform, key: RowKey, secret: &Secret, now: Timestamp) -> Result<Row, MirrorError> {
    let seal_all = |sealing: &CatalogKey| {
        let seal = |(field, value): (&String, &Zeroizing<Vec<u8>>)| {
            let context = context(&key.namespace, &key.name, field);
            (field.clone(), hex::encode(sealing.seal_field(&context, value)))
        };
        secret.data.iter().map(seal).collect()
    };
    let data = platform.with_catalog_key(seal_all).map_err(|source| MirrorError::Away { source })?;
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
        body: serde_json::to_vec(&mirrored).expect("plain data"),
    })
}

/// Sealing is random, so an unchanged Secret is told by opening what is stored.
fn opens_to(platform: &Platform, row: &Row, secret: &Secret) -> bool {
    let Ok(mirrored) = serde_json::from_slice::<MirroredSecret>(&row.body) else { return false };
    let same_shape = mirrored.secret_type == secret.secret_type
        && mirrored.labels == secret.labels
        && mirrored.data.keys().eq(secret.data.keys());
    let opened = same_shape.then(|| open_secret(platform, &row.namespace, &row.name, &mirrored)).flatten();
    opened.is_some_and(|data| {
        data.iter().all(|(key, value)| secret.data.get(key).is_some_and(|known| **known == **value))
    })
}

/// The values of a mirrored Secret.
pub(crate) fn open_secret(
    platform: &Platform,
    namespace: &str,
    name: &str,
    mirrored: &MirroredSecret,
) -> Option<BTreeMap<String, Zeroizing<Vec<u8>>>> {
    let open_all = |sealing: &CatalogKey| {
        let open = |(field, sealed): (&String, &String)| {
            let bytes = hex::decode(sealed).ok()?;
            let plain = sealing.open_field(&context(namespace, name, field), &bytes).ok()?;
            Some((field.clone(), plain))
        };
        mirrored.data.iter().map(open).collect()
    };
    platform.with_catalog_key(open_all).ok()?
}
