//! Profiles as users write them: what parses, what their status means, and each fault with its sentence.

use keelson_model::location::{LocationSpec, ObjectStoreProvider, ProfileHealth, ProfileKind};
use serde_json::{Value, json};

use super::*;
use crate::spec_hash;

fn s3() -> Value {
    json!({
        "apiVersion": "config.kio.kasten.io/v1alpha1",
        "kind": "Profile",
        "metadata": { "name": "vaulted-s3", "namespace": "kasten-io" },
        "spec": {
            "type": "Location",
            "locationSpec": {
                "type": "ObjectStore",
                "credential": {
                    "secretType": "AwsAccessKey",
                    "secret": { "apiVersion": "v1", "kind": "secret", "name": "s3-creds", "namespace": "kasten-io" },
                },
                "objectStore": {
                    "objectStoreType": "S3",
                    "name": "acme-dr-bucket",
                    "region": "eu-central-1",
                    "endpoint": "https://s3.acme.test",
                    "path": "k10/0c3e/migration",
                    "pathType": "Directory",
                    "protectionPeriod": "168h0m0s",
                },
            },
        },
    })
}

fn file_store(path: &str) -> Value {
    json!({
        "metadata": { "name": "share", "namespace": "kasten-io" },
        "spec": {
            "type": "Location",
            "locationSpec": {
                "type": "FileStore",
                "fileStore": { "claimName": "dr-share", "path": path },
                "credential": { "secretType": "", "secret": { "name": "" } },
            },
        },
    })
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    *object.pointer_mut(pointer).expect("the field is there") = value;
    object
}

#[test]
fn an_object_store_becomes_a_location() {
    let parsed = parse(&s3()).unwrap();
    assert_eq!((parsed.kind, parsed.health), (ProfileKind::ObjectStore, ProfileHealth::NotValidated));
    let Some(LocationSpec::ObjectStore(store)) = parsed.location else { panic!("{parsed:?}") };
    assert_eq!(store.provider, ObjectStoreProvider::S3);
    assert_eq!((store.bucket.as_str(), store.path.as_str()), ("acme-dr-bucket", "k10/0c3e/migration"));
    assert_eq!(store.endpoint.as_deref(), Some("https://s3.acme.test"));
    assert_eq!(store.protection_period.map(|period| period.to_string()).as_deref(), Some("168h0m0s"));
    assert_eq!(
        (store.credential.namespace.as_str(), store.credential.name.as_str()),
        ("kasten-io", "s3-creds")
    );
    assert!(!store.skip_tls_verify);
}

#[test]
fn both_spellings_of_azure_are_one_provider() {
    for spelling in ["AZ", "Azure"] {
        let profile = with(s3(), "/spec/locationSpec/objectStore/objectStoreType", json!(spelling));
        let profile = with(profile, "/spec/locationSpec/credential/secretType", json!("AzStorageAccount"));
        let Some(LocationSpec::ObjectStore(store)) = parse(&profile).unwrap().location else { panic!() };
        assert_eq!(store.provider, ObjectStoreProvider::Azure);
    }
}

#[test]
fn a_file_store_needs_no_credential_and_a_slash_is_the_root() {
    for (path, expected) in [("/", ""), ("", ""), ("/clusters/prod/", "clusters/prod")] {
        let Some(LocationSpec::FileStore(store)) = parse(&file_store(path)).unwrap().location else {
            panic!()
        };
        assert_eq!((store.claim.as_str(), store.path.as_str()), ("dr-share", expected));
    }
}

#[test]
fn a_profile_without_a_location_of_ours_still_has_a_kind() {
    let vbr = json!({ "spec": { "type": "Location", "locationSpec": {
        "type": "VBR", "vbr": { "serverAddress": "vbr.acme.test", "repoName": "r" },
    }}});
    let infra = json!({ "spec": { "type": "Infra", "infra": { "type": "AWS" } } });
    for (profile, kind) in [(vbr, ProfileKind::Vbr), (infra, ProfileKind::Infra)] {
        let parsed = parse(&profile).unwrap();
        assert_eq!((parsed.kind, parsed.location), (kind, None));
    }
}

#[test]
fn health_is_what_the_status_says_of_this_specification() {
    let hash = spec_hash(&s3()["spec"]);
    for (status, expected) in [
        (json!({}), ProfileHealth::NotValidated),
        (json!({ "validation": "Pending" }), ProfileHealth::NotValidated),
        (json!({ "validation": "Success" }), ProfileHealth::Writable),
        (json!({ "validation": "Success", "hash": hash }), ProfileHealth::Writable),
        (json!({ "validation": "Success", "hash": hash.wrapping_add(1) }), ProfileHealth::NotValidated),
        (json!({ "validation": "Success", "readOnly": true }), ProfileHealth::ReadOnly),
        (json!({ "validation": "Failed" }), ProfileHealth::Failed),
    ] {
        let mut profile = s3();
        profile["status"] = status.clone();
        assert_eq!(parse(&profile).unwrap().health, expected, "{status}");
    }
}

#[test]
fn a_wrong_profile_names_every_fault() {
    let store = "/spec/locationSpec/objectStore";
    let credential = "/spec/locationSpec/credential";
    for (profile, message) in [
        (
            with(s3(), &format!("{store}/protectionPeriod"), json!("90m")),
            "spec.locationSpec.objectStore.protectionPeriod: '90m' is not a number of whole days, such as '168h0m0s'",
        ),
        (
            with(s3(), &format!("{store}/protectionPeriod"), json!("2184h")),
            "spec.locationSpec.objectStore.protectionPeriod: '2184h' is more than 90 days (2160h0m0s)",
        ),
        (
            with(s3(), &format!("{store}/protectionPeriod"), json!("a week")),
            "spec.locationSpec.objectStore.protectionPeriod: 'a week' is not a duration such as '168h0m0s': \
             a unit is missing or unknown (ns, us, ms, s, m, h)",
        ),
        (
            with(s3(), &format!("{store}/path"), json!("a/../b")),
            "spec.locationSpec.objectStore.path 'a/../b' is not a plain path",
        ),
        (
            with(s3(), &format!("{store}/name"), json!("a/b")),
            "spec.locationSpec.objectStore.name 'a/b' is not a bucket",
        ),
        (
            with(s3(), &format!("{credential}/secretType"), json!("VBRKey")),
            "spec.locationSpec.credential.secretType 'VBRKey' does not fit the store, which takes 'AwsAccessKey'",
        ),
        (
            with(s3(), &format!("{credential}/secret/kind"), json!("ConfigMap")),
            "spec.locationSpec.credential.secret.kind 'ConfigMap' is not 'Secret'",
        ),
        (
            with(s3(), &format!("{credential}/secret/name"), json!("")),
            "spec.locationSpec.credential.secret.name '': must not be empty",
        ),
        (
            with(s3(), store, Value::Null),
            "spec.locationSpec.objectStore is required for this type of location",
        ),
    ] {
        assert_eq!(parse(&profile).unwrap_err(), [message]);
    }
    let faults = parse(&json!({ "spec": { "type": "Place" } })).unwrap_err();
    assert!(faults[0].starts_with("spec: unknown variant `Place`"), "{faults:?}");
}
