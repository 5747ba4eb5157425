//! What the watches have shown of the cluster's configuration, and what of it the catalog does not say yet. Pure.
//!
//! Limits: the objects stay in memory whole; they are made by people and few.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use keelson_catalog::limits::LABELS_MAX;
use keelson_catalog::{Class, Row, RowKey, RowKind};
use keelson_model::names::DR_SECRET;
use keelson_resources::spec_hash;
use keelson_workload::{ChangeKind, ConfigEvent, Kind};
use serde_json::{Value, json};

use crate::grants;
use crate::instance_secret::INSTANCE_SECRET;
use crate::kinds;

/// What wraps our own keys never lies in what is shipped.
const OUR_SECRETS: [&str; 2] = [DR_SECRET, INSTANCE_SECRET];

pub(super) struct Known {
    install_namespace: String,
    objects: BTreeMap<RowKey, Object>,
    /// Kinds of which everything was shown since their watch last began anew.
    whole: BTreeSet<RowKind>,
    /// The Secrets that Passkeys name.
    of_passkeys: BTreeSet<String>,
    due_rows: BTreeSet<RowKey>,
    due_secrets: BTreeSet<String>,
    removal_due: bool,
}

struct Object {
    row: Row,
    /// The Secret that a profile names.
    secret: Option<String>,
    /// Since the watch last began anew.
    shown: bool,
}

impl Known {
    pub(super) fn new(install_namespace: &str) -> Self {
        Self {
            install_namespace: install_namespace.to_owned(),
            objects: BTreeMap::new(),
            whole: BTreeSet::new(),
            of_passkeys: BTreeSet::new(),
            due_rows: BTreeSet::new(),
            due_secrets: BTreeSet::new(),
            removal_due: false,
        }
    }

    pub(super) fn take(&mut self, event: ConfigEvent, now: Timestamp) {
        let Some(kind) = row_kind(&event.kind) else {
            let named = self.objects.values().any(|object| object.secret.as_ref() == Some(&event.name))
                || self.of_passkeys.contains(&event.name);
            if event.change == ChangeKind::Applied && named {
                self.due_secrets.insert(event.name);
            }
            return;
        };
        match event.change {
            ChangeKind::Restarted => {
                self.whole.remove(&kind);
                let of_kind = self.objects.iter_mut().filter(|(key, _)| key.kind == kind);
                of_kind.for_each(|(_, object)| object.shown = false);
            }
            ChangeKind::Applied => self.show(kind, event, now),
            ChangeKind::Deleted => {
                let key = RowKey::new(kind, event.namespace, event.name);
                self.objects.remove(&key);
                self.due_rows.remove(&key);
                self.removal_due = true;
            }
            ChangeKind::Listed => {
                self.objects.retain(|key, object| key.kind != kind || object.shown);
                let objects = &self.objects;
                self.due_rows.retain(|key| objects.contains_key(key));
                self.whole.insert(kind);
                self.removal_due = true;
            }
        }
    }

    fn show(&mut self, kind: RowKind, event: ConfigEvent, now: Timestamp) {
        let secret = (kind == kinds::profiles())
            .then(|| secret_of(&event.object, &self.install_namespace).map(str::to_owned))
            .flatten();
        self.due_secrets.extend(secret.clone());
        let row = row_of(kind, event, now);
        let key = row.key();
        self.due_rows.insert(key.clone());
        let before = self.objects.insert(key, Object { row, secret, shown: true });
        // A profile that names another Secret may have been the last to name its old one.
        self.removal_due |= before.is_some_and(|before| before.secret.is_some());
    }

    pub(super) fn all_is_due(&mut self) {
        self.due_rows = self.objects.keys().cloned().collect();
        self.due_secrets = self.objects.values().filter_map(|object| object.secret.clone()).collect();
        self.due_secrets.extend(self.of_passkeys.iter().cloned());
        self.removal_due = true;
    }

    /// Passkeys name these Secrets of the install namespace now, and no others.
    pub(super) fn passkeys_name(&mut self, mut names: BTreeSet<String>) {
        names.retain(|name| !OUR_SECRETS.contains(&name.as_str()));
        self.due_secrets.extend(names.difference(&self.of_passkeys).cloned());
        self.removal_due |= self.of_passkeys.difference(&names).next().is_some();
        self.of_passkeys = names;
    }

    pub(super) fn due_secret(&self) -> Option<String> {
        self.due_secrets.first().cloned()
    }

    pub(super) fn secret_is_done(&mut self, name: &str) {
        self.due_secrets.remove(name);
    }

    pub(super) fn due_row(&self) -> Option<Row> {
        self.due_rows.first().and_then(|key| self.objects.get(key)).map(|object| object.row.clone())
    }

    pub(super) fn row_is_done(&mut self, key: &RowKey) {
        self.due_rows.remove(key);
    }

    pub(super) fn removal_is_due(&self) -> bool {
        self.removal_due
    }

    pub(super) fn removal_is_done(&mut self) {
        self.removal_due = false;
    }

    /// Every object of a kind; none where that is not known.
    pub(super) fn all_of(&self, kind: &RowKind) -> Option<BTreeSet<RowKey>> {
        let of_kind = || self.objects.keys().filter(|key| key.kind == *kind).cloned().collect();
        self.whole.contains(kind).then(of_kind)
    }

    /// Every Secret that a profile or a Passkey names; none where that is not known.
    pub(super) fn named_secrets(&self) -> Option<BTreeSet<RowKey>> {
        let of_profiles = || self.objects.values().filter_map(|object| object.secret.as_deref());
        let names = || of_profiles().chain(self.of_passkeys.iter().map(String::as_str));
        let keys = || names().map(|name| RowKey::new(kinds::secrets(), &*self.install_namespace, name));
        self.whole.contains(&kinds::profiles()).then(|| keys().collect())
    }
}

fn row_kind(kind: &Kind) -> Option<RowKind> {
    kinds::configuration().find(|(known, _)| known == kind).map(|(_, rows)| rows)
}

fn row_of(kind: RowKind, event: ConfigEvent, now: Timestamp) -> Row {
    let created = event.object["metadata"]["creationTimestamp"].as_str().and_then(|text| text.parse().ok());
    let body = serde_json::to_vec(&kept(&event.object)).expect("plain data");
    Row {
        kind,
        namespace: event.namespace,
        name: event.name,
        uid: event.uid,
        // All of them are in the body. A row bears no more, and one object must not hold up all others.
        labels: event.labels.into_iter().take(LABELS_MAX).collect(),
        created: created.unwrap_or(now),
        class: Class::Configuration,
        body,
    }
}

/// What of an object is its user's: specification, labels, annotations; and whether it was found valid. No key of a receive
/// string is kept: it lies sealed beside, as soon as the policy was found valid.
fn kept(object: &Value) -> Value {
    let (mut spec, mut hash) = (object["spec"].clone(), object["status"]["hash"].clone());
    grants::hide_keys(&mut spec);
    if spec != object["spec"] && hash.as_u64() == Some(u64::from(spec_hash(&object["spec"]))) {
        hash = json!(spec_hash(&spec));
    }
    let metadata = &object["metadata"];
    let mut annotations = metadata["annotations"].clone();
    if let Some(map) = annotations.as_object_mut() {
        map.remove("kubectl.kubernetes.io/last-applied-configuration");
        // Other clients keep what was applied under names of their own.
        map.retain(|_, value| !value.as_str().is_some_and(grants::may_hold_key));
    }
    json!({
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": metadata["labels"],
            "annotations": annotations,
        },
        "spec": spec,
        "status": {
            "validation": object["status"]["validation"],
            "error": object["status"]["error"],
            "hash": hash,
        },
    })
}

/// The Secret that a profile names. Only those of the install namespace are ours to keep, and our own never lie in what
/// is shipped.
fn secret_of<'a>(profile: &'a Value, install_namespace: &str) -> Option<&'a str> {
    let spec = &profile["spec"];
    let secrets = [&spec["locationSpec"]["credential"]["secret"], &spec["infra"]["credential"]["secret"]];
    let secret = secrets.into_iter().find(|secret| secret["name"].is_string())?;
    let namespace = secret["namespace"].as_str().filter(|namespace| !namespace.is_empty());
    let name = secret["name"].as_str().filter(|name| !name.is_empty())?;
    let ours = namespace.is_none_or(|namespace| namespace == install_namespace);
    (ours && !OUR_SECRETS.contains(&name)).then_some(name)
}

#[cfg(test)]
mod tests;
