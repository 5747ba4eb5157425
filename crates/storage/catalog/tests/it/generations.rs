//! A catalog that goes on in a later generation: a rolled-back volume must not repeat revisions that were seen.

use keelson_catalog::{ReadError, Scope};
use keelson_model::{Generation, Revision, Sequence};

use crate::fixture::{Fixture, POINTS, actor, key, kind, put, row};
use crate::shipping::{base, segments};

const LATER: Generation = Generation(5);

#[test]
fn a_catalog_goes_on_in_a_later_generation_with_all_that_it_holds() {
    let fixture = Fixture::new();
    let (data_dir, database) = fixture.create();
    for name in ["a", "b", "c"] {
        put(&database, row(name));
    }
    let before = database.head();
    let opened = database.open_generation(LATER, &actor()).unwrap();
    assert_eq!(opened, Revision::new(LATER, Sequence(1)));
    assert_eq!((database.generation(), database.digests()), (LATER, before.digests));
    let origin = database.origin().unwrap().unwrap();
    assert_eq!((origin.revision, origin.chain), (before.revision, before.chain));
    assert!(database.read(&key("b")).unwrap().is_some());
    assert_eq!(database.open_generation(LATER, &actor()).unwrap(), opened, "once is enough");

    let stale = database.changes(&kind(POINTS), None, before.revision, 10).unwrap_err();
    assert!(matches!(stale, ReadError::Expired { .. }), "{stale}");
    assert_eq!(put(&database, row("d")), Revision::new(LATER, Sequence(2)));
    database.verify_digests().unwrap();
    database.verify_chain().unwrap();

    drop(database);
    let database = data_dir.open_current(&fixture.key).unwrap();
    assert_eq!(database.head().revision, Revision::new(LATER, Sequence(2)));
    assert_eq!(data_dir.current_generation().unwrap(), Some(Generation(1)), "the folder keeps its name");
}

#[test]
fn a_later_generation_is_shipped_and_rebuilt_like_any_other() {
    let (source, target) = (Fixture::new(), Fixture::new());
    let (_data_dir, database) = source.create();
    put(&database, row("a"));
    database.open_generation(LATER, &actor()).unwrap();
    put(&database, row("b"));
    let base = base(&database, Scope::ConfigurationAndLocal);
    let at = database.head().revision.sequence();
    put(&database, row("c"));
    let target_dir = target.data_dir();
    let mut rebuild = target_dir.begin_recovery(Generation(6), &source.key, b"wrapped").unwrap();
    rebuild.put_base(&mut base.as_slice()).unwrap();
    for segment in segments(&database, at, Scope::ConfigurationAndLocal, 1 << 20) {
        rebuild.apply_segment(&segment).unwrap();
    }
    let reached = rebuild.head().unwrap();
    assert_eq!((reached.revision, reached.chain), (database.head().revision, database.head().chain));
}
