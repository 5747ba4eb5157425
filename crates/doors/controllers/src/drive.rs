//! Runs a controller of kube until it is told to stop.

use std::sync::Arc;

use futures::StreamExt;
use kube::core::DynamicObject;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Error};
use kube::runtime::reflector::ObjectRef;
use tokio::select;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::follow::is_listed;
use crate::publish::{ReconcileError, retry};

/// Reconciles until `stop`, then waits for what is in flight. `forget` is told of objects that are gone.
///
/// kube's graceful end waits for the controller's first list, which may never come. Before it nothing is in flight.
pub(crate) async fn drive<C: Send + Sync + 'static, R>(
    controller: Controller<DynamicObject>,
    reconcile: impl Fn(Arc<DynamicObject>, Arc<C>) -> R,
    context: Arc<C>,
    forget: impl Fn(&ObjectRef<DynamicObject>),
    kind: &str,
    stop: CancellationToken,
) where
    R: Future<Output = Result<Action, ReconcileError>> + Send + 'static,
{
    let objects = controller.store();
    let reconciling = controller
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(reconcile, |_, error, _| retry(error), context)
        .for_each(async |reconciled| match reconciled {
            Ok(_) => (),
            Err(Error::ObjectNotFound(at)) => forget(&at),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(kind, error, "an object was not reconciled; trying again");
            }
        });
    let stopped_unlisted = async {
        stop.cancelled().await;
        if is_listed(&objects) {
            std::future::pending::<()>().await;
        }
    };
    select! {
        () = reconciling => (),
        () = stopped_unlisted => (),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keelson_resources::policy::Policy;
    use kube::discovery::ApiResource;
    use kube::runtime::watcher;
    use kube::{Api, Client, Config};

    use super::*;

    async fn reconcile(_: Arc<DynamicObject>, _: Arc<()>) -> Result<Action, ReconcileError> {
        Ok(Action::await_change())
    }

    #[tokio::test]
    async fn a_controller_that_was_never_given_a_list_ends_when_it_is_told_to() {
        let nobody = Config::new("http://127.0.0.1:9".parse().unwrap());
        let resource = ApiResource::erase::<Policy>(&());
        let policies = Api::<DynamicObject>::all_with(Client::try_from(nobody).unwrap(), &resource);
        let controller = Controller::new_with(policies, watcher::Config::default(), resource);
        let stop = CancellationToken::new();
        stop.cancel();
        let driving = drive(controller, reconcile, Arc::new(()), |_| (), "Policy", stop);
        tokio::time::timeout(Duration::from_secs(60), driving).await.expect("it ends");
    }
}
