//! From a policy in the cluster to plain schedule, retention and selector, with every fault as a sentence.

use keelson_model::names::{CLUSTER_SCOPE, DR_POLICY, label};
use keelson_model::naming::check_label_value;
use keelson_model::recovery::{CatalogSnapshots, DrMode};
use keelson_model::retention::Retention;
use keelson_model::schedule::{Frequency, Schedule};
use keelson_model::selector::{self, ApplicationSelector, SelectorSpec};
use serde::Deserialize;
use serde_json::Value;

use super::{MatchOperator, PolicyAction, PolicyActionKind, PolicySpec, Selector};
use crate::parts::ObjectReference;

/// A policy whose specification was found sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedPolicy {
    pub namespace: String,
    pub name: String,
    pub frequency: Frequency,
    /// None for a policy that runs on demand.
    pub schedule: Option<Schedule>,
    pub paused: bool,
    pub retention: Retention,
    pub selector: Option<ApplicationSelector>,
    /// The profile that backups are made with, if any.
    pub backup_profile: Option<String>,
    pub exports: Vec<ParsedExport>,
    /// Set if this is the policy that protects the platform itself.
    pub disaster_recovery: Option<DrPolicy>,
    /// What is asked for and not done by this version, in sentences.
    pub ignored: Vec<String>,
}

/// An export action of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedExport {
    pub profile: String,
    /// Which runs export; none means every run.
    pub frequency: Option<Frequency>,
    /// None means as the policy says.
    pub retention: Option<Retention>,
}

/// What is particular to the policy that protects the platform itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrPolicy {
    pub profile: String,
    pub mode: DrMode,
}

impl ParsedPolicy {
    /// What is kept of local restore points, or of exported ones.
    pub fn retention_of(&self, exported: bool) -> Retention {
        let own = self.exports.iter().find_map(|export| export.retention).filter(|_| exported);
        own.unwrap_or(self.retention)
    }

    /// The profiles that must exist and be fit, each once.
    pub fn profiles(&self) -> Vec<&str> {
        let exports = self.exports.iter().map(|export| export.profile.as_str());
        let mut names: Vec<_> = self.backup_profile.as_deref().into_iter().chain(exports).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What is wrong with a policy in the namespace where it is.
    pub fn check_placement(&self, install_namespace: &str) -> Vec<String> {
        if self.namespace == install_namespace {
            return Vec::new();
        }
        if self.disaster_recovery.is_some() {
            return vec![format!("policy '{DR_POLICY}' belongs into namespace '{install_namespace}'")];
        }
        let outside =
            self.selector.as_ref().and_then(|selector| selector.check_within(&self.namespace).err());
        outside.iter().map(ToString::to_string).collect()
    }
}

/// Parses a policy as the cluster holds it, with what its preset gives if it names one (`resolve`).
pub fn parse(object: &Value) -> Result<ParsedPolicy, Vec<String>> {
    let spec = PolicySpec::deserialize(&object["spec"]).map_err(|error| vec![format!("spec: {error}")])?;
    let metadata = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (metadata("namespace"), metadata("name"));
    if spec.preset_ref.is_some() {
        return Err(vec!["spec.presetRef: the preset was not looked up".to_owned()]);
    }
    let Some(frequency) = spec.frequency.map(Frequency::from) else {
        return Err(vec!["spec.frequency is required".to_owned()]);
    };
    let mut parser = Parser { faults: Vec::new() };
    parser.name(&name);
    let schedule = parser.schedule(&spec, frequency);
    let retention = parser.retention(&spec, frequency);
    let selector = parser.selector(&spec);
    parser.actions(&spec.actions);
    let exports = parser.exports(&spec.actions, frequency);
    let backup_profile = parser.backup_profile(&spec.actions);
    let is_dr = name == DR_POLICY;
    if spec.kdr_snapshot_configuration.is_some() && !is_dr {
        parser.refuse(format!("spec.kdrSnapshotConfiguration is for policy '{DR_POLICY}' only"));
    }
    let disaster_recovery =
        is_dr.then(|| parser.disaster_recovery(&spec, &namespace, selector.as_ref())).flatten();
    parser.finish(ParsedPolicy {
        namespace,
        name,
        frequency,
        schedule,
        paused: spec.paused.unwrap_or(false),
        retention,
        selector,
        backup_profile,
        exports,
        disaster_recovery,
        ignored: if is_dr { Vec::new() } else { ignored(&spec) },
    })
}

/// What does not make a policy invalid, and must not be passed over in silence either.
fn ignored(spec: &PolicySpec) -> Vec<String> {
    let mut ignored = Vec::new();
    if spec.backup_window.is_some() {
        ignored.push("spec.backupWindow.end: a backup that still runs then is not cancelled".to_owned());
    }
    if spec.enable_staggering == Some(true) {
        ignored.push("spec.enableStaggering: runs start at their full time".to_owned());
    }
    for (index, action) in spec.actions.iter().enumerate() {
        let backup = action.backup_parameters.as_ref();
        if backup.is_some_and(|backup| backup.action_pod_spec.is_some()) {
            let path = format!("spec.actions[{index}].backupParameters.actionPodSpec");
            ignored.push(format!("{path}: backups run in no pods of their own"));
        }
        let Some(export) = &action.export_parameters else { continue };
        let path = format!("spec.actions[{index}].exportParameters");
        if export.export_data.is_some() {
            ignored.push(format!("{path}.exportData: no volume data is exported"));
        }
        if !export.volume_snapshots.is_null() {
            ignored.push(format!("{path}.volumeSnapshots: no volume snapshots are made"));
        }
    }
    ignored
}

struct Parser {
    faults: Vec<String>,
}

impl Parser {
    fn refuse(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    /// A policy from before the rule of its definition may still have any name.
    fn name(&mut self, name: &str) {
        if let Err(fault) = check_label_value(name) {
            self.refuse(format!("metadata.name becomes the value of labels: {fault}"));
        }
    }

    fn finish(self, policy: ParsedPolicy) -> Result<ParsedPolicy, Vec<String>> {
        if self.faults.is_empty() { Ok(policy) } else { Err(self.faults) }
    }

    fn schedule(&mut self, spec: &PolicySpec, frequency: Frequency) -> Option<Schedule> {
        let sub = spec.sub_frequency.as_ref().map(Into::into).unwrap_or_default();
        let window = spec.backup_window.as_ref().map(Into::into);
        if spec.enable_staggering == Some(true) && window.is_none() {
            self.refuse("spec.enableStaggering needs spec.backupWindow");
        }
        match Schedule::new(frequency, sub, window) {
            Ok(schedule) => (frequency != Frequency::OnDemand).then_some(schedule),
            Err(faults) => {
                self.faults.extend(faults.iter().map(|fault| format!("spec.{fault}")));
                None
            }
        }
    }

    fn retention(&mut self, spec: &PolicySpec, frequency: Frequency) -> Retention {
        let backs_up = spec.actions.iter().any(|action| action.action == PolicyActionKind::Backup);
        match &spec.retention {
            Some(given) => {
                let retention = Retention::from(given);
                let faults = retention.check_against(frequency);
                self.faults.extend(faults.iter().map(|fault| format!("spec.{fault}")));
                if frequency != Frequency::OnDemand && retention.keeps_nothing() {
                    self.refuse("spec.retention keeps nothing; give at least one tier a number above 0");
                }
                retention
            }
            None => {
                if backs_up && frequency != Frequency::OnDemand {
                    self.refuse("spec.retention is required for a policy that backs up on a schedule");
                }
                Retention::default()
            }
        }
    }

    fn selector(&mut self, spec: &PolicySpec) -> Option<ApplicationSelector> {
        let backs_up = spec.actions.iter().any(|action| action.action == PolicyActionKind::Backup);
        let is_empty =
            |selector: &Selector| selector.match_expressions.is_empty() && selector.match_labels.is_empty();
        match spec.selector.as_ref().filter(|selector| backs_up || !is_empty(selector)) {
            None => {
                if backs_up {
                    self.refuse("spec.selector is required for a policy that backs up");
                }
                None
            }
            Some(selector) => match ApplicationSelector::new(&plain_selector(selector)) {
                Ok(selector) => {
                    // Accepted in silence they would leave what they name unprotected.
                    if selector.selects_cluster_scope() {
                        self.refuse(format!(
                            "spec.selector: '{CLUSTER_SCOPE}': this version backs up no cluster-scoped resources"
                        ));
                    }
                    if selector.selects_machines() {
                        self.refuse("spec.selector: this version backs up no virtual machines by themselves");
                    }
                    Some(selector)
                }
                Err(faults) => {
                    self.faults.extend(faults.iter().map(|fault| format!("spec.selector: {fault}")));
                    None
                }
            },
        }
    }

    fn actions(&mut self, actions: &[PolicyAction]) {
        if actions.is_empty() {
            self.refuse("spec.actions needs at least one action");
        }
        let has = |kind| actions.iter().any(|action| action.action == kind);
        if has(PolicyActionKind::Export) && !has(PolicyActionKind::Backup) {
            self.refuse("spec.actions: an export needs a backup before it");
        }
        for (index, action) in actions.iter().enumerate() {
            let kind = action.action.as_str();
            match action.action {
                PolicyActionKind::Backup | PolicyActionKind::Export => {}
                PolicyActionKind::Import | PolicyActionKind::Restore | PolicyActionKind::Report => {
                    self.refuse(format!(
                        "spec.actions[{index}]: action '{kind}' is not supported by this version"
                    ));
                }
            }
            if actions[..index].iter().any(|earlier| earlier.action == action.action) {
                self.refuse(format!("spec.actions[{index}]: action '{kind}' appears twice"));
            }
            let hooks = action
                .backup_parameters
                .as_ref()
                .and_then(|backup| backup.hooks.as_ref())
                .or(action.export_parameters.as_ref().and_then(|export| export.hooks.as_ref()));
            if hooks.is_some_and(|hooks| !hooks.is_empty()) {
                self.refuse(format!("spec.actions[{index}]: hooks are not supported by this version"));
            }
        }
    }

    fn backup_profile(&self, actions: &[PolicyAction]) -> Option<String> {
        let parameters = actions.iter().find_map(|action| action.backup_parameters.as_ref())?;
        parameters.profile.as_ref().and_then(named)
    }

    fn exports(&mut self, actions: &[PolicyAction], frequency: Frequency) -> Vec<ParsedExport> {
        let mut exports = Vec::new();
        for (index, action) in actions.iter().enumerate() {
            if action.action != PolicyActionKind::Export {
                continue;
            }
            let path = format!("spec.actions[{index}].exportParameters");
            let parameters = action.export_parameters.clone().unwrap_or_default();
            let profile = parameters.profile.as_ref().and_then(named);
            if profile.is_none() {
                self.refuse(format!("{path}.profile is required"));
            }
            if parameters.block_mode_profile.is_some() {
                self.refuse(format!("{path}.blockModeProfile is not supported by this version"));
            }
            let own = parameters.frequency.map(Frequency::from);
            self.export_frequency(&path, own, frequency);
            let retention = action.retention.as_ref().map(Retention::from);
            let faults = retention.map(|retention| retention.check_against(own.unwrap_or(frequency)));
            let faults = faults.unwrap_or_default();
            self.faults.extend(faults.iter().map(|fault| format!("spec.actions[{index}].{fault}")));
            let profile = profile.unwrap_or_default();
            exports.push(ParsedExport { profile, frequency: own, retention });
        }
        exports
    }

    fn export_frequency(&mut self, path: &str, own: Option<Frequency>, frequency: Frequency) {
        let Some(own) = own else { return };
        let is_legal = match (own, frequency) {
            (Frequency::OnDemand, Frequency::OnDemand) => true,
            (Frequency::OnDemand, _) | (_, Frequency::OnDemand) => false,
            (own, frequency) => own >= frequency,
        };
        if !is_legal {
            self.refuse(format!("{path}.frequency '{own}' does not fit the policy's '{frequency}'"));
        }
    }

    /// The policy that protects the platform is a backup of its own namespace; the rest is free.
    fn disaster_recovery(
        &mut self,
        spec: &PolicySpec,
        namespace: &str,
        selector: Option<&ApplicationSelector>,
    ) -> Option<DrPolicy> {
        if selector.is_some_and(|selector| !selector.is_exactly(namespace)) {
            let key = label::APP_NAMESPACE;
            self.refuse(format!("spec.selector of policy '{DR_POLICY}' must be '{key}' In ['{namespace}']"));
        }
        let snapshots = spec.kdr_snapshot_configuration.as_ref().map(|configuration| CatalogSnapshots {
            take_local: configuration.take_local_catalog_snapshot.unwrap_or(false),
            export: configuration.export_catalog_snapshot.unwrap_or(false),
        });
        let mode = DrMode::from_configuration(snapshots);
        let kinds: Vec<_> = spec.actions.iter().map(|action| action.action).collect();
        let expected: &[PolicyActionKind] = match mode {
            DrMode::QuickExportedSnapshot => &[PolicyActionKind::Backup, PolicyActionKind::Export],
            DrMode::Legacy | DrMode::QuickLocalSnapshot | DrMode::QuickNoSnapshot => {
                &[PolicyActionKind::Backup]
            }
        };
        if kinds != expected {
            let words: Vec<_> = expected.iter().map(|kind| kind.as_str()).collect();
            let words = words.join(" and ");
            self.refuse(format!("spec.actions of policy '{DR_POLICY}' must be {words} and nothing else"));
        }
        let profile = self.backup_profile(&spec.actions);
        if profile.is_none() {
            self.refuse("spec.actions[0].backupParameters.profile is required: it is the target");
        }
        Some(DrPolicy { profile: profile?, mode })
    }
}

fn named(reference: &ObjectReference) -> Option<String> {
    Some(reference.name.clone()).filter(|name| !name.is_empty())
}

fn plain_selector(selector: &Selector) -> SelectorSpec {
    let match_expressions = selector.match_expressions.iter().map(|expression| selector::MatchExpression {
        key: expression.key.clone(),
        operator: match expression.operator {
            MatchOperator::In => selector::MatchOperator::In,
            MatchOperator::NotIn => selector::MatchOperator::NotIn,
            MatchOperator::Exists => selector::MatchOperator::Exists,
            MatchOperator::DoesNotExist => selector::MatchOperator::DoesNotExist,
        },
        values: expression.values.clone(),
    });
    SelectorSpec {
        match_expressions: match_expressions.collect(),
        match_labels: selector.match_labels.clone(),
    }
}
