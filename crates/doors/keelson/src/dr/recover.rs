//! `dr review`, `dr plan`, `dr restore`: make the resource, follow it, print what it found or did.

use std::time::Duration;

use anyhow::Result;
use keelson_model::ErrorClass;
use keelson_protection::random_suffix;
use keelson_workload::{Cluster, Creation, Kind};
use serde_json::{Value, json};

use super::{GRACE, MomentArguments, RebuildArguments, RestoreArguments, restore_kind, review_kind};
use crate::arguments::Common;
use crate::failure::{failed, is_cancelled, refuse_with};
use crate::follow;
use crate::output::{data, say};

const REVIEW_WITHIN: Duration = Duration::from_secs(30 * 60);

pub(super) async fn review(arguments: MomentArguments) -> Result<()> {
    let reviewed = make_review(&arguments.source.common, arguments.info().await?).await?;
    tell_warnings(&reviewed);
    data(arguments.source.common.output, &reviewed["status"]["restorePoints"], |points| {
        let line = |point: &Value| {
            let text = |field: &str| point[field].as_str().unwrap_or_default().to_owned();
            format!("{}  {}  {}", text("id"), text("version"), text("creationTime"))
        };
        let list = points["restorePointList"].as_array().cloned().unwrap_or_default();
        list.iter().map(line).collect::<Vec<_>>().join("\n")
    });
    Ok(())
}

pub(super) async fn plan(arguments: MomentArguments) -> Result<()> {
    let reviewed = make_review(&arguments.source.common, arguments.info().await?).await?;
    data(arguments.source.common.output, &reviewed["status"]["plan"], |plan| {
        let lines = plan.as_array().into_iter().flatten().filter_map(Value::as_str);
        lines.collect::<Vec<_>>().join("\n")
    });
    Ok(())
}

pub(super) fn tell_warnings(ended: &Value) {
    for warning in ended["status"]["warnings"].as_array().into_iter().flatten() {
        say(&format!("warning: {}", warning.as_str().unwrap_or_default()));
    }
}

/// A review is made, read and removed again.
pub(super) async fn make_review(common: &Common, source: Value) -> Result<Value> {
    let cluster = common.cluster().await?;
    let (kind, namespace) = (review_kind(), common.namespace.as_str());
    let name = format!("review-{}", random_suffix());
    let spec = json!({ "sourceClusterInfo": source });
    create(&cluster, &kind, namespace, &name, spec).await?;
    let ended = follow::to_the_end(&cluster, &kind, namespace, &name, REVIEW_WITHIN).await;
    cluster.delete_object(&kind, Some(namespace), &name).await.map_err(failed)?;
    let ended = ended?;
    follow::check(&ended)?;
    Ok(ended)
}

pub(super) async fn restore(arguments: RestoreArguments) -> Result<()> {
    let RestoreArguments { moment, point, skip_resource, replace_catalog, accept_rollback, timeout } =
        arguments;
    let common = &moment.source.common;
    let cluster = common.cluster().await?;
    let namespace = common.namespace.as_str();
    let info = moment.info().await?;
    let mut spec = json!({
        "timeoutMinutes": timeout, "replaceCatalog": replace_catalog, "acceptRollback": accept_rollback,
    });
    let mut review = None;
    match point {
        None => spec["sourceClusterInfo"] = info,
        Some(point) => {
            let name = format!("review-{}", random_suffix());
            create(&cluster, &review_kind(), namespace, &name, json!({ "sourceClusterInfo": info })).await?;
            let ended = follow::to_the_end(&cluster, &review_kind(), namespace, &name, REVIEW_WITHIN).await;
            if let Err(error) = ended.and_then(|ended| follow::check(&ended)) {
                cluster.delete_object(&review_kind(), Some(namespace), &name).await.map_err(failed)?;
                return Err(error);
            }
            spec["kastenDRReviewDetails"] =
                json!({ "kastenDRReviewRef": { "name": name, "namespace": namespace }, "id": point });
            review = Some(name);
        }
    }
    if let Some(skip) = skip_resource {
        spec["skipResources"] = json!(skip);
    }
    let restored = follow_restore(&cluster, common, spec, timeout).await;
    // A restore that goes on without us may ask for its review again.
    let goes_on = restored.as_ref().is_err_and(is_cancelled);
    if let Some(review) = review.filter(|_| !goes_on) {
        cluster.delete_object(&review_kind(), Some(namespace), &review).await.map_err(failed)?;
    }
    print_restored(common, &restored?, "the platform is recovered");
    Ok(())
}

/// Makes the catalog from the exports alone.
pub(crate) async fn rebuild_from_exports(arguments: RebuildArguments) -> Result<()> {
    let RebuildArguments { source, replace_catalog, timeout } = arguments;
    let common = &source.common;
    let cluster = common.cluster().await?;
    let spec = json!({
        "sourceClusterInfo": source.info().await?,
        "rebuildFromExports": true, "replaceCatalog": replace_catalog, "timeoutMinutes": timeout,
    });
    let restored = follow_restore(&cluster, common, spec, timeout).await?;
    print_restored(common, &restored, "the catalog is made from the exports");
    Ok(())
}

/// Makes a KastenDRRestore and follows it to its end.
async fn follow_restore(cluster: &Cluster, common: &Common, spec: Value, timeout: u64) -> Result<Value> {
    let (kind, namespace) = (restore_kind(), common.namespace.as_str());
    remove_finished(cluster, &kind, namespace).await?;
    let name = format!("restore-{}", random_suffix());
    create(cluster, &kind, namespace, &name, spec).await?;
    let within = Duration::from_secs(timeout * 60) + GRACE;
    let ended = follow::to_the_end(cluster, &kind, namespace, &name, within).await?;
    follow::check(&ended)?;
    Ok(ended)
}

fn print_restored(common: &Common, restored: &Value, outcome: &str) {
    let namespace = common.namespace.as_str();
    tell_warnings(restored);
    data(common.output, &restored["status"], |status| {
        let notes = status["notes"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut lines: Vec<String> = notes.map(|note| format!("note: {note}")).collect();
        lines.push(outcome.to_owned());
        lines.push(format!(
            "when no other instance uses the same backups: kubectl delete configmap --namespace={namespace} {}",
            keelson_model::names::OWNERSHIP_CONFIG_MAP
        ));
        lines.join("\n")
    });
}

async fn create(cluster: &Cluster, kind: &Kind, namespace: &str, name: &str, spec: Value) -> Result<()> {
    let object = json!({
        "apiVersion": kind.api_version(), "kind": kind.kind,
        "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    });
    match cluster.create_object(kind, &object).await.map_err(failed)? {
        Creation::Created(_) => Ok(()),
        Creation::Existed => Err(refuse_with(
            ErrorClass::Conflict,
            format!("another {} exists", kind.kind),
            "wait until it has ended, or delete it",
        )),
    }
}

/// A finished request of an earlier try makes room for this one.
async fn remove_finished(cluster: &Cluster, kind: &Kind, namespace: &str) -> Result<()> {
    for object in cluster.list_objects(kind, Some(namespace), None).await.map_err(failed)? {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if matches!(object["status"]["state"].as_str(), Some("success" | "failed")) {
            cluster.delete_object(kind, Some(namespace), name).await.map_err(failed)?;
        }
    }
    Ok(())
}
