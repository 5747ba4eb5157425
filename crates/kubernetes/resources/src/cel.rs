//! Rules that the API server checks when an object is written, as tables of condition and message.

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

/// What must hold of a value, in CEL, and what is said if it does not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules(pub(crate) &'static [(&'static str, &'static str)]);

#[derive(Serialize)]
struct Rule {
    rule: &'static str,
    message: &'static str,
}

impl Serialize for Rules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_all(std::slice::from_ref(self), serializer)
    }
}

/// Several tables, for a value of which all must hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AllRules(pub(crate) &'static [Rules]);

impl Serialize for AllRules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_all(self.0, serializer)
    }
}

fn serialize_all<S: Serializer>(tables: &[Rules], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(None)?;
    for (rule, message) in tables.iter().flat_map(|rules| rules.0) {
        list.serialize_element(&Rule { rule, message })?;
    }
    list.end()
}
