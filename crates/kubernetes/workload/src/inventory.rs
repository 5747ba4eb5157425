//! What an application is made of: the names and kinds of its objects, and never what is in them. Pure.
//!
//! Guarantees: an inventory stays small whatever is put into it, and says what it leaves out.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::Value;

use crate::components::Component;
use crate::kinds::Kind;
use crate::objects::CapturedObject;

/// Objects of one kind: a page of a list. Whoever wants all of them lists the kind.
pub const KIND_OBJECTS_MAX: usize = 500;
/// Objects of all kinds: some 8 MiB of an answer where every name is as long as a name can be.
const INVENTORY_OBJECTS_MAX: usize = 5_000;
/// What is missing is told one by one up to this.
const GAP_BYTES_MAX: usize = 500;
const GAPS_MAX: usize = 100;
/// Claims of which it is noted which pod mounts them: as many as could be listed.
const MOUNTS_MAX: usize = INVENTORY_OBJECTS_MAX;
/// No name and no quantity is longer.
const TEXT_BYTES_MAX: usize = 253;

/// An object that an application is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    pub kind: Arc<Kind>,
    pub namespace: Option<String>,
    pub name: String,
    /// Of a claim of a volume, what it claims.
    pub claim: Option<ListedClaim>,
}

/// What a claim says of its volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedClaim {
    /// What it holds, or asks for, as a quantity.
    pub size: Option<String>,
    /// Who provides the volume, where the cluster has noted that.
    pub provisioner: Option<String>,
    /// A pod that mounts it.
    pub pod: Option<String>,
}

/// Something that an inventory does not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryGap {
    /// Of which kind, where it is of one.
    pub resource: Option<String>,
    pub why: String,
}

#[derive(Debug, Default)]
pub struct Inventory {
    objects: Vec<ListedObject>,
    by_kind: BTreeMap<String, usize>,
    /// Claim and pod.
    mounts: BTreeMap<String, String>,
    gaps: Vec<InventoryGap>,
    has_more_gaps: bool,
}

impl ListedObject {
    pub(crate) fn of(kind: &Arc<Kind>, object: &Value) -> Self {
        let text = |key: &str| object["metadata"][key].as_str().map(str::to_owned);
        Self {
            kind: kind.clone(),
            namespace: text("namespace"),
            name: text("name").unwrap_or_default(),
            claim: is_claim(kind).then(|| ListedClaim::of(object)),
        }
    }
}

impl ListedClaim {
    fn of(claim: &Value) -> Self {
        let bounded =
            |value: &Value| value.as_str().filter(|text| text.len() <= TEXT_BYTES_MAX).map(str::to_owned);
        let given = &claim["status"]["capacity"]["storage"];
        let asked = &claim["spec"]["resources"]["requests"]["storage"];
        let annotations = &claim["metadata"]["annotations"];
        let provisioner = PROVISIONER.iter().find_map(|key| bounded(&annotations[*key]));
        Self { size: bounded(given).or_else(|| bounded(asked)), provisioner, pod: None }
    }
}

/// Where the cluster notes who provides a volume.
const PROVISIONER: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];

fn is_claim(kind: &Kind) -> bool {
    kind.is("", "PersistentVolumeClaim")
}

fn is_pod(kind: &Kind) -> bool {
    kind.is("", "Pod")
}

impl Inventory {
    /// Adds an object as it was captured.
    pub fn add_captured(&mut self, object: &CapturedObject) {
        let CapturedObject { layer: _, kind, namespace, name, uid: _, object: _, managed_fields: _ } = object;
        // Of all others the name is everything that is told.
        let is_looked_into = is_claim(kind) || is_pod(kind);
        let content = is_looked_into.then(|| object.to_value().ok()).flatten();
        if let Some(content) = &content {
            self.note_mounts(kind, name, content);
        }
        let claim = content.filter(|_| is_claim(kind)).map(|claim| ListedClaim::of(&claim));
        // Other kinds may follow one that is cut.
        let _ = self.add(ListedObject {
            kind: kind.clone(),
            namespace: namespace.clone(),
            name: name.clone(),
            claim,
        });
    }

    /// Adds an object, or says that no more of its kind are listed.
    pub(crate) fn add(&mut self, object: ListedObject) -> ControlFlow<()> {
        if self.is_full() {
            self.note_gap(None, format!("only {INVENTORY_OBJECTS_MAX} objects are listed"));
            return ControlFlow::Break(());
        }
        let resource = object.kind.resource_name();
        let count = self.by_kind.entry(resource.clone()).or_default();
        if *count == KIND_OBJECTS_MAX {
            self.note_gap(Some(resource), format!("only {KIND_OBJECTS_MAX} objects are listed"));
            return ControlFlow::Break(());
        }
        *count += 1;
        self.objects.push(object);
        ControlFlow::Continue(())
    }

    /// Adds the list of one more kind, or says that there is no room for any. One without objects fits always.
    pub(crate) fn merge(&mut self, other: Self) -> ControlFlow<()> {
        let Self { objects, by_kind: _, mounts, gaps, has_more_gaps } = other;
        if self.is_full() && !objects.is_empty() {
            self.note_gap(None, "not all kinds were looked at");
            return ControlFlow::Break(());
        }
        for object in objects {
            if self.add(object).is_break() {
                break;
            }
        }
        for (claim, pod) in mounts {
            self.note_mount(&claim, &pod);
        }
        for InventoryGap { resource, why } in gaps {
            self.note_gap(resource, why);
        }
        self.has_more_gaps |= has_more_gaps;
        ControlFlow::Continue(())
    }

    /// Notes which claims a pod mounts, if it is a pod and has not run to its end.
    pub(crate) fn note_mounts(&mut self, kind: &Kind, name: &str, object: &Value) {
        let has_ended = ["Succeeded", "Failed"].iter().any(|phase| object["status"]["phase"] == *phase);
        if !is_pod(kind) || has_ended {
            return;
        }
        let volumes = object["spec"]["volumes"].as_array().into_iter().flatten();
        for claim in volumes.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str()) {
            self.note_mount(claim, name);
        }
    }

    fn note_mount(&mut self, claim: &str, pod: &str) {
        let is_new = !self.mounts.contains_key(claim);
        if is_new && claim.len() <= TEXT_BYTES_MAX && self.mounts.len() < MOUNTS_MAX {
            self.mounts.insert(claim.to_owned(), pod.to_owned());
        }
    }

    /// Notes that something is missing, once.
    pub fn note_gap(&mut self, resource: Option<String>, why: impl Into<String>) {
        let mut why = why.into();
        // An error quotes what comes from outside.
        why.truncate(why.floor_char_boundary(GAP_BYTES_MAX));
        let gap = InventoryGap { resource, why };
        if self.gaps.contains(&gap) {
            return;
        }
        match self.gaps.len() < GAPS_MAX {
            true => self.gaps.push(gap),
            false => self.has_more_gaps = true,
        }
    }

    /// Whether nothing more is listed.
    fn is_full(&self) -> bool {
        self.objects.len() >= INVENTORY_OBJECTS_MAX
    }

    /// What is listed, component by component, kind by kind, in the order of names; and what is missing.
    pub fn into_parts(self) -> (Vec<ListedObject>, Vec<InventoryGap>) {
        let Self { mut objects, by_kind: _, mut mounts, mut gaps, has_more_gaps } = self;
        for object in &mut objects {
            if let Some(claim) = &mut object.claim {
                claim.pod = mounts.remove(&object.name);
            }
        }
        objects.sort_by_cached_key(|object| {
            (Component::of(&object.kind), object.kind.resource_name(), object.name.clone())
        });
        if has_more_gaps {
            gaps.push(InventoryGap { resource: None, why: "more is missing than is told here".to_owned() });
        }
        (objects, gaps)
    }
}

#[cfg(test)]
mod tests;
