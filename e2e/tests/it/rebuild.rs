//! A catalog made from the exports alone, after everything that disaster recovery had shipped is gone.

use std::fs;

use anyhow::{Context, Result, ensure};
use keelson_testkit::Supervisor;
use serde_json::Value;

use crate::stage::{NAMESPACE, Stage, assert_said};
use crate::world::{APPLICATION, ORIGIN, PASSPHRASE, raise_source};

fn config_maps(stage: &Stage) -> Result<Vec<(String, Value)>> {
    let list = stage.get(&["configmaps", "-n", APPLICATION])?.context("no list")?;
    let items = list["items"].as_array().context("no items")?;
    let ours = items.iter().filter(|item| item["metadata"]["name"] != "kube-root-ca.crt");
    Ok(ours.map(|item| (item["metadata"]["name"].to_string(), item["data"].clone())).collect())
}

fn rebuild(stage: &Stage, source: &str) -> Result<keelson_e2e::Answer> {
    stage.keelson(&["tools", "rebuild-catalog", "--profile", "vault", "--source-cluster-id", source])
}

#[test]
fn a_catalog_is_made_from_exports_whose_chain_is_gone_and_the_application_comes_back() -> Result<()> {
    let share = Supervisor::start("share")?;
    let source = raise_source(share.directory(), ORIGIN)?;
    let source_id = source.cluster_id()?;
    let originals = config_maps(&source)?;
    ensure!(originals.len() == 4, "{} ConfigMaps", originals.len());
    source.instance.kill()?;
    drop(source);
    let folder = share.directory().join(ORIGIN).join("k10").join(&source_id);
    fs::remove_dir_all(folder.join("dr"))?;

    let stage = Stage::raise(share.directory(), &[])?;
    stage.profile("vault", ORIGIN)?;
    stage.wait_valid("profile", "vault")?;
    stage.passphrase(&[("key", "not what was written down")])?;
    assert_said(
        &rebuild(&stage, &source_id)?,
        6,
        &["opens with this passphrase", "hint: put the passphrase"],
    );
    stage.passphrase(&[("key", PASSPHRASE)])?;
    let nobody = "0c3e8c52-3a5f-4f0e-9f0b-6f2f8c1d7e10";
    assert_said(&rebuild(&stage, nobody)?, 4, &["holds nothing of cluster", &source_id]);
    ensure!(
        stage.get(&["configmap", "k10-dr-remove-to-get-ownership", "-n", NAMESPACE])?.is_none(),
        "a refused rebuild leaves ownership as it was"
    );

    let said = rebuild(&stage, &source_id)?;
    assert_eq!(said.code, 0, "{said:?}");
    let contents = stage.get(&["restorepointcontents"])?.context("no list")?;
    let contents = contents["items"].as_array().context("no items")?;
    assert_eq!(contents.len(), 2, "the two exports");
    for content in contents {
        assert_eq!(content["status"]["state"], "Unbound", "{content}");
        assert_eq!(content["metadata"]["labels"]["k10.kasten.io/exportProfile"], "vault", "{content}");
    }
    // The status is written a moment later.
    stage.until("the rebuilt instance waits for ownership", || {
        let ownership = stage.status()?["ownership"].clone();
        let waits = ownership["state"] == "Pending" && ownership["source"] == source_id.as_str();
        Ok(waits.then_some(()))
    })?;

    let said = stage.keelson(&["restore", APPLICATION])?;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(config_maps(&stage)?, originals);

    // The catalog holds something now: it is not replaced without a word.
    assert_said(
        &rebuild(&stage, &source_id)?,
        3,
        &["2 restore point contents", "hint: confirm it: --replace-catalog"],
    );

    // From here on it is a platform like any other, and the old repository takes new exports once it is its own.
    stage.delete(&["configmap", "k10-dr-remove-to-get-ownership", "-n", NAMESPACE])?;
    stage.until("the rebuilt instance owns the backups", || {
        Ok((stage.status()?["ownership"]["state"] == "Owned").then_some(()))
    })?;
    let said = stage.keelson(&["dr", "enable", "--profile", "vault"])?;
    assert_eq!(said.code, 0, "{said:?}");
    Ok(())
}
