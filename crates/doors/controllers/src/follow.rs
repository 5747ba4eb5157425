//! Follows objects that the verdict on others depends on, without asking the API server at each look.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, future};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use tracing::debug;

/// When to look at an object again that came before what it names was listed.
pub(crate) const LISTED_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Whether everything was listed: before that, what a store does not hold is not missing. Never waited for inside a
/// reconcile, since the stream that fills the store is not polled while as many reconciles wait as may run at once.
pub(crate) fn is_listed<K>(store: &Store<K>) -> bool
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    store.wait_until_ready().now_or_never().is_some()
}

/// Follows Secrets of a namespace, and of each only what tells that it has changed.
pub(crate) fn follow_secrets(
    client: Client,
    namespace: &str,
    which: watcher::Config,
) -> (Store<PartialObjectMeta<Secret>>, impl Stream<Item = ()> + Send + use<>) {
    let secrets = Api::<PartialObjectMeta<Secret>>::namespaced(client, namespace);
    let watch = watcher(secrets, which).modify(|secret| {
        // An annotation of kubectl repeats the values.
        secret.metadata.annotations = None;
        secret.metadata.managed_fields = None;
    });
    follow(watch, ())
}

/// A store that is up to date whenever the stream yields. A watch that fails tries again by itself.
pub(crate) fn follow<K>(
    watch: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
    kind: K::DynamicType,
) -> (Store<K>, impl Stream<Item = ()> + Send)
where
    K: Resource + Clone + Debug + Send + Sync + 'static,
    K::DynamicType: Debug + Eq + Hash + Clone + Send + Sync,
{
    let writer = reflector::store::Writer::new(kind);
    let store = writer.as_reader();
    let touched = watch.default_backoff().reflect(writer).touched_objects().filter_map(|touched| {
        if let Err(error) = &touched {
            debug!(error = error as &dyn std::error::Error, "a watch was interrupted");
        }
        future::ready(touched.ok().map(drop))
    });
    (store, touched)
}
