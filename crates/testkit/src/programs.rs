//! Where the servers' executables are: `KUBEBUILDER_ASSETS` first, then what `testbed/build` has built.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

const BUILD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testbed/build");
const FETCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testbed/fetch");

/// The executables of a control plane.
#[derive(Debug, Clone)]
pub struct Programs {
    pub etcd: PathBuf,
    pub kube_apiserver: PathBuf,
    pub kube_controller_manager: PathBuf,
    pub kubectl: PathBuf,
}

impl Programs {
    /// Builds what is missing; on a fresh machine that takes minutes, once.
    pub fn locate() -> Result<Self> {
        Ok(Self {
            etcd: testbed_program("etcd")?,
            kube_apiserver: testbed_program("kube-apiserver")?,
            kube_controller_manager: testbed_program("kube-controller-manager")?,
            kubectl: testbed_program("kubectl")?,
        })
    }
}

/// The executable called `name`, built if need be.
pub fn testbed_program(name: &str) -> Result<PathBuf> {
    let assets = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    if let Some(program) = in_assets(assets.as_deref(), name) {
        return Ok(program);
    }
    let program = directory_of(name)?.join(name);
    if !program.is_file() {
        build(&[name])?;
    }
    ensure!(program.is_file(), "testbed/build has not built {}", program.display());
    Ok(program)
}

/// Assets need not hold everything: the usual ones have no controller manager.
fn in_assets(assets: Option<&Path>, name: &str) -> Option<PathBuf> {
    assets.map(|assets| assets.join(name)).filter(|program| program.is_file())
}

/// The directory of a program in the cache, asked for once a process: the answer cannot change under a running test.
fn directory_of(name: &str) -> Result<PathBuf> {
    static DIRECTORIES: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut directories = DIRECTORIES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(directory) = directories.get(name) {
        return Ok(directory.clone());
    }
    let directory = build(&["--where", name])?;
    directories.insert(name.to_owned(), directory.clone());
    Ok(directory)
}

fn build(arguments: &[&str]) -> Result<PathBuf> {
    directory_told_by(BUILD, arguments)
}

/// The directory of a service that is no Go module, installed if need be.
pub fn testbed_service(name: &str) -> Result<PathBuf> {
    directory_told_by(FETCH, &[name])
}

fn directory_told_by(script: &str, arguments: &[&str]) -> Result<PathBuf> {
    let line = || format!("{script} {}", arguments.join(" "));
    let output = Command::new(script).args(arguments).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("run {}", line()))?;
    ensure!(output.status.success(), "{} failed", line());
    let path = String::from_utf8(output.stdout).with_context(|| format!("read the answer of {}", line()))?;
    Ok(PathBuf::from(path.trim_end()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn assets_are_used_for_what_they_hold() -> Result<()> {
        let assets = tempfile::tempdir()?;
        let etcd = assets.path().join("etcd");
        fs::write(&etcd, "")?;
        assert_eq!(in_assets(Some(assets.path()), "etcd"), Some(etcd));
        assert_eq!(in_assets(Some(assets.path()), "kubectl"), None);
        assert_eq!(in_assets(None, "etcd"), None);
        Ok(())
    }

    /// Whoever wanted what had long been built waited until another had built something else.
    #[test]
    fn what_is_built_is_told_while_another_builds() -> Result<()> {
        let cache = tempfile::tempdir()?;
        let ask = |words: &[&str]| -> Result<String> {
            // Without patience: it must not wait.
            let mut script = Command::new("timeout");
            script.args(["120", BUILD]).args(words).env("KEELSON_TESTBED_CACHE", cache.path());
            let output = script.env_remove("KUBEBUILDER_ASSETS").output()?;
            ensure!(output.status.success(), "testbed/build {words:?}: {output:?}");
            Ok(String::from_utf8(output.stdout)?)
        };
        let directory = ask(&["--where", "etcd"])?;
        let program = Path::new(directory.trim_end()).join("etcd");
        fs::write(&program, "")?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let builder = File::create(cache.path().join(".lock"))?;
        builder.lock()?;
        assert_eq!(ask(&["etcd"])?, directory);
        Ok(())
    }
}
