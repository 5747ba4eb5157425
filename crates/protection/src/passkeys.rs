//! Passkeys: each opens the key of the instance Secret, and so the volume at a start. What each is for, and what its
//! deletion undoes, is in `docs/decisions/0024-a-passkey-wraps-the-key-of-the-instance-secret.md`.
//!
//! A look reads what there is and brings it in order: it seals the key for who has no form of it, takes forms away that
//! this volume has made and that belong to no Passkey, and says in each status whether the Passkey opens the volume now.
//!
//! Guarantees: nothing is ever taken away unless something else was seen to open the volume; whatever stopped on the way,
//! the next look or start completes it; a passphrase that was changed in its Secret is not taken for the one before, also
//! where the form is gone; what opens another volume stays.

mod check;
pub(crate) mod form;
mod made;
mod rekey;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keelson_catalog::{Change, Class, CommitError, Database, Expect, Query, ReadError, RowKey};
use keelson_crypto::{InstanceKey, Passphrase, SealKitError, Sha256, Sha256Stream, WeakPassphrase};
use keelson_model::{Chain, Classified, ErrorClass, InstanceId};
use keelson_resources::ObjectReference;
use keelson_resources::passkey::{ADDED, PasskeySpec, PasskeyStatus};
use keelson_workload::{NamespacedName, RequestError};
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use self::form::{Form, OpenFormError, PassphraseFault, read_passphrase};
pub(crate) use self::rekey::take_away;
use crate::instance_secret::{INSTANCE_SECRET, InstanceSecret, SecretData, VOLUME, edit_own, put_forms};
use crate::platform::{CatalogAway, Platform, commit};
use crate::records::{DecodeRecordError, Record};
use crate::recovery::slots;
use crate::validation::told;
use crate::{events, kinds, recovery};

const ACTOR: &str = "passkeys";
/// A Secret that is gone is noticed within this.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Further ones than the default. Each costs a start a third of a second, and a deletion as much for each that stays.
pub(crate) const FURTHER_MAX: usize = 8;

/// The instance Secret or its Passkeys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum PasskeyError {
    #[error("use the catalog")]
    Away { source: CatalogAway },
    #[error("read the Passkeys of the catalog")]
    Read { source: ReadError },
    #[error("decode a Passkey of the catalog")]
    Decode { source: DecodeRecordError },
    #[error("read the instance Secret '{secret}'")]
    ReadSecret { secret: NamespacedName, source: RequestError },
    #[error("read the passphrase of a Passkey from Secret '{secret}'")]
    ReadPassphrase { secret: NamespacedName, source: RequestError },
    #[error(
        "Secret '{secret}' belongs to another volume than that of this platform, whose instance is {instance}: only the \
         platform on that one changes what opens it"
    )]
    OfAnotherVolume { secret: NamespacedName, instance: InstanceId },
    #[error("write the instance Secret '{secret}'")]
    WriteSecret { secret: NamespacedName, source: RequestError },
    #[error("seal the instance Secret's key for Passkey '{name}'")]
    Seal { name: String, source: SealKitError },
    #[error("wrap the instance key under a new key of the instance Secret")]
    Rewrap { source: CommitError },
    #[error("no Passkey would be left that opens the volume")]
    NoneLeft,
    #[error("read which forms of the instance Secret this volume has made")]
    ReadMade { source: ReadError },
    #[error("note which forms of the instance Secret this volume has made")]
    NoteMade { source: CommitError },
    #[error("write Passkey '{name}'")]
    Commit { name: String, source: CommitError },
}

impl Classified for PasskeyError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Away { source } => source.class(),
            Self::Read { source } | Self::ReadMade { source } => source.class(),
            Self::Decode { source } => source.class(),
            Self::ReadSecret { source, .. }
            | Self::ReadPassphrase { source, .. }
            | Self::WriteSecret { source, .. } => source.class(),
            Self::Seal { source, .. } => source.class(),
            Self::Rewrap { source } | Self::NoteMade { source } | Self::Commit { source, .. } => {
                source.class()
            }
            Self::OfAnotherVolume { .. } | Self::NoneLeft => ErrorClass::Conflict,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Away { .. } => "passkey.catalog_away",
            Self::Read { .. } => "passkey.read",
            Self::Decode { .. } => "passkey.decode",
            Self::ReadSecret { .. } => "passkey.secret.read",
            Self::OfAnotherVolume { .. } => "passkey.secret.of_another_volume",
            Self::ReadPassphrase { .. } => "passkey.passphrase.read",
            Self::WriteSecret { .. } => "passkey.secret.write",
            Self::Seal { .. } => "passkey.seal",
            Self::Rewrap { .. } => "passkey.rewrap",
            Self::NoneLeft => "passkey.none_left",
            Self::ReadMade { .. } => "passkey.made.read",
            Self::NoteMade { .. } => "passkey.made.note",
            Self::Commit { .. } => "passkey.commit",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::OfAnotherVolume { .. } => {
                Some(format!("start with that volume; if it is lost, remove '{VOLUME}' from the Secret"))
            }
            _ => None,
        }
    }
}

/// What a running platform knows of its Passkeys. One at a time changes them, or looks at them.
pub(crate) struct Passkeys {
    in_use: Mutex<InUse>,
    /// There is a Secret to be mirrored that was not named before.
    pub named: Notify,
}

/// The key of the instance Secret under which the volume keeps the instance key.
pub(crate) struct InUse {
    key: InstanceKey,
    /// The one that was to follow, where nobody knows whether the volume is under it already.
    next: Option<InstanceKey>,
    /// What the volume kept under the key before is still to be found in its files.
    lingers: bool,
    /// By uid, what came of the last try of a form, so that only what has changed is tried.
    tried: BTreeMap<String, (Sha256, Tried)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    Opens,
    /// To a key that was in use before.
    OpensToAnother,
    WrongPassphrase,
    /// It is as good as none.
    Damaged,
}

impl Passkeys {
    pub(crate) fn new(key: InstanceKey) -> Self {
        Self {
            in_use: Mutex::new(InUse { key, next: None, lingers: false, tried: BTreeMap::new() }),
            named: Notify::new(),
        }
    }

    pub(crate) async fn lock(&self) -> MutexGuard<'_, InUse> {
        self.in_use.lock().await
    }
}

/// A Passkey as a look has found and left it.
pub(crate) struct Seen {
    pub record: Record,
    standing: Standing,
}

enum Standing {
    /// The key as it is, in the Secret.
    AsItIs,
    Sealed(Holder),
    /// The key is to be sealed for it.
    Due(Holder),
    Invalid(String),
    /// The cluster did not say.
    Unknown,
}

/// A passphrase, and the Secret that holds it.
pub(crate) struct Holder {
    at: NamespacedName,
    passphrase: Zeroizing<Vec<u8>>,
}

impl Seen {
    pub(crate) fn is_valid(&self) -> bool {
        matches!(self.standing, Standing::AsItIs | Standing::Sealed(_))
    }
}

/// Why a passphrase is not taken for a Passkey.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnfitPassphrase {
    #[error(transparent)]
    Fault(PassphraseFault),
    #[error("Secret '{secret}'")]
    Weak { secret: NamespacedName, source: WeakPassphrase },
}

pub(crate) async fn run_passkeys(platform: Arc<Platform>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! { _ = tick.tick() => (), () = stop.cancelled() => return }
        // Its Secrets may not be in the cluster yet.
        if recovery::is_unfinished(&platform) || platform.catalog().is_err() {
            continue;
        }
        let looking = async {
            let mut in_use = platform.passkeys.lock().await;
            look(&platform, &mut in_use).await
        };
        let looked = tokio::select! { looked = looking => looked, () = stop.cancelled() => return };
        if let Err(error) = looked {
            tracing::warn!(cause = %Chain(&error), "the Passkeys could not be looked at; trying again");
        }
    }
}

/// Looks at all of them and brings them in order, as far as the Secret belongs to this volume.
pub(crate) async fn look(platform: &Platform, in_use: &mut InUse) -> Result<Vec<Seen>, PasskeyError> {
    let catalog = platform.catalog().map_err(|source| PasskeyError::Away { source })?;
    let at = instance_secret(platform);
    let found = read_instance_secret(platform).await?;
    let is_there = found.is_some();
    let secret = found.unwrap_or_default();
    let mut records = list(&catalog)?;
    if secret.has_current() && !records.iter().any(is_default) {
        records.push(make_default(platform, &catalog).await?);
    }
    let mut seen = Vec::new();
    for record in records {
        let standing = match is_default(&record) {
            true if secret.holds(in_use.key.fingerprint()) => Standing::AsItIs,
            true => Standing::Invalid(lost_default(&at, is_there.then_some(&secret))),
            false => judge(platform, in_use, &record, secret.forms.get(&record.uid)).await,
        };
        seen.push(Seen { record, standing });
    }
    let brought = bring_in_order(platform, in_use, &secret, &mut seen).await;
    if let Err(error) = &brought {
        tell_unsealed(&mut seen, error);
    }
    for one in &mut seen {
        tell(platform, &catalog, one).await?;
    }
    brought.map(|()| seen)
}

async fn bring_in_order(
    platform: &Platform,
    in_use: &mut InUse,
    secret: &InstanceSecret,
    seen: &mut [Seen],
) -> Result<(), PasskeyError> {
    if secret.lacks_volume() {
        edit_instance_secret(platform, |_| ()).await?;
    }
    let instance = platform.identity().instance;
    if secret.is_of_another(instance) {
        tell_unsealed(seen, &PasskeyError::OfAnotherVolume { secret: instance_secret(platform), instance });
        return Ok(());
    }
    seal_due(platform, in_use, seen).await?;
    let made = made::list(platform).map_err(|source| PasskeyError::ReadMade { source })?;
    let is_known = |uid: &String| seen.iter().any(|seen| seen.record.uid == *uid);
    let (strays, absent): (BTreeMap<_, _>, BTreeMap<_, _>) = made
        .into_iter()
        .filter(|(uid, _)| !is_known(uid))
        .partition(|(uid, _)| secret.forms.contains_key(uid));
    let (strays, now) = (strays.into_keys().collect::<BTreeSet<_>>(), platform.clock.now());
    let gone =
        absent.into_iter().filter(|(_, noted)| made::is_over(*noted, now)).map(|(uid, _)| uid).collect();
    if in_use.lingers && strays.is_empty() {
        rekey::settle(platform, in_use).await?;
    } else if (!strays.is_empty() || secret.is_between_keys()) && seen.iter().any(Seen::is_valid) {
        rekey::renew(platform, in_use, seen, &strays).await?;
    }
    made::forget(platform, &gone).await.map_err(|source| PasskeyError::NoteMade { source })
}

/// What is not in the Secret opens nothing.
fn tell_unsealed(seen: &mut [Seen], error: &PasskeyError) {
    for one in seen.iter_mut().filter(|one| matches!(one.standing, Standing::Due(_))) {
        one.standing = Standing::Invalid(format!("its form cannot be written: {}", told(error)));
    }
}

fn lost_default(at: &NamespacedName, secret: Option<&InstanceSecret>) -> String {
    match secret {
        None => format!("Secret '{at}' does not exist"),
        Some(secret) if secret.has_current() => {
            format!("Secret '{at}' holds another 'instance-key' than the one that opens the volume")
        }
        Some(_) => format!("Secret '{at}' holds no 'instance-key' of 32 bytes"),
    }
}

/// The Secret that holds the key, as it is and in the forms.
fn instance_secret(platform: &Platform) -> NamespacedName {
    NamespacedName::new(&platform.settings.install_namespace, INSTANCE_SECRET)
}

/// What the instance Secret holds, if it is there.
async fn read_instance_secret(platform: &Platform) -> Result<Option<InstanceSecret>, PasskeyError> {
    let at = instance_secret(platform);
    let found = platform.cluster.read_secret(&at).await;
    let found = found.map_err(|source| PasskeyError::ReadSecret { secret: at, source })?;
    Ok(found.map(|found| InstanceSecret::parse(&found.data)))
}

/// Changes what opens this volume. Where another one's platform was faster, or ever before, nothing is changed.
async fn edit_instance_secret(
    platform: &Platform,
    edit: impl Fn(&mut SecretData),
) -> Result<(), PasskeyError> {
    let (at, instance) = (instance_secret(platform), platform.identity().instance);
    let is_own = AtomicBool::new(true);
    let edit = |data: &mut SecretData| is_own.store(edit_own(data, instance, &edit), Ordering::Relaxed);
    let edited = platform.cluster.edit_secret(&at, edit).await;
    edited.map_err(|source| PasskeyError::WriteSecret { secret: at.clone(), source })?;
    match is_own.into_inner() {
        true => Ok(()),
        false => Err(PasskeyError::OfAnotherVolume { secret: at, instance }),
    }
}

/// Refuses to change what opens another volume: a new key in the Secret would lock that out.
pub(crate) async fn check_volume(platform: &Platform) -> Result<(), PasskeyError> {
    let (secret, instance) = (read_instance_secret(platform).await?, platform.identity().instance);
    match secret.is_some_and(|secret| secret.is_of_another(instance)) {
        true => Err(PasskeyError::OfAnotherVolume { secret: instance_secret(platform), instance }),
        false => Ok(()),
    }
}

/// The one that stands for the key as it is.
pub(crate) fn is_default(record: &Record) -> bool {
    record.name == INSTANCE_SECRET
}

/// All that the catalog holds.
pub(crate) fn list(catalog: &Database) -> Result<Vec<Record>, PasskeyError> {
    let rows = catalog.rows(Query::of(kinds::passkeys()));
    let parse = |stored: Result<_, _>| {
        let stored = stored.map_err(|source| PasskeyError::Read { source })?;
        Record::parse(&stored).map_err(|source| PasskeyError::Decode { source })
    };
    rows.map(parse).collect()
}

/// The Secret that a Passkey names.
pub(crate) fn secret_of(platform: &Platform, record: &Record) -> Option<NamespacedName> {
    let spec: PasskeySpec = record.spec().ok()?;
    let (namespace, name) = spec.secret_in(&platform.settings.install_namespace)?;
    Some(NamespacedName::new(namespace, name))
}

async fn make_default(platform: &Platform, catalog: &Database) -> Result<Record, PasskeyError> {
    let now = platform.clock.now();
    let mut record = Record::new(kinds::passkey(), "", INSTANCE_SECRET, now, Class::Derived);
    let namespace = Some(platform.settings.install_namespace.clone());
    let secret = ObjectReference { name: INSTANCE_SECRET.to_owned(), namespace };
    let spec = PasskeySpec { secret: Some(secret), ..PasskeySpec::default() };
    record.body.spec = serde_json::to_value(spec).expect("plain data");
    record.body.status = status(None);
    let made = commit(catalog, ACTOR, vec![record.put(Expect::Absent)]).await;
    let revision =
        made.map_err(|source| PasskeyError::Commit { name: INSTANCE_SECRET.to_owned(), source })?;
    record.revision = Some(revision);
    Ok(record)
}

/// What a status says; of one that is not valid, why.
pub(crate) fn status(error: Option<String>) -> serde_json::Value {
    let status = PasskeyStatus { valid: error.is_none(), state: ADDED.to_owned(), error };
    serde_json::to_value(status).expect("plain data")
}

/// Whether a Passkey opens the volume now.
async fn judge(platform: &Platform, in_use: &mut InUse, record: &Record, form: Option<&Form>) -> Standing {
    let Some(at) = secret_of(platform, record) else {
        return Standing::Invalid("its spec names no Secret".to_owned());
    };
    let passphrase = match read_passphrase(&platform.cluster, &at).await {
        Ok(passphrase) => passphrase,
        Err(fault) if fault.is_passing() => return Standing::Unknown,
        Err(fault) => return Standing::Invalid(Chain(&fault).to_string()),
    };
    let tried = in_use.attempt(record, form, &passphrase);
    // A start looks for the passphrase where the form says.
    let is_elsewhere = form.is_some_and(|form| form.secret != at);
    let holder = Holder { at, passphrase };
    match tried {
        Tried::Opens if is_elsewhere => Standing::Due(holder),
        Tried::Opens => Standing::Sealed(holder),
        Tried::OpensToAnother => Standing::Due(holder),
        Tried::WrongPassphrase => {
            Standing::Invalid(OpenFormError::WrongPassphrase { secret: holder.at }.to_string())
        }
        Tried::Damaged => match check_fit(platform, &holder) {
            Ok(()) => Standing::Due(holder),
            Err(unfit) => Standing::Invalid(Chain(&unfit).to_string()),
        },
    }
}

impl InUse {
    /// Tries the passphrase, unless it was tried before on the same form.
    fn attempt(&mut self, record: &Record, form: Option<&Form>, passphrase: &[u8]) -> Tried {
        let uid = record.uid.as_str();
        let mut digest = Sha256Stream::new();
        digest.update(&form.map(Form::to_bytes).unwrap_or_default());
        digest.update(passphrase);
        let digest = digest.finish();
        if let Some((known, tried)) = self.tried.get(uid)
            && *known == digest
        {
            return *tried;
        }
        let tried = match form.map(|form| form.open(uid, passphrase)) {
            Some(Ok(key)) if self.is_in_use(&key) => Tried::Opens,
            Some(Ok(_)) => Tried::OpensToAnother,
            Some(Err(OpenFormError::WrongPassphrase { .. })) => Tried::WrongPassphrase,
            None | Some(Err(OpenFormError::Damaged { .. } | OpenFormError::Foreign)) => {
                match check::refuses(record, passphrase) {
                    true => Tried::WrongPassphrase,
                    false => Tried::Damaged,
                }
            }
        };
        self.tried.insert(uid.to_owned(), (digest, tried));
        tried
    }

    fn is_in_use(&self, key: &InstanceKey) -> bool {
        let mut known = self.next.iter().chain([&self.key]);
        known.any(|known| known.fingerprint() == key.fingerprint())
    }
}

fn check_fit(platform: &Platform, holder: &Holder) -> Result<(), UnfitPassphrase> {
    let passphrase = Passphrase::new(holder.passphrase.to_vec());
    slots::find_weakness(&passphrase, platform.settings.passphrase_cost)
        .map_err(|source| UnfitPassphrase::Weak { secret: holder.at.clone(), source })
}

/// The passphrase of a Secret, fit for a new Passkey.
pub(crate) async fn find_holder(platform: &Platform, at: NamespacedName) -> Result<Holder, UnfitPassphrase> {
    let passphrase = read_passphrase(&platform.cluster, &at).await.map_err(UnfitPassphrase::Fault)?;
    let holder = Holder { at, passphrase };
    check_fit(platform, &holder)?;
    Ok(holder)
}

/// Seals a key for a Passkey, to be kept in the instance Secret.
fn seal_for(
    platform: &Platform,
    key: &InstanceKey,
    record: &Record,
    holder: &Holder,
) -> Result<Form, PasskeyError> {
    let cost = platform.settings.passphrase_cost;
    let (uid, name) = (record.uid.as_str(), record.name.as_str());
    let sealed = Form::seal((uid, name), holder.at.clone(), &holder.passphrase, cost, key);
    sealed.map_err(|source| PasskeyError::Seal { name: record.name.clone(), source })
}

/// What lets the passphrase of a new Passkey be told from another one, wherever its row goes.
pub(crate) fn add_check(
    platform: &Platform,
    record: &mut Record,
    holder: &Holder,
) -> Result<(), PasskeyError> {
    let added = check::add(record, &holder.passphrase, platform.settings.passphrase_cost);
    added.map_err(|source| PasskeyError::Seal { name: record.name.clone(), source })
}

/// Puts the form of a new Passkey into the instance Secret.
pub(crate) async fn add(
    platform: &Platform,
    in_use: &InUse,
    record: &Record,
    holder: &Holder,
) -> Result<(), PasskeyError> {
    let form = seal_for(platform, &in_use.key, record, holder)?;
    write_forms(platform, &BTreeMap::from([(record.uid.clone(), form)])).await
}

async fn write_forms(platform: &Platform, forms: &BTreeMap<String, Form>) -> Result<(), PasskeyError> {
    made::note(platform, forms.keys()).await.map_err(|source| PasskeyError::NoteMade { source })?;
    edit_instance_secret(platform, |data| put_forms(data, forms)).await
}

/// Seals the key in use for those that have no form of it.
async fn seal_due(platform: &Platform, in_use: &InUse, seen: &mut [Seen]) -> Result<(), PasskeyError> {
    let mut forms = BTreeMap::new();
    for one in seen.iter() {
        if let Standing::Due(holder) = &one.standing {
            let form = seal_for(platform, &in_use.key, &one.record, holder)?;
            forms.insert(one.record.uid.clone(), form);
        }
    }
    if forms.is_empty() {
        return Ok(());
    }
    write_forms(platform, &forms).await?;
    for one in seen {
        one.standing = match std::mem::replace(&mut one.standing, Standing::Unknown) {
            Standing::Due(holder) => {
                let passkey = one.record.name.as_str();
                tracing::info!(passkey, "the instance Secret's key is sealed for this Passkey");
                Standing::Sealed(holder)
            }
            standing => standing,
        };
    }
    Ok(())
}

/// Says in the status whether it is valid, and as an event where that has changed.
async fn tell(platform: &Platform, catalog: &Database, seen: &mut Seen) -> Result<(), PasskeyError> {
    let error = match &seen.standing {
        Standing::AsItIs | Standing::Sealed(_) => None,
        Standing::Invalid(why) => Some(why.clone()),
        Standing::Due(_) | Standing::Unknown => return Ok(()),
    };
    let record = &mut seen.record;
    let was_valid = record.body.status["valid"] == true;
    let status = status(error.clone());
    if record.body.status == status {
        return Ok(());
    }
    record.body.status = status;
    match commit(catalog, ACTOR, vec![record.replace()]).await {
        Ok(revision) => record.revision = Some(revision),
        // The catalog was replaced meanwhile: the next look tells.
        Err(CommitError::Conflict { .. }) => return Ok(()),
        Err(source) => return Err(PasskeyError::Commit { name: record.name.clone(), source }),
    }
    if was_valid != error.is_none() {
        events::tell_passkey(platform, record, error.as_deref()).await;
    }
    Ok(())
}

/// The names of those Secrets of the install namespace that Passkeys name.
pub(crate) fn named_secrets(
    platform: &Platform,
    catalog: &Database,
) -> Result<BTreeSet<String>, PasskeyError> {
    let namespace = &platform.settings.install_namespace;
    let secrets = list(catalog)?.into_iter().filter_map(|record| secret_of(platform, &record));
    Ok(secrets.filter(|at| at.namespace == *namespace).map(|at| at.name).collect())
}

/// A Passkey that does not open the volume, and why.
pub(crate) struct InvalidPasskey {
    pub name: String,
    pub why: String,
}

/// How many are valid, and those that are not, as their statuses say.
pub(crate) fn standing(catalog: &Database) -> (usize, Vec<InvalidPasskey>) {
    let records = match list(catalog) {
        Ok(records) => records,
        // Whatever is not known to be valid is not.
        Err(error) => {
            let name = INSTANCE_SECRET.to_owned();
            return (0, vec![InvalidPasskey { name, why: Chain(&error).to_string() }]);
        }
    };
    let mut invalid = Vec::new();
    let count = records.len();
    for record in records {
        let why = match record.status::<PasskeyStatus>() {
            Ok(status) if status.valid => continue,
            Ok(status) => status.error.unwrap_or_default(),
            Err(error) => Chain(&error).to_string(),
        };
        invalid.push(InvalidPasskey { name: record.name, why });
    }
    (count - invalid.len(), invalid)
}

/// The row of one.
pub(crate) fn key_of(name: &str) -> RowKey {
    RowKey::new(kinds::passkeys(), "", name)
}

/// The change that takes one out of the catalog, as it was seen.
pub(crate) fn remove(record: &Record) -> Change {
    Change::Delete { key: key_of(&record.name), expect: record.revision.map_or(Expect::Present, Expect::At) }
}
