//! Tests of what the mirror knows and what it leaves out.

use ChangeKind::*;

use super::*;

fn event(kind: Kind, change: ChangeKind, name: &str, object: Value) -> ConfigEvent {
    ConfigEvent {
        change,
        kind,
        namespace: "kasten-io".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-of-{name}"),
        labels: BTreeMap::new(),
        object,
    }
}

fn profile(change: ChangeKind, name: &str, secret: Value) -> ConfigEvent {
    let spec = json!({ "locationSpec": { "credential": { "secret": secret } } });
    event(kinds::profile(), change, name, json!({ "spec": spec }))
}

#[test]
fn an_object_with_more_labels_than_a_row_bears_is_kept_whole_in_the_body() {
    let labels: BTreeMap<_, _> = (0..300).map(|number| (format!("label-{number}"), "x".to_owned())).collect();
    let object = json!({ "metadata": { "name": "many", "labels": labels }, "spec": {} });
    let (kind, rows) = kinds::configuration().next().unwrap();
    let event = ConfigEvent { labels, ..event(kind, Applied, "many", object) };
    let row = row_of(rows, event, Timestamp::UNIX_EPOCH);
    let body: Value = serde_json::from_slice(&row.body).unwrap();
    assert_eq!((row.labels.len(), body["metadata"]["labels"].as_object().unwrap().len()), (LABELS_MAX, 300));
}

fn known(events: Vec<ConfigEvent>) -> Known {
    let mut known = Known::new("kasten-io");
    for event in events {
        known.take(event, Timestamp::UNIX_EPOCH);
    }
    known
}

fn names(keys: Option<BTreeSet<RowKey>>) -> Option<Vec<String>> {
    keys.map(|keys| keys.into_iter().map(|key| key.name).collect())
}

#[test]
fn nothing_is_called_gone_before_everything_was_shown() {
    let first = || vec![profile(Restarted, "", Value::Null), profile(Applied, "a", json!({ "name": "s" }))];
    let begun = known(first());
    assert_eq!((names(begun.all_of(&kinds::profiles())), begun.named_secrets()), (None, None));
    let mut shown = known([first(), vec![profile(Listed, "", Value::Null)]].concat());
    assert_eq!(names(shown.all_of(&kinds::profiles())), Some(vec!["a".to_owned()]));
    assert_eq!(names(shown.named_secrets()), Some(vec!["s".to_owned()]));
    assert_eq!(shown.all_of(&kinds::policies()), None);
    // A watch that begins anew and does not show it again.
    shown.take(profile(Restarted, "", Value::Null), Timestamp::UNIX_EPOCH);
    assert_eq!(shown.all_of(&kinds::profiles()), None);
    shown.take(profile(Listed, "", Value::Null), Timestamp::UNIX_EPOCH);
    assert_eq!(names(shown.all_of(&kinds::profiles())), Some(Vec::new()));
    assert_eq!((shown.due_row(), shown.removal_is_due()), (None, true));
}

/// A mirrored policy is what the scheduler reads: the verdict about it must still be one about it.
#[test]
fn of_a_receive_string_the_name_is_kept_and_the_verdict_counts_on() {
    let text = grants::sample();
    let import = json!({ "action": "import", "importParameters": { "receiveString": text } });
    let policy = |hash: u32| {
        let spec = json!({ "frequency": "@hourly", "actions": [import] });
        json!({ "spec": spec, "status": { "validation": "Success", "hash": hash } })
    };
    let hash = spec_hash(&policy(0)["spec"]);
    let kept_as = kept(&policy(hash));
    assert!(!kept_as.to_string().contains(&text), "{kept_as}");
    assert_eq!(kept_as["status"]["hash"], spec_hash(&kept_as["spec"]));
    assert_eq!(kept(&kept_as)["spec"], kept_as["spec"], "a name stays as it is");
    assert_eq!(kept(&policy(hash ^ 1))["status"]["hash"], hash ^ 1, "a stale verdict stays stale");
    let other = json!({ "spec": { "type": "Location" } });
    assert_eq!(kept(&other)["spec"], other["spec"]);
}

/// It stood in the field of an export, and in what a client had noted of what it applied.
#[test]
fn a_receive_string_in_a_wrong_place_is_not_kept() {
    let text = grants::sample();
    let export = json!({ "action": "export", "exportParameters": { "receiveString": text } });
    let applied = json!({ "spec": { "receiveString": text } }).to_string();
    let annotations = json!({ "client.example.com/applied": applied, "team": "shop" });
    let policy = json!({ "metadata": { "annotations": annotations }, "spec": { "actions": [export] } });
    let kept_as = kept(&policy);
    let key = text.split('.').nth(1).unwrap();
    assert!(!kept_as.to_string().contains(&key[key.len() - 80..]), "{kept_as}");
    assert_eq!(kept_as["metadata"]["annotations"], json!({ "team": "shop" }));
}

#[test]
fn a_secret_is_due_when_it_or_the_profile_that_names_it_changes() {
    let mut known = known(vec![
        profile(Restarted, "", Value::Null),
        profile(Applied, "a", json!({ "name": "s" })),
        profile(Listed, "", Value::Null),
    ]);
    assert_eq!(known.due_secret().as_deref(), Some("s"));
    known.secret_is_done("s");
    known.removal_is_done();
    for (name, due) in [("other", None), ("s", Some("s"))] {
        let changed = event(super::super::secrets::kind(), Applied, name, Value::Null);
        known.take(changed, Timestamp::UNIX_EPOCH);
        assert_eq!(known.due_secret().as_deref(), due);
    }
    assert!(!known.removal_is_due());
    known.take(profile(Applied, "a", json!({ "name": "t" })), Timestamp::UNIX_EPOCH);
    assert_eq!(names(known.named_secrets()), Some(vec!["t".to_owned()]));
    assert!(known.removal_is_due());
}

#[test]
fn a_secret_is_due_and_named_while_a_passkey_names_it() {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let mut known = known(vec![profile(Restarted, "", Value::Null), profile(Listed, "", Value::Null)]);
    known.removal_is_done();
    known.passkeys_name(names(&["office", DR_SECRET, INSTANCE_SECRET]));
    assert_eq!(known.due_secret().as_deref(), Some("office"));
    known.secret_is_done("office");
    assert_eq!(known.due_secret(), None, "our own are not ours to ship");
    known.passkeys_name(names(&["office"]));
    assert_eq!((known.due_secret(), known.removal_is_due()), (None, false));
    known.take(event(super::super::secrets::kind(), Applied, "office", Value::Null), Timestamp::UNIX_EPOCH);
    assert_eq!(known.due_secret().as_deref(), Some("office"));
    let named = known.named_secrets().unwrap().into_iter().map(|key| key.name).collect::<Vec<_>>();
    assert_eq!(named, ["office"]);
    known.passkeys_name(names(&[]));
    assert!(known.removal_is_due() && known.named_secrets().unwrap().is_empty());
}

#[test]
fn a_secret_of_another_namespace_and_our_own_are_not_ours_to_keep() {
    let check = |secret: Value, expected: Option<&str>| {
        let event = profile(Applied, "a", secret.clone());
        assert_eq!(secret_of(&event.object, "kasten-io"), expected, "{secret}");
    };
    check(json!({ "name": "s" }), Some("s"));
    check(json!({ "name": "s", "namespace": "" }), Some("s"));
    check(json!({ "name": "s", "namespace": "kasten-io" }), Some("s"));
    check(json!({ "name": "s", "namespace": "kube-system" }), None);
    check(json!({ "name": DR_SECRET }), None);
    check(json!({ "name": INSTANCE_SECRET }), None);
    check(json!({ "name": "" }), None);
    check(Value::Null, None);
}
