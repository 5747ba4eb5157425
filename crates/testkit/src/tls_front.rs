//! TLS before a server that speaks without: whoever comes is shown a certificate that an authority of its own has signed,
//! and what is said then is passed on as it is.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::control_plane::ServerCertificate;

/// A running front. Dropping it closes it, with all connections through it.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    authority: String,
    _stop: DropGuard,
}

impl TlsFront {
    /// Opens one that listens at `address` of this machine before the server at `endpoint`, an `http://` URL of a host and
    /// a port.
    pub async fn open(endpoint: &str, address: IpAddr) -> Result<Self> {
        let server = endpoint.strip_prefix("http://").context("the server behind it speaks plain HTTP")?;
        let server = server.to_owned();
        let certificate = ServerCertificate::of_hosts(&[address.to_string()])?;
        let acceptor = TlsAcceptor::from(Arc::new(settings(&certificate)?));
        let listener = TcpListener::bind((address, 0)).await.context("listen before a server")?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let visits = TaskTracker::new();
        let tracker = visits.clone();
        visits.spawn(async move {
            while let Some(Ok((visitor, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let (acceptor, server, stopped) = (acceptor.clone(), server.clone(), stopped.clone());
                tracker.spawn(async move {
                    // A visit that fails is a broken connection to the visitor, who reports it.
                    stopped.run_until_cancelled(pass(&acceptor, visitor, &server)).await
                });
            }
        });
        Ok(Self { address, authority: certificate.authority, _stop: stop.drop_guard() })
    }

    pub fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Who signed its certificate, in PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

async fn pass(acceptor: &TlsAcceptor, visitor: TcpStream, server: &str) -> Result<()> {
    visitor.set_nodelay(true)?;
    let mut visitor = acceptor.accept(visitor).await?;
    let mut server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut visitor, &mut server).await?;
    Ok(())
}

fn settings(certificate: &ServerCertificate) -> Result<ServerConfig> {
    let chain = CertificateDer::from_pem_slice(certificate.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![chain.context("read a certificate")?], key.context("read its key")?)
        .context("set up TLS before a server")
}
