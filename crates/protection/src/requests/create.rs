//! Creating: one function a kind says what the new row holds and which other rows change with it.

use std::collections::BTreeMap;

use keelson_catalog::{Change, Class, CommitError, Database, Expect, Query, RowKey, RowKind, Stored};
use keelson_model::names::{CLUSTER_SCOPE, group, label};
use keelson_resources::KindInfo;
use keelson_resources::recovery::RecoveryProgress;
use serde_json::{Value, json};

use crate::access;
use crate::actions;
use crate::batch;
use crate::cluster_scope;
use crate::kinds;
use crate::namespaces;
use crate::platform::{Platform, commit};
use crate::policies::{self, PolicyError};
use crate::records::Record;
use crate::requester::Requester;
use crate::requests::{Asked, Effect, NewObject, RequestError, cancel, passkey};
use crate::restore_points::{self, Retiring};
use crate::run::policy_of;

/// Creates one object of a kind that clients may create.
pub async fn create(
    platform: &Platform,
    asked: impl Into<Asked<'_>>,
    kind: &'static KindInfo,
    object: NewObject,
    effect: Effect,
) -> Result<Stored, RequestError> {
    let asked = asked.into();
    let requester = asked.requester;
    let database = platform.database(kind).map_err(RequestError::Away)?;
    // Only one of these may exist, which is looked up before it is written.
    let _alone = match kind.group {
        group::DR => Some(platform.recovery_requests.lock().await),
        _ => None,
    };
    let name = object.name.clone();
    let now = platform.clock.now();
    let mut record = Record::new(kind, &object.namespace, &name, now, Class::Local);
    let (claimed, own): (BTreeMap<_, _>, BTreeMap<_, _>) =
        object.labels.into_iter().partition(|(key, _)| label::OF_THE_SYSTEM.contains(&key.as_str()));
    record.labels = own;
    record.body.annotations = object.annotations;
    record.body.spec = object.spec;
    if kind.kind == "CancelAction" {
        check_claimed(&claimed, &record)?;
        return cancel::cancel(platform, &database, asked, (kind, record), effect).await;
    }
    if kind.kind == "Passkey" {
        check_claimed(&claimed, &record)?;
        return passkey::create(platform, asked, record, effect).await;
    }
    if kind.group == group::ACTIONS && !record.namespace.is_empty() {
        note_namespace(platform, &mut record).await?;
    }
    let changes = match kind.kind {
        "RunAction" => run_action(platform, requester, &mut record).await?,
        "BackupAction" => backup_action(requester, &mut record),
        "BackupClusterAction" => cluster_action(requester, &mut record),
        "ExportAction" => point_action(&database, requester, &mut record)?,
        "ReportAction" | "UpgradeAction" => actions::submit(record.clone(), requester, Value::Null),
        "RestoreAction" => restore_action(platform, &database, requester, &mut record).await?,
        "RestoreClusterAction" => {
            find_cluster_point(&database, &record)?;
            cluster_action(requester, &mut record)
        }
        "BatchRestoreAction" => batch_restore_action(&database, requester, &mut record)?,
        "ValidateAction" => validate_action(&database, requester, &mut record)?,
        "RestorePoint" => restore_point(platform, &database, &mut record).await?,
        "KastenDRReview" | "KastenDRRestore" => recovery_request(&database, kind, requester, &mut record)?,
        _ => return Err(RequestError::NotByClients { kind: kind.kind, name }),
    };
    check_claimed(&claimed, &record)?;
    if effect == Effect::DryRun {
        let taken = database.read(&record.key()).map_err(|source| RequestError::Read { source })?.is_some();
        let stored = stored(&record, &changes, database.head().revision);
        return if taken { Err(RequestError::AlreadyExists { kind: kind.kind, name }) } else { Ok(stored) };
    }
    match commit(&database, &asked.deed("create", record.key()), changes.clone()).await {
        Ok(revision) => Ok(stored(&record, &changes, revision)),
        Err(CommitError::Conflict { key, .. }) if key == record.key() => {
            Err(RequestError::AlreadyExists { kind: kind.kind, name })
        }
        Err(source) => Err(RequestError::Commit { source }),
    }
}

/// What is made in a namespace goes with it, also where another one has its name by then.
async fn note_namespace(platform: &Platform, record: &mut Record) -> Result<(), RequestError> {
    let found = namespaces::recall_staying(platform, &record.namespace).await;
    if let Some(namespace) = found.map_err(|source| RequestError::Namespace { source })? {
        namespaces::note(record, &namespace);
    }
    Ok(())
}

/// An object that was copied with its labels may say what the platform says anyway, and nothing else.
fn check_claimed(claimed: &BTreeMap<String, String>, record: &Record) -> Result<(), RequestError> {
    match claimed.iter().find(|(key, value)| record.labels.get(*key) != Some(*value)) {
        None => Ok(()),
        Some((key, _)) => Err(RequestError::InvalidField {
            field: "metadata.labels",
            message: format!("'{key}' is set by the platform"),
        }),
    }
}

/// The row of the record itself among the changes, as it was written.
pub(super) fn stored(record: &Record, changes: &[Change], revision: keelson_model::Revision) -> Stored {
    let row = changes.iter().find_map(|change| match change {
        Change::Put { row, .. } if row.key() == record.key() => Some(row.clone()),
        _ => None,
    });
    Stored { row: row.expect("who writes a record puts its own row"), revision }
}

async fn run_action(
    platform: &Platform,
    requester: &Requester,
    record: &mut Record,
) -> Result<Vec<Change>, RequestError> {
    let (namespace, policy) = policy_of(record);
    let (namespace, policy) = (namespace.to_owned(), policy.to_owned());
    // As the cluster has it: a policy made or changed a moment ago may not be mirrored yet.
    let found = policies::fetch_unjudged(platform, &namespace, &policy).await.map_err(refuse_policy)?;
    if let Some(found) = found {
        let checked = access::check_run(platform, requester, &namespace, found.parsed.profiles()).await;
        checked.map_err(|source| RequestError::Access { source })?;
    }
    record.labels.insert(label::POLICY_NAME.to_owned(), policy);
    record.labels.insert(label::POLICY_NAMESPACE.to_owned(), namespace);
    Ok(actions::submit(record.clone(), requester, Value::Null))
}

fn refuse_policy(error: PolicyError) -> RequestError {
    match error {
        PolicyError::Absent { .. } => {
            RequestError::InvalidField { field: "spec.subject.name", message: error.to_string() }
        }
        source => RequestError::Policy { source },
    }
}

fn backup_action(requester: &Requester, record: &mut Record) -> Vec<Change> {
    let application = record.body.spec["subject"]["name"].as_str().unwrap_or(&record.namespace).to_owned();
    record.labels.extend(application_labels(&application));
    actions::submit(record.clone(), requester, Value::Null)
}

fn cluster_action(requester: &Requester, record: &mut Record) -> Vec<Change> {
    record.labels.extend(application_labels(CLUSTER_SCOPE));
    actions::submit(record.clone(), requester, Value::Null)
}

/// The labels of an application. The cluster scope is of neither type.
pub(crate) fn application_labels(application: &str) -> BTreeMap<String, String> {
    let named = [(label::APP_NAME, application), (label::APP_NAMESPACE, application)];
    let of_type = (application != CLUSTER_SCOPE).then_some((label::APP_TYPE, "namespace"));
    let labels = named.into_iter().chain(of_type);
    labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Export, restore and validation start from a restore point, which must be there when they are asked for.
fn point_action(
    database: &Database,
    requester: &Requester,
    record: &mut Record,
) -> Result<Vec<Change>, RequestError> {
    let subject = &record.body.spec["subject"];
    if subject["kind"] == kinds::cluster_restore_point().kind {
        find_cluster_point(database, record)?;
        record.labels.extend(application_labels(CLUSTER_SCOPE));
        return Ok(actions::submit(record.clone(), requester, Value::Null));
    }
    let name = subject["name"].as_str().unwrap_or_default().to_owned();
    let namespace = subject["namespace"].as_str().unwrap_or(&record.namespace).to_owned();
    let key = RowKey::new(kinds::restore_points(), namespace.clone(), name.clone());
    let point = database.read(&key).map_err(|source| RequestError::Read { source })?.ok_or_else(|| {
        RequestError::InvalidField {
            field: "spec.subject.name",
            message: format!("there is no restore point '{name}' in namespace '{namespace}'"),
        }
    })?;
    adopt_application(record, &point.row.labels);
    Ok(actions::submit(record.clone(), requester, Value::Null))
}

/// The restore point of the cluster scope that an action names.
fn find_cluster_point(database: &Database, record: &Record) -> Result<(), RequestError> {
    let name = record.body.spec["subject"]["name"].as_str().unwrap_or_default();
    let key = RowKey::new(kinds::cluster_restore_points(), "", name);
    let found = database.read(&key).map_err(|source| RequestError::Read { source })?;
    found.map(drop).ok_or_else(|| RequestError::InvalidField {
        field: "spec.subject.name",
        message: format!("there is no cluster restore point '{name}'"),
    })
}

async fn restore_action(
    platform: &Platform,
    database: &Database,
    requester: &Requester,
    record: &mut Record,
) -> Result<Vec<Change>, RequestError> {
    let changes = point_action(database, requester, record)?;
    let subject = &record.body.spec["subject"];
    let namespace = subject["namespace"].as_str().unwrap_or(&record.namespace);
    let name = subject["name"].as_str().unwrap_or_default();
    let key = RowKey::new(kinds::restore_points(), namespace, name);
    if let Some(content) = restore_points::content_of(database, &key)? {
        let target = record.body.spec["targetNamespace"].as_str().unwrap_or(&record.namespace);
        let checked = access::check_restore(platform, requester, &content, target).await;
        checked.map_err(|source| RequestError::Access { source })?;
    }
    Ok(changes)
}

/// What a batch names must be there; what it does not name is looked for when it is carried out.
fn batch_restore_action(
    database: &Database,
    requester: &Requester,
    record: &mut Record,
) -> Result<Vec<Change>, RequestError> {
    let subjects = record.body.spec["subjects"].as_array().cloned().unwrap_or_default();
    for subject in &subjects {
        let text = |field: &str| subject[field].as_str().filter(|text| !text.is_empty());
        let namespace = text("namespace").unwrap_or_default();
        let (key, what) = match (text("restorePointName"), text("restorePointContentName")) {
            (Some(point), _) if namespace == CLUSTER_SCOPE => {
                (RowKey::new(kinds::cluster_restore_points(), "", point), "restore point")
            }
            (Some(point), _) => (RowKey::new(kinds::restore_points(), namespace, point), "restore point"),
            (None, Some(content)) => {
                (RowKey::new(kinds::restore_point_contents(), "", content), "restore point content")
            }
            (None, None) => continue,
        };
        if database.read(&key).map_err(|source| RequestError::Read { source })?.is_none() {
            return Err(RequestError::InvalidField {
                field: "spec.subjects",
                message: format!("there is no {what} '{}' of namespace '{namespace}'", key.name),
            });
        }
    }
    actions::set_status(record, "actionDetails", batch::waiting(subjects.len()));
    Ok(actions::submit(record.clone(), requester, Value::Null))
}

/// A content may be validated that no restore point is bound to.
fn validate_action(
    database: &Database,
    requester: &Requester,
    record: &mut Record,
) -> Result<Vec<Change>, RequestError> {
    let subject = &record.body.spec["subject"];
    if subject["kind"] != "RestorePointContent" {
        return point_action(database, requester, record);
    }
    let name = subject["name"].as_str().unwrap_or_default();
    let key = RowKey::new(kinds::restore_point_contents(), "", name);
    let content = database.read(&key).map_err(|source| RequestError::Read { source })?;
    let content = content.ok_or_else(|| RequestError::InvalidField {
        field: "spec.subject.name",
        message: format!("there is no restore point content '{name}'"),
    })?;
    adopt_application(record, &content.row.labels);
    Ok(actions::submit(record.clone(), requester, Value::Null))
}

/// An action is of the application that its restore point is of.
fn adopt_application(record: &mut Record, labels: &BTreeMap<String, String>) {
    for key in [label::APP_NAME, label::APP_NAMESPACE, label::APP_TYPE] {
        if let Some(value) = labels.get(key) {
            record.labels.insert(key.to_owned(), value.clone());
        }
    }
}

/// A restore point made by hand binds a content that no other restore point is bound to.
async fn restore_point(
    platform: &Platform,
    database: &Database,
    record: &mut Record,
) -> Result<Vec<Change>, RequestError> {
    let field = "spec.restorePointContentRef.name";
    let name = record.body.spec["restorePointContentRef"]["name"].as_str().unwrap_or_default().to_owned();
    let key = RowKey::new(kinds::restore_point_contents(), "", name.clone());
    let content = database.read(&key).map_err(|source| RequestError::Read { source })?;
    let content = content.ok_or_else(|| RequestError::InvalidField {
        field,
        message: format!("there is no restore point content '{name}'"),
    })?;
    let mut content = Record::parse(&content).map_err(|source| RequestError::Decode { source })?;
    if cluster_scope::is_of(&content) {
        return Err(RequestError::InvalidField {
            field,
            message: format!(
                "'{name}' is of the cluster scope, which no namespace can hold: make a RestoreClusterAction of its \
                 ClusterRestorePoint"
            ),
        });
    }
    if let Some(bound) = restore_points::bound_to(&content) {
        return Err(RequestError::InvalidField {
            field,
            message: format!(
                "'{name}' is bound to restore point '{}/{}' already",
                bound.namespace, bound.name
            ),
        });
    }
    let retiring = restore_points::retiring(database, &content);
    if retiring? == Retiring::Underway {
        return Err(RequestError::InvalidField { field, message: format!("'{name}' is being retired") });
    }
    let namespace = namespaces::find_staying(platform, &record.namespace)
        .await
        .map_err(|source| RequestError::Namespace { source })?;
    let namespace = namespace.ok_or_else(|| RequestError::Conflict {
        message: format!("namespace '{}' is not there to stay", record.namespace),
    })?;
    namespaces::note(record, &namespace);
    restore_points::bind(&mut content, record);
    Ok(vec![record.put(Expect::Absent), content.replace()])
}

/// At most one object of each kind of recovery exists.
fn recovery_request(
    database: &Database,
    kind: &'static KindInfo,
    requester: &Requester,
    record: &mut Record,
) -> Result<Vec<Change>, RequestError> {
    let page = database
        .list(&Query::all(RowKind::new(kind.row_kind()), 1))
        .map_err(|source| RequestError::Read { source })?;
    if let Some(other) = page.rows.first().filter(|other| other.row.name != record.name) {
        return Err(RequestError::Conflict {
            message: format!(
                "{} '{}' exists already and only one may; wait until it has ended and delete it first",
                kind.kind, other.row.name
            ),
        });
    }
    let waiting = RecoveryProgress::waiting(requester.into());
    record.body.status = serde_json::to_value(waiting).expect("plain data");
    record.body.internal = json!({ "requester": requester });
    Ok(vec![record.put(Expect::Absent)])
}
