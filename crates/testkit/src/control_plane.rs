//! A whole Kubernetes control plane in a temporary directory: etcd, API server, controller manager.
//!
//! No node and no scheduler, unless `nodes` adds them: pods stay pending. Everything the API does by itself is real: RBAC,
//! admission, aggregation, garbage collection, namespaces' end. Nothing needs root, and nothing is left behind
//! (`supervisor`). An extension server on loopback is reached through a Service of type `ExternalName`.

mod audit;
mod kubeconfig;
mod pki;
mod reuse;
mod seat;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::sync::OnceCell;

use self::audit::Audit;
use self::kubeconfig::Identity;
use self::pki::Pki;
pub use self::pki::{ClientCertificate, FRONT_PROXY, ServerCertificate};
pub use self::reuse::{Planes, ReusedPlane};
pub(crate) use self::seat::Seat;
use crate::ports::{free_port, free_port_at};
use crate::programs::{Programs, testbed_program};
use crate::supervisor::{Detached, Program, Supervisor};

const ETCD: &str = "etcd";
const API_SERVER: &str = "kube-apiserver";
const CONTROLLER_MANAGER: &str = "kube-controller-manager";

/// A start takes three seconds on an idle machine; a loaded one with two cores may need twenty times that, and stand still for
/// a while besides.
const START_TIMEOUT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(50);
/// Ports are free when looked at; another program may still be quicker.
const START_ATTEMPTS: usize = 3;
/// Longer than any test.
const TOKEN_SECONDS: i64 = 6 * 60 * 60;

/// A running control plane. Dropping it kills its servers and deletes its data.
pub struct ControlPlane {
    supervisor: Supervisor,
    programs: Programs,
    pki: Pki,
    url: String,
    kubeconfig: PathBuf,
    manner: Manner,
}

/// In which ways a control plane differs from the others.
#[derive(Debug, Clone, Copy)]
struct Manner {
    audit: Audit,
    etcd: Etcd,
    seat: Seat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Etcd {
    /// What is lost with the machine is lost with the test.
    Hasty,
    /// Flushes each write to the disk, as outside of tests.
    Durable,
}

const AS_USUAL: Manner = Manner { audit: Audit::Off, etcd: Etcd::Hasty, seat: Seat::Loopback };

impl ControlPlane {
    /// Starts one in a directory of its own below `TMPDIR` and waits until it serves.
    pub async fn start() -> Result<Self> {
        Self::start_as(AS_USUAL).await
    }

    /// One that notes what accounts ask it for, so that it can tell what it `refused` them.
    pub async fn start_audited() -> Result<Self> {
        Self::start_as(Manner { audit: Audit::OfAccounts, ..AS_USUAL }).await
    }

    /// One that flushes what it is told to the disk before it says so, for whoever measures it.
    pub async fn start_durable() -> Result<Self> {
        Self::start_as(Manner { etcd: Etcd::Durable, ..AS_USUAL }).await
    }

    async fn start_as(manner: Manner) -> Result<Self> {
        let programs = Programs::locate()?;
        for _ in 1..START_ATTEMPTS {
            match Self::start_with(programs.clone(), Supervisor::start("control-plane")?, manner).await {
                Err(error) if format!("{error:#}").contains("address already in use") => {}
                other => return other,
            }
        }
        Self::start_with(programs, Supervisor::start("control-plane")?, manner).await
    }

    /// Starts one in `directory`, which it owns from now on.
    pub async fn start_in(directory: PathBuf) -> Result<Self> {
        Self::start_with(Programs::locate()?, Supervisor::start_in(directory)?, AS_USUAL).await
    }

    /// Starts one whose nodes, pods and services have addresses, in the directory of `supervisor`, beside what runs there.
    pub(crate) async fn start_among_nodes(supervisor: Supervisor, seat: Seat) -> Result<Self> {
        Self::start_with(Programs::locate()?, supervisor, Manner { seat, ..AS_USUAL }).await
    }

    /// The one that all tests of this process share; each works in namespaces of its own.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    async fn start_with(programs: Programs, supervisor: Supervisor, manner: Manner) -> Result<Self> {
        let address = manner.seat.address();
        let port = free_port_at(address.into())?;
        let url = format!("https://{address}:{port}");
        let pki = Pki::create(supervisor.directory().join("pki"), &manner.seat.names())?;
        let admin = pki.sign_client("admin", Some("system:masters"))?;
        let kubeconfig = supervisor.directory().join("kubeconfig");
        kubeconfig::write(&kubeconfig, &url, &pki.authority(), &Identity::Certificate(&admin))?;

        let mut plane = Self { supervisor, programs, pki, url, kubeconfig, manner };
        manner.audit.prepare(plane.directory())?;
        let (etcd, etcd_url) = plane.etcd()?;
        plane.supervisor.run(ETCD, &etcd)?;
        plane.supervisor.run(API_SERVER, &plane.api_server(port, &etcd_url))?;
        let client = plane.client().await?;
        plane.wait_for_readiness(&client, &[ETCD, API_SERVER]).await?;
        // Started only now: it gives up when it finds no API server within ten seconds.
        plane.supervisor.run(CONTROLLER_MANAGER, &plane.controller_manager())?;
        plane.wait_for_service_account(&client).await?;
        Ok(plane)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The administrator's kubeconfig (group `system:masters`).
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A new client of the administrator. Connections belong to the calling runtime: one client a test.
    pub async fn client(&self) -> Result<Client> {
        client_of(&self.kubeconfig).await
    }

    /// Writes a kubeconfig for another user, who has the rights that RBAC gives to the name and the group.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let certificate = self.client_certificate(user, group)?;
        let path = self.directory().join(format!("kubeconfig-{}", user.replace('/', "_")));
        kubeconfig::write(&path, &self.url, &self.pki.authority(), &Identity::Certificate(&certificate))?;
        Ok(path)
    }

    /// Writes a kubeconfig with a token of a ServiceAccount, as its pods have one. It is worth nothing any more once the
    /// account is gone.
    pub async fn kubeconfig_of_account(&self, namespace: &str, account: &str) -> Result<PathBuf> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let spec =
            TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await;
        let answer = answer.with_context(|| format!("ask for a token of '{namespace}/{account}'"))?;
        let token = answer.status.and_then(|status| status.token).context("the answer holds no token")?;
        let path = self.directory().join(format!("kubeconfig-{namespace}-{account}"));
        kubeconfig::write(&path, &self.url, &self.pki.authority(), &Identity::Token(&token))?;
        Ok(path)
    }

    /// What the API server refused to accounts themselves, but those of its own controllers: each request with its reason,
    /// once. What they ask for in the name of others does not count.
    pub fn refused(&self) -> Result<Vec<String>> {
        self.manner.audit.refused(self.directory())
    }

    pub async fn client_for(&self, user: &str, group: Option<&str>) -> Result<Client> {
        client_of(&self.kubeconfig_for(user, group)?).await
    }

    pub fn client_certificate(&self, user: &str, group: Option<&str>) -> Result<ClientCertificate> {
        self.pki.sign_client(user, group)
    }

    /// A certificate of the front proxy's authority: what the aggregator shows to extension servers bears the name
    /// `FRONT_PROXY`.
    pub fn front_proxy_certificate(&self, name: &str) -> Result<ClientCertificate> {
        self.pki.sign_front_proxy(name)
    }

    /// The authority that signs the API server and its clients, in PEM.
    pub fn authority(&self) -> String {
        self.pki.authority()
    }

    /// `kubectl` as the administrator.
    pub fn kubectl(&self) -> Command {
        self.kubectl_of(&self.programs.kubectl)
    }

    /// The `kubectl` of two minor versions before, as the administrator. Built when first asked for.
    pub fn previous_kubectl(&self) -> Result<Command> {
        Ok(self.kubectl_of(&testbed_program("kubectl-previous")?))
    }

    fn kubectl_of(&self, program: &Path) -> Command {
        let mut kubectl = Command::new(program);
        kubectl.arg("--kubeconfig").arg(&self.kubeconfig);
        // Its discovery cache is keyed by host and port, which other control planes reuse.
        kubectl.arg("--cache-dir").arg(self.directory().join("kubectl-cache"));
        kubectl
    }

    /// Where the servers keep their data, logs (`kube-apiserver.log`, …) and certificates.
    pub fn directory(&self) -> &Path {
        self.supervisor.directory()
    }

    /// Kills the servers with SIGKILL, deletes their data and returns when both are gone. Dropping does the same.
    pub async fn stop(self) -> Result<()> {
        tokio::task::spawn_blocking(move || drop(self)).await.context("stop the control plane")
    }

    /// Kills the API server alone; `resume` brings it back with its data.
    pub fn interrupt(&self) -> Result<()> {
        self.supervisor.kill(API_SERVER)
    }

    /// Starts again, with the data they had, whichever servers do not run.
    pub async fn resume(&mut self) -> Result<()> {
        for name in [ETCD, API_SERVER, CONTROLLER_MANAGER] {
            if !self.supervisor.is_running(name) {
                self.supervisor.rerun(name)?;
            }
        }
        self.wait_for_readiness(&self.client().await?, &[ETCD, API_SERVER]).await
    }

    /// Kills the controller manager and starts another, which knows nothing of what the first one saw.
    pub fn restart_controllers(&mut self) -> Result<()> {
        self.supervisor.kill(CONTROLLER_MANAGER)?;
        self.supervisor.rerun(CONTROLLER_MANAGER)
    }

    /// The process of the controller manager.
    pub fn controllers_process(&self) -> Result<u32> {
        self.supervisor.process_id(CONTROLLER_MANAGER).context("the controller manager has ended")
    }

    /// The processes of the API server and of etcd.
    pub fn serving_processes(&self) -> Result<[u32; 2]> {
        let process = |name| self.supervisor.process_id(name).with_context(|| format!("{name} has ended"));
        Ok([process(API_SERVER)?, process(ETCD)?])
    }

    pub(crate) fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// For whoever runs more in the same directory, which then ends with the control plane.
    pub(crate) fn supervisor_mut(&mut self) -> &mut Supervisor {
        &mut self.supervisor
    }

    pub(crate) fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Lets the servers outlive this process.
    pub fn detach(self) -> Result<Detached> {
        self.supervisor.detach()
    }

    fn etcd(&self) -> Result<(Program, String)> {
        let client = format!("http://127.0.0.1:{}", free_port()?);
        let peer = format!("http://127.0.0.1:{}", free_port()?);
        let program = Program::new(&self.programs.etcd)
            .arg("--data-dir")
            .arg(self.directory().join("etcd"))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=default={peer}"))
            .arg("--log-level=warn");
        let program = match self.manner.etcd {
            Etcd::Hasty => program.arg("--unsafe-no-fsync"),
            Etcd::Durable => program,
        };
        Ok((program, client))
    }

    fn api_server(&self, port: u16, etcd_url: &str) -> Program {
        let file = |flag: &str, name: &str| {
            let mut word = OsString::from(format!("--{flag}="));
            word.push(self.pki.file(name));
            word
        };
        let program = Program::new(&self.programs.kube_apiserver)
            .arg(format!("--etcd-servers={etcd_url}"))
            .args(self.manner.seat.api_server_flags())
            .arg(format!("--secure-port={port}"))
            .args(["--allow-privileged=true", "--profiling=false"])
            .arg(file("tls-cert-file", "apiserver.crt"))
            .arg(file("tls-private-key-file", "apiserver.key"))
            .arg(file("client-ca-file", "ca.crt"))
            .arg(file("service-account-key-file", "service-accounts.pub"))
            .arg(file("service-account-signing-key-file", "service-accounts.key"))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(file("requestheader-client-ca-file", "front-proxy-ca.crt"))
            .args(["--requestheader-allowed-names=front-proxy-client"])
            .args(["--requestheader-username-headers=X-Remote-User"])
            .args(["--requestheader-group-headers=X-Remote-Group"])
            .args(["--requestheader-extra-headers-prefix=X-Remote-Extra-"])
            .arg(file("proxy-client-cert-file", "front-proxy.crt"))
            .arg(file("proxy-client-key-file", "front-proxy.key"))
            .arg(file("kubelet-client-certificate", "kubelet-client.crt"))
            .arg(file("kubelet-client-key", "kubelet-client.key"));
        program.args(self.manner.audit.flags(self.directory()))
    }

    fn controller_manager(&self) -> Program {
        Program::new(&self.programs.kube_controller_manager)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--service-account-private-key-file")
            .arg(self.pki.file("service-accounts.key"))
            .arg("--root-ca-file")
            .arg(self.pki.file("ca.crt"))
            .arg("--cluster-signing-cert-file")
            .arg(self.pki.file("ca.crt"))
            .arg("--cluster-signing-key-file")
            .arg(self.pki.file("ca.key"))
            // It would make the usual folder, on this machine.
            .arg("--flex-volume-plugin-dir")
            .arg(self.directory().join("volume-plugins"))
            .arg(format!("--controllers={}", self.manner.seat.controllers()))
            .args(self.manner.seat.controller_manager_flags().iter().copied())
            // Each controller is an account of its own, as in every cluster that was not made for tests.
            .args(["--leader-elect=false", "--secure-port=0", "--use-service-account-credentials=true"])
            // A test measures how much memory it takes; `./test` lets servers take more than they do elsewhere.
            .env("GOGC", "100")
    }

    async fn wait_for_readiness(&self, client: &Client, servers: &[&str]) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            if client.request_text(request).await.is_ok() {
                return Ok(());
            }
            self.pause(deadline, servers).await?;
        }
    }

    /// A namespace without its service account refuses pods; a person's cluster is past that moment.
    async fn wait_for_service_account(&self, client: &Client) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        // An error so soon after the start is none to give up for.
        while !matches!(accounts.get_opt("default").await, Ok(Some(_))) {
            self.pause(deadline, &[ETCD, API_SERVER, CONTROLLER_MANAGER]).await?;
        }
        Ok(())
    }

    async fn pause(&self, deadline: Instant, servers: &[&str]) -> Result<()> {
        for server in servers {
            if !self.supervisor.is_running(server) {
                bail!("{server} ended:\n{}", self.supervisor.log_tail(server));
            }
        }
        if Instant::now() > deadline {
            let log = servers.last().map(|server| self.supervisor.log_tail(server)).unwrap_or_default();
            bail!("the control plane is not ready after {} s:\n{log}", START_TIMEOUT.as_secs());
        }
        tokio::time::sleep(POLL).await;
        Ok(())
    }
}

async fn client_of(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).context("read the kubeconfig")?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Client::try_from(config).context("build a client")
}
