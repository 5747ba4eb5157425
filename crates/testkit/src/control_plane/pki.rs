//! The certificates of a throw-away control plane: two authorities, and what they sign.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// Name in the certificate with which the aggregator presents itself to extension servers.
pub const FRONT_PROXY: &str = "front-proxy-client";

/// Names under which a client may reach the API server.
const SERVER_NAMES: [&str; 5] =
    ["localhost", "127.0.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];

/// A client's certificate and key in PEM.
#[derive(Clone)]
pub struct ClientCertificate {
    pub certificate: String,
    pub key: String,
}

/// The authorities, kept to sign more clients, and the directory that holds what the servers read.
pub(super) struct Pki {
    clients: CertifiedIssuer<'static, KeyPair>,
    front_proxies: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Pki {
    pub(super) fn create(directory: PathBuf) -> Result<Self> {
        fs::create_dir_all(&directory).context("create the directory of certificates")?;
        let clients = authority("keelson-testbed-ca")?;
        let front_proxies = authority("keelson-testbed-front-proxy-ca")?;
        let pki = Self { clients, front_proxies, directory };

        let mut server = params("kube-apiserver", None, &SERVER_NAMES)?;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server = sign(&server, &pki.clients)?;
        let front_proxy = pki.sign_front_proxy(FRONT_PROXY)?;
        let service_accounts = KeyPair::generate().context("generate the key of service accounts")?;

        pki.write("ca.crt", &pki.clients.pem())?;
        pki.write("ca.key", &pki.clients.key().serialize_pem())?;
        pki.write("front-proxy-ca.crt", &pki.front_proxies.pem())?;
        pki.write("apiserver.crt", &server.certificate)?;
        pki.write("apiserver.key", &server.key)?;
        pki.write("front-proxy.crt", &front_proxy.certificate)?;
        pki.write("front-proxy.key", &front_proxy.key)?;
        pki.write("service-accounts.key", &service_accounts.serialize_pem())?;
        pki.write("service-accounts.pub", &service_accounts.public_key_pem())?;
        Ok(pki)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The authority that signs the API server and its clients, in PEM.
    pub(super) fn authority(&self) -> String {
        self.clients.pem()
    }

    /// A certificate for `user`, in `group` if one is given.
    pub(super) fn sign_client(&self, user: &str, group: Option<&str>) -> Result<ClientCertificate> {
        sign(&client_params(user, group)?, &self.clients)
    }

    /// A certificate of the authority that signs what the aggregator shows.
    pub(super) fn sign_front_proxy(&self, name: &str) -> Result<ClientCertificate> {
        sign(&client_params(name, None)?, &self.front_proxies)
    }

    fn write(&self, name: &str, pem: &str) -> Result<()> {
        let path = self.file(name);
        fs::write(&path, pem).with_context(|| format!("write {}", Path::new(name).display()))
    }
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut authority = params(name, None, &[])?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().context("generate an authority's key")?;
    CertifiedIssuer::self_signed(authority, key).with_context(|| format!("sign {name}"))
}

fn client_params(user: &str, group: Option<&str>) -> Result<CertificateParams> {
    let mut client = params(user, group, &[])?;
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(client)
}

fn params(common_name: &str, organization: Option<&str>, hosts: &[&str]) -> Result<CertificateParams> {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(hosts).context("name the hosts of a certificate")?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    Ok(params)
}

fn sign(params: &CertificateParams, issuer: &CertifiedIssuer<'_, KeyPair>) -> Result<ClientCertificate> {
    let key = KeyPair::generate().context("generate a key")?;
    let certificate = params.signed_by(&key, issuer).context("sign a certificate")?;
    Ok(ClientCertificate { certificate: certificate.pem(), key: key.serialize_pem() })
}
