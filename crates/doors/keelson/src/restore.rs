//! `keelson restore`: brings an application back from a restore point, into its namespace or another; or what is missing of
//! the cluster scope.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use keelson_model::ErrorClass;
use keelson_model::names::{CLUSTER_SCOPE, group, label};
use keelson_protection::random_suffix;
use keelson_workload::{Cluster, Creation, Kind, NamespaceName, NamespacePhase, RestoreError};
use serde_json::{Value, json};

use crate::arguments::Common;
use crate::failure::{failed, refuse, refuse_with};
use crate::follow;
use crate::output::{data, say};

const RESTORE_WITHIN: Duration = Duration::from_secs(6 * 3600);

/// Restore an application, or what is missing of the cluster-scoped resources.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  keelson restore shop\n  keelson restore shop --point shop-scheduled-x1b2c \
    --target-namespace shop-copy --include-rbac\n  keelson restore kasten-io-cluster    what lies in no namespace"
)]
pub(crate) struct Restore {
    /// The application: the namespace it had. `kasten-io-cluster` stands for the cluster-scoped resources.
    application: String,
    #[command(flatten)]
    common: Common,
    /// The restore point content; the newest exported one, or else the newest, if none is given. What was imported from
    /// another cluster is restored only where it is named here.
    #[arg(long, value_name = "NAME")]
    point: Option<String>,
    /// Restore into another namespace.
    #[arg(long, value_name = "NAMESPACE")]
    target_namespace: Option<String>,
    /// Overwrite what exists and differs.
    #[arg(long)]
    overwrite_existing: bool,
    /// Restore Roles and RoleBindings too.
    #[arg(long)]
    include_rbac: bool,
}

fn apps(kind: &str, resource: &str) -> Kind {
    Kind::namespaced(&format!("{}/{}", group::APPS, group::VERSION), kind, resource)
}

pub(crate) async fn run(restore: Restore) -> Result<()> {
    let cluster = restore.common.cluster().await?;
    if restore.application == CLUSTER_SCOPE {
        return restore_cluster_scope(&cluster, &restore).await;
    }
    let target = restore.target_namespace.clone().unwrap_or_else(|| restore.application.clone());
    let content = choose_content(&cluster, &restore).await?;
    ensure_namespace(&cluster, &target).await?;
    let point = bind(&cluster, &content, &restore.application, &target).await?;
    let (namespace, point) = point;
    let action = restore_action(&restore, &namespace, &point, &target);
    let kind = Kind::namespaced(
        &format!("{}/{}", group::ACTIONS, group::VERSION),
        "RestoreAction",
        "restoreactions",
    );
    let name = action["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    cluster.create_object(&kind, &action).await.map_err(failed)?;
    let ended = follow::to_the_end(&cluster, &kind, &target, &name, RESTORE_WITHIN).await?;
    tell_end(&restore, &ended, &format!("into namespace '{target}'"))
}

/// What exists is left as it is, and rights come back with the rest: there is nothing to choose but the point.
async fn restore_cluster_scope(cluster: &Cluster, restore: &Restore) -> Result<()> {
    for (flag, given) in [
        ("--target-namespace", restore.target_namespace.is_some()),
        ("--overwrite-existing", restore.overwrite_existing),
        ("--include-rbac", restore.include_rbac),
    ] {
        if given {
            let message = format!("{flag} is for applications: '{CLUSTER_SCOPE}' lies in no namespace");
            let hint = "what is missing is made, rights among it, and what exists is left as it is";
            return Err(refuse_with(ErrorClass::Invalid, message, hint));
        }
    }
    let content = choose_content(cluster, restore).await?;
    let point = content["status"]["restorePointRef"]["name"].as_str().unwrap_or_default();
    let api_version = format!("{}/{}", group::ACTIONS, group::VERSION);
    let kind = Kind::cluster(&api_version, "RestoreClusterAction", "restoreclusteractions");
    let name = format!("restore-{CLUSTER_SCOPE}-{}", random_suffix());
    let action = json!({
        "apiVersion": api_version, "kind": kind.kind, "metadata": { "name": name },
        "spec": { "subject": { "kind": "ClusterRestorePoint", "name": point } },
    });
    cluster.create_object(&kind, &action).await.map_err(failed)?;
    let ended = follow::to_the_end(cluster, &kind, "", &name, RESTORE_WITHIN).await?;
    tell_end(restore, &ended, "as far as it was missing")
}

/// What the end of the action means, each exception of it, and its status.
fn tell_end(restore: &Restore, ended: &Value, how: &str) -> Result<()> {
    follow::check(ended)?;
    let exceptions = ended["status"]["exceptions"].as_array().map_or(&[][..], Vec::as_slice);
    for exception in exceptions {
        say(&format!("note: {}", exception["message"].as_str().unwrap_or_default()));
    }
    data(restore.common.output, &ended["status"], |_| outcome(&restore.application, how, exceptions.len()));
    Ok(())
}

fn outcome(application: &str, how: &str, exceptions: usize) -> String {
    match exceptions {
        0 => format!("'{application}' is restored {how}"),
        1 => format!("'{application}' is partly restored {how}: see the note above"),
        count => format!("'{application}' is partly restored {how}: see the {count} notes above"),
    }
}

async fn choose_content(cluster: &Cluster, restore: &Restore) -> Result<Value> {
    let kind = Kind::cluster(
        &format!("{}/{}", group::APPS, group::VERSION),
        "RestorePointContent",
        "restorepointcontents",
    );
    if let Some(name) = &restore.point {
        let found = cluster.read_object(&kind, None, name).await.map_err(failed)?;
        let found = found.ok_or_else(|| {
            refuse(ErrorClass::NotFound, format!("there is no restore point content '{name}'"))
        })?;
        let of = found["metadata"]["labels"][label::APP_NAMESPACE].as_str().unwrap_or_default();
        if of != restore.application {
            return Err(refuse_with(
                ErrorClass::Invalid,
                format!(
                    "restore point content '{name}' is of application '{of}', not of '{}'",
                    restore.application
                ),
                format!("keelson restore {of} --point {name} --target-namespace {}", restore.application),
            ));
        }
        return Ok(found);
    }
    let selector = format!("{}={}", label::APP_NAMESPACE, restore.application);
    let contents = cluster.list_objects(&kind, None, Some(&selector)).await.map_err(failed)?;
    let are_imported = contents.iter().any(|content| has_label(content, label::IMPORTED_FROM));
    newest(contents).ok_or_else(|| {
        let hint = match are_imported {
            true => "of another cluster with an application of this name there is: name it with --point",
            false => "kubectl get restorepointcontents lists all",
        };
        let message = format!("there is no restore point of application '{}'", restore.application);
        refuse_with(ErrorClass::NotFound, message, hint)
    })
}

fn has_label(content: &Value, name: &str) -> bool {
    content["metadata"]["labels"].get(name).is_some()
}

/// The newest exported one, or else the newest. An application of another cluster is another one, whatever its name.
fn newest(contents: Vec<Value>) -> Option<Value> {
    let time = |content: &Value| content["status"]["actionTime"].as_str().unwrap_or_default().to_owned();
    let own = contents.into_iter().filter(|content| !has_label(content, label::IMPORTED_FROM));
    own.max_by_key(|content| (has_label(content, label::EXPORT_PROFILE), time(content)))
}

async fn ensure_namespace(cluster: &Cluster, name: &str) -> Result<()> {
    let parsed: NamespaceName =
        name.parse().map_err(|error| refuse(ErrorClass::Invalid, format!("'{name}': {error}")))?;
    match cluster.namespace_state(&parsed).await.map_err(failed)? {
        // Nothing new can be made there, not even the restore point that this begins with.
        Some(state) if state.phase == NamespacePhase::Terminating => {
            let since = state.terminating_since.unwrap_or_else(|| "an unknown time".to_owned());
            let remaining = state.remaining;
            return Err(failed(RestoreError::NamespaceTerminating { namespace: parsed, since, remaining }));
        }
        Some(_) => return Ok(()),
        None => {}
    }
    let kind = Kind::cluster("v1", "Namespace", "namespaces");
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    cluster.create_object(&kind, &namespace).await.map(drop).map_err(failed)
}

/// The restore point to restore from: the one that the content is bound to, or a new one.
async fn bind(
    cluster: &Cluster,
    content: &Value,
    application: &str,
    target: &str,
) -> Result<(String, String)> {
    let bound = &content["status"]["restorePointRef"];
    if let (Some(namespace), Some(name)) = (bound["namespace"].as_str(), bound["name"].as_str()) {
        return Ok((namespace.to_owned(), name.to_owned()));
    }
    let kind = apps("RestorePoint", "restorepoints");
    let name = format!("{application}-{}", random_suffix());
    let point = json!({
        "apiVersion": kind.api_version(), "kind": "RestorePoint",
        "metadata": { "name": name, "namespace": target },
        "spec": { "restorePointContentRef": { "name": content["metadata"]["name"] } },
    });
    match cluster.create_object(&kind, &point).await.map_err(failed)? {
        Creation::Created(_) => Ok((target.to_owned(), name)),
        Creation::Existed => Err(refuse(ErrorClass::Conflict, format!("restore point '{name}' exists"))),
    }
}

fn restore_action(restore: &Restore, namespace: &str, point: &str, target: &str) -> Value {
    let mut spec = json!({
        "subject": { "kind": "RestorePoint", "name": point, "namespace": namespace },
        "targetNamespace": target,
        "overwriteExisting": restore.overwrite_existing,
    });
    if restore.include_rbac {
        let rights = |resource: &str| json!({ "group": "rbac.authorization.k8s.io", "resource": resource });
        let defaults = json!({ "group": group::ACTIONS, "resource": "defaults" });
        spec["filters"] = json!({ "includeResources": [defaults, rights("roles"), rights("rolebindings")] });
    }
    json!({
        "apiVersion": format!("{}/{}", group::ACTIONS, group::VERSION), "kind": "RestoreAction",
        "metadata": { "name": format!("restore-{}-{}", restore.application, random_suffix()), "namespace": target },
        "spec": spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(name: &str, at: &str, labels: &[&str]) -> Value {
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|label| ((*label).to_owned(), json!("x"))).collect();
        json!({ "metadata": { "name": name, "labels": labels }, "status": { "actionTime": at } })
    }

    /// Another cluster's application of the same name was newer, and came back in the place of ours.
    #[test]
    fn the_newest_is_an_exported_one_of_this_cluster() {
        let local = content("local", "2026-03-03T00:00:00Z", &[]);
        let exported = content("exported", "2026-03-02T00:00:00Z", &[label::EXPORT_PROFILE]);
        let imported =
            content("imported", "2026-03-04T00:00:00Z", &[label::EXPORT_PROFILE, label::IMPORTED_FROM]);
        let name = |contents: &[&Value]| {
            let found = newest(contents.iter().map(|content| (*content).clone()).collect());
            found.map(|content| content["metadata"]["name"].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(name(&[&local, &imported, &exported]).as_deref(), Some("exported"));
        assert_eq!(name(&[&imported, &local]).as_deref(), Some("local"));
        assert_eq!(name(&[&imported]), None);
    }
}
