//! What is in an image, who owns it, and that the same ingredients make the same image.

use serde_json::{Value, json};

use super::*;
use crate::archive::tests::{Listed, list, unpacked};

fn sample() -> Ingredients {
    let library = |path: &str, mode| Library { path: path.to_owned(), mode, content: path.into() };
    Ingredients {
        architecture: Architecture::Amd64,
        program: b"program".to_vec(),
        libraries: vec![library("/lib64/ld.so.2", 0o755), library("/lib/x86_64-linux-gnu/libc.so.6", 0o644)],
        authorities: b"authorities\n".to_vec(),
        copyrights: BTreeMap::from([("/usr/share/doc/libc6/copyright".to_owned(), b"LGPL".to_vec())]),
        bill: b"{}\n".to_vec(),
    }
}

fn content<'a>(listed: &'a [Listed], path: &str) -> &'a [u8] {
    let found = listed.iter().find(|entry| entry.path == path);
    &found.unwrap_or_else(|| panic!("there is no '{path}'")).content
}

fn blob<'a>(layout: &'a [Listed], descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().unwrap();
    let content = content(layout, &format!("blobs/{}", digest.replace(':', "/")));
    assert_eq!(digest, format!("sha256:{}", sha256(content)));
    assert_eq!(descriptor["size"], content.len());
    content
}

/// The layout of an image, its manifest and its configuration.
fn opened(image: &Image) -> (Vec<Listed>, Value, Value) {
    let layout = list(&image.layout.to_tar().unwrap());
    let index: Value = serde_json::from_slice(content(&layout, "index.json")).unwrap();
    assert_eq!(index["manifests"][0]["digest"], image.digest.as_str());
    let manifest: Value = serde_json::from_slice(blob(&layout, &index["manifests"][0])).unwrap();
    let configuration = serde_json::from_slice(blob(&layout, &manifest["config"])).unwrap();
    (layout, manifest, configuration)
}

#[test]
fn the_same_ingredients_make_the_same_image() {
    let (one, two) = (bake(&sample()).unwrap(), bake(&sample()).unwrap());
    assert_eq!(one.digest, two.digest);
    assert_eq!(one.layout.to_tar().unwrap(), two.layout.to_tar().unwrap());
    let other = bake(&Ingredients { program: b"another".to_vec(), ..sample() }).unwrap();
    assert_ne!(one.digest, other.digest);
}

#[test]
fn an_image_holds_the_program_what_it_needs_and_no_shell() {
    let (layout, manifest, configuration) = opened(&bake(&sample()).unwrap());
    let tar = unpacked(blob(&layout, &manifest["layers"][0]));
    assert_eq!(configuration["rootfs"]["diff_ids"], json!([format!("sha256:{}", sha256(&tar))]));
    let files = list(&tar);
    assert!(files.iter().all(|entry| (entry.owner, entry.time) == ((0, 0), 0)));
    assert!(files.iter().all(|entry| entry.mode & 0o022 == 0), "nobody but root writes");
    let plain = files.iter().filter(|entry| entry.kind == '0');
    let plain: Vec<_> = plain.map(|entry| (entry.path.as_str(), entry.mode)).collect();
    let expected = [
        ("etc/group", 0o644),
        ("etc/nsswitch.conf", 0o644),
        ("etc/passwd", 0o644),
        ("etc/ssl/certs/ca-certificates.crt", 0o644),
        ("keelson", 0o755),
        ("lib/x86_64-linux-gnu/libc.so.6", 0o644),
        ("lib64/ld.so.2", 0o755),
        ("usr/share/doc/keelson/LICENSE", 0o644),
        ("usr/share/doc/libc6/copyright", 0o644),
        ("usr/share/sbom/keelson.cdx.json", 0o644),
    ];
    assert_eq!(plain, expected);
    let folders: Vec<_> = files.iter().filter(|entry| entry.kind == '5').map(|entry| &entry.path).collect();
    assert!(folders.iter().any(|path| *path == "etc/ssl/certs/"), "{folders:?}");
    assert!(!folders.iter().any(|path| *path == "tmp/"), "its root is read-only");
    let users = String::from_utf8(content(&files, "etc/passwd").to_vec()).unwrap();
    assert!(users.lines().any(|line| line.split(':').nth(2) == Some("1000")), "{users}");
}

#[test]
fn an_image_says_how_it_runs_and_what_it_is() {
    let (layout, manifest, configuration) = opened(&bake(&sample()).unwrap());
    let config = &configuration["config"];
    assert_eq!((&config["User"], &config["Entrypoint"]), (&json!("1000:1000"), &json!(["/keelson"])));
    assert!(config.get("Cmd").is_none());
    assert_eq!((&configuration["architecture"], &configuration["os"]), (&json!("amd64"), &json!("linux")));
    assert_eq!(config["Labels"]["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(manifest["schemaVersion"], 2);
    let index: Value = serde_json::from_slice(content(&layout, "index.json")).unwrap();
    assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], NAME);
    assert_eq!(content(&layout, "oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
    assert_eq!(layout.len(), 5);
}

#[test]
fn authorities_are_bundled_in_the_order_of_their_paths() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("below")).unwrap();
    let certificate = |name: &str| format!("{CERTIFICATE}\n{name}\n-----END CERTIFICATE-----");
    for name in ["b.crt", "below/c.crt", "a.crt", "read.me"] {
        fs::write(folder.path().join(name), certificate(name)).unwrap();
    }
    let files = certificate_files(folder.path()).unwrap();
    let names = ["a.crt", "b.crt", "below/c.crt"].map(|name| folder.path().join(name));
    assert_eq!(files, names);
    assert!(certificate_files(&folder.path().join("absent")).unwrap().is_empty());

    let (bundle, from) = authorities(Some(&names[0])).unwrap();
    assert_eq!((bundle, &from), (format!("{}\n", certificate("a.crt")).into_bytes(), &names[0]));
    fs::write(&names[0], "no certificate").unwrap();
    let refused = authorities(Some(&names[0])).unwrap_err().to_string();
    assert!(refused.ends_with("a.crt' holds no certificate in PEM"), "{refused}");
}

#[test]
fn what_is_no_program_is_refused_by_its_name() {
    let root = tree::root().unwrap();
    let absent = gather(&root, Path::new("/nowhere/keelson"), None).err().unwrap().to_string();
    assert!(absent.starts_with("there is no program '/nowhere/keelson'"), "{absent}");
    let text = root.join("LICENSE");
    let text = format!("{:#}", gather(&root, &text, None).err().unwrap());
    assert!(text.ends_with("/LICENSE' is not for an image: it is no ELF file"), "{text}");
}

#[test]
fn a_program_that_is_not_of_this_version_is_refused() {
    let refused = check_version(Path::new("/bin/sh")).unwrap_err().to_string();
    assert!(refused.starts_with(&format!("'/bin/sh' is not '{WHO}', but says '")), "{refused}");
    let hint = "`cargo build --locked --release --package keelson` makes the program of this tree";
    assert!(refused.ends_with(hint), "{refused}");
    let says = |words: &str| check_said(Path::new("target/release/keelson"), words);
    assert!(says(&format!("{WHO}\n")).is_ok());
    for other in ["keelson 0.0.9\n", &format!("{WHO}-rc.1\n"), &format!("other {WHO}\n"), ""] {
        assert!(says(other).is_err(), "{other}");
    }
}

#[test]
fn a_program_of_this_machine_becomes_an_image_with_its_libraries_and_its_bill() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = folder.path().join("authorities.pem");
    fs::write(&certificates, format!("{CERTIFICATE}\n")).unwrap();
    let ingredients = gather(&tree::root().unwrap(), Path::new("/bin/sh"), Some(&certificates)).unwrap();
    let (layout, manifest, _) = opened(&bake(&ingredients).unwrap());
    let files = list(&unpacked(blob(&layout, &manifest["layers"][0])));
    assert!(files.iter().any(|entry| entry.path.ends_with("/libc.so.6")));
    let bill: Value = serde_json::from_slice(content(&files, BILL)).unwrap();
    assert_eq!(bill["metadata"]["component"]["name"], PROGRAM);
    let hash = &bill["metadata"]["component"]["hashes"][0]["content"];
    assert_eq!(*hash, sha256(content(&files, PROGRAM)).as_str());
    let again = gather(&tree::root().unwrap(), Path::new("/bin/sh"), Some(&certificates)).unwrap();
    assert_eq!(bake(&again).unwrap().digest, bake(&ingredients).unwrap().digest);
}

#[test]
fn the_charts_ask_for_the_image_by_its_name() {
    for chart in ["k10", "k10restore"] {
        let path = tree::root().unwrap().join("deploy/charts").join(chart).join("values.yaml");
        let values: Value = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let image = &values["global"]["image"];
        let word = |key: &str| image[key].as_str().unwrap();
        let wanted = format!("{}/{}:{}", word("registry"), word("repository"), env!("CARGO_PKG_VERSION"));
        assert_eq!(wanted, NAME, "{chart}");
    }
}
