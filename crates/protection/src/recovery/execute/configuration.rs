//! Puts configuration back into the cluster: secrets first, then the profiles that name them, then each kind after those
//! that it refers to, and policies last.
//!
//! What the recovery itself runs through changes only after the new has led there too: the profile that it reads through
//! and its Secret, and those by which AWS gives the passphrase. Otherwise they stay and the report says so.
//!
//! Guarantees: nothing is lost that the cluster does not take, be it that it refuses, be it that the namespace of an
//! application is not there yet. It is *owed*: the catalog keeps it, and it is tried again until it is there.

mod own;

use keelson_catalog::{Database, Query, RowKind, Stored};
use keelson_model::Chain;
use keelson_model::names::DR_POLICY;
use keelson_workload::{Kind, NamespacedName, RequestError, Secret};
use serde_json::Value;

use crate::kinds;
use crate::mirror::{self, MirroredSecret};
use crate::platform::Platform;
use crate::policies;
use crate::recovery::RecoveryError;
use crate::recovery::enable;
use crate::recovery::execute::Phase;
use crate::recovery::execute::configuration::own::Own;
use crate::recovery::plan::{Existing, RecoveryPlan};
use crate::recovery::state::{self, Owed};

/// What came of it.
pub(crate) struct PutBack {
    /// Objects that were kept as they are, or could not be written, each with its reason.
    pub notes: Vec<String>,
    pub owed: Vec<Owed>,
}

pub(crate) async fn put_back(
    platform: &Platform,
    plan: &RecoveryPlan,
    phase: Phase<'_>,
) -> Result<PutBack, RecoveryError> {
    let catalog = platform.catalog().map_err(|source| RecoveryError::Away { source })?;
    let own = Own::observe(platform, plan).await?;
    let mut writer = Writer { platform, plan, notes: Vec::new(), owed: Vec::new(), own };
    if !plan.skips("secrets") {
        phase("Restoring secrets");
        for row in rows(&catalog, kinds::secrets())? {
            writer.secret(&row).await?;
        }
    }
    let mut last = None;
    for (kind, row_kind) in kinds::configuration() {
        // Only these two can be left out.
        let (words, skipped) = match kind.resource.as_str() {
            "profiles" => ("Restoring profiles", plan.skips("profiles")),
            "policies" => ("Restoring policies", plan.skips("policies")),
            _ => ("Restoring other configuration", false),
        };
        if skipped {
            continue;
        }
        if last.replace(words) != Some(words) {
            phase(words);
        }
        for row in rows(&catalog, row_kind)? {
            writer.object(&row, &kind).await?;
        }
    }
    Ok(PutBack { notes: writer.notes, owed: writer.owed })
}

/// Tries again what the cluster has not taken. Leaves alone what is there: somebody has made it.
pub(crate) async fn put_back_owed(platform: &Platform) -> Result<(), RecoveryError> {
    let owed = state::owed(platform)?;
    if owed.is_empty() || state::is_unfinished(platform) {
        return Ok(());
    }
    let catalog = platform.catalog().map_err(|source| RecoveryError::Away { source })?;
    let mut left = Vec::new();
    for one in &owed {
        left.extend(try_again(platform, &catalog, one).await?);
    }
    if left == owed { Ok(()) } else { state::write_owed(platform, &left).await }
}

/// What is still owed then. What was written just now is, until a later look finds it: the mirror knows it by then, and
/// does not take its row for one of an object that is gone.
async fn try_again(
    platform: &Platform,
    catalog: &Database,
    owed: &Owed,
) -> Result<Option<Owed>, RecoveryError> {
    let key = owed.key();
    let Some(row) = catalog.read(&key).map_err(|source| RecoveryError::ReadState { source })? else {
        return Ok(None);
    };
    let failed = |source| RecoveryError::Cluster { what: key.to_string(), source };
    let written = if key.kind == kinds::secrets() {
        let Some(secret) = secret_of(platform, &row) else { return Ok(None) };
        if platform.cluster.read_secret(&secret.at).await.map_err(failed)?.is_some() {
            return Ok(None);
        }
        platform.cluster.apply_secret(&secret).await
    } else {
        let found = kinds::configuration().find(|(_, rows)| *rows == key.kind);
        let Some(((kind, _), object)) = found.zip(object_of(&row)) else { return Ok(None) };
        let present = platform.cluster.read_object(&kind, Some(&key.namespace), &key.name).await;
        if present.map_err(failed)?.is_some() {
            return Ok(None);
        }
        platform.cluster.apply_object(&kind, &object).await.map(drop)
    };
    match written {
        Ok(()) => {
            tracing::info!(object = %key, "put back what the cluster did not take before");
            Ok(Some(owed.clone()))
        }
        Err(error) if error.refusal().is_some() => Ok(Some(Owed::of(key, Chain(&error).to_string()))),
        Err(source) => Err(failed(source)),
    }
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
    let rows = catalog.rows(Query::of(kind));
    rows.collect::<Result<_, _>>().map_err(|source| RecoveryError::ReadState { source })
}

struct Writer<'a> {
    platform: &'a Platform,
    plan: &'a RecoveryPlan,
    notes: Vec<String>,
    owed: Vec<Owed>,
    own: Own,
}

impl Writer<'_> {
    async fn secret(&mut self, row: &Stored) -> Result<(), RecoveryError> {
        let name = row.row.name.as_str();
        let what = format!("Secret '{name}'");
        let Some(secret) = secret_of(self.platform, row) else {
            self.notes.push(format!("{what} could not be opened and was left out"));
            return Ok(());
        };
        let read = self.platform.cluster.read_secret(&secret.at).await;
        let present = read.map_err(|source| RecoveryError::Cluster { what: what.clone(), source })?;
        let is_new = present.is_none();
        if let Some(present) = present {
            if present.data == secret.data {
                return Ok(());
            }
            if let Some(why) = self.keeps(&secret).await {
                self.notes.push(format!("{what} exists already and differs; it was kept{why}"));
                return Ok(());
            }
        }
        match self.write_secret(&secret, is_new).await {
            Ok(()) => Ok(()),
            Err(error) => self.refused(row, what, is_new, error),
        }
    }

    /// Why a Secret that differs stays as it is.
    async fn keeps(&self, secret: &Secret) -> Option<String> {
        if self.plan.existing == Existing::Keep {
            return Some(String::new());
        }
        let why = self.own.refuse_secret(self.platform, self.plan, secret).await?;
        Some(format!(": {why}"))
    }

    /// Of what is replaced all values.
    async fn write_secret(&self, secret: &Secret, is_new: bool) -> Result<(), RequestError> {
        let cluster = &self.platform.cluster;
        if !is_new {
            cluster.edit_secret(&secret.at, |data| data.clone_from(&secret.data)).await?;
        }
        cluster.apply_secret(secret).await
    }

    async fn object(&mut self, row: &Stored, kind: &Kind) -> Result<(), RecoveryError> {
        let Some(object) = object_of(row) else { return Ok(()) };
        let (namespace, name) = (row.row.namespace.clone(), row.row.name.clone());
        let what = format!("{} '{namespace}/{name}'", kind.kind);
        let failed = |source| RecoveryError::Cluster { what: what.clone(), source };
        let present =
            self.platform.cluster.read_object(kind, Some(&namespace), &name).await.map_err(failed)?;
        if let Some(present) = &present {
            if same_specification(present, &object) {
                return Ok(());
            }
            if self.plan.existing == Existing::Keep {
                self.notes.push(format!("{what} exists already and differs; it was kept"));
                return Ok(());
            }
            if kind.kind == "Profile"
                && let Some(why) = self.own.refuse_profile(self.platform, self.plan, &name, &object).await
            {
                self.notes.push(format!("Profile '{name}' was kept: {why}"));
                return Ok(());
            }
        }
        match self.write(kind, &object, present.is_some()).await {
            Ok(()) => Ok(()),
            Err(error) => self.refused(row, what, present.is_none(), error),
        }
    }

    /// Of what is replaced the whole specification: an apply would leave what others wrote and the backup lacks.
    async fn write(&self, kind: &Kind, object: &Value, is_there: bool) -> Result<(), RequestError> {
        let cluster = &self.platform.cluster;
        let text = |field: &str| object["metadata"][field].as_str();
        if is_there {
            let name = text("name").unwrap_or_default();
            cluster.replace_spec(kind, text("namespace"), name, &object["spec"]).await?;
        }
        cluster.apply_object(kind, object).await.map(drop)
    }

    /// One object that the API server does not take must not keep all others away.
    fn refused(
        &mut self,
        row: &Stored,
        what: String,
        is_new: bool,
        error: RequestError,
    ) -> Result<(), RecoveryError> {
        // One that is owed is tried again; one that is to be replaced only by going on with the restore.
        if error.refusal().is_none() || (!is_new && error.is_passing()) {
            return Err(RecoveryError::Cluster { what, source: error });
        }
        let why = Chain(&error).to_string();
        if is_new {
            self.notes.push(format!("{what} was refused; it is kept and tried again: {why}"));
            self.owed.push(Owed::of(row.row.key(), why));
        } else {
            self.notes.push(format!("{what} was refused, and stays as it is in the cluster: {why}"));
        }
        Ok(())
    }
}

/// The Secret that a row holds, if it opens.
fn secret_of(platform: &Platform, row: &Stored) -> Option<Secret> {
    let name = row.row.name.as_str();
    let mirrored: MirroredSecret = serde_json::from_slice(&row.row.body).ok()?;
    let data = mirror::open_secret(platform, &row.row.namespace, name, &mirrored)?;
    let at = NamespacedName::new(&platform.settings.install_namespace, name);
    let mut secret = Secret::opaque(at, []);
    secret.secret_type = mirrored.secret_type;
    secret.labels = mirrored.labels;
    secret.data = data;
    Some(secret)
}

/// The object that a row holds, as it is put back.
fn object_of(row: &Stored) -> Option<Value> {
    let mut object = mirror::object_of(&row.row.body)?;
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    object["metadata"]["namespace"] = Value::from(row.row.namespace.clone());
    strip_nulls(&mut object["metadata"]);
    Some(object)
}

fn same_specification(present: &Value, wanted: &Value) -> bool {
    present["spec"] == wanted["spec"]
}

/// Server-side apply takes `null` for a wish to own nothing of a field; the row only means that it was absent. One in a
/// specification is its user's: the API server keeps it where anything is taken.
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
