//! `PolicyPreset`: schedule, retention and export that several policies share.

use keelson_model::location::{ProfileHealth, ProfileKind, check_dr_target};
use keelson_model::retention;
use keelson_model::schedule::{Frequency, Schedule};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Around, ConfigurationStatus, SUCCESS, Validation, spec_of};
use crate::actions::export::ExportData;
use crate::cel::{AllRules, Rules};
use crate::parts::ObjectReference;
use crate::policy::{BackupWindow, FrequencyName, Retention, SubFrequency, TIMING};
use crate::profile;
use crate::schema::open_object;

pub(super) const VALIDATION: Validation =
    Validation { looks_at: &["Profile"], check, sound: SUCCESS, unused: None, type_of: Some(type_of) };

const BACKUP: AllRules = AllRules(&[OWN, TIMING]);

const OWN: Rules = Rules(&[
    ("self.frequency != '@onDemand'", "a preset cannot have frequency @onDemand"),
    (
        "!has(self.enableStaggering) || !self.enableStaggering || has(self.backupWindow)",
        "enableStaggering needs backupWindow",
    ),
]);

const EXPORT: Rules = Rules(&[(
    "!has(self.frequency) || self.frequency != '@onDemand'",
    "a preset cannot have frequency @onDemand",
)]);

/// Schedule, retention and export that several policies share.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "config.kio.kasten.io",
    version = "v1alpha1",
    kind = "PolicyPreset",
    plural = "policypresets",
    namespaced,
    status = "PolicyPresetStatus",
    derive = "PartialEq",
    category = "k10",
    doc = "PolicyPreset holds schedule, retention and export that several policies share.",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.validation"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct PolicyPresetSpec {
    /// A note for people.
    #[schemars(length(max = 4096))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// When policies run and what they keep.
    pub backup: PresetBackup,
    /// How they export; without it they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<PresetExport>,
}

/// When policies run and what they keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = BACKUP))]
#[serde(rename_all = "camelCase")]
pub struct PresetBackup {
    /// How often they run.
    pub frequency: FrequencyName,
    /// Narrows the frequency. Times are UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_frequency: Option<SubFrequency>,
    /// The hours of the day in which runs may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_window: Option<BackupWindow>,
    /// Lets the platform choose the moment inside the backup window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_staggering: Option<bool>,
    /// How many restore points of each tier are kept.
    pub retention: Retention,
    /// The profile for blueprints and generic backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ObjectReference>,
}

/// How policies export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = EXPORT))]
#[serde(rename_all = "camelCase")]
pub struct PresetExport {
    /// Which runs export: the backup's frequency or a coarser one; every run if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency: Option<FrequencyName>,
    /// How many exported restore points of each tier are kept; as of the backup if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// The profile of the location.
    pub profile: ObjectReference,
    /// The profile for volume data that is exported in block mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_mode_profile: Option<ObjectReference>,
    /// How volume data is exported.
    pub export_data: ExportData,
    /// Where snapshots are copied to by exports that are not portable.
    #[schemars(schema_with = "open_object")]
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub volume_snapshots: Value,
}

/// What validating the preset found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PolicyPresetStatus {
    /// backup, backup-export, or unknown if the preset is not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    #[serde(flatten)]
    pub found: ConfigurationStatus,
}

fn type_of(sound: Option<&Value>) -> &'static str {
    match sound {
        Some(object) if object["spec"]["export"].is_object() => "backup-export",
        Some(_) => "backup",
        None => "unknown",
    }
}

fn check(object: &Value, around: &Around) -> Vec<String> {
    let spec: PolicyPresetSpec = match spec_of(object) {
        Ok(spec) => spec,
        Err(faults) => return faults,
    };
    let mut faults = check_backup(&spec.backup);
    if let Some(export) = &spec.export {
        faults.extend(check_export(export, &spec.backup));
        check_profile("spec.export.profile", &export.profile, around, &mut faults);
        if let Some(profile) = &export.block_mode_profile {
            check_block_profile(profile, around, &mut faults);
        }
    }
    if let Some(profile) = &spec.backup.profile {
        check_profile("spec.backup.profile", profile, around, &mut faults);
    }
    faults
}

fn check_backup(backup: &PresetBackup) -> Vec<String> {
    let frequency = Frequency::from(backup.frequency);
    if frequency == Frequency::OnDemand {
        return vec!["spec.backup.frequency: a preset cannot have frequency @onDemand".to_owned()];
    }
    let sub = backup.sub_frequency.as_ref().map(Into::into).unwrap_or_default();
    let window = backup.backup_window.as_ref().map(Into::into);
    let mut faults = Vec::new();
    if backup.enable_staggering == Some(true) && window.is_none() {
        faults.push("spec.backup.enableStaggering needs backupWindow".to_owned());
    }
    let schedule = Schedule::new(frequency, sub, window).err().unwrap_or_default();
    faults.extend(schedule.iter().map(|fault| format!("spec.backup.{fault}")));
    let retention = retention::Retention::from(&backup.retention);
    faults.extend(retention.check_against(frequency).iter().map(|fault| format!("spec.backup.{fault}")));
    if retention.keeps_nothing() {
        faults
            .push("spec.backup.retention keeps nothing; give at least one tier a number above 0".to_owned());
    }
    faults
}

fn check_export(export: &PresetExport, backup: &PresetBackup) -> Vec<String> {
    let frequency = Frequency::from(backup.frequency);
    let own = export.frequency.map_or(frequency, Frequency::from);
    if own == Frequency::OnDemand || own < frequency {
        return vec![format!("spec.export.frequency '{own}' does not fit the backup's '{frequency}'")];
    }
    match (&export.retention, own.tier()) {
        (Some(given), _) => {
            let faults = retention::Retention::from(given).check_against(own);
            faults.iter().map(|fault| format!("spec.export.{fault}")).collect()
        }
        (None, Some(tier)) if export.frequency.is_some() => {
            let kept = retention::Retention::from(&backup.retention).count(tier);
            let fault = format!(
                "spec.export.frequency '{own}' without spec.export.retention needs spec.backup.retention.{tier}"
            );
            Vec::from_iter((kept == 0).then_some(fault))
        }
        (None, _) => Vec::new(),
    }
}

/// A profile that backups are to be written through.
fn check_profile(path: &str, reference: &ObjectReference, around: &Around, faults: &mut Vec<String>) {
    let Some((kind, health)) = find_profile(path, reference, around, faults) else { return };
    if let Err(refusal) = check_dr_target(kind, health) {
        faults.push(format!("{path}: profile '{}' cannot be used here: {refusal}", reference.name));
    }
}

fn check_block_profile(reference: &ObjectReference, around: &Around, faults: &mut Vec<String>) {
    let path = "spec.export.blockModeProfile";
    match find_profile(path, reference, around, faults) {
        Some((ProfileKind::Vbr, _)) | None => {}
        Some(_) => faults.push(format!("{path}: profile '{}' is no VBR profile", reference.name)),
    }
}

fn find_profile(
    path: &str,
    reference: &ObjectReference,
    around: &Around,
    faults: &mut Vec<String>,
) -> Option<(ProfileKind, ProfileHealth)> {
    let (install, name) = (&around.install_namespace, &reference.name);
    if let Some(named) = reference.namespace.as_ref().filter(|named| *named != install) {
        faults.push(format!("{path}.namespace '{named}' is not '{install}', where profiles are"));
        return None;
    }
    let Some(found) = around.find("Profile", install, name) else {
        faults.push(format!("{path}: there is no profile '{name}' in namespace '{install}'"));
        return None;
    };
    match profile::parse(found) {
        Ok(parsed) => Some((parsed.kind, parsed.health)),
        Err(_) => {
            faults.push(format!("{path}: profile '{name}' is not valid"));
            None
        }
    }
}
