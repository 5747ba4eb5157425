//! `tools repair`: mends a location. `undelete` takes delete markers and later versions away, so that everybody sees the objects again that
//! the platform has seen all along.

mod slots;

use anyhow::Result;
use clap::{Args, Subcommand};
use keelson_store::StorePath;
use keelson_store::undelete::{Undelete, UndeleteReport, undelete};

use super::Place;
use crate::failure::failed;
use crate::output::{data, say};

#[derive(Debug, Subcommand)]
pub(super) enum Repair {
    /// Take away what lies over the objects of a location: delete markers and later versions. Looks only, unless
    /// --yes is given.
    #[command(after_help = "Examples:\n  \
        keelson tools repair undelete --bucket vault --endpoint https://s3.example.com\n  \
        keelson tools repair undelete --bucket vault --endpoint https://s3.example.com --yes")]
    Undelete(UndeleteArguments),
    /// Put back the passphrase slots that a recovery kit holds and a location lacks. Looks only, unless --yes is given.
    #[command(after_help = "Example:\n  \
        keelson tools repair slots --directory /mnt/share --kit ./kit --kit-passphrase-file ./kit-passphrase --yes")]
    Slots(slots::SlotsArguments),
}

#[derive(Debug, Args)]
pub(super) struct UndeleteArguments {
    #[command(flatten)]
    place: Place,
    /// Do it.
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(repair: Repair) -> Result<()> {
    match repair {
        Repair::Undelete(arguments) => take_away(arguments).await,
        Repair::Slots(arguments) => slots::run(arguments).await,
    }
}

async fn take_away(arguments: UndeleteArguments) -> Result<()> {
    let UndeleteArguments { place, yes } = arguments;
    let store = place.open().await?;
    let mode = if yes { Undelete::Execute } else { Undelete::DryRun };
    let clusters: StorePath = "k10".parse()?;
    let report = undelete(&*store, &clusters, mode).await.map_err(failed)?;
    data(place.output, &report, print);
    if !yes && report.altered > 0 {
        say("nothing was changed; --yes takes away what is listed");
    }
    if report.locked > 0 {
        say("somebody has locked versions over these objects; they go when their locks have ended");
    }
    Ok(())
}

fn print(report: &UndeleteReport) -> String {
    let UndeleteReport { objects, altered, markers, later_versions, removed, locked, named } = report;
    let mut lines = vec![
        format!("objects         {objects}"),
        format!("hidden          {altered}"),
        format!("delete markers  {markers}"),
        format!("later versions  {later_versions}"),
        format!("removed         {removed}"),
        format!("locked          {locked}"),
    ];
    lines.extend(named.iter().map(|path| format!("  {path}")));
    let unnamed = altered.saturating_sub(named.len() as u64);
    if unnamed > 0 {
        lines.push(format!("  and {unnamed} more"));
    }
    lines.join("\n")
}
