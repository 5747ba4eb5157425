//! Where the rows of each kind are kept and of which classes: by that a recovery brings them back, in every mode, in Legacy
//! mode alone, or never. Whoever adds a kind decides it here; every commit is held against it where assertions are on.

use keelson_catalog::{Change, Class, RowKind};
use keelson_model::names::group;
use keelson_resources::configuration::CONFIGURATION;
use keelson_resources::kind_of_row;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// In the catalog, each row of one of these classes.
    Catalog(&'static [Class]),
    /// In the instance file, which is never shipped.
    Instance,
    /// It is answered, and then gone.
    Nowhere,
}

const SHIPPED: Kept = Kept::Catalog(&[Class::Configuration]);
const LOCAL: Kept = Kept::Catalog(&[Class::Local]);
/// Shipped in every mode once it is exported.
const BY_EXPORT: Kept = Kept::Catalog(&[Class::Configuration, Class::Local]);
const DERIVED: Kept = Kept::Catalog(&[Class::Derived]);

/// The kinds that the API serves.
const SERVED: &[(&str, Kept)] = &[
    ("BackupAction", LOCAL),
    ("BackupClusterAction", LOCAL),
    ("BatchRestoreAction", LOCAL),
    ("CancelAction", Kept::Nowhere),
    ("ExportAction", LOCAL),
    ("ImportAction", LOCAL),
    ("ReportAction", LOCAL),
    ("RestoreAction", LOCAL),
    ("RestoreClusterAction", LOCAL),
    ("RetireAction", LOCAL),
    ("RunAction", LOCAL),
    ("UpgradeAction", LOCAL),
    ("ValidateAction", LOCAL),
    ("Application", DERIVED),
    ("ClusterRestorePoint", BY_EXPORT),
    ("RestorePoint", BY_EXPORT),
    ("RestorePointContent", BY_EXPORT),
    // That of the instance Secret itself is computed.
    ("Passkey", Kept::Catalog(&[Class::Configuration, Class::Derived])),
    ("KastenDRRestore", Kept::Instance),
    ("KastenDRReview", Kept::Instance),
    ("StorageRepository", DERIVED),
];

/// The kinds of rows that nobody is served.
const UNSERVED: &[(&str, Kept)] = &[
    ("exports-taken", SHIPPED),
    ("former-dr-repositories", SHIPPED),
    ("grants-given", SHIPPED),
    ("grants-held", SHIPPED),
    ("orphans", SHIPPED),
    ("repositories", SHIPPED),
    ("repositories-imported", SHIPPED),
    ("repository-settings", SHIPPED),
    ("secrets", SHIPPED),
    ("shipping", SHIPPED),
    ("work", DERIVED),
    ("disaster-recovery", Kept::Instance),
    ("dr-runs", Kept::Instance),
    ("identity", Kept::Instance),
    ("maintenance", Kept::Instance),
    ("ownership", Kept::Instance),
    ("passkey-forms", Kept::Instance),
    ("schedules", Kept::Instance),
];

/// The first kind that is written and not listed, or not as of this class.
pub(crate) fn find_unlisted(changes: &[Change]) -> Option<(&RowKind, Class)> {
    let mut written = changes.iter().filter_map(|change| match change {
        Change::Put { row, expect: _ } => Some((&row.kind, row.class)),
        Change::Delete { .. } | Change::RecordStep { .. } | Change::DropSteps { .. } => None,
    });
    written.find(|(kind, class)| !is_listed(kind, *class))
}

fn is_listed(kind: &RowKind, class: Class) -> bool {
    match kept(kind.as_str()) {
        Some(Kept::Catalog(classes)) => classes.contains(&class),
        Some(Kept::Instance) => true,
        Some(Kept::Nowhere) | None => false,
    }
}

fn kept(rows: &str) -> Option<Kept> {
    if let Some(served) = kind_of_row(rows) {
        return find(SERVED, served.kind);
    }
    if let Some(action) = rows.strip_prefix("history.") {
        return kind_of_row(action).and_then(|action| find(SERVED, action.kind));
    }
    if CONFIGURATION.iter().any(|mirrored| rows.split_once('.') == Some((mirrored.plural, group::CONFIG))) {
        return Some(SHIPPED);
    }
    find(UNSERVED, rows)
}

fn find(table: &[(&str, Kept)], name: &str) -> Option<Kept> {
    table.iter().find(|(listed, _)| *listed == name).map(|(_, kept)| *kept)
}

#[cfg(test)]
mod tests;
