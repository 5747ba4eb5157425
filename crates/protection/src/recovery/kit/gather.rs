//! Reads a kit together: the profile, its Secret, the passphrase, and what the platform says of itself.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use keelson_model::location::LocationSpec;
use keelson_model::names::{DR_SECRET, STATUS_CONFIG_MAP};
use keelson_resources::profile;
use keelson_workload::{Cluster, NamespacedName, Secret};
use zeroize::Zeroizing;

use super::{KIT_SECRET, KIT_VERSION, KeptBytes, KeptProfile, KeptSecret, Kit, KitError, SLOTS_KEY};
use crate::kinds;
use crate::layout::{Epoch, Position};
use crate::recovery::known_head::KnownHead;
use crate::status::{DisasterRecoveryStatus, InstanceStatus, STALE_AFTER, STATUS_KEY};

/// A slot has so many bytes.
const SLOT_BYTES: usize = 200;

/// Whether the profile's credentials go into the kit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    Include,
    LeaveOut,
}

/// Reads everything that a kit holds. Writes nothing.
pub async fn gather(
    cluster: &Cluster,
    namespace: &str,
    credentials: Credentials,
    now: Timestamp,
) -> Result<Kit, KitError> {
    let status = read_status(cluster, namespace, now).await?;
    let InstanceStatus { cluster_id, lineage, disaster_recovery, report_key, written_at, .. } = status;
    let protection = disaster_recovery.ok_or(KitError::NotEnabled)?;
    let head = known_head(&protection, written_at).ok_or(KitError::NothingShipped)?;
    let (kept, spec) = read_profile(cluster, namespace, &protection.profile).await?;
    let secret = match (credentials, spec) {
        (Credentials::Include, Some(LocationSpec::ObjectStore(object))) => {
            let at = NamespacedName::new(&object.credential.namespace, &object.credential.name);
            Some(read_secret(cluster, &at).await?)
        }
        (Credentials::Include | Credentials::LeaveOut, _) => None,
    };
    let lineage =
        lineage.parse().map_err(|_| KitError::Absent { what: "the platform's lineage".to_owned() })?;
    Ok(Kit {
        version: KIT_VERSION,
        made_at: now,
        made_by: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: cluster_id,
        lineage,
        namespace: namespace.to_owned(),
        profile: kept,
        credentials: secret.map(keep),
        passphrase: keep(read_secret(cluster, &NamespacedName::new(namespace, DR_SECRET)).await?),
        slots: read_slots(cluster, namespace).await?,
        head,
        report_key,
    })
}

async fn read_status(cluster: &Cluster, namespace: &str, now: Timestamp) -> Result<InstanceStatus, KitError> {
    let at = NamespacedName::new(namespace, STATUS_CONFIG_MAP);
    let what = format!("ConfigMap '{at}'");
    let map = cluster.read_config_map(&at).await;
    let map = map.map_err(|source| KitError::Read { what, source })?;
    let text = map.and_then(|map| map.data.get(STATUS_KEY).cloned());
    let text = text.ok_or_else(|| KitError::NoStatus { namespace: namespace.to_owned() })?;
    let status: InstanceStatus = serde_json::from_str(&text).map_err(|source| KitError::Decode { source })?;
    let age = now.duration_since(status.written_at);
    if age > SignedDuration::try_from(STALE_AFTER).unwrap_or(SignedDuration::MAX) {
        return Err(KitError::Stale { seconds: age.as_secs() });
    }
    Ok(status)
}

/// What has reached the location, not what the catalog holds: only that can be asked for later.
fn known_head(protection: &DisasterRecoveryStatus, seen_at: Timestamp) -> Option<KnownHead> {
    let shipped = protection.shipped.as_ref()?;
    let at = Position {
        epoch: Epoch(shipped.epoch),
        generation: keelson_model::Generation(shipped.generation),
        sequence: keelson_model::Sequence(shipped.through),
    };
    let repository = protection.repository.parse().ok()?;
    Some(KnownHead { repository, at, chain: shipped.chain.clone()?, seen_at })
}

async fn read_profile(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<(KeptProfile, Option<LocationSpec>), KitError> {
    let what = format!("profile '{name}'");
    let object = cluster.read_object(&kinds::profile(), Some(namespace), name).await;
    let object = object.map_err(|source| KitError::Read { what: what.clone(), source })?;
    let object = object.ok_or(KitError::Absent { what })?;
    let parsed =
        profile::parse(&object).map_err(|faults| KitError::Profile { profile: name.to_owned(), faults })?;
    Ok((KeptProfile { name: name.to_owned(), spec: object["spec"].clone() }, parsed.location))
}

pub(super) async fn find_secret(cluster: &Cluster, at: &NamespacedName) -> Result<Option<Secret>, KitError> {
    let secret = cluster.read_secret(at).await;
    secret.map_err(|source| KitError::Read { what: format!("Secret '{at}'"), source })
}

async fn read_secret(cluster: &Cluster, at: &NamespacedName) -> Result<Secret, KitError> {
    find_secret(cluster, at).await?.ok_or_else(|| KitError::Absent { what: format!("Secret '{at}'") })
}

fn keep(secret: Secret) -> KeptSecret {
    let Secret { at, secret_type, data, .. } = secret;
    let data: BTreeMap<String, KeptBytes> =
        data.into_iter().map(|(key, value)| (key, KeptBytes(value))).collect();
    KeptSecret { namespace: at.namespace, name: at.name, secret_type, data }
}

async fn read_slots(cluster: &Cluster, namespace: &str) -> Result<Vec<String>, KitError> {
    let secret = read_secret(cluster, &NamespacedName::new(namespace, KIT_SECRET)).await?;
    let bytes: Zeroizing<Vec<u8>> = secret.data.get(SLOTS_KEY).cloned().unwrap_or_default();
    if bytes.is_empty() || !bytes.len().is_multiple_of(SLOT_BYTES) {
        return Err(KitError::Absent { what: format!("key '{SLOTS_KEY}' of Secret '{KIT_SECRET}'") });
    }
    Ok(bytes.chunks_exact(SLOT_BYTES).map(hex::encode).collect())
}
