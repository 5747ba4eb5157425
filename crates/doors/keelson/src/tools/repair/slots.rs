//! `tools repair slots`: whoever deletes the slots of a location locks everybody out; a kit has kept them.

use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use keelson_crypto::{Slot, VaultKeyring};
use keelson_model::{Chain, Classified, ErrorClass};
use keelson_repository::{Locked, Repository, Unlock};
use keelson_store::{Store, StoreError, StorePath};
use serde::Serialize;

use super::super::Place;
use super::super::list::{RepositoryListing, find_repositories};
use crate::dr::kit::UsedKit;
use crate::failure::{failed, refuse_with};
use crate::output::{data, say};

#[derive(Debug, Args)]
pub(in crate::tools) struct SlotsArguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    kit: UsedKit,
    /// Do it.
    #[arg(long)]
    yes: bool,
}

/// One repository.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Mended {
    repository: String,
    /// Slots of the kit that are not there, or were not.
    lacking: usize,
    written: usize,
    /// Why nothing can be done here.
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<String>,
}

pub(super) async fn run(arguments: SlotsArguments) -> Result<()> {
    let SlotsArguments { place, kit, yes } = arguments;
    let kit = kit.open()?.ok_or_else(|| {
        refuse_with(
            ErrorClass::Invalid,
            "slots come from a kit",
            "add --kit <FILE> --kit-passphrase-file <FILE>",
        )
    })?;
    let slots = kit.slots().map_err(failed)?;
    let vault = tokio::task::block_in_place(|| kit.open_slots()).map_err(failed)?;
    let store = place.open().await?;
    let cluster: StorePath = format!("k10/{}", kit.cluster).parse()?;
    let mut mended = Vec::new();
    for listing in find_repositories(&*store, &cluster).await? {
        mended.push(mend(&store, &listing, &vault, &slots, yes).await?);
    }
    data(place.output, &mended, |mended| mended.iter().map(print).collect::<Vec<_>>().join("\n"));
    if mended.is_empty() {
        return Err(super::super::nothing_here());
    }
    if mended.iter().all(|repository| repository.why_not.is_some()) {
        return Err(refuse_with(
            ErrorClass::Denied,
            "no repository here takes the slots of this kit",
            "a kit that was made after the last change of the passphrase is needed",
        ));
    }
    if !yes && mended.iter().any(|repository| repository.lacking > 0) {
        say("nothing was changed; --yes writes what is lacking");
    }
    Ok(())
}

async fn mend(
    store: &Arc<dyn Store>,
    listing: &RepositoryListing,
    vault: &VaultKeyring,
    slots: &[Slot],
    yes: bool,
) -> Result<Mended> {
    let root: StorePath = listing.path.parse()?;
    let mut mended = Mended { repository: listing.path.clone(), lacking: 0, written: 0, why_not: None };
    let locked = Repository::<Locked>::at(store.clone(), root.clone()).map_err(failed)?;
    let open = match locked.open(Unlock::Vault(vault)).await {
        Ok(open) => open,
        // One of another installation, or damaged: the others are still to be mended.
        Err(error) if !error.class().is_retryable() => {
            mended.why_not = Some(Chain(&error).to_string());
            return Ok(mended);
        }
        Err(error) => return Err(failed(error)),
    };
    for slot in slots {
        match store.head(&root.join(&format!("slots/{}", slot.id()))?, None).await {
            Ok(_) => continue,
            Err(StoreError::NotFound { .. }) => mended.lacking += 1,
            Err(error) => return Err(failed(error)),
        }
        if !yes {
            continue;
        }
        match open.add_slot(slot).await {
            Ok(()) => mended.written += 1,
            // Its key is newer by now than the kit.
            Err(error) if !error.class().is_retryable() => mended.why_not = Some(Chain(&error).to_string()),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(mended)
}

fn print(mended: &Mended) -> String {
    let Mended { repository, lacking, written, why_not } = mended;
    let why_not = why_not.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
    format!("{repository}: {lacking} slots lacking, {written} written{why_not}")
}
