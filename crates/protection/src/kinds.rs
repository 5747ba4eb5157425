//! The kinds this crate names, found once in the table of `resources`.

use keelson_catalog::RowKind;
use keelson_model::names::group;
use keelson_resources::{KINDS, KindInfo};
use keelson_workload::Kind;

fn info(kind: &str) -> &'static KindInfo {
    KINDS.iter().find(|info| info.kind == kind).expect("the table of resources holds every kind of ours")
}

macro_rules! aggregated {
    ($($name:ident, $rows:ident = $kind:literal;)*) => {
        $(
            pub(crate) fn $name() -> &'static KindInfo {
                info($kind)
            }

            pub(crate) fn $rows() -> RowKind {
                RowKind::new(info($kind).row_kind())
            }
        )*
    };
}

aggregated! {
    run_action, run_actions = "RunAction";
    backup_action, backup_actions = "BackupAction";
    export_action, export_actions = "ExportAction";
    restore_action, restore_actions = "RestoreAction";
    retire_action, retire_actions = "RetireAction";
    application, applications = "Application";
    restore_point, restore_points = "RestorePoint";
    restore_point_content, restore_point_contents = "RestorePointContent";
    dr_review, dr_reviews = "KastenDRReview";
    dr_restore, dr_restores = "KastenDRRestore";
}

pub(crate) fn profile() -> Kind {
    Kind::namespaced(&format!("{}/{}", group::CONFIG, group::VERSION), "Profile", "profiles")
}

pub(crate) fn policy() -> Kind {
    Kind::namespaced(&format!("{}/{}", group::CONFIG, group::VERSION), "Policy", "policies")
}

/// Rows that mirror configuration are named like the resources they mirror.
pub(crate) fn profiles() -> RowKind {
    RowKind::new(format!("profiles.{}", group::CONFIG))
}

pub(crate) fn policies() -> RowKind {
    RowKind::new(format!("policies.{}", group::CONFIG))
}

pub(crate) fn secrets() -> RowKind {
    RowKind::new("secrets")
}
