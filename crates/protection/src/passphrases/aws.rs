//! The way to AWS as an infrastructure profile says it: keys, or whatever the platform runs as.

use std::sync::Arc;

use keelson_model::Classified;
use keelson_model::location::ProfileHealth;
use keelson_model::passphrase::{AwsSecret, PassphraseSource};
use keelson_passphrase::SecretText;
use keelson_passphrase::aws::{AwsCredentials, AwsIdentity, AwsSettings, check_identity, fetch_passphrase};
use keelson_resources::profile::{Infra, InfraType, ProfileSpec, health_of};
use keelson_workload::{NamespacedName, Secret};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::source_access::{SourceAccessError, read_secret, text};
use super::{PassphraseError, fetch_secret, parse};
use crate::kinds;
use crate::platform::Platform;
use crate::validation::faults_of;

/// Why AWS does not say whose an identity is: the way there, or what it answers.
pub(crate) type Unidentified = Box<dyn Classified>;

const AWS: &str = "AWS Secrets Manager";
const SECRET_TYPE: &str = "AwsAccessKey";
const ACCESS_KEY: &str = "aws_access_key_id";
const SECRET_KEY: &str = "aws_secret_access_key";
const SESSION_TOKEN: &str = "aws_session_token";
const ROLE: &str = "role";

pub(super) async fn fetch(
    platform: &Platform,
    secret: AwsSecret<'_>,
    described: String,
) -> Result<Zeroizing<Vec<u8>>, PassphraseError> {
    let unknown = |source| PassphraseError::Access { kind: AWS, source };
    let profile = choose_profile(platform).await.map_err(unknown)?;
    let settings = aws_settings(platform, &profile).await.map_err(unknown)?;
    let fetched = fetch_passphrase(&settings, secret, platform.clock.now()).await;
    let profile = name_of(&profile).to_owned();
    fetched.map_err(|source| PassphraseError::Aws { described, profile, source })
}

/// Whether a profile leads to AWS as an infrastructure.
pub(crate) fn is_aws(profile: &Value) -> bool {
    infra_of(profile).is_some_and(|infra| infra.r#type == InfraType::Aws)
}

fn infra_of(profile: &Value) -> Option<Infra> {
    ProfileSpec::deserialize(&profile["spec"]).ok()?.infra
}

fn name_of(profile: &Value) -> &str {
    profile["metadata"]["name"].as_str().unwrap_or_default()
}

/// The first by name of those that were found valid.
async fn choose_profile(platform: &Platform) -> Result<Value, SourceAccessError> {
    let namespace = &platform.settings.install_namespace;
    let listed = platform.cluster.list_objects(&kinds::profile(), Some(namespace), None).await;
    let listed = listed.map_err(|source| SourceAccessError::ListProfiles { source })?;
    decide_profile(listed)
        .map_err(|unfit| SourceAccessError::NoAwsProfile { namespace: namespace.clone(), unfit })
}

/// Pure. The one that is used, or why those that are there are not.
fn decide_profile(mut profiles: Vec<Value>) -> Result<Value, Vec<String>> {
    profiles.retain(is_aws);
    profiles.sort_by(|a, b| name_of(a).cmp(name_of(b)));
    match profiles.iter().position(|profile| health_of(profile) == ProfileHealth::Writable) {
        Some(index) => Ok(profiles.swap_remove(index)),
        None => Err(profiles.iter().map(tell_unfit).collect()),
    }
}

fn tell_unfit(profile: &Value) -> String {
    let faults = match health_of(profile) {
        ProfileHealth::Failed => faults_of(&profile["status"]).join(", "),
        _ => "not looked at yet".to_owned(),
    };
    format!("'{}' ({faults})", name_of(profile))
}

/// Whose the identity of a profile is, as AWS names it.
pub(crate) async fn identify(platform: &Platform, profile: &Value) -> Result<String, Unidentified> {
    let settings = aws_settings(platform, profile).await.map_err(boxed)?;
    ask_identity(platform, &settings).await
}

/// The same with the values of a Secret that is not in the cluster, in place of the one that the profile names.
pub(crate) async fn identify_with(platform: &Platform, secret: &Secret) -> Result<String, Unidentified> {
    let identity = identity_of(secret).map_err(boxed)?;
    ask_identity(platform, &AwsSettings { identity, environment: platform.settings.aws.clone() }).await
}

async fn ask_identity(platform: &Platform, settings: &AwsSettings) -> Result<String, Unidentified> {
    let region = region(platform).await.map_err(boxed)?;
    let asked = check_identity(settings, region.as_deref(), platform.clock.now()).await;
    asked.map_err(boxed)
}

fn boxed(error: impl Classified) -> Unidentified {
    Box::new(error)
}

/// That of `k10-dr-secret`, where it says that AWS holds the passphrase. What is wrong with it is told to whoever needs that.
async fn region(platform: &Platform) -> Result<Option<String>, PassphraseError> {
    let secret = match fetch_secret(platform).await {
        Err(PassphraseError::Absent { .. }) => return Ok(None),
        read => read?,
    };
    Ok(match parse(&secret) {
        Ok(PassphraseSource::Aws(secret)) => Some(secret.region.to_owned()),
        Ok(PassphraseSource::Raw(_) | PassphraseSource::Vault(_) | PassphraseSource::Azure(_)) | Err(_) => {
            None
        }
    })
}

/// Whether `k10-dr-secret` says that AWS holds the passphrase.
pub(crate) async fn is_in_aws(platform: &Platform) -> Result<bool, PassphraseError> {
    Ok(region(platform).await?.is_some())
}

/// Whether the passphrase may be asked for through a profile, at once or as soon as that is looked at.
pub(crate) fn may_be_asked_through(profile: &Value) -> bool {
    is_aws(profile) && health_of(profile) != ProfileHealth::Failed
}

/// Who asks, as a profile says it.
async fn aws_settings(platform: &Platform, profile: &Value) -> Result<AwsSettings, SourceAccessError> {
    let identity = match secret_named(platform, profile)? {
        None => AwsIdentity::Surroundings { role: None },
        Some(at) => identity_of(&read_secret(platform, at).await?)?,
    };
    Ok(AwsSettings { identity, environment: platform.settings.aws.clone() })
}

/// The Secret of a profile; none means whatever the platform runs as.
pub(crate) fn secret_named(
    platform: &Platform,
    profile: &Value,
) -> Result<Option<NamespacedName>, SourceAccessError> {
    let credential = infra_of(profile).and_then(|infra| infra.credential).unwrap_or_default();
    if !matches!(credential.secret_type.as_str(), "" | SECRET_TYPE) {
        return Err(SourceAccessError::SecretType { given: credential.secret_type });
    }
    let secret = credential.secret;
    if secret.name.is_empty() {
        return Ok(None);
    }
    let namespace = match secret.namespace.as_str() {
        "" => platform.settings.install_namespace.as_str(),
        named => named,
    };
    Ok(Some(NamespacedName::new(namespace, secret.name)))
}

/// Keys sign; a Secret that has a role and no keys is for whatever the platform runs as.
fn identity_of(secret: &Secret) -> Result<AwsIdentity, SourceAccessError> {
    let given = |key: &'static str| match secret.data.get(key).is_some_and(|value| !value.is_empty()) {
        true => text(secret, key).map(Some),
        false => Ok(None),
    };
    let role = given(ROLE)?;
    if role.is_some() && given(ACCESS_KEY)?.is_none() {
        return Ok(AwsIdentity::Surroundings { role });
    }
    let mut secret_key = text(secret, SECRET_KEY)?;
    // In place: a copy would not be wiped.
    secret_key.truncate(secret_key.trim_end().len());
    let credentials = AwsCredentials {
        access_key: text(secret, ACCESS_KEY)?.trim().to_owned(),
        secret_key: SecretText::new(secret_key),
        session_token: given(SESSION_TOKEN)?.map(SecretText::new),
    };
    Ok(AwsIdentity::Keys { credentials: Arc::new(credentials), role })
}

#[cfg(test)]
mod tests {
    use keelson_resources::spec_hash;
    use serde_json::json;

    use super::*;

    fn profile(name: &str, infra: &str, validation: &str) -> Value {
        let spec = json!({ "type": "Infra", "infra": { "type": infra } });
        let status =
            json!({ "validation": validation, "hash": spec_hash(&spec), "error": ["keys are wrong"] });
        json!({ "metadata": { "name": name }, "spec": spec, "status": status })
    }

    #[test]
    fn of_several_profiles_the_first_valid_one_by_name_is_used() {
        let check = |profiles: &[(&str, &str, &str)], expected: Result<&str, &[&str]>| {
            let profiles = profiles.iter().map(|(name, infra, validation)| profile(name, infra, validation));
            let found = decide_profile(profiles.collect());
            match expected {
                Ok(name) => assert_eq!(found.as_ref().map(name_of), Ok(name)),
                Err(unfit) => assert_eq!(found.unwrap_err(), unfit),
            }
        };
        check(&[("b", "AWS", "Success"), ("a", "AWS", "Failed"), ("c", "AWS", "Success")], Ok("b"));
        check(&[("b", "AWS", "Success"), ("a", "AWS", "Success")], Ok("a"));
        check(&[("a", "GCP", "Success")], Err(&[]));
        let unfit = &["'a' (keys are wrong)", "'b' (not looked at yet)"];
        check(&[("b", "AWS", "Pending"), ("a", "AWS", "Failed")], Err(unfit));
    }

    #[test]
    fn a_secret_says_who_asks() {
        let identity = |data: &[(&str, &str)]| {
            let data = data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
            identity_of(&Secret::opaque(NamespacedName::new("kasten-io", "aws-infra"), data))
        };
        let keys = [("aws_access_key_id", "AKIA\n"), ("aws_secret_access_key", "planted")];
        match identity(&keys).unwrap() {
            AwsIdentity::Keys { credentials, role: None } => assert_eq!(credentials.access_key, "AKIA"),
            _ => panic!("keys without a role"),
        }
        let with_role = [keys[0], keys[1], ("role", "arn:aws:iam::1:role/dr")];
        assert!(matches!(identity(&with_role).unwrap(), AwsIdentity::Keys { role: Some(_), .. }));
        let role_alone = identity(&with_role[2..]).unwrap();
        assert!(matches!(role_alone, AwsIdentity::Surroundings { role: Some(_) }));
        let error = identity(&keys[..1]).err().unwrap().to_string();
        assert_eq!(
            error,
            "Secret 'kasten-io/aws-infra' has no key 'aws_secret_access_key'; it has aws_access_key_id"
        );
    }
}
