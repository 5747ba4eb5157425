//! What a K10restore asks for, read out of its open specification. Pure.

use jiff::Timestamp;
use keelson_model::ClusterId;
use keelson_model::naming::check_object_name;
use keelson_model::skip::SkipResources;
use serde_json::{Map, Value, json};

use crate::parts::Time;
use crate::recovery::check_token_path;

/// A week, as for a KastenDRRestore.
pub const TIMEOUT_MINUTES_MAX: u32 = 10_080;
/// Faults quote what they are about, which has no end.
const QUOTED_CHARS_MAX: usize = 80;
/// Fields without a meaning that are named one by one.
const UNKNOWN_NAMED_MAX: usize = 16;

/// Every field that means something.
pub(super) const FIELDS: [&str; 16] = [
    "sourceClusterID",
    "profileName",
    // As in the chart.
    "profile.name",
    "pointInTime",
    "skipResource",
    "restore.timeout",
    "quickMode.enabled",
    "quickMode.overrideResources",
    "vault.enabled",
    "vault.address",
    "vault.role",
    "vault.serviceAccountTokenPath",
    "vault.secretName",
    "vault.mountPath",
    "vault.namespace",
    "vault.caSecretName",
];

/// A recovery that can be asked of the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryRequest {
    pub source_cluster_id: ClusterId,
    pub profile_name: String,
    pub point_in_time: Option<Time>,
    pub skip: SkipResources,
    pub timeout_minutes: Option<u32>,
    pub quick_mode: QuickMode,
    /// None unless it is enabled.
    pub vault: Option<Vault>,
}

/// What is said of how the backup was made. False is a switch of a form that nobody has touched, and says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuickMode {
    pub enabled: bool,
    pub override_resources: bool,
}

/// How the Vault is reached that keeps the passphrase. Fields that are not given are empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vault {
    pub address: String,
    pub role: String,
    pub service_account_token_path: String,
    pub secret_name: String,
    /// Where Kubernetes authentication is mounted, if not at `kubernetes`.
    pub mount_path: String,
    /// Of an enterprise server.
    pub namespace: String,
    /// The Secret with a private authority.
    pub ca_secret_name: String,
}

/// A specification as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Or every fault, as a sentence.
    pub request: Result<RecoveryRequest, Vec<String>>,
    /// Fields that mean nothing here.
    pub unknown: Vec<String>,
}

pub fn parse(spec: &Value) -> Asked {
    Asked { request: read(spec), unknown: unknown_fields(spec) }
}

impl RecoveryRequest {
    /// The specification of the KastenDRRestore that does it.
    pub fn recovery_spec(&self) -> Value {
        let Self { source_cluster_id, profile_name, point_in_time, skip, timeout_minutes, quick_mode, vault } =
            self;
        let mut source =
            json!({ "profileName": profile_name, "sourceClusterID": source_cluster_id.as_str() });
        if let Some(at) = point_in_time {
            source["pointInTime"] = json!(at);
        }
        let mut spec = json!({ "sourceClusterInfo": source });
        let skipped = skip.to_string();
        if !skipped.is_empty() {
            spec["skipResources"] = json!(skipped);
        }
        if let Some(minutes) = timeout_minutes {
            spec["timeoutMinutes"] = json!(minutes);
        }
        let QuickMode { enabled, override_resources } = *quick_mode;
        for (given, field) in [(enabled, "enabled"), (override_resources, "overrideResources")] {
            if given {
                spec["quickMode"][field] = json!(true);
            }
        }
        if let Some(vault) = vault {
            spec["vault"] = vault.spec();
        }
        spec
    }
}

impl Vault {
    fn spec(&self) -> Value {
        let Self {
            address,
            role,
            service_account_token_path,
            secret_name,
            mount_path,
            namespace,
            ca_secret_name,
        } = self;
        let fields = [
            ("address", address),
            ("role", role),
            ("serviceAccountTokenPath", service_account_token_path),
            ("secretName", secret_name),
            ("mountPath", mount_path),
            ("namespace", namespace),
            ("caSecretName", ca_secret_name),
        ];
        let given = fields.into_iter().filter(|(_, text)| !text.is_empty());
        Value::Object(given.map(|(field, text)| (field.to_owned(), json!(text))).collect::<Map<_, _>>())
    }
}

fn read(spec: &Value) -> Result<RecoveryRequest, Vec<String>> {
    let mut reader = Reader { spec, faults: Vec::new() };
    reader.check_groups();
    let source_cluster_id = reader.required("sourceClusterID");
    let source_cluster_id = source_cluster_id.and_then(|text| {
        let parsed = text.parse::<ClusterId>();
        reader.kept("sourceClusterID", parsed.map_err(|error| error.to_string()))
    });
    let profile_name = reader.profile_name();
    let point_in_time = reader.text("pointInTime").and_then(|text| {
        let parsed = text.parse::<Timestamp>().map(Time);
        let example = "is no time of RFC 3339, like \"2022-01-02T15:04:05Z\"";
        reader.kept("pointInTime", parsed.map_err(|_| format!("'{}' {example}", quoted(&text))))
    });
    let skip = reader.text("skipResource").unwrap_or_default().parse::<SkipResources>();
    let skip = reader.kept("skipResource", skip.map_err(|error| error.to_string()));
    let timeout_minutes = reader.timeout();
    let quick_mode = reader.quick_mode();
    let vault = reader.vault();
    let faults = reader.faults;
    match (source_cluster_id, profile_name) {
        (Some(source_cluster_id), Some(profile_name)) if faults.is_empty() => Ok(RecoveryRequest {
            source_cluster_id,
            profile_name,
            point_in_time,
            skip: skip.unwrap_or_default(),
            timeout_minutes,
            quick_mode,
            vault,
        }),
        _ => Err(faults),
    }
}

/// Reads fields and collects what is wrong with them. Null and an empty text are as if not given: forms leave both behind.
struct Reader<'a> {
    spec: &'a Value,
    faults: Vec<String>,
}

impl<'a> Reader<'a> {
    fn fault(&mut self, path: &str, what: &str) {
        self.faults.push(format!("spec.{path}: {what}"));
    }

    fn kept<T>(&mut self, path: &str, read: Result<T, String>) -> Option<T> {
        read.map_err(|what| self.fault(path, &what)).ok()
    }

    fn at(&self, path: &str) -> Option<&'a Value> {
        let found = path.split('.').try_fold(self.spec, |value, field| value.get(field));
        found.filter(|value| !value.is_null())
    }

    /// What should hold fields and does not would read as if nothing had been given.
    fn check_groups(&mut self) {
        for group in groups() {
            if self.at(group).is_some_and(|value| !value.is_object()) {
                self.fault(group, "must be an object");
            }
        }
    }

    fn text(&mut self, path: &str) -> Option<String> {
        match self.at(path)? {
            Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
            _ => {
                self.fault(path, "must be a text");
                None
            }
        }
    }

    fn required(&mut self, path: &str) -> Option<String> {
        let is_absent =
            self.at(path).is_none_or(|value| value.as_str().is_some_and(|it| it.trim().is_empty()));
        if is_absent {
            self.fault(path, "is required");
        }
        self.text(path)
    }

    fn flag(&mut self, path: &str) -> Option<bool> {
        let value = self.at(path)?;
        if !value.is_boolean() {
            self.fault(path, "must be true or false");
        }
        value.as_bool()
    }

    fn profile_name(&mut self) -> Option<String> {
        let name = match (self.text("profileName"), self.text("profile.name")) {
            (Some(name), Some(other)) if name != other => {
                let what = format!("'{}' is not what profile.name says: '{}'", quoted(&name), quoted(&other));
                self.fault("profileName", &what);
                return None;
            }
            (Some(name), _) | (None, Some(name)) => name,
            (None, None) => {
                let wrong_type = ["profileName", "profile.name"]
                    .iter()
                    .any(|path| self.at(path).is_some_and(|value| !value.is_string()));
                if !wrong_type {
                    self.fault("profileName", "is required");
                }
                return None;
            }
        };
        let checked = check_object_name(&name);
        self.kept("profileName", checked.map_err(|fault| format!("'{}': {fault}", quoted(&name))))?;
        Some(name)
    }

    fn timeout(&mut self) -> Option<u32> {
        let value = self.at("restore.timeout")?;
        let minutes = value.as_u64().and_then(|minutes| u32::try_from(minutes).ok());
        let minutes = minutes.filter(|minutes| (1..=TIMEOUT_MINUTES_MAX).contains(minutes));
        if minutes.is_none() {
            let what = format!("must be a number of minutes from 1 to {TIMEOUT_MINUTES_MAX}");
            self.fault("restore.timeout", &what);
        }
        minutes
    }

    fn quick_mode(&mut self) -> QuickMode {
        let enabled = self.flag("quickMode.enabled").unwrap_or(false);
        let override_resources = self.flag("quickMode.overrideResources").unwrap_or(false);
        if enabled && !override_resources {
            let what =
                "must be true with quickMode.enabled: a Quick restore point creates or replaces resources";
            self.fault("quickMode.overrideResources", what);
        }
        QuickMode { enabled, override_resources }
    }

    fn vault(&mut self) -> Option<Vault> {
        let enabled = self.flag("vault.enabled").unwrap_or(false);
        let mut field = |path: &str| self.text(path).unwrap_or_default();
        let vault = Vault {
            address: field("vault.address"),
            role: field("vault.role"),
            service_account_token_path: field("vault.serviceAccountTokenPath"),
            secret_name: field("vault.secretName"),
            mount_path: field("vault.mountPath"),
            namespace: field("vault.namespace"),
            ca_secret_name: field("vault.caSecretName"),
        };
        if !enabled {
            return None;
        }
        if vault.address.is_empty() {
            self.fault("vault.address", "is required with vault.enabled");
        }
        if vault.role.is_empty() && vault.secret_name.is_empty() {
            let what = "either this or vault.role is required with vault.enabled: \
                        the Secret with the token, or the role of Vault's Kubernetes authentication";
            self.fault("vault.secretName", what);
        }
        let path = &vault.service_account_token_path;
        if let Some(what) = check_token_path(path).err().filter(|_| !path.is_empty()) {
            self.fault("vault.serviceAccountTokenPath", &what);
        }
        Some(vault)
    }
}

/// Fields that hold others.
fn groups() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    FIELDS.into_iter().filter_map(|path| path.split_once('.')).filter_map(move |(group, _)| {
        let is_new = group != last;
        last = group;
        is_new.then_some(group)
    })
}

fn unknown_fields(spec: &Value) -> Vec<String> {
    let is_group = |name: &str| groups().any(|group| group == name);
    let mut unknown = Vec::new();
    for (name, value) in spec.as_object().into_iter().flatten() {
        match value {
            Value::Object(fields) if is_group(name) => {
                let paths = fields.keys().map(|field| format!("{name}.{field}"));
                unknown.extend(paths.filter(|path| !FIELDS.contains(&path.as_str())));
            }
            _ if is_group(name) || FIELDS.contains(&name.as_str()) => {}
            _ => unknown.push(name.clone()),
        }
    }
    unknown.sort();
    let more = unknown.len().saturating_sub(UNKNOWN_NAMED_MAX);
    unknown.truncate(UNKNOWN_NAMED_MAX);
    let mut named: Vec<_> = unknown.iter().map(|path| quoted(path)).collect();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    named
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}
