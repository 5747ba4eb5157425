//! Grants: what a policy lets other installations read of its exports, and what others let this one read.
//!
//! A policy that exports has a grant, made with its first export: a random id and a key. With each export, and when a
//! repository gets a new data key, its data keys are wrapped under the part of the key that is of its application. A *receive
//! string* hands the key on, whole or for one application. Whoever was given one holds it.
//!
//! Guarantees: keys of grants lie sealed in the catalog, come back with it, and stand in no row, status, log or error. By
//! what is held this installation reads, and writes nothing. Limits: a key that was handed on cannot be taken back; it opens
//! a repository as a whole, so exports of other policies of the same application too, and who may write to the location
//! besides can seal objects under it.

mod received;

use futures::TryStreamExt;
use keelson_catalog::{
    Change, Class, CommitError, Database, Expect, Query, ReadError, RowKey, RowKind, Stored,
};
use keelson_crypto::{CatalogKey, GrantKey, OpenBoxError, random_bytes};
use keelson_model::names::label;
use keelson_model::{Classified, ErrorClass, Generation, GrantId, Revision};
use keelson_repository::{GrantError, Locked, Open, Repository, Unlock};
use keelson_resources::ReceiveString;
use keelson_store::{StoreError, StoreExt, StorePath};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use received::Received;
pub(crate) use received::{GrantName, ReceivedError};

use crate::kinds;
use crate::layout::ClusterFolder;
use crate::locations::Location;
use crate::ownership::{self, OwnershipError};
use crate::platform::{CatalogAway, Platform, commit};
use crate::policies;
use crate::records::{Record, plain_row};
use crate::repositories::{RepositoriesError, RepositoryRow};

const ACTOR: &str = "grants";

/// A grant cannot be made, kept or used.
#[derive(Debug, thiserror::Error)]
pub enum GrantsError {
    #[error("use the catalog")]
    Away { source: CatalogAway },
    #[error("read the grant '{name}'")]
    Read { name: String, source: ReadError },
    #[error("keep the grant '{name}'")]
    Keep { name: String, source: CommitError },
    #[error("decode the grant '{name}'")]
    Decode { name: String, source: serde_json::Error },
    #[error("open the key of the grant '{name}'")]
    Open { name: String, source: OpenBoxError },
    #[error("the key of the grant '{name}' is no key")]
    Key { name: String },
    #[error("list what was granted")]
    List { source: ReadError },
    #[error("look whether repository '{root}' was granted")]
    Look { root: String, source: StoreError },
    #[error("grant repository '{root}'")]
    Grant { root: String, source: GrantError },
    #[error("read the receive string")]
    Receive { source: ReceivedError },
    #[error("read what this installation owns")]
    Owned { source: OwnershipError },
    #[error("this installation does not hold the grant '{name}'")]
    NotHeld { name: String },
    #[error("the receive string is of this cluster itself: what it exports are restore points here already")]
    Own,
}

impl Classified for GrantsError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Away { source } => source.class(),
            Self::Read { source, .. } | Self::List { source } => source.class(),
            Self::Look { source, .. } => source.class(),
            Self::Keep { source, .. } => source.class(),
            Self::Decode { .. } | Self::Open { .. } | Self::Key { .. } => ErrorClass::Corrupt,
            Self::Grant { source, .. } => source.class(),
            Self::Owned { source } => source.class(),
            Self::Receive { .. } | Self::Own => ErrorClass::Invalid,
            Self::NotHeld { .. } => ErrorClass::NotFound,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Away { .. } => "grants.catalog_away",
            Self::Read { .. } => "grants.read",
            Self::Keep { .. } => "grants.keep",
            Self::Decode { .. } => "grants.decode",
            Self::Open { .. } => "grants.open",
            Self::Key { .. } => "grants.key",
            Self::List { .. } => "grants.list",
            Self::Look { .. } => "grants.look",
            Self::Grant { .. } => "grants.grant",
            Self::Receive { .. } => "grants.receive",
            Self::Owned { .. } => "grants.owned",
            Self::NotHeld { .. } => "grants.not_held",
            Self::Own => "grants.own",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Look { source, .. } => source.hint(),
            Self::Grant { source, .. } => source.hint(),
            Self::Receive { source } => source.hint(),
            Self::NotHeld { .. } => Some(
                "paste the receive string anew, as the details of the exporting run show it: what a policy shows of it later \
                 is its name only"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// The key of a grant, as a row keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    grant: GrantName,
    /// Hex, sealed under the catalog key.
    key: String,
    /// Of a grant that was given: by which policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    granter: Option<Granter>,
}

/// Which object a policy is. A recovery makes the same policies anew, in a new generation of the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Granter {
    uid: String,
    generation: Generation,
}

impl Granter {
    /// Somebody has deleted the one and made the other under its name.
    fn is_another_than(&self, noted: &Self) -> bool {
        self.uid != noted.uid && self.generation == noted.generation
    }
}

/// A grant with its key.
struct Grant {
    name: GrantName,
    key: GrantKey,
    granter: Option<Granter>,
    revision: Revision,
}

/// What the policies of this installation grant, by namespace and name of the policy.
fn given_rows() -> RowKind {
    RowKind::new("grants-given")
}

/// What this installation was granted, by the cluster that it is of.
fn held_rows() -> RowKind {
    RowKind::new("grants-held")
}

/// A grant keeps its key at its place: elsewhere the box does not open.
fn context(key: &RowKey) -> Vec<u8> {
    format!("{}/{}/{}", key.kind, key.namespace, key.name).into_bytes()
}

fn read_kept(platform: &Platform, catalog: &Database, at: &RowKey) -> Result<Option<Grant>, GrantsError> {
    let stored = catalog.read(at).map_err(|source| GrantsError::Read { name: at.name.clone(), source })?;
    stored.map(|stored| open_kept(platform, stored)).transpose()
}

fn open_kept(platform: &Platform, Stored { row, revision }: Stored) -> Result<Grant, GrantsError> {
    let name = || row.name.clone();
    let Kept { grant, key, granter } =
        serde_json::from_slice(&row.body).map_err(|source| GrantsError::Decode { name: name(), source })?;
    let sealed = hex::decode(key).map_err(|_| GrantsError::Key { name: name() })?;
    let open = |sealing: &CatalogKey| sealing.open_field(&context(&row.key()), &sealed);
    let opened = platform.with_catalog_key(open).map_err(|source| GrantsError::Away { source })?;
    let opened = opened.map_err(|source| GrantsError::Open { name: name(), source })?;
    let key = GrantKey::from_slice(&opened).map_err(|_| GrantsError::Key { name: name() })?;
    Ok(Grant { name: grant, key, granter, revision })
}

/// Keeps a grant in its place. One that is not as expected stays as it is.
async fn keep(
    platform: &Platform,
    catalog: &Database,
    (at, expect): (RowKey, Expect),
    (grant, key, granter): (&GrantName, &GrantKey, Option<Granter>),
) -> Result<(), GrantsError> {
    let name = at.name.clone();
    let seal = |sealing: &CatalogKey| sealing.seal_field(&context(&at), key.expose());
    let sealed = platform.with_catalog_key(seal).map_err(|source| GrantsError::Away { source })?;
    let kept = Kept { grant: grant.clone(), key: hex::encode(sealed), granter };
    let row = plain_row(at.clone(), Class::Configuration, &kept, platform.clock.now());
    match commit(catalog, ACTOR, vec![Change::Put { row, expect }]).await {
        Ok(_) => Ok(()),
        Err(CommitError::Conflict { key, .. }) if key == at => Ok(()),
        Err(source) => Err(GrantsError::Keep { name, source }),
    }
}

/// Lets whoever holds the grant of the action's policy read an export repository. What is no policy's is granted to
/// nobody.
pub(crate) async fn give(
    platform: &Platform,
    catalog: &Database,
    action: &Record,
    (row, repository): (&RepositoryRow, &Repository<Open>),
) -> Result<(), GrantsError> {
    let Some((namespace, name)) = policies::policy_of(&action.labels) else { return Ok(()) };
    let grant = ensure_given(platform, catalog, (namespace, name)).await?;
    write(platform, &grant, (row, repository)).await
}

/// The grant of a policy. One that was deleted does not hand its own on to the next of its name.
async fn ensure_given(
    platform: &Platform,
    catalog: &Database,
    (namespace, name): (&str, &str),
) -> Result<Grant, GrantsError> {
    let at = RowKey::new(given_rows(), namespace, name);
    let now = granter(catalog, namespace, name)?;
    let known = read_kept(platform, catalog, &at)?;
    let expect = known.as_ref().map_or(Expect::Absent, |known| Expect::At(known.revision));
    if let Some(known) = known {
        let is_another =
            |now: &Granter| known.granter.as_ref().is_some_and(|noted| now.is_another_than(noted));
        let is_noted = |now: &Granter| known.granter.as_ref().is_some_and(|noted| noted.uid == now.uid);
        if !now.as_ref().is_some_and(is_another) {
            if !now.as_ref().is_none_or(is_noted) {
                keep(platform, catalog, (at, expect), (&known.name, &known.key, now)).await?;
            }
            return Ok(known);
        }
    }
    let fresh = GrantName {
        cluster: platform.cluster_id.clone(),
        grant: GrantId::from_bytes(random_bytes()),
        policy_namespace: namespace.to_owned(),
        policy: name.to_owned(),
        application: None,
    };
    keep(platform, catalog, (at.clone(), expect), (&fresh, &GrantKey::generate(), now)).await?;
    // Another export of the policy may have been a moment faster.
    read_kept(platform, catalog, &at)?.ok_or_else(|| GrantsError::NotHeld { name: name.to_owned() })
}

/// The policy as it is mirrored; none where it is gone, or was never seen.
fn granter(catalog: &Database, namespace: &str, name: &str) -> Result<Option<Granter>, GrantsError> {
    let stored = catalog.read(&RowKey::new(kinds::policies(), namespace, name));
    let stored = stored.map_err(|source| GrantsError::Read { name: name.to_owned(), source })?;
    let uid = stored.map(|stored| stored.row.uid).filter(|uid| !uid.is_empty());
    Ok(uid.map(|uid| Granter { uid, generation: catalog.generation() }))
}

/// Nothing is written into a folder that is not, or not yet, this installation's; the next export grants what this one did
/// not.
async fn write(
    platform: &Platform,
    Grant { name, key, .. }: &Grant,
    (row, repository): (&RepositoryRow, &Repository<Open>),
) -> Result<(), GrantsError> {
    let ownership = ownership::read(&platform.instance).map_err(|source| GrantsError::Owned { source })?;
    if ownership.forbids_writing(&row.place, &name.cluster) {
        return Ok(());
    }
    let granted = repository.grant(&key.of_application(&row.application), &folder_of(name, row)).await;
    granted.map_err(|source| GrantsError::Grant { root: row.root().to_string(), source })
}

/// Lets whoever was granted an export repository have its newest data key too: what maintenance writes needs it, whether
/// something is exported again or not. One grant that fails keeps no other away.
pub(crate) async fn renew(
    platform: &Platform,
    location: &Location,
    (row, repository): (&RepositoryRow, &Repository<Open>),
) -> Result<(), GrantsError> {
    let catalog = platform.catalog().map_err(|source| GrantsError::Away { source })?;
    let mut fault: Option<GrantsError> = None;
    for given in catalog.rows(Query::of(given_rows())) {
        let given = given.map_err(|source| GrantsError::List { source })?;
        let Err(error) = renew_one(platform, given, location, (row, repository)).await else { continue };
        // One that may be mended by trying again is the one to tell.
        if fault.as_ref().is_none_or(|fault| fault.class().is_lasting()) {
            fault = Some(error);
        }
    }
    fault.map_or(Ok(()), Err)
}

async fn renew_one(
    platform: &Platform,
    given: Stored,
    location: &Location,
    (row, repository): (&RepositoryRow, &Repository<Open>),
) -> Result<(), GrantsError> {
    let grant = open_kept(platform, given)?;
    let first = location.store.stream(&folder_of(&grant.name, row)).try_next().await;
    let first = first.map_err(|source| GrantsError::Look { root: row.root().to_string(), source })?;
    match first {
        Some(_) => write(platform, &grant, (row, repository)).await,
        None => Ok(()),
    }
}

/// What another installation needs to import what an action's policy exports: of a run all of it, of an export what is of
/// its application. None where nothing was granted.
pub(crate) fn receive_string(
    platform: &Platform,
    catalog: &Database,
    action: &Record,
) -> Result<Option<ReceiveString>, GrantsError> {
    let Some((namespace, name)) = policies::policy_of(&action.labels) else { return Ok(None) };
    let Some(Grant { name, key, .. }) =
        read_kept(platform, catalog, &RowKey::new(given_rows(), namespace, name))?
    else {
        return Ok(None);
    };
    let application = action.labels.get(label::APP_NAMESPACE);
    let received = match application {
        None => Received { grant: name, key: Some(key) },
        Some(application) => Received {
            key: Some(key.of_application(application)),
            grant: GrantName { application: Some(application.clone()), ..name },
        },
    };
    Ok(Some(received.to_text()))
}

fn held_key(grant: &GrantName) -> RowKey {
    RowKey::new(held_rows(), grant.cluster.as_str(), grant.held_name())
}

/// Takes what a receive string grants, once and for all. Gives its name, by which it is known from here on.
pub(crate) async fn hold(platform: &Platform, text: &ReceiveString) -> Result<GrantName, GrantsError> {
    let Received { grant, key } = Received::parse(text).map_err(|source| GrantsError::Receive { source })?;
    if grant.cluster == platform.cluster_id {
        return Err(GrantsError::Own);
    }
    let catalog = platform.catalog().map_err(|source| GrantsError::Away { source })?;
    match key {
        Some(key) => {
            let known = read_kept(platform, &catalog, &held_key(&grant))?;
            let is_known = |held: &Grant| held.name == grant && held.key.expose() == key.expose();
            if !known.as_ref().is_some_and(is_known) {
                keep(platform, &catalog, (held_key(&grant), Expect::Any), (&grant, &key, None)).await?;
            }
        }
        None => drop(held(platform, &catalog, &grant)?),
    }
    Ok(grant)
}

/// The receive string without its key: what may be shown, and stands for it where it is held.
fn without_key(text: &ReceiveString) -> ReceiveString {
    match Received::parse(text) {
        Ok(received) => received.grant.to_text(),
        // Nobody can say what of it is secret.
        Err(_) => ReceiveString::default(),
    }
}

/// The name that a receive string without its key has.
pub(crate) fn name_of(text: &ReceiveString) -> Result<GrantName, GrantsError> {
    Received::parse(text).map(|received| received.grant).map_err(|source| GrantsError::Receive { source })
}

fn held(platform: &Platform, catalog: &Database, grant: &GrantName) -> Result<GrantKey, GrantsError> {
    let kept = read_kept(platform, catalog, &held_key(grant))?;
    kept.map(|held| held.key).ok_or_else(|| GrantsError::NotHeld { name: grant.held_name() })
}

/// The key of a grant that is held, as it is for one application.
fn key_for(platform: &Platform, grant: &GrantName, application: &str) -> Result<GrantKey, GrantsError> {
    let catalog = platform.catalog().map_err(|source| GrantsError::Away { source })?;
    let key = held(platform, &catalog, grant)?;
    Ok(match grant.application {
        Some(_) => key,
        None => key.of_application(application),
    })
}

/// Opens a repository of another installation by what was granted of it.
pub(crate) async fn open(
    platform: &Platform,
    location: &Location,
    grant: &GrantName,
    row: &RepositoryRow,
) -> Result<Repository<Open>, RepositoriesError> {
    let key =
        key_for(platform, grant, &row.application).map_err(|source| RepositoriesError::Granted { source })?;
    let locked = Repository::<Locked>::at(location.store.clone(), row.root())
        .map_err(|source| RepositoriesError::OpenFolder { source })?;
    let opened =
        locked.indexed_in(&platform.index_cache).open(Unlock::Granted(&key, &folder_of(grant, row))).await;
    let open = opened.map_err(|source| RepositoriesError::Open {
        root: row.root().to_string(),
        profile: location.profile.clone(),
        source,
    })?;
    platform.unlisted.note_use(open.id());
    Ok(open)
}

/// Where the keys of a repository lie that a grant opens.
fn folder_of(grant: &GrantName, row: &RepositoryRow) -> StorePath {
    let repository = (&row.cluster, row.repository);
    ClusterFolder::new(&grant.cluster).granted_repository(grant.grant, &row.application, repository)
}

/// Takes the keys of receive strings out of the specification of a policy, wherever it has a field for one: their names
/// stand for them.
pub(crate) fn hide_keys(spec: &mut Value) {
    let actions = spec.get_mut("actions").and_then(Value::as_array_mut);
    for action in actions.into_iter().flatten() {
        for field in ["/importParameters/receiveString", "/exportParameters/receiveString"] {
            if let Some(text) = action.pointer_mut(field) {
                let given = ReceiveString(text.as_str().unwrap_or_default().to_owned());
                *text = Value::from(without_key(&given).0);
            }
        }
    }
}

/// Whether a text may hold a receive string, in whatever it is wrapped.
pub(crate) fn may_hold_key(text: &str) -> bool {
    text.contains(&format!("{}.", received::MARK))
}

/// A repository of another installation that is imported from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImportedRow {
    pub grant: GrantName,
    pub row: RepositoryRow,
}

/// Repositories that are imported from, by the place where they lie.
pub(crate) fn imported_rows() -> RowKind {
    RowKind::new("repositories-imported")
}

/// Every repository that is imported from.
pub(crate) fn imported(catalog: &Database) -> Result<Vec<ImportedRow>, ReadError> {
    let row = |stored: Stored| serde_json::from_slice(&stored.row.body).ok();
    catalog.rows(Query::of(imported_rows())).filter_map(|stored| stored.map(row).transpose()).collect()
}

/// What is read of a text is written as a text that reads as the same.
#[cfg(any(test, fuzzing))]
pub(crate) fn reads_as_written(text: &str) -> bool {
    let Ok(read) = Received::parse(&ReceiveString(text.to_owned())) else { return false };
    let again = Received::parse(&read.to_text());
    let same = |again: &Received| {
        again.grant == read.grant
            && again.key.as_ref().map(GrantKey::expose) == read.key.as_ref().map(GrantKey::expose)
    };
    assert!(again.is_ok_and(|again| same(&again)), "it is written as something else");
    true
}

/// A receive string as it is handed on.
#[cfg(any(test, fuzzing))]
pub(crate) fn sample() -> String {
    let grant = GrantName {
        cluster: "0c3e8c52-6a0b-4f6e-9d2f-2f6f1f7a90aa".parse().expect("a cluster id"),
        grant: GrantId::from_bytes([7; 16]),
        policy_namespace: "kasten-io".to_owned(),
        policy: "nightly".to_owned(),
        application: None,
    };
    let key = GrantKey::from_slice(&[3; 32]).ok();
    Received { grant, key }.to_text().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_another_where_somebody_made_it_anew_and_the_same_after_a_recovery() {
        let policy =
            |uid: &str, generation| Granter { uid: uid.to_owned(), generation: Generation(generation) };
        let noted = policy("a", 1);
        assert!(policy("b", 1).is_another_than(&noted));
        assert!(!policy("a", 1).is_another_than(&noted));
        assert!(!policy("b", 2).is_another_than(&noted), "a recovery makes policies anew");
    }
}
