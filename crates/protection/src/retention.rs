//! Retention after a run: reads what a policy made, lets `model` decide, asks for what goes to be retired.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use keelson_catalog::{CommitError, Database, Query, ReadError, RowKey};
use keelson_model::names::label;
use keelson_model::retention::{Origin, Point, RunResult, decide_retired};
use keelson_model::{Classified, ErrorClass};

use crate::engine::read;
use crate::kinds;
use crate::ownership;
use crate::platform::{Platform, commit};
use crate::policies::{self, Policy};
use crate::records::Record;
use crate::requester::Requester;
use crate::restore_points::{self, ContentInternal, Retiring};

/// A content that could not be retired is tried again after so long.
const RETIRED_AGAIN_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// Retention could not be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RetentionError {
    #[error("list what policy '{policy}' made")]
    List { policy: String, source: ReadError },
    #[error("ask for '{content}' to be retired")]
    Submit { content: String, source: CommitError },
}

impl Classified for RetentionError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::List { source, .. } => source.class(),
            Self::Submit { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::List { .. } => "retention.list",
            Self::Submit { .. } => "retention.submit",
        }
    }
}

/// Retires what the policy's retention lets go. Waits while this instance owns nothing.
pub(crate) async fn apply(
    platform: &Platform,
    database: &Database,
    policy: &Policy,
) -> Result<(), RetentionError> {
    if let Some(reason) = ownership::forbids_maintenance(platform) {
        tracing::info!(policy = policy.name, reason, "retention waits");
        return Ok(());
    }
    for ((_, exported), points) in points_of(database, policy)? {
        let retention = policy.parsed.retention_of(exported);
        for name in decide_retired(&points, &retention) {
            retire(platform, database, &name).await?;
        }
    }
    Ok(())
}

/// By application, local and exported points apart: each kind is kept by tiers of its own.
type Groups = BTreeMap<(String, bool), Vec<Point<String>>>;

/// What the policy made, a few words of each content: the contents themselves are not kept.
fn points_of(database: &Database, policy: &Policy) -> Result<Groups, RetentionError> {
    let failed = |source| RetentionError::List { policy: policy.name.clone(), source };
    let labels = policies::made_by(&policy.namespace, &policy.name);
    let mut groups = Groups::new();
    for stored in database.rows(Query { labels, ..Query::of(kinds::restore_point_contents()) }) {
        let Ok(content) = Record::parse(&stored.map_err(failed)?) else { continue };
        let Ok(internal) = content.internal::<ContentInternal>() else { continue };
        if restore_points::retiring(database, &content).map_or(true, |state| state == Retiring::Underway) {
            continue;
        }
        let time = content.body.status["actionTime"].as_str().and_then(|text| text.parse().ok());
        let key = (content.label(label::APP_NAMESPACE).to_owned(), internal.artifact.exported.is_some());
        groups.entry(key).or_default().push(Point {
            time: time.unwrap_or(content.created),
            id: content.name,
            origin: if internal.manual { Origin::Manual } else { Origin::Schedule },
            result: RunResult::Succeeded,
            tiers: internal.tiers,
        });
    }
    Ok(groups)
}

/// Makes the RetireAction of one content. One that is being retired, or could not be a moment ago, is left alone. One in
/// a place that this instance does not own, or has taken over a moment ago, or whose clock is not ours, waits.
pub(crate) async fn retire(
    platform: &Platform,
    database: &Database,
    content: &str,
) -> Result<(), RetentionError> {
    let key = RowKey::new(kinds::restore_point_contents(), "", content);
    let Ok(Some(mut content)) = read(database, &key) else { return Ok(()) };
    match restore_points::retiring(database, &content) {
        Ok(Retiring::No) => {}
        Ok(Retiring::Kept { at }) if is_tried_again(at, platform.clock.now()) => {}
        Ok(_) | Err(_) => return Ok(()),
    }
    let exported = content.internal::<ContentInternal>().ok().and_then(|internal| internal.artifact.exported);
    let forbidden = exported.as_ref().and_then(|exported| ownership::forbids_removal(platform, exported));
    let reason = match forbidden {
        Some(reason) => Some(reason),
        None => ownership::keep_expired(platform, exported.as_ref()).await,
    };
    if let Some(reason) = reason {
        tracing::debug!(content = content.name, reason, "retiring waits");
        return Ok(());
    }
    let now = platform.clock.now();
    let changes = restore_points::retirement(&mut content, &Requester::Platform, now);
    tracing::info!(content = content.name, "retiring what is not kept any longer");
    match commit(database, "retention", changes).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(source) => Err(RetentionError::Submit { content: content.name, source }),
    }
}

/// Of one that could not be retired at a moment. A clock that was ahead at that moment holds up nothing.
fn is_tried_again(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at).abs() >= RETIRED_AGAIN_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_retired_is_tried_again_an_hour_later_and_after_a_clock_that_was_ahead() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let kept = at("2026-03-04T09:30:00Z");
        for (now, again) in [
            ("2026-03-04T10:29:59Z", false),
            ("2026-03-04T10:30:00Z", true),
            ("2026-03-04T09:00:00Z", false),
            ("2024-03-04T09:30:00Z", true),
        ] {
            assert_eq!(is_tried_again(kept, at(now)), again, "{now}");
        }
    }
}
