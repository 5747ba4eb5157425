//! The least that a client can be: a connection is one conversation over TLS, and bytes are handed on as they come.
//!
//! It shares the processors with the servers that are measured, so it pools nothing, reads ahead nothing, unpacks nothing
//! and leaves JSON to whoever asks after the clock has stopped. Both sides are asked through it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use keelson_testkit::ControlPlane;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// To them the API server's own fairness does not apply: 200 writers would measure its queues.
const GROUP: &str = "system:masters";
const COMPLAINT_CHARACTERS: usize = 500;

/// One user of the cluster.
pub(super) struct Client {
    connector: TlsConnector,
    address: SocketAddr,
}

impl Client {
    pub(super) fn new(plane: &ControlPlane, user: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(plane.authority().as_bytes())?)?;
        let issued = plane.client_certificate(user, Some(GROUP))?;
        let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .context("set up a client's certificate")?;
        let address = plane.url().strip_prefix("https://").context("the API server speaks TLS")?;
        let address = address.parse().context("read the API server's address")?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), address })
    }

    pub(super) async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address).await.context("connect to the API server")?;
        stream.set_nodelay(true)?;
        let name = ServerName::from(self.address.ip());
        let stream = self.connector.connect(name, stream).await.context("shake hands with the API server")?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.context("open a connection")?;
        let mut driver = JoinSet::new();
        // Why it broke is told by the request that it broke.
        driver.spawn(async move { drop(connection.await) });
        Ok(Connection { sender, host: self.address.to_string(), _driver: driver })
    }
}

/// It is closed when this is dropped.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    _driver: JoinSet<()>,
}

impl Connection {
    /// The body of an answer that has begun.
    pub(super) async fn open(&mut self, path: &str) -> Result<Incoming> {
        self.send(Method::GET, path, Bytes::new()).await.map(Response::into_body)
    }

    /// A whole answer, for which there should be room.
    pub(super) async fn read(&mut self, path: &str, room: usize) -> Result<Vec<u8>> {
        let mut body = self.open(path).await?;
        let mut bytes = Vec::with_capacity(room);
        while let Some(frame) = body.frame().await {
            if let Some(data) = frame.with_context(|| format!("read the answer to {path}"))?.data_ref() {
                bytes.extend_from_slice(data);
            }
        }
        Ok(bytes)
    }

    pub(super) async fn create(&mut self, new: &New) -> Result<Bytes> {
        let answer = self.send(Method::POST, &new.path, new.body.clone()).await?;
        let body = answer.into_body().collect().await.context("read the answer to a create")?;
        Ok(body.to_bytes())
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        let request = Request::builder().method(method).uri(path).header(HOST, &self.host);
        let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(body))?;
        self.sender.ready().await.context("the connection was closed")?;
        let answer = self.sender.send_request(request).await.with_context(|| format!("ask for {path}"))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let complaint = answer.into_body().collect().await.context("read a refusal")?.to_bytes();
        let complaint: String =
            String::from_utf8_lossy(&complaint).chars().take(COMPLAINT_CHARACTERS).collect();
        bail!("{path}: {status}: {complaint}")
    }
}

/// An object to create: where, and its JSON.
#[derive(Debug, Clone)]
pub(super) struct New {
    pub(super) path: String,
    pub(super) body: Bytes,
}
