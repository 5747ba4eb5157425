//! A store that fails, hesitates or falls silent at the calls a test chooses, and remembers what was called.
//!
//! A fault that comes *after* the effect is a lost answer: the object is there and the caller does not know.
//! `Span::From` with a fault before the effect is the end of a process or of a network, seen from the store.

use std::fmt;
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use keelson_store::{
    Capabilities, Feature, ListPage, Listing, NetworkFault, ObjectMeta, Operation, Place, PutOptions, Read,
    Store, StoreError, StorePath, VersionId, VersionListing, VersionPage, VersionScope, Written,
};

/// Which calls a rule counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Calls {
    All,
    /// Writes, deletes and extensions of retention: what another reader of the store can notice.
    Effects,
    Of(Operation),
    Beneath(StorePath),
}

impl Calls {
    fn contain(&self, call: &Call) -> bool {
        match self {
            Self::All => true,
            Self::Effects => {
                matches!(call.operation, Operation::Put | Operation::Delete | Operation::ExtendRetention)
            }
            Self::Of(operation) => *operation == call.operation,
            Self::Beneath(folder) => {
                call.path.as_ref().is_some_and(|path| path == folder || path.strip_prefix(folder).is_some())
            }
        }
    }
}

/// Which of the counted calls fail. The first after the rule was made is number 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    Only(u64),
    From(u64),
}

/// What happens to such a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The store is not asked.
    Before(Failure),
    /// The store has done it; the caller is told otherwise.
    After(Failure),
    Delay(Duration),
    /// No answer ever comes.
    Silence,
}

/// As what the store's failure shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    Broken,
    Busy,
    Full,
    ReadOnly,
    BadCredentials,
    Missing,
    /// As a directory whose file system has no hard links.
    NoLinks,
}

/// One call that reached the store, whatever became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub operation: Operation,
    pub path: Option<StorePath>,
}

struct Rule {
    calls: Calls,
    span: Span,
    fault: Fault,
    counted: u64,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    calls: Vec<Call>,
}

/// A decorator; share it and inject faults while the code under test uses it.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    listing_delay: Option<Duration>,
    state: Mutex<State>,
}

impl FaultyStore {
    /// Passes everything on until a fault is injected.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, listing_delay: None, state: Mutex::default() }
    }

    /// Says of itself that it shows late what others have done, as a share of the network does.
    pub fn showing_late(self, listing_delay: Duration) -> Self {
        Self { listing_delay: Some(listing_delay), ..self }
    }

    /// Adds a rule. Where several apply to a call, the oldest decides.
    pub fn inject(&self, calls: Calls, span: Span, fault: Fault) {
        self.state().rules.push(Rule { calls, span, fault, counted: 0 });
    }

    /// Forgets all rules; from now on the store works.
    pub fn heal(&self) {
        self.state().rules.clear();
    }

    /// The calls so far, in order, the failed ones included.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// How many of the calls so far are among `calls`.
    pub fn count(&self, calls: &Calls) -> usize {
        self.state().calls.iter().filter(|call| calls.contain(call)).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test thread may have panicked meanwhile; the record is whole nevertheless.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, call: &Call) -> Option<Fault> {
        let mut state = self.state();
        state.calls.push(call.clone());
        let mut decided = None;
        for rule in state.rules.iter_mut().filter(|rule| rule.calls.contain(call)) {
            rule.counted += 1;
            let applies = match rule.span {
                Span::Only(number) => rule.counted == number,
                Span::From(number) => rule.counted >= number,
            };
            if applies {
                decided = decided.or(Some(rule.fault));
            }
        }
        decided
    }

    async fn pass<T>(
        &self,
        operation: Operation,
        path: Option<&StorePath>,
        effect: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let call = Call { operation, path: path.cloned() };
        match self.record(&call) {
            None => effect.await,
            Some(Fault::Before(failure)) => Err(self.error(failure, call)),
            Some(Fault::After(failure)) => {
                effect.await?;
                Err(self.error(failure, call))
            }
            Some(Fault::Delay(duration)) => {
                tokio::time::sleep(duration).await;
                effect.await
            }
            Some(Fault::Silence) => pending().await,
        }
    }

    fn error(&self, failure: Failure, call: Call) -> StoreError {
        let Call { operation, path } = call;
        let location = self.inner.location().to_owned();
        let source = Box::new(io::Error::other("injected by a test"));
        let path = path.unwrap_or_else(StorePath::root);
        match failure {
            Failure::Broken => {
                StoreError::Unreachable { operation, location, fault: NetworkFault::Broken, source }
            }
            Failure::Busy => StoreError::Busy { operation, path, location, retry_after: None, source },
            Failure::Full => StoreError::Full { operation, path, location, source },
            Failure::ReadOnly => StoreError::ReadOnly { operation, path, location, source },
            Failure::BadCredentials => StoreError::BadCredentials { operation, location, source },
            Failure::Missing => StoreError::MissingLocation {
                operation,
                location,
                place: Place::Bucket,
                source: Some(source),
            },
            Failure::NoLinks => StoreError::Unsupported { operation, location, feature: Feature::Links },
        }
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn put(&self, path: &StorePath, body: Bytes, options: PutOptions) -> Result<Written, StoreError> {
        self.pass(Operation::Put, Some(path), self.inner.put(path, body, options)).await
    }

    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError> {
        self.pass(Operation::Fetch, Some(path), self.inner.fetch(path, read)).await
    }

    async fn head(&self, path: &StorePath, version: Option<&VersionId>) -> Result<ObjectMeta, StoreError> {
        self.pass(Operation::Head, Some(path), self.inner.head(path, version)).await
    }

    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError> {
        self.pass(Operation::List, Some(folder), self.inner.list(folder, page)).await
    }

    async fn list_folders(&self, folder: &StorePath) -> Result<Vec<String>, StoreError> {
        self.pass(Operation::List, Some(folder), self.inner.list_folders(folder)).await
    }

    async fn list_versions(
        &self,
        scope: &VersionScope,
        page: &VersionPage,
    ) -> Result<VersionListing, StoreError> {
        let (VersionScope::Object(path) | VersionScope::Beneath(path)) = scope;
        self.pass(Operation::ListVersions, Some(path), self.inner.list_versions(scope, page)).await
    }

    async fn delete(&self, path: &StorePath, version: Option<&VersionId>) -> Result<(), StoreError> {
        self.pass(Operation::Delete, Some(path), self.inner.delete(path, version)).await
    }

    async fn extend_retention(
        &self,
        path: &StorePath,
        version: Option<&VersionId>,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let extend = self.inner.extend_retention(path, version, until);
        self.pass(Operation::ExtendRetention, Some(path), extend).await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.pass(Operation::ReadTime, None, self.inner.time()).await
    }

    fn capabilities(&self) -> Capabilities {
        let own = self.inner.capabilities();
        Capabilities { listing_delay: self.listing_delay.unwrap_or(own.listing_delay), ..own }
    }

    fn location(&self) -> &str {
        self.inner.location()
    }
}
