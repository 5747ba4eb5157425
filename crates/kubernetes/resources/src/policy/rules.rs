//! What can be told of a policy without looking anywhere else.
//!
//! The DR policy's selector and actions are not here: changing them is answered in its status, as documented.

use crate::cel::{AllRules, Rules};

pub(super) const POLICY_SPEC: AllRules = AllRules(&[OWN, TIMING]);

const OWN: Rules = Rules(&[
    ("has(self.frequency) || has(self.presetRef)", "frequency is required without presetRef"),
    (
        "!has(self.presetRef) || !(has(self.frequency) || has(self.subFrequency) \
         || has(self.backupWindow) || has(self.retention))",
        "presetRef excludes frequency, subFrequency, backupWindow and retention",
    ),
    (
        "!has(self.presetRef) || self.actions.all(a, a.action in ['backup', 'export'])",
        "presetRef is for backup policies only",
    ),
    (
        "!has(self.enableStaggering) || !self.enableStaggering || has(self.backupWindow) || has(self.presetRef)",
        "enableStaggering needs backupWindow",
    ),
    (
        "!has(self.frequency) || self.frequency == '@onDemand' || has(self.retention) \
         || !self.actions.exists(a, a.action == 'backup')",
        "retention is required to back up, except with @onDemand or presetRef",
    ),
    (
        "has(self.selector) || !self.actions.exists(a, a.action == 'backup')",
        "selector is required to back up",
    ),
    (
        "!self.actions.exists(a, a.action == 'export') || self.actions.exists(a, a.action == 'backup')",
        "an export needs a backup in the same policy",
    ),
    (
        "!self.actions.exists(a, a.action == 'restore') || self.actions.exists(a, a.action == 'import')",
        "a restore needs an import in the same policy",
    ),
]);

/// What holds of a policy's schedule and retention wherever they stand.
pub(crate) const TIMING: Rules = Rules(&[
    (
        "!has(self.frequency) || self.frequency != '@onDemand' \
         || !(has(self.subFrequency) || has(self.backupWindow))",
        "@onDemand excludes subFrequency and backupWindow",
    ),
    (
        "!has(self.backupWindow) || !has(self.subFrequency) \
         || !((has(self.subFrequency.minutes) && size(self.subFrequency.minutes) > 0) \
         || (has(self.subFrequency.hours) && size(self.subFrequency.hours) > 0))",
        "backupWindow excludes subFrequency.minutes and subFrequency.hours",
    ),
    (
        "!has(self.subFrequency) || !has(self.subFrequency.minutes) || size(self.subFrequency.minutes) < 2 \
         || !has(self.frequency) || self.frequency == '@hourly'",
        "several subFrequency.minutes are possible with @hourly only",
    ),
    (
        "!has(self.subFrequency) || !has(self.subFrequency.hours) || size(self.subFrequency.hours) < 2 \
         || !has(self.frequency) || self.frequency == '@daily'",
        "several subFrequency.hours are possible with @daily only",
    ),
    (
        "!has(self.subFrequency) || !has(self.subFrequency.weekdays) || size(self.subFrequency.weekdays) < 2 \
         || !has(self.frequency) || self.frequency == '@weekly'",
        "several subFrequency.weekdays are possible with @weekly only",
    ),
    (
        "!has(self.subFrequency) || !has(self.subFrequency.days) || size(self.subFrequency.days) < 2 \
         || !has(self.frequency) || self.frequency == '@monthly'",
        "several subFrequency.days are possible with @monthly only",
    ),
    (
        "!has(self.subFrequency) || !has(self.subFrequency.months) || size(self.subFrequency.months) < 2 \
         || !has(self.frequency) || self.frequency == '@yearly'",
        "several subFrequency.months are possible with @yearly only",
    ),
    (
        "!has(self.subFrequency) || !has(self.subFrequency.weekdays) || size(self.subFrequency.weekdays) == 0 \
         || !has(self.frequency) || !(self.frequency in ['@monthly', '@yearly'])",
        "subFrequency.weekdays cannot be combined with @monthly or @yearly",
    ),
    (
        "!has(self.subFrequency) || !has(self.subFrequency.days) || size(self.subFrequency.days) == 0 \
         || !has(self.frequency) || self.frequency != '@weekly'",
        "subFrequency.days cannot be combined with @weekly",
    ),
    (
        "!has(self.retention) || !has(self.retention.hourly) || self.retention.hourly == 0 \
         || !has(self.frequency) || !(self.frequency in ['@daily', '@weekly', '@monthly', '@yearly'])",
        "retention.hourly is finer than the frequency",
    ),
    (
        "!has(self.retention) || !has(self.retention.daily) || self.retention.daily == 0 \
         || !has(self.frequency) || !(self.frequency in ['@weekly', '@monthly', '@yearly'])",
        "retention.daily is finer than the frequency",
    ),
    (
        "!has(self.retention) || !has(self.retention.weekly) || self.retention.weekly == 0 \
         || !has(self.frequency) || !(self.frequency in ['@monthly', '@yearly'])",
        "retention.weekly is finer than the frequency",
    ),
    (
        "!has(self.retention) || !has(self.retention.monthly) || self.retention.monthly == 0 \
         || !has(self.frequency) || self.frequency != '@yearly'",
        "retention.monthly is finer than the frequency",
    ),
]);

pub(super) const POLICY_ACTION: Rules = Rules(&[
    ("self.action == 'backup' || !has(self.backupParameters)", "backupParameters are for action backup only"),
    ("self.action == 'export' || !has(self.exportParameters)", "exportParameters are for action export only"),
    ("self.action == 'import' || !has(self.importParameters)", "importParameters are for action import only"),
    (
        "self.action == 'restore' || !has(self.restoreParameters)",
        "restoreParameters are for action restore only",
    ),
    ("self.action == 'report' || !has(self.reportParameters)", "reportParameters are for action report only"),
]);

pub(super) const REPORT_PARAMETERS: Rules = Rules(&[(
    "(has(self.statsIntervalDays) ? self.statsIntervalDays : 0) \
     + (has(self.statsIntervalHours) ? self.statsIntervalHours : 0) > 0",
    "the sum of statsIntervalDays and statsIntervalHours must not be zero",
)]);
