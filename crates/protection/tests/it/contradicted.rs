//! A catalog that was built anew and is not what the run at its end recorded: the platform keeps the one that it has.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use keelson_crypto::{ObjectKind, Sealer, open_object};
use keelson_model::names::DR_POLICY;
use keelson_model::recovery::DrMode;
use keelson_protection::recovery::enable::enable;
use keelson_protection::recovery::state;
use keelson_testkit::eventually;
use serde_json::{Value, json};

use crate::fixture::{World, files, put_note};
use crate::stage::{NAMESPACE, PASSPHRASE, config, make_valid, open_repository, policy, profile};

/// Lets the only run say that another entry was the last one, under the keys of the platform. Its position.
async fn contradict(repository: &Path) -> Result<Value> {
    let open = open_repository(repository, PASSPHRASE).await?;
    let (folder, keys) = (repository.join("manifests"), open.keyring());
    let names = files(&folder)?;
    ensure!(names.len() == 1, "{names:?}");
    let path = folder.join(names.first().context("a run")?);
    let bytes = std::fs::read(&path)?;
    let mut document: Value =
        serde_json::from_slice(open_object(keys, ObjectKind::Manifest, &bytes)?.directory())?;
    let recorded = document["state"]["chain"].as_str().context("a digest")?;
    let other = "0".repeat(recorded.len());
    ensure!(recorded != other, "{document}");
    document["state"]["chain"] = json!(other);
    let sealed = Sealer::new(keys.newest(), ObjectKind::Manifest).finish(&serde_json::to_vec(&document)?)?;
    std::fs::write(&path, &sealed.bytes)?;
    Ok(document["at"].take())
}

/// Asks for a point of a review by its name; the status of the restore that has ended.
async fn recover_to(world: &World, source: &Value, point: &str) -> Result<Value> {
    let at = (NAMESPACE, "contradicted");
    world.create("KastenDRReview", at, json!({ "sourceClusterInfo": source })).await?;
    let reviewed = eventually("the review has ended", async || {
        let status = world.read("KastenDRReview", at)?.context("the review")?.body.status;
        Ok(matches!(status["state"].as_str(), Some("success" | "failed")).then_some(status))
    })
    .await?;
    ensure!(reviewed["restorePoints"].to_string().contains(point), "{point} is not offered: {reviewed}");
    let review = json!({ "name": at.1, "namespace": NAMESPACE });
    let details = json!({ "kastenDRReviewRef": review, "id": point });
    let ended = world.ended_restore(at.1, json!({ "kastenDRReviewDetails": details })).await?;
    world.delete("KastenDRRestore", at).await?;
    world.delete("KastenDRReview", at).await?;
    Ok(ended.body.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_catalog_that_differs_from_what_its_run_recorded_is_not_used() -> Result<()> {
    let mut world = World::start().await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    make_valid(&world.platform, &config("Policy", "policies"), &policy()).await?;
    world.serve();
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    put_note(&world.platform, "noted")?;
    let run = world.run_policy("run", DR_POLICY).await?;
    ensure!(run["state"] == "Complete", "{run}");
    // What comes after the run is whole, and proven by the digests of its own entries.
    put_note(&world.platform, "later")?;
    world.wait_until_shipped().await?;
    let source = world.platform.cluster_id().clone();
    let repository = state::enabled(&world.platform)?.context("it is enabled")?.repository;

    let mut world = world.lose_cluster().await?;
    let folder = world.share.path().join(format!("k10/{source}/dr/{repository}"));
    let at = contradict(&folder).await?;
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    let info = json!({ "profileName": "vault", "sourceClusterID": source });
    let point = format!("{repository}.{}.{}", at["generation"], at["sequence"]);
    let before = world.platform.catalog()?.generation();
    let status = recover_to(&world, &info, &point).await?;
    let words = "the journal's chain differs from the one that the run recorded";
    ensure!(status["state"] == "failed" && status.to_string().contains(words), "{status}");
    let after = world.platform.catalog()?.generation();
    ensure!(after == before, "generation {} was switched to", after.0);

    world.recover(&source).await?;
    let recovered = world.platform.catalog()?.generation();
    ensure!(recovered > before, "the latest state was not switched to");
    world.end().await
}
