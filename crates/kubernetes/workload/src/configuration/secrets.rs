//! Secrets and config maps by name.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::Creation;
use crate::cluster::{Cluster, string_map};
use crate::kinds::Kind;
use crate::names::NamespacedName;
use crate::request::RequestError;

/// A Secret. Its values are wiped when it goes; it is neither printed nor copied.
pub struct Secret {
    pub at: NamespacedName,
    /// `Opaque`, `kubernetes.io/tls`.
    pub secret_type: String,
    pub data: BTreeMap<String, Zeroizing<Vec<u8>>>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Empty before it is in the cluster.
    pub uid: String,
}

/// How often a Secret is edited again that others change at the same time.
const EDITS_AGAIN_MAX: usize = 5;

impl Secret {
    pub fn opaque(at: NamespacedName, data: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        Self {
            at,
            secret_type: "Opaque".to_owned(),
            data: data.into_iter().map(|(key, value)| (key, Zeroizing::new(value))).collect(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            uid: String::new(),
        }
    }

    fn to_value(&self) -> Value {
        let encode =
            |(key, value): (&String, &Zeroizing<Vec<u8>>)| (key.clone(), STANDARD.encode(value).into());
        let data: Map<String, Value> = self.data.iter().map(encode).collect();
        let mut object = json!({
            "metadata": metadata(&self.at, &self.labels, &self.annotations),
            "data": data,
        });
        if !self.secret_type.is_empty() {
            object["type"] = self.secret_type.clone().into();
        }
        object
    }

    fn parse(object: &Value) -> Self {
        // The API server only hands out base64 that it encoded itself.
        let decode = |text: &Value| STANDARD.decode(text.as_str().unwrap_or_default()).unwrap_or_default();
        let data = object["data"].as_object().into_iter().flatten();
        let metadata = &object["metadata"];
        Self {
            at: place(metadata),
            secret_type: object["type"].as_str().unwrap_or_default().to_owned(),
            data: data.map(|(key, value)| (key.clone(), Zeroizing::new(decode(value)))).collect(),
            labels: string_map(&metadata["labels"]),
            annotations: string_map(&metadata["annotations"]),
            uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}, keys {:?})", self.at, self.data.keys().collect::<Vec<_>>())
    }
}

/// A ConfigMap's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigMap {
    pub at: NamespacedName,
    pub data: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Empty before it is in the cluster.
    pub uid: String,
}

impl ConfigMap {
    pub fn new(at: NamespacedName, data: BTreeMap<String, String>) -> Self {
        Self { at, data, labels: BTreeMap::new(), annotations: BTreeMap::new(), uid: String::new() }
    }

    fn to_value(&self) -> Value {
        json!({ "metadata": metadata(&self.at, &self.labels, &self.annotations), "data": self.data })
    }

    fn parse(object: &Value) -> Self {
        let metadata = &object["metadata"];
        Self {
            at: place(metadata),
            data: string_map(&object["data"]),
            labels: string_map(&metadata["labels"]),
            annotations: string_map(&metadata["annotations"]),
            uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
        }
    }
}

impl Cluster {
    pub async fn read_secret(&self, at: &NamespacedName) -> Result<Option<Secret>, RequestError> {
        let object = self.read_object(&secret_kind(), Some(&at.namespace), &at.name).await?;
        Ok(object.as_ref().map(Secret::parse))
    }

    /// Creates the Secret if there is none of its name.
    pub async fn create_secret(&self, secret: &Secret) -> Result<Creation, RequestError> {
        self.create_object(&secret_kind(), &secret.to_value()).await
    }

    /// Makes the Secret carry these values, whatever it carried under our name before.
    pub async fn apply_secret(&self, secret: &Secret) -> Result<(), RequestError> {
        self.apply_object(&secret_kind(), &secret.to_value()).await.map(drop)
    }

    /// Changes the values of the Secret and nothing else of it; one that is absent is made. An edit that changes nothing writes
    /// nothing. Where somebody else changes it meanwhile it is read and edited again.
    pub async fn edit_secret(
        &self,
        at: &NamespacedName,
        edit: impl Fn(&mut BTreeMap<String, Zeroizing<Vec<u8>>>),
    ) -> Result<(), RequestError> {
        let mut tries = 0;
        loop {
            let found = self.read_object(&secret_kind(), Some(&at.namespace), &at.name).await?;
            let Some(mut object) = found else {
                let mut secret = Secret::opaque(at.clone(), []);
                edit(&mut secret.data);
                return match secret.data.is_empty() {
                    true => Ok(()),
                    false => self.apply_secret(&secret).await,
                };
            };
            let mut secret = Secret::parse(&object);
            let before = secret.data.clone();
            edit(&mut secret.data);
            if secret.data == before {
                return Ok(());
            }
            object["data"] = secret.to_value()["data"].take();
            match self.replace_object(&secret_kind(), &object).await {
                Err(error) if error.is_status(409) && tries < EDITS_AGAIN_MAX => tries += 1,
                replaced => return replaced.map(drop),
            }
        }
    }

    pub async fn delete_secret(&self, at: &NamespacedName) -> Result<(), RequestError> {
        self.delete_object(&secret_kind(), Some(&at.namespace), &at.name).await
    }

    pub async fn read_config_map(&self, at: &NamespacedName) -> Result<Option<ConfigMap>, RequestError> {
        let object = self.read_object(&config_map_kind(), Some(&at.namespace), &at.name).await?;
        Ok(object.as_ref().map(ConfigMap::parse))
    }

    pub async fn apply_config_map(&self, map: &ConfigMap) -> Result<(), RequestError> {
        self.apply_object(&config_map_kind(), &map.to_value()).await.map(drop)
    }

    pub async fn delete_config_map(&self, at: &NamespacedName) -> Result<(), RequestError> {
        self.delete_object(&config_map_kind(), Some(&at.namespace), &at.name).await
    }
}

fn secret_kind() -> Kind {
    Kind::namespaced("v1", "Secret", "secrets")
}

fn config_map_kind() -> Kind {
    Kind::namespaced("v1", "ConfigMap", "configmaps")
}

fn metadata(
    at: &NamespacedName,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Value {
    let mut metadata = json!({ "namespace": at.namespace, "name": at.name });
    if !labels.is_empty() {
        metadata["labels"] = json!(labels);
    }
    if !annotations.is_empty() {
        metadata["annotations"] = json!(annotations);
    }
    metadata
}

fn place(metadata: &Value) -> NamespacedName {
    let text = |key: &str| metadata[key].as_str().unwrap_or_default();
    NamespacedName::new(text("namespace"), text("name"))
}

/// A Secret as a server shows it, for `fuzz`: written again it holds the same.
#[cfg(any(test, fuzzing))]
pub(crate) fn withstand_secret(object: &Value) {
    let secret = Secret::parse(object);
    let again = Secret::parse(&secret.to_value());
    assert_eq!(
        (&again.at, &again.labels, &again.annotations),
        (&secret.at, &secret.labels, &secret.annotations)
    );
    assert!(again.data == secret.data && again.secret_type == secret.secret_type);
}

/// A ConfigMap as a server shows it, for `fuzz`: written again it is the same.
#[cfg(any(test, fuzzing))]
pub(crate) fn withstand_config_map(object: &Value) {
    let config_map = ConfigMap { uid: String::new(), ..ConfigMap::parse(object) };
    assert_eq!(ConfigMap::parse(&config_map.to_value()), config_map);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_reads_back_what_it_wrote_and_never_prints_it() {
        let at = NamespacedName::new("kasten-io", "k10-dr-secret");
        let secret = Secret::opaque(at, [("key".to_owned(), b"horse staple".to_vec())]);
        let again = Secret::parse(&secret.to_value());
        assert_eq!(again.data["key"].as_slice(), b"horse staple");
        assert_eq!(format!("{again:?}"), r#"Secret(kasten-io/k10-dr-secret, keys ["key"])"#);
    }
}
