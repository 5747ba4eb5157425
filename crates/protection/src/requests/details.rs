//! The sub-resource `details`: what is too long or too costly for the object itself.

use keelson_catalog::{RowKey, RowKind};
use keelson_resources::KindInfo;
use serde_json::{Value, json};

use crate::kinds;
use crate::platform::Platform;
use crate::records::Record;
use crate::requests::RequestError;
use crate::restore_points;
use crate::storage_repositories;

/// What the sub-resource `details` adds to an object's status.
pub async fn details(
    platform: &Platform,
    kind: &'static KindInfo,
    namespace: &str,
    name: &str,
) -> Result<Value, RequestError> {
    let database = platform.database(kind).map_err(RequestError::Away)?;
    let read = |key: RowKey| -> Result<Option<Record>, RequestError> {
        let found = database.read(&key).map_err(|source| RequestError::Read { source })?;
        found.map(|found| Record::parse(&found)).transpose().map_err(|source| RequestError::Decode { source })
    };
    let record = read(RowKey::new(RowKind::new(kind.row_kind()), namespace, name))?
        .ok_or_else(|| RequestError::NotFound { kind: kind.kind, name: name.to_owned() })?;
    Ok(match kind.kind {
        "RestorePoint" => {
            let content = record.body.spec["restorePointContentRef"]["name"].as_str().unwrap_or_default();
            let content = read(RowKey::new(kinds::restore_point_contents(), "", content))?;
            json!({ "restorePointDetails": content.as_ref().map_or(Value::Null, restore_points::details) })
        }
        "RestorePointContent" => json!({ "restorePointContentDetails": restore_points::details(&record) }),
        "StorageRepository" => {
            let details = storage_repositories::details(platform, &record).await;
            json!({ "details": details.map_err(|source| RequestError::Decode { source })? })
        }
        "Application" => json!({ "appDetails": { "components": {} } }),
        _ => json!({ "actionDetails": { "phases": [phase(kind, &record)] } }),
    })
}

/// Our actions have one phase each, and it fares as the action does.
fn phase(kind: &KindInfo, action: &Record) -> Value {
    let name = match kind.kind {
        "BackupAction" => "Application configuration",
        "ExportAction" => "Exporting RestorePoint",
        "RestoreAction" => "Restoring Application Components",
        "RetireAction" => "Retiring RestorePoint",
        _ => "Running policy",
    };
    let status = &action.body.status;
    let attempts = action.body.internal.get("attempts").cloned().unwrap_or(json!(0));
    let errors: Vec<_> = status.get("error").filter(|error| !error.is_null()).into_iter().collect();
    json!({
        "name": name,
        "state": actions_word(action),
        "attempt": attempts,
        "startTime": status.get("startTime"),
        "endTime": status.get("endTime"),
        "errors": errors,
    })
}

fn actions_word(action: &Record) -> &'static str {
    crate::actions::state(action).map_or("pending", keelson_model::action::ActionState::metric_word)
}
