//! Puts configuration back into the cluster: secrets first, then the profiles that name them, then policies.
//!
//! The profile that the recovery itself reads through, and its Secret, change only after the new ones have opened the
//! location; otherwise they stay and the report says so.

use keelson_catalog::{Database, Query, RowKind, Stored};
use keelson_model::Chain;
use keelson_model::names::DR_POLICY;
use keelson_workload::{Kind, NamespacedName, Secret};
use serde_json::Value;

use crate::kinds;
use crate::locations;
use crate::mirror::{self, MirroredSecret};
use crate::platform::Platform;
use crate::policies;
use crate::recovery::RecoveryError;
use crate::recovery::enable;
use crate::recovery::execute::Phase;
use crate::recovery::plan::RecoveryPlan;

const PAGE: usize = 200;

pub(crate) async fn put_back(
    platform: &Platform,
    plan: &RecoveryPlan,
    phase: Phase<'_>,
) -> Result<Vec<String>, RecoveryError> {
    let catalog = platform.catalog().map_err(|source| RecoveryError::Away { source })?;
    let mut writer =
        Writer { platform, plan, notes: Vec::new(), own_secret: own_secret(platform, plan).await };
    if !plan.skips("secrets") {
        phase("Restoring secrets");
        for row in rows(&catalog, kinds::secrets())? {
            writer.secret(&row).await?;
        }
    }
    if !plan.skips("profiles") {
        phase("Restoring profiles");
        for row in rows(&catalog, kinds::profiles())? {
            writer.object(&row, &kinds::profile()).await?;
        }
    }
    if !plan.skips("policies") {
        phase("Restoring policies");
        for row in rows(&catalog, kinds::policies())? {
            writer.object(&row, &kinds::policy()).await?;
        }
    }
    Ok(writer.notes)
}

/// Protects the platform as its policy asks, if it has one. Returns why it is not protected.
pub(crate) async fn protect_again(platform: &Platform) -> Option<String> {
    let namespace = &platform.settings.install_namespace;
    let protecting = async {
        let policy = platform.cluster.read_object(&kinds::policy(), Some(namespace), DR_POLICY).await;
        let Some(policy) = policy.map_err(|error| Chain(&error).to_string())? else { return Ok(()) };
        let Ok(policy) = policies::parse(policy) else { return Ok(()) };
        let Some(dr) = policy.parsed.disaster_recovery.as_ref() else { return Ok(()) };
        let enabled = enable::enable(platform, &dr.profile, enable::mode_of(platform, dr)).await;
        enabled.map(drop).map_err(|error| Chain(&error).to_string())
    };
    let protected: Result<(), String> = protecting.await;
    protected.err().map(|why| format!("the recovered platform does not protect itself yet: {why}"))
}

/// Configuration is made by people and few; it is read whole, kind by kind.
fn rows(catalog: &Database, kind: RowKind) -> Result<Vec<Stored>, RecoveryError> {
    let mut query = Query::all(kind, PAGE);
    let mut all = Vec::new();
    loop {
        let page = catalog.list(&query).map_err(|source| RecoveryError::ReadState { source })?;
        all.extend(page.rows);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(all),
        }
    }
}

/// The Secret that the profile in use names.
async fn own_secret(platform: &Platform, plan: &RecoveryPlan) -> Option<String> {
    let namespace = &platform.settings.install_namespace;
    let profile =
        platform.cluster.read_object(&kinds::profile(), Some(namespace), &plan.profile).await.ok()??;
    profile["spec"]["locationSpec"]["credential"]["secret"]["name"].as_str().map(str::to_owned)
}

struct Writer<'a> {
    platform: &'a Platform,
    plan: &'a RecoveryPlan,
    notes: Vec<String>,
    own_secret: Option<String>,
}

impl Writer<'_> {
    async fn secret(&mut self, row: &Stored) -> Result<(), RecoveryError> {
        let name = row.row.name.as_str();
        if self.own_secret.as_deref() == Some(name) {
            self.notes.push(format!("Secret '{name}' was kept: the recovery reads through it"));
            return Ok(());
        }
        let mirrored: Option<MirroredSecret> = serde_json::from_slice(&row.row.body).ok();
        let data = mirrored
            .as_ref()
            .and_then(|secret| mirror::open_secret(self.platform, &row.row.namespace, name, secret));
        let (Some(mirrored), Some(data)) = (mirrored, data) else {
            self.notes.push(format!("Secret '{name}' could not be opened and was left out"));
            return Ok(());
        };
        let at = NamespacedName::new(&self.platform.settings.install_namespace, name);
        let failed = |source| RecoveryError::Cluster { what: format!("Secret '{name}'"), source };
        let present = self.platform.cluster.read_secret(&at).await.map_err(failed)?;
        if let Some(present) = present.filter(|_| !self.plan.mode.is_quick()) {
            if present.data != data {
                self.notes.push(format!("Secret '{name}' exists already and differs; it was kept"));
            }
            return Ok(());
        }
        let mut secret = Secret::opaque(at, []);
        secret.secret_type = mirrored.secret_type;
        secret.labels = mirrored.labels;
        secret.data = data;
        match self.platform.cluster.apply_secret(&secret).await {
            Ok(()) => Ok(()),
            Err(error) if error.refusal().is_some() => {
                self.notes.push(format!("Secret '{name}' was refused: {}", Chain(&error)));
                Ok(())
            }
            Err(source) => Err(failed(source)),
        }
    }

    async fn object(&mut self, row: &Stored, kind: &Kind) -> Result<(), RecoveryError> {
        let Some(mut object) = mirror::object_of(&row.row.body) else { return Ok(()) };
        if let Some(map) = object.as_object_mut() {
            map.remove("status");
        }
        object["metadata"]["namespace"] = Value::from(row.row.namespace.clone());
        strip_nulls(&mut object);
        let (namespace, name) = (row.row.namespace.clone(), row.row.name.clone());
        let what = format!("{} '{namespace}/{name}'", kind.kind);
        let failed = |source| RecoveryError::Cluster { what: what.clone(), source };
        let present =
            self.platform.cluster.read_object(kind, Some(&namespace), &name).await.map_err(failed)?;
        if let Some(present) = &present {
            if same_specification(present, &object) {
                return Ok(());
            }
            if !self.plan.mode.is_quick() {
                self.notes.push(format!("{what} exists already and differs; it was kept"));
                return Ok(());
            }
            if kind.kind == "Profile" && name == self.plan.profile && !self.opens(&name, &object).await {
                return Ok(());
            }
        }
        match self.platform.cluster.apply_object(kind, &object).await {
            Ok(_) => Ok(()),
            // One object that the API server does not take must not keep all others away.
            Err(error) if error.refusal().is_some() => {
                self.notes.push(format!("{what} was refused: {}", Chain(&error)));
                Ok(())
            }
            Err(source) => Err(RecoveryError::Cluster { what, source }),
        }
    }

    /// Whether the location opens through the profile as it was backed up.
    async fn opens(&mut self, name: &str, object: &Value) -> bool {
        let Some(spec) = locations::known_profile(name, object).ok().and_then(|known| known.spec) else {
            self.notes.push(format!("Profile '{name}' was kept: the backed-up one describes no location"));
            return false;
        };
        let listed = match self.platform.open_spec(name, &spec).await {
            Ok(location) => location.store.list_folders(&crate::layout::clusters()).await.is_ok(),
            Err(_) => false,
        };
        if !listed {
            self.notes
                .push(format!("Profile '{name}' was kept: the backed-up one does not open the location"));
        }
        listed
    }
}

fn same_specification(present: &Value, wanted: &Value) -> bool {
    present["spec"] == wanted["spec"]
}

/// Server-side apply takes `null` for a wish to own nothing of a field; the row only means that it was absent.
fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}
