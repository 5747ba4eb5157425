//! From a profile in the cluster to a plain location, with every fault as a sentence for its status.

use keelson_model::GoDuration;
use keelson_model::location::{
    FileStoreLocation, LocationSpec, ObjectStoreLocation, ObjectStoreProvider, ProfileHealth, ProfileKind,
    SecretReference,
};
use keelson_model::naming::{check_label_value, check_namespace, check_object_name};
use serde::Deserialize;
use serde_json::Value;

use super::{FileStore, Location, LocationType, ObjectStore, ObjectStoreType, ProfileSpec, ProfileType};
use crate::fingerprint::spec_hash;

/// A profile whose specification was found sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedProfile {
    pub kind: ProfileKind,
    /// What the status says of the location, if the status is about this specification.
    pub health: ProfileHealth,
    /// Where backups lie; none for what is no such location.
    pub location: Option<LocationSpec>,
}

/// Parses a profile as the cluster holds it.
pub fn parse(object: &Value) -> Result<ParsedProfile, Vec<String>> {
    let spec = ProfileSpec::deserialize(&object["spec"]).map_err(|error| vec![format!("spec: {error}")])?;
    let mut faults = Vec::new();
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let namespace = text("namespace");
    if let Err(fault) = check_label_value(text("name")) {
        faults.push(format!("metadata.name becomes the value of labels: {fault}"));
    }
    let (kind, location) = match (spec.r#type, &spec.location_spec) {
        (ProfileType::Infra, _) => (ProfileKind::Infra, None),
        (ProfileType::Location, Some(location)) => parse_location(location, namespace, &mut faults),
        (ProfileType::Location, None) => {
            return Err(vec!["spec.locationSpec is required for type Location".to_owned()]);
        }
    };
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(ParsedProfile { kind, health: health_of(object), location })
}

/// What the status says, unless the specification changed since.
pub fn health_of(object: &Value) -> ProfileHealth {
    let status = &object["status"];
    let is_current = status["hash"].as_u64().is_none_or(|hash| hash == u64::from(spec_hash(&object["spec"])));
    match (is_current, status["validation"].as_str()) {
        (true, Some("Success")) if status["readOnly"] == true => ProfileHealth::ReadOnly,
        (true, Some("Success")) => ProfileHealth::Writable,
        (true, Some("Failed")) => ProfileHealth::Failed,
        _ => ProfileHealth::NotValidated,
    }
}

fn parse_location(
    location: &Location,
    namespace: &str,
    faults: &mut Vec<String>,
) -> (ProfileKind, Option<LocationSpec>) {
    let mut missing = |block: &str| {
        faults.push(format!("spec.locationSpec.{block} is required for this type of location"));
    };
    match location.r#type {
        LocationType::Vbr => {
            if location.vbr.is_none() {
                missing("vbr");
            }
            (ProfileKind::Vbr, None)
        }
        LocationType::FileStore => {
            let Some(store) = &location.file_store else {
                missing("fileStore");
                return (ProfileKind::FileStore, None);
            };
            (ProfileKind::FileStore, Some(LocationSpec::FileStore(parse_file_store(store, faults))))
        }
        LocationType::ObjectStore => {
            let Some(store) = &location.object_store else {
                missing("objectStore");
                return (ProfileKind::ObjectStore, None);
            };
            let credential = parse_credential(location, store.object_store_type, namespace, faults);
            let store = parse_object_store(store, credential, faults);
            (ProfileKind::ObjectStore, Some(LocationSpec::ObjectStore(store)))
        }
    }
}

fn parse_file_store(store: &FileStore, faults: &mut Vec<String>) -> FileStoreLocation {
    if let Err(fault) = check_object_name(&store.claim_name) {
        faults.push(format!("spec.locationSpec.fileStore.claimName '{}': {fault}", store.claim_name));
    }
    FileStoreLocation {
        claim: store.claim_name.clone(),
        path: parse_path("fileStore", store.path.as_deref(), faults),
        supplemental_group: store.supplemental_group,
    }
}

fn parse_object_store(
    store: &ObjectStore,
    credential: SecretReference,
    faults: &mut Vec<String>,
) -> ObjectStoreLocation {
    if store.name.is_empty() || store.name.contains('/') {
        faults.push(format!("spec.locationSpec.objectStore.name '{}' is not a bucket", store.name));
    }
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    ObjectStoreLocation {
        provider: match store.object_store_type {
            ObjectStoreType::S3 | ObjectStoreType::VeeamVaultAws => ObjectStoreProvider::S3,
            ObjectStoreType::Gcs => ObjectStoreProvider::Gcs,
            ObjectStoreType::Az
            | ObjectStoreType::Azure
            | ObjectStoreType::VeeamVaultAzure
            | ObjectStoreType::VeeamVault => ObjectStoreProvider::Azure,
        },
        bucket: store.name.clone(),
        region: store.region.clone().unwrap_or_default(),
        endpoint: some(&store.endpoint),
        path: parse_path("objectStore", store.path.as_deref(), faults),
        skip_tls_verify: store.skip_ssl_verify.unwrap_or(false),
        protection_period: some(&store.protection_period).and_then(|text| parse_period(&text, faults)),
        credential,
    }
}

/// A leading slash means the root; what remains must stay below it.
fn parse_path(block: &str, path: Option<&str>, faults: &mut Vec<String>) -> String {
    let path = path.unwrap_or_default().trim_matches('/');
    let climbs = path.split('/').any(|part| part == ".." || part == ".");
    if climbs || path.contains("//") || path.chars().any(char::is_control) {
        faults.push(format!("spec.locationSpec.{block}.path '{path}' is not a plain path"));
    }
    path.to_owned()
}

const SECONDS_A_DAY: u64 = 86_400;
/// What is locked longer by mistake cannot be taken back.
const PERIOD_DAYS_MAX: u64 = 90;

fn parse_period(text: &str, faults: &mut Vec<String>) -> Option<GoDuration> {
    let path = "spec.locationSpec.objectStore.protectionPeriod";
    let period: GoDuration = match text.parse() {
        Ok(period) => period,
        Err(error) => {
            faults.push(format!("{path}: {error}"));
            return None;
        }
    };
    let seconds = period.0.as_secs();
    if seconds == 0 || !seconds.is_multiple_of(SECONDS_A_DAY) || period.0.subsec_nanos() != 0 {
        faults.push(format!("{path}: '{text}' is not a number of whole days, such as '168h0m0s'"));
    } else if seconds > PERIOD_DAYS_MAX * SECONDS_A_DAY {
        faults.push(format!("{path}: '{text}' is more than {PERIOD_DAYS_MAX} days (2160h0m0s)"));
    }
    Some(period)
}

fn parse_credential(
    location: &Location,
    store: ObjectStoreType,
    namespace: &str,
    faults: &mut Vec<String>,
) -> SecretReference {
    let credential = location.credential.clone().unwrap_or_default();
    let path = "spec.locationSpec.credential";
    let known = match store {
        ObjectStoreType::S3 | ObjectStoreType::VeeamVaultAws => "AwsAccessKey",
        ObjectStoreType::Gcs => "GcpServiceAccountKey",
        ObjectStoreType::Az | ObjectStoreType::Azure => "AzStorageAccount",
        ObjectStoreType::VeeamVaultAzure | ObjectStoreType::VeeamVault => "VeeamVaultAzure",
    };
    if credential.secret_type != known {
        let given = &credential.secret_type;
        faults.push(format!("{path}.secretType '{given}' does not fit the store, which takes '{known}'"));
    }
    let secret = credential.secret;
    if !secret.kind.is_empty() && !secret.kind.eq_ignore_ascii_case("secret") {
        faults.push(format!("{path}.secret.kind '{}' is not 'Secret'", secret.kind));
    }
    if let Err(fault) = check_object_name(&secret.name) {
        faults.push(format!("{path}.secret.name '{}': {fault}", secret.name));
    }
    let named = if secret.namespace.is_empty() { namespace } else { &secret.namespace };
    if let Err(fault) = check_namespace(named) {
        faults.push(format!("{path}.secret.namespace '{named}': {fault}"));
    }
    SecretReference { namespace: named.to_owned(), name: secret.name }
}
