//! Real sockets: how long a connection may say nothing, and whose place it takes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::ConfigMap;
use keelson_model::{Clock, ManualClock};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::harness::World;
use crate::authentication::{AUTHENTICATION_CONFIG_MAP, FrontProxyTrust, crypto_provider};
use crate::certificates::ServingCertificates;
use crate::extension::Looks;
use crate::server::{Bounds, Farewell};

/// Much longer than any test takes.
pub(super) const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(200);
/// What a client waits for an answer before the test has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

const BOUNDS: Bounds = Bounds {
    newcomers: 2,
    front_proxy: 1,
    strangers: 2,
    first_request: LONG,
    stranger_life: LONG,
    request: LONG,
    farewell: Farewell::USUAL,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
const REQUEST: &[u8] = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// An authority that signs for front proxies.
pub(super) type Proxies = CertifiedIssuer<'static, KeyPair>;

/// A server, and what is needed to reach it.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    pub(super) certificates: Arc<ServingCertificates>,
    pub(super) proxies: Proxies,
    pub(super) world: Arc<World>,
    pub(super) tasks: JoinSet<()>,
}

/// Clients judge certificates by the clock that the server goes by.
#[derive(Debug)]
struct WorldTime(Arc<ManualClock>);

impl TimeProvider for WorldTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

pub(super) fn proxies() -> Proxies {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// As the API server publishes the authority of its front proxy.
pub(super) fn published(authority: &str) -> ConfigMap {
    let data = [
        ("requestheader-client-ca-file", authority),
        ("requestheader-username-headers", r#"["X-Remote-User"]"#),
    ];
    let data = data.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut config = ConfigMap { data: Some(data.into()), ..ConfigMap::default() };
    config.metadata.name = Some(AUTHENTICATION_CONFIG_MAP.to_owned());
    config
}

pub(super) fn trust_in(authority: &str) -> FrontProxyTrust {
    FrontProxyTrust::parse(&published(authority)).unwrap()
}

impl Served {
    pub(super) async fn start(bounds: Bounds) -> Self {
        Self::start_looking(bounds, Looks::default()).await
    }

    pub(super) async fn start_looking(bounds: Bounds, looks: Looks) -> Self {
        let world = Arc::new(World::start().await);
        let proxies = proxies();
        world.extension.trust(trust_in(&proxies.pem()));
        let certificates = Arc::new(ServingCertificates::generate(&[], world.clock.now()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        let (serving, shown) = (Arc::clone(&world), Arc::clone(&certificates));
        tasks.spawn(async move { serving.extension.serve_within(bounds, looks, listener, shown).await });
        Self { address, certificates, proxies, world, tasks }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(super) async fn stranger(&self) -> std::io::Result<TlsStream<TcpStream>> {
        self.stranger_trusting(&self.certificates.authorities_pem()).await
    }

    /// Somebody who was told of these authorities, as PEM, and of no others.
    pub(super) async fn stranger_trusting(&self, authorities: &str) -> std::io::Result<TlsStream<TcpStream>> {
        self.handshake(self.client(authorities).with_no_client_auth()).await
    }

    pub(super) async fn front_proxy(&self) -> std::io::Result<TlsStream<TcpStream>> {
        self.front_proxy_of(&self.proxies).await
    }

    async fn front_proxy_of(&self, proxies: &Proxies) -> std::io::Result<TlsStream<TcpStream>> {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, proxies).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let client = self.client(&self.certificates.authorities_pem());
        let config = client.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap();
        self.handshake(config).await
    }

    /// A connection as the aggregator keeps it.
    pub(super) async fn aggregator(&self) -> SendRequest<Body> {
        self.aggregator_of(&self.proxies).await
    }

    /// The same with a certificate of this authority.
    pub(super) async fn aggregator_of(&self, proxies: &Proxies) -> SendRequest<Body> {
        let stream = TokioIo::new(self.front_proxy_of(proxies).await.unwrap());
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio_util::task::TaskTracker::new().spawn(connection);
        sender
    }

    fn client(
        &self,
        authorities: &str,
    ) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
            roots.add(authority.unwrap()).unwrap();
        }
        let time = Arc::new(WorldTime(Arc::clone(&self.world.clock)));
        ClientConfig::builder_with_details(crypto_provider(), time)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
    }

    async fn handshake(&self, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.connect().await).await
    }
}

pub(super) fn request(method: &str, path: &str, user: &str, body: Body) -> Request<Body> {
    let request = Request::builder().method(method).uri(format!("https://localhost{path}"));
    let request = request.header("x-remote-user", user).header(CONTENT_TYPE, "application/json");
    request.body(body).unwrap()
}

pub(super) async fn ask(sender: &mut SendRequest<Body>, path: &str) -> Response<Incoming> {
    sender.send_request(request("GET", path, "prober", Body::empty())).await.unwrap()
}

/// Whether the server closes the connection rather than let it wait.
async fn is_closed(stream: &mut (impl AsyncReadExt + Unpin)) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.is_ok()
}

/// Whether a request is answered.
async fn is_answered(stream: &mut TlsStream<TcpStream>) -> bool {
    if stream.write_all(REQUEST).await.is_err() {
        return false;
    }
    let mut answer = [0; 12];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await;
    read.expect("an answer or an end").is_ok() && answer == *b"HTTP/1.1 200"
}

/// Asks over new connections until one is answered: a place becomes free a moment after its connection ended.
async fn is_answered_soon(served: &Served) -> bool {
    let asking = async {
        loop {
            if let Ok(mut stream) = served.stranger().await
                && is_answered(&mut stream).await
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.is_ok()
}

/// They held a place each for as long as they liked.
#[tokio::test]
async fn a_connection_over_which_no_request_comes_is_closed() {
    // A handshake fits into it, on a machine that has other things to do.
    let served = Served::start(Bounds { first_request: Duration::from_secs(2), ..BOUNDS }).await;
    assert!(is_closed(&mut served.connect().await).await, "no handshake");
    for (what, sent) in [
        ("nothing", &b""[..]),
        ("half a line", b"GET /rea"),
        ("half a preface", &PREFACE[..9]),
        ("a preface", PREFACE),
    ] {
        let mut stream = served.stranger().await.unwrap();
        stream.write_all(sent).await.unwrap();
        assert!(is_closed(&mut stream).await, "{what}");
        let mut proxy = served.front_proxy().await.unwrap();
        proxy.write_all(sent).await.unwrap();
        assert!(is_closed(&mut proxy).await, "{what} of the front proxy");
    }
    assert!(is_answered_soon(&served).await);
}

#[tokio::test]
async fn a_connection_goes_on_after_its_first_request() {
    // Long enough for a handshake on a machine that has other things to do.
    let first_request = Duration::from_secs(2);
    let served = Served::start(Bounds { first_request, ..BOUNDS }).await;
    let mut proxy = served.front_proxy().await.unwrap();
    assert!(is_answered(&mut proxy).await);
    // By then a connection that was opened later has been closed for its silence.
    assert!(is_closed(&mut served.stranger().await.unwrap()).await);
    let mut rest = vec![0; 1024];
    tokio::time::timeout(SHORT, proxy.read(&mut rest)).await.map_or(Ok(1), |read| read).unwrap();
    assert!(is_answered_after_rest(&mut proxy).await);
}

/// The rest of the first answer lies before the second.
async fn is_answered_after_rest(stream: &mut TlsStream<TcpStream>) -> bool {
    if stream.write_all(REQUEST).await.is_err() {
        return false;
    }
    let mut seen = Vec::new();
    let reading = async {
        let mut chunk = [0; 256];
        while !seen.windows(12).any(|window| window == b"HTTP/1.1 200") {
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return false,
                Ok(read) => seen.extend_from_slice(&chunk[..read]),
            }
        }
        true
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("an answer or an end")
}

#[tokio::test]
async fn strangers_take_the_places_of_older_strangers_and_never_of_the_front_proxy() {
    let served = Served::start(BOUNDS).await;
    let mut proxy = served.front_proxy().await.unwrap();
    assert!(is_answered(&mut proxy).await);
    let mut strangers = Vec::new();
    for _ in 0..=BOUNDS.strangers {
        let mut stranger = served.stranger().await.unwrap();
        assert!(is_answered(&mut stranger).await, "nobody finds the door shut");
        strangers.push(stranger);
    }
    assert!(is_closed(&mut strangers[0]).await, "the oldest had to go");
    for stranger in &mut strangers[1..] {
        assert!(is_answered_after_rest(stranger).await);
    }
    assert!(is_answered_after_rest(&mut proxy).await);
}

/// They shut everybody else out for ten seconds, and the API server found us unavailable.
#[tokio::test]
async fn connections_that_never_come_to_the_end_of_their_handshake_shut_nobody_out() {
    let served = Served::start(BOUNDS).await;
    let mut newcomers = Vec::new();
    for _ in 0..4 * BOUNDS.newcomers {
        newcomers.push(served.connect().await);
    }
    let mut proxy = served.front_proxy().await.unwrap();
    assert!(is_answered(&mut proxy).await);
    assert!(is_closed(&mut newcomers[0]).await, "the oldest had to go");
    for _ in 0..4 * BOUNDS.newcomers {
        newcomers.push(served.connect().await);
    }
    assert!(is_answered_after_rest(&mut proxy).await, "those that are done with it go on");
    assert!(is_answered(&mut served.stranger().await.unwrap()).await);
}

#[tokio::test]
async fn a_stranger_is_not_listened_to_for_ever() {
    let served = Served::start(Bounds { stranger_life: Duration::from_secs(2), ..BOUNDS }).await;
    let mut stranger = served.stranger().await.unwrap();
    let asking = async { while is_answered_after_rest(&mut stranger).await {} };
    assert!(tokio::time::timeout(PATIENCE, asking).await.is_ok());
}
