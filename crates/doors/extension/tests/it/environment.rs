//! One control plane and one platform for all tests of this binary. Each test works in namespaces of its own.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use keelson_catalog::{Actor, Change, Class, Row, RowKey, RowKind};
use keelson_extension::{Extension, Reach, Registration, ServingCertificates};
use keelson_model::Clock;
use keelson_protection::{Platform, Settings};
use keelson_resources::find_kind;
use keelson_testkit::ControlPlane;
use keelson_workload::{Cluster, ClusterAccess};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const INSTALL_NAMESPACE: &str = "kasten-io";
/// The controllers of a cluster look for new kinds every thirty seconds, and on a busy machine take their time.
const ROUNDS: usize = 3;

pub(crate) struct Environment {
    pub(crate) plane: ControlPlane,
    pub(crate) port: u16,
    /// What a client must trust to reach the server directly.
    pub(crate) authority: PathBuf,
    /// Serves as long as the process lives.
    _runtime: Runtime,
    platform: Arc<Platform>,
}

#[derive(Debug)]
struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "the servers beside us live by the system's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

pub(crate) fn environment() -> &'static Environment {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (plane, port, authority, platform) = runtime.block_on(start());
        let environment = Environment { plane, port, authority, _runtime: runtime, platform };
        eventually("the API server finds us", || {
            let list = environment.try_kubectl(&["get", "restorepoints.apps.kio.kasten.io", "-A"], "");
            list.is_ok().then_some(())
        });
        environment
    })
}

async fn start() -> (ControlPlane, u16, PathBuf, Arc<Platform>) {
    let plane = ControlPlane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(client.clone());
    let install = json!({"metadata": {"name": INSTALL_NAMESPACE}});
    namespaces
        .create(&kube::api::PostParams::default(), &serde_json::from_value(install).unwrap())
        .await
        .unwrap();
    let access = ClusterAccess::Kubeconfig(plane.kubeconfig().to_owned());
    // Inside the directory of the control plane, which goes when this process does.
    let data = plane.directory().join("keelson");
    let settings = Settings {
        install_namespace: INSTALL_NAMESPACE.to_owned(),
        mounts: data.join("mounts"),
        claims: BTreeMap::new(),
        ownership_grace: Duration::from_secs(60),
        clock_difference_max: jiff::SignedDuration::MAX,
        quick_mode: false,
        passphrase_cost: keelson_protection::KdfCost::RECOMMENDED,
        data,
    };
    let cluster = Cluster::connect(&access).await.unwrap();
    let platform = Platform::open(settings, cluster, Arc::new(WallClock)).await.unwrap();
    let extension = Extension::new(Arc::clone(&platform), client.clone(), CancellationToken::new());
    extension.read_trust().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let registration = Registration {
        namespace: INSTALL_NAMESPACE.to_owned(),
        service: "keelson-extension".to_owned(),
        port,
        reach: Reach::Host { name: "localhost".to_owned() },
    };
    let certificates = ServingCertificates::generate(&registration.dns_names(), WallClock.now()).unwrap();
    let certificates = Arc::new(certificates);
    let authority = plane.directory().join("extension-ca.crt");
    std::fs::write(&authority, certificates.authority_pem()).unwrap();
    let serving = Arc::clone(&certificates);
    tokio_util::task::TaskTracker::new().spawn(async move { extension.serve(listener, serving).await });
    registration.register(&client, certificates.authority_pem()).await.unwrap();
    (plane, port, authority, platform)
}

impl Environment {
    /// Runs `kubectl` as the administrator and returns what it printed.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args, "").unwrap_or_else(|error| panic!("kubectl {args:?}: {error}"))
    }

    pub(crate) fn try_kubectl(&self, args: &[&str], stdin: &str) -> Result<String, String> {
        run(self.plane.kubectl().args(args), stdin)
    }

    /// Runs `kubectl` as the administrator and returns what it printed, and the requests that it says it sent.
    pub(crate) fn traced_kubectl(&self, args: &[&str]) -> (String, Vec<String>) {
        let output = self.plane.kubectl().args(args).arg("-v=6").output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let told = text(output.stderr);
        assert!(output.status.success(), "kubectl {args:?}: {told}");
        let urls = told.lines().filter(|line| line.contains("\"Response\"")).filter_map(|line| {
            let (_, rest) = line.split_once("url=\"")?;
            rest.split_once('"').map(|(url, _)| url.to_owned())
        });
        (text(output.stdout), urls.collect())
    }

    /// Starts `kubectl` as the administrator; what it prints goes to `out`, what it tells of itself to `told`.
    pub(crate) fn start_kubectl(&self, args: &[&str], name: &str) -> Running {
        let file = |suffix: &str| self.plane.directory().join(format!("{name}.{suffix}"));
        let (out, told) = (file("out"), file("told"));
        let mut command = self.plane.kubectl();
        command.args(args).arg("-v=8");
        command.stdout(std::fs::File::create(&out).unwrap()).stderr(std::fs::File::create(&told).unwrap());
        Running { child: command.spawn().unwrap(), out, told }
    }

    /// `kubectl` as another user.
    pub(crate) fn kubectl_as(&self, user: &str, args: &[&str], stdin: &str) -> Result<String, String> {
        let kubeconfig = self.plane.kubeconfig_for(user, None).unwrap();
        let mut command = self.plane.kubectl();
        run(command.arg("--kubeconfig").arg(kubeconfig).args(args), stdin)
    }

    pub(crate) fn create(&self, manifest: &Value) -> Result<String, String> {
        self.try_kubectl(&["create", "-f", "-"], &manifest.to_string())
    }

    pub(crate) fn namespace(&self, name: &str) {
        self.kubectl(&["create", "namespace", name]);
    }

    /// Writes a restore point, or its content, as the platform would.
    pub(crate) fn put(&self, plural: &str, namespace: &str, name: &str, labels: &[(&str, &str)]) {
        self.put_in_state(plural, namespace, name, labels, "Bound");
    }

    pub(crate) fn put_in_state(
        &self,
        plural: &str,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        state: &str,
    ) {
        let kind = find_kind("apps.kio.kasten.io", plural).unwrap();
        let spec = match plural {
            "restorepoints" => json!({"restorePointContentRef": {"name": format!("{namespace}-{name}")}}),
            _ => json!({}),
        };
        let body = json!({"spec": spec, "status": {"state": state}});
        let row = Row {
            kind: RowKind::new(kind.row_kind()),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: format!("uid-{namespace}-{name}"),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            created: WallClock.now(),
            class: Class::Local,
            body: serde_json::to_vec(&body).unwrap(),
        };
        let database = self.platform.catalog().unwrap();
        database.commit(&Actor::new("test"), vec![Change::put(row)]).unwrap();
    }

    /// Removes a restore point as the platform would.
    pub(crate) fn remove(&self, namespace: &str, name: &str) {
        let kind = find_kind("apps.kio.kasten.io", "restorepoints").unwrap();
        let key = RowKey::new(RowKind::new(kind.row_kind()), namespace, name);
        let database = self.platform.catalog().unwrap();
        database.commit(&Actor::new("test"), vec![Change::delete(key)]).unwrap();
    }
}

/// A `kubectl` that runs. Dropping it ends it.
pub(crate) struct Running {
    child: Child,
    out: PathBuf,
    told: PathBuf,
}

impl Running {
    /// Waits until it has printed a line that holds all of `words`.
    pub(crate) fn await_line(&self, words: &[&str]) {
        eventually(&format!("a line with {words:?}"), || {
            let holds_all = |line: &str| words.iter().all(|word| line.contains(word));
            self.printed().lines().any(holds_all).then_some(())
        });
    }

    /// Waits until it has asked for a watch: what it waits for was not so when it looked.
    pub(crate) fn await_watch(&self) {
        eventually("kubectl watches", || {
            let told = std::fs::read_to_string(&self.told).unwrap();
            told.lines().any(|line| line.contains("watch=true")).then_some(())
        });
    }

    pub(crate) fn printed(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end and says whether it was a good one.
    pub(crate) fn ended_well(&mut self) -> bool {
        eventually("kubectl ends", || self.child.try_wait().unwrap()).success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn run(command: &mut std::process::Command, stdin: &str) -> Result<String, String> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Asks until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let found = (0..ROUNDS)
        .find_map(|_| runtime.block_on(keelson_testkit::eventually(what, async || Ok(ask()))).ok());
    found.unwrap_or_else(|| panic!("waited in vain: {what}"))
}
