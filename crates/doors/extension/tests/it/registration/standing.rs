//! One `serve` in its cluster: what it holds, and when it lets go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use keelson_extension::{
    Answers, LeaseError, Renewed, ServingCertificates, StandingTimes, Successor, api_service_name,
    group_versions,
};
use keelson_model::Clock as _;
use keelson_model::names::{API_SERVICE, SERVE_LEASE, annotation, group};
use keelson_testkit::eventually;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::{ALL, HOME, LEASE_TIMES, STANDING_TIMES, Serve, Stage, WallClock, assert_stays, certificates};

/// Seconds; the rest is for a machine that stands still for a while.
const PUT_BACK_WITHIN: Duration = Duration::from_secs(120);
/// We may see something this much later than it happened.
const SEEN_LATE: Duration = Duration::from_secs(8);
/// What stands in a Lease is of a clock that may be set a little meanwhile; the wait is not.
const CLOCKS_DIFFER_BY: Duration = Duration::from_millis(500);

/// It was registered once, so what somebody deleted stayed away for ever, and an API server that was away ended us.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_deletes_or_changes_is_put_back_until_the_namespace_goes() {
    let mut stage = Stage::raise().await;
    let _serve = stage.serve("a", "1");
    stage.await_registered(&ALL).await;

    let apps = "v1alpha1.apps.kio.kasten.io";
    let delete_apps = async |stage: &Stage| {
        let deleted = stage.api_services.get(apps).await.unwrap().metadata.uid;
        stage.api_services.delete(apps, &DeleteParams::default()).await.unwrap();
        let began = Instant::now();
        eventually("it is registered again", async || {
            let found = stage.api_services.get_opt(apps).await?;
            Ok(found.filter(|found| found.metadata.uid != deleted).map(drop))
        })
        .await
        .unwrap();
        let took = began.elapsed();
        println!("an APIService that was deleted was back after {took:?}");
        assert!(took <= PUT_BACK_WITHIN, "{took:?}");
    };
    delete_apps(&stage).await;

    let taken = json!({ "spec": { "service": { "port": 1 }, "versionPriority": 1 } });
    stage.api_services.patch(apps, &PatchParams::default(), &Patch::Merge(&taken)).await.unwrap();
    let services: Api<Service> = Api::namespaced(stage.client.clone(), HOME);
    services.delete(API_SERVICE, &DeleteParams::default()).await.unwrap();
    eventually("what was changed is as it was", async || {
        let service = stage.api_services.get(apps).await?.spec.and_then(|spec| spec.service);
        let is_back = service.and_then(|service| service.port) == Some(7443);
        Ok((is_back && services.get_opt(API_SERVICE).await?.is_some()).then_some(()))
    })
    .await
    .unwrap();

    stage.plane.interrupt().unwrap();
    stage.plane.resume().await.unwrap();
    delete_apps(&stage).await;

    stage.delete_home().await;
    let took = stage.await_registered(&[]).await;
    println!("without a guard the APIServices went {took:?} after the namespace began to terminate");
    assert!(took <= PUT_BACK_WITHIN, "{took:?}");
    println!("the namespace was gone {:?} later", stage.await_gone(HOME).await);
    stage.plane.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_serve_waits_until_the_first_is_surely_gone_and_the_first_then_ends() {
    let stage = Stage::raise().await;
    let first = stage.serve("a", "1");
    stage.await_registered(&ALL).await;
    stage.await_holder("a_1").await;
    let second = stage.serve("b", "1");
    let holder = async || stage.lease().await.unwrap().spec.unwrap().holder_identity;
    assert_stays(LEASE_TIMES.expires_after + 2 * LEASE_TIMES.renew_every, async || {
        assert_eq!(holder().await.as_deref(), Some("a_1"));
    })
    .await;
    // Killed: it takes its time to be believed dead.
    drop(first);
    let waited = stage.await_taken_over("b_1").await;
    println!("taken over {waited:?} after the last renewal");
    assert!(waited + CLOCKS_DIFFER_BY >= LEASE_TIMES.expires_after, "{waited:?}");
    drop(second);

    // The next process of the same volume cannot but be alone.
    let mut third = stage.serve("b", "2");
    let took = stage.await_holder("b_2").await;
    println!("the next process of the same volume had it after {took:?}");
    assert!(took < LEASE_TIMES.expires_after, "{took:?}");
    stage.await_registered(&ALL).await;

    // As if it had been cut off for long, and another had taken over meanwhile.
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), HOME);
    let other = json!({ "spec": { "holderIdentity": "c_1" } });
    leases.patch(SERVE_LEASE, &PatchParams::default(), &Patch::Merge(&other)).await.unwrap();
    let lost = third.tasks.join_next().await.unwrap().unwrap();
    assert!(matches!(&lost, LeaseError::Lost { holder, .. } if holder == "c_1"), "{lost:?}");
    assert_eq!(holder().await.as_deref(), Some("c_1"));
    stage.plane.stop().await.unwrap();
}

/// The quota controller waits at its start until every list of ours was answered, and there are no quotas until then.
#[tokio::test(flavor = "multi_thread")]
async fn groups_whose_data_is_away_for_long_are_taken_off_and_put_back_when_it_is_there() {
    let stage = Stage::raise().await;
    let times = StandingTimes {
        away_for: 2 * SEEN_LATE,
        withheld_for: SEEN_LATE + Duration::from_secs(2),
        ..STANDING_TIMES
    };
    let standing = |process: &str, answers: Answers| {
        stage.standing_with(Arc::new(certificates()), times, "a", process, answers)
    };
    let is_there = Arc::new(AtomicBool::new(true));
    let there = Arc::clone(&is_there);
    let answers: Answers =
        Arc::new(move |version| version.group == group::DR || there.load(Ordering::Relaxed));
    let serve = Serve::begin(standing("1", Arc::clone(&answers)));
    stage.await_registered(&ALL).await;

    is_there.store(false, Ordering::Relaxed);
    assert_stays(times.away_for / 4, async || {
        assert_eq!(stage.registered().await.len(), ALL.len(), "it is away for a moment only");
    })
    .await;
    eventually("the cluster is told before", async || {
        let found = stage.api_services.get("v1alpha1.apps.kio.kasten.io").await?;
        Ok(found.metadata.annotations.is_some_and(|of| of.contains_key(annotation::DATA_AWAY)).then_some(()))
    })
    .await
    .unwrap();
    let told = Instant::now();
    let took = stage.await_registered(&["dr"]).await;
    println!("taken off {took:?} after the cluster was told");
    assert!(told.elapsed() >= times.withheld_for - SEEN_LATE, "{:?}", told.elapsed());
    assert_stays(2 * times.assert_every, async || {
        assert_eq!(stage.registered().await.len(), 1, "nothing puts it back");
    })
    .await;
    is_there.store(true, Ordering::Relaxed);
    let took = stage.await_registered(&ALL).await;
    println!("back {took:?} after the data was");
    assert!(took <= PUT_BACK_WITHIN, "{took:?}");

    // Away from the start: what is not registered is not registered for a moment.
    drop(serve);
    is_there.store(false, Ordering::Relaxed);
    for name in ["actions", "apps", "repositories", "vault"] {
        let name = format!("v1alpha1.{name}.kio.kasten.io");
        stage.api_services.delete(&name, &DeleteParams::default()).await.unwrap();
    }
    let _serve = Serve::begin(standing("2", answers));
    stage.await_holder("a_2").await;
    assert_stays(4 * times.assert_every, async || {
        assert_eq!(stage.registered().await.len(), 1);
    })
    .await;
    stage.plane.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_ends_takes_the_registration_away_only_if_nobody_comes_after() {
    let stage = Stage::raise().await;
    let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), HOME);
    let deployment = json!({
        "metadata": { "name": "keelson" },
        "spec": {
            "selector": { "matchLabels": { "component": "crypto" } },
            "template": {
                "metadata": { "labels": { "component": "crypto" } },
                "spec": { "containers": [{ "name": "serve", "image": "keelson" }] },
            },
        },
    });
    deployments.create(&PostParams::default(), &serde_json::from_value(deployment).unwrap()).await.unwrap();
    let end = async |successor: Successor| {
        let mut standing = stage.standing("a", "1", Arc::new(|_| true));
        standing.acquire().await;
        tokio::select! {
            lost = standing.keep() => panic!("{lost:?}"),
            _ = stage.await_registered(&ALL) => {}
        }
        standing.withdraw(&successor).await;
        standing.release().await;
        assert_eq!(stage.lease().await.unwrap().spec.unwrap().holder_identity.as_deref(), Some(""));
        stage.registered().await.len()
    };
    let ours = || Successor::Deployment("keelson".to_owned());
    assert_eq!(end(Successor::Somebody).await, ALL.len());
    assert_eq!(end(ours()).await, ALL.len());
    assert_eq!(end(Successor::Nobody).await, 0);
    assert_eq!(end(Successor::Deployment("gone".to_owned())).await, 0);
    let scaled = json!({ "spec": { "replicas": 0 } });
    deployments.patch("keelson", &PatchParams::default(), &Patch::Merge(&scaled)).await.unwrap();
    assert_eq!(end(ours()).await, 0);

    // Who only waited takes nothing away.
    let serve = stage.serve("a", "2");
    stage.await_registered(&ALL).await;
    let mut waiting = stage.standing("b", "1", Arc::new(|_| true));
    tokio::select! {
        () = waiting.acquire() => panic!("two hold it"),
        () = assert_stays(LEASE_TIMES.renew_every, async || ()) => {}
    }
    waiting.withdraw(&Successor::Nobody).await;
    waiting.release().await;
    assert_eq!(stage.registered().await.len(), ALL.len());
    stage.await_holder("a_2").await;
    drop(serve);
    stage.plane.stop().await.unwrap();
}

impl Stage {
    /// Waits until another has taken the Lease, and says how long after its last renewal that was, by what stands in it.
    async fn await_taken_over(&self, expected: &str) -> Duration {
        let mut renewed = None;
        eventually(&format!("{expected} takes the Lease"), async || {
            let spec = self.lease().await.unwrap().spec.unwrap();
            if spec.holder_identity.as_deref() != Some(expected) {
                renewed = spec.renew_time;
                return Ok(None);
            }
            let (taken, renewed) = (spec.acquire_time.unwrap(), renewed.as_ref().unwrap());
            Ok(Some(taken.0.duration_since(renewed.0).unsigned_abs()))
        })
        .await
        .unwrap()
    }

    /// Waits until each APIService tells of the authorities whom a client must trust.
    async fn await_told(&self, certificates: &ServingCertificates) {
        let expected = certificates.authorities_pem();
        for version in group_versions() {
            let name = api_service_name(version);
            eventually(&format!("{name} tells of all authorities"), async || {
                let told = self.api_services.get(&name).await?.spec.and_then(|spec| spec.ca_bundle);
                Ok(told.filter(|told| told.0 == expected.as_bytes()).map(drop))
            })
            .await
            .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_services_tell_of_a_new_authority_before_it_signs() {
    let stage = Stage::raise().await;
    let certificates = Arc::new(certificates());
    let look = |day: u64| {
        let now = WallClock.now().saturating_add(Duration::from_secs(day * 24 * 3600)).unwrap();
        certificates.keep_current(now).unwrap()
    };
    assert_eq!(look(240), [Renewed::Serving, Renewed::Successor]);
    assert!(look(241).is_empty(), "the API server was not told of it");
    // It is not for its turn that each change waits.
    let times = StandingTimes { assert_every: Duration::from_secs(3600), ..STANDING_TIMES };
    let shown = Arc::clone(&certificates);
    let serve = Serve::begin(stage.standing_with(shown, times, "a", "1", Arc::new(|_| true)));
    stage.await_registered(&ALL).await;
    stage.await_told(&certificates).await;
    let renewed = eventually("the new one signs", async || {
        let renewed = look(241);
        Ok((!renewed.is_empty()).then_some(renewed))
    });
    assert_eq!(renewed.await.unwrap(), [Renewed::Authority]);
    stage.await_told(&certificates).await;
    assert_eq!(look(2_000), [Renewed::Everything]);
    stage.await_told(&certificates).await;
    drop(serve);
    stage.plane.stop().await.unwrap();
}
