//! The sub-resource `details`: what is too long or too costly for the object itself.

use keelson_catalog::{Database, RowKey, RowKind};
use keelson_model::names::{CLUSTER_SCOPE, label};
use keelson_model::{Chain, Classified};
use keelson_resources::apps::ArtifactDetails;
use keelson_resources::{KindInfo, ReceiveString};
use serde_json::{Map, Value, json};

use crate::access;
use crate::components;
use crate::grants;
use crate::kinds;
use crate::platform::Platform;
use crate::records::Record;
use crate::requester::Requester;
use crate::requests::RequestError;
use crate::storage_repositories;

/// What the sub-resource `details` adds to an object's status, for this requester.
pub async fn details(
    platform: &Platform,
    requester: &Requester,
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
        "RestorePoint" | "ClusterRestorePoint" => {
            let name = record.body.spec["restorePointContentRef"]["name"].as_str().unwrap_or_default();
            let details = match read(RowKey::new(kinds::restore_point_contents(), "", name))? {
                Some(content) => made_of(platform, &content).await?,
                None => components::without_content(name),
            };
            let field = match kind.is_namespaced() {
                true => "restorePointDetails",
                false => "clusterRestorePointDetails",
            };
            json!({ field: details })
        }
        "RestorePointContent" => {
            let details = made_of(platform, &record).await?;
            json!({ "restorePointContentDetails": details })
        }
        "StorageRepository" => {
            let details = storage_repositories::details(platform, &record).await;
            json!({ "details": details.map_err(|source| RequestError::Decode { source })? })
        }
        "Application" => {
            let details = components::of_application(platform, &record).await;
            json!({ "appDetails": details })
        }
        "ExportAction" | "RunAction" => {
            let mut details = action_details(&record);
            if let Some(text) = receive_string(platform, &database, requester, &record).await {
                details["receiveString"] = json!(text);
            }
            json!({ "actionDetails": details })
        }
        _ => json!({ "actionDetails": action_details(&record) }),
    })
}

async fn made_of(platform: &Platform, content: &Record) -> Result<ArtifactDetails, RequestError> {
    components::of_content(platform, content).await.map_err(|source| RequestError::Decode { source })
}

/// What another installation needs to import what the action's policy exports. It goes with the action. Whoever has it
/// reads, elsewhere, the Secrets that were captured: it is for whoever may read them here.
async fn receive_string(
    platform: &Platform,
    catalog: &Database,
    requester: &Requester,
    action: &Record,
) -> Option<ReceiveString> {
    let untold = |error: &dyn Classified| {
        tracing::warn!(action = action.name, cause = %Chain(error), "its receive string is not told");
    };
    let text =
        grants::receive_string(platform, catalog, action).inspect_err(|error| untold(error)).ok()??;
    let captured = action.labels.get(label::APP_NAMESPACE).filter(|of| *of != CLUSTER_SCOPE);
    let namespace = captured.unwrap_or(&platform.settings.install_namespace);
    let may = access::may_read_secrets(platform, requester, namespace).await;
    may.inspect_err(|error| untold(error)).ok()?.then_some(text)
}

/// What the action itself shows, what it has kept for its details, and its phases.
fn action_details(action: &Record) -> Value {
    let (shown, internal) = (&action.body.status["actionDetails"], &action.body.internal);
    let parts = [Some(shown), internal.get("details")].into_iter().flatten().filter_map(Value::as_object);
    let mut details: Map<String, Value> =
        parts.flatten().map(|(field, value)| (field.clone(), value.clone())).collect();
    details.insert("phases".to_owned(), internal.get("phases").cloned().unwrap_or_else(|| json!([])));
    Value::Object(details)
}
