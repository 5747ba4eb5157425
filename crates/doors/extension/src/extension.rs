//! The server as a whole: built from a platform and a client, run on a listener that the caller opened.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use k8s_openapi::api::core::v1::ConfigMap;
use keelson_model::{Chain, Classified, ErrorClass};
use keelson_protection::Platform;
use kube::{Api, Client};
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::authentication::{
    AUTHENTICATION_CONFIG_MAP, AUTHENTICATION_NAMESPACE, FrontProxy, FrontProxyTrust, ParseTrustError,
};
use crate::authorization::AccessReviews;
use crate::certificates::ServingCertificates;
use crate::discovery::{Documents, Withheld};
use crate::failure::{class_of, within};
use crate::fairness::Shares;
use crate::limits::{BODIES, DETAILS, LISTS, SERVING_LOOK_EVERY, TRUST_RELOAD_INTERVAL, WATCHES};
use crate::readiness::Readiness;
use crate::router::router;
use crate::server::{self, Bounds, Farewell};
use crate::shared::Shared;
use crate::watch::Feeds;

/// The authority of the front proxy cannot be learned.
#[derive(Debug, thiserror::Error)]
pub enum ReadTrustError {
    #[error("read ConfigMap '{AUTHENTICATION_NAMESPACE}/{AUTHENTICATION_CONFIG_MAP}'")]
    ReadConfigMap {
        #[source]
        source: Box<kube::Error>,
    },
    #[error("parse ConfigMap '{AUTHENTICATION_NAMESPACE}/{AUTHENTICATION_CONFIG_MAP}'")]
    ParseConfigMap {
        #[source]
        source: ParseTrustError,
    },
}

impl Classified for ReadTrustError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::ReadConfigMap { source } => match class_of(source) {
                // The API server makes it a moment after its start.
                ErrorClass::NotFound => ErrorClass::Unavailable { retry_after: None },
                class => class,
            },
            Self::ParseConfigMap { source } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::ReadConfigMap { .. } => "extension.trust.read",
            Self::ParseConfigMap { source } => source.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::ReadConfigMap { source } => match class_of(source) {
                ErrorClass::Denied => Some(format!(
                    "the platform's account needs the role 'extension-apiserver-authentication-reader' in \
                     '{AUTHENTICATION_NAMESPACE}'"
                )),
                ErrorClass::Unavailable { .. } => Some(
                    "look whether the API server answers, and whether the network leads there".to_owned(),
                ),
                _ => None,
            },
            Self::ParseConfigMap { source } => source.hint(),
        }
    }
}

/// How often is looked whether whom we trust, and what we show, is still current.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Looks {
    pub(crate) trust: Duration,
    pub(crate) certificates: Duration,
}

impl Default for Looks {
    fn default() -> Self {
        Self { trust: TRUST_RELOAD_INTERVAL, certificates: SERVING_LOOK_EVERY }
    }
}

/// The extension API server of one installation.
pub struct Extension {
    shared: Arc<Shared>,
}

impl Extension {
    /// Watches end and connections close when the token is cancelled. Until its readiness is told that it stands it does
    /// not want to be asked.
    pub fn new(platform: Arc<Platform>, client: Client, shutdown: CancellationToken) -> Self {
        let shared = Shared {
            platform,
            reviews: AccessReviews::new(client.clone()),
            client,
            front_proxy: FrontProxy::default(),
            documents: Documents::new(),
            watches: Shares::new(WATCHES),
            feeds: Feeds::default(),
            lists: Shares::new(LISTS),
            bodies: Shares::new(BODIES),
            details: Shares::new(DETAILS),
            readiness: Arc::default(),
            shutdown,
        };
        Self { shared: Arc::new(shared) }
    }

    pub fn readiness(&self) -> Arc<Readiness> {
        Arc::clone(&self.shared.readiness)
    }

    /// Of which groups discovery lists nothing. Who takes groups off the cluster says so here before.
    pub fn withheld(&self) -> Arc<Withheld> {
        self.shared.documents.withheld()
    }

    #[cfg(test)]
    pub(crate) fn trust(&self, trust: FrontProxyTrust) {
        self.shared.front_proxy.replace(trust);
    }

    /// All paths. A request counts as authenticated if a `Requester` lies in its extensions, which no client can
    /// put there.
    pub fn router(&self) -> Router {
        self.router_within(Bounds::default())
    }

    pub(crate) fn router_within(&self, bounds: Bounds) -> Router {
        router(Arc::clone(&self.shared), bounds.request)
    }

    /// Learns which certificate the API server's front proxy shows. Until then every request is refused.
    pub async fn read_trust(&self) -> Result<(), ReadTrustError> {
        let config_maps: Api<ConfigMap> =
            Api::namespaced(self.shared.client.clone(), AUTHENTICATION_NAMESPACE);
        let config = within(config_maps.get(AUTHENTICATION_CONFIG_MAP))
            .await
            .map_err(|source| ReadTrustError::ReadConfigMap { source: Box::new(source) })?;
        let trust =
            FrontProxyTrust::parse(&config).map_err(|source| ReadTrustError::ParseConfigMap { source })?;
        self.shared.front_proxy.replace(trust);
        Ok(())
    }

    /// Serves until the token is cancelled, and then as long as the farewell takes. Keeps the front proxy's authority and
    /// our certificate current.
    pub async fn serve(
        &self,
        farewell: Farewell,
        listener: TcpListener,
        certificates: Arc<ServingCertificates>,
    ) {
        let bounds = Bounds { farewell, ..Bounds::default() };
        self.serve_within(bounds, Looks::default(), listener, certificates).await;
    }

    pub(crate) async fn serve_within(
        &self,
        bounds: Bounds,
        looks: Looks,
        listener: TcpListener,
        certificates: Arc<ServingCertificates>,
    ) {
        let (router, shared) = (self.router_within(bounds), Arc::clone(&self.shared));
        let serving = server::serve(listener, router, shared, Arc::clone(&certificates), bounds);
        let upkeep = async {
            tokio::join!(
                self.reload_trust(looks.trust),
                self.renew_certificates(&certificates, looks.certificates),
            );
        };
        tokio::select! {
            () = serving => {}
            () = upkeep => {}
        }
    }

    /// The authority rotates without notice; what was true a minute ago goes on until we hear otherwise.
    async fn reload_trust(&self, every: Duration) -> std::convert::Infallible {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.read_trust().await {
                warn!(
                    code = error.code(),
                    chain = %Chain(&error),
                    again_in = ?every,
                    "the front proxy's authority could not be read: what was read last goes on"
                );
            }
        }
    }

    async fn renew_certificates(
        &self,
        certificates: &ServingCertificates,
        every: Duration,
    ) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(every).await;
            if let Err(error) = certificates.keep_current(self.shared.now()) {
                warn!(
                    code = error.code(),
                    chain = %Chain(&error),
                    again_in = ?every,
                    "serving certificates were not renewed: what was there is shown until that is tried again"
                );
            }
        }
    }
}
