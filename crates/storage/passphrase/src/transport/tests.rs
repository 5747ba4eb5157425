//! What answers instead of the server that was meant, and how it is told.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::scripted::Scripted;

async fn get(http: &Http, address: &str) -> Result<Answer, Lost> {
    http.exchange(http::Request::get(format!("{address}/v1")).body(Full::default()).unwrap()).await
}

#[tokio::test]
async fn what_keeps_an_answer_away_is_told_apart() {
    let http = Http::new(None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(get(&http, &free).await.err().unwrap().loss, Loss::Refused);
    assert_eq!(get(&http, "http://nowhere.invalid").await.err().unwrap().loss, Loss::UnknownName);

    let large = Scripted::start(|_| (200, "x".repeat(ANSWER_BYTES_MAX + 1))).await;
    assert_eq!(get(&http, &large.address).await.err().unwrap().loss, Loss::TooLarge);
    let full = Scripted::start(|_| (200, "x".repeat(ANSWER_BYTES_MAX))).await;
    assert_eq!(get(&http, &full.address).await.ok().unwrap().body.len(), ANSWER_BYTES_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_left_in_the_end() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let lost = get(&Http::new(None).unwrap(), &address).await.err().unwrap();
    assert_eq!(lost.loss, Loss::TimedOut);
}

/// An authority of its own and a server that it vouches for, as `localhost`.
fn private_authority() -> (String, TlsAcceptor) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    (authority.pem(), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_private_authority_is_trusted_once_it_is_given_and_for_its_names_only() {
    let (authority, acceptor) = private_authority();
    let server = Scripted::start_secured(acceptor, |_| (200, "told".to_owned())).await;
    let stranger = Http::new(None).unwrap();
    assert_eq!(get(&stranger, &server.address).await.err().unwrap().loss, Loss::Untrusted);
    assert!(server.heard().is_empty(), "nothing is said to a server that is not trusted");

    let trusting = Http::new(Some(authority.as_bytes())).unwrap();
    assert_eq!(get(&trusting, &server.address).await.ok().unwrap().body.as_slice(), b"told");
    let otherwise = server.address.replace("localhost", "127.0.0.1");
    assert_eq!(get(&trusting, &otherwise).await.err().unwrap().loss, Loss::Untrusted);
}

#[test]
fn an_authority_that_is_none_is_refused() {
    let fault = |bundle: &str| Http::new(Some(bundle.as_bytes())).err().unwrap();
    assert!(matches!(fault(""), TrustError::EmptyBundle));
    let cut = "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n";
    assert!(matches!(fault(cut), TrustError::ParseBundle { .. }));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(fault(garbage), TrustError::AddAuthority { .. }));
}

#[test]
fn an_address_is_a_scheme_a_host_and_perhaps_a_port() {
    for (address, expected) in [
        ("https://vault.vault.svc:8200", Some("https://vault.vault.svc:8200")),
        (" http://127.0.0.1:8200/ ", Some("http://127.0.0.1:8200")),
        ("https://[::1]:8200", Some("https://[::1]:8200")),
        ("vault:8200", None),
        ("ftp://vault", None),
        ("https://user:password@vault", None),
        ("https://vault/v1", None),
        ("https://vault?token=x", None),
        ("https://", None),
        ("", None),
    ] {
        assert_eq!(plain_address(address), expected, "{address}");
    }
}
