//! Brings what a kit holds into a cluster. The order: 1 everything is looked at; 2 credentials, profile and passphrase
//! are created where they are missing. Nothing is changed: a create that comes too late is a refusal.

use keelson_model::location::LocationSpec;
use keelson_resources::profile;
use keelson_workload::{Cluster, Creation, NamespacedName, Secret};
use serde_json::{Value, json};

use super::gather::find_secret;
use super::{KeptSecret, Kit, KitError};
use crate::kinds;

/// What is to be created.
enum Missing<'a> {
    Secret(&'a KeptSecret),
    Profile(Value),
}

/// Creates what is missing for a recovery with this kit, and names it. With `through`, the profile of that name leads to
/// the location, and the kit's own is left alone.
pub async fn put_in_place(
    cluster: &Cluster,
    namespace: &str,
    kit: &Kit,
    through: Option<&str>,
) -> Result<Vec<String>, KitError> {
    if kit.namespace != namespace {
        let (made_in, here) = (kit.namespace.clone(), namespace.to_owned());
        return Err(KitError::OtherNamespace { made_in, here });
    }
    let (mut missing, mut objects) = (Vec::new(), Vec::new());
    let mut secrets = Vec::new();
    if through.is_none() {
        secrets.extend(kit.credentials.as_ref());
        check_credentials(cluster, kit).await?;
    }
    secrets.push(&kit.passphrase);
    for kept in secrets {
        let at = NamespacedName::new(&kept.namespace, &kept.name);
        match find_secret(cluster, &at).await? {
            None => missing.push(Missing::Secret(kept)),
            // The same values are there, whatever else is.
            Some(there) if there.data.len() == kept.data.len() && holds(&there, kept) => {}
            Some(_) => objects.push(format!("Secret '{at}'")),
        }
    }
    if through.is_none() {
        let found = cluster.read_object(&kinds::profile(), Some(namespace), &kit.profile.name).await;
        let what = format!("profile '{}'", kit.profile.name);
        match found.map_err(|source| KitError::Read { what: what.clone(), source })? {
            None => missing.push(Missing::Profile(profile_object(namespace, kit))),
            Some(there) if there["spec"] == kit.profile.spec => {}
            Some(_) => objects.push(what),
        }
    }
    if !objects.is_empty() {
        return Err(KitError::Differs { objects });
    }
    create_all(cluster, missing).await
}

fn holds(there: &Secret, kept: &KeptSecret) -> bool {
    kept.data.iter().all(|(key, value)| there.data.get(key) == Some(&value.0))
}

/// A kit without credentials needs them to be there already.
async fn check_credentials(cluster: &Cluster, kit: &Kit) -> Result<(), KitError> {
    let object = profile_object(&kit.namespace, kit);
    let parsed = profile::parse(&object)
        .map_err(|faults| KitError::Profile { profile: kit.profile.name.clone(), faults })?;
    let Some(LocationSpec::ObjectStore(location)) = parsed.location else { return Ok(()) };
    if kit.credentials.is_some() {
        return Ok(());
    }
    let at = NamespacedName::new(&location.credential.namespace, &location.credential.name);
    match find_secret(cluster, &at).await? {
        Some(_) => Ok(()),
        None => Err(KitError::NoCredentials { secret: at.to_string() }),
    }
}

fn profile_object(namespace: &str, kit: &Kit) -> Value {
    let kind = kinds::profile();
    json!({
        "apiVersion": kind.api_version(), "kind": kind.kind,
        "metadata": { "name": kit.profile.name, "namespace": namespace }, "spec": kit.profile.spec,
    })
}

async fn create_all(cluster: &Cluster, missing: Vec<Missing<'_>>) -> Result<Vec<String>, KitError> {
    let mut created = Vec::new();
    for object in missing {
        let (what, creation) = match object {
            Missing::Secret(kept) => {
                let at = NamespacedName::new(&kept.namespace, &kept.name);
                let what = format!("Secret '{at}'");
                let data = kept.data.iter().map(|(key, value)| (key.clone(), value.0.to_vec()));
                let secret = Secret { secret_type: kept.secret_type.clone(), ..Secret::opaque(at, data) };
                (what, cluster.create_secret(&secret).await)
            }
            Missing::Profile(object) => {
                let what = format!("profile '{}'", object["metadata"]["name"].as_str().unwrap_or_default());
                (what, cluster.create_object(&kinds::profile(), &object).await)
            }
        };
        match creation.map_err(|source| KitError::Create { what: what.clone(), source })? {
            Creation::Created(_) => created.push(what),
            Creation::Existed => return Err(KitError::Differs { objects: vec![what] }),
        }
    }
    Ok(created)
}
