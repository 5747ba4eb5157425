//! The charts without a cluster that has nodes: what Helm 3 and Helm 4 say of them and make of them, and whether an API
//! server takes all of it.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use keelson_testkit::ControlPlane;

use crate::stage::block_on;

const CHECK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/charts/check");

#[test]
fn both_helms_and_an_api_server_take_the_charts_and_what_is_rendered_is_what_is_kept() -> Result<()> {
    let plane = block_on(ControlPlane::start())?;
    let kubectl = plane.kubectl();
    let programs = Path::new(kubectl.get_program()).parent().context("kubectl lies in a folder")?;
    let mut path = programs.as_os_str().to_owned();
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let mut check = Command::new(CHECK);
    check.arg("--server").env("PATH", path).env("KUBECONFIG", plane.kubeconfig());
    // Nothing is kept in the home of whoever runs this.
    for variable in ["KUBECACHEDIR", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        check.env(variable, plane.directory().join(variable));
    }
    let ended = check.output().context("run deploy/charts/check")?;
    let (printed, said) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    ensure!(ended.status.success(), "{printed}{said}");
    ensure!(printed.contains(" checks, 0 failed"), "{printed}");
    Ok(())
}
