//! Certificates that change, ours and the front proxy's, while clients are connected. Both sides go by one clock, which
//! stands still until a test moves it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::StatusCode;
use hyper::client::conn::http2::SendRequest;
use k8s_openapi::api::core::v1::ConfigMap;
use keelson_model::{Classified as _, Clock as _, ErrorClass};
use keelson_testkit::eventually;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::connections::{LONG, PATIENCE, Served, ask, proxies, published, request};
use super::harness::{Answering, Events, POINTS, World};
use crate::authentication::{AUTHENTICATION_CONFIG_MAP, AUTHENTICATION_NAMESPACE};
use crate::extension::{Looks, ReadTrustError};
use crate::server::Bounds;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Often enough that a test waits for nothing, and seldom enough to leave the machine alone.
const LOOKS: Looks = Looks { trust: Duration::from_millis(20), certificates: Duration::from_millis(20) };

async fn serve() -> Served {
    let bounds = Bounds { first_request: LONG, stranger_life: LONG, ..Bounds::default() };
    Served::start_looking(bounds, LOOKS).await
}

/// A watch by way of an aggregator.
struct Watch(Events);

impl Watch {
    async fn open(aggregator: &mut SendRequest<Body>) -> Self {
        let watch = format!("{POINTS}?watch=1");
        let response =
            aggregator.send_request(request("GET", &watch, "watcher", Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Self(Events::of(Body::new(response.into_body())))
    }

    /// What is written now arrives here, and nothing before it was lost.
    async fn brings(&mut self, world: &World, name: &str) {
        world.put("shop", name, &[], json!({}));
        let line = tokio::time::timeout(PATIENCE, self.0.line()).await.expect("an event");
        assert_eq!(line, format!("ADDED shop/{name}"));
    }
}

impl Served {
    /// The serial number of the certificate that is shown to a newcomer who trusts these authorities.
    async fn serial(&self, authorities: &str) -> std::io::Result<Vec<u8>> {
        Ok(serial_of(&self.stranger_trusting(authorities).await?))
    }

    /// Waits until clients are told of other authorities.
    async fn await_other_than(&self, authorities: &str) -> String {
        eventually("clients are told of other authorities", async || {
            let told = self.certificates.authorities_pem();
            Ok((told != authorities).then_some(told))
        })
        .await
        .unwrap()
    }

    /// As the API server does when its files change.
    async fn publish(&self, authority: &str) {
        let client = self.world.platform.cluster().client();
        let config_maps: Api<ConfigMap> = Api::namespaced(client, AUTHENTICATION_NAMESPACE);
        let config = published(authority);
        config_maps.replace(AUTHENTICATION_CONFIG_MAP, &PostParams::default(), &config).await.unwrap();
    }

    /// Waits until what is published was read, whatever came of it.
    async fn await_look(&self) {
        let path = format!(
            "GET api/v1/namespaces/{AUTHENTICATION_NAMESPACE}/configmaps/{AUTHENTICATION_CONFIG_MAP}"
        );
        let looks = || self.world.believe().asked.iter().filter(|asked| **asked == path).count();
        let before = looks();
        // When a second one begins, what the first found holds.
        eventually("two looks", async || Ok((looks() >= before + 2).then_some(()))).await.unwrap();
    }
}

fn serial_of(stream: &TlsStream<tokio::net::TcpStream>) -> Vec<u8> {
    let (_, session) = stream.get_ref();
    let certificates = session.peer_certificates().unwrap();
    let (_, certificate) = X509Certificate::from_der(&certificates[0]).unwrap();
    certificate.raw_serial().to_vec()
}

async fn await_answer(aggregator: &mut SendRequest<Body>, expected: StatusCode) {
    eventually(&format!("the answer {expected}"), async || {
        Ok((ask(aggregator, POINTS).await.status() == expected).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_while_the_serving_certificate_is_renewed_under_the_same_authority() {
    let served = serve().await;
    let world = Arc::clone(&served.world);
    let mut aggregator = served.aggregator().await;
    let mut watch = Watch::open(&mut aggregator).await;
    watch.brings(&world, "before").await;
    let authority = served.certificates.authorities_pem();
    let mut last = served.serial(&authority).await.unwrap();
    assert_eq!(served.serial(&authority).await.unwrap(), last, "nothing is due yet");
    // Further than one certificate lives: the connection is older than any that is still valid.
    for round in 0..3 {
        world.clock.advance(20 * DAY);
        let shown = eventually("a newcomer is shown another certificate", async || {
            let shown = served.serial(&authority).await?;
            Ok((shown != last).then_some(shown))
        })
        .await
        .unwrap();
        last = shown;
        watch.brings(&world, &format!("after-{round}")).await;
        assert_eq!(ask(&mut aggregator, POINTS).await.status(), StatusCode::OK, "on the same connection");
    }
    assert_eq!(served.certificates.authorities_pem(), authority, "what the APIServices tell stays right");
}

/// Whoever was told of the old authority alone is let in until all were told of both, and for a day longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_authority_signs_when_everybody_was_told_of_it_and_a_watch_goes_on() {
    let served = serve().await;
    let world = Arc::clone(&served.world);
    let mut aggregator = served.aggregator().await;
    let mut watch = Watch::open(&mut aggregator).await;
    let old = served.certificates.authorities_pem();

    world.clock.advance(240 * DAY);
    let both = served.await_other_than(&old).await;
    assert!(both.starts_with(&old), "the old one is told of first, and still signs");
    let shown = served.serial(&old).await.unwrap();
    assert_eq!(served.serial(&both).await.unwrap(), shown);
    watch.brings(&world, "told").await;

    world.clock.advance(DAY);
    assert!(served.certificates.keep_current(world.clock.now()).unwrap().is_empty(), "nobody was told of it");
    served.certificates.note_told(&both, world.clock.now());
    world.clock.advance(DAY);
    let new = served.await_other_than(&both).await;
    assert_eq!(format!("{old}{new}"), both);
    let shown = served.serial(&new).await.unwrap();
    assert_eq!(served.serial(&both).await.unwrap(), shown, "who was told of both is let in");
    assert!(served.serial(&old).await.is_err(), "the new one signs");
    watch.brings(&world, "taken-over").await;
}

/// As in the API server itself: a certificate is judged at each request, and what was let in goes on to its end.
#[tokio::test(flavor = "multi_thread")]
async fn another_authority_of_the_front_proxy_counts_at_once_on_connections_that_are_open() {
    let served = serve().await;
    let world = Arc::clone(&served.world);
    let (old, new) = (&served.proxies, &proxies());
    served.publish(&old.pem()).await;
    let (mut of_old, mut of_new) = (served.aggregator().await, served.aggregator_of(new).await);
    let mut watch = Watch::open(&mut of_old).await;
    watch.brings(&world, "before").await;
    served.await_look().await;
    assert_eq!(ask(&mut of_new, POINTS).await.status(), StatusCode::UNAUTHORIZED);

    served.publish(&format!("{}{}", old.pem(), new.pem())).await;
    await_answer(&mut of_new, StatusCode::OK).await;
    assert_eq!(ask(&mut of_old, POINTS).await.status(), StatusCode::OK);

    served.publish("not yet written").await;
    served.await_look().await;
    for aggregator in [&mut of_old, &mut of_new] {
        assert_eq!(ask(aggregator, POINTS).await.status(), StatusCode::OK, "what was true goes on");
    }

    served.publish(&new.pem()).await;
    await_answer(&mut of_old, StatusCode::UNAUTHORIZED).await;
    assert_eq!(ask(&mut of_new, POINTS).await.status(), StatusCode::OK);
    let mut newcomer = served.aggregator().await;
    assert_eq!(ask(&mut newcomer, POINTS).await.status(), StatusCode::UNAUTHORIZED);
    let mut newcomer = served.aggregator_of(new).await;
    assert_eq!(ask(&mut newcomer, POINTS).await.status(), StatusCode::OK);
    watch.brings(&world, "after").await;
}

/// A role was advised whatever was wrong.
#[tokio::test]
async fn who_may_not_read_the_trust_is_told_the_role_and_who_gets_no_answer_the_network() {
    let check = |error: &ReadTrustError, class: ErrorClass, hint: &str| {
        assert_eq!((error.code(), error.class()), ("extension.trust.read", class));
        let told = error.hint().unwrap_or_default();
        assert!(told.contains(hint), "'{told}' does not say '{hint}'");
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403,
        "message": "it is forbidden", "metadata": {},
    });
    let denied = kube::Error::Api(serde_json::from_value(status).unwrap());
    let denied = ReadTrustError::ReadConfigMap { source: Box::new(denied) };
    check(&denied, ErrorClass::Denied, "extension-apiserver-authentication-reader");

    let world = World::start().await;
    world.believe().answering = Answering::NotAtAll;
    tokio::time::pause();
    let late = world.extension.read_trust().await.unwrap_err();
    check(&late, ErrorClass::Unavailable { retry_after: None }, "whether the network leads there");
}
