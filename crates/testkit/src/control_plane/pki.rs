//! The certificates of a throw-away control plane: two authorities, and what they sign.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::private_files::write_private;

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

/// A server's certificate and key, and the authority of its own that signed it, in PEM.
#[derive(Clone)]
pub struct ServerCertificate {
    pub authority: String,
    pub certificate: String,
    pub key: String,
}

impl ServerCertificate {
    /// One for a server that is reached under each of `hosts`, which are names or addresses.
    pub fn of_hosts(hosts: &[String]) -> Result<Self> {
        let signer = authority("keelson-testbed-server-ca")?;
        let server = sign(&server_params("server", None, hosts)?, &signer)?;
        Ok(Self { authority: signer.pem(), certificate: server.certificate, key: server.key })
    }
}

/// The authorities, kept to sign more clients, and the directory that holds what the servers read.
pub(crate) struct Pki {
    clients: CertifiedIssuer<'static, KeyPair>,
    front_proxies: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Pki {
    /// `more_names` are what the API server is called beside its usual names.
    pub(super) fn create(directory: PathBuf, more_names: &[String]) -> Result<Self> {
        fs::create_dir_all(&directory).context("create the directory of certificates")?;
        let clients = authority("keelson-testbed-ca")?;
        let front_proxies = authority("keelson-testbed-front-proxy-ca")?;
        let pki = Self { clients, front_proxies, directory };

        let names = SERVER_NAMES.iter().map(ToString::to_string).chain(more_names.iter().cloned());
        let names: Vec<String> = names.collect();
        let server = sign(&server_params("kube-apiserver", None, &names)?, &pki.clients)?;
        let kubelet_client = pki.sign_client("kube-apiserver", Some("system:masters"))?;
        let front_proxy = pki.sign_front_proxy(FRONT_PROXY)?;
        let service_accounts = KeyPair::generate().context("generate the key of service accounts")?;

        pki.write("ca.crt", &pki.clients.pem())?;
        pki.write("ca.key", &pki.clients.key().serialize_pem())?;
        pki.write("front-proxy-ca.crt", &pki.front_proxies.pem())?;
        pki.write("apiserver.crt", &server.certificate)?;
        pki.write("apiserver.key", &server.key)?;
        pki.write("front-proxy.crt", &front_proxy.certificate)?;
        pki.write("front-proxy.key", &front_proxy.key)?;
        pki.write("kubelet-client.crt", &kubelet_client.certificate)?;
        pki.write("kubelet-client.key", &kubelet_client.key)?;
        pki.write("service-accounts.key", &service_accounts.serialize_pem())?;
        pki.write("service-accounts.pub", &service_accounts.public_key_pem())?;
        Ok(pki)
    }

    /// Where the file is that servers read.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
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

    /// The certificate with which a kubelet serves, written as `kubelet-NODE.crt` and `.key`.
    pub(crate) fn sign_kubelet(&self, node: &str, address: &str) -> Result<()> {
        let hosts = [node.to_owned(), address.to_owned()];
        let params = server_params(&format!("system:node:{node}"), Some("system:nodes"), &hosts)?;
        let kubelet = sign(&params, &self.clients)?;
        self.write(&format!("kubelet-{node}.crt"), &kubelet.certificate)?;
        self.write(&format!("kubelet-{node}.key"), &kubelet.key)
    }

    /// A certificate of the authority that signs what the aggregator shows.
    pub(super) fn sign_front_proxy(&self, name: &str) -> Result<ClientCertificate> {
        sign(&client_params(name, None)?, &self.front_proxies)
    }

    /// Keys are read by the servers of whoever makes them and, as root, by their nodes.
    fn write(&self, name: &str, pem: &str) -> Result<()> {
        write_private(self.file(name), pem).with_context(|| format!("write {name}"))
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

fn server_params(name: &str, organization: Option<&str>, hosts: &[String]) -> Result<CertificateParams> {
    let mut server = params(name, organization, hosts)?;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(server)
}

fn params(common_name: &str, organization: Option<&str>, hosts: &[String]) -> Result<CertificateParams> {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_written_of_an_authority_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::create(folder.path().join("pki"), &[]).unwrap();
        pki.sign_kubelet("node-1", "127.0.0.1").unwrap();
        let files: Vec<_> =
            fs::read_dir(folder.path().join("pki")).unwrap().map(|file| file.unwrap()).collect();
        let keys = files.iter().filter(|file| file.path().extension().is_some_and(|name| name == "key"));
        assert_eq!(keys.count(), 6, "{files:?}");
        for file in files {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
    }
}
