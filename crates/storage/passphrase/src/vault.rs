//! A field of a secret in HashiCorp Vault, or in a server that speaks its API, by the API's first version.
//!
//! Signs in with the token of a service account, else with a token that is given; where both are there the second is
//! for when the first does not help. A token that was got by signing in is given back.
//!
//! Guarantees: what is wrong is told apart as far as the server lets it be known, at the price of a further question.
//! Limits: one server, no redirect from a standby to the active one.

mod error;
mod explain;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use bytes::Bytes;
use http::{HeaderValue, Method};
use http_body_util::Full;
use keelson_model::passphrase::{VaultEngine, VaultField};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

pub(crate) use self::error::class_of;
pub use self::error::{FieldFault, VaultError};
use self::explain::{explain_login, explain_read};
use crate::PASSPHRASE_BYTES_MAX;
use crate::secret::{Fields, SecretText, names, text_of};
use crate::transport::{Answer, Http, body, plain_address};

/// How a server is reached and signed in to.
pub struct VaultSettings {
    /// `http` or `https`, a host, perhaps a port.
    pub address: String,
    /// Of an enterprise server; none means its root.
    pub namespace: Option<String>,
    /// Authorities beside those of the operating system, in PEM.
    pub authority: Option<Vec<u8>>,
    pub kubernetes: Option<KubernetesAuth>,
    pub token: Option<SecretText>,
}

impl VaultSettings {
    /// The address as it may be told. None for one that is not asked: it could hold a password.
    pub fn plain_address(&self) -> Option<&str> {
        plain_address(&self.address)
    }
}

/// Signing in as a service account.
pub struct KubernetesAuth {
    pub role: String,
    /// Where the method is mounted below `auth`.
    pub mount_path: String,
    /// The file with the account's token; read anew each time, since it is replaced.
    pub token_path: PathBuf,
}

/// Tokens of accounts have one or two thousand bytes.
const ACCOUNT_TOKEN_BYTES_MAX: u64 = 16 << 10;
/// So much at once that what signs in is not copied while it is written.
const LOGIN_BYTES: usize = 32 << 10;
/// What a segment of a path may hold as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Fetches the passphrase as it stands now.
pub async fn fetch_passphrase(
    settings: &VaultSettings,
    field: VaultField<'_>,
) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let server = Server::new(settings)?;
    let place = Place::new(field)?;
    let refused = match &settings.kubernetes {
        None => None,
        Some(auth) => match fetch_as_account(&server, auth, &place).await {
            Err(error) if error.is_about_access() && settings.token.is_some() => Some(error),
            ended => return ended,
        },
    };
    let Some(token) = &settings.token else { return Err(VaultError::NoSignIn) };
    match (read(&server, token, &place).await, refused) {
        (Err(source), Some(account)) if source.is_about_access() => {
            Err(VaultError::BothRefused { account: Box::new(account), source: Box::new(source) })
        }
        (ended, _) => ended,
    }
}

async fn fetch_as_account(
    server: &Server,
    auth: &KubernetesAuth,
    place: &Place<'_>,
) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let token = sign_in(server, auth).await?;
    let read = read(server, &token, place).await;
    give_back(server, &token).await;
    read
}

/// A server and what each request to it bears.
struct Server {
    http: Http,
    address: String,
    namespace: Option<HeaderValue>,
}

impl Server {
    fn new(settings: &VaultSettings) -> Result<Self, VaultError> {
        let address = settings.plain_address().ok_or(VaultError::Address)?;
        let namespace = settings.namespace.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let namespace = namespace.map(HeaderValue::from_str).transpose();
        Ok(Self {
            http: Http::new(settings.authority.as_deref()).map_err(|source| VaultError::Trust { source })?,
            address: address.to_owned(),
            namespace: namespace.map_err(|source| VaultError::Namespace { source })?,
        })
    }

    /// `path` is below `/v1/` and encoded.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&SecretText>,
        content: Full<Bytes>,
    ) -> Result<Answer, VaultError> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.address))
            // What servers may be told to insist on: a page in a browser cannot send it.
            .header("x-vault-request", "true")
            .header(http::header::ACCEPT, "application/json");
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose().trim())
                .map_err(|source| VaultError::TokenUnfit { source })?;
            value.set_sensitive(true);
            request = request.header("x-vault-token", value);
        }
        let request = request.body(content).map_err(|source| VaultError::Request { source })?;
        self.http.exchange(request).await.map_err(|source| VaultError::Reach { source })
    }

    async fn get(&self, path: &str, token: &SecretText) -> Result<Answer, VaultError> {
        self.ask(Method::GET, path, Some(token), Full::default()).await
    }
}

/// Where a field lies.
struct Place<'a> {
    field: VaultField<'a>,
    mount: String,
    /// What is asked for: with `data` between mount and path where the engine keeps versions.
    path: String,
}

impl<'a> Place<'a> {
    fn new(field: VaultField<'a>) -> Result<Self, VaultError> {
        let fault = |path: &str| VaultError::Path { path: path.to_owned() };
        let mount = encoded(field.mount_path).ok_or_else(|| fault(field.mount_path))?;
        let secret = encoded(field.secret_path).ok_or_else(|| fault(field.secret_path))?;
        let path = match field.engine {
            VaultEngine::V1 => format!("{mount}/{secret}"),
            VaultEngine::V2 => format!("{mount}/data/{secret}"),
        };
        Ok(Self { field, mount, path })
    }
}

/// A path with each of its segments encoded. None for one that would lead elsewhere.
fn encoded(path: &str) -> Option<String> {
    let segments: Vec<_> = path.trim_matches('/').split('/').collect();
    let leads_away = |segment: &&str| matches!(*segment, "" | "." | "..");
    if segments.iter().any(leads_away) {
        return None;
    }
    let encode = |segment: &&str| utf8_percent_encode(segment, PLAIN).to_string();
    Some(segments.iter().map(encode).collect::<Vec<_>>().join("/"))
}

#[derive(Serialize)]
struct Login<'a> {
    role: &'a str,
    jwt: &'a str,
}

#[derive(Deserialize)]
struct LoggedIn {
    auth: Granted,
}

#[derive(Deserialize)]
struct Granted {
    client_token: String,
}

async fn sign_in(server: &Server, auth: &KubernetesAuth) -> Result<SecretText, VaultError> {
    let jwt = read_account_token(auth).await?;
    let mount =
        encoded(&auth.mount_path).ok_or_else(|| VaultError::Path { path: auth.mount_path.clone() })?;
    let mut login = Zeroizing::new(Vec::with_capacity(LOGIN_BYTES));
    serde_json::to_writer(&mut *login, &Login { role: &auth.role, jwt: jwt.expose() })
        .expect("texts are JSON, and memory takes them");
    let path = format!("auth/{mount}/login");
    let answer = server.ask(Method::POST, &path, None, body(login)).await?;
    if answer.status != 200 {
        return Err(explain_login(&answer, auth, &jwt));
    }
    let logged_in: LoggedIn =
        serde_json::from_slice(&answer.body).map_err(|_| VaultError::NotVault { status: answer.status })?;
    Ok(SecretText::new(logged_in.auth.client_token))
}

/// The token of the account, and of nothing else: whatever the file holds goes to the server.
async fn read_account_token(auth: &KubernetesAuth) -> Result<SecretText, VaultError> {
    let failed = |source| VaultError::ReadAccountToken { path: auth.token_path.clone(), source };
    let file = tokio::fs::File::open(&auth.token_path).await.map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(ACCOUNT_TOKEN_BYTES_MAX as usize + 1));
    file.take(ACCOUNT_TOKEN_BYTES_MAX + 1).read_to_end(&mut bytes).await.map_err(failed)?;
    let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
    match is_token(text) && bytes.len() as u64 <= ACCOUNT_TOKEN_BYTES_MAX {
        true => Ok(SecretText::new(text.to_owned())),
        false => Err(VaultError::NoAccountToken { path: auth.token_path.clone() }),
    }
}

/// Three parts in the letters of base64 for URLs.
fn is_token(text: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    let parts: Vec<_> = text.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.chars().all(is_letter))
}

/// A token left to itself stays for as long as the server's settings say, which is a month by default. It goes by itself
/// in the end, so that nothing depends on this.
async fn give_back(server: &Server, token: &SecretText) {
    let given = server.ask(Method::POST, "auth/token/revoke-self", Some(token), Full::default()).await;
    let status = given.map_or(0, |answer| answer.status);
    if !matches!(status, 200 | 204) {
        tracing::debug!(status, "a token of Vault was not given back, and ends by itself");
    }
}

#[derive(Deserialize)]
struct Plain<'a> {
    #[serde(borrow)]
    data: Fields<'a>,
}

#[derive(Deserialize)]
struct Versioned<'a> {
    #[serde(borrow)]
    data: Version<'a>,
}

#[derive(Deserialize)]
struct Version<'a> {
    #[serde(borrow)]
    data: Fields<'a>,
}

async fn read(
    server: &Server,
    token: &SecretText,
    place: &Place<'_>,
) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let answer = server.get(&place.path, token).await?;
    match answer.status {
        200 => pick(&answer, &place.field),
        _ => Err(explain_read(server, token, place, &answer).await),
    }
}

fn pick(answer: &Answer, field: &VaultField<'_>) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let not_vault = |_| VaultError::NotVault { status: answer.status };
    let fields = match field.engine {
        VaultEngine::V1 => serde_json::from_slice::<Plain<'_>>(&answer.body).map_err(not_vault)?.data,
        VaultEngine::V2 => {
            serde_json::from_slice::<Versioned<'_>>(&answer.body).map_err(not_vault)?.data.data
        }
    };
    let Some(value) = fields.get(field.field) else {
        // What a versioned engine answers to a path that spells out its `data`.
        let is_versioned =
            fields.len() == 2 && fields.contains_key("data") && fields.contains_key("metadata");
        return Err(match field.engine {
            VaultEngine::V1 if is_versioned => VaultError::EngineVersion { asked: "KVv1", found: "KVv2" },
            _ => VaultError::NoField { field: field.field.to_owned(), present: names(&fields) },
        });
    };
    let fault = |fault| VaultError::Field { field: field.field.to_owned(), fault };
    let text = text_of(value).ok_or_else(|| fault(FieldFault::NotText))?;
    match text.len() {
        0 => Err(fault(FieldFault::Empty)),
        length if length > PASSPHRASE_BYTES_MAX => Err(fault(FieldFault::TooLong)),
        _ => Ok(Zeroizing::new(text.as_bytes().to_vec())),
    }
}
