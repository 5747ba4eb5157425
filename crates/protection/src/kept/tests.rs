//! What a recovery of each mode brings back, and that nothing is left out without a reason.

use std::collections::BTreeSet;

use jiff::Timestamp;
use keelson_catalog::{RowKey, RowKind};
use keelson_model::recovery::DrMode;
use keelson_resources::{KINDS, Verb};

use super::*;
use crate::records::plain_row;
use crate::recovery::ship::scope_of;

/// What no recovery brings back, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("CancelAction", "it asks once and is not kept"),
    ("Application", "it is computed from the namespaces that are there"),
    (
        "StorageRepository",
        "it is computed from repositories; what a user sets of one is in repository-settings",
    ),
    ("KastenDRRestore", "it is a recovery of this installation"),
    ("KastenDRReview", "it is a look of this installation at a location"),
    ("work", "what was running is interrupted by the loss, and ended by the recovery"),
    ("disaster-recovery", "where shipping, drills and recoveries of this installation stand"),
    ("dr-runs", "the runs of this installation; their manifests lie in the location"),
    ("identity", "a recovered installation has one of its own; its keys come out of the repository"),
    ("maintenance", "when this installation maintains"),
    ("ownership", "what this installation owns; a recovered one claims anew"),
    ("passkey-forms", "what this volume has sealed; each volume makes its own"),
    ("schedules", "when a policy is due here is computed from its frequency"),
];

/// The classes of a kind's rows that a recovery brings back.
fn brought_back(kept: Kept, mode: DrMode) -> Vec<Class> {
    match kept {
        Kept::Catalog(classes) => {
            classes.iter().copied().filter(|class| scope_of(mode).covers(*class)).collect()
        }
        Kept::Instance | Kept::Nowhere => Vec::new(),
    }
}

/// Every kind that is served, every kind of configuration, and what else is kept, by the kind of its rows.
fn all() -> Vec<(&'static str, String)> {
    let served = KINDS.iter().map(|kind| (kind.kind, kind.row_kind()));
    let configured = CONFIGURATION.iter().map(|of| (of.kind, format!("{}.{}", of.plural, group::CONFIG)));
    let unserved = UNSERVED.iter().map(|(rows, _)| (*rows, (*rows).to_owned()));
    served.chain(configured).chain(unserved).collect()
}

#[test]
fn every_kind_is_in_a_recovery_or_left_out_for_a_reason() {
    let mut left_out = BTreeSet::new();
    for (name, rows) in all() {
        let kept = kept(&rows);
        assert!(kept.is_some(), "nobody has decided whether a recovery brings '{name}' back");
        if kept.is_some_and(|kept| brought_back(kept, DrMode::Legacy).is_empty()) {
            left_out.insert(name);
        }
    }
    assert_eq!(left_out, LEFT_OUT.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>());
}

#[test]
fn what_cannot_be_read_again_is_what_is_kept_nowhere() {
    for kind in KINDS {
        assert_eq!(kept(&kind.row_kind()) == Some(Kept::Nowhere), !kind.allows(Verb::Get), "{}", kind.kind);
    }
}

#[test]
fn quick_modes_bring_back_configuration_and_what_was_exported_and_legacy_the_rest_too() {
    use Class::{Configuration, Local};
    let check = |rows: &str, quick: &[Class], legacy: &[Class]| {
        for mode in DrMode::ALL {
            let expected = if mode.is_quick() { quick } else { legacy };
            assert_eq!(brought_back(kept(rows).unwrap(), mode), expected, "{rows}, {mode}");
        }
    };
    for of in &CONFIGURATION {
        check(&format!("{}.{}", of.plural, group::CONFIG), &[Configuration], &[Configuration]);
    }
    for kind in KINDS.iter().filter(|kind| kind.group == group::ACTIONS && kind.allows(Verb::Get)) {
        check(&kind.row_kind(), &[], &[Local]);
        check(&format!("history.{}", kind.row_kind()), &[], &[Local]);
    }
    for points in ["restorepoints", "clusterrestorepoints", "restorepointcontents"] {
        check(&format!("{points}.{}", group::APPS), &[Configuration], &[Configuration, Local]);
    }
    for rows in ["secrets", "repositories", "grants-held", "exports-taken"] {
        check(rows, &[Configuration], &[Configuration]);
    }
}

#[test]
fn a_row_of_an_unknown_kind_or_of_another_class_is_not_listed() {
    let check = |rows: &str, class: Class, expected: bool| {
        let key = RowKey::new(RowKind::new(rows), "", "a");
        let change = Change::put(plain_row(key, class, &(), Timestamp::UNIX_EPOCH));
        assert_eq!(find_unlisted(&[change]).is_none(), expected, "{rows} {class}");
    };
    check("secrets", Class::Configuration, true);
    check("secrets", Class::Local, false);
    check("identity", Class::Local, true);
    check("schedules", Class::Derived, true);
    check("nobody-listed-this", Class::Configuration, false);
}
