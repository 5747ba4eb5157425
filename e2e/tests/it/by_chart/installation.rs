//! A cluster with nodes, and what an operator does there: install, make a profile, enable, run once, recover.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use keelson_e2e::Answer;
use keelson_testkit::{Helm, NodeCluster, figure, leisurely};
use serde_json::{Value, json};

use super::scene::{BUCKET, PATH, Scene};
use super::shop::{POLICY, SHOP, Shop};
use super::typed::{self, CLUSTER_ID, DELETE_NAMESPACE, RESTORE, Shell, UNINSTALL_RESTORE, extended};
use crate::stage::{ACTIONS, NAMESPACE, block_on, kubectl, profile};

/// Outside of the cluster, and without anything that a shell would read otherwise.
pub(super) const PHRASE: &str = "kept-outside-the-cluster-tN5vC2";
pub(super) const DR_POLICY: &str = "k10-disaster-recovery-policy";
pub(super) const OWNERSHIP: [&str; 4] = ["configmap", "k10-dr-remove-to-get-ownership", "-n", NAMESPACE];
/// Of a `kubectl` that waits.
const PATIENCE: &str = "--timeout=5m";
const INSTALL: &str = "$ helm install k10 kasten/k10 --namespace=kasten-io --create-namespace";
const UPGRADE: &str = "$ helm upgrade k10 kasten/k10 --namespace=kasten-io --reset-then-reuse-values";
const ROLLBACK: &str = "$ helm rollback k10 --namespace=kasten-io";
const GROUPS: [&str; 5] = ["actions", "apps", "dr", "repositories", "vault"];
const EXPORTED: &str = "k10.kasten.io/exportProfile";
/// The states in which actions and recoveries have ended.
const ENDS: [&str; 6] = ["Complete", "Failed", "Skipped", "Cancelled", "success", "failed"];

pub(super) struct Cluster<'a> {
    pub(super) nodes: NodeCluster,
    scene: &'a Scene,
    shell: Shell,
}

/// What is left of a platform: its id, which somebody wrote down, the exports that it knew, and what the shop was.
pub(super) struct Lost {
    pub(super) id: String,
    pub(super) exports: BTreeSet<String>,
    pub(super) shop: Shop,
}

/// How a pod of a Job has ended.
#[derive(Debug)]
pub(super) struct LastWord {
    pub(super) code: i64,
    pub(super) message: String,
}

impl<'a> Cluster<'a> {
    /// One whose nodes have the image.
    pub(super) fn raise(scene: &'a Scene, name: &str) -> Result<Self> {
        let cluster = Self::raise_without_image(scene, name, Helm::Four)?;
        cluster.nodes.load_image(&scene.image)?;
        Ok(cluster)
    }

    pub(super) fn raise_without_image(scene: &'a Scene, name: &str, helm: Helm) -> Result<Self> {
        let nodes = block_on(NodeCluster::start(name))?;
        let shell = Shell::open(&nodes, helm)?;
        let cluster = Self { nodes, scene, shell };
        cluster.types("$ helm repo add kasten <address>", &[("address", scene.charts.as_str())])?;
        Ok(cluster)
    }

    pub(super) fn adds_node(&mut self) -> Result<String> {
        block_on(self.nodes.add_node())
    }

    /// Kills the API server and starts it again with its data.
    pub(super) fn restarts_api_server(&mut self) -> Result<()> {
        block_on(self.nodes.restart_api_server())
    }

    /// All of it is gone: nodes, volumes, whatever ran there.
    pub(super) fn destroy(self) -> Result<()> {
        block_on(self.nodes.stop())
    }

    /// Types a line of the page, whatever comes of it.
    pub(super) fn tries(&self, page: &str, words: &[(&str, &str)]) -> Result<Answer> {
        self.shell.type_line(page, words)
    }

    /// Types a line of the page, which does what the page says. What it prints.
    pub(super) fn types(&self, page: &str, words: &[(&str, &str)]) -> Result<String> {
        let said = self.tries(page, words)?;
        ensure!(said.code == 0, "{page}\nended with {}: {}", said.code, said.stderr.trim());
        Ok(said.stdout)
    }

    pub(super) fn until<T>(&self, what: &str, mut check: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let waited = block_on(leisurely(what, async || check()));
        waited.with_context(|| format!("what the pods say:\n{}", self.pods_say()))
    }

    /// Runs `kubectl`, whatever comes of it, again while the platform's API is away.
    pub(super) fn try_kubectl(&self, words: &[&str], input: &str) -> Result<Answer> {
        block_on(leisurely("the API is served", async || {
            let said = kubectl(self.nodes.control_plane(), words, input)?;
            Ok((!said.stderr.contains("(ServiceUnavailable)")).then_some(said))
        }))
    }

    pub(super) fn kubectl(&self, words: &[&str], input: &str) -> Result<String> {
        let said = self.try_kubectl(words, input)?;
        ensure!(said.code == 0, "kubectl {}: {}", words.join(" "), said.stderr.trim());
        Ok(said.stdout)
    }

    /// `kubectl get`: one object or a list, or nothing.
    pub(super) fn get(&self, words: &[&str]) -> Result<Option<Value>> {
        let said = self.try_kubectl(&[&["get", "-o", "json"], words].concat(), "")?;
        match said.code {
            0 => Ok(Some(serde_json::from_str(&said.stdout)?)),
            _ if said.stderr.contains("NotFound") => Ok(None),
            _ => bail!("kubectl get {}: {}", words.join(" "), said.stderr.trim()),
        }
    }

    /// The names of a list.
    pub(super) fn names(&self, words: &[&str]) -> Result<BTreeSet<String>> {
        let list = self.get(words)?.with_context(|| format!("no list of {words:?}"))?;
        Ok(items(&list).iter().map(|item| text(&item["metadata"]["name"])).collect())
    }

    pub(super) fn apply(&self, object: &Value) -> Result<()> {
        self.kubectl(&["apply", "-f", "-"], &object.to_string()).map(drop)
    }

    /// The name of what was made.
    pub(super) fn create(&self, object: &Value) -> Result<String> {
        let name = self.kubectl(&["create", "-f", "-", "-o", "name"], &object.to_string())?;
        Ok(name.trim().rsplit('/').next().unwrap_or_default().to_owned())
    }

    pub(super) fn wait_valid(&self, resource: &str, name: &str) -> Result<()> {
        let object = format!("{resource}/{name}");
        let validated = "--for=jsonpath={.status.validation}=Success";
        let waited = self.kubectl(&["wait", &object, "-n", NAMESPACE, validated, PATIENCE], "");
        waited.map(drop).with_context(|| {
            let object = self.get(&[resource, name, "-n", NAMESPACE]).ok().flatten().unwrap_or_default();
            format!("{resource}/{name} says {}", object["status"])
        })
    }

    /// An action that has ended, whichever way.
    pub(super) fn ended(&self, resource: &str, namespace: &str, name: &str) -> Result<Value> {
        self.until(&format!("{resource}/{name} ends"), || {
            let object = self.get(&[resource, name, "-n", namespace])?;
            let object = object.with_context(|| format!("{resource}/{name} is gone"))?;
            let state = object["status"]["state"].as_str().unwrap_or_default();
            Ok(ENDS.contains(&state).then_some(object))
        })
    }

    pub(super) fn complete(&self, resource: &str, namespace: &str, name: &str) -> Result<Value> {
        let action = self.ended(resource, namespace, name)?;
        let state = &action["status"]["state"];
        ensure!(state == "Complete" || state == "success", "{resource}/{name} ended: {}", action["status"]);
        Ok(action)
    }

    /// What the program in the platform's pod answers.
    pub(super) fn keelson(&self, words: &[&str]) -> Result<Answer> {
        let exec = ["exec", "-n", NAMESPACE, "deployment/keelson", "--", "/keelson"];
        self.try_kubectl(&[&exec[..], words, &["--namespace", NAMESPACE]].concat(), "")
    }

    /// What `keelson dr status` says, or null while there is nobody who says anything.
    pub(super) fn status(&self) -> Result<Value> {
        let said = self.keelson(&["dr", "status", "--output", "json"])?;
        Ok(serde_json::from_str(&said.stdout).unwrap_or_default())
    }

    /// Installs the platform, with further values, and waits for it.
    pub(super) fn installs(&self, more: &str) -> Result<()> {
        self.types(&extended(INSTALL, more), &[])?;
        self.wait_until_served()
    }

    /// Upgrades the platform with further values beside those of before, and waits for it.
    pub(super) fn upgrades(&self, more: &str) -> Result<()> {
        self.types(&extended(UPGRADE, more), &[])?;
        self.wait_until_served()
    }

    /// To what was installed before the last upgrade.
    pub(super) fn rolls_back(&self) -> Result<()> {
        self.types(ROLLBACK, &[])?;
        self.wait_until_served()
    }

    pub(super) fn wait_until_served(&self) -> Result<()> {
        let rollout = ["rollout", "status", "deployment/keelson", "-n", NAMESPACE, PATIENCE];
        let rolled = self.kubectl(&rollout, "");
        rolled.with_context(|| format!("what the pods say:\n{}", self.pods_say()))?;
        let pods =
            ["wait", "pod", "-n", NAMESPACE, "-l", "component=crypto", "--for=condition=Ready", PATIENCE];
        self.kubectl(&pods, "")?;
        self.until("the platform's groups are served", || {
            let services = self.get(&["apiservices"])?.unwrap_or_default();
            let is_served = |group: &&str| {
                let name = format!("v1alpha1.{group}.kio.kasten.io");
                let found = items(&services).iter().find(|service| service["metadata"]["name"] == name);
                found.is_some_and(|service| has_condition(service, "Available"))
            };
            Ok(GROUPS.iter().all(is_served).then_some(()))
        })
    }

    /// What of ours is registered in the cluster.
    pub(super) fn registered(&self) -> Result<Vec<String>> {
        let services = self.get(&["apiservices"])?.unwrap_or_default();
        let ours =
            items(&services).iter().filter(|service| service["spec"]["service"]["namespace"] == NAMESPACE);
        Ok(ours.map(|service| text(&service["metadata"]["name"])).collect())
    }

    /// The profile `vault` of the bucket, with its Secret.
    pub(super) fn makes_profile(&self) -> Result<()> {
        self.makes_profile_of("vault", BUCKET, &json!({}))
    }

    /// A profile of any bucket; `more` is for its description of the object store.
    pub(super) fn makes_profile_of(&self, name: &str, bucket: &str, more: &Value) -> Result<()> {
        let (minio, secret) = (&self.scene.minio, format!("{name}-keys"));
        self.types(
            "$ kubectl create secret generic <name> --namespace kasten-io --type secrets.kanister.io/aws \\\n\
             --from-literal aws_access_key_id=<id> --from-literal aws_secret_access_key=<key>",
            &[("name", secret.as_str()), ("id", minio.access_key()), ("key", minio.secret_key())],
        )?;
        let mut store = json!({
            "objectStoreType": "S3", "name": bucket, "region": minio.region(), "endpoint": minio.endpoint(),
            "path": PATH, "pathType": "Directory",
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            store[field] = value.clone();
        }
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "name": secret, "namespace": NAMESPACE });
        let credential = json!({ "secretType": "AwsAccessKey", "secret": secret });
        let spec = json!({ "type": "ObjectStore", "objectStore": store, "credential": credential });
        self.apply(&profile(name, &json!({ "type": "Location", "locationSpec": spec })))?;
        self.wait_valid("profile", name)
    }

    pub(super) fn makes_passphrase(&self) -> Result<()> {
        self.types(typed::PASSPHRASE, &[("passphrase", PHRASE)]).map(drop)
    }

    pub(super) fn enables(&self) -> Result<()> {
        let said = self.keelson(&["dr", "enable", "--profile", "vault"])?;
        ensure!(said.code == 0, "dr enable: {said:?}");
        Ok(())
    }

    /// *Run Once* of a policy, which goes well.
    pub(super) fn runs_once(&self, policy: &str) -> Result<()> {
        let run = self.starts(policy)?;
        self.complete("runaction", NAMESPACE, &run).map(drop)
    }

    /// *Run Once* of a policy. The name of the run.
    pub(super) fn starts(&self, policy: &str) -> Result<String> {
        self.create(&json!({
            "apiVersion": ACTIONS, "kind": "RunAction",
            "metadata": { "generateName": format!("run-{policy}-"), "namespace": NAMESPACE },
            "spec": { "subject": { "kind": "Policy", "name": policy, "namespace": NAMESPACE } },
        }))
    }

    pub(super) fn wait_until_shipped(&self) -> Result<()> {
        self.until("everything is shipped", || {
            Ok((self.status()?["disasterRecovery"]["shipped"]["behind"] == 0).then_some(()))
        })
    }

    /// The names of the exported restore points.
    pub(super) fn exports(&self) -> Result<BTreeSet<String>> {
        let contents = self.get(&["restorepointcontents"])?.context("no list of restore points")?;
        let exported =
            items(&contents).iter().filter(|item| item["metadata"]["labels"][EXPORTED].is_string());
        Ok(exported.map(|item| text(&item["metadata"]["name"])).collect())
    }

    /// A shop is opened and protected, and so is the platform; both run once.
    pub(super) fn protects(&self) -> Result<Lost> {
        let shop = Shop::open(self)?;
        self.enables()?;
        Shop::protect(self)?;
        self.runs_once(POLICY)?;
        self.runs_once(DR_POLICY)?;
        self.wait_until_shipped()?;
        let (id, exports) = (self.types(CLUSTER_ID, &[])?.trim().to_owned(), self.exports()?);
        ensure!(!exports.is_empty(), "nothing is exported");
        Ok(Lost { id, exports, shop })
    }

    /// From nothing to a platform that is protected.
    pub(super) fn lives(&self, more: &str) -> Result<Lost> {
        self.begins(more)?;
        self.protects()
    }

    /// A fresh platform with the Secret and the profile, in this order.
    pub(super) fn begins(&self, more: &str) -> Result<()> {
        self.makes_namespace()?;
        self.makes_passphrase()?;
        self.installs(more)?;
        self.makes_profile()
    }

    /// One that takes no pod but those of the strictest standard.
    pub(super) fn makes_namespace(&self) -> Result<()> {
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let metadata = json!({ "name": NAMESPACE, "labels": labels });
        self.create(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })).map(drop)
    }

    /// On this cluster nothing of the platform is left, nor of the shop.
    pub(super) fn loses_everything(&self) -> Result<()> {
        self.loses_platform()?;
        self.kubectl(&["delete", "namespace", SHOP, "--ignore-not-found", PATIENCE], "").map(drop)
    }

    pub(super) fn loses_platform(&self) -> Result<()> {
        let begun = Instant::now();
        self.types(DELETE_NAMESPACE, &[])?;
        figure(&format!("the platform's namespace was gone after {:.1} s", begun.elapsed().as_secs_f64()));
        self.until("nothing of ours is registered", || Ok(self.registered()?.is_empty().then_some(())))
    }

    /// Types the restore of a lost platform, with further values, whatever comes of it.
    pub(super) fn tries_to_ask(&self, lost: &Lost, more: &str, words: &[(&str, &str)]) -> Result<Answer> {
        let own = [("source-clusterID", lost.id.as_str()), ("location-profile-name", "vault")];
        self.tries(&extended(RESTORE, more), &[&own[..], words].concat())
    }

    /// The same, where Helm has nothing against it.
    pub(super) fn asks_for(&self, lost: &Lost, more: &str, words: &[(&str, &str)]) -> Result<()> {
        let said = self.tries_to_ask(lost, more, words)?;
        ensure!(said.code == 0, "the restore was not installed: {said:?}");
        Ok(())
    }

    /// The same, and waits for the Job.
    pub(super) fn recovers(&self, lost: &Lost, more: &str, words: &[(&str, &str)]) -> Result<()> {
        self.asks_for(lost, more, words)?;
        self.job_succeeds()
    }

    pub(super) fn job_succeeds(&self) -> Result<()> {
        let succeeded = "--for=jsonpath={.status.succeeded}=1";
        let waited = self.kubectl(&["wait", "job/k10-restore", "-n", NAMESPACE, succeeded, PATIENCE], "");
        waited.map(drop).with_context(|| format!("what the pods say:\n{}", self.pods_say()))
    }

    /// Takes the restore away, and waits until its pods are gone.
    pub(super) fn uninstalls_restore(&self) -> Result<()> {
        self.types(UNINSTALL_RESTORE, &[])?;
        ensure!(self.get(&["job", "k10-restore", "-n", NAMESPACE])?.is_none(), "the Job is there still");
        let gone = ["wait", "pod", "-n", NAMESPACE, "-l", "job-name=k10-restore", "--for=delete", PATIENCE];
        self.kubectl(&gone, "").map(drop)
    }

    /// How the pods of a Job have ended, those that are there.
    pub(super) fn last_words(&self, job: &str) -> Result<Vec<LastWord>> {
        let selector = format!("job-name={job}");
        let pods = self.get(&["pods", "-n", NAMESPACE, "-l", &selector])?.unwrap_or_default();
        let ended = |pod: &Value| {
            let container = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
            let code = container["exitCode"].as_i64()?;
            Some(LastWord { code, message: text(&container["message"]) })
        };
        Ok(items(&pods).iter().filter_map(ended).collect())
    }

    /// The first that ends.
    pub(super) fn last_word(&self, job: &str) -> Result<LastWord> {
        self.until(&format!("a pod of Job {job} ends"), || Ok(self.last_words(job)?.into_iter().next()))
    }

    /// The platform is the lost one, and the shop is restored from what it knows, whoever owns the backups.
    pub(super) fn assert_recovered(&self, lost: &Lost) -> Result<()> {
        self.assert_platform_recovered(lost)?;
        self.restores_shop(lost)
    }

    pub(super) fn restores_shop(&self, lost: &Lost) -> Result<()> {
        lost.shop.restore(self, lost.exports.last().context("nothing was exported")?)
    }

    /// The restore points are those of the lost platform, and somebody else may own the backups.
    pub(super) fn assert_platform_recovered(&self, lost: &Lost) -> Result<()> {
        let exports = self.exports()?;
        assert!(lost.exports.is_subset(&exports), "of {:?} there are {exports:?}", lost.exports);
        let map = self.get(&OWNERSHIP)?.context("nothing keeps it from maintenance")?;
        assert_eq!(map["data"]["sourceClusterID"], lost.id.as_str(), "{map}");
        Ok(())
    }

    /// The node on which the platform's pod runs.
    pub(super) fn node_of_platform(&self) -> Result<String> {
        let pods = self.get(&["pods", "-n", NAMESPACE, "-l", "component=crypto"])?.unwrap_or_default();
        let pod = items(&pods).first().context("the platform has no pod")?;
        Ok(text(&pod["spec"]["nodeName"]))
    }

    /// Sends all pods of a node elsewhere, and waits until the platform serves there.
    pub(super) fn drains(&self, node: &str) -> Result<()> {
        self.empties(node)?;
        self.wait_until_served()?;
        ensure!(self.node_of_platform()? != node, "the platform runs on {node} still");
        Ok(())
    }

    /// Sends all pods of a node away, whether or not they find another one to run on.
    pub(super) fn empties(&self, node: &str) -> Result<()> {
        let flags = ["--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=4m"];
        self.kubectl(&[&["drain", node][..], &flags].concat(), "").map(drop)
    }

    /// The end of each log, for whoever has waited in vain.
    fn pods_say(&self) -> String {
        let ask = |words: &[&str]| {
            let said = kubectl(self.nodes.control_plane(), words, "");
            said.map_or_else(|error| format!("{error:#}"), |said| format!("{}{}", said.stdout, said.stderr))
        };
        let pods = ask(&["get", "pods", "-A", "-o", "wide"]);
        let events = ask(&["get", "events", "-n", NAMESPACE, "--sort-by=.lastTimestamp"]);
        let events: Vec<&str> = events.lines().rev().take(20).collect();
        let events: Vec<&str> = events.into_iter().rev().collect();
        let platform = ask(&["logs", "-n", NAMESPACE, "-l", "component=crypto", "--tail=25"]);
        let jobs = ask(&["logs", "-n", NAMESPACE, "-l", "batch.kubernetes.io/job-name", "--tail=15"]);
        format!("{pods}\n{}\n{platform}\n{jobs}", events.join("\n"))
    }
}

pub(super) fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn has_condition(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let is_so = |one: &Value| one["type"] == kind && one["status"] == "True";
    conditions.is_some_and(|conditions| conditions.iter().any(is_so))
}
