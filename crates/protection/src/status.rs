//! What this instance says of itself: a ConfigMap that people, `keelson dr status` and dashboards read.
//!
//! Written when something changed, at most every two seconds. Nothing reads it back to decide anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use keelson_catalog::{Class, Database};
use keelson_crypto::SigningKey;
use keelson_model::names::{OWNERSHIP_CONFIG_MAP, REPORTS_CONFIG_MAP, STATUS_CONFIG_MAP};
use keelson_model::{ClusterId, SlotId};
use keelson_workload::{ConfigMap, NamespacedName, Secret};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::layout::Position;
use crate::maintenance::{self, PassReport};
use crate::ownership::{self, Foreseen, Held, Ownership};
use crate::passkeys::{self, InvalidPasskey};
use crate::platform::{CatalogAway, Platform, TakenApi};
use crate::recovery::drill::DrillReport;
use crate::recovery::kit::{KIT_SECRET, SLOTS_KEY};
use crate::recovery::{slots, state};

/// The key that holds the whole report as JSON.
pub const STATUS_KEY: &str = "status.json";
const WRITE_EVERY: Duration = Duration::from_secs(2);
/// Also when nothing has changed: what is older was left behind by an instance that is gone.
const BEAT_EVERY: Duration = Duration::from_secs(30);
/// A status of this age is nobody's any more.
pub const STALE_AFTER: Duration = Duration::from_secs(90);

/// How an instance stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    #[serde(rename = "clusterID")]
    pub cluster_id: ClusterId,
    pub instance: String,
    pub lineage: String,
    pub version: String,
    /// By the clock of the platform, at least every half minute.
    #[serde(default)]
    pub written_at: Timestamp,
    /// Absent while the catalog is away; `problem` says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<CatalogStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disaster_recovery: Option<DisasterRecoveryStatus>,
    /// Exports that nobody could open without this cluster: their repositories lack the newest passphrase slot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports_at_risk: Vec<ExportAtRiskStatus>,
    /// What checks the reports of drills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_key: Option<String>,
    pub ownership: OwnershipStatus,
    /// Our groups that are not served, because somebody else has their APIServices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken_apis: Vec<TakenApiStatus>,
    /// Which Passkeys open the volume.
    #[serde(default)]
    pub passkeys: PasskeysStatus,
    /// The last pass that freed what nothing needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<PassReport>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogStatus {
    pub generation: u32,
    pub sequence: u64,
    pub chain: String,
    /// By class.
    pub digests: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DisasterRecoveryStatus {
    pub profile: String,
    pub mode: String,
    pub repository: String,
    /// Absent while nothing is shipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipped: Option<ShippedStatus>,
    /// The last proof that a recovery would succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<DrillReport>,
    /// When the DR policy last ran to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<Timestamp>,
    /// What a person has to know: a chain that was left, entries that were dropped before they were shipped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShippedStatus {
    pub epoch: u32,
    #[serde(default)]
    pub generation: u32,
    pub through: u64,
    /// The digest of the entry there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// Entries of the journal that are not in the location yet.
    pub behind: u64,
    /// When the oldest of them was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportAtRiskStatus {
    pub application: String,
    pub profile: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TakenApiStatus {
    /// Of the APIService.
    pub name: String,
    /// To whom it leads.
    pub by: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PasskeysStatus {
    pub valid: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invalid: Vec<InvalidPasskeyStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvalidPasskeyStatus {
    pub name: String,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnershipStatus {
    /// `Owned`, `Pending`, `Partial` while some places are still to be claimed, or `Fenced`.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ClusterId>,
    pub claims: Vec<ClaimStatus>,
    /// Places of the source's backups that could not be claimed yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unowned: Vec<UnownedStatus>,
    /// Why nothing is removed although this instance owns it, or taken over although nothing says that it must not: clocks
    /// that differ, an install namespace that is being deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnownedStatus {
    pub profile: String,
    pub cluster: ClusterId,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimStatus {
    pub profile: String,
    pub cluster: ClusterId,
    pub epoch: u32,
    /// Taken over a short while ago: nothing is removed there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeps_all_until: Option<Timestamp>,
    /// What would be freed then, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreseen: Option<ForeseenStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fenced_by: Option<u32>,
}

/// The plan of the first maintenance after a take-over, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForeseenStatus {
    pub at: Timestamp,
    /// Restore points that owners before have retired.
    pub retired: u64,
    /// At most: a session that runs then may need some of it.
    pub packs: u64,
    pub bytes: u64,
    /// Restore points that have expired and will be retired, too.
    pub expired: u64,
}

impl From<Foreseen> for ForeseenStatus {
    fn from(Foreseen { at, retired, packs, bytes, expired }: Foreseen) -> Self {
        Self { at, retired, packs, bytes, expired }
    }
}

pub(crate) async fn run_status(platform: Arc<Platform>, stop: CancellationToken) {
    let mut written: Option<(InstanceStatus, tokio::time::Instant)> = None;
    let (mut slots, mut reported) = (Vec::new(), None);
    let mut tick = tokio::time::interval(WRITE_EVERY);
    loop {
        tokio::select! { _ = tick.tick() => (), () = stop.cancelled() => return }
        publish_slots(&platform, &mut slots).await;
        publish_reports(&platform, &mut reported).await;
        let status = observe(&platform);
        let is_fresh = |(known, at): &(InstanceStatus, tokio::time::Instant)| {
            let same = InstanceStatus { written_at: known.written_at, ..status.clone() };
            *known == same && at.elapsed() < BEAT_EVERY
        };
        if written.as_ref().is_some_and(is_fresh) {
            continue;
        }
        match write(&platform, &status).await {
            Ok(()) => written = Some((status, tokio::time::Instant::now())),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the status was not written");
            }
        }
    }
}

/// How this instance stands now.
pub fn observe(platform: &Platform) -> InstanceStatus {
    let identity = platform.identity();
    let catalog = platform.catalog();
    let head = catalog.as_ref().ok().map(Database::head);
    let catalog_status = head.as_ref().map(|head| CatalogStatus {
        generation: head.revision.generation().0,
        sequence: head.revision.sequence().0,
        chain: hex::encode(head.chain),
        digests: Class::ALL.map(|class| (class.to_string(), head.digests.of(class).to_string())).into(),
    });
    let enabled = state::enabled(platform).ok().flatten();
    let drill = last_drill(platform);
    let disaster_recovery = enabled.map(|enabled| DisasterRecoveryStatus {
        alarms: find_alarms(platform, drill.as_ref()),
        drill,
        last_run: state::last_run(platform).ok().flatten(),
        profile: enabled.profile,
        mode: enabled.mode.to_string(),
        repository: enabled.repository.to_string(),
        shipped: platform.shipper.try_lock().ok().and_then(|slot| {
            let shipper = slot.as_ref()?;
            let at = shipper.position(shipper.shipped());
            let head = head.as_ref().map_or(at.sequence.0, |head| head.revision.sequence().0);
            Some(ShippedStatus {
                epoch: at.epoch.0,
                generation: at.generation.0,
                through: at.sequence.0,
                chain: digest_at(&catalog, at),
                behind: head.saturating_sub(at.sequence.0),
                behind_since: behind_since(&catalog, at),
                base: shipper.base.as_ref().map(|base| base.document.at.sequence.0),
            })
        }),
    });
    InstanceStatus {
        cluster_id: platform.cluster_id.clone(),
        instance: identity.instance.to_string(),
        lineage: identity.lineage.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        written_at: platform.clock.now(),
        catalog: catalog_status,
        passkeys: catalog.as_ref().map(passkeys_status).unwrap_or_default(),
        problem: catalog.err().map(|away| away.why),
        disaster_recovery,
        exports_at_risk: slots::exports_at_risk(platform)
            .into_iter()
            .map(|slots::ExportAtRisk { application, profile }| ExportAtRiskStatus { application, profile })
            .collect(),
        report_key: SigningKey::of_lineage(&platform.vault(), identity.lineage)
            .map(|key| key.public().to_string()),
        ownership: ownership_status(platform, ownership::read(&platform.instance).unwrap_or_default()),
        taken_apis: platform
            .taken_apis()
            .into_iter()
            .map(|(name, TakenApi { uid: _, by })| TakenApiStatus { name, by })
            .collect(),
        maintenance: maintenance::passes(platform).and_then(|passes| passes.last),
    }
}

fn passkeys_status(catalog: &Database) -> PasskeysStatus {
    let (valid, invalid) = passkeys::standing(catalog);
    let invalid = invalid.into_iter().map(|InvalidPasskey { name, why }| InvalidPasskeyStatus { name, why });
    PasskeysStatus { valid, invalid: invalid.collect() }
}

/// Of an entry that the location holds, as the catalog in use tells it.
fn digest_at(catalog: &Result<Database, CatalogAway>, at: Position) -> Option<String> {
    let catalog = catalog.as_ref().ok().filter(|catalog| catalog.generation() == at.generation)?;
    catalog.chain_at(at.sequence).ok().flatten().map(hex::encode)
}

fn behind_since(catalog: &Result<Database, CatalogAway>, at: Position) -> Option<Timestamp> {
    let catalog = catalog.as_ref().ok().filter(|catalog| catalog.generation() == at.generation)?;
    catalog.backlog(at.sequence).ok()?.oldest
}

fn last_drill(platform: &Platform) -> Option<DrillReport> {
    state::drills(platform).ok().flatten().and_then(|drills| drills.last)
}

fn find_alarms(platform: &Platform, drill: Option<&DrillReport>) -> Vec<String> {
    let moved = state::moved(platform).ok().flatten().map(|moved| {
        format!("at {} shipping left repository {} for a new one: {}", moved.at, moved.from, moved.why)
    });
    let dropped = state::dropped(platform).ok().flatten().map(|dropped| {
        format!("since {} too much waited for the location and was dropped; a base is needed", dropped.at)
    });
    // Until a drill has shown that the new one leads back.
    let lost = state::bases_lost(platform).ok().flatten();
    let lost = lost.filter(|lost| !drill.is_some_and(|drill| drill.is_green() && drill.at > lost.at));
    let lost = lost.map(|lost| format!("at {} {}", lost.at, lost.tell()));
    let drill = drill.filter(|drill| !drill.is_green()).map(|drill| {
        let first = drill.findings.first().map(String::as_str).unwrap_or_default();
        format!("the drill at {} failed: a recovery might not succeed: {first}", drill.at)
    });
    let trouble = platform.shipping_trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let trouble = trouble.map(|(since, why)| format!("since {since} nothing is shipped: {why}"));
    let owed = state::owed(platform).unwrap_or_default().into_iter().map(|owed| {
        format!("the cluster has not taken {} of the recovered catalog yet: {}", owed.key(), owed.why)
    });
    let source = state::passphrase_source(platform).ok().flatten().and_then(|known| known.trouble);
    let source = source.map(|trouble| {
        format!(
            "since {} the passphrase in force cannot be read where it is kept: {}",
            trouble.since, trouble.why
        )
    });
    let alarms = trouble.into_iter().chain(source).chain(moved).chain(dropped).chain(lost);
    alarms.chain(drill).chain(owed).collect()
}

/// What is told of what this instance owns.
pub(crate) fn ownership_status(platform: &Platform, ownership: Ownership) -> OwnershipStatus {
    let claim = |held: &Held| {
        let keeps_all_until = held.waits_until(platform.clock.now());
        let foreseen = held.foreseen.clone().filter(|_| keeps_all_until.is_some());
        ClaimStatus {
            profile: held.profile.clone(),
            cluster: held.cluster.clone(),
            epoch: held.epoch.0,
            keeps_all_until,
            foreseen: foreseen.map(ForeseenStatus::from),
            fenced_by: held.fenced_by.map(|epoch| epoch.0),
        }
    };
    let claims: Vec<ClaimStatus> = ownership.held.values().map(claim).collect();
    let fenced = claims.iter().any(|claim| claim.fenced_by.is_some());
    let word = match (&ownership.pending, fenced) {
        (Some(_), _) => "Pending",
        (None, true) => "Fenced",
        (None, false) if !ownership.unowned.is_empty() => "Partial",
        (None, false) => "Owned",
    };
    let mut waits = platform.clock_looks.reasons();
    if ownership.pending.is_some() && platform.torn_down.load(Ordering::Relaxed) {
        let namespace = &platform.settings.install_namespace;
        waits.push(format!(
            "{OWNERSHIP_CONFIG_MAP} is gone with namespace '{namespace}', which is being deleted: nothing is taken over"
        ));
    }
    OwnershipStatus {
        waits,
        state: word.to_owned(),
        source: ownership.pending.map(|pending| pending.source),
        claims,
        unowned: ownership
            .unowned
            .into_values()
            .map(|unowned| UnownedStatus {
                profile: unowned.profile,
                cluster: unowned.cluster,
                why: unowned.why,
            })
            .collect(),
    }
}

/// The slots that a recovery kit is made with; whoever makes one reaches the cluster alone.
async fn publish_slots(platform: &Platform, published: &mut Vec<SlotId>) {
    let keys = platform.repository_keys();
    let ids = keys.slot_ids();
    if ids.is_empty() || ids == *published {
        return;
    }
    let at = NamespacedName::new(&platform.settings.install_namespace, KIT_SECRET);
    let bytes = keys.slots.iter().flat_map(keelson_crypto::Slot::to_bytes).collect();
    let mut secret = Secret::opaque(at, [(SLOTS_KEY.to_owned(), bytes)]);
    secret.labels.insert("app.kubernetes.io/part-of".to_owned(), "k10".to_owned());
    match platform.cluster.apply_secret(&secret).await {
        Ok(()) => *published = ids,
        Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "slots were not written"),
    }
}

/// Where auditors find them, whoever runs the platform.
async fn publish_reports(platform: &Platform, published: &mut Option<Timestamp>) {
    let reports = state::drills(platform).ok().flatten().map(|drills| drills.reports).unwrap_or_default();
    let newest = reports.last().map(|report| report.at);
    if newest.is_none() || newest == *published {
        return;
    }
    let named = reports.into_iter().map(|report| (report_name(report.at), report.text)).collect();
    let at = NamespacedName::new(&platform.settings.install_namespace, REPORTS_CONFIG_MAP);
    let mut map = ConfigMap::new(at, named);
    map.labels.insert("app.kubernetes.io/part-of".to_owned(), "k10".to_owned());
    match platform.cluster.apply_config_map(&map).await {
        Ok(()) => *published = newest,
        Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "reports were not written"),
    }
}

/// Orders as time does; no colons, which a key of a ConfigMap must not have.
fn report_name(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H-%M-%SZ.jsonl").to_string()
}

async fn write(platform: &Platform, status: &InstanceStatus) -> Result<(), keelson_workload::RequestError> {
    let at = NamespacedName::new(&platform.settings.install_namespace, STATUS_CONFIG_MAP);
    let json = serde_json::to_string_pretty(status).expect("plain data");
    let mut map = ConfigMap::new(at, BTreeMap::from([(STATUS_KEY.to_owned(), json)]));
    map.labels.insert("app.kubernetes.io/part-of".to_owned(), "k10".to_owned());
    platform.cluster.apply_config_map(&map).await
}
