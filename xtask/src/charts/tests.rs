//! What a chart repository holds, and that the same charts make the same one.

use tempfile::TempDir;

use super::*;
use crate::archive::tests::{list, unpacked};

fn charts() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| write_file(&folder.path().join(path), text.as_bytes()).unwrap();
    for name in NAMES {
        let definition = format!(
            "apiVersion: v2\nname: {name}\nversion: {VERSION}\nappVersion: {VERSION}\ndescription: \"1e3\"\n"
        );
        write(&format!("{name}/{DEFINITION}"), &definition);
        write(&format!("{name}/values.schema.json"), "{}");
        write(&format!("{name}/templates/job.yaml"), "kind: Job\n");
        write(&format!("{name}/{IGNORED}"), "# what editors leave\n*.swp\n\n.DS_Store\nold/\n");
    }
    write("k10/templates/.job.yaml.swp", "");
    write("k10/.DS_Store", "");
    write("k10/old/job.yaml", "");
    for path in VALUES {
        write(&format!("values/{path}"), "fips: {enabled: true}\n");
    }
    folder
}

fn written(charts: &TempDir, url: Option<&str>) -> BTreeMap<String, Vec<u8>> {
    let output = tempfile::tempdir().unwrap();
    let paths = write(charts.path(), output.path(), url, parse_time("1795817152\n").unwrap()).unwrap();
    let relative = |path: &PathBuf| path.strip_prefix(output.path()).unwrap().display().to_string();
    paths.iter().map(|path| (relative(path), fs::read(path).unwrap())).collect()
}

fn refusal(charts: &TempDir) -> String {
    let output = tempfile::tempdir().unwrap();
    let refused = write(charts.path(), output.path(), None, Timestamp::UNIX_EPOCH).unwrap_err();
    assert_eq!(fs::read_dir(output.path()).unwrap().count(), 0, "nothing is written then");
    format!("{refused:#}")
}

#[test]
fn a_repository_holds_both_charts_their_index_and_the_values_files() {
    let files = written(&charts(), None);
    let mut expected = vec![INDEX.to_owned()];
    expected.extend(VALUES.iter().map(ToString::to_string));
    expected.extend(NAMES.iter().map(|name| format!("{name}-{VERSION}.tgz")));
    expected.sort();
    assert_eq!(files.keys().cloned().collect::<Vec<_>>(), expected);
    assert_eq!(files[VALUES[0]], b"fips: {enabled: true}\n");
}

#[test]
fn a_package_holds_the_charts_files_below_its_name_without_what_is_ignored() {
    let files = written(&charts(), None);
    let listed = list(&unpacked(&files[&format!("k10-{VERSION}.tgz")]));
    let paths: Vec<_> = listed.iter().map(|entry| entry.path.as_str()).collect();
    let expected = ["k10/.helmignore", "k10/Chart.yaml", "k10/templates/job.yaml", "k10/values.schema.json"];
    assert_eq!(paths, expected);
    assert!(listed.iter().all(|entry| (entry.mode, entry.owner, entry.time) == (0o644, (0, 0), 0)));
}

#[test]
fn the_index_names_each_package_with_its_digest() {
    for (url, before) in
        [(None, ""), (Some("https://charts.example.com/k/"), "https://charts.example.com/k/")]
    {
        let files = written(&charts(), url);
        let text = String::from_utf8(files[INDEX].clone()).unwrap();
        let index: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(
            (&index["apiVersion"], &index["generated"]),
            (&json!("v1"), &json!("2026-11-27T22:05:52Z"))
        );
        for name in NAMES {
            let entry = &index["entries"][*name][0];
            let file = format!("{name}-{VERSION}.tgz");
            assert_eq!(entry["digest"], sha256(&files[&file]).as_str());
            assert_eq!(entry["urls"], json!([format!("{before}{file}")]));
            assert_eq!((&entry["name"], &entry["version"]), (&json!(name), &json!(VERSION)));
            assert_eq!((&entry["apiVersion"], &entry["description"]), (&json!("v2"), &json!("1e3")));
        }
    }
}

#[test]
fn the_same_charts_make_the_same_repository() {
    assert_eq!(written(&charts(), None), written(&charts(), None));
}

#[test]
fn a_chart_of_another_version_or_name_is_refused() {
    for (from, to, key) in [
        (format!("\nversion: {VERSION}"), "\nversion: 9.9.9", "version is '9.9.9'"),
        (format!("\nappVersion: {VERSION}"), "\nappVersion: 1.0", "appVersion is ''"),
        ("name: k10restore".to_owned(), "name: restore", "name is 'restore'"),
    ] {
        let charts = charts();
        let path = charts.path().join("k10restore").join(DEFINITION);
        let text = fs::read_to_string(&path).unwrap().replace(&from, to);
        fs::write(&path, text).unwrap();
        let refused = refusal(&charts);
        assert!(refused.starts_with(key) && refused.contains("k10restore/Chart.yaml"), "{refused}");
    }
}

#[test]
fn what_cannot_be_packed_is_refused() {
    let linked = charts();
    std::os::unix::fs::symlink("values.schema.json", linked.path().join("k10/link")).unwrap();
    assert!(refusal(&linked).ends_with("k10/link' is no file, which a chart is made of"));
    for pattern in ["!kept", "a/b", "a*b", "/"] {
        let charts = charts();
        fs::write(charts.path().join("k10").join(IGNORED), pattern).unwrap();
        let refused = refusal(&charts);
        assert!(refused.contains(&format!("'{pattern}' is none of")), "{refused}");
    }
    let without = charts();
    fs::remove_file(without.path().join("values").join(VALUES[0])).unwrap();
    assert!(refusal(&without).contains(VALUES[0]));
}

#[test]
fn an_address_or_a_time_that_is_none_is_refused() {
    let folder = charts();
    let wrong = write(folder.path(), &folder.path().join("out"), Some("charts"), Timestamp::UNIX_EPOCH);
    assert!(wrong.unwrap_err().to_string().starts_with("'charts' is no address"));
    assert!(parse_time("yesterday").unwrap_err().to_string().starts_with("'yesterday' is no number"));
}

#[test]
fn the_charts_of_this_tree_make_a_repository() {
    let output = tempfile::tempdir().unwrap();
    let root = tree::root().unwrap();
    let paths = write(&root.join(CHARTS), output.path(), None, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(paths.len(), VALUES.len() + NAMES.len() + 1);
    for name in NAMES {
        let package = fs::read(output.path().join(format!("{name}-{VERSION}.tgz"))).unwrap();
        let listed = list(&unpacked(&package));
        for file in ["Chart.yaml", "values.yaml", "values.schema.json", "templates/NOTES.txt"] {
            assert!(listed.iter().any(|entry| entry.path == format!("{name}/{file}")), "{name}/{file}");
        }
    }
}
