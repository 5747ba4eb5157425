//! Our serving certificates: an authority made when the process starts, and what it signs.
//!
//! The authority's key never leaves memory. Its certificate goes into our APIServices, so nobody else needs to know
//! it, and nothing has to be stored, mounted or cleaned up.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use keelson_model::{Classified, ErrorClass};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::authentication::{AnyClientCertificate, crypto_provider};
use crate::limits::{AUTHORITY_LIFE, SERVING_LIFE, SERVING_RENEW_AFTER};

/// A certificate cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("make the key of {what}")]
    GenerateKey {
        what: &'static str,
        #[source]
        source: rcgen::Error,
    },
    #[error("sign the certificate of {what}")]
    Sign {
        what: &'static str,
        #[source]
        source: rcgen::Error,
    },
    #[error("configure TLS")]
    ConfigureTls {
        #[source]
        source: rustls::Error,
    },
}

impl Classified for CertificateError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Bug
    }

    fn code(&self) -> &'static str {
        "extension.certificate"
    }
}

/// The authority and the certificate that it last signed.
pub struct ServingCertificates {
    issuer: Issuer<'static, KeyPair>,
    authority_pem: String,
    names: Vec<String>,
    serving: ArcSwap<Serving>,
}

struct Serving {
    config: Arc<ServerConfig>,
    since: Timestamp,
}

impl std::fmt::Debug for ServingCertificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServingCertificates").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ServingCertificates {
    /// Makes an authority and a first certificate for `names`, beside `localhost`.
    pub fn generate(names: &[String], now: Timestamp) -> Result<Self, CertificateError> {
        let what = "the serving authority";
        let key = KeyPair::generate().map_err(|source| CertificateError::GenerateKey { what, source })?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "keelson-serving-authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        set_life(&mut params, now, AUTHORITY_LIFE);
        let authority = params.self_signed(&key).map_err(|source| CertificateError::Sign { what, source })?;
        let mut names = names.to_vec();
        names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        let issuer = Issuer::new(params, key);
        let config = sign_config(&issuer, &names, now)?;
        let serving = ArcSwap::from_pointee(Serving { config, since: now });
        Ok(Self { issuer, authority_pem: authority.pem(), names, serving })
    }

    /// What clients must trust, as PEM.
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// Signs a new serving certificate under the same authority. New connections get it, old ones go on.
    pub fn renew(&self, now: Timestamp) -> Result<(), CertificateError> {
        let config = sign_config(&self.issuer, &self.names, now)?;
        self.serving.store(Arc::new(Serving { config, since: now }));
        Ok(())
    }

    /// By the clock that clients judge certificates by: a machine that slept, or whose clock was set, is found out.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        let age = now.duration_since(self.serving.load().since);
        age.unsigned_abs() >= SERVING_RENEW_AFTER
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.serving.load().config)
    }
}

fn sign_config(
    issuer: &Issuer<'static, KeyPair>,
    names: &[String],
    now: Timestamp,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let what = "the extension server";
    let sign = |source| CertificateError::Sign { what, source };
    let key = KeyPair::generate().map_err(|source| CertificateError::GenerateKey { what, source })?;
    let mut params = CertificateParams::new(names.to_vec()).map_err(sign)?;
    params.distinguished_name.push(DnType::CommonName, "keelson-extension");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    set_life(&mut params, now, SERVING_LIFE);
    let certificate: CertificateDer<'static> = params.signed_by(&key, issuer).map_err(sign)?.into();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = crypto_provider();
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| CertificateError::ConfigureTls { source })?
        .with_client_cert_verifier(Arc::new(AnyClientCertificate(provider)))
        .with_single_cert(vec![certificate], key)
        .map_err(|source| CertificateError::ConfigureTls { source })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Whole days are enough. A day of the past is given to clocks that lag.
fn set_life(params: &mut CertificateParams, now: Timestamp, life: std::time::Duration) {
    let day = std::time::Duration::from_secs(24 * 3600);
    let date = |time: Timestamp| {
        let date = time.to_zoned(TimeZone::UTC).date();
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = date(now.saturating_sub(day).unwrap_or(now));
    params.not_after = date(now.saturating_add(life).unwrap_or(now));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days by a clock that stood still, as that of a machine that sleeps, did not count.
    #[test]
    fn a_certificate_is_renewed_after_twenty_days_of_the_wall_clock() {
        let at = |day: i64| Timestamp::from_second(1_750_000_000 + day * 24 * 3600).unwrap();
        let certificates = ServingCertificates::generate(&[], at(0)).unwrap();
        let first = certificates.config();
        assert_eq!([0, 19, 20, 400].map(|day| certificates.is_due(at(day))), [false, false, true, true]);
        certificates.renew(at(20)).unwrap();
        assert!(!Arc::ptr_eq(&first, &certificates.config()));
        assert_eq!([20, 39, 40].map(|day| certificates.is_due(at(day))), [false, false, true]);
        assert!(certificates.is_due(at(0)), "a clock that was set back makes it one of the future");
    }
}
