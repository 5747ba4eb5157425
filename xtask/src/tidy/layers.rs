//! Who may know whom: doors → protection → {storage, kubernetes} → model, and where foreign crates are confined.
//!
//! Both tables are complete: a crate of ours that is not in `LAYERS` is a finding, so that a new one is placed on
//! purpose. `CONFINED` lists the foreign crates that stand for a decision; the rest may be used anywhere.

use std::collections::BTreeSet;

use crate::finding::Finding;
use crate::tree::{DependencyKind, Package, Tree};

/// The crates of ours that a crate may name.
const LAYERS: &[(&str, &[&str])] = &[
    ("keelson-model", &[]),
    ("keelson-crypto", &["keelson-model"]),
    ("keelson-store", &["keelson-model"]),
    ("keelson-repository", &["keelson-model", "keelson-crypto", "keelson-store"]),
    ("keelson-catalog", &["keelson-model", "keelson-crypto"]),
    ("keelson-passphrase", &["keelson-model"]),
    ("keelson-resources", &["keelson-model"]),
    ("keelson-workload", &["keelson-model"]),
    ("keelson-protection", &[MODEL, STORAGE, KUBERNETES]),
    ("keelson-extension", &[MODEL, STORAGE, KUBERNETES, "keelson-protection"]),
    ("keelson-controllers", &[MODEL, STORAGE, KUBERNETES, "keelson-protection"]),
    ("keelson", &[MODEL, STORAGE, KUBERNETES, "keelson-protection", DOORS]),
    ("keelson-hostile", &[]),
    ("keelson-forger", &["keelson-model", "keelson-crypto", "keelson-store", "keelson-repository"]),
    ("keelson-testkit", &["keelson-model", "keelson-store"]),
    ("keelson-bench", &[MODEL, STORAGE, KUBERNETES, "keelson-protection", DOORS, "keelson-testkit"]),
    (
        "keelson-e2e",
        &[MODEL, STORAGE, KUBERNETES, "keelson-protection", DOORS, "keelson-testkit", "keelson-forger"],
    ),
    ("xtask", &["keelson-model", "keelson-resources", "keelson-testkit"]),
];

const MODEL: &str = "keelson-model";
const STORAGE: &str = "(storage)";
const KUBERNETES: &str = "(kubernetes)";
const DOORS: &str = "(doors)";

const GROUPS: &[(&str, &[&str])] = &[
    (
        STORAGE,
        &["keelson-crypto", "keelson-store", "keelson-repository", "keelson-catalog", "keelson-passphrase"],
    ),
    (KUBERNETES, &["keelson-resources", "keelson-workload"]),
    (DOORS, &["keelson-extension", "keelson-controllers"]),
];

/// Crates for tests alone: anybody's tests may use them, and nobody's product.
const FOR_TESTS: &[&str] = &["keelson-testkit", "keelson-hostile", "keelson-forger"];

/// Who may name a foreign crate, for whatever purpose. A name that ends in `*` stands for all that begin so.
const CONFINED: &[(&str, &[&str])] = &[
    // In `store` it is the provider of TLS and computes the checksums that S3 demands; no key ever gets there. In
    // `passphrase` it signs requests to AWS. `xtask` takes the digests by which images and charts are known.
    ("aws-lc-rs", &["keelson-crypto", "keelson-store", "keelson-passphrase", "xtask"]),
    ("argon2", &["keelson-crypto"]),
    // The one place that needs unsafe code, which `bench` takes over: the allocator is told to hold less.
    ("libc", &["keelson", "keelson-bench"]),
    ("aws-sdk-*", &["keelson-store", "keelson-testkit"]),
    ("aws-smithy-*", &["keelson-store", "keelson-testkit"]),
    // `bench` measures the catalog beside plain SQLite.
    ("rusqlite", &["keelson-catalog", "keelson-bench"]),
    ("kube", WITH_KUBERNETES),
    ("k8s-openapi", WITH_KUBERNETES),
    ("schemars", &["keelson-resources"]),
    ("axum", &["keelson-extension"]),
    // `store` and `passphrase` build the connections of their clients themselves, to trust an authority of one's own.
    // Tests of `workload` put a service of their own beneath the Kubernetes client.
    ("tower", &["keelson-workload", "keelson-extension", "keelson-store", "keelson-passphrase"]),
    ("tower-http", &["keelson-extension"]),
    // `bench` measures the API server with a client that does nothing but read and write.
    (
        "hyper",
        &["keelson-workload", "keelson-extension", "keelson-store", "keelson-testkit", "keelson-bench"],
    ),
    (
        "hyper-util",
        &["keelson-extension", "keelson-store", "keelson-passphrase", "keelson-testkit", "keelson-bench"],
    ),
    ("hyper-rustls", &["keelson-store", "keelson-passphrase"]),
    ("rcgen", &["keelson-extension", "keelson-passphrase", "keelson-testkit"]),
    ("x509-parser", &["keelson-extension"]),
    ("tokio-rustls", &["keelson-extension", "keelson-passphrase", "keelson-testkit", "keelson-bench"]),
    (
        "rustls",
        &[
            "keelson-store",
            "keelson-passphrase",
            "keelson-extension",
            "keelson",
            "keelson-testkit",
            "keelson-bench",
        ],
    ),
    ("clap", &["keelson", "keelson-bench", "xtask"]),
    ("indicatif", &["keelson"]),
    ("tracing-subscriber", &["keelson", "keelson-bench", "keelson-e2e"]),
];

const WITH_KUBERNETES: &[&str] = &[
    "keelson-resources",
    "keelson-workload",
    "keelson-extension",
    "keelson-controllers",
    "keelson",
    "keelson-testkit",
    "keelson-e2e",
];

/// Errors without a type are for whoever only prints them. Any crate's tests may use them too.
const WITH_ANYHOW: &[&str] =
    &["keelson", "keelson-testkit", "keelson-forger", "keelson-e2e", "keelson-bench", "xtask"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.packages()
        .iter()
        .flat_map(|package| {
            let manifest = format!("{}/Cargo.toml", tree.folder_of(package));
            let text = tree.file(&manifest).unwrap_or_default();
            check_package(package).into_iter().map(move |(dependency, message)| {
                let named = |line: &str| line.split(['.', ' ', '=']).next() == Some(&dependency);
                let line = text.lines().position(named).map_or(0, |index| index + 1);
                Finding::at(&manifest, line, message)
            })
        })
        .collect()
}

/// Dependencies that may not be, each with the reason.
fn check_package(package: &Package) -> Vec<(String, String)> {
    let name = package.name.as_str();
    let Some(allowed) = allowed(name) else {
        return vec![(
            String::new(),
            format!("'{name}' is not in the table LAYERS of xtask/src/tidy/layers.rs"),
        )];
    };
    let mut findings = Vec::new();
    for dependency in &package.dependencies {
        let for_tests = dependency.kind == Some(DependencyKind::Dev);
        let wanted = dependency.name.as_str();
        let ours = LAYERS.iter().any(|(crate_name, _)| *crate_name == wanted);
        let fault = if ours {
            let fits = allowed.contains(wanted) || (for_tests && FOR_TESTS.contains(&wanted));
            (!fits).then(|| format!("'{name}' may not know '{wanted}'"))
        } else if wanted == "anyhow" {
            let fits = for_tests || WITH_ANYHOW.contains(&name);
            (!fits).then(|| format!("'{name}' may use 'anyhow' in tests only; its errors have a type"))
        } else {
            let confined = CONFINED.iter().find(|(pattern, _)| matches(pattern, wanted));
            confined
                .filter(|(_, users)| !users.contains(&name))
                .map(|(_, users)| format!("'{wanted}' is confined to {}, not '{name}'", users.join(", ")))
        };
        findings.extend(fault.map(|message| (wanted.to_owned(), message)));
    }
    findings
}

fn allowed(name: &str) -> Option<BTreeSet<&'static str>> {
    let (_, entries) = LAYERS.iter().find(|(crate_name, _)| *crate_name == name)?;
    let expand = |entry: &&'static str| match GROUPS.iter().find(|(group, _)| group == entry) {
        Some((_, members)) => members.to_vec(),
        None => vec![*entry],
    };
    Some(entries.iter().flat_map(expand).collect())
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Dependency;

    #[track_caller]
    fn check(package: &str, dependency: &str, kind: Option<DependencyKind>, expected: Option<&str>) {
        let dependencies = vec![Dependency { name: dependency.to_owned(), kind }];
        let package = Package { name: package.to_owned(), manifest_path: "Cargo.toml".into(), dependencies };
        let found = check_package(&package).into_iter().next().map(|(_, message)| message);
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn arrows_point_down_only() {
        check("keelson-protection", "keelson-catalog", None, None);
        check("keelson-model", "keelson-crypto", None, Some("'keelson-model' may not know 'keelson-crypto'"));
        check(
            "keelson-store",
            "keelson-workload",
            None,
            Some("'keelson-store' may not know 'keelson-workload'"),
        );
        check(
            "keelson-workload",
            "keelson-store",
            None,
            Some("'keelson-workload' may not know 'keelson-store'"),
        );
        let between = "'keelson-extension' may not know 'keelson-controllers'";
        check("keelson-extension", "keelson-controllers", None, Some(between));
    }

    #[test]
    fn the_test_kit_is_for_tests() {
        let product = "'keelson-store' may not know 'keelson-testkit'";
        check("keelson-store", "keelson-testkit", Some(DependencyKind::Dev), None);
        check("keelson-store", "keelson-testkit", None, Some(product));
    }

    #[test]
    fn foreign_crates_stay_where_they_are_confined() {
        check("keelson-catalog", "rusqlite", None, None);
        check("keelson-catalog", "serde", None, None);
        check(
            "keelson-catalog",
            "argon2",
            None,
            Some("'argon2' is confined to keelson-crypto, not 'keelson-catalog'"),
        );
        let sdk = "'aws-sdk-kms' is confined to keelson-store, keelson-testkit, not 'keelson-crypto'";
        check("keelson-crypto", "aws-sdk-kms", Some(DependencyKind::Build), Some(sdk));
    }

    #[test]
    fn errors_without_a_type_are_for_binaries_and_tests() {
        check("keelson", "anyhow", None, None);
        check("keelson-store", "anyhow", Some(DependencyKind::Dev), None);
        let refused = "'keelson-store' may use 'anyhow' in tests only; its errors have a type";
        check("keelson-store", "anyhow", None, Some(refused));
    }

    #[test]
    fn a_new_crate_must_be_placed() {
        let unknown = "'keelson-new' is not in the table LAYERS of xtask/src/tidy/layers.rs";
        let package =
            Package { name: "keelson-new".into(), manifest_path: "Cargo.toml".into(), dependencies: vec![] };
        assert_eq!(check_package(&package), [(String::new(), unknown.to_owned())]);
    }
}
