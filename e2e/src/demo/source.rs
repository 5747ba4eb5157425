//! The first act: a platform protects three applications and itself, and is lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::applications::{self, ARCHIVE, REGISTRY, SHOP};
use super::cluster::{Cluster, NAMESPACE};
use super::objects::Objects;
use super::platform::Platform;
use super::record::PlatformRecord;
use super::story::Story;
use super::vault::{LATE_PROFILE, PROFILE, Vault};

/// Seconds after which a status that shows nothing left to ship is believed: it is written every two.
const QUIET: Duration = Duration::from_secs(5);

const DR_POLICY: &str = "k10-disaster-recovery-policy";
const LATE_POLICY: &str = "shop-weekly";

/// What a user writes down, and what the demo compares with afterwards.
pub(super) struct Lost {
    pub(super) cluster_id: String,
    pub(super) passphrase: String,
    pub(super) applications: BTreeMap<&'static str, Objects>,
    pub(super) platform: PlatformRecord,
    /// The last entry of the journal that reached the location.
    pub(super) shipped_through: u64,
    /// Digest of the journal's last entry, and of each class of rows.
    pub(super) chain: String,
    pub(super) digests: BTreeMap<String, String>,
}

pub(super) async fn play(story: &mut Story, vault: &Vault, passphrase: &str) -> Result<Lost> {
    story.phase("boot control plane 'source'");
    let cluster = Cluster::start().await?;
    story.phase("start keelson serve");
    let platform = Platform::start(cluster, vault).await?;

    story.phase("create three applications");
    applications::create_all(&platform.cluster).await?;
    for name in applications::ALL {
        story.say(format!("{name}: {}", Objects::of(&platform.cluster, name).await?.census()));
    }

    story.phase("create location, policies and passphrase; enable disaster recovery");
    protect(&platform, vault, passphrase).await?;
    story.phase("run the policies of the applications");
    for name in applications::ALL {
        platform.run_policy(&format!("{name}-daily")).await?;
        story.say(format!("{name}-daily: complete"));
    }
    story.phase("run the DR policy");
    platform.run_policy(DR_POLICY).await?;

    story.phase("after the DR run: a release, a restore point, a profile, a policy");
    make_late_changes(&platform, vault).await?;
    let status = wait_until_shipped(&platform).await?;
    let lost = write_down(&platform, &status, passphrase).await?;
    story.say(format!("cluster ID: {}", lost.cluster_id));
    story.say(format!("shipped through entry {} of the journal", lost.shipped_through));
    for (class, digest) in &lost.digests {
        story.say(format!("digest of {class}: {digest}"));
    }

    story.phase("disaster: kill -9, cluster and data directory deleted");
    platform.destroy().await?;
    story.say("left: the location, the cluster ID, the passphrase");
    Ok(lost)
}

async fn protect(platform: &Platform, vault: &Vault, passphrase: &str) -> Result<()> {
    let cluster = &platform.cluster;
    vault.connect(cluster).await?;
    platform.wait_valid("profiles", PROFILE).await?;
    // Autoscalers are left to their owners unless they are asked for.
    let shop_filters = json!({ "includeResources": [
        { "group": "actions.kio.kasten.io", "resource": "defaults" },
        { "group": "autoscaling", "resource": "horizontalpodautoscalers" },
    ]});
    for (application, filters) in [(SHOP, shop_filters), (REGISTRY, json!({})), (ARCHIVE, json!({}))] {
        let name = format!("{application}-daily");
        cluster.apply_object(&application_policy(&name, application, "@daily", &filters)).await?;
        platform.wait_valid("policies", &name).await?;
    }
    create_passphrase(cluster, passphrase).await?;
    cluster.apply_object(&dr_policy()).await?;
    platform.wait_valid("policies", DR_POLICY).await
}

pub(super) async fn create_passphrase(cluster: &Cluster, passphrase: &str) -> Result<()> {
    let literal = format!("key={passphrase}");
    let secret =
        ["create", "secret", "generic", "k10-dr-secret", "-n", NAMESPACE, "--from-literal", &literal];
    cluster.kubectl(&secret, &[]).await.map(drop).context("create k10-dr-secret")
}

fn policy(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "config.kio.kasten.io/v1alpha1",
        "kind": "Policy",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": spec,
    })
}

fn applications_selector(namespace: &str) -> Value {
    json!({ "matchExpressions": [
        { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": [namespace] },
    ]})
}

fn application_policy(name: &str, application: &str, frequency: &str, filters: &Value) -> Value {
    let profile = json!({ "name": PROFILE, "namespace": NAMESPACE });
    policy(
        name,
        json!({
            "comment": format!("protects {application}"),
            "frequency": frequency,
            "retention": { "weekly": 4, "monthly": 12, "yearly": 7 },
            "selector": applications_selector(application),
            "actions": [
                { "action": "backup", "backupParameters": { "filters": filters } },
                { "action": "export", "exportParameters": {
                    "frequency": frequency, "profile": profile, "exportData": { "enabled": true },
                }},
            ],
        }),
    )
}

/// As the documentation prints it, in Legacy mode.
fn dr_policy() -> Value {
    let profile = json!({ "name": PROFILE, "namespace": NAMESPACE });
    policy(
        DR_POLICY,
        json!({
            "frequency": "@hourly",
            "retention": { "hourly": 4, "daily": 1, "weekly": 1, "monthly": 1, "yearly": 1 },
            "selector": applications_selector(NAMESPACE),
            "actions": [
                { "action": "backup", "backupParameters": { "filters": {}, "profile": profile } },
            ],
        }),
    )
}

/// What no run of the DR policy has seen.
async fn make_late_changes(platform: &Platform, vault: &Vault) -> Result<()> {
    let cluster = &platform.cluster;
    vault.add_profile(cluster, LATE_PROFILE, "second-place").await?;
    cluster.apply_object(&application_policy(LATE_POLICY, SHOP, "@weekly", &json!({}))).await?;
    platform.wait_valid("profiles", LATE_PROFILE).await?;
    platform.wait_valid("policies", LATE_POLICY).await?;
    applications::change_shop(cluster).await?;
    platform.run_policy(&format!("{SHOP}-daily")).await
}

/// Waits until the status has said for a while, unchanged, that nothing is left to ship.
async fn wait_until_shipped(platform: &Platform) -> Result<Value> {
    let mut quiet: Option<(Value, Instant)> = None;
    platform
        .until("everything is shipped", async || {
            let status = platform.recovery_status()?;
            let shipped = status["disasterRecovery"]["shipped"]["behind"] == 0;
            match &quiet {
                Some((same, since)) if shipped && *same == status => {
                    Ok((since.elapsed() >= QUIET).then_some(status))
                }
                _ => {
                    quiet = shipped.then(|| (status, Instant::now()));
                    Ok(None)
                }
            }
        })
        .await
}

async fn write_down(platform: &Platform, status: &Value, passphrase: &str) -> Result<Lost> {
    let cluster = &platform.cluster;
    let mut applications = BTreeMap::new();
    for name in applications::ALL {
        applications.insert(name, Objects::of(cluster, name).await?);
    }
    let catalog = &status["catalog"];
    Ok(Lost {
        cluster_id: cluster.id().await?,
        passphrase: passphrase.to_owned(),
        applications,
        platform: PlatformRecord::of(cluster).await?,
        shipped_through: status["disasterRecovery"]["shipped"]["through"]
            .as_u64()
            .context("the status tells no shipped position")?,
        chain: catalog["chain"].as_str().context("the status holds no chain digest")?.to_owned(),
        digests: digests_of(&catalog["digests"]),
    })
}

pub(super) fn digests_of(value: &Value) -> BTreeMap<String, String> {
    let digests = value.as_object().into_iter().flatten();
    digests.filter_map(|(class, digest)| Some((class.clone(), digest.as_str()?.to_owned()))).collect()
}
