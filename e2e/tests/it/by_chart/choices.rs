//! What the restore chart lets an operator choose: quick mode and its confirmation, what is left out, and the moment.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use keelson_testkit::{BucketProtection, eventually};
use serde_json::{Value, json};

use super::installation::{Cluster, DR_POLICY, Lost, OWNERSHIP, items};
use super::scene::{BUCKET, PATH, Scene};
use super::shop::POLICY;
use super::typed::with;
use super::verdict::scenario;
use crate::stage::{NAMESPACE, block_on};

pub(super) const QUICK: &str = "--set kastenDisasterRecovery.quickMode.enabled=true";
/// As a review calls it.
const QUICK_VERSION: &str = "v3.2_metadata";
const LOCKED: &str = "locked";
const PAGES_MOMENT: &str = "2022-01-02T15:04:05Z";
/// A definition of the chart, and below what of it an earlier release did not have a field.
const DEFINITION: &str = "auditconfigs.config.kio.kasten.io";
const FIELDS: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/profile/properties";
const FIELD: &str = "namespace";
/// What was shipped soon after a moment belongs to it.
const LATER: Duration = Duration::from_secs(12);

/// Another profile beside `vault`, which a recovery brings back with its Secret.
pub(super) fn makes_further_profile(cluster: &Cluster<'_>, name: &str, path: &str) -> Result<()> {
    cluster.makes_profile_of(name, BUCKET, &json!({ "path": path }))
}

/// Which of these configurations are there: profiles, policies, Secrets.
pub(super) fn found(cluster: &Cluster<'_>) -> Result<[bool; 3]> {
    let has = |kind: &str, name: &str| {
        Ok::<_, anyhow::Error>(cluster.names(&[kind, "-n", NAMESPACE])?.contains(name))
    };
    let policies = (has("policies", POLICY)?, has("policies", DR_POLICY)?);
    ensure!(policies.0 == policies.1, "one policy is there without the other");
    Ok([has("profiles", "second")?, policies.0, has("secrets", "second-keys")?])
}

/// The platform has started by now and looked at each of them. Helm 4 could not change what is the platform's.
fn assert_definitions_are_the_charts(cluster: &Cluster<'_>) -> Result<()> {
    let definitions = cluster.get(&["crds", "--show-managed-fields"])?.unwrap_or_default();
    let by = |definition: &Value, manager: &str| {
        let managers = definition["metadata"]["managedFields"].as_array().into_iter().flatten();
        let mut applied = managers.filter(|one| one["operation"] == "Apply");
        applied.any(|one| one["manager"] == manager)
    };
    let of_chart: Vec<&Value> = items(&definitions).iter().filter(|&one| by(one, "helm")).collect();
    ensure!(!of_chart.is_empty(), "Helm has applied no definition");
    for definition in of_chart {
        ensure!(!by(definition, "keelson"), "two have applied {}", definition["metadata"]["name"]);
    }
    Ok(())
}

/// What the chart of an earlier release would have made. In Helm's name, since Helm 4 stops at anybody else's change; and by
/// force, since Helm 3 did not apply what it made.
pub(super) fn puts_older_definition(cluster: &Cluster<'_>) -> Result<()> {
    let mut definition = cluster.get(&["crd", DEFINITION])?.context("no definition")?;
    let fields = definition.pointer_mut(FIELDS).and_then(Value::as_object_mut);
    let field = fields.context("the definition has other fields")?.remove(FIELD);
    ensure!(field.is_some(), "{DEFINITION} has no field '{FIELD}'");
    let (labels, annotations) = (&definition["metadata"]["labels"], &definition["metadata"]["annotations"]);
    let older = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": DEFINITION, "labels": labels, "annotations": annotations },
        "spec": definition["spec"],
    });
    let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=helm", "-f", "-"];
    cluster.kubectl(&apply, &older.to_string())?;
    ensure!(!has_field(cluster)?, "the older definition has the field");
    Ok(())
}

pub(super) fn assert_definition_is_whole(cluster: &Cluster<'_>) -> Result<()> {
    ensure!(has_field(cluster)?, "{DEFINITION} lacks the field '{FIELD}' still");
    Ok(())
}

fn has_field(cluster: &Cluster<'_>) -> Result<bool> {
    let definition = cluster.get(&["crd", DEFINITION])?.context("no definition")?;
    Ok(definition.pointer(FIELDS).is_some_and(|fields| fields[FIELD].is_object()))
}

/// Nothing is said of the mode then, and the next backup is of the one that the chart was told.
fn enables_in_quick_mode(cluster: &Cluster<'_>) -> Result<()> {
    cluster.enables()?;
    let run = cluster.starts(DR_POLICY)?;
    let run = cluster.complete("runaction", NAMESPACE, &run)?;
    assert_eq!(run["status"]["disasterRecovery"]["mode"], QUICK_VERSION, "{}", run["status"]);
    Ok(())
}

#[test]
fn a_quick_recovery_is_confirmed_and_what_is_skipped_does_not_come_back() -> Result<()> {
    scenario(|scene| {
        let cluster = Cluster::raise(scene, "quick")?;
        cluster.begins("")?;
        puts_older_definition(&cluster)?;
        for more in [QUICK, "--set kastenDisasterRecovery.quickMode.enabled=false"] {
            cluster.upgrades(more)?;
            assert_definition_is_whole(&cluster)?;
            assert_definitions_are_the_charts(&cluster)?;
        }
        cluster.rolls_back()?;
        makes_further_profile(&cluster, "second", PATH)?;
        let lost = cluster.protects()?;
        cluster.until("it is Quick DR", || {
            Ok((cluster.status()?["disasterRecovery"]["mode"] == QUICK_VERSION).then_some(()))
        })?;
        assert_eq!(found(&cluster)?, [true, true, true]);

        cluster.loses_everything()?;
        cluster.begins(QUICK)?;
        // It takes a name that was backed up, and leads elsewhere.
        makes_further_profile(&cluster, "second", "elsewhere")?;
        let said = cluster.tries_to_ask(&lost, "--set quickMode.enabled=true", &[])?;
        ensure!(said.code != 0 && said.stderr.contains("quickMode.overrideResources"), "{said:?}");
        ensure!(cluster.get(&["job", "k10-restore", "-n", NAMESPACE])?.is_none(), "nothing is installed");
        cluster.recovers(&lost, with::QUICK_MODE, &[])?;
        let second = cluster.get(&["profile", "second", "-n", NAMESPACE])?.context("no second profile")?;
        assert_eq!(second["spec"]["locationSpec"]["objectStore"]["path"], PATH, "it was replaced");
        assert_eq!(found(&cluster)?, [true, true, true]);
        cluster.assert_recovered(&lost)?;

        // Without a word on the mode: the restore point knows it.
        cluster.loses_everything()?;
        cluster.begins(QUICK)?;
        cluster.recovers(&lost, with::SKIPPED, &[])?;
        assert_eq!(found(&cluster)?, [false, false, true]);
        cluster.assert_recovered(&lost)?;
        // The policy of before was left out: of the mode nobody has said anything since the installation.
        enables_in_quick_mode(&cluster)?;
        cluster.nodes.check()
    })
}

/// Everything that can be seen is overwritten and hidden. What lies below it is locked.
fn attack(scene: &Scene) -> Result<()> {
    let client = scene.minio.client();
    for version in scene.versions(LOCKED)? {
        block_on(async {
            let put = client.put_object().bucket(LOCKED).key(&version.key).body(b"forged".to_vec().into());
            put.send().await.with_context(|| format!("overwrite {}", version.key))?;
            let delete = client.delete_object().bucket(LOCKED).key(&version.key);
            delete.send().await.with_context(|| format!("hide {}", version.key))?;
            anyhow::Ok(())
        })?;
    }
    Ok(())
}

/// The page's own moment, which is long before: it is refused with those that are possible, and nothing has changed.
fn is_told_what_is_possible(cluster: &Cluster<'_>, lost: &Lost) -> Result<()> {
    cluster.asks_for(lost, with::POINT_IN_TIME, &[("time", PAGES_MOMENT)])?;
    let word = cluster.last_word("k10-restore")?;
    let told = word.message.split_once(&format!("{PAGES_MOMENT}; ")).map(|(_, range)| range);
    let is_range = |range: &str| range.contains(" to ") && range.contains(" is possible");
    ensure!(word.code == 3 && told.is_some_and(is_range), "{word:?}");
    ensure!(cluster.get(&OWNERSHIP)?.is_none(), "what was refused leaves something");
    cluster.uninstalls_restore()
}

#[test]
fn a_platform_in_a_locked_bucket_comes_back_as_of_before_an_attack() -> Result<()> {
    scenario(|scene| {
        block_on(scene.minio.create_bucket(LOCKED, BucketProtection::ObjectLock))?;
        let cluster = Cluster::raise(scene, "locked")?;
        let protection = json!({ "protectionPeriod": "168h0m0s" });
        let begin = || {
            cluster.makes_namespace()?;
            cluster.makes_passphrase()?;
            cluster.installs("")?;
            cluster.makes_profile_of("vault", LOCKED, &protection)
        };
        begin()?;
        let lost = cluster.protects()?;
        cluster.loses_everything()?;
        let written = scene.versions(LOCKED)?.iter().map(|version| version.written).max();
        let before = Timestamp::from_second(written.context("nothing is stored")?)?;
        let now = Instant::now();

        begin()?;
        is_told_what_is_possible(&cluster, &lost)?;
        block_on(eventually("the attack is later", async || Ok((now.elapsed() > LATER).then_some(()))))?;
        attack(scene)?;
        // As for whoever comes only now.
        cluster.makes_profile_of("afterwards", LOCKED, &protection)?;

        let moment = before.to_string();
        cluster.recovers(&lost, with::POINT_IN_TIME, &[("time", moment.as_str())])?;
        cluster.assert_recovered(&lost)?;
        cluster.nodes.check()
    })
}
