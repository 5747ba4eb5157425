//! A platform that was recovered on another cluster ships below that cluster's id. Its chain leads back to the one that it
//! came from, and whoever comes with the old id is told where it goes on. What lies within a chain is found by its name and
//! by its time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use keelson_catalog::{Actor, Change, Query, RowKey, RowKind, Stored};
use keelson_model::recovery::{DrMode, DrPointId};
use keelson_model::{Clock, ClusterId, ErrorClass, RepositoryId, Sequence};
use keelson_protection::recovery::enable::enable;
use keelson_protection::recovery::state;
use keelson_testkit::{BucketProtection, FormatReader, Minio, eventually};
use serde_json::{Value, json};

use crate::bucket::{BUCKET, Locks, serve_to, store_of};
use crate::fixture::{World, copy, put_note};
use crate::stage::{NAMESPACE, PASSPHRASE, config, make_valid, profile, set_passphrase};

const MINUTE: Duration = Duration::from_secs(60);

async fn serve(world: &mut World) -> Result<()> {
    make_valid(&world.platform, &config("Profile", "profiles"), &profile()).await?;
    world.serve();
    Ok(())
}

/// Commits a note a minute later than whatever came before. When.
fn note(world: &World, name: &str) -> Result<Timestamp> {
    world.clock.advance(MINUTE);
    put_note(&world.platform, name)?;
    let now = world.clock.now();
    world.clock.advance(MINUTE);
    Ok(now)
}

fn note_key(name: &str) -> RowKey {
    RowKey::new(RowKind::new("notes"), "", name)
}

fn has_note(world: &World, name: &str) -> Result<bool> {
    Ok(world.platform.catalog()?.read(&note_key(name))?.is_some())
}

fn remove_note(world: &World, name: &str) -> Result<()> {
    world.platform.catalog()?.commit(&Actor::new("test"), vec![Change::delete(note_key(name))])?;
    Ok(())
}

/// All notes, each as the entry left it that last wrote it.
fn notes(world: &World) -> Result<Vec<Stored>> {
    Ok(world.platform.catalog()?.list(&Query::of(RowKind::new("notes")))?.rows)
}

/// Its cluster id and the repository that it ships to.
fn place_of(world: &World) -> Result<(ClusterId, RepositoryId)> {
    let enabled = state::enabled(&world.platform)?.context("it is enabled")?;
    Ok((world.platform.cluster_id().clone(), enabled.repository))
}

/// The status of a review or a restore that has ended.
async fn ended(world: &World, kind: &str, name: &str, spec: Value) -> Result<Value> {
    let at = (NAMESPACE, name);
    world.create(kind, at, spec).await?;
    eventually(&format!("{kind} '{name}' has ended"), async || {
        let status = world.read(kind, at)?.context("the request")?.body.status;
        let state = status["state"].as_str().unwrap_or_default();
        Ok(["success", "failed"].contains(&state).then_some(status))
    })
    .await
}

/// The status of a review that has succeeded. Only one may be there.
async fn review(world: &World, name: &str, info: Value) -> Result<Value> {
    let status = ended(world, "KastenDRReview", name, json!({ "sourceClusterInfo": info })).await?;
    ensure!(status["state"] == "success", "{status}");
    world.delete("KastenDRReview", (NAMESPACE, name)).await?;
    Ok(status)
}

/// Asks for a point by its name, as made in another mode than it was, which is refused as soon as it is planned.
async fn ensure_planned_by_name(world: &World, info: Value, point: &Value) -> Result<()> {
    ended(world, "KastenDRReview", "named", json!({ "sourceClusterInfo": info })).await?;
    let details = json!({ "kastenDRReviewRef": { "name": "named", "namespace": NAMESPACE }, "id": point });
    let spec = json!({ "kastenDRReviewDetails": details, "quickMode": { "enabled": true, "overrideResources": true } });
    let status = ended(world, "KastenDRRestore", "named", spec).await?;
    ensure!(status.to_string().contains("set spec.quickMode.enabled to false"), "{status}");
    world.delete("KastenDRRestore", (NAMESPACE, "named")).await?;
    world.delete("KastenDRReview", (NAMESPACE, "named")).await?;
    Ok(())
}

fn ensure_first_point(status: &Value, repository: RepositoryId) -> Result<()> {
    let first = status["restorePoints"]["restorePointList"][0]["id"].as_str().context("a point")?;
    ensure!(first.starts_with(&format!("{repository}.")), "{first} is not of repository {repository}");
    Ok(())
}

/// Whether the notes of a review's plan begin with what goes on below another id.
fn is_told_of(status: &Value, cluster: &ClusterId) -> bool {
    let told = format!("cluster {cluster} goes on from what is here");
    status["warnings"][0].as_str().is_some_and(|warning| warning.starts_with(&told))
        && status["plan"].to_string().contains(&told)
}

/// The last line of what the independent reader makes of a cluster's newest catalog.
fn read_summary(reader: &FormatReader, world: &World, cluster: &ClusterId) -> Result<Value> {
    let told = reader.read(world.share.path(), PASSPHRASE, &["catalog", cluster.as_str()])?;
    ensure!(told.code == 0, "{}", told.stderr);
    told.lines()?.pop().context("a summary")
}

/// The chain of an instance that never took ownership was found by nobody who had the old id, and with the new one no
/// moment before the fork could be recovered.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_followed_back_to_the_cluster_that_it_came_from_and_the_old_id_tells_where_it_goes_on()
-> Result<()> {
    let mut world = World::start().await?;
    serve(&mut world).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    let early = note(&world, "early")?;
    note(&world, "late")?;
    world.wait_until_shipped().await?;
    let (source, first) = place_of(&world)?;

    let mut world = world.lose_cluster().await?;
    serve(&mut world).await?;
    world.recover(&source).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    note(&world, "after")?;
    world.wait_until_shipped().await?;
    let (child, second) = place_of(&world)?;
    ensure!(child != source && second != first);

    let mut world = world.lose_cluster().await?;
    serve(&mut world).await?;
    // Whoever can write there may copy a chain to below any id: it says itself where it was written.
    let (folder, thief) = (world.share.path().join("k10"), "0a1b2c3d-4e5f");
    let [real, copied] = [child.as_str(), thief].map(|id| folder.join(id).join(format!("dr/{second}")));
    copy(&real, &copied)?;
    let info = |cluster: &ClusterId| json!({ "profileName": "vault", "sourceClusterID": cluster });
    let old = review(&world, "old", info(&source)).await?;
    ensure_first_point(&old, first)?;
    ensure!(is_told_of(&old, &child) && !old["warnings"].to_string().contains(thief), "{old}");
    let new = review(&world, "new", info(&child)).await?;
    ensure_first_point(&new, second)?;
    ensure!(!new["warnings"].to_string().contains("goes on"), "{new}");

    let reader = FormatReader::prepare()?;
    let read = read_summary(&reader, &world, &source)?;
    ensure!(read["repository"] == format!("k10/{source}/dr/{first}"), "{read}");
    ensure!(read["continuedBy"].as_array().is_some_and(|others| others.len() == 1), "{read}");
    ensure!(read["continuedBy"][0]["repository"] == format!("k10/{child}/dr/{second}"), "{read}");
    let read = read_summary(&reader, &world, &child)?;
    ensure!(read["repository"] == format!("k10/{child}/dr/{second}") && read["continuedBy"] == json!([]));
    let unnamed = reader.read(world.share.path(), PASSPHRASE, &["catalog"])?;
    ensure!(unnamed.code == 2 && unnamed.stderr.contains("name a cluster id"), "{}", unnamed.stderr);

    let card = json!({ "format": 0, "productVersion": "1", "fips": true, "created": early });
    std::fs::write(folder.join(source.as_str()).join("cards/00000002"), card.to_string())?;
    let mut before = info(&child);
    before["pointInTime"] = json!(early);
    let earlier = review(&world, "earlier", before.clone()).await?;
    ensure_first_point(&earlier, first)?;
    ensure!(earlier["warnings"].to_string().contains("which it came from"), "{earlier}");
    let ran = format!("cluster {source} ran in FIPS mode and this instance does not");
    ensure!(earlier["plan"].to_string().contains(&ran), "{earlier}");
    // What it prints was no point of the id that it was printed for.
    ensure_planned_by_name(&world, info(&child), &earlier["restorePoints"]["restorePointList"][0]["id"])
        .await?;
    let restored = world.ended_recovery("earlier", before).await?;
    ensure!(restored.body.status["state"] == "success", "{}", restored.body.status);
    let plan = restored.body.status["plan"].to_string();
    ensure!(plan.contains(&format!("Recover cluster {source} onto")), "{plan}");
    ensure!(has_note(&world, "early")? && !has_note(&world, "late")? && !has_note(&world, "after")?);
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    let parent = state::enabled(&world.platform)?.and_then(|enabled| enabled.parent).context("a parent")?;
    ensure!(parent.cluster == source && parent.repository == first, "{parent:?}");
    world.wait_until_shipped().await?;
    world.end().await
}

/// Only chains with invented parents had shown it: a changed passphrase makes a second repository below the same id.
#[tokio::test(flavor = "multi_thread")]
async fn a_moment_before_a_changed_passphrase_is_found_in_the_repository_before() -> Result<()> {
    let changed = "another phrase, long enough as well";
    let mut world = World::start().await?;
    serve(&mut world).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    let early = note(&world, "early")?;
    note(&world, "between")?;
    world.wait_until_shipped().await?;
    let (source, first) = place_of(&world)?;
    set_passphrase(world.platform.cluster(), changed).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    let (_, second) = place_of(&world)?;
    ensure!(second != first);
    note(&world, "late")?;
    eventually("the new repository has a base", async || {
        let bases = world.listing(&format!("k10/{source}/dr/{second}/bases"));
        Ok(bases.is_ok_and(|names| !names.is_empty()).then_some(()))
    })
    .await?;

    let mut world = world.lose_cluster().await?;
    set_passphrase(world.platform.cluster(), changed).await?;
    serve(&mut world).await?;
    let mut info = json!({ "profileName": "vault", "sourceClusterID": source });
    ensure_first_point(&review(&world, "latest", info.clone()).await?, second)?;
    info["pointInTime"] = json!(early);
    ensure_first_point(&review(&world, "earlier", info).await?, first)?;
    world.end().await
}

/// Asks for what cannot be recovered. Why not.
async fn refused(world: &World, name: &str, spec: Value) -> Result<String> {
    let status = ended(world, "KastenDRRestore", name, spec).await?;
    ensure!(status["state"] == "failed" && status["errorClass"] == ErrorClass::Invalid.reason(), "{status}");
    world.delete("KastenDRRestore", (NAMESPACE, name)).await?;
    Ok(status["error"].as_str().context("an error")?.to_owned())
}

/// The first and the last moment that a refusal says are possible.
fn possible(told: &str) -> Result<(Timestamp, Timestamp)> {
    let range = told.split("; ").find_map(|part| part.strip_suffix(" is possible")?.split_once(" to "));
    let (first, last) = range.with_context(|| format!("no range in: {told}"))?;
    Ok((first.parse()?, last.parse()?))
}

async fn serve_plain(world: &mut World, minio: &Minio) -> Result<()> {
    serve_to(world, minio, &minio.endpoint(), Locks::None).await
}

/// Nothing but the chain leads to an earlier state there: only a directory and stores with versions had shown it.
#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_state_comes_back_by_name_and_by_time_from_a_bucket_without_versions() -> Result<()> {
    let minio = Minio::start().await?;
    minio.create_bucket(BUCKET, BucketProtection::None).await?;
    ensure!(!store_of(&minio).await?.capabilities().versions, "the bucket keeps versions");
    let mut world = World::start_today(SignedDuration::MAX).await?;
    serve_plain(&mut world, &minio).await?;
    enable(&world.platform, "vault", DrMode::Legacy).await?;
    let (source, repository) = place_of(&world)?;
    for name in ["changed", "removed"] {
        note(&world, name)?;
    }
    let written = note(&world, "kept")?;
    let (older, head) = (notes(&world)?, world.platform.catalog()?.head());
    let (generation, sequence) = (head.revision.generation(), head.revision.sequence());
    let point = DrPointId { repository, generation, sequence };
    world.wait_until_shipped().await?;
    note(&world, "changed")?;
    remove_note(&world, "removed")?;
    note(&world, "added")?;
    let newer = notes(&world)?;
    ensure!(older.len() == 3 && newer.len() == 3 && newer != older, "{older:?} and {newer:?}");
    world.wait_until_shipped().await?;

    let mut world = world.lose_cluster().await?;
    serve_plain(&mut world, &minio).await?;
    let info = json!({ "profileName": "vault", "sourceClusterID": source });
    let status = ended(&world, "KastenDRReview", "seen", json!({ "sourceClusterInfo": info })).await?;
    let latest = status["restorePoints"]["restorePointList"][0]["id"].as_str().context("a point")?;
    let latest: DrPointId = latest.parse()?;
    let is_same_chain = (latest.repository, latest.generation) == (repository, generation);
    ensure!(is_same_chain && latest.sequence > sequence, "{point} is not in the midst of {latest}");
    let named = |sequence| {
        let id = DrPointId { sequence, ..point }.to_string();
        let review = json!({ "name": "seen", "namespace": NAMESPACE });
        json!({ "kastenDRReviewDetails": { "kastenDRReviewRef": review, "id": id } })
    };
    let at = |time: Timestamp| {
        let mut info = info.clone();
        info["pointInTime"] = json!(time);
        json!({ "sourceClusterInfo": info })
    };

    let told = refused(&world, "beyond", named(Sequence(latest.sequence.0 + 1))).await?;
    let end = format!("{:08}-{:014}", latest.generation.0, latest.sequence.0);
    ensure!(told.contains("lies beyond the end of what was shipped") && told.contains(&end), "{told}");
    let told = refused(&world, "to-come", at(world.clock.now() + 60 * MINUTE)).await?;
    let (first, last) = possible(&told)?;
    // What was written last came three minutes later at least.
    ensure!(first < written && last > written + 3 * MINUTE, "{told}");
    ensure!(notes(&world)?.is_empty(), "what was refused has brought something back");

    let status = ended(&world, "KastenDRRestore", "by-name", named(sequence)).await?;
    ensure!(status["state"] == "success", "{status}");
    assert_eq!(status["recovered"]["chain"], hex::encode(head.chain), "{status}");
    assert_eq!(notes(&world)?, older);

    let mut world = world.lose_cluster().await?;
    serve_plain(&mut world, &minio).await?;
    let status = ended(&world, "KastenDRRestore", "by-time", at(written + MINUTE)).await?;
    ensure!(status["state"] == "success", "{status}");
    assert_eq!(notes(&world)?, older);
    world.end().await?;
    minio.stop().await
}
