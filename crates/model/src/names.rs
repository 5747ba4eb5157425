//! The names a user meets, kept as documented: secrets, policies, labels, groups.

pub const DEFAULT_INSTALL_NAMESPACE: &str = "kasten-io";

pub const DR_SECRET: &str = "k10-dr-secret";
pub const DR_POLICY: &str = "k10-disaster-recovery-policy";
pub const OWNERSHIP_CONFIG_MAP: &str = "k10-dr-remove-to-get-ownership";
/// Says that a person has seen what would be freed after a take-over.
pub const CONFIRM_CONFIG_MAP: &str = "keelson-confirm-maintenance";
/// How an instance stands, for whoever asks the cluster.
pub const STATUS_CONFIG_MAP: &str = "keelson-status";
/// Keeps the newest reports of drills of an instance; keys are `<time>.jsonl`.
pub const REPORTS_CONFIG_MAP: &str = "keelson-drills";

/// The Service through which the cluster's API server reaches ours.
pub const API_SERVICE: &str = "keelson-api";
/// The Lease of the one `serve` to which that leads.
pub const SERVE_LEASE: &str = "keelson-serve";

/// The value that stands for cluster-scoped resources where a namespace is expected.
pub const CLUSTER_SCOPE: &str = "kasten-io-cluster";

pub mod group {
    pub const ACTIONS: &str = "actions.kio.kasten.io";
    pub const APPS: &str = "apps.kio.kasten.io";
    pub const CONFIG: &str = "config.kio.kasten.io";
    pub const DATAMOVER: &str = "datamover.kio.kasten.io";
    pub const DR: &str = "dr.kio.kasten.io";
    pub const REPORTING: &str = "reporting.kio.kasten.io";
    pub const REPOSITORIES: &str = "repositories.kio.kasten.io";
    pub const VAULT: &str = "vault.kio.kasten.io";

    /// Those for which an installation may have an APIService, of this version or another. The others are custom
    /// resources, whose APIServices are the cluster's own.
    pub const AGGREGATED: [&str; 7] = [ACTIONS, APPS, DATAMOVER, DR, REPORTING, REPOSITORIES, VAULT];

    pub const VERSION: &str = "v1alpha1";
}

pub mod annotation {
    /// On an APIService: the data of its group is away, so discovery lists none of its resources.
    pub const DATA_AWAY: &str = "k10.kasten.io/dataAway";
    /// On a report of a scheduled run: retention counts and removes only those.
    pub const SCHEDULED_TIME: &str = "k10.kasten.io/scheduledTime";
    /// On a report: the uid of the action that wrote it.
    pub const REPORT_ACTION_UID: &str = "k10.kasten.io/reportActionUid";

    /// On a KastenDRRestore: who asked for it. A Job's pod that comes after another one knows by it what its Job began.
    pub const REQUEST: &str = "keelson.io/request";

    // Of an audit event.

    /// The word by which lines of the platform are known among others.
    pub const AUDIT_EVENT: &str = "k10.kasten.io/event";
    /// Where in its journal an event stands: the `resourceVersion`, and which of its events it is.
    pub const AUDIT_PLACE: &str = "k10.kasten.io/journal";
    /// Which part of the platform did by itself what nobody asked for.
    pub const AUDIT_PART: &str = "k10.kasten.io/part";
    /// Groups of the user that the journal had no room for.
    pub const AUDIT_GROUPS_OMITTED: &str = "k10.kasten.io/groupsOmitted";
    /// What can no longer be told.
    pub const AUDIT_LOST: &str = "k10.kasten.io/lost";
}

pub mod label {
    /// Set by the platform alone: retention, exports and access rest on them.
    pub const OF_THE_SYSTEM: [&str; 10] = [
        APP_NAME,
        APP_NAMESPACE,
        APP_TYPE,
        POLICY_NAME,
        POLICY_NAMESPACE,
        RUN_ACTION_NAME,
        RUN_ACTION_NAMESPACE,
        EXPORT_PROFILE,
        IMPORTED_FROM,
        BATCH_RESTORE_ACTION_NAME,
    ];

    /// What tells of which run, and of which policy, something is.
    pub const OF_A_RUN: [&str; 4] = [POLICY_NAME, POLICY_NAMESPACE, RUN_ACTION_NAME, RUN_ACTION_NAMESPACE];

    pub const APP_NAME: &str = "k10.kasten.io/appName";
    pub const APP_NAMESPACE: &str = "k10.kasten.io/appNamespace";
    pub const APP_TYPE: &str = "k10.kasten.io/appType";
    pub const POLICY_NAME: &str = "k10.kasten.io/policyName";
    pub const POLICY_NAMESPACE: &str = "k10.kasten.io/policyNamespace";
    pub const RUN_ACTION_NAME: &str = "k10.kasten.io/runActionName";
    pub const RUN_ACTION_NAMESPACE: &str = "k10.kasten.io/runActionNamespace";
    /// Present on what was exported, whatever its value; absent on what is local.
    pub const EXPORT_PROFILE: &str = "k10.kasten.io/exportProfile";
    /// Present on what was imported: the id of the cluster that exported it.
    pub const IMPORTED_FROM: &str = "k10.kasten.io/importedFrom";
    pub const BATCH_RESTORE_ACTION_NAME: &str = "k10.kasten.io/batchRestoreActionName";
    pub const DO_NOT_RETIRE: &str = "k10.kasten.io/doNotRetire";
}
