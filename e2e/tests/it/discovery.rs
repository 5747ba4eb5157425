//! Finding backups of which little is known, and being told plainly when there are none.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use keelson_e2e::{Listing, answer};
use keelson_store::StoreExt;
use keelson_testkit::{BucketProtection, Minio, open_bucket};
use serde_json::Value;

use crate::stage::{assert_said, block_on};
use crate::world::{PASSPHRASE, World, enter};

const BUCKET: &str = "nobody-remembers";

fn look(verb: &str, folder: &Path, flags: &[&str]) -> Result<keelson_e2e::Answer> {
    let folder = folder.display().to_string();
    answer([&["tools", verb, "--directory", &folder], flags].concat())
}

fn passphrase(world: &World, name: &str, text: &str) -> Result<String> {
    let file = world.share.directory().join(name);
    fs::write(&file, text)?;
    Ok(file.display().to_string())
}

/// What was found below this path.
fn found(said: &keelson_e2e::Answer, path: &str) -> Result<Value> {
    let clusters: Vec<Value> = serde_json::from_str(&said.stdout)?;
    clusters.into_iter().find(|cluster| cluster["path"] == path).with_context(|| format!("no '{path}'"))
}

#[test]
fn platforms_are_found_below_a_root_whose_paths_nobody_remembers() -> Result<()> {
    let world = enter()?;
    let share = world.share.directory();
    let said = look("discover", share, &["--output", "json"])?;
    assert_said(&said, 0, &[]);
    let whole = found(&said, "whole")?;
    assert_eq!(whole["clusterID"], world.source_id.as_str());
    assert_eq!(whole["applications"], serde_json::json!([crate::world::APPLICATION]));
    let chain = &whole["chains"][0];
    for counted in ["slots", "bases", "segments", "runs", "bytes"] {
        assert!(chain[counted].as_u64().is_some_and(|count| count > 0), "{counted} of {chain}");
    }
    assert_eq!((chain.get("opens"), chain.get("opened")), (None, None), "nothing was tried");

    let (kit, secret) = (world.kit.kit.display().to_string(), world.kit.passphrase.display().to_string());
    let words = ["--output", "json", "--kit", &kit, "--kit-passphrase-file", &secret];
    let said = look("discover", &world.folder("whole"), &words)?;
    assert_said(&said, 0, &[]);
    let chain = found(&said, "")?["chains"][0].take();
    assert_eq!(chain["opens"], true);
    // The last segment is named after its first entry.
    let (named, through) = (chain["newestName"].as_str(), chain["opened"]["through"].as_str());
    assert!(named.is_some() && named <= through, "{chain}");

    let wrong = passphrase(&world, "wrong-passphrase", "not what was written down")?;
    let said = look("discover", &world.folder("whole"), &["--passphrase-file", &wrong])?;
    assert_said(&said, 6, &["opens with this passphrase", "hint: give the passphrase"]);
    assert!(said.stdout.contains("not with this passphrase"), "what is there is told all the same: {said:?}");
    Ok(())
}

/// Puts a copy of the location below a path of the bucket.
async fn upload(minio: &Minio, folder: &Path, path: &str) -> Result<()> {
    let store = open_bucket(&minio.endpoint(), minio.access_key(), minio.secret_key(), BUCKET).await?;
    for object in Listing::of(folder)?.paths() {
        let body = fs::read(folder.join(object))?;
        store.create(&format!("{path}/{}", object.display()).parse()?, body.into()).await?;
    }
    Ok(())
}

#[test]
fn platforms_are_found_in_a_bucket_whose_paths_nobody_remembers() -> Result<()> {
    let world = enter()?;
    let minio = block_on(Minio::start())?;
    block_on(minio.create_bucket(BUCKET, BucketProtection::None))?;
    let endpoint = minio.endpoint();
    let place = ["--bucket", BUCKET, "--endpoint", &endpoint];
    let keys = ["--access-key", minio.access_key(), "--secret-key", minio.secret_key()];
    let look = |flags: &[&str]| answer([&["tools", "discover"][..], &place, &keys, flags].concat());
    assert_said(&look(&[])?, 4, &["nothing of this platform lies here", "hint:"]);

    block_on(upload(&minio, &world.folder("whole"), "years/ago"))?;
    let said = look(&["--output", "json"])?;
    assert_said(&said, 0, &[]);
    let whole = found(&said, "years/ago")?;
    assert_eq!(whole["clusterID"], world.source_id.as_str());
    assert_eq!(whole["applications"], serde_json::json!([crate::world::APPLICATION]));
    let right = passphrase(&world, "right-passphrase", PASSPHRASE)?;
    let said = look(&["--output", "json", "--path", "years/ago", "--passphrase-file", &right])?;
    assert_said(&said, 0, &[]);
    assert_eq!(found(&said, "years/ago")?["chains"][0]["opens"], true, "{said:?}");
    let wrong = passphrase(&world, "wrong-passphrase", "not what was written down")?;
    let said = look(&["--passphrase-file", &wrong])?;
    assert_said(&said, 6, &["opens with this passphrase", "hint: give the passphrase"]);
    block_on(minio.stop())
}

#[test]
fn an_empty_place_and_a_wrong_passphrase_do_not_pass_for_a_list() -> Result<()> {
    let world = enter()?;
    let empty = world.share.directory().join("empty");
    fs::create_dir_all(&empty)?;
    for verb in ["list", "discover"] {
        assert_said(&look(verb, &empty, &[])?, 4, &["nothing of this platform lies here", "hint:"]);
    }
    let right = passphrase(&world, "right-passphrase", PASSPHRASE)?;
    assert_said(&look("list", &world.folder("whole"), &["--passphrase-file", &right])?, 0, &[]);
    let wrong = passphrase(&world, "wrong-passphrase", "not what was written down")?;
    let said = look("list", &world.folder("whole"), &["--passphrase-file", &wrong])?;
    assert_said(&said, 6, &["none of the repositories here opens", "hint: give the passphrase"]);
    Ok(())
}
