//! What a catalog says of a file that it cannot trust, and that it leaves the file as it is.

use std::fs;
use std::path::Path;

use keelson_catalog::{OpenCatalogError, OpenCheck, VerifyError};
use keelson_model::{Classified, ErrorClass};

use crate::fixture::{Fixture, flip_in_file, key, put, row, with_body};

/// A closed catalog with some rows.
fn closed() -> Fixture {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    for number in 0..20 {
        put(&database, with_body(row(&number.to_string()), &format!("the body of row {number}")));
    }
    fixture
}

fn open_error(fixture: &Fixture) -> OpenCatalogError {
    fixture.data_dir().open_current(&fixture.key).unwrap_err()
}

fn failed_check(fixture: &Fixture) -> OpenCheck {
    let before = fs::read(fixture.file(1)).unwrap();
    let error = open_error(fixture);
    assert_eq!(error.class(), ErrorClass::Corrupt);
    assert!(error.hint().unwrap().starts_with("nothing was deleted"));
    assert_eq!(fs::read(fixture.file(1)).unwrap(), before, "the file stays as it is");
    match error {
        OpenCatalogError::Corrupt { check, .. } => check,
        other => panic!("{other}"),
    }
}

/// Runs SQL on the closed file, as an attacker or an accident might.
fn tamper(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(sql).unwrap();
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

#[test]
fn a_catalog_reopens_where_it_was() {
    let fixture = closed();
    let database = fixture.data_dir().open_current(&fixture.key).unwrap();
    assert_eq!(database.head().revision.sequence().0, 20);
    database.verify_digests().unwrap();
    database.verify_chain().unwrap();
    database.check_file().unwrap();
    assert!(
        !fixture.file(1).with_extension("sqlite-wal").exists() || database.read(&key("3")).unwrap().is_some()
    );
}

#[test]
fn a_file_of_garbage_is_corrupt() {
    let fixture = closed();
    fs::write(fixture.file(1), vec![7; 100_000]).unwrap();
    assert_eq!(failed_check(&fixture), OpenCheck::Application);
}

#[test]
fn an_empty_file_is_corrupt() {
    let fixture = closed();
    fs::write(fixture.file(1), b"").unwrap();
    assert_eq!(failed_check(&fixture), OpenCheck::Application);
}

#[test]
fn a_truncated_file_is_corrupt() {
    let fixture = closed();
    let bytes = fs::read(fixture.file(1)).unwrap();
    fs::write(fixture.file(1), &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(failed_check(&fixture), OpenCheck::Pages);
}

#[test]
fn the_database_of_something_else_is_corrupt() {
    let fixture = closed();
    fs::remove_file(fixture.file(1)).unwrap();
    tamper(&fixture.file(1), "CREATE TABLE other (a)");
    assert_eq!(failed_check(&fixture), OpenCheck::Application);
}

#[test]
fn a_missing_file_of_the_current_generation_is_not_made_anew() {
    let fixture = closed();
    fs::remove_file(fixture.file(1)).unwrap();
    match open_error(&fixture) {
        OpenCatalogError::Corrupt { check, .. } => assert_eq!(check, OpenCheck::File),
        other => panic!("{other}"),
    }
    assert!(!fixture.file(1).exists());
}

#[test]
fn a_missing_or_malformed_current_is_not_guessed() {
    let fixture = closed();
    let current = fixture.path().join("CURRENT");
    fs::write(&current, "one\n").unwrap();
    assert_eq!(failed_check(&fixture), OpenCheck::Current);
    fs::remove_file(&current).unwrap();
    assert_eq!(failed_check(&fixture), OpenCheck::CurrentMissing);
    let error = fixture.data_dir().create_first(&fixture.key, b"").unwrap_err();
    assert_eq!(error.class(), ErrorClass::Corrupt);
    fs::write(&current, "1\n").unwrap();
    fixture.data_dir().open_current(&fixture.key).unwrap();
}

#[test]
fn a_missing_or_malformed_head_is_corrupt() {
    let fixture = closed();
    tamper(&fixture.file(1), "UPDATE meta SET value = x'00' WHERE name = 'head'");
    assert_eq!(failed_check(&fixture), OpenCheck::Meta);
}

#[test]
fn a_journal_that_lost_its_last_entry_is_corrupt() {
    let fixture = closed();
    tamper(&fixture.file(1), "DELETE FROM journal WHERE seq = 20");
    assert_eq!(failed_check(&fixture), OpenCheck::Head);
}

#[test]
fn a_changed_entry_in_the_tail_is_corrupt() {
    let fixture = closed();
    tamper(&fixture.file(1), "UPDATE journal SET actor = 'nobody' WHERE seq = 15");
    assert_eq!(failed_check(&fixture), OpenCheck::Tail);
}

#[test]
fn a_missing_entry_in_the_tail_is_corrupt() {
    let fixture = closed();
    tamper(&fixture.file(1), "DELETE FROM journal WHERE seq = 15");
    assert_eq!(failed_check(&fixture), OpenCheck::Tail);
}

#[test]
fn a_changed_entry_before_the_tail_is_found_by_the_whole_chain() {
    let fixture = Fixture::new();
    let (data_dir, database) = fixture.create();
    for number in 0..100 {
        put(&database, row(&number.to_string()));
    }
    drop((data_dir, database));
    tamper(&fixture.file(1), "UPDATE journal SET at = at + 1 WHERE seq = 7");
    let database = fixture.data_dir().open_current(&fixture.key).unwrap();
    let error = database.verify_chain().unwrap_err();
    assert!(matches!(error, VerifyError::Chain { at } if at.0 == 7), "{error}");
    database.verify_digests().unwrap();
}

#[test]
fn a_changed_row_is_found_by_the_digests() {
    for sql in [
        "UPDATE objects SET uid = 'other' WHERE name = '3'",
        "UPDATE objects SET version = version + 1 WHERE name = '3'",
        "DELETE FROM objects WHERE name = '3'",
        "UPDATE objects SET class = 1 WHERE name = '3'",
        "UPDATE objects SET body = (SELECT body FROM objects WHERE name = '4') WHERE name = '3'",
    ] {
        let fixture = closed();
        tamper(&fixture.file(1), sql);
        let database = fixture.data_dir().open_current(&fixture.key).unwrap();
        let error = database.verify_digests().unwrap_err();
        assert!(matches!(error, VerifyError::Digest { .. }), "{sql}: {error}");
        assert_eq!(error.class(), ErrorClass::Corrupt);
    }
}

#[test]
fn a_flipped_bit_in_the_file_is_found() {
    let fixture = closed();
    flip_in_file(&fixture.file(1), b"uid-7");
    // The journal has the row as well, so that opening may find it already.
    if let Ok(database) = fixture.data_dir().open_current(&fixture.key) {
        database.verify_digests().unwrap_err();
    }
}

#[test]
fn a_newer_format_is_named_and_left_alone() {
    let fixture = closed();
    tamper(&fixture.file(1), "PRAGMA user_version = 99");
    let error = open_error(&fixture);
    let path = fixture.file(1);
    assert_eq!(
        error.to_string(),
        format!("catalog '{}' has format 99, this version knows formats up to 2", path.display())
    );
    assert_eq!((error.class(), error.code()), (ErrorClass::Invalid, "catalog.open.newer_format"));
}

#[test]
fn another_key_does_not_open_a_catalog() {
    let fixture = closed();
    let error = fixture.data_dir().open_current(&Fixture::new().key).unwrap_err();
    assert!(matches!(error, OpenCatalogError::WrongKey { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Denied);
}

#[test]
fn a_folder_copied_to_another_generation_is_corrupt() {
    let fixture = closed();
    fs::rename(fixture.path().join("1"), fixture.path().join("3")).unwrap();
    fs::write(fixture.path().join("CURRENT"), "3\n").unwrap();
    match open_error(&fixture) {
        OpenCatalogError::Corrupt { check, .. } => assert_eq!(check, OpenCheck::Generation),
        other => panic!("{other}"),
    }
}
