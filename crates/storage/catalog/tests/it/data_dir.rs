//! The data directory: lock, generations, leftovers.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use keelson_catalog::{DataDir, DataDirError, OpenCatalogError, RebuildError, Rewrapped, Scope};
use keelson_crypto::CatalogKey;
use keelson_model::{Classified, ErrorClass, Generation};

use crate::fixture::{Fixture, actor, key, put, row};
use crate::shipping::base;

#[test]
fn an_empty_directory_has_no_catalog_until_one_is_made() {
    let fixture = Fixture::new();
    let data_dir = fixture.data_dir();
    assert_eq!(data_dir.current_generation().unwrap(), None);
    let error = data_dir.open_current(&fixture.key).unwrap_err();
    assert!(matches!(error, OpenCatalogError::Absent { .. }), "{error}");
    data_dir.create_first(&fixture.key, b"wrapped").unwrap();
    assert_eq!(data_dir.current_generation().unwrap(), Some(Generation(1)));
    assert_eq!(data_dir.current_wrapped_key().unwrap(), b"wrapped");
    assert_eq!(fs::read_to_string(fixture.path().join("CURRENT")).unwrap(), "1\n");
    assert!(!fixture.path().join("1/UNFINISHED").exists());
    let error = data_dir.create_first(&fixture.key, b"").unwrap_err();
    assert!(matches!(error, OpenCatalogError::Exists { .. }), "{error}");
}

/// Names and history are not encrypted there.
#[test]
fn nobody_but_its_owner_may_look_into_a_data_directory() {
    let fixture = Fixture::new();
    let made = fixture.path().join("made");
    let data_dir = DataDir::open(&made, fixture.clock()).unwrap();
    data_dir.create_first(&fixture.key, b"wrapped").unwrap();
    for folder in [made.clone(), made.join("1")] {
        let mode = fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", folder.display());
    }
}

#[test]
fn a_second_opener_is_told_who_is_in_the_way() {
    let fixture = Fixture::new();
    let first = fixture.data_dir();
    let error = DataDir::open(&fixture.path(), fixture.clock()).unwrap_err();
    let path = fixture.path();
    assert_eq!(
        error.to_string(),
        format!(
            "data directory '{}' is in use by another process, which holds '{}'",
            path.display(),
            path.join("LOCK").display()
        )
    );
    assert_eq!((error.class(), error.code()), (ErrorClass::Conflict, "catalog.data_dir.locked"));
    drop(first);
    fixture.data_dir();
}

#[test]
fn the_instance_file_is_a_catalog_of_its_own() {
    let fixture = Fixture::new();
    let (data_dir, database) = fixture.create();
    let own = CatalogKey::generate();
    assert!(matches!(data_dir.open_instance(&own).unwrap_err(), OpenCatalogError::Absent { .. }));
    let instance = data_dir.create_instance(&own, b"own").unwrap();
    put(&instance, row("a"));
    assert_eq!(database.read(&key("a")).unwrap(), None);
    assert_eq!(instance.rewrap(b"rotated".to_vec()).unwrap(), Rewrapped::Wiped);
    drop(instance);
    assert_eq!(data_dir.instance_wrapped_key().unwrap(), b"rotated");
    assert!(data_dir.open_instance(&own).unwrap().read(&key("a")).unwrap().is_some());
    assert!(matches!(data_dir.create_instance(&own, b"").unwrap_err(), OpenCatalogError::Exists { .. }));
}

/// Whoever copies the files of a platform that runs finds what they mean, and nothing of a key that was replaced.
#[test]
fn a_wrapped_key_that_was_replaced_is_in_no_byte_of_the_files() {
    let fixture = Fixture::new();
    let (data_dir, _database) = fixture.create();
    let before = [b"of no use any more: ".as_slice(), &[0xa5; 60]].concat();
    let instance = data_dir.create_instance(&CatalogKey::generate(), &before).unwrap();
    put(&instance, row("a"));
    let holds = |key: &[u8]| {
        let files = fs::read_dir(fixture.path()).unwrap().map(|entry| entry.unwrap().path());
        let contents = files.filter(|path| path.is_file()).map(|path| fs::read(path).unwrap());
        contents
            .into_iter()
            .any(|content| content.windows(16).any(|bytes| key.windows(16).any(|part| part == bytes)))
    };
    assert!(holds(&before), "it was there");
    assert_eq!(instance.rewrap(b"the wrapped key that took its place".to_vec()).unwrap(), Rewrapped::Wiped);
    put(&instance, row("b"));
    assert!(holds(b"the wrapped key that took its place"));
    assert!(!holds(&before), "it is still there");
}

#[test]
fn an_interrupted_first_start_begins_anew() {
    let fixture = Fixture::new();
    let data_dir = fixture.data_dir();
    // As left by a kill after the file was made and before CURRENT named it.
    let folder = fixture.path().join("1");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("UNFINISHED"), b"").unwrap();
    fs::write(folder.join("catalog.sqlite"), b"half").unwrap();
    drop(data_dir);
    let data_dir = fixture.data_dir();
    assert!(data_dir.generations().unwrap().is_empty());
    // As left by a kill before the mark was written, or after it was removed.
    fs::create_dir(&folder).unwrap();
    assert!(data_dir.generations().unwrap().is_empty());
    drop(data_dir);
    let data_dir = fixture.data_dir();
    put(&data_dir.create_first(&fixture.key, b"").unwrap(), row("a"));
}

#[test]
fn a_kill_right_after_the_switch_leaves_the_new_generation_current() {
    let fixture = Fixture::new();
    let (data_dir, database) = fixture.create();
    put(&database, row("a"));
    // As left by a kill after CURRENT was renamed and before the mark was removed.
    fs::write(fixture.path().join("1/UNFINISHED"), b"").unwrap();
    drop((data_dir, database));
    let data_dir = fixture.data_dir();
    assert!(data_dir.open_current(&fixture.key).unwrap().read(&key("a")).unwrap().is_some());
    assert!(!fixture.path().join("1/UNFINISHED").exists());
}

#[test]
fn a_kill_before_the_switch_leaves_the_old_generation_current() {
    let fixture = Fixture::new();
    let (data_dir, database) = fixture.create();
    put(&database, row("a"));
    let base = base(&database, Scope::ConfigurationOnly);
    let mut rebuild = data_dir.begin_recovery(Generation(2), &fixture.key, b"").unwrap();
    rebuild.put_base(&mut base.as_slice()).unwrap();
    let prepared = rebuild.finish::<RebuildError>(&actor(), |_| Ok(())).unwrap();
    drop(prepared);
    drop((data_dir, database));
    let data_dir = fixture.data_dir();
    assert_eq!(data_dir.current_generation().unwrap(), Some(Generation(1)));
    assert_eq!(data_dir.generations().unwrap(), [Generation(1)]);
    let mut rebuild = data_dir.begin_recovery(Generation(2), &fixture.key, b"").unwrap();
    rebuild.put_base(&mut base.as_slice()).unwrap();
}

/// A recovery that had filled the volume left its file until the next one began, and nothing could be written meanwhile.
#[test]
fn what_a_failed_recovery_has_built_is_removed_unless_one_is_under_way() {
    let fixture = Fixture::new();
    let (data_dir, database) = fixture.create();
    put(&database, row("a"));
    let base = base(&database, Scope::ConfigurationOnly);
    let mut rebuild = data_dir.begin_recovery(Generation(2), &fixture.key, b"").unwrap();
    rebuild.put_base(&mut base.as_slice()).unwrap();
    data_dir.abandon_recovery().unwrap();
    assert!(fixture.path().join("2").exists(), "it is under way");
    drop(rebuild);
    data_dir.abandon_recovery().unwrap();
    assert!(!fixture.path().join("2").exists());
    put(&database, row("b"));
    assert_eq!(data_dir.generations().unwrap(), [Generation(1)]);
}

#[test]
fn a_stale_log_of_an_older_file_cannot_reach_the_new_generation() {
    let fixture = Fixture::new();
    let (data_dir, database) = fixture.create();
    put(&database, row("a"));
    let base = base(&database, Scope::ConfigurationOnly);
    put(&database, row("stale"));
    let log = fixture.file(1).with_extension("sqlite-wal");
    let stale = fs::read(&log).unwrap();
    assert!(stale.len() > 4096, "the log has frames");
    let mut rebuild = data_dir.begin_recovery(Generation(2), &fixture.key, b"").unwrap();
    rebuild.put_base(&mut base.as_slice()).unwrap();
    let restored = data_dir.switch(rebuild.finish::<RebuildError>(&actor(), |_| Ok(())).unwrap()).unwrap();
    drop((restored, database, data_dir));
    // As a kill leaves it: the old file's log is still there.
    fs::write(&log, &stale).unwrap();
    let data_dir = fixture.data_dir();
    let restored = data_dir.open_current(&fixture.key).unwrap();
    assert!(restored.read(&key("a")).unwrap().is_some());
    assert_eq!(restored.read(&key("stale")).unwrap(), None);
    restored.verify_digests().unwrap();
    restored.check_file().unwrap();
}

#[test]
fn the_generation_in_use_cannot_be_dropped() {
    let fixture = Fixture::new();
    let (data_dir, database) = fixture.create();
    let error = data_dir.drop_generation(Generation(1)).unwrap_err();
    assert!(matches!(error, DataDirError::InUse { .. }), "{error}");
    data_dir.drop_generation(Generation(5)).unwrap();
    put(&database, row("a"));
}

#[test]
fn a_second_recovery_does_not_clear_away_the_first() {
    let fixture = Fixture::new();
    let (data_dir, database) = fixture.create();
    put(&database, row("a"));
    let base = base(&database, Scope::ConfigurationOnly);
    let mut rebuild = data_dir.begin_recovery(Generation(2), &fixture.key, b"").unwrap();
    let second = data_dir.begin_recovery(Generation(3), &fixture.key, b"").err().unwrap();
    assert_eq!((second.class(), second.code()), (ErrorClass::Conflict, "catalog.data_dir.rebuilding"));
    rebuild.put_base(&mut base.as_slice()).unwrap();
    let prepared = rebuild.finish::<RebuildError>(&actor(), |_| Ok(())).unwrap();
    assert!(data_dir.begin_recovery(Generation(3), &fixture.key, b"").is_err());
    data_dir.switch(prepared).unwrap();
    data_dir.begin_recovery(Generation(3), &fixture.key, b"").unwrap();
}

/// The next start found a file that was no catalog, and so did every start after it.
#[test]
fn an_instance_file_that_was_left_half_made_is_made_again() {
    let fixture = Fixture::new();
    drop(fixture.data_dir());
    let file = |name: &str| fixture.path().join(name);
    fs::write(file("instance.UNFINISHED"), "").unwrap();
    fs::write(file("instance.sqlite"), "half").unwrap();
    fs::write(file("instance.sqlite-wal"), "of another").unwrap();
    let data_dir = fixture.data_dir();
    let own = CatalogKey::generate();
    let instance = data_dir.create_instance(&own, b"own").unwrap();
    assert!(!file("instance.UNFINISHED").exists());
    put(&instance, row("a"));
    drop((instance, data_dir));
    let instance = fixture.data_dir().open_instance(&own).unwrap();
    assert!(instance.read(&key("a")).unwrap().is_some(), "what was finished stays");
}
