//! Collects what is wrong with an object whose structure is sound; the vocabulary of the kinds' rules.

use std::fmt;

use keelson_model::naming::{check_namespace, check_object_name};
use serde_json::Value;

use super::{FieldError, FieldFault};

/// Reads fields by their paths and keeps the errors.
pub(crate) struct Checker<'a> {
    object: &'a Value,
    errors: Vec<FieldError>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(object: &'a Value) -> Self {
        Self { object, errors: Vec::new() }
    }

    pub(crate) fn finish(self) -> Vec<FieldError> {
        self.errors
    }

    /// Whether a field carries anything: null, false, and empty texts, lists and objects do not.
    pub(crate) fn is_set(&self, path: &str) -> bool {
        match self.field(path) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(items)) => !items.is_empty(),
            Some(Value::Object(fields)) => !fields.is_empty(),
            Some(Value::Bool(true) | Value::Number(_)) => true,
        }
    }

    /// A subject must be of one of the kinds, the first of which is the default, and have a legal name.
    pub(crate) fn subject(&mut self, path: &str, kinds: &[&str]) {
        let kind_path = format!("{path}.kind");
        if let Some(kind) = self.text(&kind_path).filter(|kind| !kinds.contains(kind)) {
            let named: Vec<_> = kinds.iter().filter(|kind| !kind.is_empty()).collect();
            let known: Vec<_> = named.iter().map(|kind| format!("\"{kind}\"")).collect();
            let message = format!("supported values: {}", known.join(", "));
            let value = Value::from(kind);
            self.push(FieldError::new(&kind_path, FieldFault::NotSupported, message).with(&value));
        }
        let name_path = format!("{path}.name");
        self.required_text(&name_path);
        self.parsed(&name_path, check_object_name);
        self.parsed(&format!("{path}.namespace"), check_namespace);
    }

    pub(crate) fn required_text(&mut self, path: &str) {
        if self.text(path).is_none() {
            self.missing(path, "");
        }
    }

    /// A field that names a namespace may name only the object's own.
    pub(crate) fn same_namespace(&mut self, path: &str) {
        let own = self.text("metadata.namespace").unwrap_or_default();
        if let Some(other) = self.text(path).filter(|other| *other != own) {
            let message = format!("must be the namespace of the object, \"{own}\"");
            let value = Value::from(other);
            self.push(FieldError::new(path, FieldFault::Invalid, message).with(&value));
        }
    }

    /// The object must live in the given namespace.
    pub(crate) fn in_namespace(&mut self, namespace: &str, why: &str) {
        let own = self.text("metadata.namespace").unwrap_or_default();
        if own != namespace {
            let message = format!("must be \"{namespace}\": {why}");
            let value = Value::from(own);
            self.push(FieldError::new("metadata.namespace", FieldFault::Invalid, message).with(&value));
        }
    }

    /// A reference to what lives in the install namespace may leave its namespace out, but not change it.
    pub(crate) fn profile_namespace(&mut self, path: &str, install_namespace: &str) {
        if let Some(other) = self.text(path).filter(|other| *other != install_namespace) {
            let message = format!("must be the install namespace, \"{install_namespace}\"");
            let value = Value::from(other);
            self.push(FieldError::new(path, FieldFault::Invalid, message).with(&value));
        }
    }

    /// A text, if given, must be readable.
    pub(crate) fn parsed<E: fmt::Display>(&mut self, path: &str, parse: impl FnOnce(&str) -> Result<(), E>) {
        let Some(text) = self.text(path) else { return };
        if let Err(error) = parse(text) {
            let value = Value::from(text);
            self.push(FieldError::new(path, FieldFault::Invalid, error).with(&value));
        }
    }

    pub(crate) fn invalid(&mut self, path: &str, value: &str, message: impl fmt::Display) {
        self.push(FieldError::new(path, FieldFault::Invalid, message).with(&Value::from(value)));
    }

    pub(crate) fn missing(&mut self, path: &str, message: &str) {
        self.push(FieldError::new(path, FieldFault::Required, message));
    }

    pub(crate) fn forbidden(&mut self, path: &str, message: &str) {
        if self.is_set(path) {
            self.push(FieldError::new(path, FieldFault::Forbidden, message));
        }
    }

    /// Refuses what would otherwise be ignored in silence.
    pub(crate) fn not_supported_yet(&mut self, path: &str, why: &str) {
        self.forbidden(path, &format!("not supported: {why}"));
    }

    fn push(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    fn field(&self, path: &str) -> Option<&'a Value> {
        path.split('.').try_fold(self.object, |value, name| value.get(name))
    }

    /// A text that is not empty.
    fn text(&self, path: &str) -> Option<&'a str> {
        self.field(path).and_then(Value::as_str).filter(|text| !text.is_empty())
    }
}
