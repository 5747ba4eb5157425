//! Lists, pages, selectors.

use keelson_catalog::limits::PAGE_BYTES_MAX;
use keelson_catalog::{Change, Class, Database, Page, PageKey, Query, Row};
use keelson_model::selector::LabelSelector;

use crate::fixture::{ACTIONS, Fixture, POINTS, actor, delete, key, kind, labelled, put, row, row_in};

fn names(page: &Page) -> Vec<String> {
    page.rows.iter().map(|stored| format!("{}/{}", stored.row.namespace, stored.row.name)).collect()
}

fn all_pages(database: &Database, mut query: Query) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let page = database.list(&query).unwrap();
        found.extend(names(&page));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return found,
        }
    }
}

fn fill(database: &Database, count: usize) {
    let rows = (0..count).map(|number| {
        let parity = if number % 2 == 0 { "even" } else { "odd" };
        let third = (number % 3).to_string();
        let namespace = format!("n{}", number % 5);
        let row = row_in(POINTS, &namespace, &format!("p{number:05}"), Class::Local);
        Change::put(labelled(row, &[("parity", parity), ("third", &third)]))
    });
    database.commit(&actor(), rows.collect()).unwrap();
}

#[test]
fn pages_join_to_the_whole_list_in_key_order() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    fill(&database, 100);
    put(&database, row_in(ACTIONS, "n0", "other-kind", Class::Local));
    let whole = names(&database.list(&Query::all(kind(POINTS), 1000)).unwrap());
    assert_eq!(whole.len(), 100);
    assert!(whole.is_sorted());
    for limit in [1, 7, 99, 100, 101] {
        assert_eq!(all_pages(&database, Query::all(kind(POINTS), limit)), whole, "{limit}");
    }
}

#[test]
fn a_page_says_how_many_rows_follow() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    fill(&database, 100);
    let page = database.list(&Query::all(kind(POINTS), 30)).unwrap();
    assert_eq!((page.rows.len(), page.remaining), (30, Some(70)));
    assert_eq!(page.revision, database.head().revision);
    let namespaced = Query { namespace: Some("n1".into()), ..Query::all(kind(POINTS), 5) };
    assert_eq!(database.list(&namespaced).unwrap().remaining, Some(15));
    let selected = Query { labels: LabelSelector::equal("parity", "odd"), ..Query::all(kind(POINTS), 5) };
    assert_eq!(database.list(&selected).unwrap().remaining, None);
    assert_eq!(database.list(&Query::all(kind(POINTS), 100)).unwrap().remaining, Some(0));
    assert_eq!(database.count(&kind(POINTS)).unwrap(), 100);
}

#[test]
fn a_page_of_large_rows_is_short_and_none_is_missing() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    for number in 0..30_u64 {
        let mut large = row(&format!("p{number:02}"));
        // Every other one grows a little where it is compressed.
        large.body = match number % 2 {
            0 => vec![b'x'; 300 << 10],
            _ => noise(number).take(300 << 10).collect(),
        };
        put(&database, large);
    }
    let whole: Vec<_> = (0..30).map(|number| format!("shop/p{number:02}")).collect();
    for limit in [1, 3, 4, 29, 30, 1000] {
        assert_eq!(all_pages(&database, Query::all(kind(POINTS), limit)), whole, "{limit}");
    }
    for (bytes, rows) in [(usize::MAX, 4), (PAGE_BYTES_MAX, 4), (600 << 10, 2), (1, 1), (0, 1)] {
        let page = database.list(&Query { bytes, ..Query::all(kind(POINTS), 1000) }).unwrap();
        assert_eq!((page.rows.len(), page.remaining), (rows, Some(30 - rows as u64)), "{bytes}");
    }
}

/// Bodies are not all that a client writes: what labels take counts too.
#[test]
fn a_page_of_rows_with_many_labels_is_short_and_so_is_what_happened() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let since = database.head().revision;
    for number in 0..100 {
        let labels = (0..100).map(|label| (format!("{label:0>250}"), "v".repeat(60))).collect();
        put(&database, Row { labels, ..row(&format!("p{number:02}")) });
    }
    let page = database.list(&Query::all(kind(POINTS), 1000)).unwrap();
    assert!((20..40).contains(&page.rows.len()), "{} rows of some 37 KiB", page.rows.len());
    assert_eq!(all_pages(&database, Query::all(kind(POINTS), 1000)).len(), 100);
    let changes = database.changes(&kind(POINTS), None, since, 1000).unwrap();
    assert_eq!((changes.events.len(), changes.complete), (2, false));
}

fn noise(seed: u64) -> impl Iterator<Item = u8> {
    std::iter::successors(Some(seed + 1), |state| {
        Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
    })
    .map(|state| (state >> 56) as u8)
}

#[test]
fn pages_stay_in_place_while_rows_come_and_go() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    for name in ["b", "d", "f", "h"] {
        put(&database, row(name));
    }
    let first = database.list(&Query::all(kind(POINTS), 2)).unwrap();
    assert_eq!(names(&first), ["shop/b", "shop/d"]);
    put(&database, row("a"));
    put(&database, row("g"));
    delete(&database, key("d"));
    let second = Query { after: first.next, ..Query::all(kind(POINTS), 10) };
    assert_eq!(names(&database.list(&second).unwrap()), ["shop/f", "shop/g", "shop/h"]);
}

#[test]
fn a_page_key_of_another_namespace_is_honoured() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    fill(&database, 20);
    let after = |namespace: &str| {
        let after = Some(PageKey { namespace: namespace.into(), name: "p00006".into() });
        let query = Query { namespace: Some("n1".into()), after, ..Query::all(kind(POINTS), 100) };
        names(&database.list(&query).unwrap()).len()
    };
    assert_eq!((after("n0"), after("n1"), after("n2")), (4, 2, 0));
}

#[test]
fn a_selector_finds_the_same_rows_with_and_without_the_index() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    // More than are counted, so that labels are also compared by what lies beyond.
    fill(&database, 6000);
    put(
        &database,
        labelled(row_in(POINTS, "n9", "rare", Class::Local), &[("parity", "odd"), ("rare", "yes")]),
    );
    let whole: Vec<_> = database.rows(Query::of(kind(POINTS))).map(Result::unwrap).collect();
    for text in
        ["parity=odd", "third=1", "rare=yes", "rare=yes,parity=even", "third in (1,2),parity!=odd", "rare"]
    {
        let selector = LabelSelector::parse(text).unwrap();
        let expected: Vec<_> =
            whole.iter().filter(|stored| selector.matches(&stored.row.labels)).cloned().collect();
        for namespace in [None, Some("n3".to_owned()), Some("n9".to_owned())] {
            let expected: Vec<_> = expected
                .iter()
                .filter(|stored| {
                    namespace.as_ref().is_none_or(|namespace| *namespace == stored.row.namespace)
                })
                .map(|stored| format!("{}/{}", stored.row.namespace, stored.row.name))
                .collect();
            let query = Query { namespace, labels: selector.clone(), ..Query::all(kind(POINTS), 700) };
            assert_eq!(all_pages(&database, query), expected, "{text}");
        }
    }
}

#[test]
fn a_label_that_changed_is_found_by_its_new_value_alone() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    let found = |value: &str| {
        let query = Query { labels: LabelSelector::equal("state", value), ..Query::all(kind(POINTS), 10) };
        database.list(&query).unwrap().rows.len()
    };
    put(&database, labelled(row("a"), &[("state", "old")]));
    assert_eq!((found("old"), found("new")), (1, 0));
    put(&database, labelled(row("a"), &[("state", "new")]));
    assert_eq!((found("old"), found("new")), (0, 1));
    delete(&database, key("a"));
    assert_eq!((found("old"), found("new")), (0, 0));
}

#[test]
fn cluster_scoped_rows_are_listed_by_the_empty_namespace() {
    let fixture = Fixture::new();
    let (_data_dir, database) = fixture.create();
    put(&database, row_in(POINTS, "", "cluster", Class::Local));
    put(&database, row("a"));
    let query = Query { namespace: Some(String::new()), ..Query::all(kind(POINTS), 10) };
    assert_eq!(names(&database.list(&query).unwrap()), ["/cluster"]);
    assert_eq!(names(&database.list(&Query::all(kind(POINTS), 10)).unwrap()), ["/cluster", "shop/a"]);
}
