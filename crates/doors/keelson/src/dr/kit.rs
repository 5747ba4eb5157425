//! `dr kit` makes a recovery kit; `--kit` of the other commands brings one to a cluster.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use keelson_crypto::{KIT_BYTES_MAX, Passphrase, PassphraseStrength};
use keelson_model::{Clock, ErrorClass};
use keelson_protection::recovery::kit::{Credentials, Kit, gather, put_in_place};
use keelson_workload::Cluster;
use serde_json::{Value, json};

use super::recover;
use super::recover::make_review;
use crate::arguments::Common;
use crate::clock::SystemClock;
use crate::failure::{failed, refuse, refuse_with};
use crate::files::{io_failed, read_file, read_passphrase};
use crate::output::{data, say};

#[derive(Debug, Args)]
pub(super) struct KitArguments {
    #[command(flatten)]
    common: Common,
    /// Where the kit is written; its owner alone can read it.
    #[arg(long, value_name = "FILE")]
    output_file: PathBuf,
    /// Holds the passphrase that will open the kit; '-' reads it from stdin. Not that of disaster recovery.
    #[arg(long, value_name = "FILE")]
    kit_passphrase_file: PathBuf,
    /// Put the credentials of the location into the kit, too.
    #[arg(long)]
    with_credentials: bool,
    /// Replace a file that is there.
    #[arg(long)]
    overwrite: bool,
}

/// A kit to be used.
#[derive(Debug, Clone, Args)]
pub(crate) struct UsedKit {
    /// A recovery kit, in place of profile and cluster ID. What it holds and the cluster lacks is created: the profile,
    /// its credentials, the Secret k10-dr-secret.
    #[arg(long, value_name = "FILE", requires = "kit_passphrase_file")]
    pub kit: Option<PathBuf>,
    /// Holds the kit's passphrase; '-' reads it from stdin.
    #[arg(long, value_name = "FILE", requires = "kit")]
    pub kit_passphrase_file: Option<PathBuf>,
}

impl UsedKit {
    /// The kit, opened, if there is one.
    pub(crate) fn open(&self) -> Result<Option<Kit>> {
        let (Some(file), Some(passphrase)) = (&self.kit, &self.kit_passphrase_file) else { return Ok(None) };
        let passphrase = Passphrase::new(read_passphrase(passphrase)?);
        Kit::open(&passphrase, &read_kit(file)?).map_err(failed).map(Some)
    }
}

fn read_kit(file: &Path) -> Result<Vec<u8>> {
    // One byte too many is told as such when it is opened.
    read_file("the kit", file, KIT_BYTES_MAX + 1)
}

/// Brings what the kit holds into the cluster, and says where the backups are as the resources spell it.
pub(super) async fn bring(
    cluster: &Cluster,
    common: &Common,
    kit: &Kit,
    through: Option<&str>,
) -> Result<Value> {
    for created in put_in_place(cluster, &common.namespace, kit, through).await.map_err(failed)? {
        say(&format!("created {created}"));
    }
    Ok(source_of(kit, through))
}

fn source_of(kit: &Kit, through: Option<&str>) -> Value {
    json!({
        "profileName": through.unwrap_or(&kit.profile.name), "sourceClusterID": kit.cluster,
        "knownHead": kit.head,
    })
}

/// A kit is tried as the file has it before the file gets its name: one that does not open leaves nothing behind.
pub(super) async fn make(arguments: KitArguments) -> Result<()> {
    let KitArguments { common, output_file, kit_passphrase_file, with_credentials, overwrite } = arguments;
    if output_file.as_os_str() == "-" {
        let message = "a kit is tried as a file before it is kept: '-' is not possible";
        return Err(refuse(ErrorClass::Invalid, message));
    }
    if output_file.exists() && !overwrite {
        return Err(exists(&output_file));
    }
    let passphrase = Passphrase::new(read_passphrase(&kit_passphrase_file)?);
    check_strength(&passphrase)?;
    let cluster = common.cluster().await?;
    let credentials = if with_credentials { Credentials::Include } else { Credentials::LeaveOut };
    let kit = gather(&cluster, &common.namespace, credentials, SystemClock.now()).await.map_err(failed)?;
    let folder = output_file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let unwritten =
        |error: std::io::Error| io_failed(format!("write the kit to '{}'", output_file.display()), &error);
    // Readable by its owner alone from the first moment.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(unwritten)?;
    file.write_all(&kit.seal(&passphrase).map_err(failed)?).map_err(unwritten)?;
    file.as_file().sync_all().map_err(unwritten)?;
    try_out(&common, &Kit::open(&passphrase, &read_kit(file.path())?).map_err(failed)?).await?;
    let kept = match overwrite {
        true => file.persist(&output_file).map_err(|failure| failure.error),
        false => file.persist_noclobber(&output_file).map_err(|failure| failure.error),
    };
    match kept {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(exists(&output_file)),
        kept => drop(kept.map_err(unwritten)?),
    }
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(unwritten)?;
    tell(&common, &kit, &output_file);
    Ok(())
}

fn exists(file: &Path) -> anyhow::Error {
    let message = format!("'{}' exists", file.display());
    refuse_with(ErrorClass::Conflict, message, "choose another name, or replace it with --overwrite")
}

fn check_strength(passphrase: &Passphrase) -> Result<()> {
    match passphrase.strength() {
        PassphraseStrength::TooShort | PassphraseStrength::Common => Err(refuse(
            ErrorClass::Invalid,
            "the passphrase of the kit is too easy to guess: take 8 characters or more, and none that everybody uses",
        )),
        PassphraseStrength::Weak => {
            say("the passphrase of the kit is short; 14 characters or more resist guessing");
            Ok(())
        }
        PassphraseStrength::Fair => Ok(()),
    }
}

/// With what the kit holds: its passphrase opens its slots, and the platform, asked for the location of its profile with
/// the same passphrase, finds the head that it remembers.
async fn try_out(common: &Common, kit: &Kit) -> Result<()> {
    tokio::task::block_in_place(|| kit.open_slots()).map_err(failed)?;
    let spec = json!({ "sourceClusterInfo": source_of(kit, None) });
    let reviewed = make_review(common, spec).await.context("try the kit")?;
    match reviewed["status"]["rolledBack"].as_str() {
        None => {
            recover::tell_warnings(&reviewed);
            Ok(())
        }
        Some(why) => Err(refuse(
            ErrorClass::Corrupt,
            format!("the location does not hold what was shipped to it: {why}"),
        )),
    }
}

fn tell(common: &Common, kit: &Kit, file: &Path) {
    let told = json!({
        "file": file, "clusterID": kit.cluster, "profile": kit.profile.name, "head": kit.head,
        "credentials": kit.credentials.is_some(), "reportKey": kit.report_key, "madeAt": kit.made_at,
    });
    say("Keep it outside this cluster, and its passphrase apart from it.");
    if kit.credentials.is_none() && kit.profile.spec.pointer("/locationSpec/credential").is_some() {
        say("The credentials of the location are not in it: keep them as well, or add --with-credentials.");
    }
    data(common.output, &told, |_| {
        format!(
            "the kit is in '{}' and opens\ncluster ID: {}\nreaches through {}",
            file.display(),
            kit.cluster,
            kit.head.at
        )
    });
}
