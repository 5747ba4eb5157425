//! The hash of a specification, by which a validated object is told from one that changed since.

use serde_json::Value;

/// Hashes a specification as the cluster holds it. The order of fields does not count.
pub fn spec_hash(spec: &Value) -> u32 {
    let mut hash = Fnv(0x811c_9dc5);
    hash.add_value(spec);
    hash.0
}

/// FNV-1a: short, stable and no secret.
struct Fnv(u32);

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }

    fn add_value(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                let mut sorted: Vec<_> = fields.iter().collect();
                sorted.sort_by_key(|(name, _)| *name);
                self.add(b"{");
                for (name, field) in sorted {
                    self.add_text(name);
                    self.add_value(field);
                }
                self.add(b"}");
            }
            Value::Array(items) => {
                self.add(b"[");
                items.iter().for_each(|item| self.add_value(item));
                self.add(b"]");
            }
            Value::String(text) => self.add_text(text),
            plain => self.add_text(&plain.to_string()),
        }
    }

    /// Length first: two fields never run together.
    fn add_text(&mut self, text: &str) {
        self.add(&(text.len() as u64).to_le_bytes());
        self.add(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hash_follows_the_content_and_not_the_order() {
        let one = spec_hash(&json!({"a": 1, "b": {"c": ["x", "y"]}}));
        assert_eq!(one, spec_hash(&json!({"b": {"c": ["x", "y"]}, "a": 1})));
        for other in
            [json!({"a": 1}), json!({"a": 1, "b": {"c": ["y", "x"]}}), json!({"a": 1, "b": {"c": ["xy"]}})]
        {
            assert_ne!(one, spec_hash(&other), "{other}");
        }
    }
}
