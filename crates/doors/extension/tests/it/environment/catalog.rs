//! What lies in the catalog, put there as the platform would and read past the API.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use keelson_catalog::{Actor, Change, Class, Database, Query, Row, RowKind};
use keelson_model::Clock as _;
use keelson_resources::{KindInfo, find_kind};
use serde_json::json;

use super::server::WallClock;
use super::{Environment, INSTALL_NAMESPACE};

/// Rows of one commit, where nobody watches who could miss one of two that share a version.
const ROWS_TOGETHER: usize = 1_000;
const PAGE: usize = 1_000;

/// Uid and version of objects, by `NAMESPACE/NAME`.
pub(crate) type Held = BTreeMap<String, (String, String)>;

fn row(plural: &str, namespace: &str, name: &str, uid: String) -> Row {
    let groups = ["apps.kio.kasten.io", "actions.kio.kasten.io"];
    let kind: &KindInfo = groups.iter().find_map(|group| find_kind(group, plural)).unwrap();
    let spec = match plural {
        "restorepoints" => json!({"restorePointContentRef": {"name": format!("{namespace}-{name}")}}),
        _ => json!({}),
    };
    Row {
        kind: RowKind::new(kind.row_kind()),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid,
        labels: BTreeMap::new(),
        created: WallClock.now(),
        class: Class::Local,
        body: serde_json::to_vec(&json!({"spec": spec, "status": {"state": "Bound"}})).unwrap(),
    }
}

impl Environment {
    fn database(&self) -> Database {
        self.server.platform.catalog().unwrap()
    }

    fn commit(&self, changes: Vec<Change>) {
        self.database().commit(&Actor::new("test"), changes).unwrap();
    }

    /// Writes a restore point, or its content, as the platform would.
    pub(crate) fn put(&self, plural: &str, namespace: &str, name: &str, labels: &[(&str, &str)]) {
        self.put_in_state(plural, namespace, name, labels, "Bound");
    }

    pub(crate) fn put_in_state(
        &self,
        plural: &str,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        state: &str,
    ) {
        let mut row = row(plural, namespace, name, format!("uid-{namespace}-{name}"));
        row.labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut body: serde_json::Value = serde_json::from_slice(&row.body).unwrap();
        body["status"]["state"] = json!(state);
        row.body = serde_json::to_vec(&body).unwrap();
        self.commit(vec![Change::put(row)]);
    }

    /// Writes the object of a repository as the platform would.
    pub(crate) fn put_repository(&self, name: &str) {
        let kind = find_kind("repositories.kio.kasten.io", "storagerepositories").unwrap();
        let body = json!({
            "spec": {"disableMaintenance": false},
            "status": {
                "contentType": "metadata", "backendType": "keelson", "location": {"type": "Volume"},
                "readOnly": false, "processResults": {"processCount": 0, "recentResults": []},
            },
            "internal": {"repository": "07".repeat(16)},
        });
        self.put_object(kind, INSTALL_NAMESPACE, name, &body);
    }

    /// Writes an object of any kind, into the file that holds the kind.
    pub(crate) fn put_object(&self, kind: &KindInfo, namespace: &str, name: &str, body: &serde_json::Value) {
        let class = match kind.kind {
            "Passkey" => Class::Configuration,
            "Application" | "StorageRepository" => Class::Derived,
            _ => Class::Local,
        };
        let row = Row {
            kind: RowKind::new(kind.row_kind()),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: format!("uid-{}-{namespace}-{name}", kind.singular),
            labels: BTreeMap::new(),
            created: WallClock.now(),
            class,
            body: serde_json::to_vec(body).unwrap(),
        };
        let database = self.server.platform.database(kind).unwrap();
        database.commit(&Actor::new("test"), vec![Change::put(row)]).unwrap();
    }

    /// Removes a restore point as the platform would.
    pub(crate) fn remove(&self, namespace: &str, name: &str) {
        let gone = row("restorepoints", namespace, name, String::new());
        self.commit(vec![Change::delete(gone.key())]);
    }

    /// Writes `count` objects with names in order, many in a commit.
    pub(crate) fn fill(&self, plural: &str, namespace: &str, count: usize) {
        let numbers: Vec<usize> = (0..count).collect();
        for numbers in numbers.chunks(ROWS_TOGETHER) {
            let rows = numbers.iter().map(|number| {
                let name = format!("filled-{number:06}");
                let uid = format!("{plural}-{namespace}-{number}");
                Change::put(row(plural, namespace, &name, uid))
            });
            self.commit(rows.collect());
        }
    }

    /// Makes, changes and removes restore points of a namespace, one commit after the other, until told to end; a
    /// name that is used again has another uid. How many commits that were, at least one a name and one.
    pub(crate) fn change_until(&self, namespace: &str, names: usize, end: &AtomicBool) -> usize {
        let mut commits = 0;
        while !end.load(Ordering::Relaxed) || commits <= names {
            self.change(namespace, names, commits);
            commits += 1;
        }
        commits
    }

    /// One of the changes of `change_until`.
    pub(crate) fn change(&self, namespace: &str, names: usize, commits: usize) {
        // Neighbours in time are no neighbours in the order of names.
        let (round, name) = (commits / names, format!("changed-{:04}", commits * 7 % names));
        let mut row = row("restorepoints", namespace, &name, format!("{namespace}-{name}-{}", round / 3));
        row.labels.insert("round".to_owned(), round.to_string());
        row.created = Timestamp::UNIX_EPOCH;
        let change = if round % 3 == 2 { Change::delete(row.key()) } else { Change::put(row) };
        self.commit(vec![change]);
    }

    /// Something happens, to another kind than any test looks at.
    pub(crate) fn be_busy(&self) {
        let mut row = row("exportactions", "default", "busy", "uid-busy".to_owned());
        row.labels.insert("at".to_owned(), self.version().to_string());
        self.commit(vec![Change::put(row)]);
    }

    /// Cuts off what happened until now, as upkeep does once nobody is expected to ask for it any more.
    pub(crate) fn cut_journal(&self) {
        let before = self.database().head().revision.sequence();
        // The newest entry always stays.
        self.be_busy();
        let cut = self.database().cut_prefix(before).unwrap();
        assert!(cut >= before, "all of it is cut off: {cut:?} of {before:?}");
    }

    /// What the catalog holds of a kind in a namespace now.
    pub(crate) fn held(&self, plural: &str, namespace: &str) -> Held {
        let kind = row(plural, namespace, "any", String::new()).kind;
        let mut query = Query { namespace: Some(namespace.to_owned()), ..Query::all(kind, PAGE) };
        let mut held = Held::new();
        loop {
            let page = self.database().list(&query).unwrap();
            held.extend(page.rows.iter().map(|stored| {
                let name = format!("{}/{}", stored.row.namespace, stored.row.name);
                (name, (stored.row.uid.clone(), stored.revision.to_string()))
            }));
            match page.next {
                Some(next) => query.after = Some(next),
                None => return held,
            }
        }
    }

    /// The version of the catalog now.
    pub(crate) fn version(&self) -> u64 {
        self.database().head().revision.as_u64()
    }
}
