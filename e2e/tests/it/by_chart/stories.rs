//! The whole story: install, make a profile, enable, run once, lose everything, come back; on another cluster, and on the
//! same one by chart and by operator.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::installation::{Cluster, DR_POLICY, Lost, OWNERSHIP, PHRASE, text};
use super::mishaps::recovers_in_spite_of_all;
use super::operator::recovers_through_operator;
use super::scene::{BUCKET, Scene};
use super::shop::{PAGE, POLICY, SHOP, TILL};
use super::typed::{CLUSTER_ID, TAKE_OWNERSHIP};
use super::verdict::scenario;
use crate::secrets::{Emitted, Planted};
use crate::stage::NAMESPACE;

/// What a chart labels as its own, besides what the platform may make there as well.
const LABELLED: [&str; 5] =
    ["serviceaccounts", "configmaps", "secrets", "networkpolicies", "poddisruptionbudgets"];
/// Of these every installation has some.
const ALWAYS_LABELLED: [&str; 3] = ["serviceaccounts", "networkpolicies", "poddisruptionbudgets"];

/// What must not lie in the open.
fn planted() -> [Planted; 3] {
    let texts = [("the page of the shop", PAGE), ("the key of the till", TILL), ("the passphrase", PHRASE)];
    texts.map(|(what, text)| Planted::new(what, text.as_bytes()))
}

/// The search finds it as it is, in a Secret as the cluster writes it, and within what is compressed and not encrypted.
fn assert_planted_is_found(cluster: &Cluster<'_>) -> Result<()> {
    let planted = planted();
    let till = cluster.get(&["secret", "till", "-n", SHOP])?.context("the till is gone")?;
    let objects = cluster.get(&["configmaps,secrets", "-n", SHOP])?.context("the shop has no objects")?;
    let text = format!("{objects} {PHRASE}");
    let compressed = zstd::bulk::compress(text.as_bytes(), 3)?;
    let [mut secret, mut plain, mut hidden, mut opened]: [Emitted; 4] = Default::default();
    secret.add("the till", till["data"].to_string().as_bytes());
    plain.add("a text", text.as_bytes());
    hidden.add("compressed bytes", &compressed);
    opened.add_stored("a compressed text", &[b"head", &compressed[..], b"tail"].concat());
    ensure!(secret.find(&planted).len() == 1, "of the till is found: {:?}", secret.find(&planted));
    ensure!(hidden.find(&planted).is_empty(), "not compressed are: {:?}", hidden.find(&planted));
    for found in [plain.find(&planted), opened.find(&planted)] {
        ensure!(found.len() >= planted.len(), "found are only: {found:?}");
    }
    Ok(())
}

/// Looks at every byte of every version of every object.
fn assert_nothing_in_the_open(scene: &Scene) -> Result<()> {
    let (planted, versions) = (planted(), scene.versions(BUCKET)?);
    ensure!(versions.len() > 10, "{} objects are stored", versions.len());
    for version in versions {
        let mut stored = Emitted::default();
        stored.add_stored(&version.key, &scene.read(BUCKET, &version)?);
        stored.add(format!("the name {}", version.key), version.key.as_bytes());
        assert_eq!(stored.find(&planted), Vec::<String>::new());
    }
    Ok(())
}

fn owner(cluster: &Cluster<'_>) -> Result<String> {
    Ok(text(&cluster.status()?["ownership"]["state"]))
}

/// By the line of the page.
fn takes_ownership(cluster: &Cluster<'_>) -> Result<()> {
    cluster.until("it knows that somebody else may use the same backups", || {
        Ok((owner(cluster)? == "Pending").then_some(()))
    })?;
    cluster.types(TAKE_OWNERSHIP, &[])?;
    cluster.until("ownership is taken", || Ok((owner(cluster)? == "Owned").then_some(())))
}

/// As the owner of its backups.
fn goes_on(cluster: &Cluster<'_>) -> Result<()> {
    for policy in [POLICY, DR_POLICY] {
        cluster.wait_valid("policy", policy)?;
        cluster.runs_once(policy)?;
    }
    cluster.wait_until_shipped()
}

#[test]
fn a_destroyed_cluster_comes_back_on_another_with_the_commands_of_the_page() -> Result<()> {
    scenario(|scene| {
        let source = Cluster::raise(scene, "source")?;
        let lost = source.lives("")?;
        let policies = source.names(&["policies", "-n", NAMESPACE])?;
        ensure!(policies.contains(DR_POLICY), "enabling made no policy: {policies:?}");
        assert_planted_is_found(&source)?;
        assert_nothing_in_the_open(scene)?;
        source.destroy()?;

        let fresh = Cluster::raise(scene, "fresh")?;
        ensure!(fresh.types(CLUSTER_ID, &[])?.trim() != lost.id, "another cluster has another id");
        fresh.begins("")?;
        let install = "$ helm install k10-restore kasten/k10restore --namespace=kasten-io --set";
        for (given, missing) in
            [("profile.name=<word>", "sourceClusterID"), ("sourceClusterID=<word>", "profile.name")]
        {
            let said = fresh.tries(&format!("{install} {given}"), &[("word", lost.id.as_str())])?;
            ensure!(said.code != 0 && said.stderr.contains(&format!("{missing} is missing")), "{said:?}");
        }
        fresh.recovers(&lost, "", &[])?;
        fresh.assert_platform_recovered(&lost)?;
        assert_eq!(fresh.names(&["policies", "-n", NAMESPACE])?, policies);
        takes_ownership(&fresh)?;
        // The other stories restore it before, for which nobody has to own the backups.
        fresh.restores_shop(&lost)?;
        goes_on(&fresh)?;
        assert_nothing_in_the_open(scene)?;

        fresh.uninstalls_restore()?;
        ensure!(fresh.exports()?.len() > lost.exports.len(), "what was restored goes on without the Job");
        fresh.nodes.check()
    })
}

/// What says that somebody else may own the backups; null where the platform owns them.
fn ownership(cluster: &Cluster<'_>) -> Result<Value> {
    Ok(cluster.get(&OWNERSHIP)?.map_or(Value::Null, |map| map["data"].clone()))
}

/// Of the objects of this kind in the platform's namespace those that one of the charts has made.
fn of_charts(cluster: &Cluster<'_>, kind: &str) -> Result<BTreeSet<String>> {
    cluster.names(&[kind, "-n", NAMESPACE, "-l", "app.kubernetes.io/instance in (k10,k10-restore)"])
}

/// A recovered platform and its restore are uninstalled. What holds the catalog, and what says who may own the backups, is
/// left to whoever installs again.
pub(super) fn uninstalls_all(cluster: &Cluster<'_>) -> Result<()> {
    cluster.uninstalls_restore()?;
    cluster.wait_until_served()?;
    for kind in ALWAYS_LABELLED {
        ensure!(!of_charts(cluster, kind)?.is_empty(), "of these the chart has made none: {kind}");
    }
    let ownership_before = ownership(cluster)?;
    cluster.types("$ helm uninstall k10 --namespace=kasten-io", &[])?;
    assert_eq!(cluster.registered()?, Vec::<String>::new());
    for kind in ["clusterroles", "clusterrolebindings"] {
        let left = cluster.names(&[kind, "-l", "app.kubernetes.io/instance=k10"])?;
        assert!(left.is_empty(), "{kind}: {left:?}");
    }
    for kind in ["deployments", "jobs", "services", "leases", "roles", "rolebindings"] {
        let left = cluster.names(&[kind, "-n", NAMESPACE])?;
        assert!(left.is_empty(), "{kind}: {left:?}");
    }
    for kind in LABELLED {
        let left = of_charts(cluster, kind)?;
        assert!(left.is_empty(), "{kind}: {left:?}");
    }
    ensure!(cluster.get(&["pvc", "catalog-pv-claim", "-n", NAMESPACE])?.is_some(), "no catalog is left");
    assert_eq!(ownership(cluster)?, ownership_before, "who may own the backups is forgotten");
    for namespace in [SHOP, NAMESPACE] {
        cluster.kubectl(&["delete", "namespace", namespace, "--ignore-not-found", "--timeout=4m"], "")?;
    }
    Ok(())
}

#[test]
fn a_deleted_namespace_comes_back_by_chart_and_by_k10restore_and_uninstalled_nothing_stays_registered()
-> Result<()> {
    scenario(|scene| {
        let mut cluster = Cluster::raise(scene, "same")?;
        cluster.adds_node()?;
        let lost = cluster.lives("")?;
        cluster.loses_everything()?;
        cluster.begins("")?;
        assert_eq!(cluster.types(CLUSTER_ID, &[])?.trim(), lost.id, "it is the same cluster");
        recovers_in_spite_of_all(scene, &mut cluster, &lost)?;
        cluster.assert_recovered(&lost)?;
        takes_ownership(&cluster)?;
        goes_on(&cluster)?;
        let lost = Lost { exports: cluster.exports()?, ..lost };
        uninstalls_all(&cluster)?;

        // What the owner has shipped comes back.
        cluster.begins("")?;
        recovers_through_operator(&cluster, &lost)?;
        cluster.assert_recovered(&lost)?;
        cluster.nodes.check()
    })
}
