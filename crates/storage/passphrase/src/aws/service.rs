//! Requests to Secrets Manager and to the service of tokens, and what their refusals mean.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method};
use http_body_util::Full;
use jiff::Timestamp;
use keelson_model::passphrase::AwsSecret;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::sign::{Post, authorize, stamp};
use super::{AwsCredentials, AwsEnvironment, AwsError};
use crate::secret::{SecretText, quoted};
use crate::transport::{Answer, Http, body, plain_address};

/// The services of one region at one moment.
pub(super) struct Cloud<'a> {
    pub(super) http: Http,
    pub(super) environment: &'a AwsEnvironment,
    region: &'a str,
    now: Timestamp,
}

const JSON: &str = "application/x-amz-json-1.1";
const FORM: &str = "application/x-www-form-urlencoded";
const STS_VERSION: &str = "2011-06-15";

impl<'a> Cloud<'a> {
    pub(super) fn new(
        environment: &'a AwsEnvironment,
        region: &'a str,
        now: Timestamp,
    ) -> Result<Self, AwsError> {
        let region = region.trim();
        // It becomes part of a host's name.
        let is_letter =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if region.is_empty() || region.len() > 32 || !region.chars().all(is_letter) {
            return Err(AwsError::Region { region: region.chars().take(32).collect() });
        }
        let http = Http::new(None).map_err(|source| AwsError::Trust { source })?;
        Ok(Self { http, environment, region, now })
    }

    pub(super) async fn get_secret_value(
        &self,
        credentials: &AwsCredentials,
        wanted: Vec<u8>,
        secret: AwsSecret<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, AwsError> {
        let endpoint = self.endpoint("secretsmanager", &self.environment.secrets_manager_endpoint)?;
        let content = (JSON, Zeroizing::new(wanted));
        let target = Some("secretsmanager.GetSecretValue");
        let answer = self.post(&endpoint, "secretsmanager", target, content, Some(credentials)).await?;
        match answer.status {
            200 => Ok(answer.body),
            _ => Err(self.explain_secret(&answer, credentials, secret)),
        }
    }

    /// Signed where credentials are there; a web identity has none yet.
    pub(super) async fn ask_sts(
        &self,
        credentials: Option<&AwsCredentials>,
        parameters: &[(&str, &str)],
    ) -> Result<Answer, AwsError> {
        let endpoint = self.endpoint("sts", &self.environment.sts_endpoint)?;
        let length: usize = parameters.iter().map(|(name, value)| name.len() + 3 * value.len() + 2).sum();
        // At its full size from the start: a web identity is among them.
        let mut form = Zeroizing::new(String::with_capacity(length + 64));
        form.push_str("Version=");
        form.push_str(STS_VERSION);
        for (name, value) in parameters {
            form.push('&');
            form.push_str(name);
            form.push('=');
            form.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
        }
        let content = (FORM, Zeroizing::new(std::mem::take(&mut *form).into_bytes()));
        self.post(&endpoint, "sts", None, content, credentials).await
    }

    /// That of the service, else that of all, else where AWS has it.
    fn endpoint(&self, service: &'static str, own: &Option<String>) -> Result<String, AwsError> {
        match own.as_deref().or(self.environment.endpoint.as_deref()) {
            Some(given) => plain_address(given).map(str::to_owned).ok_or(AwsError::Endpoint { service }),
            None => {
                let china = if self.region.starts_with("cn-") { ".cn" } else { "" };
                Ok(format!("https://{service}.{}.amazonaws.com{china}", self.region))
            }
        }
    }

    async fn post(
        &self,
        endpoint: &str,
        service: &'static str,
        target: Option<&str>,
        (content_type, content): (&str, Zeroizing<Vec<u8>>),
        credentials: Option<&AwsCredentials>,
    ) -> Result<Answer, AwsError> {
        let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
        let mut request = http::Request::builder()
            .method(Method::POST)
            .uri(format!("{endpoint}/"))
            .header(HOST, host)
            .header(CONTENT_TYPE, content_type)
            .header("x-amz-date", stamp(self.now));
        if let Some(target) = target {
            request = request.header("x-amz-target", target);
        }
        if let Some(credentials) = credentials {
            let post = Post { service, region: self.region, host, content_type, target, body: &content };
            let authorization = authorize(&post, credentials, self.now);
            request = request.header(AUTHORIZATION, sensitive(&authorization)?);
            if let Some(token) = &credentials.session_token {
                request = request.header("x-amz-security-token", sensitive(token.expose().trim())?);
            }
        }
        let request = request.body(body(content)).map_err(|source| AwsError::Request { source })?;
        let lost = |source| AwsError::Reach { host: host.to_owned(), source };
        self.http.exchange(request).await.map_err(lost)
    }

    /// What is the same whatever was asked for.
    pub(super) fn explain(&self, answer: &Answer, credentials: Option<&AwsCredentials>) -> AwsError {
        let (status, region) = (answer.status, self.region.to_owned());
        let Some(Said { code, message }) = Said::of(answer, credentials) else {
            return AwsError::NotAws { status };
        };
        match code.as_str() {
            "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId" => {
                AwsError::KeysUnknown { region, message }
            }
            "SignatureDoesNotMatch"
            | "InvalidSignatureException"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "RequestTimeTooSkewed" => AwsError::KeysWrong { region, message },
            "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => AwsError::KeysExpired { message },
            _ => AwsError::Refused { status, code, message },
        }
    }

    fn explain_secret(
        &self,
        answer: &Answer,
        credentials: &AwsCredentials,
        secret: AwsSecret<'_>,
    ) -> AwsError {
        let (code, message) = match self.explain(answer, Some(credentials)) {
            AwsError::Refused { status: _, code, message } => (code, message),
            other => return other,
        };
        let (name, region) = (secret.name.to_owned(), secret.region.to_owned());
        match code.as_str() {
            "ResourceNotFoundException" => AwsError::NoSecret { name, region },
            "AccessDeniedException" | "AccessDenied" => AwsError::Denied { name, message },
            "InvalidRequestException" => AwsError::Deleted { name, message },
            "DecryptionFailure" | "DecryptionFailureException" => AwsError::Undecryptable { name, message },
            _ => AwsError::Refused { status: answer.status, code, message },
        }
    }

    /// One step to the credentials of the machine.
    pub(super) async fn ask_metadata(
        &self,
        method: Method,
        path: &str,
        header: (&'static str, &str),
    ) -> Result<Answer, AwsError> {
        let given = self.environment.metadata_endpoint.as_deref().unwrap_or("http://169.254.169.254");
        let endpoint = plain_address(given).ok_or(AwsError::Endpoint { service: "metadata" })?;
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{endpoint}/latest/{path}"))
            .header(header.0, sensitive(header.1)?)
            .body(Full::<Bytes>::default())
            .map_err(|source| AwsError::Request { source })?;
        self.http.exchange(request).await.map_err(|source| AwsError::NoInstance { source })
    }
}

fn sensitive(text: &str) -> Result<HeaderValue, AwsError> {
    let mut value = HeaderValue::from_str(text).map_err(|source| AwsError::KeysUnfit { source })?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a service says with an error.
pub(super) struct Said {
    pub(super) code: String,
    pub(super) message: String,
}

#[derive(Deserialize)]
struct SaidAsJson {
    #[serde(rename = "__type")]
    code: String,
    #[serde(rename = "message", alias = "Message", default)]
    message: String,
}

impl Said {
    pub(super) fn of(answer: &Answer, credentials: Option<&AwsCredentials>) -> Option<Self> {
        let text = std::str::from_utf8(&answer.body).ok()?;
        let (code, message) = match serde_json::from_str::<SaidAsJson>(text) {
            Ok(SaidAsJson { code, message }) => (code, message),
            Err(_) => {
                let message = xml_text(text, "Message").unwrap_or_default();
                (xml_text(text, "Code")?.to_owned(), message.replace("&apos;", "'").replace("&quot;", "\""))
            }
        };
        let secrets: Vec<&SecretText> = credentials
            .iter()
            .flat_map(|held| std::iter::once(&held.secret_key).chain(&held.session_token))
            .collect();
        // Before the name some services put the name space of it.
        let code = code.rsplit('#').next().unwrap_or_default();
        Some(Self { code: quoted(code, &secrets), message: quoted(&message, &secrets) })
    }
}

/// The text of the first element of a name.
pub(super) fn xml_text<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(value, _)| value.trim())
}
