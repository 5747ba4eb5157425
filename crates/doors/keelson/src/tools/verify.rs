//! `tools verify`: reads every repository that the passphrase opens and names what is damaged.

use anyhow::Result;
use clap::Args;
use keelson_model::ErrorClass;
use keelson_repository::{Depth, Locked, OpenRepositoryError, Repository, Unlock, Verification};
use serde::Serialize;

use super::Place;
use super::list::find_repositories;
use crate::failure::{failed, refuse, refuse_with};
use crate::output::{data, say};

#[derive(Debug, Args)]
pub(super) struct Verify {
    #[command(flatten)]
    place: Place,
    /// Look only whether everything is there with the right length.
    #[arg(long)]
    index_only: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    repository: String,
    of: String,
    outcomes: u64,
    packs: u64,
    bytes_read: u64,
    findings: Vec<String>,
}

pub(super) async fn verify(arguments: Verify) -> Result<()> {
    let Verify { place, index_only } = arguments;
    let store = place.open().await?;
    let passphrase = place.passphrase()?.ok_or_else(|| {
        refuse_with(ErrorClass::Invalid, "verifying needs the passphrase", "add --passphrase-file <FILE>")
    })?;
    let depth = if index_only { Depth::Index } else { Depth::Full };
    let mut verified = Vec::new();
    let clusters: keelson_store::StorePath = "k10".parse()?;
    for cluster in store.list_folders(&clusters).await.map_err(failed)? {
        for listing in find_repositories(&*store, &clusters.join(&cluster)?).await? {
            let locked = Repository::<Locked>::at(store.clone(), listing.path.parse()?).map_err(failed)?;
            let repository = match locked.open(Unlock::Passphrase(&passphrase)).await {
                Ok(repository) => repository,
                Err(OpenRepositoryError::WrongPassphrase { .. } | OpenRepositoryError::Absent { .. }) => {
                    say(&format!("{} does not open with this passphrase", listing.path));
                    continue;
                }
                Err(error) => return Err(failed(error)),
            };
            let indexed = repository.load_index().await.map_err(failed)?;
            let reader = indexed.begin_reading_unannounced().await.map_err(failed)?;
            let verification = Verification { depth, expected: Vec::new() };
            let report = reader.verify(&verification, &|_| ()).await.map_err(failed)?;
            verified.push(Verified {
                repository: listing.path,
                of: listing.of,
                outcomes: report.outcomes,
                packs: report.packs,
                bytes_read: report.bytes_read,
                findings: report.findings.iter().map(|finding| finding.to_string()).collect(),
            });
        }
    }
    let damaged: usize = verified.iter().map(|repository| repository.findings.len()).sum();
    data(place.output, &verified, |verified| verified.iter().map(print).collect::<Vec<_>>().join("\n"));
    match (verified.is_empty(), damaged) {
        (true, _) => Err(refuse(ErrorClass::NotFound, "no repository here opens with this passphrase")),
        (false, 0) => Ok(()),
        (false, damaged) => {
            Err(refuse(ErrorClass::Corrupt, format!("{damaged} objects are damaged or lost")))
        }
    }
}

fn print(verified: &Verified) -> String {
    let mut lines = vec![format!(
        "{}: {} outcomes, {} packs, {} bytes read, {} findings",
        verified.repository,
        verified.outcomes,
        verified.packs,
        verified.bytes_read,
        verified.findings.len()
    )];
    lines.extend(verified.findings.iter().map(|finding| format!("  {finding}")));
    lines.join("\n")
}
