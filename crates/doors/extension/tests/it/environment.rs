//! A control plane with a platform beside it: one that all tests of this binary share, each in namespaces of its own,
//! and further ones for tests that harm them.

mod catalog;
mod running;
mod server;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use keelson_extension::{Farewell, Renewed};
use keelson_testkit::ControlPlane;
use serde_json::{Value, json};
use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;

pub(crate) use self::catalog::Held;
pub(crate) use self::running::Running;
use self::server::Server;

pub(crate) const INSTALL_NAMESPACE: &str = "kasten-io";
/// The controllers of a cluster look for new kinds every thirty seconds, and on a busy machine take their time.
const ROUNDS: usize = 3;

#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) plane: Arc<ControlPlane>,
    pub(crate) port: u16,
    /// What a client must trust to reach the server directly.
    pub(crate) authority: PathBuf,
    /// Serves as long as the process lives.
    runtime: Arc<Runtime>,
    server: Arc<Server>,
    kubectl: Kubectl,
}

/// Which `kubectl` a person has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kubectl {
    Current,
    Previous,
}

pub(crate) fn environment() -> &'static Environment {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    ENVIRONMENT.get_or_init(Environment::start)
}

/// A cluster whose server is restarted, whose certificates are renewed and whose journal is cut, for one test at a time.
pub(crate) fn apart() -> MutexGuard<'static, Environment> {
    static APART: LazyLock<Mutex<Environment>> = LazyLock::new(|| Mutex::new(Environment::start()));
    APART.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Environment {
    /// A cluster and a platform of its own.
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (plane, server) = runtime.block_on(async {
            let plane = ControlPlane::start().await.unwrap();
            let install = json!({"metadata": {"name": INSTALL_NAMESPACE}});
            let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> =
                kube::Api::all(plane.client().await.unwrap());
            let install = serde_json::from_value(install).unwrap();
            namespaces.create(&kube::api::PostParams::default(), &install).await.unwrap();
            let server = Server::start(&plane).await;
            (plane, server)
        });
        let environment = Self {
            plane: Arc::new(plane),
            port: server.port,
            authority: server.authority.clone(),
            runtime: Arc::new(runtime),
            server: Arc::new(server),
            kubectl: Kubectl::Current,
        };
        environment.await_service();
        environment.await_versions();
        environment
    }

    fn await_service(&self) {
        eventually("the API server finds us", || {
            self.try_kubectl(&["get", "restorepoints.apps.kio.kasten.io", "-A"], "").is_ok().then_some(())
        });
    }

    /// The API server asks each group and version by itself, and reads what it says of its kinds later still.
    fn await_versions(&self) {
        for version in keelson_extension::group_versions() {
            for path in [format!("/apis/{version}"), format!("/openapi/v3/apis/{version}")] {
                eventually(&format!("the API server has {path}"), || {
                    self.try_kubectl(&["get", "--raw", &path], "").is_ok().then_some(())
                });
            }
        }
    }

    /// Waits until the API server knows of a role that was made just now: `words` are those of `kubectl auth can-i`.
    pub(crate) fn await_right(&self, user: &str, words: &[&str]) {
        let words = [&["auth", "can-i"], words, &["--as", user]].concat();
        eventually(&format!("{user} may"), || self.try_kubectl(&words, "").is_ok().then_some(()));
    }

    /// Ends the server as a deployment would, does something while it is away, and starts another at its place.
    pub(crate) fn restart_server(&mut self, meanwhile: impl FnOnce(&Self)) {
        self.runtime.block_on(self.server.stop());
        meanwhile(self);
        let server = self.runtime.block_on(self.server.anew(&self.plane));
        self.server = Arc::new(server);
        self.await_service();
    }

    /// Lets the server begin to end, does something while the cluster is still sent there, and sends it to another one, which
    /// will take so long to end itself. Whoever comes back meets the one or the other, whenever that is.
    pub(crate) fn replace_server(&mut self, farewell: Farewell, meanwhile: impl FnOnce()) {
        let next = self.runtime.block_on(self.server.beside(&self.plane, farewell));
        self.server.leave();
        meanwhile();
        self.runtime.block_on(next.register(&self.plane));
        self.port = next.port;
        self.server = Arc::new(next);
        self.await_service();
    }

    /// Does what a look at the server's certificates does that was so many days ago, and tells of their authorities.
    pub(crate) fn renew_certificates(&self, days: u64) -> Vec<Renewed> {
        self.runtime.block_on(self.server.renew_certificates(&self.plane, days))
    }

    /// Carries out what was asked for, as `serve` does, while somebody looks on.
    pub(crate) fn work_while(&self, look: impl FnOnce(&Self)) {
        let stop = CancellationToken::new();
        let platform = Arc::clone(&self.server.platform);
        let working = self.runtime.spawn(keelson_protection::run(platform, stop.clone()));
        look(self);
        stop.cancel();
        self.runtime.block_on(working).unwrap();
    }

    /// Kills the controller manager and starts another.
    pub(crate) fn restart_controllers(&mut self) {
        let plane = Arc::get_mut(&mut self.plane).expect("nobody else has this control plane");
        plane.restart_controllers().unwrap();
    }

    /// The same cluster, for a person whose `kubectl` is older.
    pub(crate) fn with_previous_kubectl(&self) -> Self {
        Self { kubectl: Kubectl::Previous, ..self.clone() }
    }

    /// A name that no other test has, nor the same test with another `kubectl`.
    pub(crate) fn own(&self, name: &str) -> String {
        match self.kubectl {
            Kubectl::Current => name.to_owned(),
            Kubectl::Previous => format!("{name}-previous"),
        }
    }

    fn command(&self) -> Command {
        match self.kubectl {
            Kubectl::Current => self.plane.kubectl(),
            Kubectl::Previous => self.plane.previous_kubectl().unwrap(),
        }
    }

    /// Runs `kubectl` as the administrator and returns what it printed.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args, "").unwrap_or_else(|error| panic!("kubectl {args:?}: {error}"))
    }

    pub(crate) fn try_kubectl(&self, args: &[&str], stdin: &str) -> Result<String, String> {
        run(self.command().args(args), stdin)
    }

    /// Runs `kubectl` as the administrator and returns what it printed, and the requests that it says it sent.
    pub(crate) fn traced_kubectl(&self, args: &[&str]) -> (String, Vec<String>) {
        let output = self.command().args(args).arg("-v=6").output().unwrap();
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
        let name = self.own(name);
        let file = |suffix: &str| self.plane.directory().join(format!("{name}.{suffix}"));
        let (out, told) = (file("out"), file("told"));
        let mut command = self.command();
        command.args(args).arg("-v=8");
        command.stdout(std::fs::File::create(&out).unwrap()).stderr(std::fs::File::create(&told).unwrap());
        Running::new(command.spawn().unwrap(), out, told)
    }

    /// `kubectl` as another user.
    pub(crate) fn kubectl_as(&self, user: &str, args: &[&str], stdin: &str) -> Result<String, String> {
        let kubeconfig = self.plane.kubeconfig_for(user, None).unwrap();
        let mut command = self.command();
        run(command.arg("--kubeconfig").arg(kubeconfig).args(args), stdin)
    }

    pub(crate) fn create(&self, manifest: &Value) -> Result<String, String> {
        self.try_kubectl(&["create", "-f", "-"], &manifest.to_string())
    }

    pub(crate) fn namespace(&self, name: &str) {
        self.kubectl(&["create", "namespace", name]);
    }
}

fn run(command: &mut Command, stdin: &str) -> Result<String, String> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Asks until there is an answer, also from within what another call waits for.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    let mut wait = || {
        let waited = keelson_testkit::eventually(what, async || Ok(ask()));
        match Handle::try_current() {
            Ok(handle) => tokio::task::block_in_place(|| handle.block_on(waited)),
            Err(_) => RUNTIME.block_on(waited),
        }
    };
    let found = (0..ROUNDS).find_map(|_| wait().ok());
    found.unwrap_or_else(|| panic!("waited in vain: {what}"))
}
