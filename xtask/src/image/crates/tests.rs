//! What cargo says of a small tree, and of this one.

use serde_json::json;

use super::*;

fn id(name: &str, version: &str) -> Id {
    Id { name: name.to_owned(), version: version.to_owned() }
}

fn metadata(features_of_jiff: &[&str]) -> Metadata {
    let package = |name: &str, license: &str| json!({ "id": name, "name": name, "version": "1.0.0", "license": license });
    let edge = |name: &str, kind: Option<&str>| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
    let of_program = [edge("jiff", None), edge("only-tests", Some("dev"))];
    let value = json!({
        "packages": [
            package("keelson", "Apache-2.0"),
            package("jiff", "Unlicense/MIT"),
            package("only-tests", "MIT"),
        ],
        "resolve": { "nodes": [
            { "id": "keelson", "features": [], "deps": of_program },
            { "id": "jiff", "features": features_of_jiff, "deps": [edge("only-tests", None)] },
            { "id": "only-tests", "features": [], "deps": [] },
        ] },
    });
    serde_json::from_value(value).unwrap()
}

const TREE: &str = "keelson v1.0.0 (/srv/keelson)\njiff v1.0.0\njiff v1.0.0 (*)\n";

#[test]
fn only_what_is_linked_in_is_listed_with_its_licence_and_its_checksum() {
    let lock = "version = 4\n\n[[package]]\nname = \"jiff\"\nversion = \"1.0.0\"\nchecksum = \"ab\"\n\n\
                [[package]]\nname = \"keelson\"\nversion = \"1.0.0\"\ndependencies = [\n \"jiff\",\n]\n";
    let crates = join(&named(TREE), &metadata(&["std"]), &checksums(lock)).unwrap();
    assert_eq!(crates.keys().cloned().collect::<Vec<_>>(), [id("jiff", "1.0.0"), id("keelson", "1.0.0")]);
    let jiff = &crates[&id("jiff", "1.0.0")];
    assert_eq!((jiff.license.as_deref(), jiff.checksum.as_deref()), (Some("Unlicense OR MIT"), Some("ab")));
    assert!(jiff.needs.is_empty());
    let keelson = &crates[&id("keelson", "1.0.0")];
    assert_eq!((keelson.checksum.as_deref(), &keelson.needs[..]), (None, &[id("jiff", "1.0.0")][..]));
}

#[test]
fn a_program_that_reads_time_zones_is_not_packed_without_them() {
    let refused = join(&named(TREE), &metadata(&["std", "tz-system"]), &BTreeMap::new()).unwrap_err();
    assert!(refused.to_string().ends_with("put /usr/share/zoneinfo into the image"), "{refused}");
}

#[test]
fn a_crate_that_cargo_lists_and_does_not_know_is_an_error() {
    let refused = join(&named("other v2.0.0\n"), &metadata(&[]), &BTreeMap::new()).unwrap_err();
    assert!(refused.to_string().contains("other"), "{refused}");
}

#[test]
fn the_crates_of_this_tree_are_known_and_have_licences() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let crates = linked(root, Architecture::Amd64).unwrap();
    let of = |name: &str| crates.iter().find(|(id, _)| id.name == name).map(|(_, found)| found);
    assert!(crates.values().all(|found| found.license.is_some()));
    assert!(of("tokio").unwrap().checksum.is_some());
    assert!(of(PROGRAM).unwrap().needs.iter().any(|id| id.name == "keelson-protection"));
    assert!(of("keelson-testkit").is_none() && of("serde_derive").is_none() && of("ring").is_none());
}
