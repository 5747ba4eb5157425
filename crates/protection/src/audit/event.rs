//! One event of the trail, in the form of Kubernetes' own: `Event` of `audit.k8s.io/v1`, of the level that tells of no body.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keelson_catalog::{EventKind, JournalEntry, RowKey, RowKind};
use keelson_crypto::Sha256;
use keelson_model::Revision;
use keelson_model::names::annotation;
use keelson_resources::{KINDS, KindInfo};
use serde::Serialize;

use super::deed::Deed;
use crate::records;
use crate::requester::{self, Requester};

/// What scripts that know the platform look for in a line.
const MARK: &str = "K10Event";

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    kind: &'static str,
    api_version: &'static str,
    level: &'static str,
    #[serde(rename = "auditID")]
    pub audit_id: String,
    stage: &'static str,
    #[serde(rename = "requestURI")]
    request_uri: String,
    pub verb: String,
    user: User,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<ObjectRef>,
    response_status: ResponseStatus,
    request_received_timestamp: String,
    stage_timestamp: String,
    annotations: BTreeMap<&'static str, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct User {
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<String, Vec<String>>,
}

impl From<Requester> for User {
    fn from(by: Requester) -> Self {
        let requester::User { name, uid, groups, extra } = by.to_user();
        Self { username: name, uid, groups, extra }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef {
    resource: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    api_group: &'static str,
    api_version: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct ResponseStatus {
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: String,
    code: u16,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome<'a> {
    pub code: u16,
    /// Of a refusal, in one word. What it was refused for may quote the request, and is in no event.
    pub reason: &'a str,
}

/// Where an event stands in a journal: exactly one is behind another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub revision: Revision,
    /// Of the events of one entry.
    pub number: usize,
    pub of: usize,
}

impl Place {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (revision, rest) = text.split_once(' ')?;
        let (number, of) = rest.split_once('/')?;
        Some(Self { revision: revision.parse().ok()?, number: number.parse().ok()?, of: of.parse().ok()? })
    }

    pub(super) fn text(self) -> String {
        format!("{} {}/{}", self.revision, self.number, self.of)
    }
}

/// All events of an entry: one of what a client asked for, or one of each object that the platform has changed.
pub(super) fn of_entry(entry: &JournalEntry) -> Vec<Event> {
    let mut events = match Deed::parse(&entry.actor) {
        Some(deed) => {
            let code = if deed.verb == "create" { 201 } else { 200 };
            let outcome = Outcome { code, reason: "" };
            let kind = find(&deed.kind);
            kind.map(|kind| of_deed(deed, kind, (outcome, entry.at))).into_iter().collect()
        }
        None => of_changes(entry),
    };
    let of = events.len();
    for (index, event) in events.iter_mut().enumerate() {
        let place = Place { revision: entry.revision, number: index + 1, of };
        event.annotations.insert(annotation::AUDIT_PLACE, place.text());
        if event.audit_id.is_empty() {
            event.audit_id = name_event(&entry.chain, index);
        }
    }
    events
}

/// What a client asked for.
pub(super) fn of_deed(deed: Deed, kind: &'static KindInfo, (outcome, at): (Outcome<'_>, Timestamp)) -> Event {
    let Deed { requester, verb, kind: row_kind, namespace, name, id, omitted } = deed;
    let key = RowKey::new(RowKind::new(row_kind), namespace, name);
    let mut event = event(requester.into(), &verb, Some((kind, &key)), (outcome, at));
    event.audit_id = id;
    if omitted > 0 {
        event.annotations.insert(annotation::AUDIT_GROUPS_OMITTED, omitted.to_string());
    }
    event
}

/// What nobody is served is nobody's object.
fn of_changes(entry: &JournalEntry) -> Vec<Event> {
    let of_one = |(change, key): &(EventKind, RowKey)| {
        let (verb, code) = match change {
            EventKind::Added => ("create", 201),
            EventKind::Modified => ("update", 200),
            EventKind::Deleted => ("delete", 200),
        };
        let outcome = Outcome { code, reason: "" };
        let platform = Requester::Platform.into();
        let mut event = event(platform, verb, Some((find(key.kind.as_str())?, key)), (outcome, entry.at));
        event.annotations.insert(annotation::AUDIT_PART, entry.actor.to_string());
        Some(event)
    };
    entry.changes.iter().filter_map(of_one).collect()
}

fn find(row_kind: &str) -> Option<&'static KindInfo> {
    KINDS.iter().find(|kind| kind.row_kind() == row_kind)
}

/// The same whenever the entry is read.
fn name_event(chain: &[u8; 32], index: usize) -> String {
    let digest = Sha256::of(&[chain.as_slice(), &index.to_le_bytes()].concat());
    let bytes = digest.as_bytes().first_chunk().copied().expect("a digest is longer than a uid");
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

/// Entries that were cut off before they were told.
pub(super) fn of_loss(what: String, through: Revision, at: Timestamp) -> Event {
    let outcome = Outcome { code: 500, reason: "Lost" };
    let mut event = event(Requester::Platform.into(), "lose", None, (outcome, at));
    event.audit_id = records::new_uid();
    event.annotations.insert(annotation::AUDIT_LOST, what);
    event.annotations.insert(annotation::AUDIT_PLACE, Place { revision: through, number: 1, of: 1 }.text());
    event
}

fn event(
    user: User,
    verb: &str,
    object: Option<(&'static KindInfo, &RowKey)>,
    (outcome, at): (Outcome<'_>, Timestamp),
) -> Event {
    let at = format!("{at:.6}");
    Event {
        kind: "Event",
        api_version: "audit.k8s.io/v1",
        level: "Metadata",
        audit_id: String::new(),
        stage: "ResponseComplete",
        request_uri: object.map(|(kind, key)| uri(kind, key)).unwrap_or_default(),
        verb: verb.to_owned(),
        user,
        object_ref: object.map(|(kind, key)| ObjectRef {
            resource: kind.plural,
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            api_group: kind.group,
            api_version: kind.version,
        }),
        response_status: ResponseStatus {
            metadata: BTreeMap::new(),
            status: (outcome.code >= 400).then_some("Failure"),
            reason: outcome.reason.to_owned(),
            code: outcome.code,
        },
        request_received_timestamp: at.clone(),
        stage_timestamp: at,
        annotations: [(annotation::AUDIT_EVENT, MARK.to_owned())].into(),
    }
}

fn uri(kind: &KindInfo, key: &RowKey) -> String {
    let mut uri = format!("/apis/{}/{}", kind.group, kind.version);
    if !key.namespace.is_empty() {
        uri.push_str(&format!("/namespaces/{}", key.namespace));
    }
    uri.push_str(&format!("/{}", kind.plural));
    if !key.name.is_empty() {
        uri.push_str(&format!("/{}", key.name));
    }
    uri
}

impl Event {
    /// One line.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("strings and numbers are JSON");
        line.push(b'\n');
        line
    }
}
