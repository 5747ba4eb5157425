//! Owner references: the uids of a restored owner are new, and so must be the references to it.
//!
//! A reference to a uid that does not exist makes the garbage collector delete the dependent. So an object whose
//! owner has not come back yet is created without its owners, and gets them when all layers are done.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use serde_json::value::RawValue;

use super::failure::ObjectError;
use super::finish::NO_MANAGERS;
use super::{Destination, OBJECTS_AT_ONCE, RestoreError, Run, lock};
use crate::capture::without_marks;
use crate::kinds::split_api_version;
use crate::request::RequestError;

/// Field managers kept in memory for objects that wait for their owners; what is beyond is written at once.
const WAITING_BYTES_MAX: usize = 32 << 20;

#[derive(Default)]
pub(super) struct Owners {
    /// From the uid at capture to the uid now.
    uids: HashMap<String, String>,
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
}

/// An object that was created without its owners.
pub(super) struct Waiting {
    pub(super) object: Destination,
    /// As captured.
    pub(super) owners: Vec<Value>,
    pub(super) managed_fields: Option<Box<RawValue>>,
    /// Its field managers are there already, and the mark beside them.
    pub(super) marked_only: bool,
}

impl Owners {
    pub(super) fn record(&mut self, original: &str, now: &str) {
        if !original.is_empty() && !now.is_empty() {
            self.uids.insert(original.to_owned(), now.to_owned());
        }
    }

    /// The references with today's uids; None if an owner is not there yet.
    pub(super) fn resolve(&self, owners: &[Value]) -> Option<Vec<Value>> {
        owners.iter().map(|owner| Some(with_uid(owner, self.uids.get(uid_of(owner))?))).collect()
    }

    /// Remembers the object. False if its field managers found no room and must be written now.
    pub(super) fn wait(&mut self, mut object: Waiting) -> bool {
        let bytes = object.managed_fields.as_ref().map_or(0, |fields| fields.get().len());
        let kept = self.waiting_bytes + bytes <= WAITING_BYTES_MAX;
        if kept {
            self.waiting_bytes += bytes;
        } else {
            object.managed_fields = None;
            object.marked_only = true;
        }
        self.waiting.push(object);
        kept
    }

    fn missing(&self) -> HashMap<String, Value> {
        let owners = self.waiting.iter().flat_map(|object| &object.owners);
        let missing = owners.filter(|owner| !self.uids.contains_key(uid_of(owner)));
        missing.map(|owner| (uid_of(owner).to_owned(), owner.clone())).collect()
    }
}

fn uid_of(owner: &Value) -> &str {
    owner["uid"].as_str().unwrap_or_default()
}

fn with_uid(owner: &Value, uid: &str) -> Value {
    let mut owner = owner.clone();
    owner["uid"] = uid.into();
    owner
}

/// Puts today's uids of the owners into the field managers, which name list entries by them.
pub(super) fn rewrite_managed_fields(fields: &str, captured: &[Value], now: &[Value]) -> String {
    let mut text = fields.to_owned();
    for (captured, now) in captured.iter().zip(now) {
        // Anything shorter than a uid could be part of any word.
        if uid_of(captured).len() == 36 {
            text = text.replace(uid_of(captured), uid_of(now));
        }
    }
    text
}

impl Run<'_> {
    /// Gives every waiting object its owners. An owner that was not restored is looked up by name; one that is
    /// nowhere is dropped from the object and told.
    pub(super) async fn settle_owners(&self) -> Result<(), RestoreError> {
        let missing = lock(&self.owners).missing();
        for (original, owner) in missing {
            match self.find_owner(&owner).await {
                Ok(Some(uid)) => lock(&self.owners).record(&original, &uid),
                Ok(None) => {}
                Err(error) if error.refusal().is_some() => {}
                Err(source) => return Err(RestoreError::Unreachable { source }),
            }
        }
        let waiting = std::mem::take(&mut lock(&self.owners).waiting);
        stream::iter(waiting)
            .map(|object| self.settle(object))
            .buffer_unordered(OBJECTS_AT_ONCE)
            .try_collect::<()>()
            .await
    }

    async fn find_owner(&self, owner: &Value) -> Result<Option<String>, RequestError> {
        let live = self.read_owner(owner).await?;
        let alive = live.filter(|live| live["metadata"]["deletionTimestamp"].is_null());
        Ok(alive.and_then(|live| live["metadata"]["uid"].as_str().map(str::to_owned)))
    }

    /// The field managers that were written at once, without the mark beside them.
    async fn read_managed_fields(&self, object: &Destination) -> String {
        let namespace = object.namespace.as_deref();
        let live = self.cluster.read_object(&object.kind, namespace, &object.name).await;
        let fields = live.ok().flatten().map(|mut live| live["metadata"]["managedFields"].take());
        fields.and_then(without_marks).map_or_else(|| NO_MANAGERS.to_owned(), |fields| fields.to_string())
    }

    async fn settle(&self, waiting: Waiting) -> Result<(), RestoreError> {
        let Waiting { object, owners, managed_fields, marked_only } = waiting;
        let (mut captured, mut now) = (Vec::new(), Vec::new());
        for owner in owners {
            match lock(&self.owners).resolve(std::slice::from_ref(&owner)) {
                Some(resolved) => {
                    captured.push(owner);
                    now.extend(resolved);
                }
                None => lock(&self.tally).drop_owner(object.reference(), describe(&owner)),
            }
        }
        if !now.is_empty()
            && let Err(source) = self.put_owners(&object, &now).await
        {
            lock(&self.tally).tell(object.reference(), &ObjectError::OwnerReferences { source });
        }
        let fields = match managed_fields {
            None if marked_only => self.read_managed_fields(&object).await,
            fields => fields.map_or_else(|| NO_MANAGERS.to_owned(), |fields| fields.get().to_owned()),
        };
        let fields = rewrite_managed_fields(&fields, &captured, &now);
        self.put_managed_fields(&object, &fields).await;
        Ok(())
    }
}

fn describe(owner: &Value) -> String {
    let text = |key: &str| owner[key].as_str().unwrap_or_default();
    let (group, _) = split_api_version(text("apiVersion"));
    let dot = if group.is_empty() { "" } else { "." };
    format!("{}{dot}{group} '{}'", text("kind"), text("name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owner(name: &str, uid: &str) -> Value {
        json!({"apiVersion": "shop.example.com/v1", "kind": "Shop", "name": name, "uid": uid})
    }

    #[test]
    fn references_get_todays_uids_only_when_all_owners_are_there() {
        let mut owners = Owners::default();
        owners.record("old-a", "new-a");
        let both = [owner("a", "old-a"), owner("b", "old-b")];
        assert_eq!(owners.resolve(&both), None);
        owners.record("old-b", "new-b");
        assert_eq!(owners.resolve(&both), Some(vec![owner("a", "new-a"), owner("b", "new-b")]));
        assert_eq!(owners.resolve(&[]), Some(vec![]));
    }

    #[test]
    fn field_managers_follow_the_new_uid_and_a_forged_uid_changes_nothing() {
        let old = "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa";
        let new = "11111111-6a0b-4f6e-9d2f-2f6f1f7a90aa";
        let text = format!(r#"[{{"f:ownerReferences":{{"k:{{\"uid\":\"{old}\"}}":{{}}}}}}]"#);
        let rewritten = rewrite_managed_fields(&text, &[owner("a", old)], &[owner("a", new)]);
        assert_eq!(rewritten, text.replace(old, new));
        assert_eq!(rewrite_managed_fields(&text, &[owner("a", "f")], &[owner("a", new)]), text);
    }
}
