//! A location whose objects were harmed: verifying names the object, and a recovery from it is refused before the
//! switch, so that the platform keeps the catalog that it has.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use keelson_e2e::{Answer, Listing, answer};

use crate::world::{PASSPHRASE, World, enter, only_child};

/// Verifies a copy with the passphrase, outside of any cluster.
fn verify(world: &World, copy: &str) -> Result<Answer> {
    let passphrase = world.share.directory().join("passphrase");
    fs::write(&passphrase, PASSPHRASE)?;
    let (passphrase, folder) = (passphrase.display().to_string(), world.folder(copy).display().to_string());
    answer(["tools", "verify", "--directory", &folder, "--passphrase-file", &passphrase])
}

/// Verifying ends with 8 and tells each of `words`; it changes nothing.
#[track_caller]
fn assert_found(world: &World, copy: &str, words: &[&str]) -> Result<()> {
    let before = Listing::of(&world.folder(copy))?;
    let said = verify(world, copy)?;
    assert_eq!(said.code, 8, "{said:?}");
    let told = format!("{}{}", said.stdout, said.stderr);
    for word in words {
        assert!(told.contains(word), "'{word}' is not in: {told}");
    }
    let after = Listing::of(&world.folder(copy))?;
    assert_eq!(before.differences(&after), Vec::<PathBuf>::new());
    Ok(())
}

/// A review does not read packs, so only the restore is refused. It names one of the objects that were harmed.
#[track_caller]
fn assert_restore_names(world: &World, copy: &str, harmed: &[PathBuf], words: &[&str]) -> Result<()> {
    let said = world.assert_restore_refused(copy, &world.source_id, 8, words)?;
    let mut names = harmed.iter().map(|path| name(path)).collect::<Result<Vec<_>>>()?.into_iter();
    assert!(names.any(|name| said.contains(name)), "no harmed object is in: {said}");
    Ok(())
}

/// The files below a folder, largest first.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Listing::of(folder)?.paths().map(|path| folder.join(path)).collect();
    files.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).map_or(0, |metadata| metadata.len())));
    ensure!(!files.is_empty(), "{} is empty", folder.display());
    Ok(files)
}

fn name(path: &Path) -> Result<&str> {
    path.file_name().and_then(|name| name.to_str()).context("a name")
}

/// The packs of the lost platform's own repository: its bases lie in them.
fn packs(world: &World, copy: &str) -> Result<Vec<PathBuf>> {
    files(&world.chain_folder(copy)?.join("packs"))
}

fn flip(path: &Path, at: impl FnOnce(usize) -> usize) -> Result<()> {
    let mut bytes = fs::read(path)?;
    let at = at(bytes.len());
    bytes[at] ^= 1;
    fs::write(path, bytes).context("write it back")
}

#[test]
fn a_whole_location_verifies() -> Result<()> {
    let world = enter()?;
    let said = verify(&world, "whole")?;
    assert_eq!(said.code, 0, "{said:?}");
    Ok(())
}

#[test]
fn a_truncated_pack_is_named_and_the_recovery_is_refused() -> Result<()> {
    let world = enter()?;
    let packs = packs(&world, "pack-truncated")?;
    for pack in &packs {
        let bytes = fs::read(pack)?;
        fs::write(pack, &bytes[..bytes.len() / 2])?;
    }
    assert_found(&world, "pack-truncated", &[name(&packs[0])?])?;
    assert_restore_names(&world, "pack-truncated", &packs, &["pack"])
}

#[test]
fn one_flipped_bit_in_a_pack_is_named_and_the_recovery_is_refused() -> Result<()> {
    let world = enter()?;
    let packs = packs(&world, "pack-flipped")?;
    for pack in &packs {
        flip(pack, |length| length / 3)?;
    }
    assert_found(&world, "pack-flipped", &[name(&packs[0])?])?;
    assert_restore_names(&world, "pack-flipped", &packs, &["pack"])
}

#[test]
fn packs_swapped_with_each_other_are_named_and_the_recovery_is_refused() -> Result<()> {
    let world = enter()?;
    let packs = packs(&world, "pack-swapped")?;
    ensure!(packs.len() > 1, "there is one pack only");
    let contents = packs.iter().map(fs::read).collect::<std::io::Result<Vec<_>>>()?;
    for (pack, content) in packs.iter().zip(contents.iter().cycle().skip(1)) {
        fs::write(pack, content)?;
    }
    assert_found(&world, "pack-swapped", &[name(&packs[0])?])?;
    assert_restore_names(&world, "pack-swapped", &packs, &["pack"])
}

#[test]
fn a_deleted_pack_is_named_and_the_recovery_is_refused() -> Result<()> {
    let world = enter()?;
    let packs = packs(&world, "pack-deleted")?;
    for pack in &packs {
        fs::remove_file(pack)?;
    }
    assert_found(&world, "pack-deleted", &[name(&packs[0])?, "missing"])?;
    assert_restore_names(&world, "pack-deleted", &packs, &["missing"])
}

#[test]
fn a_lost_outcome_is_named_and_the_recovery_is_refused() -> Result<()> {
    let world = enter()?;
    let outcomes = files(&world.chain_folder("outcome-lost")?.join("outcomes"))?;
    for outcome in &outcomes {
        fs::remove_file(outcome)?;
    }
    assert_found(&world, "outcome-lost", &["there is no outcome", "outcomes/"])?;
    assert_restore_names(&world, "outcome-lost", &outcomes, &["there is no outcome", "outcomes/"])
}

/// Nothing else in the location tells of it: the catalog that was shipped knows what must be there.
#[test]
fn a_lost_outcome_of_an_export_is_named() -> Result<()> {
    let world = enter()?;
    let exports = only_child(&only_child(&world.source_folder("export-lost").join("exports"))?)?;
    let lost = files(&exports.join("outcomes"))?.remove(0);
    fs::remove_file(&lost)?;
    assert_found(&world, "export-lost", &[name(&lost)?, "missing"])
}

#[test]
fn a_lost_index_is_named_and_the_recovery_is_refused() -> Result<()> {
    let world = enter()?;
    for index in files(&world.chain_folder("index-lost")?.join("index"))? {
        fs::remove_file(index)?;
    }
    assert_found(&world, "index-lost", &["index"])?;
    // Nothing else holds the names of index objects: what cannot be found is named.
    let words = ["no index object says where chunk '", "one is lost"];
    world.assert_restore_refused("index-lost", &world.source_id, 8, &words)?;
    Ok(())
}

#[test]
fn an_altered_segment_breaks_the_journal_before_the_switch() -> Result<()> {
    let world = enter()?;
    let segments = files(&world.chain_folder("chain-broken")?.join("segments"))?;
    for segment in &segments {
        flip(segment, |length| length / 2)?;
    }
    assert_found(&world, "chain-broken", &[name(&segments[0])?])?;
    assert_restore_names(&world, "chain-broken", &segments, &["segment"])
}

#[test]
fn a_lost_segment_breaks_the_journal_before_the_switch() -> Result<()> {
    let world = enter()?;
    let folder = world.chain_folder("segment-lost")?.join("segments");
    let mut segments = files(&folder)?;
    segments.sort();
    ensure!(segments.len() > 2, "there are {} segments only", segments.len());
    fs::remove_file(&segments[segments.len() - 2])?;
    let last = name(&segments[segments.len() - 1])?;
    assert_found(&world, "segment-lost", &[last, "leads nowhere"])?;
    world.assert_restore_refused(
        "segment-lost",
        &world.source_id,
        8,
        &["the segment begins at", "expected"],
    )?;
    Ok(())
}
