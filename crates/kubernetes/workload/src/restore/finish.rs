//! What follows once an object is written.
//!
//! Order of effects, each of which may be the last before a crash:
//! 1. the object is created or replaced under our field manager, which marks it as unfinished;
//! 2. its status, when one was captured;
//! 3. its owners, when they came later than the object;
//! 4. the captured field managers, which removes the mark.
//!
//! A later run finds the mark and goes on, whatever the rule for existing objects says.

use std::sync::Arc;

use serde_json::{Value, json};

use super::failure::{ObjectError, Stop};
use super::owners::{Waiting, rewrite_managed_fields};
use super::prepare::Prepared;
use super::{Definition, Destination, Run, lock};
use crate::cluster::named;
use crate::kinds::Kind;
use crate::layers::Layer;
use crate::names::push_query;
use crate::request::{Call, Content, RequestError, Verb};

/// Owner of the fields of an object that is not finished yet.
pub(super) const RESTORE_MANAGER: &str = "keelson-restore";
/// A patch meets a change of somebody else at most so often.
const PATCH_TRIES_MAX: u32 = 4;

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
        let fields = prepared.managed_fields.as_deref();
        let Some(owners) = owners else {
            let kept = lock(&self.owners).wait(Waiting {
                object: written.clone(),
                owners: prepared.owners.clone(),
                managed_fields: prepared.managed_fields.clone(),
            });
            if !kept && let Some(fields) = fields {
                self.put_managed_fields(&written, fields.get()).await;
            }
            return Ok(());
        };
        if let Some(fields) = fields {
            let fields = rewrite_managed_fields(fields, &prepared.owners, &owners);
            self.put_managed_fields(&written, &fields).await;
        }
        Ok(())
    }

    /// Puts the captured field managers back. The patch changes nothing else, so that it leaves no trace of us.
    /// A failure is told; the object itself is there.
    pub(super) async fn put_managed_fields(&self, object: &Destination, fields: &str) {
        let uid = Value::from(object.uid.as_str());
        let patch = format!(
            r#"[{{"op":"test","path":"/metadata/uid","value":{uid}}},{{"op":"add","path":"/metadata/managedFields","value":{fields}}}]"#
        );
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
        push_query(&mut url, "fieldManager", RESTORE_MANAGER);
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
        push_query(&mut url, "fieldManager", RESTORE_MANAGER);
        let call = Call::new(Verb::Patch, &target, url)
            .body(Content::MergePatch, json!({ "status": status }).to_string())
            .on_behalf_of(self.reviews.impersonation());
        match self.cluster.wire().send(&call).await {
            Err(error) if !error.is_status(404) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
