//! How `serve` stands in its cluster: under which names, as whom, and how it leaves. The doing is the extension's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keelson_extension::{
    Holder, LeaseTimes, Reach, Registration, ServeLease, ServingCertificates, Standing, StandingTimes,
    Successor, Withheld, groups_that_answer,
};
use keelson_model::names::API_SERVICE;
use keelson_protection::Platform;
use tracing::warn;

/// A cluster that is going away itself must not hold us up.
const LEFT_WITHIN: Duration = Duration::from_secs(10);

/// The pods of the installation, by the label that scripts of its users know.
pub(crate) fn pods(port: u16) -> Reach {
    let selector = BTreeMap::from([("component".to_owned(), "crypto".to_owned())]);
    Reach::Pods { selector, target_port: port }
}

pub(crate) fn registration(reach: Reach, namespace: &str, port: u16) -> Registration {
    Registration { namespace: namespace.to_owned(), service: API_SERVICE.to_owned(), port, reach }
}

pub(crate) fn standing(
    platform: &Arc<Platform>,
    client: kube::Client,
    registration: Registration,
    certificates: Arc<ServingCertificates>,
    withheld: Arc<Withheld>,
) -> Standing {
    let process = u64::from_le_bytes(keelson_crypto::random_bytes());
    let me = Holder { instance: platform.instance().to_string(), process: format!("{process:016x}") };
    let (namespace, clock) = (registration.namespace.clone(), Arc::clone(platform.clock()));
    let lease = ServeLease::new(client.clone(), &namespace, me, LeaseTimes::USUAL, Arc::clone(&clock));
    let answers = groups_that_answer(Arc::clone(platform));
    let telling = Arc::clone(platform);
    Standing::new(client, registration, certificates, lease, answers, StandingTimes::USUAL, clock)
        .withholding(withheld)
        .telling_taken(Arc::new(move |taken| telling.note_taken_apis(taken)))
}

/// Outside a cluster nobody takes over or cleans up, and an APIService without a server keeps every namespace of the
/// cluster from going. Inside, the next `serve` finds its registration as it was.
pub(crate) async fn withdraw(standing: &mut Standing, successor: &Successor) {
    if tokio::time::timeout(LEFT_WITHIN, standing.withdraw(successor)).await.is_err() {
        warn!(
            "the cluster did not answer in time: until `keelson serve` runs again, `keelson guard` acts or the APIServices \
             of *.kio.kasten.io are deleted, no namespace of the cluster can be removed"
        );
    }
}

/// When nothing works any more that another must not do beside us.
pub(crate) async fn release(standing: &mut Standing) {
    if tokio::time::timeout(LEFT_WITHIN, standing.release()).await.is_err() {
        warn!("the cluster did not answer in time: the Lease was not released");
    }
}
