//! What scenarios on whole clusters rely on: pods run, find each other, keep files, pull images and reach servers of this
//! machine; clusters do not meddle with each other; and nothing of them stays. Without root, all of it is skipped.

use std::env;
use std::fs;
use std::future::pending;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use keelson_testkit::{
    BOX_IMAGE, Helm, KvVersion, Minio, NodeCluster, Nodes, OpenBao, OwnedChild, Registry, RegistrySettings,
    RegistryTrust, Role, Traces, eventually, figure, host_address, skip,
};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// Set in a second process of this test binary, which is there to be killed.
const VICTIM: &str = "KEELSON_TESTKIT_NODES_VICTIM";

/// The turn of a test, or nothing after it was said why there is none. One at a time: a cluster takes most of a small
/// machine, and a number that is free again must not be another test's by the time it is looked at.
async fn turn() -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::const_new(());
    match Nodes::available() {
        Ok(()) => Some(TURN.lock().await),
        Err(reason) => {
            skip(&reason);
            None
        }
    }
}

/// A pod as the strictest level of Pod Security lets it in, which runs one line of shell.
fn pod(name: &str, script: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "main",
                "image": BOX_IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/sh", "-c", script],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    })
}

/// A line of shell that does `ask` until it goes well: an answer may be late on a machine that others use, too.
fn patiently(ask: &str) -> String {
    format!("for i in $(seq 60); do {ask} && exit; sleep 1; done; exit 1")
}

async fn pods(cluster: &NodeCluster) -> Result<Api<Pod>> {
    Ok(Api::namespaced(cluster.client().await?, "default"))
}

async fn create(cluster: &NodeCluster, pod: Value) -> Result<()> {
    pods(cluster).await?.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    Ok(())
}

/// Runs a pod to its end and answers what it has said.
async fn run(cluster: &NodeCluster, pod: Value) -> Result<String> {
    let name = pod["metadata"]["name"].as_str().context("a pod has a name")?.to_owned();
    create(cluster, pod).await?;
    let pods = pods(cluster).await?;
    let phase = eventually("the pod ends", async || {
        let status = pods.get(&name).await?.status.unwrap_or_default();
        let phase = status.phase.unwrap_or_default();
        Ok((phase == "Succeeded" || phase == "Failed").then_some(phase))
    })
    .await?;
    let said = kubectl(cluster, &["logs", &name])?;
    ensure!(phase == "Succeeded", "pod {name}: {phase}: {said}");
    Ok(said)
}

async fn address_of(cluster: &NodeCluster, pod: &str) -> Result<String> {
    let pods = pods(cluster).await?;
    eventually("the pod runs", async || {
        let status = pods.get(pod).await?.status.unwrap_or_default();
        Ok(status.pod_ip.filter(|_| status.phase.as_deref() == Some("Running")))
    })
    .await
}

fn kubectl(cluster: &NodeCluster, words: &[&str]) -> Result<String> {
    told(cluster.kubectl().args(words))
}

fn told(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test]
async fn a_pod_runs_with_names_and_a_volume_and_a_stopped_cluster_leaves_nothing() -> Result<()> {
    let Some(_turn) = turn().await else { return Ok(()) };
    let begun = Instant::now();
    let cluster = NodeCluster::start("source").await?;
    figure(&format!("a cluster with a node was ready after {:.1} s", begun.elapsed().as_secs_f64()));
    assert_eq!(cluster.node_names(), ["source-1"]);
    kubectl(&cluster, &["label", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted"])?;

    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client().await?, "default");
    let claim = json!({
        "metadata": { "name": "kept" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
    });
    claims.create(&PostParams::default(), &serde_json::from_value(claim)?).await?;
    let names = "nslookup kubernetes.default.svc.cluster.local && nslookup s3.test";
    let mut writer = pod("writer", &patiently(&format!("{names} && echo kept >/data/file")));
    writer["spec"]["volumes"] = json!([{ "name": "data", "persistentVolumeClaim": { "claimName": "kept" } }]);
    writer["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "data", "mountPath": "/data" }]);
    let said = run(&cluster, writer).await?;
    assert!(said.contains(&cluster.host_address().to_string()), "names in .test are this machine: {said}");

    let volume =
        claims.get("kept").await?.spec.and_then(|spec| spec.volume_name).context("the claim is bound")?;
    let file = cluster.directory().join("volumes").join(volume).join("file");
    assert_eq!(fs::read_to_string(file)?, "kept\n");
    for version in Helm::ALL {
        assert_eq!(told(cluster.helm(version)?.args(["list", "--short"]))?, "", "{version:?}");
    }
    cluster.check()?;

    let left = Traces::of(cluster.directory())?;
    cluster.stop().await?;
    left.are_gone().await
}

#[tokio::test]
async fn pods_of_two_nodes_reach_each_other_and_survive_the_api_server() -> Result<()> {
    let Some(_turn) = turn().await else { return Ok(()) };
    let mut cluster = NodeCluster::start("pair").await?;
    assert_eq!(cluster.add_node().await?, "pair-2");
    let mut server = pod("server", "echo hello >/tmp/index.html && httpd -f -p 8080 -h /tmp");
    server["spec"]["nodeName"] = json!("pair-1");
    server["metadata"]["labels"] = json!({ "app": "server" });
    server["spec"]["volumes"] = json!([{ "name": "tmp", "emptyDir": {} }]);
    server["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "tmp", "mountPath": "/tmp" }]);
    create(&cluster, server).await?;
    address_of(&cluster, "server").await?;
    kubectl(&cluster, &["expose", "pod", "server", "--port=80", "--target-port=8080"])?;
    cluster.restart_api_server().await?;

    // A Service lags behind its pods by a moment.
    let ask = "get server.default.svc.cluster.local 80 /index.html";
    let mut client = pod("client", &patiently(ask));
    client["spec"]["nodeName"] = json!("pair-2");
    assert_eq!(run(&cluster, client).await?, "hello\n");

    kubectl(&cluster, &["drain", "pair-1", "--force", "--ignore-daemonsets", "--delete-emptydir-data"])?;
    let nodes: Api<Node> = Api::all(cluster.client().await?);
    assert_eq!(nodes.get("pair-1").await?.spec.and_then(|spec| spec.unschedulable), Some(true));
    assert!(pods(&cluster).await?.get_opt("server").await?.is_none(), "it was evicted");
    cluster.check()
}

#[tokio::test]
async fn two_clusters_reach_one_server_and_one_that_is_cut_off_nothing_else() -> Result<()> {
    let Some(_turn) = turn().await else { return Ok(()) };
    let minio = Minio::start_at(host_address()?).await?;
    let (left, right) = tokio::join!(NodeCluster::start("left"), NodeCluster::start("right"));
    let (mut left, right) = (left?, right?);
    assert_eq!(left.host_address(), right.host_address());
    let endpoint = minio.endpoint();
    let (host, port) =
        endpoint.trim_start_matches("http://").split_once(':').context("an address with a port")?;
    let health = patiently(&format!("get {host} {port} /minio/health/ready && echo reached"));
    for cluster in [&left, &right] {
        assert_eq!(run(cluster, pod("health", &health)).await?, "reached\n");
    }

    // The kubelet of the other cluster: whoever is not cut off reaches it.
    let node: IpAddr =
        kubectl(&right, &["get", "node", "right-1", "-o", "jsonpath={.status.addresses[0].address}"])?
            .parse()?;
    let try_door = format!("nc -w 3 {node} 10250 </dev/null 2>/dev/null && echo open && exit");
    let knock = |name: &str| pod(name, &format!("for i in 1 2 3; do {try_door}; done; echo closed"));
    assert_eq!(run(&left, knock("before")).await?, "open\n");
    left.cut_off()?;
    assert_eq!(run(&left, knock("after")).await?, "closed\n");
    assert_eq!(run(&left, pod("still", &health)).await?, "reached\n");
    Ok(())
}

#[tokio::test]
async fn an_image_is_pulled_from_a_registry_with_its_password_alone() -> Result<()> {
    let Some(_turn) = turn().await else { return Ok(()) };
    let address = host_address()?;
    let cluster = NodeCluster::start("pulling").await?;
    let archive = cluster.directory().join("images/0.tar");
    for (with_tls, host) in [(false, "plain.test"), (true, "registry.test")] {
        let registry = Registry::start(RegistrySettings { address, with_password: true, with_tls }).await?;
        let digest = registry.push(&archive, "team/box:2")?;
        let trust = registry.authority().map_or(RegistryTrust::PlainHttp, RegistryTrust::Authority);
        cluster.trust_registry(host, &registry.url(), trust)?;
        let secret = format!("of-{}", host.replace('.', "-"));
        let config = cluster.directory().join(&secret);
        fs::write(&config, registry.docker_config(host))?;
        let from_file = format!("--from-file=.dockerconfigjson={}", config.display());
        kubectl(
            &cluster,
            &["create", "secret", "generic", &secret, "--type=kubernetes.io/dockerconfigjson", &from_file],
        )?;
        let mut without = pod(&format!("{secret}-without"), "echo pulled");
        without["spec"]["containers"][0]["image"] = json!(format!("{host}/team/box@{digest}"));
        let mut with = without.clone();
        with["metadata"]["name"] = json!(format!("{secret}-with"));
        with["spec"]["imagePullSecrets"] = json!([{ "name": secret }]);

        create(&cluster, without).await?;
        let pods = pods(&cluster).await?;
        eventually("the registry refuses", async || {
            let status = pods.get(&format!("{secret}-without")).await?.status.unwrap_or_default();
            let containers = status.container_statuses.unwrap_or_default();
            let waiting = containers.into_iter().find_map(|container| container.state?.waiting?.reason);
            Ok(waiting.filter(|reason| reason.contains("ImagePull")))
        })
        .await?;
        assert_eq!(run(&cluster, with).await?, "pulled\n");
    }
    Ok(())
}

#[tokio::test]
async fn an_account_of_the_cluster_logs_in_to_the_store_of_secrets() -> Result<()> {
    let Some(_turn) = turn().await else { return Ok(()) };
    let cluster = NodeCluster::start("vaulted").await?;
    let bao = OpenBao::start_with_tls(cluster.host_address()).await?;
    bao.enable_kv("secret", KvVersion::Two)?;
    // An engine with versions takes a moment, and the API server one to know a binding.
    eventually("the engine takes a secret", async || {
        Ok(bao.put("secret", "dr", "passphrase", "correct horse").ok())
    })
    .await?;
    bao.write_policy("dr", r#"path "secret/data/dr" { capabilities = ["read"] }"#)?;
    let binding = ["--clusterrole=system:auth-delegator", "--serviceaccount=default:default"];
    kubectl(&cluster, &[&["create", "clusterrolebinding", "reviewer"][..], &binding[..]].concat())?;
    let token = kubectl(&cluster, &["create", "token", "default"])?;
    bao.trust_cluster("kubernetes", &cluster, token.trim())?;
    let role = Role { name: "dr", namespace: "default", account: "default", policy: "dr" };
    bao.bind_account("kubernetes", &role)?;

    let jwt = format!("jwt={}", token.trim());
    let login = |role: &str| {
        let role = format!("role={role}");
        told(bao.bao().args(["write", "-field=token", "auth/kubernetes/login", &role, &jwt]))
    };
    let granted = eventually("the account is let in", async || Ok(login("dr").ok())).await?;
    let mut read = bao.bao();
    read.env("BAO_TOKEN", granted.trim()).args(["kv", "get", "-mount=secret", "-field=passphrase", "dr"]);
    assert_eq!(told(&mut read)?, "correct horse");
    assert!(login("another").is_err(), "no such role");
    bao.seal()?;
    assert!(told(&mut read).is_err(), "sealed");
    Ok(())
}

#[tokio::test]
async fn a_killed_test_process_leaves_nothing_of_a_cluster() -> Result<()> {
    if env::var_os(VICTIM).is_some() {
        let cluster = NodeCluster::start("victim").await?;
        println!("{VICTIM} {}", cluster.directory().display());
        pending::<()>().await;
    }
    let Some(_turn) = turn().await else { return Ok(()) };
    let mut victim = Command::new(env::current_exe()?);
    victim
        .args(["--exact", "nodes::a_killed_test_process_leaves_nothing_of_a_cluster"])
        .args(["--nocapture", "--quiet"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped());
    let mut victim = OwnedChild::spawn(&mut victim)?;
    let lines = BufReader::new(victim.stdout.take().context("take the victim's output")?).lines();
    // The harness prints no line end before a test's own output.
    let directory = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once(&format!("{VICTIM} ")).map(|(_, words)| PathBuf::from(words)))
        .context("the victim ended before its cluster was ready")?;
    let left = Traces::of(&directory);
    victim.kill()?;
    victim.wait()?;
    left?.are_gone().await
}
