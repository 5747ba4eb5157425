//! What the platform registers never outlives its server for long: a guard beside it, with the times of the product.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use keelson_testkit::{Supervisor, eventually};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::accounts::{self, Account};
use crate::kills::catalog_files;
use crate::stage::{APPS, NAMESPACE, Stage, assert_said, block_on};
use crate::world::{APPLICATION, back_up, create_application};

const ALL: [&str; 5] = ["actions", "apps", "dr", "repositories", "vault"];
/// Minutes are waited for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Two minutes without a renewal, what a look takes to come, and the deletions.
const LOST_WITHIN: Duration = Duration::from_secs(300);
/// Restarts of the platform and of its guards, by turns.
const KILLS: usize = 45;
/// The controller that deletes a namespace tries again less and less often, in the end once a minute.
const HELD_UP_FOR: Duration = Duration::from_secs(120);
/// Somebody else's, beside whom the catalog is lost.
const BYSTANDER: &str = "bystander";
/// Together longer than until groups are taken off, and all controllers know that.
const OTHER_OWNERS: usize = 60;
const OTHER_OWNERS_PACE: Duration = Duration::from_secs(3);
/// Taken out once all is served again, to see when garbage is collected again. What the collector could not decide it looks at
/// again less and less often, so that one alone may come back to it two minutes after it could.
const LAST_OWNERS: usize = 20;
const LAST_OWNERS_PACE: Duration = Duration::from_secs(9);
/// With nobody serving, from the word to the end.
const HOME_GONE_WITHIN: Duration = Duration::from_secs(180);

/// The groups of ours that the cluster would ask somebody for, whoever that is.
async fn list_registered(client: &Client) -> Result<Vec<String>> {
    let list = Api::<APIService>::all(client.clone()).list(&ListParams::default()).await?;
    let specs = list.items.into_iter().filter_map(|found| found.spec);
    let ours = specs.filter(|spec| {
        let service = spec.service.as_ref();
        service.is_some_and(|service| service.namespace.as_deref() == Some(NAMESPACE))
    });
    let groups = ours.filter_map(|spec| Some(spec.group?.strip_suffix(".kio.kasten.io")?.to_owned()));
    Ok(groups.collect())
}

fn registered(stage: &Stage) -> Result<Vec<String>> {
    let client = stage.client()?;
    block_on(list_registered(&client))
}

/// Waits until these are registered, as long as that may take, and says how long it took.
fn await_registered(stage: &Stage, expected: &[&str], within: Duration) -> Result<Duration> {
    let client = stage.client()?;
    block_on(until_registered(&client, expected, within))
}

async fn until_registered(client: &Client, expected: &[&str], within: Duration) -> Result<Duration> {
    let began = Instant::now();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        let found = list_registered(client).await?;
        if found == expected {
            return Ok(began.elapsed());
        }
        ensure!(
            began.elapsed() < within,
            "after {within:?} {found:?} are registered instead of {expected:?}"
        );
    }
}

/// Objects that a restore point and another object own together. Once the other is gone, the garbage collector asks
/// whether the restore point is, too.
struct Owned {
    client: Client,
}

impl Owned {
    fn create(stage: &Stage, point: &str) -> Result<Self> {
        let owner = stage.get(&["restorepoint", point, "-n", APPLICATION])?.context("the restore point")?;
        let owned = Self { client: stage.client()? };
        block_on(async {
            for number in 0..OTHER_OWNERS + LAST_OWNERS {
                owned.create_one(number, &owner["metadata"]).await?;
            }
            anyhow::Ok(())
        })?;
        Ok(owned)
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), APPLICATION)
    }

    async fn create_one(&self, number: usize, point: &Value) -> Result<()> {
        let other = json!({ "metadata": { "name": format!("other-owner-{number}") } });
        let params = PostParams::default();
        let other = self.config_maps().create(&params, &serde_json::from_value(other)?).await?;
        let owned = json!({
            "metadata": {
                "name": format!("owned-{number}"),
                "ownerReferences": [
                    { "apiVersion": APPS, "kind": "RestorePoint", "name": point["name"], "uid": point["uid"] },
                    { "apiVersion": "v1", "kind": "ConfigMap", "name": other.metadata.name, "uid": other.metadata.uid },
                ],
            },
        });
        self.config_maps().create(&params, &serde_json::from_value(owned)?).await?;
        Ok(())
    }

    /// Takes the other owners away one after the other.
    async fn take_others(&self) -> Result<()> {
        let mut ticks = tokio::time::interval(OTHER_OWNERS_PACE);
        for number in 0..OTHER_OWNERS {
            ticks.tick().await;
            self.take_other(number).await?;
        }
        Ok(())
    }

    async fn take_other(&self, number: usize) -> Result<()> {
        let name = format!("other-owner-{number}");
        self.config_maps().delete(&name, &DeleteParams::default()).await.map(drop).context("delete an owner")
    }

    /// Waits until these are registered, and somewhat longer, while garbage is collected all the time.
    fn await_registered(&self, expected: &[&str]) -> Result<Duration> {
        let (took, taken) = block_on(async {
            let registered = until_registered(&self.client, expected, LOST_WITHIN);
            tokio::join!(registered, self.take_others())
        });
        taken?;
        took
    }

    /// The garbage collector has gone on where it was, and has taken no restore point for gone.
    fn assert_kept(&self) -> Result<Duration> {
        let began = Instant::now();
        block_on(async {
            let mut ticks = tokio::time::interval(LAST_OWNERS_PACE);
            for number in OTHER_OWNERS..OTHER_OWNERS + LAST_OWNERS {
                self.take_other(number).await?;
                ticks.tick().await;
                let owners = self.owners().await?;
                assert_eq!(
                    owners.len(),
                    OTHER_OWNERS + LAST_OWNERS,
                    "what a restore point owns was collected"
                );
                if owners.contains(&1) {
                    return Ok(began.elapsed());
                }
            }
            bail!("no owner that is gone was taken out for {:?}", began.elapsed())
        })
    }

    /// How many owners each of those has that are left.
    async fn owners(&self) -> Result<Vec<usize>> {
        let list = self.config_maps().list(&ListParams::default()).await?;
        let owned = list.items.into_iter().filter_map(|found| found.metadata.owner_references);
        Ok(owned.map(|owners| owners.len()).collect())
    }
}

fn delete_namespace(stage: &Stage, name: &str, within: Duration) -> Result<Duration> {
    let began = Instant::now();
    let timeout = format!("--timeout={}s", within.as_secs());
    let said = stage.try_kubectl(&["delete", "namespace", name, &timeout], "")?;
    ensure!(said.code == 0, "{said:?}");
    Ok(began.elapsed())
}

/// What a guard does with its token it does no more.
fn await_account_is_worth_nothing(stage: &Stage, kubeconfig: &Path) -> Result<()> {
    let kubeconfig = kubeconfig.display().to_string();
    // The API server goes by what it knew of a token for some seconds.
    block_on(eventually("the token of the guard is refused", async || {
        let said = stage.try_kubectl(&["get", "apiservices", "--kubeconfig", &kubeconfig], "")?;
        let refusals = ["Unauthorized", "asked for the client to provide credentials"];
        Ok(refusals.iter().any(|refusal| said.stderr.contains(refusal)).then_some(()))
    }))
}

#[test]
fn a_platform_that_stays_away_is_taken_off_the_cluster_and_comes_back_by_itself() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = Stage::raise(share.directory(), &[])?;
    let account = accounts::install(stage.plane(), Account::Guard)?;
    let guards = [stage.guard_as(&account)?, stage.guard_as(&account)?];
    create_application(&stage)?;
    stage.namespace(BYSTANDER)?;
    let point = back_up(&stage, "first")?;
    let owned = Owned::create(&stage, &point)?;
    stage.instance.kill()?;
    let took = owned.await_registered(&[])?;
    println!("taken off {took:?} after the kill");
    ensure!(took > Duration::from_secs(100), "it may come back for two minutes: {took:?}");
    let took = delete_namespace(&stage, BYSTANDER, Duration::from_secs(240))?;
    println!("a namespace went in {took:?}");

    let began = Instant::now();
    stage.instance.restart()?;
    await_registered(&stage, &ALL, Duration::from_secs(120))?;
    println!("registered {:?} after the start of the process", began.elapsed());
    stage.wait_until_served()?;
    let contents = stage.get(&["restorepointcontents"])?.context("a list")?;
    assert_eq!(contents["items"].as_array().map(Vec::len), Some(1), "the backup is still there");
    println!("garbage was collected again {:?} after all was served", owned.assert_kept()?);

    // Killed once more, and the namespace of the platform is deleted before anybody can miss it.
    stage.instance.kill()?;
    let began = Instant::now();
    let said = stage.try_kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"], "")?;
    ensure!(said.code == 0, "{said:?}");
    // Five seconds after the word the cluster takes the account of the guards away: who has not followed by then never does.
    let followed = await_registered(&stage, &[], LOST_WITHIN)?;
    let timeout = format!("--timeout={}s", HOME_GONE_WITHIN.as_secs());
    let said = stage.try_kubectl(&["wait", "--for=delete", "namespace", NAMESPACE, &timeout], "")?;
    ensure!(said.code == 0, "{said:?}");
    let gone = began.elapsed();
    println!("followed in {followed:?}, gone in {gone:?}");
    ensure!(gone <= HOME_GONE_WITHIN, "the namespace went, but only {gone:?} after the word");
    await_account_is_worth_nothing(&stage, &account)?;
    for guard in guards {
        ensure!(guard.is_running(), "the guard ended:\n{}", guard.log_tail());
        guard.stop()?;
    }
    Ok(())
}

#[test]
fn a_platform_can_be_uninstalled_and_its_namespace_deleted_while_it_runs() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = Stage::raise(share.directory(), &[])?;
    create_application(&stage)?;
    back_up(&stage, "first")?;
    let once = ["guard", "--once"];
    let said = stage.keelson(&once)?;
    assert_said(&said, 5, &["a 'keelson serve' runs", "hint: stop it first"]);
    assert_eq!(registered(&stage)?, ALL);

    stage.instance.kill()?;
    let said = stage.keelson(&once)?;
    assert_eq!(said.code, 0, "{said:?}");
    let expected = [
        "deleted APIService 'v1alpha1.actions.kio.kasten.io'",
        "deleted APIService 'v1alpha1.apps.kio.kasten.io'",
        "deleted APIService 'v1alpha1.dr.kio.kasten.io'",
        "deleted APIService 'v1alpha1.repositories.kio.kasten.io'",
        "deleted APIService 'v1alpha1.vault.kio.kasten.io'",
        "deleted Service 'kasten-io/keelson-api'",
        "deleted Lease 'kasten-io/keelson-serve'",
    ];
    assert_eq!(said.stdout.lines().collect::<Vec<_>>(), expected);
    assert_eq!(registered(&stage)?, Vec::<String>::new());
    let said = stage.keelson(&once)?;
    assert_eq!((said.code, said.stdout.trim()), (0, "nothing of the platform is registered"));

    // One of the groups is somebody else's meanwhile. The others are served all the same, until that is gone.
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "theirs", "namespace": "default" },
        "spec": { "ports": [{ "port": 443 }] },
    });
    let apps = "v1alpha1.apps.kio.kasten.io";
    let foreign = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": { "name": apps },
        "spec": {
            "group": "apps.kio.kasten.io", "version": "v1alpha1", "groupPriorityMinimum": 10, "versionPriority": 10,
            "insecureSkipTLSVerify": true, "service": { "name": "theirs", "namespace": "default", "port": 443 },
        },
    });
    for object in [service, foreign] {
        let said = stage.try_kubectl(&["create", "-f", "-"], &object.to_string())?;
        ensure!(said.code == 0, "{said:?}");
    }
    stage.instance.restart()?;
    await_registered(&stage, &["actions", "dr", "repositories", "vault"], Duration::from_secs(240))?;
    stage.until("whose it is stands in the log", || {
        let log = fs::read_to_string(stage.instance.log_file())?;
        let told = format!(
            "APIService '{apps}' leads to Service 'default/theirs', which is not of this installation"
        );
        Ok(log.contains(&told).then_some(()))
    })?;
    let said = stage.try_kubectl(&["delete", "apiservice", apps], "")?;
    ensure!(said.code == 0, "{said:?}");
    let took = await_registered(&stage, &ALL, Duration::from_secs(120))?;
    println!("what was somebody else's is ours {took:?} after its end");
    stage.wait_until_served()?;
    let guard = stage.guard_as(&accounts::install(stage.plane(), Account::Guard)?)?;
    let took = delete_namespace(&stage, NAMESPACE, Duration::from_secs(240))?;
    println!("the namespace of a platform that runs went in {took:?}");
    assert_eq!(registered(&stage)?, Vec::<String>::new());
    let took = delete_namespace(&stage, APPLICATION, Duration::from_secs(240))?;
    println!("the namespace of its application in {took:?}");
    guard.stop()
}

/// An APIService whose server is being killed holds up every namespace, for as long as that takes and no longer.
#[test]
fn namespaces_go_while_platform_and_guards_are_killed_by_turns() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = Stage::raise(share.directory(), &[])?;
    let mut guards = [stage.guard()?, stage.guard()?];
    let mut names = Vec::new();
    for round in 0..KILLS {
        let name = format!("tenant-{round}");
        let created = stage.try_kubectl(&["create", "namespace", &name], "")?;
        let deleted = stage.try_kubectl(&["delete", "namespace", &name, "--wait=false"], "")?;
        ensure!(created.code == 0 && deleted.code == 0, "{created:?} {deleted:?}");
        names.push(name);
        match round % 3 {
            0 => {
                stage.instance.kill()?;
                stage.instance.restart()?;
            }
            guard => {
                guards[guard - 1].kill()?;
                guards[guard - 1].restart()?;
            }
        }
    }
    let began = Instant::now();
    let timeout = format!("--timeout={}s", HELD_UP_FOR.as_secs());
    let words = [
        &["wait", "--for=delete", "namespace", &timeout],
        &names.iter().map(String::as_str).collect::<Vec<_>>()[..],
    ];
    let said = stage.try_kubectl(&words.concat(), "")?;
    println!("the last of {KILLS} namespaces was gone {:?} after the last kill", began.elapsed());
    ensure!(said.code == 0, "{said:?}");
    await_registered(&stage, &ALL, Duration::from_secs(120))?;
    stage.wait_until_served()
}

#[test]
fn while_the_catalog_is_away_only_recovery_is_registered_and_with_it_everything_comes_back() -> Result<()> {
    let share = Supervisor::start("share")?;
    let mut stage = Stage::raise(share.directory(), &[])?;
    create_application(&stage)?;
    stage.namespace(BYSTANDER)?;
    let point = back_up(&stage, "first")?;
    let owned = Owned::create(&stage, &point)?;
    stage.instance.kill()?;
    let files: Vec<_> = catalog_files(&stage)?
        .into_iter()
        .map(|file| fs::read(&file).map(|bytes| (file, bytes)))
        .collect::<Result<_, _>>()?;
    for (file, bytes) in &files {
        let mut damaged = bytes.clone();
        damaged.iter_mut().take(4096).for_each(|byte| *byte ^= 0x55);
        fs::write(file, damaged)?;
    }
    stage.instance.restart()?;
    let took = owned.await_registered(&["dr"])?;
    println!("taken off {took:?} after a start without a catalog");
    ensure!(took > Duration::from_secs(100), "an absence of a moment is answered: {took:?}");
    // The quota controller asks nobody for what is not registered.
    let took = delete_namespace(&stage, BYSTANDER, Duration::from_secs(240))?;
    println!("a namespace went in {took:?}");
    stage.until("recovery is served", || {
        let said = stage.try_kubectl(&["get", "kastendrrestores", "-n", NAMESPACE], "")?;
        Ok((said.code == 0).then_some(()))
    })?;

    stage.instance.kill()?;
    for (file, bytes) in &files {
        fs::write(file, bytes)?;
    }
    let began = Instant::now();
    stage.instance.restart()?;
    await_registered(&stage, &ALL, Duration::from_secs(120))?;
    println!("registered {:?} after a start with the catalog", began.elapsed());
    stage.wait_until_served()?;
    println!("garbage was collected again {:?} after all was served", owned.assert_kept()?);
    Ok(())
}
