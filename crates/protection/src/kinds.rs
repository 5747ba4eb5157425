//! The kinds this crate names, found once in the table of `resources`.

use keelson_catalog::RowKind;
use keelson_model::names::group;
use keelson_resources::configuration::CONFIGURATION;
use keelson_resources::{KINDS, KindInfo, Verb};
use keelson_workload::Kind;

fn info(kind: &str) -> &'static KindInfo {
    KINDS.iter().find(|info| info.kind == kind).expect("the table of resources holds every kind of ours")
}

macro_rules! kinds {
    ($($name:ident = $kind:literal;)*) => {
        $(pub(crate) fn $name() -> &'static KindInfo {
            info($kind)
        })*
    };
}

kinds! {
    run_action = "RunAction";
    backup_action = "BackupAction";
    backup_cluster_action = "BackupClusterAction";
    batch_restore_action = "BatchRestoreAction";
    export_action = "ExportAction";
    import_action = "ImportAction";
    report_action = "ReportAction";
    restore_action = "RestoreAction";
    restore_cluster_action = "RestoreClusterAction";
    retire_action = "RetireAction";
    application = "Application";
    cluster_restore_point = "ClusterRestorePoint";
    restore_point = "RestorePoint";
    restore_point_content = "RestorePointContent";
    dr_review = "KastenDRReview";
    dr_restore = "KastenDRRestore";
    storage_repository = "StorageRepository";
    passkey = "Passkey";
}

/// The kinds of actions that are kept, and must come to an end.
pub(crate) fn actions() -> impl Iterator<Item = RowKind> {
    let kept = KINDS.iter().filter(|kind| kind.group == group::ACTIONS && kind.allows(Verb::Get));
    kept.map(|kind| RowKind::new(kind.row_kind()))
}

macro_rules! rows {
    ($($name:ident = $kind:literal;)*) => {
        $(pub(crate) fn $name() -> RowKind {
            RowKind::new(info($kind).row_kind())
        })*
    };
}

rows! {
    run_actions = "RunAction";
    backup_actions = "BackupAction";
    backup_cluster_actions = "BackupClusterAction";
    batch_restore_actions = "BatchRestoreAction";
    export_actions = "ExportAction";
    restore_actions = "RestoreAction";
    restore_cluster_actions = "RestoreClusterAction";
    retire_actions = "RetireAction";
    applications = "Application";
    cluster_restore_points = "ClusterRestorePoint";
    restore_points = "RestorePoint";
    restore_point_contents = "RestorePointContent";
    dr_reviews = "KastenDRReview";
    storage_repositories = "StorageRepository";
    passkeys = "Passkey";
}

pub(crate) fn profile() -> Kind {
    configured("Profile", "profiles")
}

pub(crate) fn policy() -> Kind {
    configured("Policy", "policies")
}

pub(crate) fn preset() -> Kind {
    configured("PolicyPreset", "policypresets")
}

pub(crate) fn report() -> Kind {
    Kind::namespaced(&format!("{}/{}", group::REPORTING, group::VERSION), "Report", "reports")
}

/// Every kind of configuration, each after those that it refers to, and of what kind its rows are.
pub(crate) fn configuration() -> impl Iterator<Item = (Kind, RowKind)> {
    CONFIGURATION.iter().map(|of| (configured(of.kind, of.plural), configured_rows(of.plural)))
}

fn configured(kind: &str, plural: &str) -> Kind {
    Kind::namespaced(&format!("{}/{}", group::CONFIG, group::VERSION), kind, plural)
}

/// Rows that mirror configuration are named like the resources they mirror.
fn configured_rows(plural: &str) -> RowKind {
    RowKind::new(format!("{plural}.{}", group::CONFIG))
}

pub(crate) fn profiles() -> RowKind {
    configured_rows("profiles")
}

pub(crate) fn policies() -> RowKind {
    configured_rows("policies")
}

pub(crate) fn presets() -> RowKind {
    configured_rows("policypresets")
}

pub(crate) fn secrets() -> RowKind {
    RowKind::new("secrets")
}
