//! The platform and its extension server, as `serve` puts them together.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use keelson_extension::{Extension, Farewell, Reach, Registration, Renewed, ServingCertificates};
use keelson_model::Clock;
use keelson_protection::{Platform, RecoveryBounds, Settings};
use keelson_testkit::{ControlPlane, free_port};
use keelson_workload::{Cluster, ClusterAccess};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::INSTALL_NAMESPACE;

#[derive(Debug)]
pub(crate) struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "the servers beside us live by the system's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Certificates that were in use for as long as leaves something to be renewed on each of the last days.
fn long_used(names: &[String]) -> ServingCertificates {
    let certificates = ServingCertificates::generate(names, days_ago(241)).unwrap();
    assert_eq!(certificates.keep_current(days_ago(22)).unwrap(), [Renewed::Serving]);
    certificates
}

fn days_ago(days: u64) -> Timestamp {
    WallClock.now().saturating_sub(Duration::from_secs(days * 24 * 3600)).unwrap()
}

pub(super) struct Server {
    pub(super) port: u16,
    pub(super) authority: PathBuf,
    pub(super) platform: Arc<Platform>,
    registration: Registration,
    certificates: Arc<ServingCertificates>,
    shutdown: CancellationToken,
    serving: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    pub(super) async fn start(plane: &ControlPlane) -> Self {
        // Inside the directory of the control plane, which goes when this process does.
        let data = plane.directory().join("keelson");
        let settings = Settings {
            install_namespace: INSTALL_NAMESPACE.to_owned(),
            mounts: data.join("mounts"),
            claims: BTreeMap::new(),
            ownership_grace: Duration::from_secs(60),
            clock_difference_max: jiff::SignedDuration::MAX,
            quick_mode: false,
            recovery_bounds: RecoveryBounds::USUAL,
            passphrase_cost: keelson_protection::KdfCost::LOWEST,
            aws: keelson_protection::AwsEnvironment::default(),
            data,
        };
        let access = ClusterAccess::Kubeconfig(plane.kubeconfig().to_owned());
        let cluster = Cluster::connect(&access).await.unwrap();
        let platform = Platform::open(settings, cluster, Arc::new(WallClock)).await.unwrap();
        let server = Self::serve(plane, platform, free_port().unwrap(), Farewell::USUAL).await;
        server.register(plane).await;
        server
    }

    /// Another server of the same platform, on the same port, with certificates of its own.
    pub(super) async fn anew(&self, plane: &ControlPlane) -> Self {
        let server = Self::serve(plane, Arc::clone(&self.platform), self.port, Farewell::USUAL).await;
        server.register(plane).await;
        server
    }

    /// The same on a port of its own, to which the cluster is not sent yet.
    pub(super) async fn beside(&self, plane: &ControlPlane, farewell: Farewell) -> Self {
        Self::serve(plane, Arc::clone(&self.platform), free_port().unwrap(), farewell).await
    }

    async fn serve(plane: &ControlPlane, platform: Arc<Platform>, port: u16, farewell: Farewell) -> Self {
        let client = plane.client().await.unwrap();
        let shutdown = CancellationToken::new();
        let extension = Extension::new(Arc::clone(&platform), client, shutdown.clone());
        extension.readiness().stand();
        extension.read_trust().await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let registration = Registration {
            namespace: INSTALL_NAMESPACE.to_owned(),
            service: "keelson-extension".to_owned(),
            port,
            reach: Reach::Host { name: "localhost".to_owned() },
        };
        let certificates = Arc::new(long_used(&registration.dns_names()));
        let authority = plane.directory().join("extension-ca.crt");
        let serving = Arc::clone(&certificates);
        let serving = tokio_util::task::TaskTracker::new()
            .spawn(async move { extension.serve(farewell, listener, serving).await });
        let serving = Mutex::new(Some(serving));
        Self { port, authority, platform, registration, certificates, shutdown, serving }
    }

    /// Sends the cluster here.
    pub(super) async fn register(&self, plane: &ControlPlane) {
        self.tell_authorities(plane, 0).await;
    }

    /// To the API server, and to who reaches us directly, as if it were so many days ago.
    async fn tell_authorities(&self, plane: &ControlPlane, days: u64) {
        let authorities = self.certificates.authorities_pem();
        std::fs::write(&self.authority, &authorities).unwrap();
        let client = plane.client().await.unwrap();
        self.registration.register(&client, &authorities).await.unwrap();
        self.certificates.note_told(&authorities, days_ago(days));
    }

    /// Does what a look does that was so many days ago.
    pub(super) async fn renew_certificates(&self, plane: &ControlPlane, days: u64) -> Vec<Renewed> {
        let renewed = self.certificates.keep_current(days_ago(days)).unwrap();
        self.tell_authorities(plane, days).await;
        renewed
    }

    /// Lets it begin to end, as a deployment does.
    pub(super) fn leave(&self) {
        self.shutdown.cancel();
    }

    /// The same, and returns when it has ended.
    pub(super) async fn stop(&self) {
        self.leave();
        let serving = self.serving.lock().unwrap().take();
        serving.expect("it is stopped once").await.unwrap();
    }
}
