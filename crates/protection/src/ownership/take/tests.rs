//! What is taken is what was pending when it was released.

use anyhow::Result;
use keelson_model::{Generation, ManualClock};
use keelson_testkit::ControlPlane;
use keelson_workload::Cluster;
use serde_json::json;

use super::*;
use crate::platform::Settings;

const NAMESPACE: &str = "kasten-io";
const THEIRS: &str = "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa";

/// The second recovery's backups belonged to nobody any more, and its ConfigMap bound nobody.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_second_recovery_has_made_pending_outlives_the_release_of_the_first() -> Result<()> {
    let (plane, data) = (ControlPlane::start().await?, tempfile::tempdir()?);
    let cluster = Cluster::from_client(plane.client().await?);
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    cluster.apply_manifest(&namespace).await?;
    let clock = Arc::new(ManualClock::new("2026-03-04T09:30:00Z".parse()?));
    let platform = Platform::open(Settings::of_a_test(data.path()), cluster, clock).await?;
    let pending = || anyhow::Ok(ownership::read(&platform.instance)?.pending);

    let theirs: ClusterId = THEIRS.parse()?;
    ownership::await_release(&platform, &theirs, Generation(2), None).await?;
    let first = pending()?.expect("the first");
    // As the ConfigMap of the first is found to be gone.
    ownership::await_release(&platform, &theirs, Generation(3), None).await?;
    let second = pending()?.expect("the second");
    release(&platform, &first).await.map_err(anyhow::Error::msg)?;
    assert_eq!(pending()?.as_ref(), Some(&second));

    release(&platform, &second).await.map_err(anyhow::Error::msg)?;
    assert_eq!(pending()?, None);
    plane.stop().await
}
