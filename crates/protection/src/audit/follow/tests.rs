//! A journal that grows, a follower that dies at any moment, and what the files hold in the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use keelson_catalog::{Actor, Change, Class, DataDir, Row, RowKey};
use keelson_crypto::CatalogKey;
use keelson_model::{Clock as _, ManualClock};
use keelson_resources::KINDS;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::audit::series::files;
use crate::audit::{Deed, FOLDER, read};
use crate::kinds;
use crate::requester::{Requester, User};

const SECRET: &str = "hunter2";

struct World {
    directory: TempDir,
    catalog: Database,
    _data: DataDir,
    clock: Arc<ManualClock>,
}

impl World {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new("2026-03-04T05:06:07Z".parse().unwrap()));
        let data = DataDir::open(directory.path(), clock.clone()).unwrap();
        let catalog = data.create_first(&CatalogKey::generate(), b"").unwrap();
        Self { directory, catalog, _data: data, clock }
    }

    fn folder(&self) -> std::path::PathBuf {
        self.directory.path().join(FOLDER)
    }

    fn resume(&self) -> Follower {
        let known = read_told(&self.folder()).unwrap().map(|told| told.catalog);
        Follower::resume(&self.folder(), CATALOG, known).unwrap()
    }

    fn row(&self, kind: &str, name: &str) -> Row {
        Row {
            kind: keelson_catalog::RowKind::new(kind),
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            uid: format!("{kind}-{name}"),
            labels: BTreeMap::new(),
            created: self.clock.now(),
            class: Class::Local,
            body: format!("{{\"spec\":\"{SECRET}\",\"at\":\"{}\"}}", self.catalog.head().revision)
                .into_bytes(),
        }
    }

    fn commit(&self, actor: &Actor, changes: Vec<Change>) -> Revision {
        self.clock.advance(Duration::from_millis(1));
        self.catalog.commit(actor, changes).unwrap()
    }

    /// Of the one file that there is.
    fn bytes(&self) -> u64 {
        let newest = files(&self.folder(), CATALOG).unwrap().pop();
        newest.map_or(0, |(_, path)| fs::metadata(path).unwrap().len())
    }

    /// In the moment of its death a process has written any part of what it was about to.
    fn cut_off(&self, bytes: u64) {
        let Some((_, path)) = files(&self.folder(), CATALOG).unwrap().pop() else { return };
        File::options().write(true).open(path).unwrap().set_len(self.bytes() - bytes).unwrap();
    }

    /// All that is in the files.
    fn told(&self) -> Vec<Value> {
        let told = read(self.directory.path()).unwrap().map(|told| told.unwrap().line);
        told.map(|line| serde_json::from_str(&line).unwrap()).collect()
    }
}

fn alice() -> Requester {
    user("alice")
}

fn user(name: &str) -> Requester {
    let groups = vec!["system:authenticated".to_owned()];
    Requester::User(User { name: name.to_owned(), uid: "u-1".to_owned(), groups, extra: BTreeMap::new() })
}

/// Small and always the same, so that a failure can be looked at.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

#[test]
fn each_entry_is_told_once_in_the_files_and_at_least_once_to_who_listens() {
    let world = World::start();
    let mut random = Random(7);
    let printed = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&printed);
    let mut sink: Option<Sink> = Some(Box::new(move |lines| {
        listener.lock().unwrap().extend_from_slice(lines);
        Ok(())
    }));
    let served: Vec<String> = KINDS.iter().map(|kind| kind.row_kind()).collect();
    let mut follower = world.resume();
    let mut expected = Vec::new();
    for number in 0..400 {
        let name = format!("object-{number}");
        let expect = |revision: Revision, number: usize, of: usize| format!("{revision} {number}/{of}");
        match random.below(3) {
            0 => {
                let key = RowKey::new(kinds::backup_actions(), "shop", &*name);
                let deed = Deed::new(&alice(), "create", key, "");
                let row = world.row(&kinds::backup_actions().to_string(), &name);
                let revision = world.commit(&Actor::from(&deed), vec![Change::put(row)]);
                expected.push(expect(revision, 1, 1));
            }
            1 => {
                let kinds = &served[..1 + random.below(served.len())];
                let changes = kinds.iter().map(|kind| Change::put(world.row(kind, &name))).collect();
                let revision = world.commit(&Actor::new("retention"), changes);
                expected.extend((1..=kinds.len()).map(|number| expect(revision, number, kinds.len())));
            }
            _ => drop(world.commit(&Actor::new("mirror"), vec![Change::put(world.row("secrets", &name))])),
        }
        if random.below(8) == 0 {
            let before = world.bytes();
            follower.follow(&world.catalog, world.clock.now(), &mut sink).unwrap();
            if random.below(3) == 0 {
                // Of what it has just told any part from the end may not be there.
                let written = world.bytes() - before;
                world.cut_off(random.below(written as usize + 1) as u64);
                follower = world.resume();
            } else if random.below(3) == 0 {
                write_told(&world.folder(), &ToldThrough { catalog: follower.told, instance: START })
                    .unwrap();
            }
        }
    }
    follower.follow(&world.catalog, world.clock.now(), &mut sink).unwrap();
    let told = world.told();
    let place = |event: &Value| event["annotations"]["k10.kasten.io/journal"].as_str().unwrap().to_owned();
    assert_eq!(told.iter().map(place).collect::<Vec<_>>(), expected);
    let mut ids: Vec<_> = told.iter().map(|event| event["auditID"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), expected.len(), "no two are of one name");
    let printed = String::from_utf8(printed.lock().unwrap().clone()).unwrap();
    assert!(!printed.contains(SECRET));
    let mut listened: Vec<String> =
        printed.lines().map(|line| place(&serde_json::from_str(line).unwrap())).collect();
    assert!(listened.len() >= expected.len());
    listened.sort_unstable();
    listened.dedup();
    expected.sort_unstable();
    assert_eq!(listened, expected);
}

#[test]
fn an_event_says_who_did_what_to_which_object_and_nothing_of_what_is_in_it() {
    let world = World::start();
    let key = RowKey::new(kinds::restore_points(), "shop", "one");
    let row = world.row(&kinds::restore_points().to_string(), "one");
    world.commit(&Actor::new("applications"), vec![Change::put(row)]);
    let deed = Deed::new(&alice(), "deletecollection", key.clone(), "id-of-the-request");
    world.commit(&Actor::from(&deed), vec![Change::delete(key)]);
    let mut sink = None;
    world.resume().follow(&world.catalog, world.clock.now(), &mut sink).unwrap();
    let [made, deleted] = world.told().try_into().unwrap();
    let uri = "/apis/apps.kio.kasten.io/v1alpha1/namespaces/shop/restorepoints/one";
    let object = serde_json::json!({ "resource": "restorepoints", "namespace": "shop", "name": "one",
        "apiGroup": "apps.kio.kasten.io", "apiVersion": "v1alpha1" });
    let event = |time: &str, id: &Value, verb: &str, user: Value, code: u16, annotations: Value| {
        serde_json::json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": id,
            "stage": "ResponseComplete", "requestURI": uri, "verb": verb, "user": user, "objectRef": object,
            "responseStatus": { "metadata": {}, "code": code }, "requestReceivedTimestamp": time,
            "stageTimestamp": time, "annotations": annotations,
        })
    };
    let annotations = serde_json::json!({ "k10.kasten.io/event": "K10Event", "k10.kasten.io/part": "applications",
        "k10.kasten.io/journal": format!("{} 1/1", made["annotations"]["k10.kasten.io/journal"].as_str()
            .unwrap().split(' ').next().unwrap()) });
    let (time, platform) = ("2026-03-04T05:06:07.001000Z", serde_json::json!({ "username": "keelson" }));
    assert_eq!(made, event(time, &made["auditID"], "create", platform, 201, annotations));
    let time = "2026-03-04T05:06:07.002000Z";
    let user = serde_json::json!({ "username": "alice", "uid": "u-1", "groups": ["system:authenticated"] });
    let annotations = serde_json::json!({ "k10.kasten.io/event": "K10Event",
        "k10.kasten.io/journal": format!("{} 1/1", world.catalog.head().revision) });
    assert_eq!(deleted, event(time, &"id-of-the-request".into(), "deletecollection", user, 200, annotations));
}

#[test]
fn what_was_cut_off_before_it_was_told_is_told_as_lost() {
    let world = World::start();
    let put = |name: &str| {
        let row = world.row(&kinds::backup_actions().to_string(), name);
        world.commit(&Actor::new("test"), vec![Change::put(row)])
    };
    put("before");
    let cut = put("any trail");
    world.catalog.cut_prefix(cut.sequence()).unwrap();
    put("first");
    let mut sink = None;
    let mut follower = world.resume();
    follower.follow(&world.catalog, world.clock.now(), &mut sink).unwrap();
    let verbs =
        || world.told().iter().map(|event| event["verb"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let kept = verbs().len();
    assert!(verbs().iter().all(|verb| verb == "create"), "there was no trail before: {:?}", verbs());
    put("lost");
    let lost = put("lost too");
    put("kept");
    world.catalog.cut_prefix(lost.sequence()).unwrap();
    follower.follow(&world.catalog, world.clock.now(), &mut sink).unwrap();
    let told = world.told();
    assert_eq!(verbs()[kept..], ["lose", "create"], "{told:?}");
    let what = told[kept]["annotations"]["k10.kasten.io/lost"].as_str().unwrap();
    assert!(what.ends_with("of the catalog") && what.starts_with("entries "), "{what}");
}

/// A person of that name would pass for the platform.
#[test]
fn whoever_calls_himself_as_a_part_of_the_platform_is_told_as_a_person() {
    let world = World::start();
    let someone = user("retention");
    let key = RowKey::new(kinds::backup_actions(), "shop", "b");
    let row = world.row(&kinds::backup_actions().to_string(), "b");
    world.commit(&Actor::from(&Deed::new(&someone, "create", key, "")), vec![Change::put(row)]);
    let mut sink = None;
    world.resume().follow(&world.catalog, world.clock.now(), &mut sink).unwrap();
    let told = world.told();
    assert_eq!(told[0]["user"]["username"], "retention");
    assert_eq!(told[0]["annotations"].get("k10.kasten.io/part"), None);
}
