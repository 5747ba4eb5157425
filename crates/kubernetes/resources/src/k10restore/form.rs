//! The form in which a console asks for a K10restore: its fields, and which of them depend on a switch.

use serde_json::{Value, json};

const CONSOLE: &str = "urn:alm:descriptor:com.tectonic.ui";

/// How a field is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Text,
    Number,
    Switch,
    /// The name of a Secret, chosen among those that are there.
    SecretName,
}

impl Entry {
    fn descriptor(self) -> String {
        match self {
            Self::Text => format!("{CONSOLE}:text"),
            Self::Number => format!("{CONSOLE}:number"),
            Self::Switch => format!("{CONSOLE}:booleanSwitch"),
            Self::SecretName => "urn:alm:descriptor:io.kubernetes:Secret".to_owned(),
        }
    }
}

struct Field {
    path: &'static str,
    name: &'static str,
    description: &'static str,
    entry: Entry,
    /// The switch that shows it.
    shown_by: Option<&'static str>,
}

const QUICK: Option<&str> = Some("quickMode.enabled");
const VAULT: Option<&str> = Some("vault.enabled");

/// In the order in which the form shows them.
const FORM: [Field; 15] = [
    Field {
        path: "sourceClusterID",
        name: "Cluster ID",
        description: "The ID that was shown when disaster recovery was enabled: the UID of the namespace 'default' of the \
                      lost cluster.",
        entry: Entry::Text,
        shown_by: None,
    },
    Field {
        path: "profileName",
        name: "Profile name",
        description: "The location profile, in this namespace, that leads to the backups.",
        entry: Entry::Text,
        shown_by: None,
    },
    Field {
        path: "pointInTime",
        name: "Point in time",
        description: "Recovers the state of that moment instead of the latest: RFC 3339, like 2022-01-02T15:04:05Z.",
        entry: Entry::Text,
        shown_by: None,
    },
    Field {
        path: "skipResource",
        name: "Resources to skip",
        description: "What is left as it is: any of profiles, policies and secrets, with commas between.",
        entry: Entry::Text,
        shown_by: None,
    },
    Field {
        path: "restore.timeout",
        name: "Timeout in minutes",
        description: "Bounds the whole recovery: 90 if it is not given.",
        entry: Entry::Number,
        shown_by: None,
    },
    Field {
        path: "quickMode.enabled",
        name: "Quick Disaster Recovery",
        description: "The backup was made by Quick Disaster Recovery.",
        entry: Entry::Switch,
        shown_by: None,
    },
    Field {
        path: "quickMode.overrideResources",
        name: "Override resources",
        description: "Confirms that resources are created or replaced, which a Quick restore point needs.",
        entry: Entry::Switch,
        shown_by: QUICK,
    },
    Field {
        path: "vault.enabled",
        name: "Enable HashiCorp Vault",
        description: "The passphrase is kept in HashiCorp Vault, as k10-dr-secret says.",
        entry: Entry::Switch,
        shown_by: None,
    },
    Field {
        path: "vault.address",
        name: "Vault address",
        description: "Where Vault is reached: https://vault.example.com:8200.",
        entry: Entry::Text,
        shown_by: VAULT,
    },
    Field {
        path: "vault.secretName",
        name: "Vault credentials",
        description: "The Secret whose key vault_token holds the token, for authentication by token.",
        entry: Entry::SecretName,
        shown_by: VAULT,
    },
    Field {
        path: "vault.role",
        name: "Vault role",
        description: "The role of Vault's Kubernetes authentication, instead of a token.",
        entry: Entry::Text,
        shown_by: VAULT,
    },
    Field {
        path: "vault.serviceAccountTokenPath",
        name: "Service account token path",
        description: "The token that is shown to Vault: /var/run/secrets/kubernetes.io/serviceaccount/token if it is not \
                      given.",
        entry: Entry::Text,
        shown_by: VAULT,
    },
    Field {
        path: "vault.mountPath",
        name: "Vault authentication mount",
        description: "Where Vault's Kubernetes authentication is mounted: kubernetes if it is not given.",
        entry: Entry::Text,
        shown_by: VAULT,
    },
    Field {
        path: "vault.namespace",
        name: "Vault namespace",
        description: "The namespace of Vault in which everything lies, where it has such.",
        entry: Entry::Text,
        shown_by: VAULT,
    },
    Field {
        path: "vault.caSecretName",
        name: "Vault authority",
        description: "The Secret whose key ca.crt holds the authority of Vault's certificate, where it is a private one.",
        entry: Entry::SecretName,
        shown_by: VAULT,
    },
];

/// Of the specification.
pub(super) fn spec_descriptors() -> Vec<Value> {
    FORM.iter().map(descriptor).collect()
}

fn descriptor(field: &Field) -> Value {
    let Field { path, name, description, entry, shown_by } = field;
    let depends = shown_by.map(|switch| format!("{CONSOLE}:fieldDependency:{switch}:true"));
    let descriptors: Vec<_> = [entry.descriptor()].into_iter().chain(depends).collect();
    json!({
        "path": path, "displayName": name, "description": description, "x-descriptors": descriptors,
    })
}

/// Of the status.
pub(super) fn status_descriptors() -> Vec<Value> {
    let shown = |path: &str, name: &str, description: &str, descriptor: &str| {
        json!({
            "path": path, "displayName": name, "description": description, "x-descriptors": [descriptor],
        })
    };
    let text = format!("{CONSOLE}:text");
    vec![
        shown(
            "phase",
            "Phase",
            "Pending, Running, Succeeded or Failed.",
            "urn:alm:descriptor:io.kubernetes.phase",
        ),
        shown("message", "Message", "What came of it, or what is waited for.", &text),
        shown("hint", "Hint", "What to do next.", &text),
        shown("restore.name", "Recovery", "The KastenDRRestore that was made for it.", &text),
        shown("restore.phase", "Step", "What is being done.", &text),
        shown("restore.percent", "Percent", "Of its steps those that have begun.", &text),
        shown(
            "conditions",
            "Conditions",
            "The same for tools.",
            "urn:alm:descriptor:io.kubernetes.conditions",
        ),
    ]
}
