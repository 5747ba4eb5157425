//! The platform's own volume fills up while it is recovered: the old catalog stays in use, and with room the same
//! restore goes well.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use keelson_testkit::Supervisor;

use crate::catalog::fill_with_large_actions;
use crate::refusals::Mounted;
use crate::stage::{NAMESPACE, Stage, assert_said};
use crate::world::{ORIGIN, PASSPHRASE, copy_folder, raise_source, wait_until_shipped};

const VOLUME_MIB: usize = 128;
/// Enough for what a platform writes of itself, and not for a catalog with what follows.
const LEFT_MIB: usize = 8;
const ACTIONS: usize = 950;
const ACTION_KIB: usize = 32;

/// Fills a volume until so much is left.
fn fill(volume: &Path, left_mib: usize) -> Result<()> {
    let ballast = volume.join("ballast");
    let mut file = fs::File::create(&ballast)?;
    let mut written: u64 = 0;
    // Until nothing more fits.
    while file.write_all(&[0; 1 << 16]).is_ok() {
        written += 1 << 16;
    }
    let left = u64::try_from(left_mib)? << 20;
    file.set_len(written.checked_sub(left).context("the volume is too small")?)?;
    Ok(())
}

/// The data of a platform that rests, on a volume of its own.
fn move_to_volume(stage: &mut Stage) -> Result<Option<Mounted>> {
    stage.instance.kill()?;
    let data = stage.data();
    let aside = data.with_extension("aside");
    fs::rename(&data, &aside)?;
    let Some(volume) = Mounted::new(data.clone(), &format!("size={VOLUME_MIB}m"))? else { return Ok(None) };
    copy_folder(&aside, &data)?;
    stage.instance.restart()?;
    stage.wait_until_served()?;
    Ok(Some(volume))
}

#[test]
fn a_volume_that_fills_up_in_a_recovery_leaves_the_catalog_of_before_and_with_room_it_goes_well() -> Result<()>
{
    let share = Supervisor::start("share")?;
    let mut source = raise_source(share.directory(), ORIGIN)?;
    // Of what does not compress: the catalog is larger than what is left.
    fill_with_large_actions(&mut source, ACTIONS, ACTION_KIB)?;
    wait_until_shipped(&source)?;
    let source_id = source.cluster_id()?;
    source.instance.kill()?;
    drop(source);

    let mut stage = Stage::raise(share.directory(), &[])?;
    stage.passphrase(&[("key", PASSPHRASE)])?;
    stage.profile("vault", ORIGIN)?;
    stage.wait_valid("profile", "vault")?;
    let Some(volume) = move_to_volume(&mut stage)? else { return Ok(()) };
    fill(volume.folder(), LEFT_MIB)?;
    let before = stage.state()?;
    let restore = ["dr", "restore", "--profile", "vault", "--source-cluster-id", &source_id];
    let said = stage.keelson(&restore)?;
    ensure!(said.code == 7, "{said:?}");
    let told = said.stderr.to_lowercase();
    ensure!(told.contains("full") || told.contains("no space left"), "{said:?}");
    ensure!(told.contains("free space on the catalog's volume"), "{said:?}");
    let map = ["configmap", "k10-dr-remove-to-get-ownership", "-n", NAMESPACE];
    assert_eq!(stage.get(&map)?, None);

    fs::remove_file(volume.folder().join("ballast"))?;
    assert_eq!(stage.state()?.digests, before.digests, "the catalog of before is in use");
    assert_said(&stage.keelson(&restore)?, 0, &[]);
    let contents = stage.get(&["restorepointcontents"])?.context("no list")?;
    assert_eq!(contents["items"].as_array().map_or(0, Vec::len), 4, "two backups and their exports");
    stage.instance.kill()?;
    drop(volume);
    Ok(())
}
