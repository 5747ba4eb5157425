//! Where a copy counts, and what becomes of one whose content has changed meanwhile.

use std::sync::Arc;

use jiff::Timestamp;
use keelson_catalog::{Actor, Change, Class, DataDir, Expect, RowKind};
use keelson_crypto::CatalogKey;
use keelson_model::{ManualClock, SessionId};
use tempfile::TempDir;

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const LOCAL: u8 = 1;
const TARGET: u8 = 2;
const FORMER: u8 = 3;
const LOST: u8 = 4;

fn place(path: &str) -> Place {
    Place::FileStore { claim: "share".to_owned(), path: path.to_owned() }
}

fn here() -> Here {
    let [local, target] = [LOCAL, TARGET].map(|id| RepositoryId::from_bytes([id; 16]));
    Here { local, target, place: place("here") }
}

fn artifact(repository: u8, path: Option<&str>, copy: Option<Artifact>) -> Artifact {
    let exported = path.map(|path| ExportedTo {
        profile: path.to_owned(),
        place: place(path),
        root: format!("k10/source/dr/{repository}"),
        granted: None,
    });
    let (repository, outcome) = (RepositoryId::from_bytes([repository; 16]), SessionId::from_bytes([9; 16]));
    Artifact {
        repository,
        outcome,
        exported,
        copy: copy.map(Box::new),
        objects: 1,
        bytes: 2,
        stored_bytes: Some(3),
    }
}

/// Whatever had any copy anywhere was left alone.
#[test]
fn a_copy_counts_where_a_recovery_from_here_finds_it() {
    let check = |repository: u8, copy: Option<(u8, &str)>, expected: bool| {
        let copy = copy.map(|(repository, path)| artifact(repository, Some(path), None));
        assert_eq!(here().is_safe(&artifact(repository, None, copy.clone())), expected, "{copy:?}");
    };
    check(LOCAL, None, false);
    check(LOCAL, Some((TARGET, "here")), true);
    check(LOCAL, Some((FORMER, "here")), false);
    check(LOCAL, Some((FORMER, "elsewhere")), false);
    check(LOST, None, true);
    check(LOST, Some((FORMER, "here")), true);
    check(LOST, Some((FORMER, "elsewhere")), false);
    assert!(here().is_safe(&artifact(FORMER, Some("elsewhere"), None)), "an export is where it was sent");
}

/// A catalog with one content, as a run has read it.
struct Stage {
    _directory: TempDir,
    database: Database,
    content: Record,
}

impl Stage {
    fn with(copy: Option<Artifact>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(directory.path(), Arc::new(ManualClock::new(NOW))).unwrap();
        let database = data.create_first(&CatalogKey::generate(), b"").unwrap();
        let mut content = Record::new(kinds::restore_point_content(), "", "shop-x1", NOW, Class::Local);
        content.body.internal = json!({ "artifact": artifact(LOCAL, None, copy) });
        let mut stage = Self { _directory: directory, database, content };
        stage.commit(stage.content.put(Expect::Absent));
        stage.content = stage.read().unwrap();
        stage
    }

    fn commit(&self, change: Change) {
        self.database.commit(&Actor::new("test"), vec![change]).unwrap();
    }

    fn read(&self) -> Option<Record> {
        self.database.read(&self.content.key()).unwrap().map(|stored| Record::parse(&stored).unwrap())
    }

    /// Somebody wanted the content gone; that is how far its RetireAction is.
    fn mark_retiring(&self, state: &str) {
        let mut content = self.content.clone();
        content.body.internal["retiring"] = json!("retire-shop-x1");
        self.commit(content.replace());
        let mut action = Record::new(kinds::retire_action(), "", "retire-shop-x1", NOW, Class::Local);
        action.body.status = json!({ "state": state });
        self.commit(action.put(Expect::Absent));
    }

    async fn name(&self, outcome: u8) {
        let outcome = SessionId::from_bytes([outcome; 16]);
        let copy = Artifact { outcome, ..artifact(TARGET, Some("here"), None) };
        name(&self.database, &here(), &self.content, copy, NOW).await.unwrap();
    }

    /// The outcomes of the copies that the content names, the newest first.
    fn named(&self) -> Vec<SessionId> {
        let content = self.read().unwrap().internal::<ContentInternal>().unwrap();
        let copies = std::iter::successors(content.artifact.copy, |copy| copy.copy.clone());
        copies.map(|copy| copy.outcome).collect()
    }

    fn orphans(&self) -> u64 {
        self.database.count(&RowKind::new("orphans")).unwrap()
    }
}

/// The run answered that all was well, and the next one copied everything again.
#[tokio::test]
async fn a_content_that_has_changed_meanwhile_names_its_copy() {
    let former = artifact(FORMER, Some("elsewhere"), None);
    let stage = Stage::with(Some(former.clone()));
    let mut changed = stage.content.clone();
    changed.body.status = json!({ "state": "Unbound" });
    stage.commit(changed.replace());
    stage.name(7).await;
    assert_eq!(stage.named(), [SessionId::from_bytes([7; 16]), former.outcome]);
    assert_eq!(stage.read().unwrap().body.status["state"], "Unbound");
    assert_eq!(stage.orphans(), 0);
}

/// Two runs at once left an outcome that nobody named.
#[tokio::test]
async fn of_two_copies_of_one_content_the_later_is_an_orphan() {
    let stage = Stage::with(None);
    stage.name(7).await;
    stage.name(8).await;
    assert_eq!(stage.named(), [SessionId::from_bytes([7; 16])]);
    assert_eq!(stage.orphans(), 1);
}

#[tokio::test]
async fn a_copy_of_what_is_gone_or_goes_is_an_orphan() {
    let stage = Stage::with(None);
    stage.mark_retiring("Running");
    stage.name(7).await;
    assert_eq!((stage.named(), stage.orphans()), (Vec::new(), 1));
    stage.commit(Change::delete(stage.content.key()));
    stage.name(8).await;
    assert_eq!(stage.orphans(), 2);
}

/// Its note stayed, and maintenance took away what the content relied on.
#[tokio::test]
async fn a_copy_that_was_given_up_and_is_named_after_all_is_no_orphan() {
    let stage = Stage::with(None);
    let copy = Artifact { outcome: SessionId::from_bytes([7; 16]), ..artifact(TARGET, Some("here"), None) };
    stage.commit(orphans::note(&copy, NOW));
    stage.name(7).await;
    assert_eq!((stage.named(), stage.orphans()), (vec![copy.outcome], 0));
}

/// The wish is over: the content is there to stay, and needs its copy.
#[tokio::test]
async fn a_content_whose_retirement_failed_is_copied() {
    let stage = Stage::with(None);
    stage.mark_retiring("Failed");
    stage.name(7).await;
    assert_eq!((stage.named().len(), stage.orphans()), (1, 0));
}
