//! The command line: names, help, examples.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use keelson_workload::{Cluster, ClusterAccess};

use crate::failure::{EXIT_CODES, failed};
use crate::output::Format;
use crate::{dr, guard, operator, restore, serve, tools};

const EXAMPLES: &str = "Examples:\n  \
    keelson dr enable --profile vault --passphrase-file ./passphrase\n  \
    keelson dr status\n  \
    keelson dr restore --profile vault --source-cluster-id 0c3e8c52-…\n  \
    keelson restore shop\n  \
    keelson tools verify --directory /mnt/share --passphrase-file ./passphrase";

/// Protects the applications of a Kubernetes cluster and, before all else, itself.
#[derive(Debug, Parser)]
#[command(name = "keelson", version, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"), propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the platform: catalog, API server, controllers, scheduler.
    Serve(serve::Serve),
    /// Keep what the platform registers from harming the cluster when it is away, or take it away.
    Guard(guard::Guard),
    /// Carry out each K10restore of a namespace.
    Operator(operator::Operator),
    /// Protect and recover the platform itself.
    Dr(dr::Dr),
    /// Restore an application.
    Restore(restore::Restore),
    /// Look into a location without a platform.
    Tools(tools::Tools),
}

/// Which cluster, and how to print.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Of the cluster that the platform runs on; without it ~/.kube/config or, in a pod, its own account.
    #[arg(long, env = "KUBECONFIG", value_name = "FILE", value_parser = kubeconfig())]
    pub kubeconfig: Option<PathBuf>,
    /// Where the platform is installed.
    #[arg(long, short, default_value = keelson_model::names::DEFAULT_INSTALL_NAMESPACE)]
    pub namespace: String,
    /// How to print the result.
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// Like `kubectl`, takes an empty variable for none.
pub(crate) fn kubeconfig() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

pub(crate) fn access(kubeconfig: Option<&Path>, without: ClusterAccess) -> ClusterAccess {
    let named = kubeconfig.filter(|path| !path.as_os_str().is_empty());
    named.map_or(without, |path| ClusterAccess::Kubeconfig(path.to_owned()))
}

impl Common {
    pub(crate) async fn cluster(&self) -> Result<Cluster> {
        let access = access(self.kubeconfig.as_deref(), ClusterAccess::Usual);
        Cluster::connect(&access).await.map_err(failed)
    }
}
