//! A recovery that is only tried, on a second cluster, while the first lives: it frees nothing, its end fences nobody, and
//! only who takes the ownership takes it from the first.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::installation::{Cluster, DR_POLICY, Lost, OWNERSHIP};
use super::scene::{BUCKET, PATH, Scene, Version};
use super::shop::{POLICY, SHOP};
use super::typed::{CLUSTER_ID, TAKE_OWNERSHIP};
use super::verdict::scenario;
use crate::stage::{ACTIONS, NAMESPACE};

/// For the source to ship it and to rest, with time to spare. The rehearsal takes half of it to begin.
const EXPIRES_AFTER: SignedDuration = SignedDuration::from_mins(3);
/// Whoever retires what has expired looks more often than that.
const LOOKED_AT_WITHIN: SignedDuration = SignedDuration::from_secs(20);

/// What lies below the id of a cluster.
fn stored(scene: &Scene, lost: &Lost) -> Result<BTreeSet<Version>> {
    let folder = format!("{PATH}/k10/{}/", lost.id);
    let versions = scene.versions(BUCKET)?.into_iter();
    let own: BTreeSet<_> = versions.filter(|version| version.key.starts_with(&folder)).collect();
    ensure!(!own.is_empty(), "nothing is stored below {folder}");
    Ok(own)
}

/// Nothing of it is gone, and nothing came but what readers say of themselves: that they begin, and that they are done.
fn assert_unchanged(scene: &Scene, lost: &Lost, before: &BTreeSet<Version>) -> Result<()> {
    let now = stored(scene, lost)?;
    let gone: Vec<_> = before.difference(&now).collect();
    let came: Vec<_> = now.difference(before).map(|version| version.key.as_str()).collect();
    let of_a_reader = |key: &str| {
        let of = |(repository, id): (&str, &str)| {
            let session = format!("{repository}/sessions/{}/", id.split('/').next().unwrap_or(id));
            came.iter().any(|other| other.starts_with(&session))
        };
        key.split_once("/sessions/").or_else(|| key.split_once("/outcomes/")).is_some_and(of)
    };
    let others: Vec<_> = came.iter().filter(|key| !of_a_reader(key)).collect();
    ensure!(gone.is_empty() && others.is_empty(), "of the source is gone: {gone:?}; and came: {others:?}");
    Ok(())
}

/// The platform rests, with all that it has, or is there again.
fn scales(cluster: &Cluster<'_>, replicas: u8) -> Result<()> {
    let replicas_flag = format!("--replicas={replicas}");
    cluster.kubectl(&["scale", "deployment/keelson", "-n", NAMESPACE, &replicas_flag], "")?;
    if replicas > 0 {
        return cluster.wait_until_served();
    }
    let gone = ["wait", "pod", "-n", NAMESPACE, "-l", "component=crypto", "--for=delete", "--timeout=4m"];
    cluster.kubectl(&gone, "").map(drop)
}

fn until_owner(cluster: &Cluster<'_>, state: &str) -> Result<()> {
    cluster.until(&format!("its ownership is {state}"), || {
        Ok((cluster.status()?["ownership"]["state"] == state).then_some(()))
    })
}

/// Who is about to delete the ConfigMap reads in it what that means, and when it is right.
fn assert_warned(cluster: &Cluster<'_>) -> Result<()> {
    let map = cluster.get(&OWNERSHIP)?.context("nothing keeps it from maintenance")?;
    let told = map["data"].to_string();
    for words in [
        "no maintenance on the backups of its source",
        "only when no other instance uses the same backup data",
    ] {
        ensure!(told.contains(words), "'{words}' is not in {told}");
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "what expires does so by the clock of the platform")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// An exported restore point that expires.
struct Due {
    content: String,
    at: Timestamp,
}

/// A platform with two restore points, of which one expires: what a person's run has made falls out of no retention, and
/// has an end of its own.
fn lives_with_one_to_retire(cluster: &Cluster<'_>) -> Result<(Lost, Due)> {
    let lost = cluster.lives("")?;
    let at = Timestamp::from_second((now() + EXPIRES_AFTER).as_second())?;
    let run = cluster.create(&json!({
        "apiVersion": ACTIONS, "kind": "RunAction",
        "metadata": { "generateName": "run-until-", "namespace": NAMESPACE },
        "spec": {
            "subject": { "kind": "Policy", "name": POLICY, "namespace": NAMESPACE },
            "expiresAt": at.to_string(),
        },
    }))?;
    cluster.complete("runaction", NAMESPACE, &run)?;
    cluster.runs_once(DR_POLICY)?;
    cluster.wait_until_shipped()?;
    let exports = cluster.exports()?;
    let content = exports.difference(&lost.exports).next().context("nothing is exported that expires")?;
    let due = Due { content: content.clone(), at };
    Ok((Lost { exports, ..lost }, due))
}

/// A run of the policy goes well: it exports below the id of its own cluster, and lets its retention wait.
fn runs_beside_its_source(scene: &Scene, cluster: &Cluster<'_>) -> Result<()> {
    cluster.wait_valid("profile", "vault")?;
    cluster.wait_valid("policy", POLICY)?;
    cluster.runs_once(POLICY)?;
    let own = format!("{PATH}/k10/{}/exports/{SHOP}/", cluster.types(CLUSTER_ID, &[])?.trim());
    let is_there = scene.versions(BUCKET)?.iter().any(|version| version.key.starts_with(&own));
    ensure!(is_there, "the run has exported nothing to {own}");
    cluster.until("the retention of the run waits", || {
        let log = cluster.kubectl(&["logs", "-n", NAMESPACE, "deployment/keelson"], "")?;
        Ok(log.contains("retention waits").then_some(()))
    })
}

/// All that would free something is tried: what is due to be retired, the run of a policy, and deleting a restore point. Each
/// is kept from it by who may own the backups, and by nothing else.
fn tries_to_free(scene: &Scene, cluster: &Cluster<'_>, lost: &Lost, due: &Due) -> Result<()> {
    let looked_at = due.at + LOOKED_AT_WITHIN;
    cluster.until("a restore point has expired", || Ok((now() > looked_at).then_some(())))?;
    runs_beside_its_source(scene, cluster)?;
    for content in &lost.exports {
        let said = cluster.try_kubectl(&["delete", "restorepointcontent", content, "--timeout=2m"], "")?;
        let is_told = |word: &&str| said.stderr.contains(*word);
        let words = ["cannot be deleted now", lost.id.as_str(), "does not own its backups yet"];
        ensure!(said.code != 0 && words.iter().all(is_told), "{said:?}");
    }
    let known = cluster.exports()?;
    ensure!(lost.exports.is_subset(&known), "of {:?} it knows {known:?}", lost.exports);
    Ok(())
}

#[test]
fn a_rehearsal_changes_nothing_of_its_source_until_somebody_takes_the_ownership() -> Result<()> {
    scenario(|scene| {
        let source = Cluster::raise(scene, "source")?;
        let (lost, due) = lives_with_one_to_retire(&source)?;
        ensure!(lost.exports.len() == 2, "two restore points are exported: {:?}", lost.exports);
        // So that every change is the rehearsal's.
        scales(&source, 0)?;
        let before = stored(scene, &lost)?;

        let rehearsal = Cluster::raise(scene, "rehearsal")?;
        rehearsal.begins("")?;
        rehearsal.recovers(&lost, "", &[])?;
        rehearsal.assert_recovered(&lost)?;
        until_owner(&rehearsal, "Pending")?;
        assert_warned(&rehearsal)?;
        tries_to_free(scene, &rehearsal, &lost, &due)?;
        assert_unchanged(scene, &lost, &before).context("the rehearsal did more than to read")?;
        rehearsal.loses_everything()?;
        assert_unchanged(scene, &lost, &before).context("the end of the rehearsal changed something")?;

        scales(&source, 1)?;
        until_owner(&source, "Owned")?;
        // Who owns it does what the rehearsal left alone.
        source.until("what is due is retired", || {
            Ok((!source.exports()?.contains(&due.content)).then_some(()))
        })?;
        source.runs_once(POLICY)?;
        source.runs_once(DR_POLICY)?;
        source.wait_until_shipped()?;

        let lost = Lost { exports: source.exports()?, ..lost };
        rehearsal.begins("")?;
        rehearsal.recovers(&lost, "", &[])?;
        // A fresh platform owns what it has: what it says must be of after the recovery.
        until_owner(&rehearsal, "Pending")?;
        rehearsal.types(TAKE_OWNERSHIP, &[])?;
        until_owner(&rehearsal, "Owned")?;
        // It finds out at the latest when it is about to write.
        source.keelson(&["dr", "run"])?;
        until_owner(&source, "Fenced")?;
        let said = source.keelson(&["dr", "run"])?;
        ensure!(said.code != 0 && said.stderr.contains("another instance has claimed epoch"), "{said:?}");
        source.nodes.check()?;
        rehearsal.nodes.check()
    })
}
