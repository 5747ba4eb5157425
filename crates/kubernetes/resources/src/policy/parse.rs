//! From a policy in the cluster to plain schedule, retention and selector, with every fault as a sentence.

use keelson_model::names::{DR_POLICY, label};
use keelson_model::naming::check_label_value;
use keelson_model::recovery::{CatalogSnapshots, DrMode};
use keelson_model::retention::{Retention, Tier};
use keelson_model::schedule::{Frequency, Schedule};
use keelson_model::selector::{self, ApplicationSelector, SelectorSpec};
use serde::Deserialize;
use serde_json::Value;

use super::{MatchOperator, PolicyAction, PolicyActionKind, PolicySpec, Selector};
use crate::parts::{Filters, ObjectReference, ReceiveString};

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
    /// Set if a run backs up.
    pub selector: Option<ApplicationSelector>,
    /// The profile that backups are made with, if any.
    pub backup_profile: Option<String>,
    pub exports: Vec<ParsedExport>,
    /// Set if a run imports.
    pub import: Option<ParsedImport>,
    /// Set if a run reports, and does nothing else.
    pub report: Option<ParsedReport>,
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

/// The import action of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedImport {
    pub profile: String,
    pub receive_string: ReceiveString,
    /// Set if what was imported is restored.
    pub restore: Option<ParsedRestore>,
}

/// How what was imported is restored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParsedRestore {
    /// As the restore has them; null for none.
    pub filters: Value,
    pub overwrite_existing: bool,
}

/// The report action of a policy: of which span before the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedReport {
    pub days: u32,
    pub hours: u32,
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
        let import = self.import.iter().map(|import| import.profile.as_str());
        let mut names: Vec<_> =
            self.backup_profile.as_deref().into_iter().chain(exports).chain(import).collect();
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
        let of_platform = [(self.report.is_some(), "reports"), (self.import.is_some(), "imports")];
        if let Some((_, does)) = of_platform.into_iter().find(|(holds, _)| *holds) {
            return vec![format!("a policy that {does} belongs into namespace '{install_namespace}'")];
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
    let import = parser.import(&spec.actions);
    let report = parser.report(&spec, frequency);
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
        import,
        report,
        disaster_recovery,
        ignored: if is_dr { ignored_for_dr(&spec) } else { ignored(&spec) },
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
    let does = |kind| spec.actions.iter().any(|action| action.action == kind);
    let selects = spec.selector.as_ref().is_some_and(|selector| !selector.is_empty());
    if selects && does(PolicyActionKind::Report) {
        ignored.push("spec.selector: a report is of every application".to_owned());
    }
    if selects && does(PolicyActionKind::Import) {
        ignored.push("spec.selector: the receive string says what is imported".to_owned());
    }
    if spec.retention.is_some() && does(PolicyActionKind::Import) {
        ignored.push("spec.retention: what is imported goes when its source retires it".to_owned());
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

/// What a snapshot of the catalog's volume would bring back beyond what is shipped is told with the mode that brings it.
fn ignored_for_dr(spec: &PolicySpec) -> Vec<String> {
    let Some(asked) = &spec.kdr_snapshot_configuration else { return Vec::new() };
    let fields = [
        ("takeLocalCatalogSnapshot", asked.take_local_catalog_snapshot),
        ("exportCatalogSnapshot", asked.export_catalog_snapshot),
    ];
    let asked = fields.into_iter().filter(|(_, asked)| *asked == Some(true));
    let told = asked.map(|(field, _)| {
        format!(
            "spec.kdrSnapshotConfiguration.{field}: no snapshot of the catalog's volume is made; what exported restore \
             points need is shipped as it is committed, and local ones come back with Legacy DR"
        )
    });
    told.collect()
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

    /// That of a policy that backs up nothing must be right as well, and selects nothing.
    fn selector(&mut self, spec: &PolicySpec) -> Option<ApplicationSelector> {
        let backs_up = spec.actions.iter().any(|action| action.action == PolicyActionKind::Backup);
        match spec.selector.as_ref().filter(|selector| backs_up || !selector.is_empty()) {
            None => {
                if backs_up {
                    self.refuse("spec.selector is required for a policy that backs up");
                }
                None
            }
            Some(selector) => match ApplicationSelector::new(&plain_selector(selector)) {
                Ok(selector) => {
                    // Accepted in silence they would leave what they name unprotected.
                    if selector.selects_machines() {
                        self.refuse("spec.selector: this version backs up no virtual machines by themselves");
                    }
                    backs_up.then_some(selector)
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
            if parameters.receive_string.is_some_and(|text| !text.trim().is_empty()) {
                self.refuse(format!("{path}.receiveString is for imports: the details of a run show it"));
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

    /// What another installation exported belongs to no application that is selected here.
    fn import(&mut self, actions: &[PolicyAction]) -> Option<ParsedImport> {
        use PolicyActionKind::{Import, Restore};
        let kinds: Vec<_> = actions.iter().map(|action| action.action).collect();
        if !kinds.contains(&Import) {
            if kinds.contains(&Restore) {
                self.refuse("spec.actions: a restore needs an import before it");
            }
            return None;
        }
        if kinds != [Import] && kinds != [Import, Restore] {
            self.refuse("spec.actions: an import stands alone, or before a restore");
            return None;
        }
        let path = "spec.actions[0].importParameters";
        let parameters = actions[0].import_parameters.clone().unwrap_or_default();
        let profile = parameters.profile.as_ref().and_then(named);
        if profile.is_none() {
            self.refuse(format!("{path}.profile is required"));
        }
        let receive_string = parameters.receive_string.filter(|text| !text.0.trim().is_empty());
        if receive_string.is_none() {
            self.refuse(format!(
                "{path}.receiveString is required: the details of the exporting run show it"
            ));
        }
        let restore = actions.get(1).map(|restore| self.restore(&restore.restore_parameters));
        Some(ParsedImport { profile: profile?, receive_string: receive_string?, restore })
    }

    fn restore(&mut self, parameters: &Value) -> ParsedRestore {
        let path = "spec.actions[1].restoreParameters";
        let mut restore = ParsedRestore::default();
        for (field, value) in parameters.as_object().into_iter().flatten() {
            let is_empty = match value {
                Value::Null | Value::Bool(false) => true,
                Value::String(text) => text.is_empty(),
                Value::Array(items) => items.is_empty(),
                Value::Object(fields) => fields.is_empty(),
                Value::Bool(true) | Value::Number(_) => false,
            };
            match (field.as_str(), is_empty) {
                (_, true) => {}
                ("filters", false) => match Filters::deserialize(value) {
                    Ok(_) => restore.filters = value.clone(),
                    Err(error) => self.refuse(format!("{path}.filters: {error}")),
                },
                ("overwriteExisting", false) if *value == true => restore.overwrite_existing = true,
                (_, false) => self.refuse(format!("{path}.{field} is not supported by this version")),
            }
        }
        restore
    }

    /// A report is of the whole platform, and only one tier of reports is kept: that of the policy's frequency.
    fn report(&mut self, spec: &PolicySpec, frequency: Frequency) -> Option<ParsedReport> {
        let is_report = |action: &PolicyAction| action.action == PolicyActionKind::Report;
        let index = spec.actions.iter().position(is_report)?;
        if spec.actions.iter().any(|action| !is_report(action)) {
            self.refuse("spec.actions: a report is the only action of its policy");
        }
        let retention = spec.retention.as_ref().map(Retention::from).unwrap_or_default();
        if let Some(tier) = frequency.tier() {
            if retention.count(tier) == 0 {
                self.refuse(format!(
                    "spec.retention.{tier} is required for a policy that reports {frequency}"
                ));
            }
            let others = Tier::ALL.into_iter().filter(|other| *other > tier && retention.count(*other) > 0);
            let others = others.map(|other| {
                format!("spec.retention.{other}: of reports only the tier of the policy's frequency is kept, '{tier}'")
            });
            self.faults.extend(others);
        }
        let parameters = spec.actions[index].report_parameters.clone().unwrap_or_default();
        let count = |given: Option<i32>| u32::try_from(given.unwrap_or(0)).unwrap_or(0);
        let days = count(parameters.stats_interval_days);
        let hours = count(parameters.stats_interval_hours);
        if days + hours == 0 {
            self.refuse(format!(
                "spec.actions[{index}].reportParameters: the sum of statsIntervalDays and statsIntervalHours must not be \
                 zero"
            ));
        }
        Some(ParsedReport { days, hours })
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
