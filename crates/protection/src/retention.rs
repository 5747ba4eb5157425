//! Retention after a run: reads what a policy made, lets `model` decide, asks for what goes to be retired.

use std::collections::BTreeMap;

use keelson_catalog::{Class, CommitError, Database, Query, ReadError};
use keelson_model::names::label;
use keelson_model::retention::{Origin, Point, Retention, RunResult, decide_retired};
use keelson_model::selector::LabelSelector;
use keelson_model::{Classified, ErrorClass};
use serde_json::json;

use crate::actions;
use crate::kinds;
use crate::ownership;
use crate::platform::{Platform, commit};
use crate::policies::Policy;
use crate::records::{Record, random_suffix};
use crate::requester::Requester;
use crate::restore_points::{self, ContentInternal};

const PAGE: usize = 500;

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
    let contents = contents_of(database, policy)?;
    for ((_, exported), points) in group(&contents) {
        let retention = policy.parsed.retention_of(exported);
        for index in decide(&points, &retention) {
            retire(platform, database, contents[index].clone()).await?;
        }
    }
    Ok(())
}

fn contents_of(database: &Database, policy: &Policy) -> Result<Vec<Record>, RetentionError> {
    let failed = |source| RetentionError::List { policy: policy.name.clone(), source };
    let selector =
        format!("{}={},{}={}", label::POLICY_NAME, policy.name, label::POLICY_NAMESPACE, policy.namespace);
    let mut query = Query::all(kinds::restore_point_contents(), PAGE);
    query.labels = LabelSelector::parse(&selector).expect("names of policies are label values");
    let mut contents = Vec::new();
    loop {
        let page = database.list(&query).map_err(failed)?;
        contents.extend(page.rows.iter().filter_map(|row| Record::parse(row).ok()));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(contents),
        }
    }
}

type Group = BTreeMap<(String, bool), Vec<(usize, Point<String>)>>;

/// Local and exported points of each application are kept by tiers of their own.
fn group(contents: &[Record]) -> Group {
    let mut groups = Group::new();
    for (index, content) in contents.iter().enumerate() {
        let Ok(internal) = content.internal::<ContentInternal>() else { continue };
        if restore_points::is_retiring(content) {
            continue;
        }
        let time = content.body.status["actionTime"].as_str().and_then(|text| text.parse().ok());
        let point = Point {
            id: content.name.clone(),
            time: time.unwrap_or(content.created),
            origin: if internal.manual { Origin::Manual } else { Origin::Schedule },
            result: RunResult::Succeeded,
            tiers: internal.tiers,
        };
        let exported = internal.artifact.exported.is_some();
        let key = (content.label(label::APP_NAMESPACE).to_owned(), exported);
        groups.entry(key).or_default().push((index, point));
    }
    groups
}

fn decide(points: &[(usize, Point<String>)], retention: &Retention) -> Vec<usize> {
    let plain: Vec<_> = points.iter().map(|(_, point)| point.clone()).collect();
    let retired = decide_retired(&plain, retention);
    points.iter().filter(|(_, point)| retired.contains(&point.id)).map(|(index, _)| *index).collect()
}

/// Makes the RetireAction of one content. One that is being retired already is left alone.
pub(crate) async fn retire(
    platform: &Platform,
    database: &Database,
    mut content: Record,
) -> Result<(), RetentionError> {
    let now = platform.clock.now();
    let name = format!("retire-{}-{}", content.name, random_suffix());
    let mut action = Record::new(kinds::retire_action(), "", &name, now, Class::Local);
    action.labels.clone_from(&content.labels);
    action.body.spec = json!({ "scheduledTime": now });
    restore_points::mark_retiring(&mut content, &name);
    let subject = json!({ "content": content.name, "uid": content.uid });
    let mut changes = actions::submit(action, &Requester::platform(), subject);
    changes.push(content.replace());
    match commit(database, "retention", changes).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(source) => Err(RetentionError::Submit { content: content.name, source }),
    }
}
