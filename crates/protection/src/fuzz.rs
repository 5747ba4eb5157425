//! What this crate reads of bytes from outside, and what must hold of whatever comes out. For the crate's tests and for
//! the targets in `fuzz/`; no product has it.

mod samples;

use std::collections::BTreeMap;
use std::fmt::Debug;

use jiff::Timestamp;
use keelson_model::Revision;
use keelson_resources::storage_repository::StorageRepositorySpec;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::actions::Work;
use crate::audit::{Deed, withstand_lines, withstand_series, withstand_told};
use crate::backup::{BackupDescription, Committing, StoredBackup};
use crate::batch::BatchPlan;
use crate::epochs::{Claim, RetiredBefore};
use crate::grants::{self, ImportedRow, Kept};
use crate::identity::Identity;
use crate::import::taken::Taken;
use crate::instance_secret::{self, SecretData};
use crate::layout::{Epoch, Position, parse_granted};
use crate::maintenance::Passes;
use crate::mirror::MirroredSecret;
use crate::ownership::Ownership;
use crate::passkeys::form::Form;
use crate::passphrases::KnownSource;
use crate::records::Body;
use crate::recovery::documents::{
    BaseDocument, CardDocument, ManifestDocument, SegmentDirectory, StartDocument,
};
use crate::recovery::drill::Drills;
use crate::recovery::kit::Kit;
use crate::recovery::report::ReportDocument;
use crate::recovery::run::RunDescription;
use crate::recovery::run::retention::Facts;
use crate::recovery::ship::writers::Started;
use crate::recovery::state::{
    BasesLost, Copied, Covered, DrRepository, Dropped, Enabled, Enabling, LateExports, Moved, Moving, Owed,
    Recovered,
};
use crate::repositories::RepositoryRow;
use crate::restore_points::{Artifact, ExportedTo};
use crate::run::RunPlan;
use crate::scheduler::Due;
use crate::status::InstanceStatus;

pub use samples::samples;

/// A decoder by name.
pub type Decoder = (&'static str, fn(&[u8]) -> bool);

/// Every decoder. Each asserts its rules and says whether it took the bytes.
pub const TARGETS: &[Decoder] = &[
    ("name of a position", position),
    ("base", |bytes| {
        json::<BaseDocument>(bytes, |base| {
            placed(base.at);
            base.parent.iter().for_each(|fork| placed(fork.at));
        })
    }),
    ("manifest", |bytes| {
        json::<ManifestDocument>(bytes, |manifest| {
            placed(manifest.at);
            placed(manifest.base);
        })
    }),
    ("start", |bytes| json::<StartDocument>(bytes, |start| placed(start.head))),
    ("segment's directory", |bytes| {
        json::<SegmentDirectory>(bytes, |segment| {
            placed(segment.first);
            placed(segment.last);
        })
    }),
    ("card", |bytes| json::<CardDocument>(bytes, |_| {})),
    ("claim", |bytes| json::<Claim>(bytes, |_| {})),
    ("retired before a claim", |bytes| json::<RetiredBefore>(bytes, |_| {})),
    ("description of a run", |bytes| json::<RunDescription>(bytes, |_| {})),
    ("description of a backup", |bytes| json::<BackupDescription>(bytes, |_| {})),
    ("body of a row", |bytes| json::<Body>(bytes, |_| {})),
    ("artifact", |bytes| json::<Artifact>(bytes, |_| {})),
    ("repository's row", |bytes| json::<RepositoryRow>(bytes, |_| {})),
    ("receive string", |bytes| std::str::from_utf8(bytes).is_ok_and(grants::reads_as_written)),
    ("folder of a granted repository", granted),
    ("grant's row", |bytes| json::<Kept>(bytes, |_| {})),
    ("imported repository", |bytes| json::<ImportedRow>(bytes, |_| {})),
    ("export that was taken in", |bytes| json::<Taken>(bytes, |_| {})),
    ("actor of the journal", |bytes| json::<Deed>(bytes, |_| {})),
    ("repository's settings", |bytes| {
        json::<StorageRepositorySpec>(bytes, |settings| {
            let _ = settings.process_timeout();
        })
    }),
    ("secret's row", |bytes| json::<MirroredSecret>(bytes, |_| {})),
    ("work's row", |bytes| json::<Work>(bytes, |_| {})),
    ("where it is enabled to", |bytes| json::<Enabled>(bytes, |_| {})),
    ("kit", |bytes| json::<Kit>(bytes, |kit| placed(kit.head.at))),
    ("report", |bytes| json::<ReportDocument>(bytes, |_| {})),
    ("signed report", signed_report),
    ("recovery under way", |bytes| {
        json::<Recovered>(bytes, |recovered| {
            if let Some(replay) = recovered.plan.material.replay() {
                placed(replay.base);
                let _ = Revision::new(replay.base.generation, replay.through);
            }
        })
    }),
    ("form of a Passkey", |bytes| json::<Form>(bytes, |_| {})),
    ("identity", |bytes| json::<Identity>(bytes, |_| {})),
    ("what is owned", |bytes| {
        json::<Ownership>(bytes, |owned| {
            for held in owned.held.values() {
                let _ = held.waits_until(Timestamp::MIN);
            }
        })
    }),
    ("passes of maintenance", |bytes| json::<Passes>(bytes, |_| {})),
    ("when a policy is due", |bytes| json::<Due>(bytes, |_| {})),
    ("starts", |bytes| json::<Started>(bytes, |_| {})),
    ("facts of a run", |bytes| json::<Facts>(bytes, |facts| placed(facts.at))),
    ("drills", |bytes| json::<Drills>(bytes, |_| {})),
    ("last run", |bytes| json::<Timestamp>(bytes, |_| {})),
    ("move to a new chain", |bytes| json::<Moved>(bytes, |_| {})),
    ("move under way", |bytes| json::<Moving>(bytes, |moving| placed(moving.fork.at))),
    ("what was copied", |bytes| json::<Copied>(bytes, |_| {})),
    ("what was dropped", |bytes| json::<Dropped>(bytes, |_| {})),
    ("loss of bases", |bytes| json::<BasesLost>(bytes, |_| {})),
    ("what is covered", |bytes| json::<Covered>(bytes, |_| {})),
    ("source of the passphrase", |bytes| json::<KnownSource>(bytes, |_| {})),
    ("enabling under way", |bytes| json::<Enabling>(bytes, |_| {})),
    ("former repository", |bytes| json::<DrRepository>(bytes, |_| {})),
    ("late exports", |bytes| json::<LateExports>(bytes, |_| {})),
    ("what is being committed", |bytes| json::<Committing>(bytes, |_| {})),
    ("stored backup", |bytes| json::<StoredBackup>(bytes, |_| {})),
    ("stored export", |bytes| json::<(StoredBackup, ExportedTo)>(bytes, |_| {})),
    ("plan of a run", |bytes| json::<RunPlan>(bytes, |_| {})),
    ("plan of a batch", |bytes| json::<BatchPlan>(bytes, |_| {})),
    ("status of an instance", |bytes| json::<InstanceStatus>(bytes, |_| {})),
    ("what the cluster is owed", |bytes| json::<Vec<Owed>>(bytes, |_| {})),
    ("events of the trail", withstand_lines),
    ("end of a series of events", withstand_series),
    ("how far events were told", withstand_told),
    ("instance Secret", secret),
];

/// What is read is written as a text that reads as the same.
fn json<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8], check: fn(&T)) -> bool {
    let Ok(value) = serde_json::from_slice::<T>(bytes) else { return false };
    check(&value);
    let again = serde_json::to_vec(&value).expect("our documents are plain data");
    let again = serde_json::from_slice::<T>(&again);
    assert!(again.is_ok(), "{value:?} is written and cannot be read: {again:?}");
    assert_eq!(again.ok().as_ref(), Some(&value));
    true
}

/// Whatever position is read has a revision and a name, and the name is that position's.
fn placed(at: Position) {
    assert_eq!(Position::of(at.epoch, at.revision()), at);
    assert_eq!(at.to_string().parse(), Ok(at));
}

fn position(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(at) = text.parse::<Position>() else { return false };
    assert_eq!(at.to_string(), text, "one position has one name");
    placed(at);
    assert!(at.epoch <= Epoch::MAX);
    true
}

fn granted(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Some((cluster, repository)) = parse_granted(text) else { return false };
    assert_eq!(format!("{cluster}.{repository}"), text, "one repository has one folder");
    true
}

/// A Secret whose values are texts.
fn secret(bytes: &[u8]) -> bool {
    let Ok(texts) = serde_json::from_slice::<BTreeMap<String, String>>(bytes) else { return false };
    let data = texts.into_iter().map(|(name, text)| (name, Zeroizing::new(text.into_bytes())));
    instance_secret::withstand(&data.collect::<SecretData>())
}

/// As whoever holds the key signed it, whatever he signed; and never what nobody signed.
fn signed_report(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let key = samples::signing_key();
    let line = text.lines().next().unwrap_or_default();
    if ReportDocument::check(text, &key.public()).is_ok() {
        assert_eq!(Some(line), samples::signed_report().lines().next(), "nobody signed this");
    }
    let Ok(document) = ReportDocument::check(&ReportDocument::sign_line(line, &key), &key.public()) else {
        return false;
    };
    let again = ReportDocument::check(&document.sign(&key), &key.public());
    assert_eq!(again.ok().as_ref(), Some(&document));
    true
}

#[cfg(test)]
mod tests {
    use keelson_hostile::Bombardment;

    use super::*;

    #[test]
    fn whatever_the_bytes_they_are_read_as_written_or_refused() {
        Bombardment::of(TARGETS, samples()).run();
    }
}
