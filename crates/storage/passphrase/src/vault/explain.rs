//! What an answer of Vault means that is not the one hoped for. Where it may mean several things Vault is asked once more.

use keelson_model::passphrase::VaultEngine;
use serde::Deserialize;

use super::{KubernetesAuth, Place, Server, VaultError};
use crate::secret::{SecretText, quoted};
use crate::transport::Answer;

/// What Vault says with an error.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Said {
    errors: Vec<String>,
    warnings: Option<Vec<String>>,
}

impl Said {
    fn of(answer: &Answer) -> Option<Self> {
        serde_json::from_slice(&answer.body).ok()
    }

    fn mentions(&self, words: &str) -> bool {
        let warnings = self.warnings.iter().flatten();
        self.errors.iter().chain(warnings).any(|text| text.to_ascii_lowercase().contains(words))
    }

    fn quote(&self, secrets: &[&SecretText]) -> String {
        match self.errors.join("; ").as_str() {
            "" => "nothing is said with it".to_owned(),
            said => quoted(said, secrets),
        }
    }
}

/// What is the same for every request.
fn explain_any(answer: &Answer, said: Option<&Said>) -> Option<VaultError> {
    let status = answer.status;
    match (status, said) {
        (300..=399, _) => Some(VaultError::Redirected { status }),
        (503, Some(said)) if said.mentions("sealed") => Some(VaultError::Sealed),
        (_, None) => Some(VaultError::NotVault { status }),
        _ => None,
    }
}

pub(super) fn explain_login(answer: &Answer, auth: &KubernetesAuth, jwt: &SecretText) -> VaultError {
    let said = Said::of(answer);
    if let Some(error) = explain_any(answer, said.as_ref()) {
        return error;
    }
    let said = said.unwrap_or_default();
    let (role, mount) = (auth.role.clone(), auth.mount_path.clone());
    let message = said.quote(&[jwt]);
    match answer.status {
        // Where nothing is mounted, whoever has no token yet may not even ask.
        _ if said.mentions("missing client token") || said.mentions("no handler for route") => {
            VaultError::NoAuthMount { mount }
        }
        404 => VaultError::NoAuthMount { mount },
        400 if said.mentions("role") => VaultError::NoRole { role, mount, message },
        // Older servers answer 500 to an account that the role does not bind.
        400 | 401 | 403 => VaultError::RoleUnbound { role, mount, message },
        500 if said.mentions("service account") || said.mentions("namespace not authorized") => {
            VaultError::RoleUnbound { role, mount, message }
        }
        status => VaultError::Refused { status, message },
    }
}

pub(super) async fn explain_read(
    server: &Server,
    token: &SecretText,
    place: &Place<'_>,
    answer: &Answer,
) -> VaultError {
    let said = Said::of(answer);
    if let Some(error) = explain_any(answer, said.as_ref()) {
        return error;
    }
    let said = said.unwrap_or_default();
    let path = place.path.clone();
    match answer.status {
        403 => explain_refusal(server, token, place).await,
        404 if said.mentions("no handler for route") => VaultError::NoMount { mount: place.mount.clone() },
        404 if said.mentions("versioned") => VaultError::EngineVersion { asked: "KVv1", found: "KVv2" },
        404 if is_deleted(answer) => VaultError::Deleted { path },
        404 => match other_engine(server, token, place).await {
            Some(error) => error,
            None => VaultError::NoSecret { path },
        },
        status => VaultError::Refused { status, message: said.quote(&[token]) },
    }
}

/// A token that is no more is refused what every living one may: to look at itself.
async fn explain_refusal(server: &Server, token: &SecretText, place: &Place<'_>) -> VaultError {
    match server.get("auth/token/lookup-self", token).await {
        Ok(answer) if answer.status == 403 => VaultError::TokenRefused,
        _ => match other_engine(server, token, place).await {
            Some(error) => error,
            None => VaultError::Forbidden { path: place.path.clone() },
        },
    }
}

/// A version of the secret without data, as a versioned engine tells of one that was deleted.
fn is_deleted(answer: &Answer) -> bool {
    #[derive(Deserialize)]
    struct Versioned {
        data: Option<Version>,
    }
    #[derive(Deserialize)]
    struct Version {
        metadata: Option<Metadata>,
    }
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(default)]
        deletion_time: String,
        #[serde(default)]
        destroyed: bool,
    }
    let told = serde_json::from_slice::<Versioned>(&answer.body).ok();
    let metadata = told.and_then(|told| told.data?.metadata);
    metadata.is_some_and(|metadata| metadata.destroyed || !metadata.deletion_time.is_empty())
}

/// What the command-line client asks before it reads; whoever may read something below a mount is told.
async fn other_engine(server: &Server, token: &SecretText, place: &Place<'_>) -> Option<VaultError> {
    #[derive(Deserialize)]
    struct Told {
        data: Mount,
    }
    #[derive(Deserialize)]
    struct Mount {
        r#type: String,
        options: Option<Options>,
    }
    #[derive(Deserialize)]
    struct Options {
        version: Option<String>,
    }
    let answer = server.get(&format!("sys/internal/ui/mounts/{}", place.mount), token).await.ok()?;
    let told: Told = serde_json::from_slice(&answer.body).ok().filter(|_| answer.status == 200)?;
    if told.data.r#type != "kv" {
        return None;
    }
    let found = told.data.options.and_then(|options| options.version);
    match (place.field.engine, found.as_deref()) {
        (VaultEngine::V1, Some("2")) => Some(VaultError::EngineVersion { asked: "KVv1", found: "KVv2" }),
        (VaultEngine::V2, None | Some("1")) => {
            Some(VaultError::EngineVersion { asked: "KVv2", found: "KVv1" })
        }
        _ => None,
    }
}
