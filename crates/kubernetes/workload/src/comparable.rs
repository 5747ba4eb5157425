//! What of an object must be the same before and after: everything but what each cluster gives anew.

use serde_json::Value;

use crate::objects::CapturedObject;

/// The object's contents in a form that is equal for an object and its restored twin, also in another namespace
/// and another cluster. Null if the object is not JSON at all.
pub fn comparable(object: &CapturedObject) -> Value {
    object.to_value().map(comparable_value).unwrap_or_default()
}

pub(crate) fn comparable_value(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("namespace");
        let owners = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut);
        for owner in owners.into_iter().flatten() {
            owner.as_object_mut().map(|owner| owner.remove("uid"));
        }
    }
    prune_empty(&mut object);
    object
}

/// Servers differ on whether an absent list is written as null, empty or not at all.
fn prune_empty(value: &mut Value) {
    let Some(fields) = value.as_object_mut() else { return };
    fields.values_mut().for_each(prune_empty);
    fields.retain(|_, value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_restored_twin_compares_equal_and_a_changed_one_does_not() {
        let original = json!({"metadata": {"name": "a", "namespace": "shop", "ownerReferences":
            [{"kind": "Shop", "name": "s", "uid": "old"}]}, "spec": {"size": 1, "none": null, "list": []}});
        let twin = json!({"metadata": {"name": "a", "namespace": "shop-2", "ownerReferences":
            [{"kind": "Shop", "name": "s", "uid": "new"}]}, "spec": {"size": 1}});
        assert_eq!(comparable_value(original.clone()), comparable_value(twin.clone()));
        let mut changed = twin.clone();
        changed["spec"]["size"] = json!(2);
        assert_ne!(comparable_value(original.clone()), comparable_value(changed));
        let mut orphan = twin;
        orphan["metadata"]["ownerReferences"] = json!([]);
        assert_ne!(comparable_value(original), comparable_value(orphan));
    }
}
