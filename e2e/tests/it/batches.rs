//! Many applications brought back at once with kubectl, beside those that are there.

use anyhow::{Context, Result};
use keelson_testkit::Supervisor;
use serde_json::{Value, json};

use crate::stage::{NAMESPACE, Stage};
use crate::world::{action, back_up_of, config_map_in};

#[test]
fn a_batch_brings_applications_back_under_other_names_and_says_which_it_could_not() -> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = Stage::raise(share.directory(), &[])?;
    for namespace in ["garden", "orchard", "meadow"] {
        stage.namespace(namespace)?;
        stage.create(&config_map_in(namespace, "plants"))?;
    }
    for namespace in ["garden", "orchard"] {
        back_up_of(&stage, namespace, "before")?;
    }
    let plants = |namespace: &str| stage.get(&["configmap", "plants", "-n", namespace]);
    let kept = plants("garden")?.context("what grows in the garden")?["data"].clone();
    stage.delete(&["namespace", "garden"])?;

    let subjects = ["garden", "orchard", "meadow"].map(|namespace| json!({ "namespace": namespace }));
    let spec = json!({ "subjects": subjects, "targetNamespaceSuffix": "-again" });
    stage.create(&action("BatchRestoreAction", "spring", NAMESPACE, spec))?;
    let ended = stage.complete("batchrestoreaction", NAMESPACE, "spring")?;
    let told = &ended["status"]["actionDetails"];
    assert_eq!(told["restoredApplications"], json!(["garden", "orchard"]), "{told}");
    assert_eq!(told["failedApplications"], json!(["meadow"]), "{told}");
    assert_eq!(plants("garden-again")?.context("the garden")?["data"], kept);
    assert!(plants("orchard-again")?.is_some() && plants("meadow-again")?.is_none());

    let table = stage.kubectl(&["get", "batchrestoreactions", "-n", NAMESPACE], "")?;
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next(), Some(vec!["NAME", "CREATED", "AT", "STATE", "PCT", "SUBJECTS"]), "{table}");
    let row = lines.next().unwrap_or_default();
    assert_eq!((row[0], &row[2..]), ("spring", &["Complete", "100", "3"][..]), "{table}");
    let children = ["restoreactions", "-A", "-l", "k10.kasten.io/batchRestoreActionName=spring"];
    let children = stage.get(&children)?.context("the children")?;
    let namespaces: Vec<&Value> = children["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|child| &child["metadata"]["namespace"])
        .collect();
    assert_eq!(namespaces, ["garden-again", "orchard-again"]);
    Ok(())
}
