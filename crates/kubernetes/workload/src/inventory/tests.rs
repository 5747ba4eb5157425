//! Inventories: what is listed of kinds without end, which kinds are left out, and what is told of a claim.

use serde_json::json;
use serde_json::value::to_raw_value;

use super::*;
use crate::layers::Layer;

fn captured(kind: &Arc<Kind>, name: &str, object: Value) -> CapturedObject {
    CapturedObject {
        layer: Layer::of(kind),
        kind: kind.clone(),
        namespace: Some("shop".to_owned()),
        name: name.to_owned(),
        uid: String::new(),
        object: to_raw_value(&object).expect("it is JSON"),
        managed_fields: None,
    }
}

fn kind(api_version: &str, kind: &str, resource: &str) -> Arc<Kind> {
    Arc::new(Kind::namespaced(api_version, kind, resource))
}

#[test]
fn of_a_kind_without_end_some_are_listed_and_of_the_other_kinds_all() {
    let (maps, secrets) = (kind("v1", "ConfigMap", "configmaps"), kind("v1", "Secret", "secrets"));
    let mut inventory = Inventory::default();
    for number in 0..100_000 {
        inventory.add_captured(&captured(&maps, &format!("map-{number:06}"), json!({})));
    }
    inventory.add_captured(&captured(&secrets, "password", json!({})));
    let (objects, gaps) = inventory.into_parts();
    assert_eq!(objects.len(), KIND_OBJECTS_MAX + 1);
    assert_eq!(objects.last().map(|last| last.name.as_str()), Some("password"));
    let told = InventoryGap {
        resource: Some("configmaps".to_owned()),
        why: "only 500 objects are listed".to_owned(),
    };
    assert_eq!(gaps, [told]);
}

#[test]
fn of_kinds_without_end_some_are_listed_and_not_every_gap_is_told() {
    let mut inventory = Inventory::default();
    for number in 0..2 * INVENTORY_OBJECTS_MAX {
        let custom = kind("example.com/v1", "Thing", &format!("things{number}"));
        inventory.add_captured(&captured(&custom, "one", json!({})));
        inventory.note_gap(Some(format!("things{number}")), "it does not answer");
    }
    let (objects, gaps) = inventory.into_parts();
    assert_eq!((objects.len(), gaps.len()), (INVENTORY_OBJECTS_MAX, GAPS_MAX + 1));
    assert_eq!(gaps[GAPS_MAX].why, "more is missing than is told here");
}

/// It was said of what fits exactly that kinds were left out, though those that followed had no objects.
#[test]
fn kinds_are_left_out_only_where_objects_are() {
    let list = |kind_number: usize, count: usize| {
        let custom = kind("example.com/v1", "Thing", &format!("things{kind_number}"));
        let mut list = Inventory::default();
        for number in 0..count {
            list.add_captured(&captured(&custom, &number.to_string(), json!({})));
        }
        list
    };
    let whole_kinds = INVENTORY_OBJECTS_MAX / KIND_OBJECTS_MAX - 1;
    let check = |last: [usize; 2], told: &[&str]| {
        let mut inventory = Inventory::default();
        let counts = std::iter::repeat_n(KIND_OBJECTS_MAX, whole_kinds).chain(last).chain([0]);
        for (number, count) in counts.enumerate() {
            if inventory.merge(list(number, count)).is_break() {
                break;
            }
        }
        let (objects, gaps) = inventory.into_parts();
        let wanted = whole_kinds * KIND_OBJECTS_MAX + last.iter().sum::<usize>();
        assert_eq!(objects.len(), wanted.min(INVENTORY_OBJECTS_MAX), "{last:?}");
        let gaps: Vec<_> = gaps.iter().map(|gap| gap.why.as_str()).collect();
        assert_eq!(gaps, told, "{last:?}");
    };
    check([KIND_OBJECTS_MAX - 1, 0], &[]);
    check([KIND_OBJECTS_MAX, 0], &[]);
    check([KIND_OBJECTS_MAX - 1, 1], &[]);
    check([KIND_OBJECTS_MAX, 1], &["not all kinds were looked at"]);
    check([KIND_OBJECTS_MAX - 1, 2], &["only 5000 objects are listed"]);
}

#[test]
fn a_claim_tells_its_size_its_provisioner_and_a_pod_that_mounts_it() {
    let claims = kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims");
    let pods = kind("v1", "Pod", "pods");
    let mounting = |phase: &str| {
        json!({"status": {"phase": phase}, "spec": {"volumes": [
            {"emptyDir": {}}, {"persistentVolumeClaim": {"claimName": "data"}}]}})
    };
    let asks = json!({"spec": {"resources": {"requests": {"storage": "10Gi"}}}});
    let holds = json!({
        "metadata": {"annotations": {"volume.kubernetes.io/storage-provisioner": "ebs.csi.aws.com"}},
        "spec": {"resources": {"requests": {"storage": "1Gi"}}}, "status": {"capacity": {"storage": "2Gi"}},
    });
    let mut inventory = Inventory::default();
    inventory.add_captured(&captured(&claims, "data", asks));
    inventory.add_captured(&captured(&pods, "ended", mounting("Succeeded")));
    inventory.add_captured(&captured(&pods, "running", mounting("Running")));
    inventory.add_captured(&captured(&claims, "spare", holds));
    let (objects, gaps) = inventory.into_parts();
    let claims: Vec<_> = objects.into_iter().filter_map(|object| object.claim).collect();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        claims,
        [
            ListedClaim { size: text("10Gi"), provisioner: None, pod: text("running") },
            ListedClaim { size: text("2Gi"), provisioner: text("ebs.csi.aws.com"), pod: None },
        ]
    );
    assert_eq!(gaps, []);
}
