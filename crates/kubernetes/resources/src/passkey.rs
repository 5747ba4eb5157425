//! `Passkey`: one way to open the primary key of an installation, from which everything that it keeps is opened.

use keelson_model::names::group;
use keelson_model::naming::{check_namespace, check_object_name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::{Checker, FieldError};
use crate::kind::{ALL_VERBS, CATEGORIES, Column, KindInfo, NAME, Reference, ResourceScope};
use crate::parts::ObjectReference;
use crate::schema::object_schema;

pub const KIND: KindInfo = KindInfo {
    group: group::VAULT,
    version: group::VERSION,
    kind: "Passkey",
    plural: "passkeys",
    singular: "passkey",
    short_names: &[],
    categories: CATEGORIES,
    scope: ResourceScope::Cluster,
    verbs: ALL_VERBS,
    columns: &[
        NAME,
        Column {
            kind: "boolean",
            ..Column::text("Valid", "/status/valid", "Whether it opens the primary key now")
        },
        Column::text("Error", "/status/error", "Why it does not").wide(),
    ],
    field_selectors: &["metadata.name"],
    details: false,
    schema: || {
        object_schema::<PasskeySpec, PasskeyStatus>(
            "Passkey opens the primary key of the installation. The last valid one cannot be deleted.",
        )
    },
    references: |object, install_namespace| -> Vec<Reference> {
        let spec = PasskeySpec::deserialize(&object["spec"]).unwrap_or_default();
        let secret = spec.secret_in(install_namespace);
        secret.map(|(namespace, name)| Reference::read("", "secrets", namespace, name)).into_iter().collect()
    },
    check,
};

/// What `status.state` says of every Passkey that is kept.
pub const ADDED: &str = "Added to Catalog";

/// Where the passphrase or key lies under which the primary key is sealed: exactly one source.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PasskeySpec {
    /// The Secret whose key `passphrase` holds the passphrase; in the install namespace if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<ObjectReference>,
    /// A key of AWS KMS. Not supported: it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awscmkkeyid: Option<String>,
    /// A key of the transit engine of HashiCorp Vault. Not supported: it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vaulttransitkeyname: Option<String>,
    /// Where that engine is mounted. Not supported: it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vaulttransitpath: Option<String>,
    /// The role with which to log in to HashiCorp Vault. Not supported: it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vaultauthrole: Option<String>,
    /// The token with which to log in to HashiCorp Vault. Not supported: it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vaultk8sserviceaccounttokenpath: Option<String>,
    /// A key of Azure Key Vault. Not supported: it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azurekeyvaultkeyname: Option<String>,
    /// Where that Key Vault is. Not supported: it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azurekeyvaulturl: Option<String>,
}

impl PasskeySpec {
    /// Namespace and name of the Secret.
    pub fn secret_in<'a>(&'a self, install_namespace: &'a str) -> Option<(&'a str, &'a str)> {
        let secret = self.secret.as_ref()?;
        let namespace = secret.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        Some((namespace.unwrap_or(install_namespace), &secret.name))
    }
}

/// Whether the Passkey is of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PasskeyStatus {
    /// Whether it opens the primary key now.
    pub valid: bool,
    /// Always "Added to Catalog".
    pub state: String,
    /// Why it does not open the primary key; absent where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The sources by the fields that belong to each, and why one cannot be used.
const SOURCES: [(&[&str], Option<&str>); 4] = [
    (&["spec.secret"], None),
    (&["spec.awscmkkeyid"], Some("this version reads no keys of AWS KMS, only passphrases in Secrets")),
    (
        &[
            "spec.vaulttransitkeyname",
            "spec.vaulttransitpath",
            "spec.vaultauthrole",
            "spec.vaultk8sserviceaccounttokenpath",
        ],
        Some("this version uses no transit engine of HashiCorp Vault, only passphrases in Secrets"),
    ),
    (
        &["spec.azurekeyvaultkeyname", "spec.azurekeyvaulturl"],
        Some("this version uses no keys of Azure Key Vault, only passphrases in Secrets"),
    ),
];

fn check(object: &Value, _install_namespace: &str) -> Vec<FieldError> {
    let mut checker = Checker::new(object);
    let given = SOURCES.iter().filter(|(fields, _)| fields.iter().any(|field| checker.is_set(field))).count();
    if given == 0 {
        checker.missing("spec", "names no source; give spec.secret with name and namespace");
    }
    for (fields, refusal) in SOURCES {
        for field in fields {
            match refusal {
                _ if given > 1 => checker.forbidden(field, "exactly one source may be given"),
                Some(why) => checker.not_supported_yet(field, why),
                None => {}
            }
        }
    }
    if given == 1 && checker.is_set("spec.secret") {
        checker.required_text("spec.secret.name");
        checker.parsed("spec.secret.name", check_object_name);
        checker.parsed("spec.secret.namespace", check_namespace);
    }
    checker.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::validate_create;

    /// The fields that are told to be wrong.
    fn check_spec(spec: &Value, expected: &[&str]) {
        let object = json!({ "metadata": { "name": "office" }, "spec": spec });
        let errors = validate_create(&KIND, &object, "kasten-io");
        let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, expected, "{spec}: {errors:?}");
    }

    #[test]
    fn a_passkey_has_exactly_one_source_and_it_is_a_secret() {
        let secret = json!({ "name": "office", "namespace": "vaults" });
        check_spec(&json!({ "secret": secret }), &[]);
        check_spec(&json!({ "secret": { "name": "office" } }), &[]);
        check_spec(&json!({}), &["spec"]);
        check_spec(&json!({ "secret": {} }), &["spec.secret.name"]);
        check_spec(&json!({ "secret": { "name": "" } }), &["spec.secret.name"]);
        check_spec(&json!({ "secret": { "name": "No/Name" } }), &["spec.secret.name"]);
        check_spec(&json!({ "secret": { "name": "a", "namespace": "A" } }), &["spec.secret.namespace"]);
        check_spec(&json!({ "awscmkkeyid": "arn:aws:kms:eu-1:1:key/k" }), &["spec.awscmkkeyid"]);
        check_spec(
            &json!({ "vaulttransitkeyname": "k", "vaulttransitpath": "transit" }),
            &["spec.vaulttransitkeyname", "spec.vaulttransitpath"],
        );
        check_spec(&json!({ "vaultauthrole": "r" }), &["spec.vaultauthrole"]);
        check_spec(&json!({ "azurekeyvaultkeyname": "k" }), &["spec.azurekeyvaultkeyname"]);
        check_spec(&json!({ "secret": secret, "awscmkkeyid": "k" }), &["spec.secret", "spec.awscmkkeyid"]);
    }

    #[test]
    fn what_is_not_supported_is_said_in_a_sentence() {
        let object = json!({ "metadata": { "name": "office" }, "spec": { "awscmkkeyid": "k" } });
        let errors = validate_create(&KIND, &object, "kasten-io");
        assert_eq!(
            errors[0].to_string(),
            "spec.awscmkkeyid: Forbidden: not supported: this version reads no keys of AWS KMS, only passphrases in \
             Secrets"
        );
    }

    #[test]
    fn what_stands_in_the_wrong_field_is_not_repeated() {
        let phrase = "Correct Horse Battery";
        for spec in [
            json!({ "secret": phrase }),
            json!({ "secret": { "name": phrase } }),
            json!({ "secret": { "name": "a", "namespace": phrase } }),
            json!({ "awscmkkeyid": phrase }),
            json!({ "vaultauthrole": [phrase] }),
        ] {
            let object = json!({ "metadata": { "name": "office" }, "spec": spec });
            let errors = validate_create(&KIND, &object, "kasten-io");
            assert!(!errors.is_empty(), "{spec}");
            assert!(errors.iter().all(|error| !error.to_string().contains(phrase)), "{errors:?}");
        }
    }

    #[test]
    fn a_valid_passkey_is_printed_as_true() {
        let object = json!({ "metadata": { "name": "office" }, "status": { "valid": true, "state": ADDED } });
        let now = jiff::Timestamp::UNIX_EPOCH;
        let cells: Vec<_> = KIND.columns.iter().map(|column| column.value(&object, now)).collect();
        assert_eq!(cells, [json!("office"), json!(true), Value::Null]);
    }
}
