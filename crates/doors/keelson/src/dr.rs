//! `keelson dr`: the commands by which the platform protects and recovers itself. Each makes the same resources that a
//! dashboard, a chart or `kubectl` would, and follows them.

mod enable;
pub(crate) mod kit;
mod passphrase;
pub(crate) mod recover;
mod restore;
mod status;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use keelson_model::names::group;
use keelson_workload::Kind;
use serde_json::{Value, json};

use crate::arguments::Common;

/// Protect and recover the platform itself.
#[derive(Debug, Args)]
pub(crate) struct Dr {
    #[command(subcommand)]
    command: DrCommand,
}

#[derive(Debug, Subcommand)]
enum DrCommand {
    /// Enable disaster recovery to a location profile.
    #[command(
        after_help = "Examples:\n  keelson dr enable --profile vault --passphrase-file ./passphrase\n  \
        keelson dr enable --profile vault --vault-path k10 --vault-key passphrase --vault-kv-version KVv2\n  \
        keelson dr enable --profile vault --aws-secret k10/dr/passphrase --aws-region us-east-1"
    )]
    Enable(EnableArguments),
    /// Disable disaster recovery. What was stored stays.
    #[command(after_help = "Example:\n  keelson dr disable")]
    Disable(Common),
    /// Show how the platform is protected and who owns its backups.
    #[command(after_help = "Examples:\n  keelson dr status\n  \
        keelson dr status --output json | jq .disasterRecovery.shipped")]
    Status(Common),
    /// Print the newest signed report of a drill; keelson tools check-report checks it.
    #[command(after_help = "Example:\n  keelson dr drill-report > report.jsonl")]
    DrillReport(Common),
    /// Run the DR policy once and follow it.
    #[command(after_help = "Example:\n  keelson dr run")]
    Run(Common),
    /// Make a recovery kit: one sealed file with all that a recovery needs.
    #[command(
        after_help = "Example:\n  keelson dr kit --output-file ./kit --kit-passphrase-file ./kit-passphrase \
        --with-credentials"
    )]
    Kit(kit::KitArguments),
    /// List the restore points of a source cluster.
    #[command(
        after_help = "Example:\n  keelson dr review --profile vault --source-cluster-id 0c3e8c52-…\n  \
        keelson dr review --kit ./kit --kit-passphrase-file ./kit-passphrase"
    )]
    Review(MomentArguments),
    /// Show what a recovery would do, and touch nothing.
    #[command(after_help = "Example:\n  keelson dr plan --profile vault --source-cluster-id 0c3e8c52-… \
        --point-in-time 2026-01-02T15:04:05Z")]
    Plan(MomentArguments),
    /// Recover the platform.
    #[command(after_help = "Examples:\n  keelson dr restore --profile vault --source-cluster-id 0c3e8c52-… \
        --skip-resource profiles,policies\n  keelson dr restore --profile vault --source-cluster-id 0c3e8c52-… \
        --quick-mode --override-resources\n  keelson dr restore --kit ./kit --kit-passphrase-file ./kit-passphrase")]
    Restore(RestoreArguments),
}

#[derive(Debug, Args)]
struct EnableArguments {
    #[command(flatten)]
    common: Common,
    /// The location profile that takes the platform's backups.
    #[arg(long)]
    profile: String,
    #[command(flatten)]
    passphrase: passphrase::PassphraseArguments,
    /// Ship configuration and exported restore points only.
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Args)]
struct SourceArguments {
    #[command(flatten)]
    common: Common,
    /// The location profile that leads to the backups. Beside a kit: instead of the kit's.
    #[arg(long, required_unless_present = "kit")]
    profile: Option<String>,
    /// The UID of namespace 'default' of the lost cluster.
    #[arg(long, value_name = "ID", required_unless_present = "kit", conflicts_with = "kit")]
    source_cluster_id: Option<String>,
    #[command(flatten)]
    kit: kit::UsedKit,
    #[command(flatten)]
    vault: VaultArguments,
}

/// How HashiCorp Vault is reached, where k10-dr-secret says that it holds the passphrase.
#[derive(Debug, Args)]
struct VaultArguments {
    /// The address of HashiCorp Vault, where k10-dr-secret says that it holds the passphrase. Without it the platform's own.
    #[arg(long, value_name = "URL")]
    vault_address: Option<String>,
    /// The role of Vault's Kubernetes authentication.
    #[arg(long, value_name = "ROLE", requires = "vault_address")]
    vault_role: Option<String>,
    /// The file below /var/run/secrets/, in the platform's pod, with the token of the account that the role is bound to.
    #[arg(long, value_name = "FILE", requires = "vault_address")]
    vault_token_path: Option<String>,
    /// The Secret that holds Vault's token as vault_token.
    #[arg(long, value_name = "SECRET", requires = "vault_address")]
    vault_secret: Option<String>,
    /// Where Vault's Kubernetes authentication is mounted, if not at kubernetes.
    #[arg(long, value_name = "PATH", requires = "vault_address")]
    vault_auth_mount: Option<String>,
    /// The namespace of Vault in which everything lies, where it has such.
    #[arg(long, value_name = "NAME", requires = "vault_address")]
    vault_namespace: Option<String>,
    /// The Secret that holds the authority of Vault's certificate as ca.crt.
    #[arg(long, value_name = "SECRET", requires = "vault_address")]
    vault_ca_secret: Option<String>,
}

impl VaultArguments {
    /// As the resources spell it. A value that is empty was not given.
    fn spec(&self) -> Option<Value> {
        let Self {
            vault_address,
            vault_role,
            vault_token_path,
            vault_secret,
            vault_auth_mount,
            vault_namespace,
            vault_ca_secret,
        } = self;
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let mut spec = json!({ "address": given(vault_address)? });
        for (field, text) in [
            ("role", vault_role),
            ("serviceAccountTokenPath", vault_token_path),
            ("secretName", vault_secret),
            ("mountPath", vault_auth_mount),
            ("namespace", vault_namespace),
            ("caSecretName", vault_ca_secret),
        ] {
            if let Some(text) = given(text) {
                spec[field] = json!(text);
            }
        }
        Some(spec)
    }
}

impl SourceArguments {
    /// As the resources spell it. What a kit holds is in the cluster then.
    async fn info(&self) -> Result<Value> {
        match self.kit.open()? {
            Some(kit) => {
                let cluster = self.common.cluster().await?;
                kit::bring(&cluster, &self.common, &kit, self.profile.as_deref()).await
            }
            None => Ok(json!({ "profileName": self.profile, "sourceClusterID": self.source_cluster_id })),
        }
    }

    /// The spec of a resource that looks there.
    fn spec(&self, info: Value) -> Value {
        let mut spec = json!({ "sourceClusterInfo": info });
        if let Some(vault) = self.vault.spec() {
            spec["vault"] = vault;
        }
        spec
    }
}

#[derive(Debug, Args)]
struct MomentArguments {
    #[command(flatten)]
    source: SourceArguments,
    /// The state of that second instead of the latest, as in 2026-01-02T15:04:05Z.
    #[arg(long, value_name = "RFC3339")]
    point_in_time: Option<Timestamp>,
}

impl MomentArguments {
    /// The spec of a resource that looks for it.
    async fn spec(&self) -> Result<Value> {
        let mut info = self.source.info().await?;
        if let Some(time) = self.point_in_time {
            info["pointInTime"] = json!(time);
        }
        Ok(self.source.spec(info))
    }
}

#[derive(Debug, Args)]
struct RestoreArguments {
    #[command(flatten)]
    moment: MomentArguments,
    /// The restore point, repository.generation.sequence; any sequence that was shipped. The latest if none is given.
    #[arg(long, value_name = "ID", conflicts_with = "point_in_time")]
    point: Option<String>,
    /// What is left as it is: profiles, policies, secrets, with commas between them.
    #[arg(long, value_name = "LIST")]
    skip_resource: Option<String>,
    /// The backup was made by Quick DR. Without it the restore point decides, and what exists is kept.
    #[arg(long)]
    quick_mode: bool,
    /// Confirms that resources of the same name are replaced by those of a Quick restore point.
    #[arg(long)]
    override_resources: bool,
    /// Confirms that a catalog which holds restore points already is replaced.
    #[arg(long)]
    replace_catalog: bool,
    /// Confirms a recovery from a location that does not hold what the kit knows of it.
    #[arg(long)]
    accept_rollback: bool,
    /// Bounds the whole restore, in minutes.
    #[arg(long, value_name = "MINUTES", default_value_t = 90)]
    timeout: u64,
    /// The name of the KastenDRRestore that is made; of one that has ended it takes the place.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Who asks, as a Job is told from all others by its UID: a restore that the same one has begun is followed, and not
    /// begun again.
    #[arg(long, env = "KEELSON_REQUEST", value_name = "ID")]
    request: Option<String>,
    /// Where the last word goes too, as a pod's termination message.
    #[arg(long, value_name = "FILE")]
    termination_log: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RebuildArguments {
    #[command(flatten)]
    source: SourceArguments,
    /// Confirms that a catalog which holds restore points already is replaced.
    #[arg(long)]
    replace_catalog: bool,
    /// Bounds the whole work, in minutes.
    #[arg(long, value_name = "MINUTES", default_value_t = 90)]
    timeout: u64,
}

pub(crate) async fn run(dr: Dr) -> Result<()> {
    match dr.command {
        DrCommand::Enable(arguments) => enable::enable(arguments).await,
        DrCommand::Disable(common) => enable::disable(common).await,
        DrCommand::Status(common) => status::status(common).await,
        DrCommand::DrillReport(common) => status::drill_report(common).await,
        DrCommand::Run(common) => enable::run_once(common).await,
        DrCommand::Kit(arguments) => kit::make(arguments).await,
        DrCommand::Review(arguments) => recover::review(arguments).await,
        DrCommand::Plan(arguments) => recover::plan(arguments).await,
        DrCommand::Restore(arguments) => restore::restore(arguments).await,
    }
}

/// A recovery request is answered within this beyond its own bound.
const GRACE: Duration = Duration::from_secs(60);

fn kind(api_group: &str, kind: &str, resource: &str) -> Kind {
    Kind::namespaced(&format!("{api_group}/{}", group::VERSION), kind, resource)
}

fn policy_kind() -> Kind {
    kind(group::CONFIG, "Policy", "policies")
}

fn run_action_kind() -> Kind {
    kind(group::ACTIONS, "RunAction", "runactions")
}

fn review_kind() -> Kind {
    kind(group::DR, "KastenDRReview", "kastendrreviews")
}

fn restore_kind() -> Kind {
    kind(group::DR, "KastenDRRestore", "kastendrrestores")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        vault: VaultArguments,
    }

    #[test]
    fn the_way_to_vault_is_spelt_as_the_resources_do() -> Result<()> {
        let read = |words: &[&str]| Line::try_parse_from(std::iter::once(&"restore").chain(words));
        assert_eq!(read(&[])?.vault.spec(), None);
        let words = [
            ["--vault-address", "https://vault:8200"],
            ["--vault-role", "k10"],
            ["--vault-token-path", "/var/run/secrets/vault/token"],
            ["--vault-secret", ""],
            ["--vault-auth-mount", "clusters/one"],
            ["--vault-namespace", "team/backup"],
            ["--vault-ca-secret", "vault-ca"],
        ];
        let expected = json!({
            "address": "https://vault:8200", "role": "k10", "mountPath": "clusters/one", "namespace": "team/backup",
            "caSecretName": "vault-ca", "serviceAccountTokenPath": "/var/run/secrets/vault/token",
        });
        assert_eq!(read(words.as_flattened())?.vault.spec(), Some(expected));
        assert!(read(&["--vault-ca-secret", "vault-ca"]).is_err(), "of which server?");
        Ok(())
    }
}
