//! The guard beside a `serve` that lives, dies, or was never there.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use keelson_extension::{Guard, GuardTimes, RemoveError};
use keelson_model::names::API_SERVICE;
use keelson_resources::roles;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{ALL, HOME, Stage, assert_stays};

/// Where nobody serves.
const TIMES: GuardTimes = GuardTimes {
    look_every: Duration::from_millis(500),
    follow_every: Duration::from_millis(200),
    lost_after: Duration::from_secs(8),
    renewed_within: Duration::from_secs(4),
};
/// A busy machine holds a `serve` up for less.
const TIMES_BESIDE_A_SERVE: GuardTimes = GuardTimes { lost_after: Duration::from_secs(20), ..TIMES };
/// By this a guard that follows the namespace is told from one that misses its Lease.
const TIMES_WITHOUT_A_LEASE: GuardTimes = GuardTimes { lost_after: Duration::from_secs(3_600), ..TIMES };
/// Two looks and the deletions, on a busy machine too.
const MARGIN: Duration = Duration::from_secs(30);
/// In this a guard looks at the namespace many times.
const MANY_LOOKS: Duration = Duration::from_secs(5);

/// The guard as it is installed: an account with its roles of `deploy/roles`.
struct Guards {
    client: Client,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Guards {
    async fn install(stage: &Stage) -> Self {
        for (file, object) in roles::roles("k10", HOME) {
            if !file.ends_with("guard.yaml") {
                continue;
            }
            match object["kind"].as_str().unwrap() {
                "ClusterRole" => create::<ClusterRole>(Api::all(stage.client.clone()), &object).await,
                "ClusterRoleBinding" => {
                    create::<ClusterRoleBinding>(Api::all(stage.client.clone()), &object).await
                }
                "Role" => create::<Role>(Api::namespaced(stage.client.clone(), HOME), &object).await,
                _ => create::<RoleBinding>(Api::namespaced(stage.client.clone(), HOME), &object).await,
            }
        }
        let account = format!("system:serviceaccount:{HOME}:k10-guard");
        let client = stage.plane.client_for(&account, None).await.unwrap();
        Self { client, tasks: JoinSet::new(), stop: CancellationToken::new() }
    }

    /// Tells when it looks.
    fn begin(&mut self, times: GuardTimes) -> watch::Receiver<tokio::time::Instant> {
        let (mut guard, stop) = (Guard::new(self.client.clone(), HOME, times), self.stop.clone());
        let looked = guard.looked();
        self.tasks.spawn(async move { guard.run(stop).await });
        looked
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

async fn create<K>(api: Api<K>, object: &Value)
where
    K: Serialize + DeserializeOwned + Clone + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object.clone()).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn guards_leave_what_is_renewed_and_delete_what_nobody_renews_any_more() {
    let stage = Stage::raise().await;
    let mut guards = Guards::install(&stage).await;
    let lost_after = TIMES_BESIDE_A_SERVE.lost_after;
    let looked = guards.begin(TIMES_BESIDE_A_SERVE);
    guards.begin(TIMES_BESIDE_A_SERVE);
    let first = *looked.borrow();
    // Short lives, one after the other: each of them renews the Lease.
    let (began, mut life) = (Instant::now(), 0);
    while began.elapsed() < lost_after + MANY_LOOKS {
        life += 1;
        let _serve = stage.serve("a", &life.to_string());
        stage.await_holder(&format!("a_{life}")).await;
        stage.await_registered(&ALL).await;
        assert_stays(Duration::from_secs(1), async || {
            assert_eq!(stage.registered().await.len(), ALL.len(), "in life {life}");
        })
        .await;
    }
    println!("{life} lives");
    assert!(*looked.borrow() > first + TIMES.follow_every, "a probe hears that it looks on");
    // Killed for good.
    let killed = Instant::now();
    stage.await_registered(&[]).await;
    let took = killed.elapsed();
    println!("gone {took:?} after the last renewal; the guard counts {lost_after:?}");
    assert!(took <= lost_after + MARGIN, "{took:?}");
    // And again from there.
    let serve = stage.serve("a", "again");
    println!("back after {:?}", stage.await_registered(&ALL).await);
    assert_stays(MANY_LOOKS, async || {
        assert_eq!(stage.registered().await.len(), ALL.len());
    })
    .await;
    drop(serve);
    guards.stop().await;
    stage.plane.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_goes_while_nobody_serves_is_not_kept_by_what_was_registered() {
    let stage = Stage::raise().await;
    // Of an installation before ours, too.
    stage.service(HOME, "aggregatedapis-svc").await;
    stage.api_service("reporting", HOME, "aggregatedapis-svc").await;
    super::registration(HOME, API_SERVICE).register(&stage.client, &stage.plane.authority()).await.unwrap();
    let mut guards = Guards::install(&stage).await;
    guards.begin(TIMES_WITHOUT_A_LEASE);
    guards.begin(TIMES_WITHOUT_A_LEASE);
    stage.delete_home().await;
    let took = stage.await_registered(&[]).await;
    println!("gone {took:?} after the namespace began to terminate");
    assert!(took <= MARGIN, "{took:?}");
    assert_eq!(stage.leads_to("vault").await, None);
    println!("the namespace was gone {:?} later", stage.await_gone(HOME).await);
    guards.stop().await;

    // What is registered for a namespace that is not there goes with the last look of a guard that ends.
    super::registration(HOME, API_SERVICE)
        .register(&stage.client, &stage.plane.authority())
        .await
        .unwrap_err();
    stage.api_service("dr", HOME, API_SERVICE).await;
    let stop = CancellationToken::new();
    stop.cancel();
    Guard::new(stage.client.clone(), HOME, TIMES).run(stop).await;
    stage.await_registered(&[]).await;
    stage.plane.stop().await.unwrap();
}

/// A watch that was interrupted begins anew half a minute later, when the account of the guard is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_goes_while_its_watch_is_away_is_followed_at_once() {
    let stage = Stage::raise().await;
    super::registration(HOME, API_SERVICE).register(&stage.client, &stage.plane.authority()).await.unwrap();
    let mut guards = Guards::install(&stage).await;
    let roles: Api<ClusterRole> = Api::all(stage.client.clone());
    let mut role = roles.get("k10-guard").await.unwrap();
    for rule in role.rules.iter_mut().flatten() {
        if rule.resources.iter().flatten().any(|resource| resource == "namespaces") {
            rule.verbs = vec!["get".to_owned()];
        }
    }
    roles.replace("k10-guard", &PostParams::default(), &role).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(guards.client.clone());
    let home = ListParams::default().fields(&format!("metadata.name={HOME}"));
    keelson_testkit::eventually("it cannot be watched", async || {
        Ok(namespaces.list(&home).await.is_err().then_some(()))
    })
    .await
    .unwrap();
    guards.begin(GuardTimes { look_every: Duration::from_secs(3_600), ..TIMES_WITHOUT_A_LEASE });
    assert_stays(MANY_LOOKS, async || {
        assert_eq!(stage.registered().await.len(), ALL.len());
    })
    .await;
    stage.delete_home().await;
    let took = stage.await_registered(&[]).await;
    println!("gone {took:?} after the namespace began to terminate");
    assert!(took <= MARGIN, "{took:?}");
    guards.stop().await;
    stage.plane.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_cannot_be_read_is_never_taken_for_lost() {
    let stage = Stage::raise().await;
    super::registration(HOME, API_SERVICE).register(&stage.client, &stage.plane.authority()).await.unwrap();
    let mut guards = Guards::install(&stage).await;
    let bindings: Api<RoleBinding> = Api::namespaced(stage.client.clone(), HOME);
    bindings.delete("k10-guard", &DeleteParams::default()).await.unwrap();
    guards.begin(TIMES);
    assert_stays(2 * TIMES.lost_after, async || {
        assert_eq!(stage.registered().await.len(), ALL.len());
    })
    .await;
    // A Lease that is not there can be read: nobody renews it.
    let binding =
        roles::roles("k10", HOME).into_iter().find(|(file, _)| file == "rolebinding-k10-guard.yaml");
    create::<RoleBinding>(bindings, &binding.unwrap().1).await;
    let took = stage.await_registered(&[]).await;
    println!("gone {took:?} after it could be read");
    guards.stop().await;
    stage.plane.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_persons_word_all_is_taken_away_but_not_under_a_serve_that_runs() {
    let stage = Stage::raise().await;
    stage.service(HOME, "aggregatedapis-svc").await;
    let guards = Guards::install(&stage).await;
    let serve = stage.serve("a", "1");
    stage.await_registered(&ALL).await;
    // It waits for a renewal, and no longer than until it sees one.
    let patient = GuardTimes { renewed_within: Duration::from_secs(60), ..TIMES };
    let refused = Guard::new(guards.client.clone(), HOME, patient).remove().await.unwrap_err();
    assert!(matches!(&refused, RemoveError::StillServed { holder, .. } if holder == "a_1"), "{refused:?}");
    assert_eq!(stage.registered().await.len(), ALL.len());

    drop(serve);
    // Nobody of ours is left to remove it.
    stage.api_service("reporting", HOME, "aggregatedapis-svc").await;
    keelson_testkit::eventually("the cluster has found that nobody answers", async || {
        let found = stage.api_services.get("v1alpha1.reporting.kio.kasten.io").await?;
        let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
        Ok(conditions.iter().any(|it| it.type_ == "Available" && it.status == "False").then_some(()))
    })
    .await
    .unwrap();
    let guard = Guard::new(guards.client, HOME, TIMES);
    let removed = guard.remove().await.unwrap();
    let expected = [
        "APIService 'v1alpha1.actions.kio.kasten.io'",
        "APIService 'v1alpha1.apps.kio.kasten.io'",
        "APIService 'v1alpha1.dr.kio.kasten.io'",
        "APIService 'v1alpha1.reporting.kio.kasten.io'",
        "APIService 'v1alpha1.repositories.kio.kasten.io'",
        "APIService 'v1alpha1.vault.kio.kasten.io'",
        "Service 'kasten-io/keelson-api'",
        "Lease 'kasten-io/keelson-serve'",
    ];
    assert_eq!(removed, expected);
    let services: Api<Service> = Api::namespaced(stage.client.clone(), HOME);
    assert!(services.get_opt(API_SERVICE).await.unwrap().is_none());
    assert!(stage.lease().await.is_none());
    assert_eq!(stage.registered().await.len() + usize::from(stage.leads_to("reporting").await.is_some()), 0);
    assert_eq!(guard.remove().await.unwrap(), Vec::<String>::new());
    stage.plane.stop().await.unwrap();
}
