//! Our certificates are renewed, the authority too, while a client watches through the API server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keelson_extension::Renewed;

use crate::access::direct;
use crate::environment::{Environment, apart};
use crate::stranger::Stranger;

const RESTORE_POINTS: &str = "apps.kio.kasten.io/v1alpha1/restorepoints";

/// How many authorities the API server was told of: those that a client must trust who reaches us directly.
fn authorities_told(cluster: &Environment) -> usize {
    let words = ["get", "apiservice", "v1alpha1.apps.kio.kasten.io", "-o", "jsonpath={.spec.caBundle}"];
    let told = STANDARD.decode(cluster.kubectl(&words).trim()).unwrap();
    assert_eq!(told, std::fs::read(&cluster.authority).unwrap());
    String::from_utf8(told).unwrap().matches("BEGIN CERTIFICATE").count()
}

#[test]
fn a_watch_through_the_api_server_misses_nothing_while_certificates_are_renewed() {
    let cluster = apart();
    cluster.namespace("renewed");
    cluster.fill("restorepoints", "renewed", 20);
    let start = |watch_list: &str| {
        let name = format!("renewed-{watch_list}");
        let switches = [("KUBE_FEATURE_WatchListClient", watch_list)];
        Stranger::informer(&cluster, &name, RESTORE_POINTS, &[], &switches)
    };
    let mut informers = ["true", "false"].map(start);
    for informer in &mut informers {
        informer.await_holding(&cluster, "restorepoints", "renewed");
    }
    // Brought by a watch, whatever came first.
    cluster.put("restorepoints", "renewed", "before", &[]);
    for informer in &mut informers {
        informer.await_holding(&cluster, "restorepoints", "renewed");
    }
    let requests = informers.each_ref().map(|informer| informer.told("request").len());
    for (days_ago, renewed, authorities) in
        [(2, Renewed::Serving, 1), (1, Renewed::Successor, 2), (0, Renewed::Authority, 1)]
    {
        assert_eq!(cluster.renew_certificates(days_ago), [renewed]);
        assert_eq!(authorities_told(&cluster), authorities, "{renewed:?}");
        cluster.put("restorepoints", "renewed", &format!("after-{days_ago}"), &[]);
        cluster.remove("renewed", &format!("filled-{days_ago:06}"));
        for informer in &mut informers {
            informer.await_holding(&cluster, "restorepoints", "renewed");
        }
        assert_eq!(direct(&cluster, None, "/readyz").unwrap(), "ok", "a newcomer trusts what is shown");
        let listed = cluster.kubectl(&["get", "restorepoints", "-n", "renewed", "-o", "name"]);
        assert!(listed.contains(&format!("after-{days_ago}")), "{listed}");
    }
    for (informer, before) in informers.into_iter().zip(requests) {
        let requests = informer.told("request");
        assert_eq!(requests.len(), before, "the same watches bring it all: {requests:?}");
        informer.finish(&[]);
    }
}
