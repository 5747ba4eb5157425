//! What follows once an object is written.
//!
//! Order of effects, each of which may be the last before a crash:
//! 1. the object is created or replaced under our field manager, which marks it as unfinished;
//! 2. its status, when one was captured;
//! 3. its owners, when they came later than the object;
//! 4. the captured field managers, which removes the mark.
//!
//! The same restore, run again, finds the mark and goes on, whatever the rule for existing objects says. Another
//! restore has another mark: for it the object is like any that exists.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::failure::{ObjectError, Stop};
use super::owners::{Waiting, rewrite_managed_fields};
use super::prepare::Prepared;
use super::{Definition, Destination, RestoreRequest, Run, lock};
use crate::cluster::{RESTORE_MARK, named};
use crate::kinds::Kind;
use crate::layers::Layer;
use crate::names::push_query;
use crate::request::{Call, Content, RequestError, Verb};

/// A list that says so empties the field managers; an empty one says nothing.
pub(super) const NO_MANAGERS: &str = "[{}]";
/// A manager's name may have 128 characters.
const RUN_CHARS_MAX: usize = 100;
/// A patch meets a change of somebody else at most so often.
const PATCH_TRIES_MAX: u32 = 4;

impl RestoreRequest {
    /// Owner of the fields of an object that this restore has not finished.
    pub(super) fn mark(&self) -> String {
        let run: String = self.run.chars().take(RUN_CHARS_MAX).collect();
        format!("{RESTORE_MARK}-{run}")
    }
}

impl Run<'_> {
    /// Steps 2 to 4 for an object that was just written. `owners` is None if some are not there yet.
    pub(super) async fn finish(
        &self,
        kind: &Arc<Kind>,
        prepared: &Prepared,
        uid: String,
        owners: Option<Vec<Value>>,
    ) -> Result<(), Stop> {
        lock(&self.owners).record(&prepared.original_uid, &uid);
        if Layer::of(kind) == Layer::Definitions {
            lock(&self.tally).definitions.push(Definition::of(prepared));
        }
        let written = Destination {
            kind: kind.clone(),
            namespace: prepared.namespace.clone(),
            name: prepared.name.clone(),
            uid,
        };
        if let Some(status) = prepared.body.get("status")
            && let Err(source) = self.put_status(&written, status).await
        {
            lock(&self.tally).tell(written.reference(), &ObjectError::Status { source });
        }
        let fields = prepared.managed_fields.as_deref().map_or(NO_MANAGERS, RawValue::get);
        let Some(owners) = owners else {
            let kept = lock(&self.owners).wait(Waiting {
                object: written.clone(),
                owners: prepared.owners.clone(),
                managed_fields: prepared.managed_fields.clone(),
                marked_only: false,
            });
            if !kept {
                let fields = with_mark(fields, &self.request.mark(), &kind.api_version());
                self.put_managed_fields(&written, &fields).await;
            }
            return Ok(());
        };
        let fields = rewrite_managed_fields(fields, &prepared.owners, &owners);
        self.put_managed_fields(&written, &fields).await;
        Ok(())
    }

    /// Puts the captured field managers back. The patch changes nothing else, so that it leaves no trace of us.
    /// A failure is told; the object itself is there.
    pub(super) async fn put_managed_fields(&self, object: &Destination, fields: &str) {
        let patch = managed_fields_patch(&object.uid, fields);
        if let Err(source) = self.patch(object, patch).await {
            lock(&self.tally).tell(object.reference(), &ObjectError::FieldManagers { source });
        }
    }

    pub(super) async fn put_owners(
        &self,
        object: &Destination,
        owners: &[Value],
    ) -> Result<(), RequestError> {
        let patch = json!([
            {"op": "test", "path": "/metadata/uid", "value": object.uid},
            {"op": "add", "path": "/metadata/ownerReferences", "value": owners},
        ]);
        self.patch(object, patch.to_string()).await
    }

    /// By our own rights: it only completes what the requester was allowed to write.
    async fn patch(&self, object: &Destination, patch: String) -> Result<(), RequestError> {
        let target = object.reference();
        let url = object.kind.object_url(object.namespace.as_deref(), &object.name);
        let mut url = named(Verb::Patch, &target, url)?;
        push_query(&mut url, "fieldManager", &self.request.mark());
        let call = Call::new(Verb::Patch, &target, url).body(Content::JsonPatch, patch).answer_metadata();
        let mut tries = 1;
        loop {
            match self.cluster.wire().send(&call).await {
                Err(error) if error.is_status(409) && tries < PATCH_TRIES_MAX => tries += 1,
                answer => return answer.map(drop),
            }
        }
    }

    /// A kind without a status of its own took it with the object.
    async fn put_status(&self, object: &Destination, status: &Value) -> Result<(), RequestError> {
        let target = object.reference();
        let url = object.kind.object_url(object.namespace.as_deref(), &object.name);
        let mut url = named(Verb::Patch, &target, url)?;
        url.push_str("/status");
        push_query(&mut url, "fieldManager", &self.request.mark());
        let call = Call::new(Verb::Patch, &target, url)
            .body(Content::MergePatch, json!({ "status": status }).to_string())
            .on_behalf_of(self.reviews.impersonation());
        match self.cluster.wire().send(&call).await {
            Err(error) if !error.is_status(404) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// The field managers with a mark that stays until the owners are there.
fn with_mark(fields: &str, mark: &str, api_version: &str) -> String {
    let entry = json!({"manager": mark, "operation": "Update", "apiVersion": api_version,
        "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:ownerReferences": {}}}});
    match fields.trim_end().strip_suffix(']') {
        Some(open) if fields != NO_MANAGERS => format!("{open},{entry}]"),
        Some(_) | None => format!("[{entry}]"),
    }
}

/// Sets the field managers of the object of this uid, and nothing else.
pub(super) fn managed_fields_patch(uid: &str, fields: &str) -> String {
    let uid = Value::from(uid);
    format!(
        r#"[{{"op":"test","path":"/metadata/uid","value":{uid}}},{{"op":"add","path":"/metadata/managedFields","value":{fields}}}]"#
    )
}
