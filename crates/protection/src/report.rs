//! Reports: how the platform stands and what it did in a span of time, written into the cluster as a `Report`.
//!
//! Guarantees: what a report says was read from the catalog and the cluster; what could not be learnt is left out of it
//! and told by the action. A repeated attempt reports on the same span and writes the same object. Limits: actions are read
//! through from the first to the last, those of the history too.

mod compliance;
mod compose;
mod ends;
mod observe;
mod retain;

use jiff::{SignedDuration, Timestamp};
use keelson_model::names::{annotation, label};
use keelson_model::{Classified, ErrorClass};
use keelson_resources::actions::report::ReportActionSpec;
use keelson_resources::report::{ReportResults, ReportSpec};
use keelson_workload::{Creation, RequestError};
use serde_json::{Value, json};

use crate::actions::Finished;
use crate::engine::{Failure, Job};
use crate::kinds;
use crate::records::Record;
use crate::restore_points;

use compose::compose;
use observe::observe;
pub(crate) use retain::retain;

/// A report that was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    #[error("read what actions and restore points there are")]
    ReadCatalog { source: keelson_catalog::ReadError },
    #[error("list the namespaces of the cluster")]
    ListNamespaces { source: RequestError },
    #[error("collecting what is reported ended abnormally")]
    Collect { source: tokio::task::JoinError },
    #[error("write report '{name}'")]
    Write { name: String, source: RequestError },
    #[error("read report '{name}'")]
    Read { name: String, source: RequestError },
    #[error("report '{name}' exists already and is not of this action")]
    Taken { name: String },
    #[error("list the reports of policy '{policy}'")]
    List { policy: String, source: RequestError },
    #[error("remove report '{name}', which is not kept any longer")]
    Remove { name: String, source: RequestError },
}

impl Classified for ReportError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::ReadCatalog { source } => source.class(),
            Self::ListNamespaces { source }
            | Self::Write { source, .. }
            | Self::Read { source, .. }
            | Self::List { source, .. }
            | Self::Remove { source, .. } => source.class(),
            Self::Collect { .. } => ErrorClass::Bug,
            Self::Taken { .. } => ErrorClass::Invalid,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ReadCatalog { .. } => "reporting.read_catalog",
            Self::ListNamespaces { .. } => "reporting.list_namespaces",
            Self::Collect { .. } => "reporting.collect",
            Self::Write { .. } => "reporting.write",
            Self::Read { .. } => "reporting.read",
            Self::Taken { .. } => "reporting.taken",
            Self::List { .. } => "reporting.list",
            Self::Remove { .. } => "reporting.remove",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Write { source, .. } => source.hint(),
            _ => None,
        }
    }
}

/// What is looked at: from a moment on, up to the making of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    days: u32,
    hours: u32,
    begin: Timestamp,
    end: Timestamp,
}

impl Span {
    fn before(end: Timestamp, days: u32, hours: u32) -> Self {
        let length = SignedDuration::from_hours(i64::from(days) * 24 + i64::from(hours));
        let begin = end.saturating_sub(length).unwrap_or(Timestamp::MIN);
        Self { days, hours, begin, end }
    }

    /// What happened at the moment of one report is not told by the next again.
    fn contains(&self, at: Timestamp) -> bool {
        self.begin < at && at <= self.end
    }

    fn spec(&self) -> ReportSpec {
        let Self { days, hours, begin, end } = *self;
        ReportSpec {
            report_timestamp: end.into(),
            stats_interval_days: days,
            stats_interval_hours: hours,
            stats_interval_start_timestamp: begin.into(),
            stats_interval_end_timestamp: end.into(),
        }
    }
}

pub(crate) async fn execute(job: &Job) -> Result<Finished, Failure> {
    let asked: ReportActionSpec = job.action.spec()?;
    let end = job.plan(|| job.platform.clock.now()).await?;
    let span =
        Span::before(end, asked.stats_interval_days.unwrap_or(0), asked.stats_interval_hours.unwrap_or(0));
    let observing = async { job.unless_cancelled(observe(job, span)).await };
    let observed = job.phase("Collecting information", observing).await?;
    let results = compose(&observed);
    let writing = async { job.unless_cancelled(write(job, span, &results)).await };
    let name = job.phase("Writing Report", writing).await?;
    let mut finished = Finished { exceptions: observed.unknown, ..Finished::default() };
    let written = json!({ "name": name, "namespace": job.action.namespace });
    finished.status.insert("report".to_owned(), written);
    Ok(finished)
}

/// Writes the report, unless an earlier attempt has.
async fn write(job: &Job, span: Span, results: &ReportResults) -> Result<String, Failure> {
    let (cluster, kind) = (&job.platform.cluster, kinds::report());
    let name = restore_points::point_name(&job.action);
    let object = json!({
        "metadata": metadata(&job.action, &name),
        "spec": span.spec(),
        "results": results,
    });
    let created = cluster.create_object(&kind, &object).await;
    match created.map_err(|source| ReportError::Write { name: name.clone(), source })? {
        Creation::Created(_) => return Ok(name),
        Creation::Existed => {}
    }
    let there = cluster.read_object(&kind, Some(&job.action.namespace), &name).await;
    let there = there.map_err(|source| ReportError::Read { name: name.clone(), source })?;
    let by = |there: &Value| there["metadata"]["annotations"][annotation::REPORT_ACTION_UID].clone();
    match there.as_ref().map(by) {
        Some(by) if by == job.action.uid.as_str() => Ok(name),
        _ => Err(ReportError::Taken { name }.into()),
    }
}

fn metadata(action: &Record, name: &str) -> Value {
    let carried = label::OF_A_RUN.iter().filter_map(|label| action.labels.get_key_value(*label));
    let labels: serde_json::Map<_, _> = carried.map(|(label, value)| (label.clone(), json!(value))).collect();
    let mut annotations = json!({ (annotation::REPORT_ACTION_UID): action.uid });
    if let Some(at) = action.body.spec["scheduledTime"].as_str() {
        annotations[annotation::SCHEDULED_TIME] = json!(at);
    }
    json!({
        "name": name,
        "namespace": action.namespace,
        "labels": labels,
        "annotations": annotations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two reports that follow each other each moment is told by one.
    #[test]
    fn a_span_has_its_end_and_not_its_beginning() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let span = Span::before(at("2026-03-04T09:30:00Z"), 1, 12);
        assert_eq!(span.begin, at("2026-03-02T21:30:00Z"));
        for (moment, expected) in [
            ("2026-03-02T21:30:00Z", false),
            ("2026-03-02T21:30:01Z", true),
            ("2026-03-04T09:30:00Z", true),
            ("2026-03-04T09:30:01Z", false),
        ] {
            assert_eq!(span.contains(at(moment)), expected, "{moment}");
        }
        let spec = json!(span.spec());
        assert_eq!(spec["statsIntervalStartTimestamp"], "2026-03-02T21:30:00Z");
        assert_eq!((&spec["statsIntervalDays"], &spec["statsIntervalHours"]), (&json!(1), &json!(12)));
        assert!(Span::before(at("2026-03-04T09:30:00Z"), u32::MAX, u32::MAX).contains(Timestamp::UNIX_EPOCH));
    }
}
