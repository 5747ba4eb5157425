//! Restore points and their contents: how a backup or export becomes one, and how the two are bound.
//!
//! A content is cluster-scoped and owns the stored data. A restore point lives in the application's namespace and
//! only refers to a content, so that it can go with the namespace and leave the content *Unbound*. The restore point of the
//! cluster scope lies in no namespace: it lives and goes with its content.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keelson_catalog::{Change, Class, Database, Expect, RowKey};
use keelson_model::action::ActionState;
use keelson_model::names::{CLUSTER_SCOPE, label};
use keelson_model::retention::Tiers;
use keelson_model::{ClusterId, RepositoryId, SessionId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::actions::{self, Finished};
use crate::engine::{Failure, Job, ReadRecordError, read};
use crate::grants::GrantName;
use crate::kinds;
use crate::locations::Place;
use crate::namespaces::{self, NamespaceId};
use crate::records::{Record, random_suffix};
use crate::requester::Requester;
use crate::requests::RequestError;

/// Where the data of a restore point lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Artifact {
    pub repository: RepositoryId,
    pub outcome: SessionId,
    /// Absent for what lies on the platform's own volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported: Option<ExportedTo>,
    /// Where disaster recovery keeps a copy of what lies on the platform's own volume. A copy names the one that it
    /// replaced, in a repository that was in force before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<Box<Artifact>>,
    pub objects: u64,
    pub bytes: u64,
    /// What was written for it; none of what was found in a location, which does not say. Zero says that all of it was stored
    /// before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
}

impl Artifact {
    pub(crate) fn is_imported(&self) -> bool {
        self.exported.as_ref().is_some_and(ExportedTo::is_imported)
    }
}

/// Which location, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExportedTo {
    /// The profile that leads there. Another one of the same place does as well.
    pub profile: String,
    pub place: Place,
    /// The repository's folder below the profile's path.
    pub root: String,
    /// Set on what was imported: by which grant it is read. It is its source's to keep and to remove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<GrantName>,
}

impl ExportedTo {
    /// It is its source's, then: nothing of it is written, retired or proven here.
    pub(crate) fn is_imported(&self) -> bool {
        self.granted.is_some()
    }

    /// Under whose folder it lies.
    pub(crate) fn cluster(&self) -> Option<ClusterId> {
        self.root.split('/').nth(1).and_then(|id| id.parse().ok())
    }

    /// The application that an export repository is of.
    pub(crate) fn application(&self) -> Option<&str> {
        self.root.split('/').nth(3)
    }
}

/// The private part of a restore point content.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContentInternal {
    pub artifact: Artifact,
    /// Whether a person asked for it: retention leaves it alone.
    #[serde(default)]
    pub manual: bool,
    /// The tiers of retention that its run counted for.
    #[serde(default)]
    pub tiers: Tiers,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The RetireAction that frees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retiring: Option<String>,
}

/// What describes a new restore point.
#[derive(Debug, Clone)]
pub(crate) struct NewPoint {
    pub application: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub action_time: Timestamp,
    pub scheduled_time: Option<Timestamp>,
    pub internal: ContentInternal,
}

impl NewPoint {
    /// An export that was tried again after a crash may have left its point twice.
    pub(crate) fn tell_apart(&mut self, outcome: SessionId) {
        self.name = format!("{}-{}", self.name, &outcome.to_string()[..8]);
    }

    fn is_of_cluster_scope(&self) -> bool {
        self.application == CLUSTER_SCOPE
    }
}

/// Letters of an action's uid that its restore point bears: 48 random bits.
const UID_LETTERS: usize = 12;
/// A name must fit the value of a label.
const POINT_NAME_MAX: usize = 63;
/// The names of a content and of an application are shorter; old contents may be named longer.
const RETIRED_NAME_MAX: usize = 200;

/// The name of the restore point that an action makes: no other action's, even of the same name, and the same in
/// every attempt. Children of a policy run make `scheduled-…`.
pub(crate) fn point_name(action: &Record) -> String {
    let base = if action.labels.contains_key(label::RUN_ACTION_NAME) { "scheduled" } else { &action.name };
    let letters: String = action.uid.chars().filter(char::is_ascii_alphanumeric).take(UID_LETTERS).collect();
    format!("{}-{letters}", cut_name(base, POINT_NAME_MAX - UID_LETTERS - 1))
}

/// The beginning of a name that is itself a name.
fn cut_name(name: &str, max: usize) -> &str {
    name[..name.floor_char_boundary(max)].trim_end_matches(['-', '.'])
}

/// The rows of a new restore point: the content and, where it has a place that is there to stay, the point bound to it.
pub(crate) fn create(point: &NewPoint, namespace: Option<NamespaceId>, created: Timestamp) -> Vec<Change> {
    let class = if point.internal.artifact.exported.is_some() { Class::Configuration } else { Class::Local };
    let content_name = content_name(point);
    let mut content = Record::new(kinds::restore_point_content(), "", &content_name, created, class);
    content.labels.clone_from(&point.labels);
    content.body.status = json!({
        "state": "Unbound",
        "actionTime": point.action_time,
        "scheduledTime": point.scheduled_time,
    });
    if let Some(at) = point.internal.expires_at {
        content.body.status["expiresAt"] = json!(at);
    }
    content.body.internal = serde_json::to_value(&point.internal).expect("plain data");
    let mut record = match namespace {
        _ if point.is_of_cluster_scope() => {
            Record::new(kinds::cluster_restore_point(), "", &point.name, created, class)
        }
        Some(namespace) => {
            let kind = kinds::restore_point();
            let mut record = Record::new(kind, &point.application, &point.name, created, class);
            namespaces::note(&mut record, &namespace);
            record
        }
        None => return vec![content.put(Expect::Absent)],
    };
    record.body.spec = json!({ "restorePointContentRef": { "name": content_name } });
    bind(&mut content, &mut record);
    vec![content.put(Expect::Absent), record.put(Expect::Absent)]
}

fn content_name(point: &NewPoint) -> String {
    format!("{}-{}", point.application, point.name)
}

/// Where the content of a point lies in the catalog.
pub(crate) fn content_key(point: &NewPoint) -> RowKey {
    RowKey::new(kinds::restore_point_contents(), "", content_name(point))
}

/// The end of an action that made a restore point. Where the namespace has gone meanwhile only the content is made.
pub(crate) async fn finish_with(job: &Job, point: &NewPoint) -> Result<Finished, Failure> {
    if point.is_of_cluster_scope() {
        let mut finished =
            Finished { changes: create(point, None, job.platform.clock.now()), ..Finished::default() };
        finished.status.insert("restorePoint".to_owned(), json!({ "name": point.name }));
        return Ok(finished);
    }
    let namespace = namespaces::find_staying(&job.platform, &point.application).await?;
    let mut finished = Finished::default();
    if namespace.is_some() {
        let made = json!({ "name": point.name, "namespace": point.application });
        finished.status.insert("restorePoint".to_owned(), made);
    } else {
        finished.exceptions.push(format!(
            "namespace '{}' went away meanwhile: what was stored is kept as an unbound restore point content",
            point.application
        ));
    }
    finished.changes = create(point, namespace, job.platform.clock.now());
    Ok(finished)
}

/// The restore point that a content is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct BoundTo {
    /// Absent from the cluster scope.
    #[serde(default)]
    pub namespace: String,
    pub name: String,
}

pub(crate) fn bound_to(content: &Record) -> Option<BoundTo> {
    content.body.status.get("restorePointRef").and_then(|reference| BoundTo::deserialize(reference).ok())
}

impl BoundTo {
    pub(crate) fn is_of_cluster_scope(&self) -> bool {
        self.namespace.is_empty()
    }

    pub(crate) fn key(self) -> RowKey {
        let kind = match self.is_of_cluster_scope() {
            true => kinds::cluster_restore_points(),
            false => kinds::restore_points(),
        };
        RowKey::new(kind, self.namespace, self.name)
    }
}

/// Binds both ways; the caller commits both rows.
pub(crate) fn bind(content: &mut Record, point: &mut Record) {
    content.body.status["state"] = json!("Bound");
    let mut reference = json!({ "name": point.name });
    let carried = |field: &str| content.body.status.get(field).cloned().unwrap_or(Value::Null);
    point.body.status =
        json!({ "actionTime": carried("actionTime"), "scheduledTime": carried("scheduledTime") });
    if !point.namespace.is_empty() {
        let artifact = &content.body.internal["artifact"];
        point.body.status["state"] = json!("Bound");
        point.body.status["logicalSizeBytes"] = artifact["bytes"].clone();
        point.body.status["physicalSizeBytes"] = json!(artifact["storedBytes"].as_u64().unwrap_or(0));
        reference["namespace"] = json!(point.namespace);
    }
    content.body.status["restorePointRef"] = reference;
    point.class = content.class;
    let is_told = |key: &str| !point.namespace.is_empty() || is_told_of_cluster_scope(key);
    for (key, value) in content.labels.iter().filter(|(key, _)| is_told(key)) {
        point.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

/// Of what the platform says by labels, a restore point of the cluster scope bears its policy, where it was exported to and
/// whose it is.
fn is_told_of_cluster_scope(key: &str) -> bool {
    let told = [label::POLICY_NAME, label::POLICY_NAMESPACE, label::EXPORT_PROFILE, label::IMPORTED_FROM];
    told.contains(&key) || !label::OF_THE_SYSTEM.contains(&key)
}

pub(crate) fn unbind(content: &mut Record) {
    content.body.status["state"] = json!("Unbound");
    if let Some(status) = content.body.status.as_object_mut() {
        status.remove("restorePointRef");
    }
}

/// The content behind a restore point, where both are there.
pub(crate) fn content_of(database: &Database, point: &RowKey) -> Result<Option<Record>, RequestError> {
    let find = |key: &RowKey| -> Result<Option<Record>, RequestError> {
        let found = database.read(key).map_err(|source| RequestError::Read { source })?;
        found.map(|found| Record::parse(&found)).transpose().map_err(|source| RequestError::Decode { source })
    };
    let Some(point) = find(point)? else { return Ok(None) };
    let name = point.body.spec["restorePointContentRef"]["name"].as_str().unwrap_or_default();
    find(&RowKey::new(kinds::restore_point_contents(), "", name))
}

/// When a restore point goes, its content stays and is free to be bound again.
pub(crate) fn unbind_content_of(database: &Database, point: &Record) -> Result<Option<Change>, RequestError> {
    let name = point.body.spec["restorePointContentRef"]["name"].as_str().unwrap_or_default();
    let key = RowKey::new(kinds::restore_point_contents(), "", name);
    let found = database.read(&key).map_err(|source| RequestError::Read { source })?;
    let Some(found) = found else { return Ok(None) };
    let mut content = Record::parse(&found).map_err(|source| RequestError::Decode { source })?;
    let mine = |bound: &BoundTo| bound.namespace == point.namespace && bound.name == point.name;
    if !bound_to(&content).as_ref().is_some_and(mine) {
        return Ok(None);
    }
    unbind(&mut content);
    Ok(Some(content.replace()))
}

/// The RetireAction of a content that somebody wanted gone, whatever has become of it.
pub(crate) fn retired_by(content: &Record) -> Option<&str> {
    content.body.internal.get("retiring").and_then(Value::as_str)
}

/// What becomes of the wish that a content goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retiring {
    /// Nobody has it, or its RetireAction was deleted.
    No,
    Underway,
    /// It failed or was refused: the content is as it was and may be retired again.
    Kept {
        at: Timestamp,
    },
}

/// By the RetireAction that the content names: the mark alone would outlive an action that failed.
pub(crate) fn retiring(database: &Database, content: &Record) -> Result<Retiring, ReadRecordError> {
    let Some(action) = retired_by(content) else { return Ok(Retiring::No) };
    let key = RowKey::new(kinds::retire_actions(), "", action);
    let Some(action) = read(database, &key)? else { return Ok(Retiring::No) };
    if !actions::state(&action).is_some_and(ActionState::is_finished) {
        return Ok(Retiring::Underway);
    }
    let at = action.body.status["endTime"].as_str().and_then(|text| text.parse().ok());
    Ok(Retiring::Kept { at: at.unwrap_or(action.created) })
}

fn mark_retiring(content: &mut Record, action: &str) {
    content.body.internal["retiring"] = json!(action);
}

/// The RetireAction of one content, and the mark that says so.
pub(crate) fn retirement(content: &mut Record, requester: &Requester, now: Timestamp) -> Vec<Change> {
    let name = format!("retire-{}-{}", cut_name(&content.name, RETIRED_NAME_MAX), random_suffix());
    let mut action = Record::new(kinds::retire_action(), "", &name, now, Class::Local);
    action.labels.clone_from(&content.labels);
    action.body.spec = json!({ "scheduledTime": now });
    mark_retiring(content, &name);
    let mut changes =
        actions::submit(action, requester, json!({ "content": content.name, "uid": content.uid }));
    changes.push(content.replace());
    changes
}

pub(crate) fn clear_retiring(content: &mut Record) {
    if let Some(internal) = content.body.internal.as_object_mut() {
        internal.remove("retiring");
    }
}

#[cfg(test)]
mod tests;
