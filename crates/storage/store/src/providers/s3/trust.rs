//! Whose certificates a server may show.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Whom to believe that a server is the one that was meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trust {
    /// The authorities of the operating system.
    #[default]
    System,
    /// Those, and the certificates of a PEM bundle.
    SystemAnd(Vec<u8>),
    /// Anybody: the profile says so. Who sits between can read and change what is sealed, and take the credentials.
    Anyone,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ReadTrustError {
    #[error("the bundle of certificates is not PEM")]
    ParseBundle { source: rustls::pki_types::pem::Error },
    #[error("a certificate of the bundle cannot be an authority")]
    AddAuthority { source: rustls::Error },
    #[error("the bundle of certificates is empty")]
    EmptyBundle,
    #[error("set up TLS")]
    SetUp { source: rustls::Error },
}

impl Trust {
    pub(super) fn client_config(&self) -> Result<ClientConfig, ReadTrustError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|source| ReadTrustError::SetUp { source })?;
        let bundle = match self {
            Self::System => &[][..],
            Self::SystemAnd(bundle) => bundle,
            Self::Anyone => {
                let verifier = Arc::new(AcceptAnyone(provider));
                return Ok(builder
                    .dangerous()
                    .with_custom_certificate_verifier(verifier)
                    .with_no_client_auth());
            }
        };
        let mut roots = RootCertStore::empty();
        // A machine may have none, and a certificate among them that cannot be read harms only its own servers.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if *self != Self::System {
            add_bundle(&mut roots, bundle)?;
        }
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

fn add_bundle(roots: &mut RootCertStore, bundle: &[u8]) -> Result<(), ReadTrustError> {
    let mut empty = true;
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        let certificate = certificate.map_err(|source| ReadTrustError::ParseBundle { source })?;
        roots.add(certificate).map_err(|source| ReadTrustError::AddAuthority { source })?;
        empty = false;
    }
    if empty { Err(ReadTrustError::EmptyBundle) } else { Ok(()) }
}

/// Checks that the server holds the key of the certificate it shows, not whose that is.
#[derive(Debug)]
struct AcceptAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
