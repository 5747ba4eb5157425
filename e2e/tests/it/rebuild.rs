//! A catalog made from the exports alone, after everything that disaster recovery had shipped is gone.

use std::fs;

use anyhow::{Context, Result, ensure};
use keelson_testkit::Supervisor;
use serde_json::Value;

use crate::stage::{NAMESPACE, Stage, assert_said};
use crate::world::{APPLICATION, ORIGIN, PASSPHRASE, back_up_of, config_map_in, export_of, raise_source};

/// Another application beside the one of all stories.
const SECOND: &str = "atelier";

fn config_maps(stage: &Stage, application: &str) -> Result<Vec<(String, Value)>> {
    let list = stage.get(&["configmaps", "-n", application])?.context("no list")?;
    let items = list["items"].as_array().context("no items")?;
    let ours = items.iter().filter(|item| item["metadata"]["name"] != "kube-root-ca.crt");
    Ok(ours.map(|item| (item["metadata"]["name"].to_string(), item["data"].clone())).collect())
}

fn rebuild(stage: &Stage, source: &str) -> Result<keelson_e2e::Answer> {
    stage.keelson(&["tools", "rebuild-catalog", "--profile", "vault", "--source-cluster-id", source])
}

#[test]
fn a_catalog_is_made_from_exports_whose_chain_is_gone_and_every_application_comes_back() -> Result<()> {
    let share = Supervisor::start("share")?;
    let source = raise_source(share.directory(), ORIGIN)?;
    let source_id = source.cluster_id()?;
    source.namespace(SECOND)?;
    source.create(&config_map_in(SECOND, "designs"))?;
    back_up_of(&source, SECOND, "third")?;
    export_of(&source, "vault", SECOND, "third")?;
    let originals = [config_maps(&source, APPLICATION)?, config_maps(&source, SECOND)?];
    assert_eq!(originals.each_ref().map(Vec::len), [4, 1]);
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
    assert_eq!(contents.len(), 3, "the exports");
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

    for (application, original) in [APPLICATION, SECOND].into_iter().zip(originals) {
        let said = stage.keelson(&["restore", application])?;
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(config_maps(&stage, application)?, original);
    }

    // The catalog holds something now: it is not replaced without a word.
    assert_said(
        &rebuild(&stage, &source_id)?,
        3,
        &["3 restore point contents", "hint: confirm it: --replace-catalog"],
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
