//! The way to a server that keeps secrets: HTTP/1.1 over TCP or TLS, with our trust, our deadlines and a bound on answers.
//!
//! No redirect is followed: what signs in is for the server that was named and no other. Nothing of a TLS server is read
//! before it has shown who it is.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tower::ServiceExt;
use tower::util::MapErr;
use zeroize::Zeroizing;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the first word of a request to the last of its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The largest secrets that these servers take, with what is around them.
const ANSWER_BYTES_MAX: usize = 1 << 20;

type Tcp = TcpConnector<MapErr<GaiResolver, fn(std::io::Error) -> UnknownName>>;

/// Sends requests to one server.
pub(crate) struct Http {
    client: Client<HttpsConnector<Tcp>, Full<Bytes>>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// The certificates of authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the certificates of the authority are not PEM")]
    ParseBundle { source: rustls::pki_types::pem::Error },
    #[error("a certificate of the authority cannot be one of an authority")]
    AddAuthority { source: rustls::Error },
    #[error("the certificates of the authority are empty")]
    EmptyBundle,
    #[error("set up TLS")]
    SetUp { source: rustls::Error },
}

/// What kept an answer away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    UnknownName,
    Refused,
    TimedOut,
    /// The server's certificate, or that it has none.
    Untrusted,
    Broken,
    TooLarge,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownName => "the host's name is not known",
            Self::Refused => "the connection was refused",
            Self::TimedOut => "no answer came in time",
            Self::Untrusted => "the TLS connection is not trusted",
            Self::Broken => "the connection broke",
            Self::TooLarge => "the answer is larger than 1 MiB",
        })
    }
}

/// No answer came. Holds the text of what was below, never the request.
#[derive(Debug, thiserror::Error)]
#[error("{loss}{detail}")]
pub struct Lost {
    pub loss: Loss,
    detail: String,
}

impl Lost {
    fn plainly(loss: Loss) -> Self {
        Self { loss, detail: String::new() }
    }

    fn of(error: &(dyn Error + 'static)) -> Self {
        let mut loss = Loss::Broken;
        for cause in causes(error) {
            if cause.is::<UnknownName>() {
                loss = Loss::UnknownName;
                break;
            }
            if cause.is::<rustls::Error>() {
                loss = Loss::Untrusted;
                break;
            }
            match cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
                Some(std::io::ErrorKind::ConnectionRefused) => loss = Loss::Refused,
                Some(std::io::ErrorKind::TimedOut) => loss = Loss::TimedOut,
                Some(_) | None => {}
            }
        }
        let innermost = causes(error).last().map(ToString::to_string);
        Self { loss, detail: innermost.map(|text| format!(" ({text})")).unwrap_or_default() }
    }
}

impl Http {
    /// Trusts the authorities of the operating system, and those of a PEM bundle.
    pub(crate) fn new(bundle: Option<&[u8]>) -> Result<Self, TrustError> {
        let resolver = GaiResolver::new().map_err(UnknownName as fn(_) -> _);
        let mut tcp = TcpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(client_config(bundle)?);
        let https = builder.https_or_http().enable_http1().wrap_connector(tcp);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(https) })
    }

    pub(crate) async fn exchange(&self, request: http::Request<Full<Bytes>>) -> Result<Answer, Lost> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.exchange_patiently(request)).await;
        answer.unwrap_or_else(|_elapsed| Err(Lost::plainly(Loss::TimedOut)))
    }

    async fn exchange_patiently(&self, request: http::Request<Full<Bytes>>) -> Result<Answer, Lost> {
        let answer = self.client.request(request).await.map_err(|error| Lost::of(&error))?;
        let (parts, mut body) = answer.into_parts();
        // At its full size from the start: what grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES_MAX));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Lost::of(&error))?;
            let Some(data) = frame.data_ref() else { continue };
            if bytes.len() + data.len() > ANSWER_BYTES_MAX {
                return Err(Lost::plainly(Loss::TooLarge));
            }
            bytes.extend_from_slice(data);
        }
        Ok(Answer { status: parts.status.as_u16(), body: bytes })
    }
}

/// A body that is wiped once it was sent.
pub(crate) fn body(bytes: Zeroizing<Vec<u8>>) -> Full<Bytes> {
    Full::new(Bytes::from_owner(bytes))
}

/// `http` or `https`, a host, perhaps a port, and nothing else: what else it could hold is a mistake or a password. Without
/// the slash at its end.
pub(crate) fn plain_address(address: &str) -> Option<&str> {
    let address = address.trim();
    let address = address.strip_suffix('/').unwrap_or(address);
    let uri = address.parse::<http::Uri>().ok()?;
    let schemed = matches!(uri.scheme_str(), Some("http" | "https"));
    let hosted = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    (schemed && hosted && matches!(uri.path(), "" | "/") && uri.query().is_none()).then_some(address)
}

fn client_config(bundle: Option<&[u8]>) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| TrustError::SetUp { source })?;
    let mut roots = RootCertStore::empty();
    // A machine may have none, and a certificate among them that cannot be read harms only its own servers.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(bundle) = bundle {
        add_bundle(&mut roots, bundle)?;
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn add_bundle(roots: &mut RootCertStore, bundle: &[u8]) -> Result<(), TrustError> {
    let mut empty = true;
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        let certificate = certificate.map_err(|source| TrustError::ParseBundle { source })?;
        roots.add(certificate).map_err(|source| TrustError::AddAuthority { source })?;
        empty = false;
    }
    if empty { Err(TrustError::EmptyBundle) } else { Ok(()) }
}

#[derive(Debug, thiserror::Error)]
#[error("look up the host's name")]
struct UnknownName(#[source] std::io::Error);

/// An error and what caused it. What an I/O error wraps is not among its sources, but it is often the cause.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests;
