//! Definitions of an earlier or another release that are there when the platform starts: what is lacking comes, and what a
//! chart has made as it should be, or newer, stays the chart's.

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keelson_resources::crd::crds;
use keelson_testkit::{ControlPlane, Supervisor};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::stage::{Stage, block_on};

const OURS: &str = "keelson";
const OF_A_CHART: &str = "helm";
const PROPERTIES: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
/// Definitions, each with a reference whose namespace an earlier release did not have.
const FIRST: (&str, &str) = ("auditconfigs.config.kio.kasten.io", "profile");
const SECOND: (&str, &str) = ("actionpodspecbindings.config.kio.kasten.io", "actionPodSpecRef");
const NEWER: &str = "storagesecuritycontexts.config.kio.kasten.io";
const EQUAL: &str = "reports.reporting.kio.kasten.io";

fn definition(name: &str) -> Result<Value> {
    let mut definitions = crds().into_iter().map(|(_, definition)| definition);
    definitions.find(|definition| definition["metadata"]["name"] == name).context("the definition")
}

fn fields_of((_, reference): (&str, &str)) -> String {
    format!("{PROPERTIES}/{reference}/properties")
}

fn older(of: (&str, &str)) -> Result<Value> {
    let mut definition = definition(of.0)?;
    let fields = definition.pointer_mut(&fields_of(of)).and_then(Value::as_object_mut);
    let taken_out = fields.context("the fields of the reference")?.remove("namespace");
    ensure!(taken_out.is_some(), "{} has no such field", of.0);
    Ok(definition)
}

fn newer(name: &str) -> Result<Value> {
    let mut definition = definition(name)?;
    let fields = definition.pointer_mut(PROPERTIES).and_then(Value::as_object_mut);
    fields.context("the fields of the spec")?.insert("later".to_owned(), json!({ "type": "string" }));
    Ok(definition)
}

/// Definitions on a cluster.
struct Defined(Api<CustomResourceDefinition>);

impl Defined {
    fn apply(&self, manager: &str, definition: &Value) -> Result<()> {
        let name = definition["metadata"]["name"].as_str().context("a name")?;
        block_on(self.0.patch(name, &PatchParams::apply(manager), &Patch::Apply(definition)))?;
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Value> {
        Ok(serde_json::to_value(block_on(self.0.get(name))?)?)
    }

    fn has_namespace(&self, of: (&str, &str)) -> Result<bool> {
        Ok(self.read(of.0)?.pointer(&fields_of(of)).is_some_and(|fields| fields["namespace"].is_object()))
    }
}

fn is_applied_by_us(definition: &Value) -> bool {
    let managers = definition["metadata"]["managedFields"].as_array().into_iter().flatten();
    managers.into_iter().any(|one| one["manager"] == OURS && one["operation"] == "Apply")
}

#[test]
fn older_definitions_gain_what_they_lack_and_a_charts_own_stay_as_they_are() -> Result<()> {
    let share = Supervisor::start("share")?;
    let plane = block_on(ControlPlane::start())?;
    let defined = Defined(Api::all(block_on(plane.client())?));
    defined.apply(OURS, &older(FIRST)?)?;
    defined.apply(OF_A_CHART, &older(SECOND)?)?;
    defined.apply(OF_A_CHART, &newer(NEWER)?)?;
    defined.apply(OF_A_CHART, &definition(EQUAL)?)?;
    for of in [FIRST, SECOND] {
        ensure!(!defined.has_namespace(of)?, "{of:?} begins without the field");
    }

    let _stage = Stage::raise_in(plane, share.directory(), &[])?;
    for of in [FIRST, SECOND] {
        ensure!(defined.has_namespace(of)?, "{of:?} has the field again");
    }
    ensure!(is_applied_by_us(&defined.read(FIRST.0)?), "{FIRST:?} is ours as before");
    ensure!(!is_applied_by_us(&defined.read(SECOND.0)?), "{SECOND:?} was left to its chart");
    for name in [NEWER, EQUAL] {
        let found = defined.read(name)?;
        ensure!(
            found["metadata"]["generation"] == 1 && !is_applied_by_us(&found),
            "{name} was touched: {found}"
        );
    }
    ensure!(defined.read(NEWER)?.pointer(&format!("{PROPERTIES}/later")).is_some(), "the later field stays");
    Ok(())
}
