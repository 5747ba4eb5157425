//! What can go wrong while the platform protects or recovers itself.

use std::fmt;

use jiff::Timestamp;
use keelson_catalog::{
    CommitError, DataDirError, Malformed, OpenCatalogError, ReadError, RebuildError, ShipError,
};
use keelson_crypto::{OpenBoxError, SealSlotError, WeakPassphrase};
use keelson_model::recovery::DrMode;
use keelson_model::{Classified, ClusterId, ErrorClass, RepositoryId};
use keelson_repository::{
    LengthenError, LoadIndexError, ObjectError, OpenRepositoryError, RetireError, SessionError, WriteError,
};
use keelson_store::{StoreError, StorePath};
use keelson_workload::RequestError;

use crate::access::AccessError;
use crate::documents::DocumentError;
use crate::epochs::EpochError;
use crate::identity::IdentityError;
use crate::locations::LocationError;
use crate::namespaces::ReadNamespaceError;
use crate::ownership::OwnershipError;
use crate::passphrases::PassphraseError;
use crate::platform::CatalogAway;
use crate::recovery::chain::UnreachablePoint;
use crate::recovery::known_head::Rollback;
use crate::recovery::ship::writers::Divergence;
use crate::repositories::RepositoriesError;

/// Protecting or recovering the platform has not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error("open the location for disaster recovery")]
    Location { source: LocationError },
    #[error("see the location as it was")]
    Past { source: StoreError },
    #[error("retain what a run needs")]
    Lengthen { source: LengthenError },
    #[error("retain '{path}' as long as the run that needs it")]
    Retain { path: StorePath, source: StoreError },
    #[error("get the passphrase of disaster recovery")]
    Passphrase { source: PassphraseError },
    #[error("the passphrase is too easy to guess")]
    WeakPassphrase { source: WeakPassphrase },
    #[error("seal a passphrase slot")]
    SealSlot { source: SealSlotError },
    #[error("establish who owns the backups")]
    Ownership { source: OwnershipError },
    #[error("use the identity of this installation")]
    Identity { source: IdentityError },
    #[error("make the platform's own repository")]
    Repository { source: RepositoriesError },
    #[error("no number is left for another vault key")]
    KeysExhausted,
    #[error("the passphrase has changed, and the repository for it is not there yet")]
    PassphraseChanged,
    #[error("use the catalog")]
    Away { source: CatalogAway },
    #[error("read the state of disaster recovery")]
    ReadState { source: ReadError },
    #[error("decode the state of disaster recovery")]
    DecodeState { source: serde_json::Error },
    #[error("write the state of disaster recovery")]
    WriteState { source: CommitError },
    #[error("disaster recovery is not enabled")]
    NotEnabled,
    #[error("read '{path}'")]
    Fetch { path: StorePath, source: StoreError },
    #[error("list '{folder}'")]
    List { folder: StorePath, source: StoreError },
    #[error("write '{path}'")]
    Put { path: StorePath, source: StoreError },
    #[error("handle a document of disaster recovery")]
    Document { source: DocumentError },
    #[error("read the journal to ship it")]
    Ship { source: ShipError },
    #[error("the path of the platform's own repository is too long")]
    Root { source: StoreError },
    #[error("load the index of the platform's own repository")]
    LoadIndex { source: LoadIndexError },
    #[error("list or state what was retired in the platform's own repository")]
    ListRetired { source: RetireError },
    #[error("begin a session in the platform's own repository")]
    Begin { source: SessionError },
    #[error("keep a session of the platform's own repository alive")]
    Hold { source: SessionError },
    #[error("write to the platform's own repository")]
    WriteStream { source: WriteError },
    #[error("commit to the platform's own repository")]
    CommitOutcome { source: keelson_repository::CommitError },
    #[error("repository {repository} is not this instance's alone")]
    Diverged { repository: RepositoryId, source: Divergence },
    #[error("go on in a generation of its own")]
    OpenGeneration { source: CommitError },
    #[error("the location holds nothing of cluster {cluster}; it holds {}", list(known))]
    UnknownCluster { cluster: ClusterId, known: Vec<String> },
    #[error("disaster recovery was never enabled for cluster {cluster}: there is no 'dr/' below it")]
    NeverRan { cluster: ClusterId },
    #[error("nothing was exported from cluster {cluster}: there is no 'exports/' below it")]
    NoExports { cluster: ClusterId },
    #[error("read the claims of ownership")]
    Claims { source: EpochError },
    #[error("the recovery of '{point}' has switched catalogs and not ended yet")]
    Unfinished { point: String },
    #[error("none of the {} repositories of cluster {cluster} opens with this passphrase", repositories.len())]
    WrongPassphrase { cluster: ClusterId, repositories: Vec<RepositoryId> },
    #[error("open repository {repository} of cluster {cluster}")]
    Open { cluster: ClusterId, repository: RepositoryId, source: OpenRepositoryError },
    #[error(
        "repository {repository} of cluster {cluster} holds no complete base: its first run has not ended"
    )]
    NoBase { cluster: ClusterId, repository: RepositoryId },
    #[error("the folder of repository {repository} holds a copy of repository {of}")]
    Copied { repository: RepositoryId, of: RepositoryId },
    #[error("there is no DR restore point '{id}'; the newest is '{newest}'")]
    NoPoint { id: String, newest: String },
    #[error("'{id}' is not the id of a DR restore point")]
    PointId { id: String },
    #[error("reach the point asked for")]
    Unreachable { source: UnreachablePoint },
    #[error("nothing that was shipped tells the state of {wanted}; {first} to {last} is possible{unseen}")]
    PointInTime { wanted: Timestamp, first: Timestamp, last: Timestamp, unseen: Unseen },
    #[error("decode a segment")]
    DecodeSegment { source: Malformed },
    #[error("read the outcome that holds a base")]
    FetchOutcome { source: keelson_repository::ReadError },
    #[error("read an outcome")]
    FetchObject { source: ObjectError },
    #[error("read a base")]
    ReadStream { source: keelson_repository::ReadError },
    #[error("unwrap the catalog key of a base")]
    CatalogKey { source: OpenBoxError },
    #[error("rebuild the catalog")]
    Rebuild { source: RebuildError },
    #[error("look which catalog is in use")]
    Current { source: OpenCatalogError },
    #[error("build a catalog to prove what was shipped")]
    Work { source: DataDirError },
    #[error("the recovered state is not what was shipped: {what}")]
    Mismatch { what: String },
    #[error("look for the namespace of an application")]
    Namespace { source: ReadNamespaceError },
    #[error("write {what} to the cluster")]
    Cluster { what: String, source: RequestError },
    #[error(
        "the catalog of this instance holds {contents} restore point contents, which a recovery replaces"
    )]
    CatalogInUse { contents: u64 },
    #[error("the location does not hold what it is known to have held")]
    RolledBack { source: Rollback },
    #[error("the restore did not end within {minutes} minutes")]
    TimedOut { minutes: u64 },
    #[error("the recovered catalog is in use, and not everything was put back within {minutes} minutes")]
    TimedOutPartly { minutes: u64 },
    #[error("the recovered catalog is in use, and not everything could be put back")]
    PartlyDone { source: Box<RecoveryError> },
    #[error("restore point '{point}' was made by {}", mode.title())]
    OtherMode { point: String, mode: DrMode },
    #[error("restore point '{point}' was made by {}, and is not confirmed to replace what exists", mode.title())]
    Unconfirmed { point: String, mode: DrMode },
    #[error("look whether who asked may still do so")]
    Access { source: AccessError },
    #[error("the work was interrupted")]
    Interrupted,
    #[error("{what} was not understood: {why}")]
    Request { what: &'static str, why: String },
}

const MORE_TIME: &str = "everything is as it was; give it more time: --timeout, or spec.timeoutMinutes, and a review \
                         kastenDisasterRecovery.validationTimeout of chart k10";
/// After the switch nothing is lost by waiting.
const GOES_ON: &str =
    "a restore of the same point goes on where this one was, and so does keelson serve by itself in a while";
const MAKE_STRONG: &str =
    "make one that nobody guesses: openssl rand -base64 24; keep it outside the cluster";
const IS_QUICK: &str = "say that it is Quick, and confirm it: --quick-mode --override-resources, or spec.quickMode with \
    enabled and overrideResources true; of the chart --set quickMode.enabled=true --set quickMode.overrideResources=true";
const IS_LEGACY: &str = "leave --quick-mode out, or set spec.quickMode.enabled to false; of the chart \
    --set quickMode.enabled=false";
const CONFIRM_QUICK: &str = "a Quick restore point creates or replaces resources: confirm it with --override-resources, or \
    spec.quickMode.overrideResources: true; of the chart --set quickMode.overrideResources=true";

fn list(known: &[String]) -> String {
    if known.is_empty() { "no cluster at all".to_owned() } else { known.join(", ") }
}

/// What was not looked at, told behind what was found in the rest.
#[derive(Debug, Default)]
pub struct Unseen(Vec<String>);

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|unseen| write!(f, "; {unseen}"))
    }
}

impl RecoveryError {
    /// Whether the API server did not answer. It may again, without anybody doing anything.
    pub(crate) fn is_cluster_away(&self) -> bool {
        let class = match self {
            Self::Cluster { source, .. } => source.class(),
            Self::Location {
                source:
                    LocationError::ReadProfile { source, .. }
                    | LocationError::ReadSecret { source, .. }
                    | LocationError::ListProfiles { source },
            } => source.class(),
            Self::Passphrase { source: PassphraseError::Read { source, .. } } => source.class(),
            Self::Passphrase { source: PassphraseError::Access { source, .. } } => source.class(),
            Self::Access { source } => source.class(),
            Self::Namespace { source } => source.class(),
            _ => return false,
        };
        matches!(class, ErrorClass::Unavailable { .. })
    }

    /// Tells of what was not looked at where nothing was found.
    pub(crate) fn with_unseen(mut self, told: &[String]) -> Self {
        if let Self::PointInTime { unseen, .. } = &mut self {
            unseen.0.extend_from_slice(told);
        }
        self
    }
}

impl Classified for RecoveryError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Location { source } => source.class(),
            Self::Past { source } | Self::Retain { source, .. } => source.class(),
            Self::Access { source } => source.class(),
            Self::Lengthen { source } => source.class(),
            Self::Passphrase { source } => source.class(),
            Self::SealSlot { .. } => ErrorClass::Bug,
            Self::Ownership { source } => source.class(),
            Self::Identity { source } => source.class(),
            Self::Repository { source } => source.class(),
            Self::Away { source } => source.class(),
            Self::ReadState { source } => source.class(),
            Self::WriteState { source } => source.class(),
            Self::Fetch { source, .. } | Self::List { source, .. } | Self::Put { source, .. } => {
                source.class()
            }
            Self::Document { source } => source.class(),
            Self::Ship { source } => source.class(),
            Self::Root { source } => source.class(),
            Self::LoadIndex { source } => source.class(),
            Self::ListRetired { source } => source.class(),
            Self::Begin { source } | Self::Hold { source } => source.class(),
            Self::WriteStream { source } => source.class(),
            Self::CommitOutcome { source } => source.class(),
            Self::Open { source, .. } => source.class(),
            // A base or a manifest names it: what is not there is lost.
            Self::FetchOutcome { source } => match source.class() {
                ErrorClass::NotFound => ErrorClass::Corrupt,
                class => class,
            },
            Self::FetchObject { source } => source.class(),
            Self::ReadStream { source } => source.class(),
            Self::Rebuild { source } => source.class(),
            Self::Current { source } => source.class(),
            Self::Work { source } => source.class(),
            Self::Cluster { source, .. } => source.class(),
            Self::Namespace { source } => source.class(),
            Self::Claims { source } => source.class(),
            Self::RolledBack { source } => source.class(),
            Self::PartlyDone { source } => source.class(),
            Self::UnknownCluster { .. }
            | Self::NoExports { .. }
            | Self::NeverRan { .. }
            | Self::NoBase { .. }
            | Self::NoPoint { .. }
            | Self::NotEnabled => ErrorClass::NotFound,
            Self::WeakPassphrase { .. }
            | Self::PointId { .. }
            | Self::Unreachable { .. }
            | Self::PointInTime { .. }
            | Self::CatalogInUse { .. }
            | Self::KeysExhausted
            | Self::OtherMode { .. }
            | Self::Unconfirmed { .. }
            | Self::Request { .. } => ErrorClass::Invalid,
            Self::PassphraseChanged => ErrorClass::Unavailable { retry_after: None },
            Self::WrongPassphrase { .. } => ErrorClass::Denied,
            Self::Diverged { .. } | Self::Unfinished { .. } => ErrorClass::Conflict,
            Self::OpenGeneration { source } => source.class(),
            Self::DecodeSegment { source } => source.class(),
            Self::DecodeState { .. }
            | Self::CatalogKey { .. }
            | Self::Copied { .. }
            | Self::Mismatch { .. } => ErrorClass::Corrupt,
            Self::TimedOut { .. } | Self::TimedOutPartly { .. } | Self::Interrupted => ErrorClass::Cancelled,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Location { .. } => "recovery.location",
            Self::Past { .. } => "recovery.past",
            Self::Access { .. } => "recovery.access",
            Self::Lengthen { .. } => "recovery.lengthen",
            Self::Retain { .. } => "recovery.retain",
            Self::Passphrase { .. } => "recovery.passphrase",
            Self::WeakPassphrase { .. } => "recovery.weak_passphrase",
            Self::SealSlot { .. } => "recovery.seal_slot",
            Self::Ownership { .. } => "recovery.ownership",
            Self::Identity { .. } => "recovery.identity",
            Self::Repository { .. } => "recovery.repository",
            Self::KeysExhausted => "recovery.keys_exhausted",
            Self::PassphraseChanged => "recovery.passphrase_changed",
            Self::Away { .. } => "recovery.catalog_away",
            Self::ReadState { .. } => "recovery.state.read",
            Self::DecodeState { .. } => "recovery.state.decode",
            Self::WriteState { .. } => "recovery.state.write",
            Self::NotEnabled => "recovery.not_enabled",
            Self::Fetch { .. } => "recovery.fetch",
            Self::List { .. } => "recovery.list",
            Self::Put { .. } => "recovery.put",
            Self::Document { .. } => "recovery.document",
            Self::Ship { .. } => "recovery.ship",
            Self::Root { .. } => "recovery.root",
            Self::LoadIndex { .. } => "recovery.load_index",
            Self::ListRetired { .. } => "recovery.list_retired",
            Self::Begin { .. } => "recovery.begin",
            Self::Hold { .. } => "recovery.hold",
            Self::WriteStream { .. } => "recovery.write_stream",
            Self::CommitOutcome { .. } => "recovery.commit_outcome",
            Self::Diverged { .. } => "recovery.diverged",
            Self::OpenGeneration { .. } => "recovery.open_generation",
            Self::DecodeSegment { .. } => "recovery.decode_segment",
            Self::UnknownCluster { .. } => "recovery.unknown_cluster",
            Self::NeverRan { .. } => "recovery.never_ran",
            Self::NoExports { .. } => "recovery.no_exports",
            Self::Claims { .. } => "recovery.claims",
            Self::Unfinished { .. } => "recovery.unfinished",
            Self::WrongPassphrase { .. } => "recovery.wrong_passphrase",
            Self::Open { .. } => "recovery.open",
            Self::NoBase { .. } => "recovery.no_base",
            Self::NoPoint { .. } => "recovery.no_point",
            Self::PointId { .. } => "recovery.point_id",
            Self::Unreachable { .. } => "recovery.unreachable",
            Self::PointInTime { .. } => "recovery.point_in_time",
            Self::FetchOutcome { .. } => "recovery.fetch_outcome",
            Self::FetchObject { .. } => "recovery.fetch_object",
            Self::ReadStream { .. } => "recovery.read_stream",
            Self::CatalogKey { .. } => "recovery.catalog_key",
            Self::Rebuild { .. } => "recovery.rebuild",
            Self::Current { .. } => "recovery.current",
            Self::Work { .. } => "recovery.work",
            Self::Copied { .. } => "recovery.copied",
            Self::Mismatch { .. } => "recovery.mismatch",
            Self::Cluster { .. } => "recovery.cluster",
            Self::Namespace { .. } => "recovery.namespace",
            Self::CatalogInUse { .. } => "recovery.catalog_in_use",
            Self::RolledBack { .. } => "recovery.rolled_back",
            Self::TimedOut { .. } => "recovery.timed_out",
            Self::TimedOutPartly { .. } => "recovery.timed_out_partly",
            Self::PartlyDone { .. } => "recovery.partly_done",
            Self::OtherMode { .. } => "recovery.other_mode",
            Self::Unconfirmed { .. } => "recovery.unconfirmed",
            Self::Interrupted => "recovery.interrupted",
            Self::Request { .. } => "recovery.request",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Location { source } => source.hint(),
            Self::Access { source } => source.hint(),
            Self::Past { source } | Self::Retain { source, .. } => source.hint(),
            Self::Lengthen { source } => source.hint(),
            Self::Passphrase { source } => source.hint(),
            Self::Ownership { source } => source.hint(),
            Self::Repository { source } => source.hint(),
            Self::Open { source, .. } => source.hint(),
            Self::Document { source } => source.hint(),
            Self::Fetch { source, .. } | Self::List { source, .. } | Self::Put { source, .. } => {
                source.hint()
            }
            Self::UnknownCluster { .. } => {
                Some("the cluster id is the UID of namespace 'default' of the lost cluster".to_owned())
            }
            Self::Claims { source } => source.hint(),
            Self::RolledBack { source } => source.hint(),
            Self::Unfinished { .. } => {
                Some("restore the same point again, as of the same moment: it goes on at the first step that is not done".to_owned())
            }
            Self::NeverRan { .. } | Self::NoBase { .. } => Some(
                "its exports can still be read: keelson tools rebuild-catalog makes a catalog from them"
                    .to_owned(),
            ),
            Self::WrongPassphrase { .. } => Some(
                "put the passphrase that was used when disaster recovery was enabled into k10-dr-secret"
                    .to_owned(),
            ),
            Self::CatalogInUse { .. } => Some(
                "confirm it: --replace-catalog, or spec.replaceCatalog: true of the KastenDRRestore"
                    .to_owned(),
            ),
            Self::NotEnabled => Some("keelson dr enable --profile <name>".to_owned()),
            Self::NoExports { .. } => {
                Some("keelson tools list shows what the location holds, of which clusters".to_owned())
            }
            Self::NoPoint { .. } | Self::PointId { .. } => Some("keelson dr review lists the ids".to_owned()),
            Self::Unreachable { .. } | Self::PointInTime { .. } => Some(
                "keelson dr review lists the restore points, and without a time or an id the latest is taken"
                    .to_owned(),
            ),
            Self::WeakPassphrase { .. } => Some(MAKE_STRONG.to_owned()),
            Self::PassphraseChanged => {
                Some("it is made within a minute; keelson dr status tells what holds it up".to_owned())
            }
            Self::KeysExhausted => Some("disable and enable disaster recovery: it begins anew".to_owned()),
            Self::Cluster { source, .. } => source.hint(),
            Self::Rebuild { source } if source.hint().is_some() => source.hint(),
            Self::Away { source } => source.hint(),
            Self::Current { source } => source.hint(),
            Self::TimedOut { .. } => Some(MORE_TIME.to_owned()),
            Self::TimedOutPartly { .. } => Some(GOES_ON.to_owned()),
            Self::PartlyDone { source } => Some(match source.hint() {
                Some(hint) => format!("{hint}; then {GOES_ON}"),
                None => GOES_ON.to_owned(),
            }),
            Self::OtherMode { mode, .. } if mode.is_quick() => Some(IS_QUICK.to_owned()),
            Self::OtherMode { .. } => Some(IS_LEGACY.to_owned()),
            Self::Unconfirmed { .. } => Some(CONFIRM_QUICK.to_owned()),
            Self::Interrupted => Some("ask for the same again: it goes on".to_owned()),
            error if error.class() == ErrorClass::Corrupt => Some(
                "keelson tools verify names everything that is damaged; an earlier state may be whole: \
                 keelson dr restore --point-in-time"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}
