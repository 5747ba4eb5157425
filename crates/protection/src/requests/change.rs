//! Changing: of the kinds that have a changeable `spec`, what a new one means.

use keelson_catalog::{Change, Stored};
use keelson_resources::KindInfo;
use keelson_resources::storage_repository::StorageRepositorySpec;
use serde::Deserialize;
use serde_json::Value;

use crate::platform::{Platform, commit};
use crate::records::Record;
use crate::requests::create::stored;
use crate::requests::{Asked, Effect, RequestError};
use crate::storage_repositories;

/// Gives the object that was found another spec and returns it as it is then. A conflict where it has changed since.
pub async fn change(
    platform: &Platform,
    asked: impl Into<Asked<'_>>,
    kind: &'static KindInfo,
    found: Stored,
    spec: Value,
    effect: Effect,
) -> Result<Stored, RequestError> {
    let database = platform.database(kind).map_err(RequestError::Away)?;
    let before = Record::parse(&found).map_err(|source| RequestError::Decode { source })?;
    let mut record = before.clone();
    let changes = match kind.kind {
        "StorageRepository" => storage_repository(platform, &mut record, &spec)?,
        _ => return Err(RequestError::NotByClients { kind: kind.kind, name: before.name }),
    };
    if record.body == before.body {
        return Ok(found);
    }
    let revision = match effect {
        Effect::DryRun => found.revision,
        Effect::Apply => commit(&database, &asked.into().deed("patch", record.key()), changes.clone())
            .await
            .map_err(|source| RequestError::Commit { source })?,
    };
    Ok(stored(&record, &changes, revision))
}

/// What people decide of a repository is kept beside the object too: that one is made anew on another cluster.
fn storage_repository(
    platform: &Platform,
    record: &mut Record,
    spec: &Value,
) -> Result<Vec<Change>, RequestError> {
    let spec = StorageRepositorySpec::deserialize(spec)
        .map_err(|error| RequestError::InvalidField { field: "spec", message: error.to_string() })?;
    let settings = storage_repositories::put_settings(record, &spec, platform.clock.now())
        .map_err(|source| RequestError::Decode { source })?;
    record.body.spec = serde_json::to_value(&spec).expect("plain data");
    Ok(vec![record.replace(), settings])
}
