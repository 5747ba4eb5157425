//! Removes the reports that their policy keeps no longer. Only those of scheduled runs are counted and removed.

use jiff::Timestamp;
use keelson_model::names::annotation;
use keelson_model::retention::{Origin, Point, Retention, RunResult, Tier, Tiers, decide_retired};
use serde_json::Value;

use super::ReportError;
use crate::kinds;
use crate::platform::Platform;
use crate::policies::{self, Policy};

/// A policy on demand has no scheduled reports.
pub(crate) async fn retain(platform: &Platform, policy: &Policy) -> Result<(), ReportError> {
    let Some(tier) = policy.parsed.frequency.tier() else { return Ok(()) };
    let (cluster, kind) = (&platform.cluster, kinds::report());
    let namespace = Some(platform.settings.install_namespace.as_str());
    let selector = policies::made_by(&policy.namespace, &policy.name).to_string();
    let listed = cluster.list_objects(&kind, namespace, Some(&selector)).await;
    let listed = listed.map_err(|source| ReportError::List { policy: policy.name.clone(), source })?;
    for name in decide_removed(&listed, tier, &policy.parsed.retention) {
        tracing::info!(report = name, "removing a report that is not kept any longer");
        let removed = cluster.delete_object(&kind, namespace, &name).await;
        removed.map_err(|source| ReportError::Remove { name: name.clone(), source })?;
    }
    Ok(())
}

/// Pure: the names of those that go.
fn decide_removed(reports: &[Value], tier: Tier, retention: &Retention) -> Vec<String> {
    let point = |report: &Value| {
        let metadata = &report["metadata"];
        let scheduled = metadata["annotations"][annotation::SCHEDULED_TIME].as_str();
        let time: Timestamp = scheduled?.parse().ok()?;
        Some(Point {
            id: metadata["name"].as_str()?.to_owned(),
            time,
            origin: Origin::Schedule,
            result: RunResult::Succeeded,
            tiers: Tiers::NONE.with(tier),
        })
    };
    decide_retired(&reports.iter().filter_map(point).collect::<Vec<_>>(), retention)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_oldest_scheduled_reports_go_and_those_by_hand_stay() {
        let scheduled = |day: u32| {
            let at = format!("2026-03-{day:02}T00:00:00Z");
            json!({ "metadata": { "name": format!("day-{day}"), "annotations": { (annotation::SCHEDULED_TIME): at } } })
        };
        let by_hand = json!({ "metadata": { "name": "by-hand", "annotations": {} } });
        let odd =
            json!({ "metadata": { "name": "odd", "annotations": { (annotation::SCHEDULED_TIME): "soon" } } });
        let reports = [scheduled(3), by_hand, scheduled(1), odd, scheduled(4), scheduled(2)];
        let keep = |daily| Retention { daily, ..Retention::default() };
        assert_eq!(decide_removed(&reports, Tier::Daily, &keep(2)), ["day-1", "day-2"]);
        assert_eq!(decide_removed(&reports, Tier::Daily, &keep(4)), [""; 0]);
    }
}
