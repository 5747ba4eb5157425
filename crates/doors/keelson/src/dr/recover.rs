//! `dr review`, `dr plan`, `tools rebuild-catalog`: make the resource, follow it, print what it found or did.

use std::time::Duration;

use anyhow::Result;
use keelson_model::{Chain, ErrorClass};
use keelson_protection::random_suffix;
use keelson_workload::{Cluster, Creation};
use serde_json::{Value, json};

use super::restore::{self, Asking};
use super::{MomentArguments, RebuildArguments, review_kind};
use crate::arguments::Common;
use crate::failure::{failed, refuse_with};
use crate::follow;
use crate::output::{data, say};
use crate::signals::Ending;

/// The platform ends a review by itself, and may have been given a week for it: its bound is the one that counts.
pub(super) const REVIEW_WITHIN: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) async fn review(arguments: MomentArguments) -> Result<()> {
    let reviewed = make_review(&arguments.source.common, arguments.spec().await?).await?;
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
    let reviewed = make_review(&arguments.source.common, arguments.spec().await?).await?;
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

/// Makes a review and names it.
pub(super) async fn create_review(cluster: &Cluster, namespace: &str, spec: Value) -> Result<String> {
    let (kind, name) = (review_kind(), format!("review-{}", random_suffix()));
    let object = json!({
        "apiVersion": kind.api_version(), "kind": kind.kind,
        "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    });
    match cluster.create_object(&kind, &object).await.map_err(failed)? {
        Creation::Created(_) => Ok(name),
        Creation::Existed => Err(refuse_with(
            ErrorClass::Conflict,
            format!("another {} exists", kind.kind),
            "wait until it has ended, or delete it",
        )),
    }
}

/// A review is made, read and removed again.
pub(super) async fn make_review(common: &Common, spec: Value) -> Result<Value> {
    let cluster = common.cluster().await?;
    let (kind, namespace) = (review_kind(), common.namespace.as_str());
    let name = create_review(&cluster, namespace, spec).await?;
    let ended = follow::to_the_end(&cluster, &kind, namespace, &name, REVIEW_WITHIN).await;
    remove_review(&cluster, namespace, &name).await;
    let ended = ended?;
    follow::check(&ended)?;
    Ok(ended)
}

/// One that stays hides nothing of what came of it: the next is refused until somebody deletes it, and says so.
pub(super) async fn remove_review(cluster: &Cluster, namespace: &str, name: &str) {
    let kind = review_kind();
    if let Err(error) = cluster.delete_object(&kind, Some(namespace), name).await {
        say(&format!("{} '{name}' could not be removed: {}", kind.kind, Chain(&error)));
    }
}

/// Makes the catalog from the exports alone.
pub(crate) async fn rebuild_from_exports(arguments: RebuildArguments) -> Result<()> {
    let RebuildArguments { source, replace_catalog, timeout } = arguments;
    let common = &source.common;
    let cluster = common.cluster().await?;
    let mut spec = source.spec(source.info().await?);
    spec["rebuildFromExports"] = json!(true);
    spec["replaceCatalog"] = json!(replace_catalog);
    spec["timeoutMinutes"] = json!(timeout);
    let ending = &mut Ending::listen();
    let restored =
        restore::follow_restore(ending, &cluster, common, &Asking::anew(), (spec, timeout)).await?;
    restore::print(common, &restored, "the catalog is made from the exports");
    Ok(())
}
