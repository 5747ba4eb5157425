//! The bill of materials of an image, as CycloneDX 1.6: the program, the crates linked into it, the Rust library, and
//! the packages of the system that files were taken from. It carries no date and no random number.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::crates::{Crate, Id, PROGRAM};
use super::debian::{Distribution, Package};

const SCHEMA: &str = "http://cyclonedx.org/schema/bom-1.6.schema.json";
/// What every compiler leaves in the programs that it makes.
const COMPILER: &[u8] = b"rustc version ";

/// A file of the image that was taken from the system.
#[derive(Debug)]
pub(super) struct Part {
    /// With a slash before it.
    pub(super) path: String,
    pub(super) sha256: String,
    pub(super) package: Option<Package>,
}

/// What a bill is made from.
pub(super) struct Materials<'a> {
    pub(super) program: &'a [u8],
    pub(super) sha256: &'a str,
    pub(super) crates: &'a BTreeMap<Id, Crate>,
    pub(super) parts: &'a [Part],
    pub(super) distribution: &'a Distribution,
}

pub(super) fn render(materials: &Materials<'_>) -> Result<Vec<u8>> {
    let own = materials.crates.iter().find(|(id, _)| id.name == PROGRAM);
    let (program, own) = own.context("find the program among its crates")?;
    let mut subject = component("application", &program.name, &reference(program, own));
    subject.insert("version".to_owned(), json!(program.version));
    subject.insert("hashes".to_owned(), hashes(materials.sha256));
    subject.insert("licenses".to_owned(), licenses(own));

    let others = materials.crates.iter().filter(|(id, _)| *id != program);
    let mut components: Vec<Map<String, Value>> = others.map(|(id, found)| of_crate(id, found)).collect();
    let mut system = of_system(materials);
    system.extend(compiler(materials.program).map(|version| of_standard_library(&version)));
    let beside: Vec<Value> =
        system.iter().filter_map(|component| component.get("bom-ref").cloned()).collect();
    components.extend(system);

    let bill = json!({
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "components": components,
        "dependencies": dependencies(materials.crates, program, &beside),
        "metadata": { "component": subject },
        "specVersion": "1.6",
        "version": 1,
    });
    let mut text = serde_json::to_vec_pretty(&bill).context("write the bill of materials")?;
    text.push(b'\n');
    Ok(text)
}

fn component(kind: &str, name: &str, reference: &str) -> Map<String, Value> {
    let entries = [("bom-ref", reference), ("name", name), ("type", kind)];
    entries.map(|(key, value)| (key.to_owned(), json!(value))).into_iter().collect()
}

fn hashes(sha256: &str) -> Value {
    json!([{ "alg": "SHA-256", "content": sha256 }])
}

fn licenses(found: &Crate) -> Value {
    let expressions = found.license.iter().map(|license| json!({ "expression": license }));
    Value::Array(expressions.collect())
}

/// The package URL of what comes from the registry; crates of this tree are in none.
fn reference(id: &Id, found: &Crate) -> String {
    match found.checksum {
        Some(_) => format!("pkg:cargo/{}@{}", id.name, encoded(&id.version)),
        None => format!("{}@{}", id.name, id.version),
    }
}

fn of_crate(id: &Id, found: &Crate) -> Map<String, Value> {
    let reference = reference(id, found);
    let mut component = component("library", &id.name, &reference);
    component.insert("version".to_owned(), json!(id.version));
    component.insert("licenses".to_owned(), licenses(found));
    if let Some(checksum) = &found.checksum {
        component.insert("hashes".to_owned(), hashes(checksum));
        component.insert("purl".to_owned(), json!(reference));
    }
    component
}

fn of_standard_library(version: &str) -> Map<String, Value> {
    let mut component = component("library", "std", &format!("rust-std@{version}"));
    component.insert("description".to_owned(), json!("The standard library of Rust"));
    component.insert("version".to_owned(), json!(version));
    component.insert("licenses".to_owned(), json!([{ "expression": "MIT OR Apache-2.0" }]));
    component
}

/// Packages with their files, and files that no package has.
fn of_system(materials: &Materials<'_>) -> Vec<Map<String, Value>> {
    let mut packages: BTreeMap<&Package, Vec<Map<String, Value>>> = BTreeMap::new();
    let mut lone = Vec::new();
    for part in materials.parts {
        let mut file = component("file", &part.path, &format!("file:{}", part.path));
        file.insert("hashes".to_owned(), hashes(&part.sha256));
        match &part.package {
            Some(package) => packages.entry(package).or_default().push(file),
            None => lone.push(file),
        }
    }
    let packages = packages.into_iter().map(|(package, files)| {
        let url = package_url(package, materials.distribution);
        let mut component = component("library", &package.name, &url);
        component.insert("version".to_owned(), json!(package.version));
        component.insert("purl".to_owned(), json!(url));
        component.insert("components".to_owned(), json!(files));
        component
    });
    packages.chain(lone).collect()
}

fn package_url(package: &Package, system: &Distribution) -> String {
    let Distribution { name: vendor, version: release } = system;
    let Package { name, version, architecture } = package;
    let (name, version) = (encoded(name), encoded(version));
    format!("pkg:deb/{vendor}/{name}@{version}?arch={architecture}&distro={vendor}-{release}")
}

/// Of what a version may hold, a package URL takes the plus as it is nowhere.
fn encoded(text: &str) -> String {
    text.replace('+', "%2B")
}

fn dependencies(crates: &BTreeMap<Id, Crate>, program: &Id, beside: &[Value]) -> Vec<Value> {
    let reference_of = |id: &Id| crates.get(id).map(|found| json!(reference(id, found)));
    let of = |(id, found): (&Id, &Crate)| {
        let mut needs: Vec<Value> = found.needs.iter().filter_map(reference_of).collect();
        if id == program {
            needs.extend_from_slice(beside);
        }
        json!({ "dependsOn": needs, "ref": reference(id, found) })
    };
    crates.iter().map(of).collect()
}

/// The version of the compiler, whose library is linked in.
fn compiler(program: &[u8]) -> Option<String> {
    let marks = program.windows(COMPILER.len()).enumerate().filter(|(_, window)| *window == COMPILER);
    let mut versions = marks.map(|(at, _)| {
        let rest = program[at + COMPILER.len()..].iter();
        let version = rest.take_while(|byte| byte.is_ascii_alphanumeric() || b".-".contains(byte));
        version.map(|byte| char::from(*byte)).collect::<String>()
    });
    versions.find(|version| version.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Value {
        let id = |name: &str| Id { name: name.to_owned(), version: "0.1.0+a".to_owned() };
        let license = Some("Apache-2.0".to_owned());
        let own = Crate { license: license.clone(), checksum: None, needs: vec![id("bytes")] };
        let bytes = Crate { license, checksum: Some("cd".to_owned()), needs: Vec::new() };
        let crates = BTreeMap::from([(id("keelson"), own), (id("bytes"), bytes)]);
        let libc = Package {
            name: "libc6".to_owned(),
            version: "2.36-9+deb12u14".to_owned(),
            architecture: "amd64".to_owned(),
        };
        let part = |path: &str, package| Part { path: path.to_owned(), sha256: "ef".to_owned(), package };
        let parts = [
            part("/lib/libc.so.6", Some(libc.clone())),
            part("/lib64/ld.so", Some(libc)),
            part("/lib/own.so", None),
        ];
        let program = b"\x7fELF rustc version , rustc version 1.95.0 (59807616e)\0";
        let distribution = Distribution { name: "debian".to_owned(), version: "12".to_owned() };
        let materials =
            Materials { program, sha256: "ab", crates: &crates, parts: &parts, distribution: &distribution };
        assert_eq!(render(&materials).unwrap(), render(&materials).unwrap());
        serde_json::from_slice(&render(&materials).unwrap()).unwrap()
    }

    #[test]
    fn a_bill_names_crates_packages_files_and_the_library_of_rust() {
        let bill = sample();
        assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&json!("CycloneDX"), &json!("1.6")));
        let subject = &bill["metadata"]["component"];
        assert_eq!((&subject["name"], &subject["hashes"][0]["content"]), (&json!("keelson"), &json!("ab")));
        let named = |component: &Value| component["bom-ref"].as_str().unwrap().to_owned();
        let components: Vec<_> = bill["components"].as_array().unwrap().iter().map(named).collect();
        let libc = "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12";
        assert_eq!(components, ["pkg:cargo/bytes@0.1.0%2Ba", libc, "file:/lib/own.so", "rust-std@1.95.0"]);
        assert_eq!(bill["components"][0]["hashes"][0]["content"], "cd");
        assert_eq!(bill["components"][1]["components"].as_array().unwrap().len(), 2);
        let depends: Vec<_> = bill["dependencies"].as_array().unwrap().iter().collect();
        assert_eq!(depends.last().unwrap()["ref"], "keelson@0.1.0+a");
        assert_eq!(depends.last().unwrap()["dependsOn"].as_array().unwrap().len(), components.len());
    }

    #[test]
    fn a_bill_has_no_date() {
        let bill = sample();
        let metadata = bill["metadata"].as_object().unwrap();
        assert!(!metadata.contains_key("timestamp") && bill.get("serialNumber").is_none());
    }
}
