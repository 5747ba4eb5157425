//! `dr enable`, `dr disable`, `dr run`.

use std::time::Duration;

use anyhow::Result;
use keelson_model::names::{DR_POLICY, DR_SECRET, group};
use keelson_model::passphrase::key;
use keelson_model::{Classified, ErrorClass};
use keelson_protection::random_suffix;
use keelson_workload::{Cluster, Creation, Kind, NamespacedName, Secret};
use serde_json::{Value, json};

use super::passphrase::Fields;
use super::{EnableArguments, policy_kind, run_action_kind};
use crate::arguments::Common;
use crate::failure::{failed, refuse, refuse_with};
use crate::follow;
use crate::output::{data, say};

const VALIDATED_WITHIN: Duration = Duration::from_secs(120);
const RUN_WITHIN: Duration = Duration::from_secs(3600);
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How often the policy is read and written again that others change at the same time.
const WRITES_AGAIN_MAX: usize = 10;

pub(super) async fn enable(arguments: EnableArguments) -> Result<()> {
    let EnableArguments { common, profile, passphrase, quick } = arguments;
    let passphrase = passphrase.read()?;
    let cluster = common.cluster().await?;
    wait_for_verdict(&cluster, &common.namespace, &profile).await?;
    let before = Before::read(&cluster, &common.namespace).await?;
    let asked = Asked { namespace: &common.namespace, profile: &profile, quick };
    if let Err(error) = put_in_force(&cluster, &asked, passphrase.as_ref()).await {
        before.put_back(&cluster, passphrase.is_some()).await;
        return Err(error);
    }
    let cluster_id = cluster.cluster_id().await.map_err(failed)?;
    say("Keep outside this cluster: the cluster ID, the passphrase, and the location with its credentials.");
    data(common.output, &json!({ "clusterID": cluster_id, "profile": profile }), |_| {
        format!("disaster recovery is enabled\ncluster ID: {cluster_id}")
    });
    Ok(())
}

/// Writes the Secret and the policy, and waits for the verdict.
async fn put_in_force(cluster: &Cluster, asked: &Asked<'_>, passphrase: Option<&Fields>) -> Result<()> {
    let namespace = asked.namespace;
    if let Some(passphrase) = passphrase {
        write_secret(cluster, namespace, passphrase).await?;
    }
    let written = write_policy(cluster, namespace, |before| dr_policy(asked, before)).await?;
    let generation = written["metadata"]["generation"].as_i64().unwrap_or(0);
    let version = passphrase_version(cluster, namespace).await?;
    let policy = validated(cluster, namespace, generation, version.as_deref()).await?;
    if policy["status"]["validation"] == "Success" {
        tell_trouble(&policy);
        return Ok(());
    }
    let errors = policy["status"]["error"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let errors = errors.collect::<Vec<_>>().join("; ");
    Err(refuse(ErrorClass::Invalid, format!("disaster recovery was not enabled: {errors}")))
}

/// Writes the whole specification, as it is to be after the one before: an apply would leave what `kubectl` or another tool
/// had written and the new one does not have. Whoever changes the policy meanwhile is not overwritten.
async fn write_policy(
    cluster: &Cluster,
    namespace: &str,
    policy: impl Fn(Option<&Value>) -> Value,
) -> Result<Value> {
    let kind = policy_kind();
    let mut tries = 0;
    loop {
        let present = cluster.read_object(&kind, Some(namespace), DR_POLICY).await.map_err(failed)?;
        let mut wanted = policy(present.as_ref());
        let Some(mut present) = present else {
            match cluster.create_object(&kind, &wanted).await.map_err(failed)? {
                Creation::Created(created) => return Ok(created),
                Creation::Existed if tries < WRITES_AGAIN_MAX => tries += 1,
                Creation::Existed => return Err(changed_meanwhile()),
            }
            continue;
        };
        present["spec"] = wanted["spec"].take();
        match cluster.replace_object(&kind, &present).await {
            Err(error) if error.class() == ErrorClass::Conflict && tries < WRITES_AGAIN_MAX => tries += 1,
            replaced => return replaced.map_err(failed),
        }
    }
}

fn changed_meanwhile() -> anyhow::Error {
    refuse(ErrorClass::Conflict, "the DR policy was made and removed by somebody else meanwhile")
}

/// What is enabled stays so while the passphrase in force cannot be read where it is kept.
fn tell_trouble(policy: &Value) {
    let conditions = policy["status"]["conditions"].as_array().into_iter().flatten();
    for condition in conditions.filter(|one| one["type"] == "PassphraseReadable" && one["status"] == "False")
    {
        let why = condition["message"].as_str().unwrap_or_default();
        say(&format!("the passphrase in force cannot be read now: {why}"));
    }
}

/// A profile that was just made is being looked at; one that is not there is told with the policy.
async fn wait_for_verdict(cluster: &Cluster, namespace: &str, profile: &str) -> Result<()> {
    let kind = super::kind(group::CONFIG, "Profile", "profiles");
    let began = tokio::time::Instant::now();
    while began.elapsed() < VALIDATED_WITHIN {
        let found = cluster.read_object(&kind, Some(namespace), profile).await.map_err(failed)?;
        let Some(found) = found else { return Ok(()) };
        let is_current = found["status"]["observedGeneration"] == found["metadata"]["generation"];
        if is_current && matches!(found["status"]["validation"].as_str(), Some("Success" | "Failed")) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// The DR policy and its Secret as they were, for a request that is refused.
struct Before {
    namespace: String,
    policy: Option<Value>,
    secret: Option<Secret>,
}

impl Before {
    async fn read(cluster: &Cluster, namespace: &str) -> Result<Self> {
        let policy = cluster.read_object(&policy_kind(), Some(namespace), DR_POLICY).await.map_err(failed)?;
        let at = NamespacedName::new(namespace, DR_SECRET);
        let secret = cluster.read_secret(&at).await.map_err(failed)?;
        Ok(Self { namespace: namespace.to_owned(), policy, secret })
    }

    /// Each of the two, whatever becomes of the other; what cannot be put back is told.
    async fn put_back(&self, cluster: &Cluster, with_secret: bool) {
        let policy = self.put_back_policy(cluster).await;
        let secret = if with_secret { self.put_back_secret(cluster).await } else { Ok(()) };
        for (what, put_back) in [("the DR policy", policy), (DR_SECRET, secret)] {
            if let Err(left) = put_back {
                say(&format!("{what} could not be put back as it was: {left:#}"));
            }
        }
    }

    /// Writes nothing where nothing was changed: who was not let write it is not told of it twice.
    async fn put_back_policy(&self, cluster: &Cluster) -> Result<()> {
        let (kind, namespace) = (policy_kind(), self.namespace.as_str());
        let present = cluster.read_object(&kind, Some(namespace), DR_POLICY).await.map_err(failed)?;
        let Some(before) = &self.policy else {
            return match present {
                None => Ok(()),
                Some(_) => cluster.delete_object(&kind, Some(namespace), DR_POLICY).await.map_err(failed),
            };
        };
        if present.is_some_and(|present| present["spec"] == before["spec"]) {
            return Ok(());
        }
        write_policy(cluster, namespace, |_| policy_of(namespace, before["spec"].clone())).await.map(drop)
    }

    async fn put_back_secret(&self, cluster: &Cluster) -> Result<()> {
        let at = NamespacedName::new(&self.namespace, DR_SECRET);
        let Some(before) = &self.secret else {
            return match cluster.read_secret(&at).await.map_err(failed)? {
                None => Ok(()),
                Some(_) => cluster.delete_secret(&at).await.map_err(failed),
            };
        };
        cluster.edit_secret(&at, |data| data.clone_from(&before.data)).await.map_err(failed)
    }
}

/// Whoever made the Secret before: of another source nothing stays. Further passphrases do.
async fn write_secret(cluster: &Cluster, namespace: &str, fields: &Fields) -> Result<()> {
    let at = NamespacedName::new(namespace, DR_SECRET);
    let written = cluster.edit_secret(&at, |data| {
        data.retain(|name, _| name.starts_with(key::FURTHER));
        for (name, value) in fields {
            data.insert(name.clone(), value.clone().into());
        }
    });
    written.await.map_err(failed)
}

/// What the command names of the policy.
struct Asked<'a> {
    namespace: &'a str,
    profile: &'a str,
    quick: bool,
}

fn policy_of(namespace: &str, spec: Value) -> Value {
    json!({
        "apiVersion": policy_kind().api_version(), "kind": "Policy",
        "metadata": { "name": DR_POLICY, "namespace": namespace }, "spec": spec,
    })
}

/// Of a policy that is there, what the command does not name stays: the frequency, the retention.
fn dr_policy(asked: &Asked<'_>, before: Option<&Value>) -> Value {
    let Asked { namespace, profile, quick } = *asked;
    let usual = json!({
        "frequency": "@hourly",
        "retention": { "hourly": 4, "daily": 1, "weekly": 1, "monthly": 1, "yearly": 1 },
        "selector": { "matchExpressions": [
            { "key": "k10.kasten.io/appNamespace", "operator": "In", "values": [namespace] }
        ]},
        "actions": [{
            "action": "backup",
            "backupParameters": { "filters": {} }
        }],
    });
    let kept = before.map(|policy| &policy["spec"]);
    let mut spec = kept.filter(|spec| spec["actions"][0]["action"] == "backup").unwrap_or(&usual).clone();
    spec["actions"][0]["backupParameters"]["profile"] = json!({ "name": profile, "namespace": namespace });
    match quick {
        true if spec["kdrSnapshotConfiguration"].is_object() => {}
        true => spec["kdrSnapshotConfiguration"] = json!({}),
        false => drop(spec.as_object_mut().and_then(|spec| spec.remove("kdrSnapshotConfiguration"))),
    }
    policy_of(namespace, spec)
}

/// Of the Secret as it stands now, whoever has written it.
async fn passphrase_version(cluster: &Cluster, namespace: &str) -> Result<Option<String>> {
    let kind = Kind::namespaced("v1", "Secret", "secrets");
    let secret = cluster.read_object(&kind, Some(namespace), DR_SECRET).await.map_err(failed)?;
    let version = secret.map(|secret| secret["metadata"]["resourceVersion"].clone());
    Ok(version.as_ref().and_then(Value::as_str).map(str::to_owned))
}

/// The verdict about the policy and the passphrase as they stand now.
async fn validated(
    cluster: &Cluster,
    namespace: &str,
    generation: i64,
    passphrase: Option<&str>,
) -> Result<Value> {
    let began = tokio::time::Instant::now();
    loop {
        let policy = cluster.read_object(&policy_kind(), Some(namespace), DR_POLICY).await.map_err(failed)?;
        let policy = policy.unwrap_or_default();
        let observed = policy["status"]["observedGeneration"].as_i64().unwrap_or(-1);
        let verdict = policy["status"]["validation"].as_str();
        let same_passphrase = policy["status"]["observedPassphrase"].as_str() == passphrase;
        if observed >= generation && same_passphrase && matches!(verdict, Some("Success" | "Failed")) {
            return Ok(policy);
        }
        if began.elapsed() > VALIDATED_WITHIN {
            return Err(refuse_with(
                ErrorClass::Unavailable { retry_after: None },
                "the DR policy was not validated in time",
                "is keelson serve running?",
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

pub(super) async fn disable(common: Common) -> Result<()> {
    let cluster = common.cluster().await?;
    let kind = policy_kind();
    let there = cluster.read_object(&kind, Some(&common.namespace), DR_POLICY).await.map_err(failed)?;
    if there.is_none() {
        return Err(refuse(ErrorClass::NotFound, "disaster recovery is not enabled"));
    }
    cluster.delete_object(&kind, Some(&common.namespace), DR_POLICY).await.map_err(failed)?;
    data(common.output, &json!({ "disabled": true }), |_| {
        "disaster recovery is disabled; what was stored stays".to_owned()
    });
    Ok(())
}

pub(super) async fn run_once(common: Common) -> Result<()> {
    let cluster = common.cluster().await?;
    let (kind, namespace) = (run_action_kind(), common.namespace.as_str());
    let name = format!("run-dr-{}", random_suffix());
    let action = json!({
        "apiVersion": kind.api_version(), "kind": "RunAction",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "subject": { "kind": "Policy", "name": DR_POLICY, "namespace": namespace } },
    });
    cluster.create_object(&kind, &action).await.map_err(failed)?;
    let ended = follow::to_the_end(&cluster, &kind, namespace, &name, RUN_WITHIN).await?;
    follow::check(&ended)?;
    data(common.output, &ended["status"], |_| format!("{name} is complete"));
    Ok(())
}
