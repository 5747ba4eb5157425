//! What can go wrong with a store, told apart by what a person or a caller must do about it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use keelson_model::{Classified, ErrorClass};

use crate::{ParsePathError, StorePath};

/// What a provider knew of the failure; never holds a secret or a request.
pub(crate) type Source = Box<dyn Error + Send + Sync>;

/// A full location is looked at again after this long: somebody has to make room first.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(300);

/// What was being done when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Looking at the store for the first time.
    Connect,
    /// Writing an object.
    Put,
    /// Reading an object.
    Fetch,
    /// Describing an object.
    Head,
    /// Listing objects or folders.
    List,
    /// Listing versions.
    ListVersions,
    /// Removing an object.
    Delete,
    /// Extending an object's retention.
    ExtendRetention,
    /// Asking for the store's time.
    ReadTime,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "open",
            Self::Put => "write",
            Self::Fetch => "read",
            Self::Head => "describe",
            Self::List => "list",
            Self::ListVersions => "list versions of",
            Self::Delete => "delete",
            Self::ExtendRetention => "extend the retention of",
            Self::ReadTime => "ask the time of",
        })
    }
}

/// What a location is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Of an object store.
    Bucket,
    /// Of a file system.
    Directory,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bucket => "bucket",
            Self::Directory => "directory",
        })
    }
}

/// What a store may not be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Hard links, which a directory needs for creating without replacing.
    Links,
    /// Replacing an object.
    Overwrite,
    /// Keeping versions.
    Versions,
    /// Enforcing retention.
    ObjectLock,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Links => "hard links",
            Self::Overwrite => "overwriting",
            Self::Versions => "versions",
            Self::ObjectLock => "object lock",
        })
    }
}

/// Where on the way to a server it went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkFault {
    /// The name has no address.
    Name,
    /// Nobody listens, or a firewall refuses.
    Refused,
    /// The certificate is not trusted, or it is not TLS.
    Tls,
    /// No answer in time.
    TimedOut,
    /// The connection broke.
    Broken,
}

impl fmt::Display for NetworkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "its name has no address",
            Self::Refused => "the connection was refused",
            Self::Tls => "its certificate was not accepted",
            Self::TimedOut => "it did not answer in time",
            Self::Broken => "the connection broke",
        })
    }
}

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum StoreError {
    #[error("{operation} '{path}': there is no such object")]
    NotFound { operation: Operation, path: StorePath },

    #[error("create '{path}': another object is already there")]
    AlreadyExists { path: StorePath },

    #[error("{operation} '{path}': the object is locked by its retention")]
    Locked { operation: Operation, path: StorePath },

    #[error("{operation} '{path}': an object and a folder cannot have the same name")]
    MixKeyAndFolder { operation: Operation, path: StorePath },

    #[error("name an object")]
    NameObject { source: ParsePathError },

    #[error("{operation} '{path}': {length} bytes are more than the {limit} that an object may have")]
    TooLarge { operation: Operation, path: StorePath, length: u64, limit: u64 },

    #[error("read '{path}': the object has {length} bytes and ends before the range that was asked for")]
    OutOfRange { path: StorePath, length: u64 },

    #[error("read '{path}': {found} bytes came where {expected} were announced")]
    Incomplete { path: StorePath, expected: u64, found: u64 },

    #[error("list '{folder}': there are more than {limit} objects")]
    TooMany { folder: StorePath, limit: usize },

    #[error("retain '{path}' until {until}: no retention may end after {latest}")]
    RetainTooLong { path: StorePath, until: Timestamp, latest: Timestamp },

    #[error("{operation} {location}: the store has no {feature}")]
    Unsupported { operation: Operation, location: String, feature: Feature },

    #[error("{operation} {location}: the {place} does not exist")]
    MissingLocation { operation: Operation, location: String, place: Place, source: Option<Source> },

    #[error("{operation} '{path}' in {location}: the location is read-only")]
    ReadOnly { operation: Operation, path: StorePath, location: String, source: Source },

    #[error("{operation} '{path}' in {location}: the location is full")]
    Full { operation: Operation, path: StorePath, location: String, source: Source },

    #[error("{operation} {location}: the credentials were not accepted")]
    BadCredentials { operation: Operation, location: String, source: Source },

    #[error("{operation} '{path}' in {location}: permission denied")]
    Forbidden { operation: Operation, path: StorePath, location: String, source: Source },

    #[error("{operation} {location}: the bucket is not in this region")]
    WrongRegion { operation: Operation, location: String, actual: Option<String>, source: Source },

    #[error("{operation} {location}: the store finds our clock wrong")]
    WrongClock { operation: Operation, location: String, source: Source },

    #[error("{operation} {location}: the store cannot be reached, {fault}")]
    Unreachable { operation: Operation, location: String, fault: NetworkFault, source: Source },

    #[error("{operation} '{path}' in {location}: the store is busy or ailing")]
    Busy {
        operation: Operation,
        path: StorePath,
        location: String,
        retry_after: Option<Duration>,
        source: Source,
    },

    #[error("{operation} '{path}' in {location}: the share did not answer for {} s", waited.as_secs())]
    Unanswered { operation: Operation, path: StorePath, location: String, waited: Duration },

    #[error("{operation} '{path}' in {location}: the file server no longer knows what the share shows here")]
    Stale { operation: Operation, path: StorePath, location: String, source: Source },

    #[error("{operation} '{path}' in {location}: reading or writing failed")]
    Transfer { operation: Operation, path: StorePath, location: String, source: Source },

    #[error("{operation} '{path}' in {location}: the store refused")]
    Refused { operation: Operation, path: StorePath, location: String, source: Source },

    #[error("configure {location}")]
    Configure { location: String, source: Source },
}

impl Classified for StoreError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. } | Self::MissingLocation { .. } => ErrorClass::NotFound,
            Self::AlreadyExists { .. } => ErrorClass::Conflict,
            Self::Locked { .. }
            | Self::ReadOnly { .. }
            | Self::BadCredentials { .. }
            | Self::Forbidden { .. } => ErrorClass::Denied,
            Self::MixKeyAndFolder { .. }
            | Self::NameObject { .. }
            | Self::TooLarge { .. }
            | Self::TooMany { .. }
            | Self::RetainTooLong { .. }
            | Self::Unsupported { .. }
            | Self::WrongRegion { .. }
            | Self::WrongClock { .. }
            | Self::Refused { .. }
            | Self::Configure { .. } => ErrorClass::Invalid,
            Self::OutOfRange { .. } => ErrorClass::Corrupt,
            Self::Full { .. } => ErrorClass::Unavailable { retry_after: Some(FULL_RETRY_AFTER) },
            Self::Busy { retry_after, .. } => ErrorClass::Unavailable { retry_after: *retry_after },
            Self::Incomplete { .. }
            | Self::Unreachable { .. }
            | Self::Unanswered { .. }
            | Self::Stale { .. }
            | Self::Transfer { .. } => ErrorClass::Unavailable { retry_after: None },
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "store.object.not_found",
            Self::AlreadyExists { .. } => "store.object.already_exists",
            Self::Locked { .. } => "store.object.locked",
            Self::MixKeyAndFolder { .. } => "store.object.key_and_folder",
            Self::NameObject { .. } => "store.object.bad_name",
            Self::TooLarge { .. } => "store.object.too_large",
            Self::OutOfRange { .. } => "store.object.too_short",
            Self::Incomplete { .. } => "store.object.incomplete",
            Self::TooMany { .. } => "store.folder.too_many",
            Self::RetainTooLong { .. } => "store.retention.too_long",
            Self::Unsupported { .. } => "store.location.unsupported",
            Self::MissingLocation { .. } => "store.location.missing",
            Self::ReadOnly { .. } => "store.location.read_only",
            Self::Full { .. } => "store.location.full",
            Self::BadCredentials { .. } => "store.location.bad_credentials",
            Self::Forbidden { .. } => "store.location.forbidden",
            Self::WrongRegion { .. } => "store.location.wrong_region",
            Self::WrongClock { .. } => "store.location.wrong_clock",
            Self::Unreachable { .. } => "store.location.unreachable",
            Self::Busy { .. } => "store.location.busy",
            Self::Unanswered { .. } => "store.location.unanswered",
            Self::Stale { .. } => "store.location.stale",
            Self::Transfer { .. } => "store.location.transfer",
            Self::Refused { .. } => "store.location.refused",
            Self::Configure { .. } => "store.location.misconfigured",
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::MissingLocation { place: Place::Bucket, .. } => {
                "create the bucket, or correct its name in the profile"
            }
            Self::MissingLocation { place: Place::Directory, .. } => {
                "create the directory or mount the share, or correct the path in the profile"
            }
            Self::ReadOnly { .. } => {
                "mount the location writable; read-only it serves for import and restore alone"
            }
            Self::Full { .. } => "free or add space, or raise the quota",
            Self::BadCredentials { .. } => "check the access key and secret key in the profile's secret",
            Self::Forbidden { .. } => "grant the profile's credentials this right on the location",
            Self::WrongRegion { actual: Some(region), .. } => {
                return Some(format!("set the profile's region to '{region}'"));
            }
            Self::WrongRegion { actual: None, .. } => "set the profile's region to that of the bucket",
            Self::WrongClock { .. } => "correct the clock of this machine or of the store",
            Self::Unreachable { fault: NetworkFault::Name, .. } => {
                "check the endpoint's spelling and the DNS"
            }
            Self::Unreachable { fault: NetworkFault::Refused, .. } => {
                "check the endpoint's port and that the store runs"
            }
            Self::Unreachable { fault: NetworkFault::Tls, .. } => {
                "add the store's certificate authority, or check that the endpoint speaks https"
            }
            Self::Unreachable { fault: NetworkFault::TimedOut | NetworkFault::Broken, .. } => {
                "check the network between here and the store"
            }
            Self::Unanswered { .. } => "check the file server; the work goes on when it answers again",
            Self::Stale { .. } => {
                "if it stays so, the export was withdrawn or replaced: export it again, or mount the share anew by \
                 restarting the pod"
            }
            Self::Unsupported { feature: Feature::Links, .. } => {
                "use a share whose server supports hard links; without them it serves for import and restore alone"
            }
            Self::Unsupported { feature: Feature::ObjectLock | Feature::Versions, .. } => {
                "use a bucket that was created with object lock"
            }
            Self::Locked { .. } => "wait for the retention to end",
            Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::MixKeyAndFolder { .. }
            | Self::NameObject { .. }
            | Self::TooLarge { .. }
            | Self::OutOfRange { .. }
            | Self::Incomplete { .. }
            | Self::TooMany { .. }
            | Self::RetainTooLong { .. }
            | Self::Unsupported { feature: Feature::Overwrite, .. }
            | Self::Busy { .. }
            | Self::Transfer { .. }
            | Self::Refused { .. }
            | Self::Configure { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
