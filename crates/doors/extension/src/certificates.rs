//! Our serving certificates: an authority made when the process starts, and what it signs.
//!
//! No key leaves memory. The certificate of the authority goes into our APIServices, so nobody else needs to know it, and
//! nothing has to be stored, mounted or cleaned up.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use keelson_model::{Classified, ErrorClass};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::authentication::{AnyClientCertificate, crypto_provider};
use crate::limits::{
    AUTHORITY_LIFE, AUTHORITY_RENEW_AFTER, AUTHORITY_TOLD_FOR, CLOCKS_DIFFER_BY, SERVING_LIFE,
    SERVING_RENEW_AFTER,
};

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

/// The authority and the certificate that it last signed. A new authority is told of for a while before it signs, so that
/// nobody meets a certificate of one that he does not know.
pub struct ServingCertificates {
    names: Vec<String>,
    /// Written in place, so that nobody's change is lost. Who listens hears of those by which clients must trust others.
    current: watch::Sender<Current>,
}

pub(crate) struct Current {
    authority: Arc<Authority>,
    successor: Option<Successor>,
    config: Arc<ServerConfig>,
    signed: Timestamp,
}

/// Told of beside the authority, and signs in its place after a while.
#[derive(Clone)]
struct Successor {
    authority: Arc<Authority>,
    /// Since when everybody who must trust it was told of it.
    told: Option<Timestamp>,
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    made: Timestamp,
}

/// What was renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// The serving certificate, under the same authority.
    Serving,
    /// There is a second authority that clients must trust.
    Successor,
    /// The second authority signs, and the first is not told of any more.
    Authority,
    /// An authority that is valid by the clock of now, in place of one that is not.
    Everything,
}

impl Renewed {
    /// Whether clients must trust other authorities than before.
    fn changes_authorities(self) -> bool {
        match self {
            Self::Serving => false,
            Self::Successor | Self::Authority | Self::Everything => true,
        }
    }

    fn tell(self) {
        match self {
            Self::Serving | Self::Successor | Self::Authority => {
                info!(renewed = ?self, "a certificate was renewed");
            }
            Self::Everything => {
                warn!("by the clock of now the authority is not valid: another one was made in its place");
            }
        }
    }
}

impl std::fmt::Debug for ServingCertificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServingCertificates").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ServingCertificates {
    /// Makes an authority and a first certificate for `names`, beside `localhost`.
    pub fn generate(names: &[String], now: Timestamp) -> Result<Self, CertificateError> {
        let mut names = names.to_vec();
        names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        let current = Current::sign(Arc::new(Authority::generate(now)?), None, &names, now)?;
        Ok(Self { names, current: watch::Sender::new(current) })
    }

    /// What clients must trust, as PEM: one authority, or two while the second takes over.
    pub fn authorities_pem(&self) -> String {
        self.current.borrow().authorities_pem()
    }

    /// Hears whenever clients must trust other authorities than before.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Current> {
        self.current.subscribe()
    }

    /// Everybody was told of these authorities. That counts only if they are still the ones whom clients must trust.
    pub fn note_told(&self, authorities_pem: &str, now: Timestamp) {
        self.current.send_if_modified(|current| {
            if current.authorities_pem() == authorities_pem
                && let Some(successor) = &mut current.successor
            {
                // The first time counts, unless it was of a clock that has been set back since.
                successor.told = Some(successor.told.map_or(now, |told| told.min(now)));
            }
            false
        });
    }

    /// Renews what is due, and says so in the log. New connections get it, old ones go on. Answers what was renewed.
    pub fn keep_current(&self, now: Timestamp) -> Result<Vec<Renewed>, CertificateError> {
        let mut all = Vec::new();
        while let Some(renewed) = self.renew_next(now)? {
            renewed.tell();
            all.push(renewed);
        }
        Ok(all)
    }

    fn renew_next(&self, now: Timestamp) -> Result<Option<Renewed>, CertificateError> {
        let mut outcome = Ok(None);
        self.current.send_if_modified(|current| {
            let Some(due) = current.decide_due(now) else { return false };
            match current.renew(due, &self.names, now) {
                Ok(renewed) => {
                    *current = renewed;
                    outcome = Ok(Some(due));
                    due.changes_authorities()
                }
                Err(error) => {
                    outcome = Err(error);
                    false
                }
            }
        });
        outcome
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.borrow().config)
    }
}

impl Current {
    fn sign(
        authority: Arc<Authority>,
        successor: Option<Successor>,
        names: &[String],
        now: Timestamp,
    ) -> Result<Self, CertificateError> {
        let config = sign_config(&authority.issuer, names, now)?;
        Ok(Self { authority, successor, config, signed: now })
    }

    fn authorities_pem(&self) -> String {
        let successor = self.successor.as_ref().map_or("", |successor| successor.authority.pem.as_str());
        format!("{}{successor}", self.authority.pem)
    }

    /// By the clock that clients judge certificates by: a machine that slept, or whose clock was set, is found out. The
    /// serving certificate comes first, so that what is signed is valid whenever something else is told.
    fn decide_due(&self, now: Timestamp) -> Option<Renewed> {
        if !self.authority.is_valid(now) {
            return Some(Renewed::Everything);
        }
        if self.successor.as_ref().is_some_and(|successor| successor.has_waited(now)) {
            return Some(Renewed::Authority);
        }
        if !is_good(self.signed, now, SERVING_RENEW_AFTER) {
            return Some(Renewed::Serving);
        }
        let is_old = !is_good(self.authority.made, now, AUTHORITY_RENEW_AFTER);
        // One of the future may come too late for one that is old now.
        let is_followed = self
            .successor
            .as_ref()
            .is_some_and(|successor| is_good(successor.authority.made, now, AUTHORITY_LIFE));
        (is_old && !is_followed).then_some(Renewed::Successor)
    }

    fn renew(&self, due: Renewed, names: &[String], now: Timestamp) -> Result<Self, CertificateError> {
        let (authority, successor) = (Arc::clone(&self.authority), self.successor.clone());
        match (due, successor) {
            (Renewed::Serving, successor) => Self::sign(authority, successor, names, now),
            (Renewed::Successor, _) => {
                let successor = Successor { authority: Arc::new(Authority::generate(now)?), told: None };
                let (config, signed) = (Arc::clone(&self.config), self.signed);
                Ok(Self { authority, successor: Some(successor), config, signed })
            }
            (Renewed::Authority, Some(successor)) => Self::sign(successor.authority, None, names, now),
            // Whoever was told of it trusts it at once.
            (Renewed::Everything, Some(successor)) if successor.authority.is_valid(now) => {
                Self::sign(successor.authority, None, names, now)
            }
            (Renewed::Authority | Renewed::Everything, _) => {
                Self::sign(Arc::new(Authority::generate(now)?), None, names, now)
            }
        }
    }
}

impl Successor {
    /// Whether it may sign. One of the future, as after a clock was set back, is not valid yet: it waits, however long ago
    /// by that clock everybody was told of it.
    fn has_waited(&self, now: Timestamp) -> bool {
        let Some(told) = self.told else { return false };
        let waited = now.duration_since(told.max(self.authority.made));
        !waited.is_negative() && waited.unsigned_abs() >= AUTHORITY_TOLD_FOR
    }
}

impl Authority {
    /// Also by the clock of whoever is a little ahead.
    fn is_valid(&self, now: Timestamp) -> bool {
        is_good(self.made, now, AUTHORITY_LIFE.saturating_sub(CLOCKS_DIFFER_BY))
    }

    fn generate(now: Timestamp) -> Result<Self, CertificateError> {
        let what = "the serving authority";
        let key = KeyPair::generate().map_err(|source| CertificateError::GenerateKey { what, source })?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "keelson-serving-authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        set_life(&mut params, now, AUTHORITY_LIFE);
        let certificate =
            params.self_signed(&key).map_err(|source| CertificateError::Sign { what, source })?;
        Ok(Self { pem: certificate.pem(), issuer: Issuer::new(params, key), made: now })
    }
}

/// Whether what was made then is neither of the future, as after a clock was set back, nor older than `span`.
fn is_good(made: Timestamp, now: Timestamp, span: Duration) -> bool {
    let age = now.duration_since(made);
    if age.is_negative() { age.unsigned_abs() <= CLOCKS_DIFFER_BY } else { age.unsigned_abs() < span }
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

/// Whole days are enough.
fn set_life(params: &mut CertificateParams, now: Timestamp, life: Duration) {
    let date = |time: Timestamp| {
        let date = time.to_zoned(TimeZone::UTC).date();
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = date(now.saturating_sub(CLOCKS_DIFFER_BY).unwrap_or(now));
    params.not_after = date(now.saturating_add(life).unwrap_or(now));
}

#[cfg(test)]
mod tests;
