//! Coming and going: what is registered, by whom and for how long, and what is left behind. Each test has a cluster of
//! its own, in which nobody serves: an APIService that stays too long keeps namespaces there for ever.

mod guard;
mod leftovers;
mod standing;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use keelson_extension::{
    Answers, Holder, LeaseError, LeaseTimes, Reach, Registration, ServeLease, ServingCertificates, Standing,
    StandingTimes, api_service_name, group_versions,
};
use keelson_model::Clock;
use keelson_model::names::{API_SERVICE, SERVE_LEASE};
use keelson_testkit::{ControlPlane, eventually};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::task::JoinSet;

const HOME: &str = "kasten-io";
/// Shorter than in the product, and longer than a busy machine holds a process up.
const LEASE_TIMES: LeaseTimes =
    LeaseTimes { renew_every: Duration::from_millis(500), expires_after: Duration::from_secs(15) };
const STANDING_TIMES: StandingTimes = StandingTimes {
    assert_every: Duration::from_secs(2),
    look_every: Duration::from_millis(100),
    away_for: Duration::from_secs(6),
    withheld_for: Duration::from_secs(2),
};

#[derive(Debug)]
struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "the servers beside us live by the system's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A cluster with our namespace, and nothing of ours yet.
struct Stage {
    plane: ControlPlane,
    client: Client,
    api_services: Api<APIService>,
}

/// A `serve` as the cluster sees it. Dropping it is killing it.
struct Serve {
    tasks: JoinSet<LeaseError>,
}

impl Serve {
    fn begin(mut standing: Standing) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            standing.acquire().await;
            standing.keep().await
        });
        Self { tasks }
    }
}

impl Stage {
    async fn raise() -> Self {
        let plane = ControlPlane::start().await.unwrap();
        let client = plane.client().await.unwrap();
        let stage = Self { api_services: Api::all(client.clone()), plane, client };
        stage.namespace(HOME).await;
        stage
    }

    async fn namespace(&self, name: &str) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    }

    async fn service(&self, namespace: &str, name: &str) {
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let service = json!({ "metadata": { "name": name }, "spec": { "ports": [{ "port": 443 }] } });
        services.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();
    }

    /// As other installations leave them.
    async fn api_service(&self, group: &str, namespace: &str, service: &str) {
        let found = json!({
            "metadata": { "name": format!("v1alpha1.{group}.kio.kasten.io") },
            "spec": {
                "group": format!("{group}.kio.kasten.io"), "version": "v1alpha1", "insecureSkipTLSVerify": true,
                "groupPriorityMinimum": 10, "versionPriority": 10,
                "service": { "name": service, "namespace": namespace, "port": 443 },
            },
        });
        let found = serde_json::from_value(found).unwrap();
        self.api_services.create(&PostParams::default(), &found).await.unwrap();
    }

    /// The Service to which the APIService of a group leads.
    async fn leads_to(&self, group: &str) -> Option<String> {
        let found = self.api_services.get_opt(&format!("v1alpha1.{group}.kio.kasten.io")).await.unwrap()?;
        let service = found.spec?.service?;
        Some(format!("{}/{}", service.namespace?, service.name?))
    }

    fn standing(&self, instance: &str, process: &str, answers: Answers) -> Standing {
        self.standing_with(Arc::new(certificates()), STANDING_TIMES, instance, process, answers)
    }

    fn standing_with(
        &self,
        certificates: Arc<ServingCertificates>,
        times: StandingTimes,
        instance: &str,
        process: &str,
        answers: Answers,
    ) -> Standing {
        let registration = registration(HOME, API_SERVICE);
        let me = Holder { instance: instance.to_owned(), process: process.to_owned() };
        let lease = ServeLease::new(self.client.clone(), HOME, me, LEASE_TIMES, Arc::new(WallClock));
        let client = self.client.clone();
        Standing::new(client, registration, certificates, lease, answers, times, Arc::new(WallClock))
    }

    /// A `serve` whose data is there.
    fn serve(&self, instance: &str, process: &str) -> Serve {
        Serve::begin(self.standing(instance, process, Arc::new(|_| true)))
    }

    /// The groups that lead to us.
    async fn registered(&self) -> BTreeSet<String> {
        let all = self.api_services.list(&kube::api::ListParams::default()).await.unwrap();
        let ours = all.items.into_iter().filter(|found| {
            let service = found.spec.as_ref().and_then(|spec| spec.service.as_ref());
            service.is_some_and(|service| service.name.as_deref() == Some(API_SERVICE))
        });
        ours.filter_map(|found| found.spec?.group).collect()
    }

    async fn await_registered(&self, expected: &[&str]) -> Duration {
        let began = Instant::now();
        let expected: BTreeSet<String> =
            expected.iter().map(|group| format!("{group}.kio.kasten.io")).collect();
        let what = format!("registered are {expected:?}");
        eventually(&what, async || Ok((self.registered().await == expected).then_some(()))).await.unwrap();
        began.elapsed()
    }

    async fn lease(&self) -> Option<Lease> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), HOME);
        leases.get_opt(SERVE_LEASE).await.unwrap()
    }

    async fn await_holder(&self, expected: &str) -> Duration {
        let began = Instant::now();
        eventually(&format!("{expected} holds the Lease"), async || {
            let holder = self.lease().await.and_then(|lease| lease.spec?.holder_identity);
            Ok((holder.as_deref() == Some(expected)).then_some(()))
        })
        .await
        .unwrap();
        began.elapsed()
    }

    /// Deletes our namespace, with all that the controllers of the cluster have to ask for that.
    async fn delete_home(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(HOME, &DeleteParams::default()).await.unwrap();
    }

    async fn await_gone(&self, namespace: &str) -> Duration {
        let began = Instant::now();
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        eventually(&format!("namespace {namespace} is gone"), async || {
            Ok(namespaces.get_opt(namespace).await?.is_none().then_some(()))
        })
        .await
        .unwrap();
        began.elapsed()
    }
}

/// Looks again and again, for so long, whether it is still so.
async fn assert_stays(span: Duration, mut check: impl AsyncFnMut()) {
    let began = Instant::now();
    eventually("time goes by", async || {
        check().await;
        Ok((began.elapsed() > span).then_some(()))
    })
    .await
    .unwrap();
}

fn registration(namespace: &str, service: &str) -> Registration {
    Registration {
        namespace: namespace.to_owned(),
        service: service.to_owned(),
        port: 7443,
        reach: Reach::Host { name: "localhost".to_owned() },
    }
}

fn certificates() -> ServingCertificates {
    let names = registration(HOME, API_SERVICE).dns_names();
    ServingCertificates::generate(&names, WallClock.now()).unwrap()
}

const ALL: [&str; 5] = ["actions", "apps", "dr", "repositories", "vault"];

#[tokio::test(flavor = "multi_thread")]
async fn what_was_registered_is_removed_and_nothing_else() {
    let stage = Stage::raise().await;
    let (client, api_services) = (&stage.client, &stage.api_services);
    let ours = registration("default", "ours");
    // Any PEM will do: nothing is served here.
    let authority = stage.plane.authority();
    ours.register(client, &authority).await.unwrap();
    ours.register(client, &authority).await.unwrap();
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    for version in group_versions() {
        let found = api_services.get(&api_service_name(version)).await.unwrap();
        assert_eq!(found.spec.unwrap().service.unwrap().port, Some(7443));
    }
    // Somebody else serves one of the groups now: it is no longer ours to remove.
    api_services.delete("v1alpha1.actions.kio.kasten.io", &DeleteParams::default()).await.unwrap();
    stage.api_service("actions", "default", "theirs").await;
    ours.unregister(client).await.unwrap();
    ours.unregister(client).await.unwrap();
    assert_eq!(stage.leads_to("actions").await.as_deref(), Some("default/theirs"));
    for group in ["apps", "dr", "repositories", "vault"] {
        assert_eq!(stage.leads_to(group).await, None, "{group}");
    }
    assert!(services.get_opt("ours").await.unwrap().is_none());
    // What an installation left that did not verify us is taken over.
    ours.register(client, &authority).await.unwrap();
    let spec = api_services.get("v1alpha1.actions.kio.kasten.io").await.unwrap().spec.unwrap();
    assert_eq!((spec.service.unwrap().name.as_deref(), spec.insecure_skip_tls_verify), (Some("ours"), None));
    stage.plane.stop().await.unwrap();
}
