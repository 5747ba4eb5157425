//! Lists what a backup of a namespace would capture now, by name and kind: for somebody who looks, and waits.
//!
//! Limits: what a backup adds to the objects in the namespace, which are the Namespace itself and the definitions of custom
//! kinds, lies in no namespace and is not listed.

use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use keelson_model::Chain;
use tokio::time::timeout;

use super::pages::{Item, Pages};
use super::select::{KindVerdict, Selection};
use super::{CaptureError, KINDS_AT_ONCE, KindFailure, unanswered};
use crate::cluster::{Cluster, Freshness, ServedKind};
use crate::components::Component;
use crate::filters::Filters;
use crate::inventory::{Inventory, ListedObject};
use crate::kinds::Scope;
use crate::names::NamespaceName;
use crate::request::RequestError;

/// A kind that takes longer is left out: one server that is away must not hide what all others have.
const KIND_WAIT: Duration = Duration::from_secs(10);
/// Objects of one kind that are looked at. Thousands of pods that their workloads remake are none of a backup's.
const LOOKED_AT_MAX: usize = 5_000;

impl Cluster {
    /// Adds the objects of the namespace that a backup without filters captures. What could not be read is a gap.
    pub async fn take_inventory(
        &self,
        namespace: &NamespaceName,
        inventory: &mut Inventory,
    ) -> Result<(), CaptureError> {
        self.check_capturable(namespace).await?;
        let served = self.discover().await.map_err(|source| CaptureError::Discover { source })?;
        let filters = Filters::default();
        let selection = Selection { scope: Scope::Namespaced, filters: &filters, served: &served };
        for failed in served.unanswered.iter().filter(|missed| selection.misses(missed)).map(unanswered) {
            let KindFailure { resource, why } = failed;
            inventory.note_gap(Some(resource), why);
        }
        let is_read = |kind: &&ServedKind| {
            kind.freshness == Freshness::Current && selection.judge_kind(kind) == KindVerdict::Read
        };
        let mut kinds: Vec<&ServedKind> = served.iter().filter(is_read).collect();
        kinds.sort_by_cached_key(|kind| (Component::of(&kind.kind), kind.kind.resource_name()));
        let lists: Vec<_> =
            kinds.into_iter().map(|kind| self.list_kind(selection, namespace, kind).boxed()).collect();
        // In order, so that the same is told of a namespace that has more than is told.
        let mut lists = stream::iter(lists).buffered(KINDS_AT_ONCE);
        while let Some(list) = lists.next().await {
            if inventory.merge(list).is_break() {
                break;
            }
        }
        Ok(())
    }

    async fn list_kind(
        &self,
        selection: Selection<'_>,
        namespace: &NamespaceName,
        served: &ServedKind,
    ) -> Inventory {
        let mut list = Inventory::default();
        let read = timeout(KIND_WAIT, self.read_kind(selection, namespace, served, &mut list)).await;
        let why = match read {
            Ok(Ok(())) => None,
            // A kind that went away while we read has no objects.
            Ok(Err(error)) if error.is_status(404) => None,
            Ok(Err(error)) => Some(Chain(&error).to_string()),
            Err(_) => Some(format!("not read to its end within {} s", KIND_WAIT.as_secs())),
        };
        if let Some(why) = why {
            list.note_gap(Some(served.kind.resource_name()), why);
        }
        list
    }

    async fn read_kind(
        &self,
        selection: Selection<'_>,
        namespace: &NamespaceName,
        served: &ServedKind,
        list: &mut Inventory,
    ) -> Result<(), RequestError> {
        let kind = &served.kind;
        let mut pages = Pages::new(self, kind, Some(namespace.as_str()));
        for _ in 0..LOOKED_AT_MAX {
            let object = match pages.next().await? {
                None => return Ok(()),
                Some(Item::Object(object)) => object,
                Some(Item::Skipped(reason)) => {
                    list.note_gap(Some(kind.resource_name()), reason.to_string());
                    continue;
                }
            };
            list.note_mounts(kind, object["metadata"]["name"].as_str().unwrap_or_default(), &object);
            let is_captured = selection.selects(served, &object) && selection.omit(served, &object).is_none();
            if is_captured && list.add(ListedObject::of(kind, &object)).is_break() {
                return Ok(());
            }
        }
        if pages.next().await?.is_some() {
            list.note_gap(Some(kind.resource_name()), format!("only {LOOKED_AT_MAX} objects were looked at"));
        }
        Ok(())
    }
}
