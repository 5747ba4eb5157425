//! `dr status`: what the platform says of itself.

use anyhow::Result;
use jiff::SignedDuration;
use keelson_model::names::{CONFIRM_CONFIG_MAP, REPORTS_CONFIG_MAP, STATUS_CONFIG_MAP};
use keelson_model::{Clock, ErrorClass};
use keelson_protection::maintenance::PassReport;
use keelson_protection::recovery::drill::DrillReport;
use keelson_protection::status::{ForeseenStatus, InstanceStatus, STALE_AFTER, STATUS_KEY};
use keelson_workload::NamespacedName;

use crate::arguments::Common;
use crate::clock::SystemClock;
use crate::failure::{failed, refuse_with};
use crate::output::{Format, data};

pub(super) async fn status(common: Common) -> Result<()> {
    let cluster = common.cluster().await?;
    let at = NamespacedName::new(&common.namespace, STATUS_CONFIG_MAP);
    let map = cluster.read_config_map(&at).await.map_err(failed)?;
    let text = map.and_then(|map| map.data.get(STATUS_KEY).cloned());
    let status: Option<InstanceStatus> = text.and_then(|text| serde_json::from_str(&text).ok());
    let Some(status) = status else {
        return Err(refuse_with(
            ErrorClass::NotFound,
            format!("no platform has reported its status in namespace '{}'", common.namespace),
            "is keelson serve running there?",
        ));
    };
    data(common.output, &status, print);
    let age = SystemClock.now().duration_since(status.written_at);
    if age > SignedDuration::try_from(STALE_AFTER).unwrap_or(SignedDuration::MAX) {
        return Err(refuse_with(
            ErrorClass::Unavailable { retry_after: None },
            format!("this is what the platform reported {} s ago, and nothing since", age.as_secs()),
            "is keelson serve running?",
        ));
    }
    Ok(())
}

/// As it is: a changed byte would break its signature.
pub(super) async fn drill_report(common: Common) -> Result<()> {
    let cluster = common.cluster().await?;
    let at = NamespacedName::new(&common.namespace, REPORTS_CONFIG_MAP);
    let map = cluster.read_config_map(&at).await.map_err(failed)?;
    // Their names order as time does.
    let report = map.and_then(|map| map.data.into_values().next_back()).ok_or_else(|| {
        let hint = "the first drill is an hour after disaster recovery was enabled";
        refuse_with(ErrorClass::NotFound, "there is no report of a drill yet", hint)
    })?;
    data(Format::Text, &report, Clone::clone);
    Ok(())
}

fn print_drill(drill: &DrillReport) -> String {
    let went = if drill.is_green() { "went well" } else { "FAILED" };
    format!(
        "drill        {went} at {} in {} s: {} restore points in {} repositories",
        drill.at, drill.seconds, drill.restore_points, drill.repositories
    )
}

fn print(status: &InstanceStatus) -> String {
    let mut lines = vec![format!("cluster ID   {}", status.cluster_id)];
    match (&status.catalog, &status.problem) {
        (Some(catalog), _) => {
            lines.push(format!("catalog      at {}.{}", catalog.generation, catalog.sequence))
        }
        (None, problem) => {
            lines.push(format!("catalog      away: {}", problem.as_deref().unwrap_or("?")));
            lines.push("             what is shipped brings it back: keelson dr restore --help".to_owned());
        }
    }
    match &status.disaster_recovery {
        None => lines.push("protection   disaster recovery is not enabled".to_owned()),
        Some(dr) => {
            lines.push(format!(
                "protection   to profile '{}', mode {}, repository {}",
                dr.profile, dr.mode, dr.repository
            ));
            lines.push(match &dr.shipped {
                Some(shipped) => {
                    format!(
                        "shipped      through {} (epoch {}), {} entries behind",
                        shipped.through, shipped.epoch, shipped.behind
                    )
                }
                None => "shipped      not yet known".to_owned(),
            });
            lines.extend(dr.drill.as_ref().map(print_drill));
            lines.extend(dr.alarms.iter().map(|alarm| format!("alarm        {alarm}")));
        }
    }
    for export in &status.exports_at_risk {
        lines.push(format!(
            "at risk      the exports of '{}' to '{}' die with this cluster: no passphrase opens them yet",
            export.application, export.profile
        ));
    }
    for taken in &status.taken_apis {
        lines.push(format!("not served   {} leads to {}", taken.name, taken.by));
    }
    for passkey in &status.passkeys.invalid {
        lines.push(format!("no passkey   '{}' does not open the volume: {}", passkey.name, passkey.why));
    }
    let source = status.ownership.source.as_ref().map(|source| format!(" of {source}")).unwrap_or_default();
    lines.push(format!("ownership    {}{source}", status.ownership.state));
    for claim in &status.ownership.claims {
        let keeps = claim.keeps_all_until.map(|until| format!("; nothing is removed before {until}"));
        lines.push(format!(
            "  claim      epoch {} of {} in '{}'{}",
            claim.epoch,
            claim.cluster,
            claim.profile,
            keeps.unwrap_or_default()
        ));
        lines.extend(claim.foreseen.iter().flat_map(print_foreseen));
    }
    for unowned in &status.ownership.unowned {
        lines.push(format!("  unowned    {} in '{}': {}", unowned.cluster, unowned.profile, unowned.why));
    }
    for why in &status.ownership.waits {
        lines.push(format!("  waits      {why}"));
    }
    lines.extend(status.report_key.iter().map(|key| format!("report key   {key}")));
    if let Some(pass) = &status.maintenance {
        lines.push(print_pass(pass));
        lines.extend(pass.refused.iter().map(|why| format!("  not here   {why}")));
        lines.extend(pass.failures.iter().map(|why| format!("  failed     {why}")));
    }
    lines.join("\n")
}

fn print_foreseen(foreseen: &ForeseenStatus) -> [String; 2] {
    let ForeseenStatus { at, retired, packs, bytes, expired } = foreseen;
    [
        format!(
            "    then     {retired} retired restore points with up to {packs} packs and {bytes} bytes are freed, and \
             {expired} that have expired are retired (as of {at})"
        ),
        format!("    sooner   kubectl create configmap {CONFIRM_CONFIG_MAP} --namespace <install namespace>"),
    ]
}

fn print_pass(pass: &PassReport) -> String {
    let locks = match pass.locks_lengthened {
        0 => String::new(),
        count => format!(", locks of {count} restore points lengthened"),
    };
    format!(
        "maintenance  at {}: {} restore points and {} bytes freed in {} repositories{locks}",
        pass.at, pass.restore_points_removed, pass.bytes_freed, pass.repositories
    )
}
