//! The charts without a cluster that has nodes: what Helm 3 and Helm 4 say of them and make of them, and whether an API
//! server takes all of it, and what the operator is installed from.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use keelson_testkit::{ControlPlane, figure};

use crate::stage::block_on;

const CHECK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/charts/check");
/// The index is dated by it; outside of a checkout there is no commit to take.
const DATE: (&str, &str) = ("SOURCE_DATE_EPOCH", "1767225600");
/// Fewer, and it has looked at less than it should: the wrong values alone are more than fifty, with either Helm.
const CHECKS_MIN: u32 = 200;

/// The charts as they are handed out, packed and with their index.
pub(crate) fn write_repository(to: &Path) -> Result<()> {
    let mut charts = keelson_e2e::xtask()?;
    let ended = charts.args(["charts", "--output"]).arg(to).env(DATE.0, DATE.1).output();
    let ended = ended.context("run cargo xtask charts")?;
    ensure!(ended.status.success(), "cargo xtask charts: {}", String::from_utf8_lossy(&ended.stderr).trim());
    Ok(())
}

/// How many checks the last line of what was printed counts, if none of them failed.
fn count(printed: &str) -> Option<u32> {
    let line = printed.lines().next_back()?;
    line.strip_prefix("charts: ")?.strip_suffix(" checks, 0 failed")?.parse().ok()
}

#[test]
fn both_helms_and_an_api_server_take_the_charts_and_what_is_rendered_is_what_is_kept() -> Result<()> {
    let plane = block_on(ControlPlane::start())?;
    let repository = plane.directory().join("charts");
    write_repository(&repository)?;
    let kubectl = plane.kubectl();
    let programs = Path::new(kubectl.get_program()).parent().context("kubectl lies in a folder")?;
    let mut path = programs.as_os_str().to_owned();
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let mut check = Command::new(CHECK);
    check.args(["--server", "--repository"]).arg(&repository);
    check.env("PATH", path).env("KUBECONFIG", plane.kubeconfig());
    // Nothing is kept in the home of whoever runs this.
    for variable in ["KUBECACHEDIR", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        check.env(variable, plane.directory().join(variable));
    }
    let ended = check.output().context("run deploy/charts/check")?;
    let (printed, said) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    ensure!(ended.status.success(), "{printed}{said}");
    let checks =
        count(&printed).with_context(|| format!("it does not say that nothing failed: {printed}"))?;
    ensure!(checks >= CHECKS_MIN, "it made {checks} checks only: {printed}");
    figure(&format!("{checks} checks of the charts hold"));
    Ok(())
}
