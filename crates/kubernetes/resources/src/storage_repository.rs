//! `StorageRepository`: a repository that the platform keeps backups in. Made by the platform only; people may change
//! its `spec`.

use std::time::Duration;

use keelson_model::GoDuration;
use keelson_model::names::group;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::{Checker, FieldError};
use crate::kind::{AGE, CATEGORIES, Column, NAME, Verb};
use crate::kind::{KindInfo, ResourceScope, no_references};
use crate::parts::{ObjectReference, Time};
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::REPOSITORIES,
    version: group::VERSION,
    kind: "StorageRepository",
    plural: "storagerepositories",
    singular: "storagerepository",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Namespaced,
    verbs: &[Verb::Delete, Verb::DeleteCollection, Verb::Get, Verb::List, Verb::Patch, Verb::Watch],
    columns: &[
        NAME,
        Column::text("LocationType", "/status/location/type", "What kind of place the repository lies in"),
        AGE,
        Column::text("Content", "/status/contentType", "What the repository holds").wide(),
        Column::text("App", "/status/appName", "The application that it belongs to").wide(),
    ],
    field_selectors: &["metadata.name", "metadata.namespace"],
    details: true,
    schema: || {
        object_schema::<StorageRepositorySpec, StorageRepositoryStatus>(
            "StorageRepository is a repository that holds backups. Deleting the object deletes no data: it comes back \
             when the repository is used again.",
        )
    },
    references: no_references,
    check,
};

/// The time that maintenance of a repository may take where nothing else is said.
pub const BACKGROUND_PROCESS_TIMEOUT: Duration = Duration::from_secs(10 * 3600);

/// What people decide of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageRepositorySpec {
    /// Whether the repository is left out of background maintenance: nothing in it is freed then.
    #[serde(default)]
    pub disable_maintenance: bool,
    /// How long one run of background maintenance may take; 10h if absent.
    #[schemars(extend("format" = "duration"), length(max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background_process_timeout: Option<String>,
    /// A profile through which the repository is to be reached instead. Not supported: it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_location: Option<ObjectReference>,
}

impl StorageRepositorySpec {
    /// How long one run of maintenance may take.
    pub fn process_timeout(&self) -> Duration {
        let given = self.background_process_timeout.as_deref().and_then(|text| text.parse().ok());
        given.map_or(BACKGROUND_PROCESS_TIMEOUT, |GoDuration(timeout)| timeout)
    }
}

/// What is known of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageRepositoryStatus {
    /// What the repository holds.
    #[schemars(schema_with = "content_types")]
    pub content_type: ContentType,
    /// In whose format it is written.
    pub backend_type: String,
    /// Where it lies.
    pub location: RepositoryLocation,
    /// Whether this instance reads from it only. Then it is not maintained by this instance either.
    pub read_only: bool,
    /// The application that it belongs to; absent for the one on the platform's own volume, which holds what was not
    /// exported of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_name: Option<String>,
    /// The runs of background maintenance.
    #[serde(default)]
    pub process_results: ProcessResults,
    /// What the repository holds now; only in the sub-resource details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<RepositoryDetails>,
}

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentType {
    Volumedata,
    Metadata,
    Dr,
}

impl ContentType {
    pub const ALL: [Self; 3] = [Self::Volumedata, Self::Metadata, Self::Dr];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Volumedata => "volumedata",
            Self::Metadata => "metadata",
            Self::Dr => "dr",
        }
    }
}

fn content_types(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["volumedata", "metadata", "dr"] })
}

/// Where a repository lies, as a profile says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryLocation {
    /// ObjectStore, FileStore, or Volume for the platform's own.
    #[schemars(schema_with = "location_types")]
    pub r#type: RepositoryLocationType,
    /// A bucket; for type ObjectStore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_store: Option<RepositoryBucket>,
    /// A directory on a shared volume; for type FileStore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_store: Option<RepositoryShare>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RepositoryLocationType {
    ObjectStore,
    FileStore,
    Volume,
}

fn location_types(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["ObjectStore", "FileStore", "Volume"] })
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepositoryBucket {
    /// The bucket.
    pub name: String,
    /// The URL of the store; absent for the provider's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The root of the backups in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A directory on a shared volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryShare {
    /// The claim in the install namespace.
    pub claim_name: String,
    /// The root of the backups below the claim's root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// The runs of background maintenance in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessResults {
    /// How many there were.
    pub process_count: u64,
    /// The last ten of them, newest last.
    #[serde(default)]
    pub recent_results: Vec<ProcessResult>,
}

impl ProcessResults {
    const RECENT_MAX: usize = 10;

    /// Notes one more run.
    pub fn push(&mut self, result: ProcessResult) {
        self.process_count += 1;
        self.recent_results.push(result);
        let surplus = self.recent_results.len().saturating_sub(Self::RECENT_MAX);
        self.recent_results.drain(..surplus);
    }
}

/// How one run of background maintenance went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessResult {
    /// When it began.
    pub start: Time,
    /// When it ended.
    pub end: Time,
    /// What was done.
    pub procedure: String,
    /// Whether all of it was.
    pub succeeded: bool,
    /// Why not.
    #[serde(default)]
    pub error: Option<String>,
    /// Its steps, in order.
    #[serde(default)]
    pub command_results: Vec<CommandResult>,
}

/// How one step of a run went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandResult {
    /// The step.
    pub desc: String,
    /// When it began.
    pub start_time: Time,
    /// When it ended.
    pub end_time: Time,
    /// What went wrong.
    #[serde(default)]
    pub error: Option<String>,
    /// Whether it was done.
    pub succeeded: bool,
}

/// What a repository holds now, reckoned when it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryDetails {
    /// Its id.
    pub id: String,
    /// Its folder, below the root of the location.
    pub root: String,
    /// The profile through which it is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The cluster below whose folder it lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// When background maintenance runs next; absent where this instance does not maintain the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_process_time: Option<Time>,
    /// When a backup was last written to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_time: Option<Time>,
    /// What lies in it; absent where that could not be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_usage: Option<StorageUsage>,
    /// Why it could not be found out what lies in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What lies in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageUsage {
    /// The packs, which hold the data.
    pub blob_stats: UsageStats,
    /// The outcomes of backups, those that are retired and not pruned yet among them.
    pub snapshot_stats: UsageStats,
}

/// How much there is of something.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageStats {
    /// When it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_time: Option<Time>,
    /// Objects and their bytes.
    pub size_stat: SizeStat,
}

/// Objects and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SizeStat {
    /// How many objects.
    pub count: u64,
    /// Their bytes, as they lie in the store.
    #[serde(rename = "sizeB")]
    pub size_b: u64,
}

fn check(object: &Value, _install_namespace: &str) -> Vec<FieldError> {
    let mut checker = Checker::new(object);
    checker.parsed("spec.backgroundProcessTimeout", |text| match text.parse::<GoDuration>() {
        Ok(GoDuration(timeout)) if timeout.is_zero() => Err("must be longer than nothing".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    });
    checker.not_supported_yet(
        "spec.overrideLocation",
        "a repository is reached through the profile that it was made with; change that profile instead",
    );
    checker.finish()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::check::validate_change;

    fn check(spec: Value, expected: &[&str]) {
        let object = json!({ "metadata": { "name": "x", "namespace": "kasten-io" }, "spec": spec });
        let errors: Vec<_> =
            validate_change(&KIND, &object, "kasten-io").into_iter().map(|error| error.path).collect();
        assert_eq!(errors, expected, "{object}");
    }

    #[test]
    fn what_would_have_no_effect_is_refused() {
        check(json!({ "disableMaintenance": true, "backgroundProcessTimeout": "90m" }), &[]);
        check(json!({ "disableMaintenance": null, "backgroundProcessTimeout": null }), &[]);
        check(json!({ "disableMaintenance": "yes" }), &["spec.disableMaintenance"]);
        for timeout in [json!("0s"), json!("-1h"), json!("soon"), json!(""), json!(5)] {
            check(json!({ "backgroundProcessTimeout": timeout }), &["spec.backgroundProcessTimeout"]);
        }
        check(json!({ "overrideLocation": { "name": "other" } }), &["spec.overrideLocation"]);
    }

    #[test]
    fn maintenance_may_take_ten_hours_if_nothing_else_is_said() {
        let timeout = |given: Option<&str>| {
            let spec = StorageRepositorySpec {
                background_process_timeout: given.map(str::to_owned),
                ..StorageRepositorySpec::default()
            };
            spec.process_timeout()
        };
        assert_eq!(timeout(None), Duration::from_secs(10 * 3600));
        assert_eq!(timeout(Some("1h30m")), Duration::from_secs(5400));
    }

    #[test]
    fn of_the_runs_the_last_ten_are_told_and_all_are_counted() {
        let mut results = ProcessResults::default();
        for second in 0..13 {
            let at = Time(Timestamp::from_second(second).unwrap());
            results.push(ProcessResult {
                start: at,
                end: at,
                procedure: "maintenanceRun".to_owned(),
                succeeded: true,
                error: None,
                command_results: Vec::new(),
            });
        }
        let starts: Vec<_> = results.recent_results.iter().map(|result| result.start.0.as_second()).collect();
        assert_eq!((results.process_count, starts), (13, (3..13).collect()));
    }
}
