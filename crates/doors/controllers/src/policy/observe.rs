//! Reads what the decision about a policy needs.

use keelson_model::location::ProfileHealth;
use keelson_model::names::{DR_POLICY, DR_SECRET};
use keelson_resources::policy::{self, ParsedPolicy, PolicyStatus};
use keelson_resources::{profile, spec_hash};
use kube::core::DynamicObject;
use kube::runtime::reflector::ObjectRef;
use serde::Deserialize;
use serde_json::Value;

use super::Context;
use crate::looks::Look;
use crate::subject::{Subject, reference};

/// A policy and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observed {
    pub subject: Subject,
    /// Whether the preset that it names is being looked at itself.
    pub awaits_preset: bool,
    /// The specification, or what is wrong with it.
    pub parsed: Result<ParsedPolicy, Vec<String>>,
    /// What the status says now; nothing where it is malformed.
    pub status: PolicyStatus,
    pub basis: Basis,
    pub last: Option<Look<Basis>>,
}

/// What a verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Basis {
    pub uid: String,
    pub hash: u32,
    /// The preset that the policy names, if it is there: its specification's hash and what its status says.
    pub preset: Option<(u32, Value)>,
    /// Each profile that the policy names.
    pub profiles: Vec<NamedProfile>,
    /// The version of the Secret with the passphrase, if the policy protects the platform.
    pub passphrase: Option<String>,
}

/// A profile by name, as it was found last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedProfile {
    pub name: String,
    /// Generation and health; none where there is no such profile.
    pub found: Option<(Option<i64>, ProfileHealth)>,
}

pub(super) fn observe(context: &Context, policy: &DynamicObject) -> Observed {
    let object = serde_json::to_value(policy).expect("an object of the cluster is plain JSON");
    let subject = Subject::of(object);
    let preset = observe_preset(context, &subject.object);
    let resolved = policy::resolve(&subject.object, preset.as_ref());
    let parsed = resolved.and_then(|resolved| policy::parse(&resolved));
    let names = parsed.as_ref().map(ParsedPolicy::profiles).unwrap_or_default();
    let profiles = names.into_iter().map(|name| observe_profile(context, name)).collect();
    Observed {
        awaits_preset: preset.as_ref().is_some_and(|preset| !policy::is_judged(preset)),
        status: PolicyStatus::deserialize(&subject.object["status"]).unwrap_or_default(),
        basis: Basis {
            uid: subject.uid.clone(),
            hash: subject.hash,
            preset: preset.map(|preset| (spec_hash(&preset["spec"]), preset["status"]["validation"].clone())),
            profiles,
            passphrase: observe_passphrase(context, &subject),
        },
        last: context.looks.last(&reference(policy, &context.resource)),
        parsed,
        subject,
    }
}

/// A passphrase that was changed, or mended, is taken up at once.
fn observe_passphrase(context: &Context, subject: &Subject) -> Option<String> {
    let install_namespace = &context.platform.settings().install_namespace;
    if subject.at.name != DR_POLICY || subject.at.namespace != *install_namespace {
        return None;
    }
    let at = ObjectRef::new(DR_SECRET).within(install_namespace);
    context.passphrase.get(&at)?.metadata.resource_version.clone()
}

fn observe_preset(context: &Context, policy: &Value) -> Option<Value> {
    let (namespace, name) = policy::preset_of(policy)?;
    let at = ObjectRef::new_with(&name, context.preset_resource.clone()).within(&namespace);
    let preset = context.presets.get(&at)?;
    Some(serde_json::to_value(&*preset).expect("an object of the cluster is plain JSON"))
}

fn observe_profile(context: &Context, name: &str) -> NamedProfile {
    let at = ObjectRef::new_with(name, context.profile_resource.clone())
        .within(&context.platform.settings().install_namespace);
    let found = context.profiles.get(&at).map(|profile| {
        let object = serde_json::to_value(&*profile).expect("an object of the cluster is plain JSON");
        (profile.metadata.generation, profile::health_of(&object))
    });
    NamedProfile { name: name.to_owned(), found }
}
