//! Recovery kits: what a person kept is enough, a bad kit changes nothing, and an older state that was put in place of a
//! location does not pass for the latest.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use keelson_e2e::{Listing, answer};
use keelson_testkit::{BucketProtection, FormatReader, Minio, Supervisor};
use serde_json::{Value, json};

use crate::stage::{NAMESPACE, Stage, assert_said, block_on, profile};
use crate::world::{
    APPLICATION, EARLIER, KIT_PASSPHRASE, KitFile, ORIGIN, PASSPHRASE, back_up, copy_folder,
    create_application, enter, export, only_child, raise_protected, wait_until_shipped,
};

const BUCKET: &str = "vault";

/// The profile `vault` of a bucket, and the Secret with its credentials.
fn bucket_profile(stage: &Stage, minio: &Minio) -> Result<()> {
    stage.apply(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "vault-keys", "namespace": NAMESPACE },
        "stringData": {
            "aws_access_key_id": minio.access_key(), "aws_secret_access_key": minio.secret_key(),
        },
    }))?;
    let store = json!({ "objectStoreType": "S3", "name": BUCKET, "region": minio.region(),
        "endpoint": minio.endpoint(), "path": "ours", "pathType": "Directory" });
    let credential = json!({ "secretType": "AwsAccessKey", "secret": {
        "apiVersion": "v1", "kind": "Secret", "name": "vault-keys", "namespace": NAMESPACE } });
    let spec = json!({ "type": "ObjectStore", "objectStore": store, "credential": credential });
    stage.apply(&profile("vault", &json!({ "type": "Location", "locationSpec": spec })))?;
    stage.wait_valid("profile", "vault")
}

/// A platform that protects an application and itself in the bucket. It is gone in the end; its id is left.
fn lose_a_platform(minio: &Minio, folder: &Path) -> Result<(KitFile, Value, String)> {
    let source = Stage::raise(folder, &[])?;
    bucket_profile(&source, minio)?;
    create_application(&source)?;
    source.passphrase(&[("key", PASSPHRASE)])?;
    let said = source.keelson(&["dr", "enable", "--profile", "vault"])?;
    ensure!(said.code == 0, "{said:?}");
    back_up(&source, "first")?;
    export(&source, "first")?;
    wait_until_shipped(&source)?;
    let kit = KitFile::make(&source, folder, &["--with-credentials"])?;
    let orders = source.get(&["configmap", "orders", "-n", APPLICATION])?.context("no orders")?;
    let id = source.cluster_id()?;
    source.instance.kill()?;
    Ok((kit, orders["data"].clone(), id))
}

/// What a kit may create.
fn present(stage: &Stage) -> Result<Vec<&'static str>> {
    let mut present = Vec::new();
    for (kind, name) in [("profile", "vault"), ("secret", "vault-keys"), ("secret", "k10-dr-secret")] {
        if stage.get(&[kind, name, "-n", NAMESPACE])?.is_some() {
            present.push(name);
        }
    }
    Ok(present)
}

/// A kit like this one with other bytes, or another passphrase.
fn altered(kit: &KitFile, folder: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Result<KitFile> {
    let mut bytes = fs::read(&kit.kit)?;
    change(&mut bytes);
    let altered = KitFile { kit: folder.join("altered-kit"), passphrase: kit.passphrase.clone() };
    fs::write(&altered.kit, bytes)?;
    Ok(altered)
}

/// Another program, written from the pages of the formats alone.
fn assert_a_stranger_reads(kit: &KitFile, cluster: &str, folder: &Path) -> Result<()> {
    let reader = FormatReader::prepare()?;
    let read =
        |kit: &KitFile, passphrase: &str| reader.run(passphrase, [OsStr::new("kit"), kit.kit.as_os_str()]);
    let told = read(kit, KIT_PASSPHRASE)?;
    assert_eq!(told.code, 0, "{}", told.stderr);
    let document = &told.lines()?[0];
    assert_eq!(document["cluster"], cluster);
    assert_eq!(document["profile"]["name"], "vault");
    assert_eq!(document["credentials"]["name"], "vault-keys");
    let told = read(kit, PASSPHRASE)?;
    assert_eq!(told.code, 3, "{}", told.stderr);
    assert!(told.stderr.contains("the passphrase is another"), "{}", told.stderr);
    let length = fs::read(&kit.kit)?.len();
    for at in [100, length / 2, length - 1] {
        let told = read(&altered(kit, folder, |bytes| bytes[at] ^= 1)?, KIT_PASSPHRASE)?;
        assert_eq!(told.code, 1, "{at}: {}", told.stderr);
    }
    Ok(())
}

fn assert_bad_kits_are_refused(stage: &Stage, kit: &KitFile, folder: &Path) -> Result<()> {
    let wrong = KitFile { kit: kit.kit.clone(), passphrase: folder.join("wrong") };
    fs::write(&wrong.passphrase, PASSPHRASE)?;
    let words =
        ["the passphrase does not open this recovery kit", "hint: give the passphrase that the kit was made"];
    assert_said(&wrong.with(stage, "restore", &[])?, 6, &words);
    let length = fs::read(&kit.kit)?.len();
    let words = ["recovery kit", "hint: use another copy"];
    // In the slot, in the sealed content, at the end.
    for at in [100, length / 2, length - 1] {
        let flipped = altered(kit, folder, |bytes| bytes[at] ^= 1)?;
        assert_said(&flipped.with(stage, "restore", &[])?, 8, &words);
        let cut = altered(kit, folder, |bytes| bytes.truncate(at))?;
        assert_said(&cut.with(stage, "review", &[])?, 8, &words);
    }
    let foreign = altered(kit, folder, |bytes| *bytes = b"# not a kit".to_vec())?;
    assert_said(&foreign.with(stage, "plan", &[])?, 3, &["this is not a recovery kit"]);
    assert_eq!(present(stage)?, Vec::<&str>::new());
    Ok(())
}

/// Where the bucket's objects lie on the disk of its server.
fn segments(folder: &Path) -> Result<PathBuf> {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.ends_with("segments") {
                return Ok(path);
            }
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    anyhow::bail!("no segments below {}", folder.display())
}

#[test]
fn a_kit_alone_brings_a_lost_platform_back_on_an_empty_cluster() -> Result<()> {
    let folder = Supervisor::start("kit")?;
    let minio = block_on(Minio::start_in(folder.directory().join("minio")))?;
    block_on(minio.create_bucket(BUCKET, BucketProtection::None))?;
    let (kit, orders, id) = lose_a_platform(&minio, folder.directory())?;
    assert_eq!(fs::metadata(&kit.kit)?.permissions().mode() & 0o777, 0o600);
    assert_a_stranger_reads(&kit, &id, folder.directory())?;

    let stage = Stage::raise(folder.directory(), &[])?;
    assert_bad_kits_are_refused(&stage, &kit, folder.directory())?;

    // A name that is taken by something else stops all.
    stage.passphrase(&[("key", "of somebody else")])?;
    let said = kit.with(&stage, "restore", &[])?;
    assert_said(
        &said,
        5,
        &["other things under the same names: Secret 'kasten-io/k10-dr-secret'", "nothing was changed"],
    );
    assert_eq!(present(&stage)?, ["k10-dr-secret"]);
    stage.delete(&["secret", "k10-dr-secret", "-n", NAMESPACE])?;

    let said = kit.with(&stage, "restore", &[])?;
    assert_said(&said, 0, &["created profile 'vault'", "created Secret 'kasten-io/vault-keys'"]);
    assert!(!said.stderr.contains("rolled back"), "{said:?}");
    assert_eq!(present(&stage)?, ["vault", "vault-keys", "k10-dr-secret"]);
    let said = stage.keelson(&["restore", APPLICATION])?;
    assert_eq!(said.code, 0, "{said:?}");
    let restored = stage.get(&["configmap", "orders", "-n", APPLICATION])?.context("no orders")?;
    assert_eq!(restored["data"], orders);

    // The newest part of the chain is lost; the kit knows that it was there, and a person decides.
    let ours = folder.directory().join("minio").join("data").join(BUCKET).join("ours/k10").join(id);
    fs::remove_dir_all(segments(&ours)?)?;
    let said = kit.with(&stage, "restore", &["--replace-catalog"])?;
    assert_said(&said, 8, &["is known to have reached", "and ends at", "hint:", "--accept-rollback"]);
    let said = kit.with(&stage, "restore", &["--replace-catalog", "--accept-rollback"])?;
    assert_said(&said, 0, &["warning: rolled back"]);
    Ok(())
}

#[test]
fn slots_that_somebody_deleted_come_back_from_the_kit() -> Result<()> {
    let world = enter()?;
    let slots = world.chain_folder("slots-lost")?.join("slots");
    let before = Listing::of(&slots)?;
    fs::remove_dir_all(&slots)?;
    let (kit, secret) = (world.kit.kit.display().to_string(), world.kit.passphrase.display().to_string());
    let folder = world.folder("slots-lost").display().to_string();
    let mend = |flags: &[&str]| {
        let words = ["tools", "repair", "slots", "--directory", &folder];
        answer([&words[..], &["--kit", &kit, "--kit-passphrase-file", &secret], flags].concat())
    };
    let words = ["has no passphrase slot", "hint:", "keelson tools repair slots"];
    assert_said(&world.recover("review", "slots-lost", &world.source_id)?, 6, &words);
    assert_said(&mend(&[])?, 0, &["nothing was changed; --yes"]);
    assert!(!slots.exists());
    let said = mend(&["--yes"])?;
    assert_said(&said, 0, &[]);
    assert!(said.stdout.contains("1 slots lacking, 1 written"), "{said:?}");
    assert_eq!(Listing::of(&slots)?.paths().collect::<Vec<_>>(), before.paths().collect::<Vec<_>>());
    assert_said(&world.recover("review", "slots-lost", &world.source_id)?, 0, &[]);
    Ok(())
}

#[test]
fn a_location_that_was_rolled_back_is_noticed_by_the_kit() -> Result<()> {
    let world = enter()?;
    let said = world.kit.with(&world.stage, "review", &["--profile", "whole"])?;
    assert_said(&said, 0, &[]);
    assert!(!said.stderr.contains("rolled back"), "{said:?}");

    let before = world.state_of(EARLIER)?;
    let said = world.kit.with(&world.stage, "review", &["--profile", EARLIER])?;
    assert_said(
        &said,
        0,
        &["warning: rolled back: the chain of repository", "known to have reached", "ends at"],
    );
    let positions = said.stderr.matches("00000001-").count();
    assert!(positions >= 2, "both positions are told: {said:?}");
    let said = world.kit.with(&world.stage, "restore", &["--profile", EARLIER])?;
    assert_said(&said, 8, &["does not hold what it is known to have held", "hint:", "--accept-rollback"]);
    world.stage.delete(&["kastendrrestores", "--all", "-n", NAMESPACE])?;

    // Without a kit it passes for the latest: nothing in it is wrong.
    let said = world.recover("review", EARLIER, &world.source_id)?;
    assert_said(&said, 0, &[]);
    assert!(!said.stderr.contains("rolled back"), "{said:?}");
    let after = world.state_of(EARLIER)?;
    assert_eq!(before.0.without("sessions").differences(&after.0.without("sessions")), Vec::<PathBuf>::new());
    assert_eq!(before.1, after.1);
    Ok(())
}

#[test]
fn a_kit_is_not_written_over_a_file_and_not_kept_where_it_cannot_be_tried() -> Result<()> {
    let world = enter()?;
    let folder = world.share.directory();
    let before = Listing::of(&folder.join("whole"))?;
    let make = |file: &Path, passphrase: &Path, flags: &[&str]| {
        let (file, passphrase) = (file.display().to_string(), passphrase.display().to_string());
        let words = ["dr", "kit", "--output-file", &file, "--kit-passphrase-file", &passphrase];
        world.stage.keelson(&[&words[..], flags].concat())
    };
    let taken = fs::read(&world.kit.kit)?;
    assert_said(&make(&world.kit.kit, &world.kit.passphrase, &[])?, 5, &["exists", "--overwrite"]);
    // This platform protects nothing: there is nothing to lead to.
    let said = make(&world.kit.kit, &world.kit.passphrase, &["--overwrite"])?;
    assert_said(&said, 4, &["disaster recovery is not enabled"]);
    assert_eq!(fs::read(&world.kit.kit)?, taken);
    let weak = folder.join("weak");
    fs::write(&weak, "letmein1")?;
    assert_said(&make(&folder.join("new-kit"), &weak, &[])?, 3, &["too easy to guess"]);
    assert!(!folder.join("new-kit").exists());
    assert_eq!(before, Listing::of(&folder.join("whole"))?);
    Ok(())
}

/// A whole kit that leads to less than was shipped: where it is tried, it fails.
#[test]
fn a_kit_whose_location_does_not_hold_what_was_shipped_leaves_no_file() -> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = raise_protected(share.directory(), ORIGIN, &[])?;
    // It lies in segments alone, behind the only base.
    stage.profile("late", "late")?;
    stage.wait_valid("profile", "late")?;
    wait_until_shipped(&stage)?;
    let folder = share.directory().join("kits");
    fs::create_dir(&folder)?;
    let (kit, passphrase) = (folder.join("kit"), share.directory().join("kit-passphrase"));
    fs::write(&passphrase, KIT_PASSPHRASE)?;
    let (file, secret) = (kit.display().to_string(), passphrase.display().to_string());
    let make = |flags: &[&str]| {
        let words = ["dr", "kit", "--output-file", &file, "--kit-passphrase-file", &secret];
        stage.keelson(&[&words[..], flags].concat())
    };
    let chain = only_child(&share.directory().join(ORIGIN).join("k10").join(stage.cluster_id()?).join("dr"))?;
    let (segments, aside) = (chain.join("segments"), share.directory().join("aside"));
    let refused = ["the location does not hold what was shipped to it", "known to have reached"];

    fs::rename(&segments, &aside)?;
    assert_said(&make(&[])?, 8, &refused);
    let left: Vec<_> = fs::read_dir(&folder)?.collect::<std::io::Result<_>>()?;
    assert!(left.is_empty(), "{left:?}");

    copy_folder(&aside, &segments)?;
    assert_said(&make(&[])?, 0, &[]);
    let kept = fs::read(&kit)?;
    fs::remove_dir_all(&segments)?;
    assert_said(&make(&["--overwrite"])?, 8, &refused);
    assert_eq!(fs::read(&kit)?, kept, "the kit that was there stays");
    assert_eq!(fs::read_dir(&folder)?.count(), 1);
    Ok(())
}
