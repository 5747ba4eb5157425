//! Who asks. The API server authenticates people and accounts and forwards their names in headers; those headers
//! count only on a connection whose client certificate proves that it is the API server's front proxy.
//!
//! The certificate is taken at the handshake and judged at each request, by the authority that is current then.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use keelson_model::{Classified, ErrorClass};
use keelson_protection::User;
use percent_encoding::percent_decode_str;
use rustls::RootCertStore;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Where the API server publishes the authority of its front proxy.
pub(crate) const AUTHENTICATION_NAMESPACE: &str = "kube-system";
pub(crate) const AUTHENTICATION_CONFIG_MAP: &str = "extension-apiserver-authentication";

/// The published authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParseTrustError {
    #[error("the front proxy's authentication has no '{key}'")]
    MissingKey { key: &'static str },
    #[error("decode '{key}' of the front proxy's authentication")]
    DecodeNames {
        key: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("'{name}' of the front proxy's authentication is not a header name")]
    HeaderName {
        name: String,
        #[source]
        source: http::header::InvalidHeaderName,
    },
    #[error("decode the certificates of the front proxy's authority")]
    DecodeCertificates {
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("trust the certificates of the front proxy's authority")]
    AddCertificate {
        #[source]
        source: rustls::Error,
    },
    #[error("build the verifier of the front proxy's certificate")]
    BuildVerifier {
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
}

impl Classified for ParseTrustError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }

    fn code(&self) -> &'static str {
        "extension.front_proxy.malformed"
    }

    fn hint(&self) -> Option<String> {
        Some(format!(
            "the API server writes ConfigMap {AUTHENTICATION_NAMESPACE}/{AUTHENTICATION_CONFIG_MAP} when it runs \
             with --requestheader-client-ca-file; check its flags"
        ))
    }
}

/// The front proxy as the API server publishes it: which certificate it shows, and its headers.
#[derive(Debug)]
pub struct FrontProxyTrust {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Any name will do where empty.
    allowed_names: Vec<String>,
    user_headers: Vec<HeaderName>,
    uid_headers: Vec<HeaderName>,
    group_headers: Vec<HeaderName>,
    extra_prefixes: Vec<String>,
}

/// The current trust, swapped as the API server rotates its authority. Without one nobody is authenticated.
#[derive(Debug, Clone, Default)]
pub struct FrontProxy(Arc<ArcSwapOption<FrontProxyTrust>>);

/// The certificates that a client showed, leaf first, none of them judged yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct PeerCertificates(pub(crate) Arc<[CertificateDer<'static>]>);

impl FrontProxyTrust {
    pub fn parse(config: &ConfigMap) -> Result<Self, ParseTrustError> {
        let authority = text(config, "requestheader-client-ca-file")
            .ok_or(ParseTrustError::MissingKey { key: "requestheader-client-ca-file" })?;
        let user_headers = header_names(config, "requestheader-username-headers")?;
        if user_headers.is_empty() {
            return Err(ParseTrustError::MissingKey { key: "requestheader-username-headers" });
        }
        // No header is believed that is not announced: a front proxy that does not know it lets a client's through.
        let extra_prefixes = names(config, "requestheader-extra-headers-prefix")?.into_iter();
        let extra_prefixes = extra_prefixes.map(|prefix| prefix.to_ascii_lowercase());
        Ok(Self {
            verifier: build_verifier(authority.as_bytes())?,
            allowed_names: names(config, "requestheader-allowed-names")?,
            user_headers,
            uid_headers: header_names(config, "requestheader-uid-headers")?,
            group_headers: header_names(config, "requestheader-group-headers")?,
            extra_prefixes: extra_prefixes.filter(|prefix| !prefix.is_empty()).collect(),
        })
    }

    /// Whether the certificates are the front proxy's.
    fn verifies(&self, peer: &PeerCertificates, now: Timestamp) -> bool {
        let Some((leaf, intermediates)) = peer.0.split_first() else { return false };
        let Ok(seconds) = u64::try_from(now.as_second()) else { return false };
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        if self.verifier.verify_client_cert(leaf, intermediates, now).is_err() {
            return false;
        }
        self.allowed_names.is_empty()
            || common_name(leaf).is_some_and(|name| self.allowed_names.contains(&name))
    }

    fn user(&self, headers: &HeaderMap) -> Option<User> {
        let name = first(headers, &self.user_headers)?;
        let uid = first(headers, &self.uid_headers).unwrap_or_default();
        let groups = self.group_headers.iter().flat_map(|header| texts(headers, header)).collect();
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for header in headers.keys() {
            let keys = self.extra_prefixes.iter().filter_map(|prefix| header.as_str().strip_prefix(prefix));
            for key in keys {
                // Keys hold slashes, which no header name may; the API server escapes them.
                let key = percent_decode_str(key).decode_utf8().ok()?.into_owned();
                extra.entry(key).or_default().extend(texts(headers, header));
            }
        }
        Some(User { name, uid, groups, extra })
    }
}

impl FrontProxy {
    pub fn replace(&self, trust: FrontProxyTrust) {
        self.0.store(Some(Arc::new(trust)));
    }

    pub fn is_known(&self) -> bool {
        self.0.load().is_some()
    }

    /// Whether the certificates are the front proxy's, as far as it is known.
    pub(crate) fn is_shown_by(&self, peer: &PeerCertificates, now: Timestamp) -> bool {
        self.0.load().as_ref().is_some_and(|trust| trust.verifies(peer, now))
    }

    /// The user whom the front proxy forwards. None unless its certificate verifies.
    pub(crate) fn authenticate(
        &self,
        peer: &PeerCertificates,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Option<User> {
        let trust = self.0.load();
        let trust = trust.as_ref()?;
        if trust.verifies(peer, now) { trust.user(headers) } else { None }
    }
}

fn first(headers: &HeaderMap, names: &[HeaderName]) -> Option<String> {
    names.iter().flat_map(|name| texts(headers, name)).find(|text| !text.is_empty())
}

fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> + use<'a> {
    headers.get_all(name).into_iter().filter_map(|value| String::from_utf8(value.as_bytes().to_vec()).ok())
}

fn text<'a>(config: &'a ConfigMap, key: &str) -> Option<&'a str> {
    config.data.as_ref()?.get(key).map(String::as_str).filter(|text| !text.is_empty())
}

fn names(config: &ConfigMap, key: &'static str) -> Result<Vec<String>, ParseTrustError> {
    let Some(text) = text(config, key) else { return Ok(Vec::new()) };
    serde_json::from_str(text).map_err(|source| ParseTrustError::DecodeNames { key, source })
}

fn header_names(config: &ConfigMap, key: &'static str) -> Result<Vec<HeaderName>, ParseTrustError> {
    let parse = |name: String| {
        HeaderName::from_bytes(name.as_bytes()).map_err(|source| ParseTrustError::HeaderName { name, source })
    };
    names(config, key)?.into_iter().map(parse).collect()
}

fn build_verifier(authority: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, ParseTrustError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority) {
        let certificate = certificate.map_err(|source| ParseTrustError::DecodeCertificates { source })?;
        roots.add(certificate).map_err(|source| ParseTrustError::AddCertificate { source })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto_provider())
        .build()
        .map_err(|source| ParseTrustError::BuildVerifier { source })
}

fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?.to_owned();
    names.next().is_none().then_some(name)
}

pub(crate) fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Takes any client certificate whose key the client holds, or none. Whose it is, is judged at each request: so a
/// rotated authority reaches open connections, and a stranger earns a 401 instead of a broken handshake.
#[derive(Debug)]
pub(crate) struct AnyClientCertificate(pub(crate) Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClientCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
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

#[cfg(test)]
mod tests;
