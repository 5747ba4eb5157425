//! The second act: a fresh cluster, a fresh platform, and everything back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::applications;
use super::cluster::{Cluster, NAMESPACE, path};
use super::objects::Objects;
use super::platform::{OWNERSHIP_GRACE, Platform};
use super::record::PlatformRecord;
use super::source::{Lost, create_passphrase, digests_of};
use super::story::Story;
use super::vault::{LATE_PROFILE, PROFILE, Vault};

const OWNERSHIP: &str = "k10-dr-remove-to-get-ownership";
const EXPORTED: &str = "k10.kasten.io/exportProfile";
const APPLICATION: &str = "k10.kasten.io/appNamespace";

/// How long the two halves of the recovery took.
pub(super) struct Times {
    pub(super) platform: Duration,
    pub(super) applications: Duration,
}

pub(super) async fn play(story: &mut Story, vault: &Vault, lost: &Lost) -> Result<Times> {
    story.phase("boot control plane 'recovery'");
    let cluster = Cluster::start().await?;
    story.phase("start a fresh keelson serve");
    let platform = Platform::start(cluster, vault).await?;
    create_passphrase(&platform.cluster, &lost.passphrase).await?;
    vault.connect(&platform.cluster).await?;
    platform.wait_valid("profiles", PROFILE).await?;

    story.phase("review the location");
    let (review, point) = review(story, &platform, lost).await?;
    story.phase("recover the platform");
    let restored = restore(&platform, &review, &point).await?;
    let platform_time = platform.started.elapsed();
    story.say(format!("recovered {point}, {:.2} s after the start", platform_time.as_secs_f64()));

    story.phase("compare the platform");
    compare(story, &platform, lost, &restored).await?;
    story.phase("take ownership");
    take_ownership(story, &platform, lost).await?;
    story.phase("restore the applications");
    let began = Instant::now();
    restore_applications(story, &platform).await?;
    let applications_time = began.elapsed();
    story.phase("compare every object of the applications");
    for (name, original) in &lost.applications {
        let found = Objects::of(&platform.cluster, name).await?;
        let what = format!("{} objects of {name}: {}", original.len(), original.census());
        story.judge(&what, original.differences(name, &found));
    }
    story.phase("stop");
    platform.destroy().await?;
    Ok(Times { platform: platform_time, applications: applications_time })
}

async fn review(story: &Story, platform: &Platform, lost: &Lost) -> Result<(String, String)> {
    let review = json!({
        "apiVersion": "dr.kio.kasten.io/v1alpha1",
        "kind": "KastenDRReview",
        "metadata": { "generateName": "review-", "namespace": NAMESPACE },
        "spec": { "sourceClusterInfo": { "profileName": PROFILE, "sourceClusterID": lost.cluster_id } },
    });
    let name = platform.cluster.create(&review).await?;
    let done = platform.wait_recovery("kastendrreviews", &name).await?;
    story.say(platform.cluster.kubectl(&["get", "kastendrreviews", "-n", NAMESPACE], &[]).await?);
    let points = done["status"]["restorePoints"]["restorePointList"].as_array();
    let points = points.context("the review lists no restore points")?;
    for point in points {
        let text = |field: &str| point[field].as_str().unwrap_or_default();
        story.say(format!("{}  {}  {}", text("creationTime"), text("version"), text("id")));
    }
    let newest = points.first().and_then(|point| point["id"].as_str());
    let newest = newest.context("the review lists no restore points")?;
    let through = lost.shipped_through;
    let reaches_the_end = newest.ends_with(&format!(".{through}"));
    ensure!(reaches_the_end, "the newest point is {newest}; entry {through} was shipped");
    Ok((name, newest.to_owned()))
}

async fn restore(platform: &Platform, review: &str, point: &str) -> Result<Value> {
    let restore = json!({
        "apiVersion": "dr.kio.kasten.io/v1alpha1",
        "kind": "KastenDRRestore",
        "metadata": { "generateName": "restore-", "namespace": NAMESPACE },
        "spec": { "kastenDRReviewDetails": {
            "kastenDRReviewRef": { "name": review, "namespace": NAMESPACE },
            "id": point,
        }},
    });
    let name = platform.cluster.create(&restore).await?;
    platform.wait_recovery("kastendrrestores", &name).await
}

async fn compare(story: &mut Story, platform: &Platform, lost: &Lost, restored: &Value) -> Result<()> {
    let recovered = &restored["status"]["recovered"];
    let mut differences = Vec::new();
    if recovered["chain"] != lost.chain.as_str() {
        differences.push(format!("the journal's chain is {} instead of {}", recovered["chain"], lost.chain));
    }
    let digests = digests_of(&recovered["digests"]);
    for (class, digest) in &digests {
        if lost.digests.get(class) != Some(digest) {
            differences.push(format!("class {class} is {digest} instead of {:?}", lost.digests.get(class)));
        }
    }
    if digests.is_empty() {
        differences.push("the restore tells no digests".to_owned());
    }
    let classes: Vec<_> = digests.keys().map(String::as_str).collect();
    story.judge(&format!("digests of the journal's chain and of {}", classes.join(", ")), differences);

    let found = PlatformRecord::of(&platform.cluster).await?;
    for (what, differences) in lost.platform.differences(found) {
        story.judge(&what, differences);
    }
    let policies = lost.platform.policies.keys().filter_map(|name| name.rsplit('/').next());
    for policy in policies {
        platform.wait_valid("policies", policy).await?;
    }
    for profile in [PROFILE, LATE_PROFILE] {
        platform.wait_valid("profiles", profile).await?;
    }
    story.say("policies and profiles are valid here");
    Ok(())
}

async fn take_ownership(story: &mut Story, platform: &Platform, lost: &Lost) -> Result<()> {
    let at = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{OWNERSHIP}");
    let map = platform.cluster.read(&at).await?;
    let source = map.as_ref().and_then(|map| map["data"]["sourceClusterID"].as_str());
    ensure!(source == Some(&lost.cluster_id), "ConfigMap {OWNERSHIP} is not there: {map:?}");
    let status = platform.recovery_status()?;
    story.say(format!("ConfigMap {OWNERSHIP} is there; ownership is {}", status["ownership"]["state"]));

    platform.cluster.kubectl(&["delete", "configmap", OWNERSHIP, "-n", NAMESPACE], &[]).await?;
    let epoch = platform
        .until("ownership is taken", async || {
            let ownership = &platform.recovery_status()?["ownership"];
            let claims = ownership["claims"].as_array().into_iter().flatten();
            let of_source = claims.filter(|claim| claim["cluster"] == lost.cluster_id.as_str());
            let epoch = of_source.filter_map(|claim| claim["epoch"].as_u64()).max();
            Ok(epoch.filter(|_| ownership["state"] == "Owned"))
        })
        .await?;
    ensure!(epoch > 1, "ownership was taken with epoch {epoch}, which the lost instance has claimed");
    story.say(format!("deleted; epoch {epoch} is claimed (grace {OWNERSHIP_GRACE} s here, 60 s by default)"));
    Ok(())
}

async fn restore_applications(story: &Story, platform: &Platform) -> Result<()> {
    let cluster = &platform.cluster;
    let removed = cluster.list(&path("apps", "applications", Some(NAMESPACE), None)).await?;
    for application in applications::ALL {
        let is_removed =
            |it: &&Value| it["metadata"]["name"] == application && it["status"]["state"] == "Deleted";
        ensure!(removed.iter().any(|it| is_removed(&it)), "{application} is not listed as removed");
    }
    let newest = newest_exports(&cluster.list(&path("apps", "restorepointcontents", None, None)).await?);
    for application in applications::ALL {
        let content = newest.get(application).with_context(|| format!("{application} has no export"))?;
        let restored = restore_application(platform, application, content).await?;
        let counts = &restored["status"]["restoreDetails"];
        let told = ["created", "replaced", "recreated", "unchanged", "skipped", "failed"]
            .map(|word| format!("{} {word}", counts[word]))
            .join(", ");
        story.say(format!("{application} from {content}: {told}"));
        for exception in restored["status"]["exceptions"].as_array().into_iter().flatten() {
            story.say(format!("  exception: {}", exception["message"].as_str().unwrap_or_default()));
        }
        if counts["failed"] != 0 {
            bail!("{} objects of {application} were not restored", counts["failed"]);
        }
    }
    Ok(())
}

/// The newest exported content of each application.
fn newest_exports(contents: &[Value]) -> BTreeMap<String, String> {
    let mut exports: Vec<_> = contents
        .iter()
        .filter(|content| content["metadata"]["labels"][EXPORTED].is_string())
        .filter_map(|content| {
            let application = content["metadata"]["labels"][APPLICATION].as_str()?;
            let time = content["status"]["actionTime"].as_str()?;
            Some((time, application.to_owned(), content["metadata"]["name"].as_str()?.to_owned()))
        })
        .collect();
    exports.sort();
    exports.into_iter().map(|(_, application, name)| (application, name)).collect()
}

/// What the documentation lets a user do for an application that is gone: namespace, restore point, restore.
async fn restore_application(platform: &Platform, application: &str, content: &str) -> Result<Value> {
    let cluster = &platform.cluster;
    cluster.create_namespace(application).await?;
    let point = json!({
        "apiVersion": "apps.kio.kasten.io/v1alpha1",
        "kind": "RestorePoint",
        "metadata": { "name": format!("{application}-back"), "namespace": application },
        "spec": { "restorePointContentRef": { "name": content } },
    });
    let point = cluster.create(&point).await?;
    let at = path("apps", "restorepoints", Some(application), Some(&point));
    platform
        .until("the restore point is bound", async || {
            let point = cluster.read(&at).await?.with_context(|| format!("{at} is gone"))?;
            Ok((point["status"]["state"] == "Bound").then_some(()))
        })
        .await?;
    let restore = json!({
        "apiVersion": "actions.kio.kasten.io/v1alpha1",
        "kind": "RestoreAction",
        "metadata": { "generateName": "restore-", "namespace": application },
        "spec": {
            "subject": { "kind": "RestorePoint", "name": point, "namespace": application },
            "targetNamespace": application,
            // Roles and their bindings come back only when they are asked for.
            "filters": { "includeResources": [
                { "group": "actions.kio.kasten.io", "resource": "defaults" },
                { "group": "autoscaling", "resource": "horizontalpodautoscalers" },
                { "group": "rbac.authorization.k8s.io", "resource": "roles" },
                { "group": "rbac.authorization.k8s.io", "resource": "rolebindings" },
            ]},
        },
    });
    let restore = cluster.create(&restore).await?;
    platform.wait_complete("restoreactions", application, &restore).await
}
