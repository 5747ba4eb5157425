//! The whole story: install, make a profile, enable, run once, lose everything, come back; on another cluster, and on the
//! same one by chart and by operator.

use anyhow::{Context, Result, ensure};

use super::installation::{Cluster, DR_POLICY, OWNERSHIP, PHRASE, text};
use super::mishaps::recovers_in_spite_of_all;
use super::operator::recovers_through_operator;
use super::scene::{BUCKET, Scene};
use super::shop::{PAGE, POLICY, SHOP, TILL};
use super::typed::{CLUSTER_ID, TAKE_OWNERSHIP};
use super::verdict::scenario;
use crate::stage::NAMESPACE;

/// What must not lie in the open: as it is, in hexadecimal digits, and a Secret as the cluster writes it.
struct Planted(Vec<Vec<u8>>);

impl Planted {
    fn in_shop(cluster: &Cluster<'_>) -> Result<Self> {
        let till = cluster.get(&["secret", "till", "-n", SHOP])?.context("the till is gone")?;
        let encoded = text(&till["data"]["key"]).trim_end_matches('=').to_owned();
        ensure!(!encoded.is_empty(), "the till has no key: {till}");
        let words = [PAGE, TILL, PHRASE];
        let forms = words.iter().flat_map(|word| [word.as_bytes().to_vec(), hex::encode(word).into_bytes()]);
        Ok(Self(forms.chain([encoded.into_bytes()]).collect()))
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        self.0.iter().any(|form| bytes.windows(form.len()).any(|window| window == form.as_slice()))
    }

    /// Looks at every byte of every version of every object.
    fn assert_nowhere(&self, scene: &Scene) -> Result<()> {
        assert!(self.is_in(format!("…{TILL}…").as_bytes()), "it is found where it is");
        let versions = scene.versions(BUCKET)?;
        ensure!(versions.len() > 10, "{} objects are stored", versions.len());
        for version in versions {
            assert!(!self.is_in(&scene.read(BUCKET, &version)?), "{} is in the open", version.key);
            assert!(!self.is_in(version.key.as_bytes()), "the name {} tells something", version.key);
        }
        Ok(())
    }
}

fn owner(cluster: &Cluster<'_>) -> Result<String> {
    Ok(text(&cluster.status()?["ownership"]["state"]))
}

#[test]
fn a_destroyed_cluster_comes_back_on_another_with_the_commands_of_the_page() -> Result<()> {
    scenario(|scene| {
        let source = Cluster::raise(scene, "source")?;
        let lost = source.lives("")?;
        let policies = source.names(&["policies", "-n", NAMESPACE])?;
        ensure!(policies.contains(DR_POLICY), "enabling made no policy: {policies:?}");
        let planted = Planted::in_shop(&source)?;
        planted.assert_nowhere(scene)?;
        source.destroy()?;

        let fresh = Cluster::raise(scene, "fresh")?;
        ensure!(fresh.types(CLUSTER_ID, &[])?.trim() != lost.id, "another cluster has another id");
        fresh.begins("")?;
        let install = "$ helm install k10-restore kasten/k10restore --namespace=kasten-io --set";
        for (given, missing) in
            [("profile.name=<word>", "sourceClusterID"), ("sourceClusterID=<word>", "profile.name")]
        {
            let said = fresh.tries(&format!("{install} {given}"), &[("word", lost.id.as_str())])?;
            ensure!(said.code != 0 && said.stderr.contains(&format!("{missing} is missing")), "{said:?}");
        }
        fresh.recovers(&lost, "", &[])?;
        fresh.assert_platform_recovered(&lost)?;
        assert_eq!(fresh.names(&["policies", "-n", NAMESPACE])?, policies);
        fresh.until("it knows that somebody else may use the same backups", || {
            Ok((owner(&fresh)? == "Pending").then_some(()))
        })?;

        fresh.types(TAKE_OWNERSHIP, &[])?;
        fresh.until("ownership is taken", || Ok((owner(&fresh)? == "Owned").then_some(())))?;
        // The other stories restore it before, for which nobody has to own the backups.
        fresh.restores_shop(&lost)?;
        for policy in [POLICY, DR_POLICY] {
            fresh.wait_valid("policy", policy)?;
            fresh.runs_once(policy)?;
        }
        fresh.wait_until_shipped()?;
        planted.assert_nowhere(scene)?;

        fresh.uninstalls_restore()?;
        ensure!(fresh.exports()?.len() > lost.exports.len(), "what was restored goes on without the Job");
        fresh.nodes.check()
    })
}

/// A recovered platform and its restore are uninstalled. What holds the catalog, and what says who may own the backups, is
/// left to whoever installs again.
pub(super) fn uninstalls_all(cluster: &Cluster<'_>) -> Result<()> {
    cluster.uninstalls_restore()?;
    cluster.wait_until_served()?;
    cluster.types("$ helm uninstall k10 --namespace=kasten-io", &[])?;
    assert_eq!(cluster.registered()?, Vec::<String>::new());
    for kind in ["clusterroles", "clusterrolebindings"] {
        let left = cluster.names(&[kind, "-l", "app.kubernetes.io/instance=k10"])?;
        assert!(left.is_empty(), "{kind}: {left:?}");
    }
    for kind in ["deployments", "jobs", "services", "leases", "roles", "rolebindings"] {
        let left = cluster.names(&[kind, "-n", NAMESPACE])?;
        assert!(left.is_empty(), "{kind}: {left:?}");
    }
    ensure!(cluster.get(&["pvc", "catalog-pv-claim", "-n", NAMESPACE])?.is_some(), "no catalog is left");
    ensure!(cluster.get(&OWNERSHIP)?.is_some(), "the ownership is forgotten");
    for namespace in [SHOP, NAMESPACE] {
        cluster.kubectl(&["delete", "namespace", namespace, "--ignore-not-found", "--timeout=4m"], "")?;
    }
    Ok(())
}

#[test]
fn a_deleted_namespace_comes_back_by_chart_and_by_k10restore_and_uninstalled_nothing_stays_registered()
-> Result<()> {
    scenario(|scene| {
        let mut cluster = Cluster::raise(scene, "same")?;
        cluster.adds_node()?;
        let lost = cluster.lives("")?;
        cluster.loses_everything()?;
        cluster.begins("")?;
        assert_eq!(cluster.types(CLUSTER_ID, &[])?.trim(), lost.id, "it is the same cluster");
        recovers_in_spite_of_all(scene, &mut cluster, &lost)?;
        cluster.assert_recovered(&lost)?;
        uninstalls_all(&cluster)?;

        cluster.begins("")?;
        recovers_through_operator(&cluster, &lost)?;
        cluster.assert_recovered(&lost)?;
        cluster.nodes.check()
    })
}
