//! What an import restores: by its policy each application once, and the rest by the hand of who may. What lies in no
//! namespace is nobody's to restore unasked.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use keelson_catalog::{Actor, Change, Class, Row, RowKey, RowKind};
use keelson_model::SessionId;
use keelson_model::names::{CLUSTER_SCOPE, label};
use keelson_protection::Requester;
use keelson_testkit::eventually;
use keelson_workload::Kind;
use serde_json::{Value, json};

use super::{
    BANK, EXPORTING, IMPORTING, SHOP, applications, config_maps, details_of, exporting, grants_of, imported,
    importing, outcome_of, raise_source, raise_target, receive_string, retire_export, run,
};
use crate::fixture::{World, copy, files, user};
use crate::stage::NAMESPACE;

const RBAC: &str = "rbac.authorization.k8s.io/v1";

fn cluster_roles() -> Kind {
    Kind::cluster(RBAC, "ClusterRole", "clusterroles")
}

async fn goods(world: &World, namespace: &str) -> Result<Option<Value>> {
    let map = world.platform.cluster().read_object(&config_maps(), Some(namespace), "goods").await?;
    Ok(map.map(|mut map| map["data"].take()))
}

/// Somebody without a right of his own.
fn dana() -> Requester {
    user("dana")
}

async fn may_read_secrets(world: &World, who: &Requester, namespace: &str) -> Result<()> {
    let metadata = json!({ "name": who.name(), "namespace": namespace });
    let rule = json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] });
    let role = json!({ "metadata": metadata, "rules": [rule] });
    let binding = json!({ "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": who.name() },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": who.name() }] });
    let cluster = world.platform.cluster();
    cluster.apply_object(&Kind::namespaced(RBAC, "Role", "roles"), &role).await?;
    cluster.apply_object(&Kind::namespaced(RBAC, "RoleBinding", "rolebindings"), &binding).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_restores_if_its_policy_says_so_and_a_content_by_hand() -> Result<()> {
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    run(&source, "first", EXPORTING).await?;
    let export =
        source.list("ExportAction")?.into_iter().find(|it| it.namespace == SHOP).context("an export")?;
    // Of one application.
    let at = (SHOP, export.name.as_str());
    let part = receive_string(&source, "ExportAction", at).await?;
    // Only for whoever may read here what it lets him read elsewhere.
    let shown_to_dana = async |kind: &str, at: (&str, &str)| -> Result<Value> {
        Ok(source.details_for(&dana(), kind, at).await?["receiveString"].take())
    };
    assert_eq!(shown_to_dana("ExportAction", at).await?, Value::Null);
    may_read_secrets(&source, &dana(), SHOP).await?;
    eventually("the right is known", async || {
        Ok((shown_to_dana("ExportAction", at).await? == part).then_some(()))
    })
    .await?;
    assert_eq!(shown_to_dana("RunAction", (NAMESPACE, "first")).await?, Value::Null, "it opens the bank");
    target.apply_policy(&importing(IMPORTING, &part, Some(json!({})))).await?;
    run(&target, "one", IMPORTING).await?;
    assert_eq!(applications(&target)?, [SHOP]);
    assert_eq!(goods(&target, SHOP).await?, Some(json!({ "of": SHOP })));
    let batches = target.list("BatchRestoreAction")?;
    assert_eq!(batches.len(), 1);
    // There is nothing new to restore.
    run(&target, "two", IMPORTING).await?;
    assert_eq!(target.list("BatchRestoreAction")?.len(), 1);

    let whole = receive_string(&source, "RunAction", (NAMESPACE, "first")).await?;
    target.apply_policy(&importing("all", &whole, None)).await?;
    run(&target, "three", "all").await?;
    assert_eq!(applications(&target)?, [BANK, SHOP], "what was taken by the part is not taken twice");
    let latest = json!({ "subjects": [{ "namespace": BANK }] });
    target.create("BatchRestoreAction", (NAMESPACE, "latest"), latest).await?;
    let status = target.ended("BatchRestoreAction", (NAMESPACE, "latest")).await?.body.status;
    let none = "there is no restore point that could be restored from here";
    assert!(status["state"] == "Failed" && status.to_string().contains(none), "{status}");
    let spec = json!({ "subject": { "kind": "Policy", "name": "all", "namespace": NAMESPACE },
        "expiresAt": "2030-01-01T00:00:00Z" });
    target.create("RunAction", (NAMESPACE, "expires"), spec).await?;
    let status = target.completed("RunAction", (NAMESPACE, "expires")).await?.body.status;
    assert!(status["exceptions"].to_string().contains("spec.expiresAt has no effect"), "{status}");
    let (_, content) = imported(&target)?.swap_remove(0);
    target.namespace(BANK).await?;
    let content = json!({ "restorePointContentRef": { "name": content.name } });
    target.create("RestorePoint", (BANK, "theirs"), content).await?;
    let subject = json!({ "subject": { "kind": "RestorePoint", "name": "theirs", "namespace": BANK } });
    target.create("ValidateAction", (BANK, "look"), subject.clone()).await?;
    target.completed("ValidateAction", (BANK, "look")).await?;
    target.create("RestoreAction", (BANK, "back"), subject).await?;
    target.completed("RestoreAction", (BANK, "back")).await?;
    assert_eq!(goods(&target, BANK).await?, Some(json!({ "of": BANK })));
    source.end().await?;
    target.end().await
}

/// It was restored over what was newer, as the newest that no import had named.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_seen_after_a_newer_one_is_imported_and_not_restored() -> Result<()> {
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    run(&source, "first", EXPORTING).await?;
    let first = outcome_of(&source, &target, SHOP)?;
    let changed = json!({ "metadata": { "name": "goods", "namespace": SHOP }, "data": { "of": "today" } });
    source.platform.cluster().apply_object(&config_maps(), &changed).await?;
    source.clock.advance(Duration::from_secs(60));
    run(&source, "second", EXPORTING).await?;
    let whole = receive_string(&source, "RunAction", (NAMESPACE, "second")).await?;
    let aside = target.share.path().join("aside");
    fs::rename(&first, &aside)?;

    target.apply_policy(&importing(IMPORTING, &whole, Some(json!({})))).await?;
    run(&target, "one", IMPORTING).await?;
    assert_eq!(applications(&target)?, [BANK, BANK, SHOP]);
    assert_eq!(goods(&target, SHOP).await?, Some(json!({ "of": "today" })));
    let named = async |run: &str| -> Result<usize> {
        let details = details_of(&target, run).await?;
        Ok(details["restorePointContents"].as_array().map_or(0, Vec::len))
    };
    assert_eq!((target.list("BatchRestoreAction")?.len(), named("one").await?), (1, 2));
    fs::rename(&aside, &first)?;
    for (later, contents) in [("two", 1), ("three", 0)] {
        run(&target, later, IMPORTING).await?;
        assert_eq!(details_of(&target, later).await?["importedCount"], contents, "{later}");
        assert_eq!(applications(&target)?, [BANK, BANK, SHOP, SHOP]);
        assert_eq!((target.list("BatchRestoreAction")?.len(), named(later).await?), (1, 0), "{later}");
    }
    source.end().await?;
    target.end().await
}

/// As if an export that is gone since had become a content that nobody understands: an import ends where it would let it go.
fn plant_senseless_content(source: &World, target: &World) -> Result<[RowKey; 2]> {
    let outcome = outcome_of(source, target, SHOP)?;
    let repository = outcome.ancestors().nth(2).and_then(Path::file_name).context("a repository")?;
    let granted = files(&grants_of(source, target))?.into_iter().next().context("a grant")?;
    let grant = granted.split('/').next().context("a grant")?;
    let gone = SessionId::from_bytes([7; 16]).to_string();
    let taken = json!({ "repository": repository.to_str(), "content": "senseless", "by": "nobody" });
    let content = json!({ "internal": { "artifact": 7 } });
    let rows = [
        ("exports-taken", grant, gone.as_str(), taken),
        ("restorepointcontents.apps.kio.kasten.io", "", "senseless", content),
    ]
    .map(|(kind, namespace, name, body)| Row {
        kind: RowKind::new(kind),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: String::new(),
        labels: BTreeMap::new(),
        created: target.platform.clock().now(),
        class: Class::Configuration,
        body: body.to_string().into_bytes(),
    });
    let keys = rows.clone().map(|row| RowKey::new(row.kind, row.namespace, row.name));
    target.platform.catalog()?.commit(&Actor::new("test"), rows.map(Change::create).into())?;
    Ok(keys)
}

/// What was taken in before an import failed was known to the next, and restored by none.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_import_took_in_before_it_failed_is_restored_by_the_next() -> Result<()> {
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    run(&source, "first", EXPORTING).await?;
    let whole = receive_string(&source, "RunAction", (NAMESPACE, "first")).await?;
    let senseless = plant_senseless_content(&source, &target)?;
    target.apply_policy(&importing(IMPORTING, &whole, Some(json!({})))).await?;
    let status = target.run_policy("one", IMPORTING).await?;
    assert_eq!(status["state"], "Failed", "{status}");
    assert_eq!(applications(&target)?, [BANK, SHOP]);
    assert!(target.list("BatchRestoreAction")?.is_empty());

    let deletions = senseless.into_iter().map(Change::delete).collect();
    target.platform.catalog()?.commit(&Actor::new("test"), deletions)?;
    run(&target, "two", IMPORTING).await?;
    assert_eq!(details_of(&target, "two").await?["importedCount"], 0);
    for application in [BANK, SHOP] {
        assert_eq!(goods(&target, application).await?, Some(json!({ "of": application })));
    }
    run(&target, "three", IMPORTING).await?;
    assert_eq!(target.list("BatchRestoreAction")?.len(), 1, "each is restored once");
    source.end().await?;
    target.end().await
}

/// Whoever administers the one cluster would have become an administrator of the other.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_of_no_application_is_restored_by_hand_only_and_goes_when_its_source_retires_it() -> Result<()>
{
    let target = raise_target().await?;
    let source = raise_source(&target).await?;
    let rule = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] });
    let role = json!({ "metadata": { "name": "theirs" }, "rules": [rule] });
    source.platform.cluster().create_object(&cluster_roles(), &role).await?;
    source.apply_policy(&exporting("all", &[SHOP, CLUSTER_SCOPE])).await?;
    run(&source, "first", "all").await?;
    let whole = receive_string(&source, "RunAction", (NAMESPACE, "first")).await?;
    // Of a namespace that no policy exports, by somebody who can write there.
    let grants = grants_of(&source, &target);
    let grant = fs::read_dir(&grants)?.next().context("a grant")??.path();
    copy(&grant.join(SHOP), &grant.join("default"))?;
    target.apply_policy(&importing(IMPORTING, &whole, Some(json!({})))).await?;
    let status = run(&target, "one", IMPORTING).await?;
    assert_eq!(applications(&target)?, [CLUSTER_SCOPE, SHOP]);
    assert_eq!(goods(&target, SHOP).await?, Some(json!({ "of": SHOP })));
    let told = status["exceptions"].to_string();
    assert!(told.contains("left to be restored by hand"), "{told}");
    assert!(told.contains("'default' was passed over"), "{told}");
    let there = async || target.platform.cluster().read_object(&cluster_roles(), None, "theirs").await;
    assert!(there().await?.is_none());

    let (_, content) = imported(&target)?.swap_remove(0);
    let point = content.body.status["restorePointRef"]["name"].as_str().context("a point")?.to_owned();
    let bound = target.read("ClusterRestorePoint", ("", &point))?.context("the point")?;
    assert_eq!(bound.label(label::IMPORTED_FROM), source.platform.cluster_id().as_str());
    let latest = json!({ "subjects": [{ "namespace": CLUSTER_SCOPE }] });
    target.create("BatchRestoreAction", (NAMESPACE, "latest"), latest).await?;
    let status = target.ended("BatchRestoreAction", (NAMESPACE, "latest")).await?.body.status;
    assert_eq!(status["state"], "Failed", "{status}");
    let subject = json!({ "subject": { "kind": "ClusterRestorePoint", "name": point } });
    target.create("RestoreClusterAction", ("", "back"), subject).await?;
    target.completed("RestoreClusterAction", ("", "back")).await?;
    assert!(there().await?.is_some());

    retire_export(&source, CLUSTER_SCOPE, "all").await?;
    run(&target, "two", IMPORTING).await?;
    assert_eq!(applications(&target)?, [SHOP]);
    assert!(target.list("ClusterRestorePoint")?.is_empty(), "its point led nowhere");
    source.end().await?;
    target.end().await
}
