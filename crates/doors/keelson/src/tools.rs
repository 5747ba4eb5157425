//! `keelson tools`: looks into a location without a platform and without a cluster, and makes a catalog from it.

mod audit;
mod check_report;
mod discover;
mod list;
mod repair;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, Subcommand};
use keelson_crypto::Passphrase;
use keelson_model::ErrorClass;
use keelson_store::decorators::{Prefixed, Retry};
use keelson_store::providers::filesystem::FilesystemStore;
use keelson_store::providers::s3::{LockMode, S3Settings, S3Store, Secret, Trust};
use keelson_store::{Store, StorePath};

use crate::dr::RebuildArguments;
use crate::dr::recover::rebuild_from_exports;
use crate::failure::{failed, refuse, refuse_with};
use crate::files::read_passphrase;
use crate::output::Format;

/// Look into a location without a platform.
#[derive(Debug, Args)]
pub(crate) struct Tools {
    #[command(subcommand)]
    command: ToolsCommand,
}

#[derive(Debug, Subcommand)]
enum ToolsCommand {
    /// Find the platforms that lie in a bucket or below a directory, whatever the path: how far each chain goes, and with
    /// a passphrase or a kit what opens.
    #[command(after_help = "Examples:\n  keelson tools discover --directory /mnt/share\n  \
        keelson tools discover --bucket vault --kit ./kit --kit-passphrase-file ./kit-passphrase")]
    Discover(discover::Discover),
    /// Print who did what: audit events out of the platform's volume, the oldest first, one line of JSON each. A platform
    /// may run meanwhile.
    #[command(
        after_help = "Example:\n  keelson tools audit --data ./data --since 2026-11-01T00:00:00Z --user alice"
    )]
    Audit(audit::Audit),
    /// Check the signature of a drill report.
    #[command(after_help = "Example:\n  keelson tools check-report report.jsonl --key c5d28154…")]
    CheckReport(check_report::CheckReport),
    /// List what a location holds. With a passphrase, also what lies in each repository.
    #[command(after_help = "Examples:\n  keelson tools list --directory /mnt/share\n  \
        keelson tools list --bucket vault --endpoint https://s3.example.com --passphrase-file ./passphrase")]
    List(Place),
    /// Read every repository that the passphrase opens and check every byte.
    Verify(verify::Verify),
    /// Make a catalog from the exports in a location, where nothing that disaster recovery shipped is left. Needs a
    /// running platform, a location profile, and the Secret k10-dr-secret.
    #[command(
        after_help = "Example:\n  keelson tools rebuild-catalog --profile vault --source-cluster-id 0c3e8c52-…"
    )]
    RebuildCatalog(RebuildArguments),
    /// Mend a location after somebody else has written or deleted there.
    #[command(subcommand)]
    Repair(repair::Repair),
}

#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct Root {
    /// A directory or a mounted share.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// A bucket.
    #[arg(long, value_name = "NAME", requires = "access_key", requires = "secret_key")]
    bucket: Option<String>,
}

/// Where the location is. Credentials of a bucket come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
#[derive(Debug, Clone, Args)]
struct Place {
    #[command(flatten)]
    root: Root,
    /// Of a store that speaks S3; without it AWS.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Of the bucket; AWS tells its own.
    #[arg(long)]
    region: Option<String>,
    /// Of the bucket.
    #[arg(long, value_name = "KEY", env = "AWS_ACCESS_KEY_ID", hide_env_values = true)]
    access_key: Option<String>,
    /// Of the bucket. What stands on a command line can be seen by others: use the variable.
    #[arg(long, value_name = "KEY", env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    secret_key: Option<String>,
    /// Below the directory or bucket: the profile's path.
    #[arg(long, default_value = "")]
    path: String,
    /// Holds the passphrase of disaster recovery; '-' reads it from stdin.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
}

impl Place {
    fn root(&self) -> Result<StorePath> {
        self.path
            .parse()
            .map_err(|error| refuse(ErrorClass::Invalid, format!("path '{}': {error}", self.path)))
    }

    async fn open(&self) -> Result<Arc<dyn Store>> {
        let root = self.root()?;
        let store: Arc<dyn Store> = match (&self.root.directory, &self.root.bucket) {
            (Some(directory), _) => Arc::new(FilesystemStore::open(directory).await.map_err(failed)?),
            (None, Some(bucket)) => {
                let settings = S3Settings {
                    bucket: bucket.clone(),
                    path: root.clone(),
                    endpoint: self.endpoint.clone(),
                    region: self.region.clone(),
                    access_key: self.access_key.clone().unwrap_or_default(),
                    secret_key: Secret::new(self.secret_key.clone().unwrap_or_default()),
                    trust: Trust::System,
                    lock_mode: LockMode::default(),
                };
                Arc::new(S3Store::connect(settings).await.map_err(failed)?)
            }
            (None, None) => return Err(refuse(ErrorClass::Invalid, "no location was named")),
        };
        let store: Arc<dyn Store> = Arc::new(Retry::new(store));
        Ok(if root.is_root() { store } else { Arc::new(Prefixed::new(store, root)) })
    }

    fn passphrase(&self) -> Result<Option<Arc<Passphrase>>> {
        let Some(file) = &self.passphrase_file else { return Ok(None) };
        Ok(Some(Arc::new(Passphrase::new(read_passphrase(file)?))))
    }
}

fn nothing_here() -> anyhow::Error {
    refuse_with(
        ErrorClass::NotFound,
        "nothing of this platform lies here",
        "keelson tools discover looks below the root of a bucket or directory; without --path it looks everywhere",
    )
}

pub(crate) async fn run(tools: Tools) -> Result<()> {
    match tools.command {
        ToolsCommand::Discover(arguments) => discover::run(arguments).await,
        ToolsCommand::Audit(arguments) => audit::run(arguments),
        ToolsCommand::CheckReport(arguments) => check_report::run(arguments),
        ToolsCommand::List(place) => list::list(place).await,
        ToolsCommand::Verify(verify) => verify::verify(verify).await,
        ToolsCommand::RebuildCatalog(arguments) => rebuild_from_exports(arguments).await,
        ToolsCommand::Repair(repair) => repair::run(repair).await,
    }
}
