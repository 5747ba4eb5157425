//! Recoveries that cannot be: each says why, and leaves the location and the platform as they were.

use std::fs;

use anyhow::Result;

use crate::stage::NAMESPACE;
use crate::world::{PASSPHRASE, enter};

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
