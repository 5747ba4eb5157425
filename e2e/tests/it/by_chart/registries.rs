//! Nothing but this machine can be reached, and its registry asks who pulls: the charts take the image from there, under the
//! names that the page has. All of it with Helm 3, from the installation to its end.

use anyhow::{Context, Result, ensure};
use keelson_testkit::{Helm, Registry, RegistrySettings, RegistryTrust};
use serde_json::Value;

use super::choices::{QUICK, assert_definition_is_whole, puts_older_definition};
use super::installation::{Cluster, Lost, items, text};
use super::scene::{Scene, VERSION};
use super::stories::uninstalls_all;
use super::typed::{RESTORE_FROM_PRIVATE_REGISTRY, extended, with};
use super::verdict::scenario;
use crate::stage::{NAMESPACE, block_on};

/// As the page calls it.
const PRIVATE: &str = "repo.example.com";
const HARDENED: &str = "registry1.dso.mil";
const HARDENED_VALUES: &str = "k10restore-ironbank-values.yaml";

/// A registry that has the image as both sites would, and the cluster finds it under both names.
fn open_registry(scene: &Scene, cluster: &Cluster<'_>) -> Result<Registry> {
    let settings = RegistrySettings { address: scene.host, with_password: true, with_tls: true };
    let registry = block_on(Registry::start(settings))?;
    for path in ["keelson", "ironbank/keelson-io/keelson"] {
        registry.push(&scene.image, &format!("{path}:{VERSION}"))?;
    }
    let authority = registry.authority().context("a registry with TLS has an authority")?;
    for host in [PRIVATE, HARDENED] {
        cluster.nodes.trust_registry(host, &registry.url(), RegistryTrust::Authority(authority))?;
    }
    Ok(registry)
}

/// Namespace and pull Secret, then the platform as on any other day.
fn begins(cluster: &Cluster<'_>, registry: &Registry) -> Result<()> {
    cluster.makes_namespace()?;
    let (user, password) = (registry.user(), registry.password().context("there is a password")?);
    let auth = |host: &str| format!(r#""{host}":{{"username":"{user}","password":"{password}"}}"#);
    let both = format!(r#"{{"auths":{{{},{}}}}}"#, auth(PRIVATE), auth(HARDENED));
    cluster.types(
        "$ kubectl create secret generic k10-ecr --namespace kasten-io \\\n\
         --type=kubernetes.io/dockerconfigjson --from-literal .dockerconfigjson='<both>'",
        &[("both", both.as_str())],
    )?;
    cluster.makes_passphrase()?;
    let more = "--set global.airgapped.repository=repo.example.com --set global.imagePullSecret=k10-ecr";
    cluster.installs(more)?;
    cluster.makes_profile()
}

/// The image of the Job's pods.
fn image_of_job(cluster: &Cluster<'_>) -> Result<String> {
    let pods = cluster.get(&["pods", "-n", NAMESPACE, "-l", "job-name=k10-restore"])?.unwrap_or_default();
    let pod = items(&pods).first().context("the Job has no pod")?;
    Ok(text(&pod["spec"]["containers"][0]["image"]))
}

/// Why a container of the Job has not begun.
fn waits_for(cluster: &Cluster<'_>) -> Result<Option<String>> {
    let pods = cluster.get(&["pods", "-n", NAMESPACE, "-l", "job-name=k10-restore"])?.unwrap_or_default();
    let reason = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_str().map(str::to_owned)
    };
    Ok(items(&pods).iter().find_map(reason))
}

/// Whether the platform is told that Quick mode is wanted.
fn is_told_quick_mode(cluster: &Cluster<'_>) -> Result<bool> {
    let platform = cluster.get(&["deployment", "keelson", "-n", NAMESPACE])?.context("no platform")?;
    let arguments = platform["spec"]["template"]["spec"]["containers"][0]["args"].as_array();
    Ok(arguments.context("it has no arguments")?.iter().any(|argument| argument == "--quick-mode"))
}

/// What comes after an installation: another value, the one of before again, and the end.
fn upgrades_rolls_back_and_uninstalls(cluster: &Cluster<'_>, lost: &Lost) -> Result<()> {
    ensure!(!is_told_quick_mode(cluster)?, "the installation said nothing of it");
    puts_older_definition(cluster)?;
    cluster.upgrades(QUICK)?;
    assert_definition_is_whole(cluster)?;
    ensure!(is_told_quick_mode(cluster)?, "the upgrade said it");
    cluster.rolls_back()?;
    ensure!(!is_told_quick_mode(cluster)?, "it was rolled back");
    cluster.assert_platform_recovered(lost)?;
    uninstalls_all(cluster)
}

#[test]
fn without_a_way_out_image_and_restore_come_from_a_private_registry_with_its_pull_secret() -> Result<()> {
    scenario(|scene| {
        let mut cluster = Cluster::raise_without_image(scene, "airgap", Helm::Three)?;
        cluster.nodes.cut_off()?;
        let registry = open_registry(scene, &cluster)?;
        begins(&cluster, &registry)?;
        let lost = cluster.protects()?;

        cluster.loses_everything()?;
        begins(&cluster, &registry)?;
        // A registry that nobody reaches: the Job waits and says for what, and is taken away again.
        cluster.asks_for(&lost, "--set airgapped.repository=nowhere.example.com", &[])?;
        cluster.until("the image cannot be pulled", || {
            Ok(waits_for(&cluster)?.filter(|reason| reason.contains("ImagePull")))
        })?;
        cluster.uninstalls_restore()?;
        let words = [("source-clusterID", lost.id.as_str()), ("location-profile-name", "vault")];
        cluster.types(&extended(RESTORE_FROM_PRIVATE_REGISTRY, with::PULL_SECRET), &words)?;
        cluster.job_succeeds()?;
        assert_eq!(image_of_job(&cluster)?, format!("{PRIVATE}/keelson:{VERSION}"));
        cluster.assert_recovered(&lost)?;

        cluster.loses_everything()?;
        begins(&cluster, &registry)?;
        // Of the page's line only the host is another: that site cannot be reached from here.
        let values = format!("$ curl -sO <charts>/ironbank/{HARDENED_VALUES}");
        cluster.types(&values, &[("charts", scene.charts.as_str())])?;
        let file = [("PATH TO DOWNLOADED k10restore-ironbank-values.yaml", HARDENED_VALUES)];
        cluster.recovers(&lost, with::HARDENED_IMAGES, &file)?;
        assert_eq!(image_of_job(&cluster)?, format!("{HARDENED}/ironbank/keelson-io/keelson:{VERSION}"));
        cluster.assert_platform_recovered(&lost)?;
        upgrades_rolls_back_and_uninstalls(&cluster, &lost)?;
        cluster.nodes.check()
    })
}
