//! What every request handler stands on.

use std::sync::Arc;

use jiff::Timestamp;
use keelson_catalog::{Database, ReadError};
use keelson_model::{Chain, Classified, ErrorClass};
use keelson_protection::{Platform, Requester};
use keelson_resources::KindInfo;
use kube::Client;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::authentication::FrontProxy;
use crate::authorization::AccessReviews;
use crate::discovery::Documents;
use crate::fairness::{Share, Shares};
use crate::limits::LIST_PATIENCE;
use crate::readiness::Readiness;
use crate::refusal::Refusal;
use crate::watch::Feeds;

pub(crate) struct Shared {
    pub(crate) platform: Arc<Platform>,
    pub(crate) client: Client,
    pub(crate) front_proxy: FrontProxy,
    pub(crate) reviews: AccessReviews,
    pub(crate) documents: Documents,
    pub(crate) watches: Arc<Shares>,
    pub(crate) feeds: Feeds,
    pub(crate) lists: Arc<Shares>,
    /// Memory, in bytes.
    pub(crate) bodies: Arc<Shares>,
    pub(crate) details: Arc<Shares>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) shutdown: CancellationToken,
}

impl Shared {
    pub(crate) fn now(&self) -> Timestamp {
        self.platform.clock().now()
    }

    pub(crate) fn install_namespace(&self) -> &str {
        &self.platform.settings().install_namespace
    }

    /// A turn at reading what may be large; it lasts until the answer is taken.
    pub(crate) async fn take_turn(&self, requester: &Requester, what: &str) -> Result<Share, Refusal> {
        let share = self.lists.take_within(requester, LIST_PATIENCE).await;
        share.ok_or_else(|| Refusal::too_many_requests(what))
    }

    /// The database that holds a kind now. A recovery replaces it, so nobody keeps it longer than a request.
    pub(crate) fn database(&self, kind: &KindInfo) -> Result<Database, Refusal> {
        self.platform.database(kind).map_err(|away| refuse_away(&away))
    }
}

/// Runs what reads the catalog or turns many objects into bytes on the blocking pool.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(source) => {
            error!(error = &source as &dyn std::error::Error, "a task of a request did not finish");
            Err(Refusal::internal())
        }
    }
}

/// The catalog is away for a while: discovery goes on, data comes back later.
pub(crate) fn refuse_away(away: &impl Classified) -> Refusal {
    let hint = away.hint().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
    Refusal::away(&format!("{away}{hint}"))
}

/// A failed read in the words of the protocol.
pub(crate) fn refuse_read(error: ReadError) -> Refusal {
    match error {
        ReadError::Expired { since, oldest } => {
            Refusal::expired(format!("too old resource version: {since} ({oldest})"))
        }
        ReadError::AheadOfUs { since, head } => Refusal::version_too_large(since, head),
        ReadError::Query { .. } | ReadError::Decode { .. } => refuse_failure(&error),
    }
}

/// A failure of ours: the client learns that it failed, the log learns why.
pub(crate) fn refuse_failure(failure: &dyn Classified) -> Refusal {
    error!(code = failure.code(), chain = %Chain(failure), "a request could not be answered");
    match failure.class() {
        ErrorClass::Unavailable { .. } => Refusal::unavailable(&failure.to_string()),
        ErrorClass::Invalid
        | ErrorClass::NotFound
        | ErrorClass::Conflict
        | ErrorClass::Denied
        | ErrorClass::Corrupt
        | ErrorClass::Cancelled
        | ErrorClass::Bug => Refusal::internal(),
    }
}
