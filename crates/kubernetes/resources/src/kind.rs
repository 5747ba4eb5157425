//! The table of aggregated kinds: what discovery, printing, selectors, access reviews and checks need of each.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::Value;

use crate::age::human_age;
use crate::check::FieldError;
use crate::{actions, apps, passkey, recovery, storage_repository};

#[cfg(test)]
mod tests;

/// Every kind that our API server serves.
pub const KINDS: &[KindInfo] = &[
    actions::backup::KIND,
    actions::backup_cluster::KIND,
    actions::batch_restore::KIND,
    actions::cancel::KIND,
    actions::export::KIND,
    actions::import::KIND,
    actions::report::KIND,
    actions::restore::KIND,
    actions::restore_cluster::KIND,
    actions::retire::KIND,
    actions::run::KIND,
    actions::upgrade::KIND,
    actions::validate::KIND,
    apps::application::KIND,
    apps::cluster_restore_point::KIND,
    apps::restore_point::KIND,
    apps::restore_point_content::KIND,
    passkey::KIND,
    recovery::restore::KIND,
    recovery::review::KIND,
    storage_repository::KIND,
];

/// One aggregated kind.
#[derive(Debug)]
pub struct KindInfo {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub scope: ResourceScope,
    /// What clients may do. The platform itself may do more.
    pub verbs: &'static [Verb],
    pub columns: &'static [Column],
    /// The paths that `--field-selector` may name.
    pub field_selectors: &'static [&'static str],
    /// Whether `GET …/details` is served.
    pub details: bool,
    /// The OpenAPI v3 schema of the whole object, without references.
    pub schema: fn() -> Value,
    /// What an object (`metadata` and `spec`) refers to; each needs the requester's own right.
    pub references: fn(object: &Value, install_namespace: &str) -> Vec<Reference>,
    /// The rules of the kind that no schema can state.
    pub(crate) check: fn(object: &Value, install_namespace: &str) -> Vec<FieldError>,
}

/// Whether objects live in namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResourceScope {
    Namespaced,
    Cluster,
}

/// What a client may do with objects of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    Create,
    Get,
    List,
    Watch,
    /// A change of `spec` by a merge patch. No kind can be replaced.
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// For kinds that users make and remove.
pub(crate) const ALL_VERBS: &[Verb] =
    &[Verb::Create, Verb::Delete, Verb::DeleteCollection, Verb::Get, Verb::List, Verb::Watch];
/// For kinds that only the platform makes.
pub(crate) const ALL_BUT_CREATE: &[Verb] =
    &[Verb::Delete, Verb::DeleteCollection, Verb::Get, Verb::List, Verb::Watch];
pub(crate) const READ_VERBS: &[Verb] = &[Verb::Get, Verb::List, Verb::Watch];

pub(crate) const CATEGORIES: &[&str] = &["k10"];
pub(crate) const STATE_FIELDS: &[&str] = &["metadata.name", "metadata.namespace", "status.state"];

/// A column of `kubectl get`.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    /// An OpenAPI type: `string`, `integer`, `date`.
    pub kind: &'static str,
    /// An OpenAPI format; `name` marks the object's name.
    pub format: &'static str,
    pub description: &'static str,
    /// Above 0 only `-o wide` shows it.
    pub priority: i32,
    pub cell: Cell,
}

/// Where a column's value comes from.
#[derive(Debug, Clone, Copy)]
pub enum Cell {
    /// The value at a JSON pointer.
    At(&'static str),
    /// The time since the moment at a JSON pointer.
    Since(&'static str),
}

impl Column {
    /// The cell for one object. An absent value is null, which kubectl prints as `<none>`.
    pub fn value(&self, object: &Value, now: Timestamp) -> Value {
        match self.cell {
            Cell::At(pointer) => object.pointer(pointer).cloned().unwrap_or(Value::Null),
            Cell::Since(pointer) => {
                let since = object.pointer(pointer).and_then(Value::as_str);
                let since: Option<Timestamp> = since.and_then(|text| text.parse().ok());
                Value::from(since.map_or_else(|| "<unknown>".to_owned(), |since| human_age(since, now)))
            }
        }
    }

    pub(crate) const fn text(name: &'static str, pointer: &'static str, description: &'static str) -> Self {
        let cell = Cell::At(pointer);
        Self { name, kind: "string", format: "", description, priority: 0, cell }
    }

    pub(crate) const fn integer(
        name: &'static str,
        pointer: &'static str,
        description: &'static str,
    ) -> Self {
        Self { kind: "integer", ..Self::text(name, pointer, description) }
    }

    /// Shown by `-o wide` only.
    pub(crate) const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }
}

pub(crate) const NAME: Column =
    Column { format: "name", ..Column::text("Name", "/metadata/name", "Name of the object") };
pub(crate) const AGE: Column = Column {
    cell: Cell::Since("/metadata/creationTimestamp"),
    ..Column::text("Age", "", "Time since the object was created")
};
pub(crate) const CREATED_AT: Column = Column {
    kind: "date",
    ..Column::text("Created At", "/metadata/creationTimestamp", "When the object was created")
};
pub(crate) const STATE: Column = Column::text("State", "/status/state", "Where the object stands");
pub(crate) const PROGRESS: Column =
    Column::integer("Pct", "/status/progress", "How much is done, in per cent");

/// Something that an object names and that its creator must be allowed to use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    pub verb: Verb,
    pub group: &'static str,
    pub resource: &'static str,
    /// None for what lives in no namespace.
    pub namespace: Option<String>,
    /// None where the right is asked for the whole resource, as with `create`.
    pub name: Option<String>,
}

impl Reference {
    /// The right to read one object.
    pub fn read(group: &'static str, resource: &'static str, namespace: &str, name: &str) -> Self {
        Self { verb: Verb::Get, group, resource, namespace: Some(namespace.into()), name: Some(name.into()) }
    }
}

impl KindInfo {
    /// The name under which objects of the kind are kept: `restorepoints.apps.kio.kasten.io`.
    pub fn row_kind(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// The schema, made once a process.
    pub(crate) fn known_schema(&self) -> &'static Value {
        static SCHEMAS: LazyLock<HashMap<&'static str, Value>> =
            LazyLock::new(|| KINDS.iter().map(|kind| (kind.kind, (kind.schema)())).collect());
        SCHEMAS.get(self.kind).unwrap_or(&Value::Null)
    }

    pub fn allows(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    pub fn is_namespaced(&self) -> bool {
        self.scope == ResourceScope::Namespaced
    }
}

/// Finds a kind by group and plural, as in a request's path.
pub fn find_kind(group: &str, plural: &str) -> Option<&'static KindInfo> {
    KINDS.iter().find(|kind| kind.group == group && kind.plural == plural)
}

/// Finds a kind by the name of its rows.
pub fn kind_of_row(row_kind: &str) -> Option<&'static KindInfo> {
    let (plural, group) = row_kind.split_once('.')?;
    find_kind(group, plural)
}

pub(crate) fn no_references(_object: &Value, _install_namespace: &str) -> Vec<Reference> {
    Vec::new()
}

pub(crate) fn no_rules(_object: &Value, _install_namespace: &str) -> Vec<FieldError> {
    Vec::new()
}
