//! A served object as the catalog keeps it: the row's columns and a body of annotations, spec and status.
//!
//! `internal` is ours alone: it is stored and shipped with the row and served to nobody.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keelson_catalog::{Change, Class, Expect, Row, RowKey, RowKind, Stored};
use keelson_model::{Classified, ErrorClass, Revision};
use keelson_resources::KindInfo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A row that only we read: it is served to nobody and needs no uid and no labels.
pub(crate) fn plain_row(key: RowKey, class: Class, body: &impl Serialize, created: Timestamp) -> Row {
    let RowKey { kind, namespace, name } = key;
    let body = serde_json::to_vec(body).expect("plain data");
    Row { kind, namespace, name, uid: String::new(), labels: BTreeMap::new(), created, class, body }
}

/// The body of a row of a served kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Body {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub spec: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub status: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub internal: Value,
}

/// One object of ours, parsed from its row.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub kind: RowKind,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    pub created: Timestamp,
    pub class: Class,
    pub body: Body,
    /// Absent until the record was committed.
    pub revision: Option<Revision>,
}

/// A row whose body is not what we write.
#[derive(Debug, thiserror::Error)]
#[error("decode the {kind} '{namespace}/{name}' of the catalog")]
pub struct DecodeRecordError {
    kind: String,
    namespace: String,
    name: String,
    source: serde_json::Error,
}

impl Classified for DecodeRecordError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Corrupt
    }

    fn code(&self) -> &'static str {
        "catalog.row.decode"
    }
}

impl Record {
    pub fn new(kind: &KindInfo, namespace: &str, name: &str, created: Timestamp, class: Class) -> Self {
        Self {
            kind: RowKind::new(kind.row_kind()),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: new_uid(),
            labels: BTreeMap::new(),
            created,
            class,
            body: Body::default(),
            revision: None,
        }
    }

    pub fn parse(stored: &Stored) -> Result<Self, DecodeRecordError> {
        let row = &stored.row;
        let body = serde_json::from_slice(&row.body).map_err(|source| DecodeRecordError {
            kind: row.kind.to_string(),
            namespace: row.namespace.clone(),
            name: row.name.clone(),
            source,
        })?;
        Ok(Self {
            kind: row.kind.clone(),
            namespace: row.namespace.clone(),
            name: row.name.clone(),
            uid: row.uid.clone(),
            labels: row.labels.clone(),
            created: row.created,
            class: row.class,
            body,
            revision: Some(stored.revision),
        })
    }

    pub fn key(&self) -> RowKey {
        RowKey { kind: self.kind.clone(), namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// The change that writes this record, if the row is as `expect` says.
    pub fn put(&self, expect: Expect) -> Change {
        let body = serde_json::to_vec(&self.body).expect("a body is JSON already");
        let row = Row {
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            labels: self.labels.clone(),
            created: self.created,
            class: self.class,
            body,
        };
        Change::Put { row, expect }
    }

    /// The change that writes this record over the revision it was read at.
    pub fn replace(&self) -> Change {
        self.put(self.revision.map_or(Expect::Absent, Expect::At))
    }

    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    pub fn spec<T: DeserializeOwned>(&self) -> Result<T, DecodeRecordError> {
        self.decode(&self.body.spec)
    }

    pub fn status<T: DeserializeOwned>(&self) -> Result<T, DecodeRecordError> {
        self.decode(&self.body.status)
    }

    pub fn internal<T: DeserializeOwned>(&self) -> Result<T, DecodeRecordError> {
        self.decode(&self.body.internal)
    }

    fn decode<T: DeserializeOwned>(&self, value: &Value) -> Result<T, DecodeRecordError> {
        T::deserialize(value).map_err(|source| DecodeRecordError {
            kind: self.kind.to_string(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            source,
        })
    }
}

/// A random (version 4) UUID, the form Kubernetes gives its uids.
pub(crate) fn new_uid() -> String {
    uuid::Builder::from_random_bytes(keelson_crypto::random_bytes()).into_uuid().to_string()
}

/// Five characters as the API server appends to a `generateName`: no vowels, nothing that looks like another.
pub fn random_suffix() -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let bytes: [u8; 5] = keelson_crypto::random_bytes();
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}
