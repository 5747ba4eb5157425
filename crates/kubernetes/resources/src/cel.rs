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
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for (rule, message) in self.0 {
            list.serialize_element(&Rule { rule, message })?;
        }
        list.end()
    }
}
