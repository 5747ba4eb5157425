//! Recoveries that cannot be: each says why, and leaves the location and the platform as they were.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use keelson_e2e::{Listing, answer_of};
use keelson_testkit::{BucketProtection, Minio, free_port};
use serde_json::json;

use crate::refusals::{assert_policy_refused, dr_policy_to};
use crate::stage::{NAMESPACE, Stage, assert_said, block_on, profile};
use crate::world::{PASSPHRASE, World, enter, recovery_request};

const NO_CLUSTER: &str = "0c3e8c52-3a5f-4f0e-9f0b-6f2f8c1d7e10";

#[test]
fn a_wrong_passphrase_is_refused_with_a_hint() -> Result<()> {
    let world = enter()?;
    world.stage.passphrase(&[("key", "not what was written down")])?;
    let words = ["opens with this passphrase", &world.source_id, "hint: put the passphrase that was used"];
    let result = world.assert_refused("whole", 6, &words);
    world.stage.passphrase(&[("key", PASSPHRASE)])?;
    result
}

#[test]
fn a_missing_dr_secret_is_refused_with_the_line_that_creates_it() -> Result<()> {
    let world = enter()?;
    world.stage.delete(&["secret", "k10-dr-secret", "-n", NAMESPACE])?;
    let words = ["k10-dr-secret' does not exist", "kubectl create secret generic k10-dr-secret"];
    let result = world.assert_refused("whole", 4, &words);
    world.stage.passphrase(&[("key", PASSPHRASE)])?;
    result
}

#[test]
fn a_dr_secret_without_key_is_refused_by_the_keys_it_has() -> Result<()> {
    let world = enter()?;
    world.stage.passphrase(&[("secret", PASSPHRASE)])?;
    let words = ["does not contain key 'key'; it contains", "secret", "--from-literal key=<passphrase>"];
    let result = world.assert_refused("whole", 3, &words);
    world.stage.passphrase(&[("key", PASSPHRASE)])?;
    result
}

#[test]
fn a_dr_secret_with_passphrase_instead_of_key_is_refused() -> Result<()> {
    let world = enter()?;
    world.stage.passphrase(&[("passphrase", PASSPHRASE)])?;
    let words = ["does not contain key 'key'; it contains", "passphrase"];
    let result = world.assert_refused("whole", 3, &words);
    world.stage.passphrase(&[("key", PASSPHRASE)])?;
    result
}

#[test]
fn an_unknown_cluster_id_is_answered_with_those_that_are_there() -> Result<()> {
    let world = enter()?;
    let told = format!("holds nothing of cluster {NO_CLUSTER}; it holds {}", world.source_id);
    world.assert_refused_for("whole", NO_CLUSTER, 4, &[&told, "hint: the cluster id is the UID"])
}

#[test]
fn a_cluster_whose_dr_never_ran_is_told_from_an_unknown_one() -> Result<()> {
    let world = enter()?;
    let dr = world.source_folder("never-ran").join("dr");
    if dr.exists() {
        fs::remove_dir_all(dr)?;
    }
    let words = ["disaster recovery was never enabled for cluster", "hint: its exports can still be read"];
    world.assert_refused("never-ran", 4, &words)
}

#[test]
fn a_point_in_time_is_planned_and_one_that_was_not_shipped_is_refused_with_the_range() -> Result<()> {
    let world = enter()?;
    let ask = |verb: &str, time: &str| {
        let source = ["--profile", "whole", "--source-cluster-id", &world.source_id];
        world.stage.keelson(&[&["dr", verb], &source[..], &["--point-in-time", time]].concat())
    };
    let before = world.state_of("whole")?;
    for time in ["2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
        assert_said(&ask("restore", time)?, 3, &[time, " is possible"]);
        world.stage.delete(&["kastendrrestores", "--all", "-n", NAMESPACE])?;
    }
    let refused = ask("review", "2001-01-01T00:00:00Z")?.stderr;
    let range = refused.split_once("00:00:00Z; ").and_then(|(_, range)| range.split_once(" to "));
    let (first, _) = range.context("the range that is possible")?;
    let planned = ask("plan", first)?;
    assert_eq!(planned.code, 0, "{}", planned.stderr);
    let newest = world.recover("plan", "whole", &world.source_id)?;
    assert!(planned.stdout.contains("Recover cluster") && planned.stdout != newest.stdout);
    assert_eq!(world.state_of("whole")?, before);
    Ok(())
}

#[test]
fn a_base_of_a_newer_format_says_so_with_a_hint() -> Result<()> {
    let world = enter()?;
    let bases = world.chain_folder("newer-base")?.join("bases");
    for base in Listing::of(&bases)?.paths() {
        let mut bytes = fs::read(bases.join(base))?;
        // The version follows eight bytes of magic.
        bytes[8] = 99;
        fs::write(bases.join(base), bytes)?;
    }
    world.assert_refused(
        "newer-base",
        3,
        &["/bases/", "newer than this release knows", "hint: use the release"],
    )
}

/// An S3 profile whose status is known; the Secret with its credentials has the same name.
fn bucket_profile(
    stage: &Stage,
    name: &str,
    endpoint: &str,
    bucket: &str,
    keys: [&str; 2],
) -> Result<String> {
    apply_bucket_profile(stage, name, endpoint, bucket, keys)?;
    let status = stage.validation("profile", name)?;
    assert_eq!(status["validation"], "Failed", "{status}");
    Ok(status["error"].to_string())
}

fn apply_bucket_profile(
    stage: &Stage,
    name: &str,
    endpoint: &str,
    bucket: &str,
    keys: [&str; 2],
) -> Result<()> {
    stage.apply(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": NAMESPACE },
        "stringData": { "aws_access_key_id": keys[0], "aws_secret_access_key": keys[1] },
    }))?;
    stage.apply(&profile(name, &json!({ "type": "Location", "locationSpec": {
        "type": "ObjectStore",
        "objectStore": {
            "objectStoreType": "S3", "name": bucket, "region": "us-east-1", "endpoint": endpoint, "path": "",
            "pathType": "Directory",
        },
        "credential": { "secretType": "AwsAccessKey", "secret": {
            "apiVersion": "v1", "kind": "Secret", "name": name, "namespace": NAMESPACE,
        }},
    }})))
}

/// The profile's status, a review and a restore say the same; the catalog and what there is of locations are as before.
#[track_caller]
fn assert_unreachable(
    world: &World,
    server: Option<&Minio>,
    name: &str,
    told: &str,
    code: i32,
    words: &[&str],
) -> Result<()> {
    let holdings = || server.map(|server| block_on(server.holdings())).transpose();
    let held = holdings()?;
    let before = world.everything()?;
    for word in words {
        assert!(told.contains(word), "'{word}' is not in {told}");
    }
    for verb in ["review", "restore"] {
        assert_said(&world.recover(verb, name, &world.source_id)?, code, words);
    }
    world.stage.delete(&["kastendrrestores", "--all", "-n", NAMESPACE])?;
    assert_eq!((world.everything()?, holdings()?), (before, held));
    world.stage.delete(&["profile", name, "-n", NAMESPACE])
}

#[test]
fn a_location_that_cannot_be_reached_is_told_with_the_reason() -> Result<()> {
    let world = enter()?;
    let endpoint = format!("http://127.0.0.1:{}", free_port()?);
    let told = bucket_profile(&world.stage, "nobody-there", &endpoint, "vault", ["key", "secret"])?;
    assert_unreachable(&world, None, "nobody-there", &told, 7, &["vault", "refused"])
}

#[test]
fn refused_credentials_are_told_as_such() -> Result<()> {
    let world = enter()?;
    let minio = block_on(Minio::start())?;
    block_on(minio.create_bucket("vault", BucketProtection::None))?;
    let object = minio.client().put_object().bucket("vault").key("k10/of-somebody-else").send();
    block_on(object)?;
    let told = bucket_profile(
        &world.stage,
        "not-let-in",
        &minio.endpoint(),
        "vault",
        [minio.access_key(), "wrong"],
    )?;
    assert_unreachable(&world, Some(&minio), "not-let-in", &told, 6, &["vault", "credentials"])
}

#[test]
fn a_missing_bucket_is_told_by_name() -> Result<()> {
    let world = enter()?;
    let minio = block_on(Minio::start())?;
    let keys = [minio.access_key(), minio.secret_key()];
    let told = bucket_profile(&world.stage, "no-bucket", &minio.endpoint(), "nowhere", keys)?;
    assert_unreachable(&world, Some(&minio), "no-bucket", &told, 4, &["nowhere", "bucket"])
}

/// A bucket that takes connections and never answers: whatever asks it goes on for as long as this is kept.
pub(crate) fn silent_bucket(stage: &Stage) -> Result<TcpListener> {
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let endpoint = format!("http://{}", silent.local_addr()?);
    apply_bucket_profile(stage, "silent", &endpoint, "vault", ["key", "secret"])?;
    Ok(silent)
}

#[test]
fn a_profile_that_is_not_validated_yet_is_refused_as_target_of_disaster_recovery() -> Result<()> {
    let world = enter()?;
    let _silent = silent_bucket(&world.stage)?;
    assert_policy_refused(&world, &dr_policy_to("silent"), &["the profile is not validated yet"])?;
    world.stage.delete(&["profile", "silent", "-n", NAMESPACE])
}

#[test]
fn a_review_that_is_interrupted_is_removed() -> Result<()> {
    let world = enter()?;
    let _silent = silent_bucket(&world.stage)?;
    let words = ["dr", "review", "--profile", "silent", "--source-cluster-id", NO_CLUSTER];
    let review = world.stage.start_keelson(&words)?;
    let reviews = || world.stage.kubectl(&["get", "kastendrreviews", "-n", NAMESPACE, "-o", "name"], "");
    world.stage.until("the review runs", || Ok((!reviews()?.is_empty()).then_some(())))?;
    let interrupt = format!("kill -INT {}", review.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status()?.success());
    assert_said(&answer_of(review)?, 9, &["interrupted"]);
    assert_eq!(reviews()?, "");
    world.stage.delete(&["profile", "silent", "-n", NAMESPACE])
}

/// The first one runs, and goes on to do so.
#[track_caller]
fn assert_only_one(kind: &str, verb: &str) -> Result<()> {
    let world = enter()?;
    let before = world.state_of("whole")?;
    let _silent = silent_bucket(&world.stage)?;
    world.stage.create(&recovery_request(kind, "the-first", "silent", NO_CLUSTER))?;
    let told = format!("{kind} 'the-first' exists already");
    let second = recovery_request(kind, "the-second", "whole", &world.source_id).to_string();
    let said = world.stage.try_kubectl(&["create", "-f", "-"], &second)?;
    assert_said(&said, 1, &["(Conflict)", &told]);
    assert_said(&world.recover(verb, "whole", &world.source_id)?, 5, &[&told]);
    let resource = kind.to_lowercase();
    let first = world.stage.get(&[&resource, "the-first", "-n", NAMESPACE])?.context("the first is gone")?;
    let state = first["status"]["state"].as_str();
    assert!(!matches!(state, Some("success" | "failed")), "it runs: {}", first["status"]);
    world.stage.delete(&[&resource, "the-first", "-n", NAMESPACE])?;
    world.stage.delete(&["profile", "silent", "-n", NAMESPACE])?;
    let after = world.state_of("whole")?;
    assert_eq!(before.0.differences(&after.0), Vec::<PathBuf>::new());
    assert_eq!(before.1.digests, after.1.digests);
    Ok(())
}

#[test]
fn a_second_review_while_one_runs_is_a_conflict_that_names_the_first() -> Result<()> {
    assert_only_one("KastenDRReview", "review")
}

#[test]
fn a_second_restore_while_one_runs_is_a_conflict_that_names_the_first() -> Result<()> {
    assert_only_one("KastenDRRestore", "restore")
}
