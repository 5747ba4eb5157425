//! The kinds of `dr.kio.kasten.io`: looking at what a location holds of a lost platform, and bringing it back.

pub mod restore;
pub mod review;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use keelson_model::names::group;
use keelson_model::{ClusterId, RepositoryId, passphrase};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::Checker;
use crate::kind::Reference;
use crate::parts::{Requester, Time};

/// How long one that has ended is left for whoever asked for it to come back and see how it ended: a pod that was evicted
/// is on another node by then. Whoever has seen it fail waits as long for another door.
pub const LEFT_AFTER_END: Duration = Duration::from_secs(60);

/// Whether one that ended then is left. Clocks differ by a little; one that is far off keeps nothing for long.
pub fn is_left(ended: Timestamp, now: Timestamp) -> bool {
    now.duration_since(ended).unsigned_abs() < LEFT_AFTER_END
}

/// Where the backups of a lost platform lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceClusterInfo {
    /// The profile of the location, in the install namespace.
    #[schemars(length(max = 253))]
    pub profile_name: String,
    /// The ID of the lost cluster: the UID of its namespace `default`.
    #[serde(rename = "sourceClusterID")]
    #[schemars(length(max = 64))]
    pub source_cluster_id: String,
    /// Takes the state of that moment instead of the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_in_time: Option<Time>,
    /// What the chain is known to have reached, as a recovery kit remembers it. A location that does not hold it was
    /// rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_head: Option<KnownHead>,
}

/// The end of a shipped chain as somebody has seen it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KnownHead {
    /// The repository that holds the chain: 32 hexadecimal digits.
    #[schemars(length(max = 32))]
    pub repository: String,
    /// The last entry.
    pub at: HeadPosition,
    /// The digest of that entry: 64 hexadecimal digits.
    #[schemars(length(max = 64))]
    pub chain: String,
    /// It lay in the location by then.
    pub seen_at: Time,
}

/// A point of a shipped chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeadPosition {
    /// Whose ownership it was written under.
    #[schemars(range(max = 99_999_999))]
    pub epoch: u32,
    /// The generation of the catalog.
    #[schemars(range(max = 8_388_607))]
    pub generation: u32,
    /// The number of the journal's entry.
    #[schemars(range(max = 1_099_511_627_775_u64))]
    pub sequence: u64,
}

/// How HashiCorp Vault is reached where `k10-dr-secret` says that it holds the passphrase. Without it the platform's own
/// way is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultAccess {
    /// The address of the server, as in https://vault.example.com:8200.
    #[schemars(length(max = 2048))]
    pub address: String,
    /// The namespace of Vault in which everything lies, where it has such.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The role of Vault's Kubernetes authentication.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The file with the token of the service account that the role is bound to.
    #[schemars(length(max = 4096))]
    #[serde(rename = "serviceAccountTokenPath", default, skip_serializing_if = "Option::is_none")]
    pub token_path: Option<String>,
    /// Where Kubernetes authentication is mounted in Vault, if not at `kubernetes`.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
    /// The Secret of the install namespace that holds Vault's token as `vault_token`.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// The Secret of the install namespace that holds the authority of Vault's certificate.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_name: Option<String>,
}

impl From<VaultAccess> for passphrase::VaultAccess {
    fn from(access: VaultAccess) -> Self {
        let VaultAccess { address, namespace, role, token_path, mount_path, secret_name, ca_secret_name } =
            access;
        Self { address, namespace, role, token_path, mount_path, secret_name, ca_secret_name }
    }
}

/// Where a review or a recovery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecoveryState {
    #[default]
    None,
    Running,
    Failed,
    Success,
}

fn recovery_states(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["none", "running", "failed", "success"] })
}

/// What reviews and recoveries report alike.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryProgress {
    /// Where it stands.
    #[schemars(schema_with = "recovery_states")]
    pub state: RecoveryState,
    /// What is being done, for people.
    #[serde(default)]
    pub phase: String,
    /// What went wrong.
    #[serde(default)]
    pub error: String,
    /// Why it went wrong, innermost reason first.
    #[serde(default)]
    pub cause: String,
    /// What sort of failure it was, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_class: Option<String>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// What a recovery does, line by line, decided before anything is touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<String>,
    /// What in the location is damaged, not ours, or lost, and what the plan lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<Requester>,
}

impl RecoveryProgress {
    /// A request that waits for its turn.
    pub fn waiting(requester: Requester) -> Self {
        Self { phase: "Waiting to start".to_owned(), requester: Some(requester), ..Self::default() }
    }

    /// Begins, or goes on after a restart: its time is counted from the first beginning.
    pub fn begin(&mut self, now: Time) {
        self.state = RecoveryState::Running;
        self.start_time = self.start_time.or(Some(now));
    }

    pub fn succeed(&mut self, phase: &str, now: Time) {
        self.state = RecoveryState::Success;
        phase.clone_into(&mut self.phase);
        self.error.clear();
        self.cause.clear();
        self.error_class = None;
        self.end_time = Some(now);
    }
}

/// A catalog in the numbers by which two are compared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CatalogState {
    /// The digest of the newest journal entry.
    pub chain: String,
    /// The digest of each class of rows that is shipped.
    #[serde(default)]
    pub digests: BTreeMap<String, String>,
    /// Rows by kind.
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
}

fn source_profile(object: &Value, install_namespace: &str) -> Option<Reference> {
    let name = object.pointer("/spec/sourceClusterInfo/profileName")?.as_str()?;
    Some(Reference::read(group::CONFIG, "profiles", install_namespace, name))
}

/// What the Secret holds is sent to an address of the same request: for whoever may read it anyway.
fn vault_secrets(object: &Value, install_namespace: &str) -> Vec<Reference> {
    let named = |field: &str| object.pointer(&format!("/spec/vault/{field}"))?.as_str();
    let names = ["secretName", "caSecretName"].into_iter().filter_map(named).filter(|name| !name.is_empty());
    names.map(|name| Reference::read("", "secrets", install_namespace, name)).collect()
}

fn check_vault(checker: &mut Checker<'_>) {
    if !checker.is_set("spec.vault") {
        return;
    }
    checker.required_text("spec.vault.address");
    if !checker.is_set("spec.vault.role") && !checker.is_set("spec.vault.secretName") {
        checker.missing("spec.vault.role", "either this or secretName is needed");
    }
    checker.parsed("spec.vault.serviceAccountTokenPath", check_token_path);
}

/// Whoever asks names the address, too, to which the token is sent.
pub(crate) fn check_token_path(path: &str) -> Result<(), String> {
    match passphrase::VaultAccess::may_be_asked_for(path) {
        true => Ok(()),
        false => Err(format!(
            "must be a file below {}, where tokens of service accounts are mounted; any other is for ConfigMap '{}'",
            passphrase::VaultAccess::TOKEN_FOLDER,
            passphrase::VaultAccess::CONFIG_MAP
        )),
    }
}

fn check_source(checker: &mut Checker<'_>) {
    checker.required_text("spec.sourceClusterInfo.profileName");
    checker.required_text("spec.sourceClusterInfo.sourceClusterID");
    checker.parsed("spec.sourceClusterInfo.sourceClusterID", |text| text.parse::<ClusterId>().map(drop));
    checker
        .parsed("spec.sourceClusterInfo.knownHead.repository", |text| text.parse::<RepositoryId>().map(drop));
}
