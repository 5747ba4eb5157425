//! Names of restore points, how they are bound, and when a content is on its way out.

use std::sync::Arc;

use keelson_catalog::{Actor, DataDir, Expect};
use keelson_crypto::CatalogKey;
use keelson_model::{Generation, ManualClock, Revision, Sequence};

use super::*;

fn action(name: &str, uid: &str) -> Record {
    let mut action = Record::new(kinds::backup_action(), "a", name, Timestamp::UNIX_EPOCH, Class::Local);
    uid.clone_into(&mut action.uid);
    action
}

#[test]
fn actions_of_one_name_make_restore_points_of_different_names() {
    let check = |name: &str, uid: &str, expected: &str| {
        let found = point_name(&action(name, uid));
        assert_eq!(found, expected);
        assert!(keelson_model::naming::check_object_name(&found).is_ok(), "{found}");
        assert!(found.len() <= POINT_NAME_MAX, "{found}");
    };
    check("nightly", "01234567-89ab-4cde-8000-000000000000", "nightly-0123456789ab");
    check("nightly", "f1234567-89ab-4cde-8000-000000000000", "nightly-f123456789ab");
    check("b-c", "f1234567-89ab-4cde-8000-000000000000", "b-c-f123456789ab");
    let long = format!("{}.{}", "x".repeat(49), "y".repeat(203));
    let expected = format!("{}-0123456789ab", "x".repeat(49));
    check(&long, "01234567-89ab-4cde-8000-000000000000", &expected);
    let mut child = action("scheduled-b2k7x", "01234567-89ab-4cde-8000-000000000000");
    child.labels.insert(label::RUN_ACTION_NAME.to_owned(), "run".to_owned());
    assert_eq!(point_name(&child), "scheduled-0123456789ab");
}

fn point_of(application: &str) -> NewPoint {
    let artifact = Artifact {
        repository: RepositoryId::from_bytes([1; 16]),
        outcome: SessionId::from_bytes([2; 16]),
        exported: None,
        copy: None,
        objects: 1,
        bytes: 2,
        stored_bytes: Some(3),
    };
    let labels = [
        (label::APP_NAME, application),
        (label::APP_NAMESPACE, application),
        (label::POLICY_NAME, "nightly"),
        (label::RUN_ACTION_NAME, "run"),
        ("team", "platform"),
    ];
    let internal =
        ContentInternal { artifact, manual: true, tiers: Tiers::NONE, expires_at: None, retiring: None };
    NewPoint {
        application: application.to_owned(),
        name: "p".to_owned(),
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        action_time: Timestamp::UNIX_EPOCH,
        scheduled_time: None,
        internal,
    }
}

/// Where its namespace is gone.
fn rows(point: &NewPoint) -> Vec<Record> {
    let changes = create(point, None, Timestamp::UNIX_EPOCH);
    let records = changes.into_iter().map(|change| match change {
        Change::Put { row, .. } => {
            let stored = keelson_catalog::Stored { row, revision: Revision::new(Generation(1), Sequence(1)) };
            Record::parse(&stored).unwrap()
        }
        other => panic!("{other:?}"),
    });
    records.collect()
}

#[test]
fn a_content_says_when_it_expires_if_it_does() {
    let mut point = point_of("shop");
    assert_eq!(rows(&point)[0].body.status.get("expiresAt"), None);
    point.internal.expires_at = Some("2027-01-31T00:00:00Z".parse().unwrap());
    assert_eq!(rows(&point)[0].body.status["expiresAt"], "2027-01-31T00:00:00Z");
}

#[test]
fn a_point_of_the_cluster_scope_needs_no_namespace_and_leads_to_its_content_and_back() {
    assert_eq!(rows(&point_of("shop")).len(), 1);
    let [content, point] = <[Record; 2]>::try_from(rows(&point_of(CLUSTER_SCOPE))).unwrap();
    assert!(crate::cluster_scope::is_of(&content));
    assert_eq!(content.name, "kasten-io-cluster-p");
    assert_eq!(content.body.status["restorePointRef"], json!({ "name": "p" }));
    assert_eq!(bound_to(&content).unwrap().key(), point.key());
    assert_eq!(point.body.spec["restorePointContentRef"]["name"], json!(content.name));
    let labels: Vec<_> = point.labels.keys().map(String::as_str).collect();
    assert_eq!(labels, [label::POLICY_NAME, "team"]);
}

/// One that was refused was asked for anew at each look.
#[test]
fn a_content_is_on_its_way_out_until_its_action_has_ended_and_kept_from_then_on() {
    let directory = tempfile::tempdir().unwrap();
    let now = Timestamp::UNIX_EPOCH;
    let data = DataDir::open(directory.path(), Arc::new(ManualClock::new(now))).unwrap();
    let database = data.create_first(&CatalogKey::generate(), b"").unwrap();
    let mut content = Record::new(kinds::restore_point_content(), "", "content", now, Class::Local);
    assert_eq!(retiring(&database, &content).unwrap(), Retiring::No);
    mark_retiring(&mut content, "retire");
    assert_eq!(retiring(&database, &content).unwrap(), Retiring::No, "its action was deleted");
    let end = Timestamp::from_second(7).unwrap();
    for (state, expected) in [
        (ActionState::Pending, Retiring::Underway),
        (ActionState::Running, Retiring::Underway),
        (ActionState::Skipped, Retiring::Kept { at: end }),
        (ActionState::Failed, Retiring::Kept { at: end }),
    ] {
        let mut action = Record::new(kinds::retire_action(), "", "retire", now, Class::Local);
        actions::set_state(&mut action, state);
        actions::set_status(&mut action, "endTime", json!(end));
        database.commit(&Actor::new("test"), vec![action.put(Expect::Any)]).unwrap();
        assert_eq!(retiring(&database, &content).unwrap(), expected, "{state}");
    }
}
