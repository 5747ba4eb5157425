//! `tools discover`: which platforms lie below a directory or in a bucket, when even the profile's path is forgotten.

use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use keelson_crypto::Passphrase;
use keelson_model::ErrorClass;
use keelson_protection::recovery::discover::{FoundChain, FoundCluster, discover, find_places};
use keelson_store::Store;
use keelson_store::decorators::Prefixed;

use super::Place;
use crate::dr::kit::UsedKit;
use crate::failure::{failed, refuse_with};
use crate::output::data;

#[derive(Debug, Args)]
pub(super) struct Discover {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    kit: UsedKit,
}

pub(super) async fn run(arguments: Discover) -> Result<()> {
    let Discover { place, kit } = arguments;
    let passphrases = passphrases(&place, &kit)?;
    let root = place.open().await?;
    let mut clusters = Vec::new();
    for path in find_places(&root).await.map_err(failed)? {
        let told = place.root()?.join_path(&path).map_or_else(|_| path.to_string(), |path| path.to_string());
        let store: Arc<dyn Store> =
            if path.is_root() { root.clone() } else { Arc::new(Prefixed::new(root.clone(), path)) };
        clusters.extend(discover(&store, &told, &passphrases).await.map_err(failed)?);
    }
    data(place.output, &clusters, |clusters| clusters.iter().map(print).collect::<Vec<_>>().join("\n"));
    if clusters.is_empty() {
        return Err(super::nothing_here());
    }
    let chains: Vec<&FoundChain> = clusters.iter().flat_map(|cluster| &cluster.chains).collect();
    if !passphrases.is_empty() && !chains.is_empty() && !chains.iter().any(|chain| chain.opens == Some(true))
    {
        return Err(refuse_with(
            ErrorClass::Denied,
            "none of the chains here opens with this passphrase",
            "give the passphrase of disaster recovery, or a kit",
        ));
    }
    Ok(())
}

fn passphrases(place: &Place, kit: &UsedKit) -> Result<Vec<Arc<Passphrase>>> {
    let mut passphrases: Vec<_> = place.passphrase()?.into_iter().collect();
    if let Some(kit) = kit.open()? {
        passphrases.extend(kit.passphrases().into_iter().map(Arc::new));
    }
    Ok(passphrases)
}

fn print(cluster: &FoundCluster) -> String {
    let path =
        if cluster.path.is_empty() { "no path".to_owned() } else { format!("path '{}'", cluster.path) };
    let mut lines = vec![format!("cluster {} ({path})", cluster.cluster)];
    for card in &cluster.cards {
        let fips = if card.fips { ", FIPS" } else { "" };
        let on = card.continued_by.as_ref().map(|cluster| format!(", continued by {cluster}"));
        let (version, made, on) = (&card.product_version, card.created, on.unwrap_or_default());
        lines.push(format!("  card        version {version}{fips}, made {made}{on}"));
    }
    for lineage in &cluster.lineages {
        lines.push(format!("  owner       lineage {}, epoch {}", lineage.lineage, lineage.newest_epoch));
    }
    for chain in &cluster.chains {
        lines.extend(print_chain(chain));
    }
    if !cluster.applications.is_empty() {
        lines.push(format!("  exports of  {}", cluster.applications.join(", ")));
    }
    lines.extend(cluster.notes.iter().map(|note| format!("  note        {note}")));
    lines.join("\n")
}

fn print_chain(chain: &FoundChain) -> Vec<String> {
    let written = chain.last_written.map(|at| format!(", last written {at}")).unwrap_or_default();
    let mut lines = vec![format!(
        "  chain       {}: {} slots, {} bases, {} segments, {} runs; {} objects, {} bytes{written}",
        chain.repository, chain.slots, chain.bases, chain.segments, chain.runs, chain.objects, chain.bytes
    )];
    lines.extend(chain.newest_name.iter().map(|newest| format!("    named     through {newest} at least")));
    match (&chain.opens, &chain.opened) {
        (Some(false), _) => lines.push("    opens     not with this passphrase".to_owned()),
        (_, Some(opened)) => {
            let (through, at) = (&opened.through, opened.committed_at);
            lines.push(format!("    opens     through {through} ({}), committed {at}", opened.mode));
            lines.extend(opened.warnings.iter().map(|warning| format!("    note      {warning}")));
        }
        (_, None) => {}
    }
    lines
}
