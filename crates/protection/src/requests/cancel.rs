//! Cancelling: a CancelAction is carried out when it is made, answered, and kept nowhere.

use keelson_catalog::{Change, Database, Expect, RowKey, RowKind, Stored};
use keelson_model::action::ActionState;
use keelson_resources::KindInfo;
use keelson_resources::actions::cancel::target_kind;
use serde_json::json;

use crate::actions;
use crate::audit::Outcome;
use crate::cancel::{self, CancelError, Found};
use crate::platform::Platform;
use crate::records::Record;
use crate::requests::{Asked, Effect, RequestError};

/// Cancels what the record names, and answers with the record.
pub(super) async fn cancel(
    platform: &Platform,
    database: &Database,
    asked: Asked<'_>,
    (own_kind, mut record): (&'static KindInfo, Record),
    effect: Effect,
) -> Result<Stored, RequestError> {
    let (kind, key) = target(&record)?;
    let found = match effect {
        Effect::DryRun => cancel::look(database, &key)?,
        Effect::Apply => {
            let deed = asked.deed("create", record.key());
            let found = cancel::cancel(platform, database, &key, asked.requester.name(), &deed).await?;
            if matches!(found, Found::Wanted) {
                let outcome = Outcome { code: 201, reason: "" };
                platform.trail.note(own_kind, deed, (outcome, platform.clock.now())).await;
            }
            found
        }
    };
    match found {
        Found::Unfinished | Found::Wanted => {}
        Found::Nothing => {
            return Err(RequestError::InvalidField {
                field: "spec.subject.name",
                message: match key.namespace.as_str() {
                    "" => format!("there is no {} '{}'", kind.kind, key.name),
                    namespace => {
                        format!("there is no {} '{}' in namespace '{namespace}'", kind.kind, key.name)
                    }
                },
            });
        }
        Found::Ended(state) => {
            return Err(RequestError::Conflict {
                message: format!(
                    "{} '{}' has ended already, {state}: it cannot be cancelled",
                    kind.kind, key.name
                ),
            });
        }
    }
    let now = platform.clock.now();
    actions::set_state(&mut record, ActionState::Complete);
    actions::set_status(&mut record, "progress", json!(100));
    actions::set_status(&mut record, "startTime", json!(now));
    actions::set_status(&mut record, "endTime", json!(now));
    actions::set_status(&mut record, "requester", json!(keelson_resources::Requester::from(asked.requester)));
    let Change::Put { row, .. } = record.put(Expect::Absent) else { unreachable!("a record is put") };
    Ok(Stored { row, revision: database.head().revision })
}

/// The row of the action that is meant. The check of the kind lets no other namespace through than the record's own.
fn target(record: &Record) -> Result<(&'static KindInfo, RowKey), RequestError> {
    let subject = &record.body.spec["subject"];
    let kind = subject["kind"].as_str().unwrap_or_default();
    let kind = target_kind(kind).ok_or_else(|| RequestError::InvalidField {
        field: "spec.subject.kind",
        message: format!("'{kind}' cannot be cancelled"),
    })?;
    let namespace = if kind.is_namespaced() { record.namespace.as_str() } else { "" };
    let name = subject["name"].as_str().unwrap_or_default();
    Ok((kind, RowKey::new(RowKind::new(kind.row_kind()), namespace, name)))
}

impl From<CancelError> for RequestError {
    fn from(error: CancelError) -> Self {
        match error {
            CancelError::Read { source } => source.into(),
            CancelError::Commit { source } => Self::Commit { source },
        }
    }
}
