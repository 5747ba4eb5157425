//! Making and deleting a Passkey: what opens the volume changes before the catalog says so.
//!
//! The order of a creation: 1 the form; 2 the row. Of a deletion: 1 a new key without it; 2 the row. What stopped between is
//! not acknowledged, and the next look undoes it: a form without a row goes, and a row without a form gets one. The key as it
//! is stays away, though, once a deletion of the default one has taken it out: that deletion is asked for again.

use keelson_catalog::{Class, Expect, Stored};
use keelson_model::Chain;
use keelson_resources::passkey::KIND;
use keelson_workload::NamespacedName;

use crate::instance_secret::INSTANCE_SECRET;
use crate::passkeys::form::PassphraseFault;
use crate::passkeys::{self, FURTHER_MAX, Holder, PasskeyError, UnfitPassphrase};
use crate::platform::{Platform, commit};
use crate::records::Record;
use crate::requests::create::stored;
use crate::requests::delete::check;
use crate::requests::{Asked, Effect, Preconditions, RequestError};
use crate::validation::told;

pub(super) async fn create(
    platform: &Platform,
    asked: Asked<'_>,
    mut record: Record,
    effect: Effect,
) -> Result<Stored, RequestError> {
    check_instance(platform)?;
    let in_use = platform.passkeys.lock().await;
    passkeys::check_volume(platform).await.map_err(refuse)?;
    // A recovery may have put another in its place while the lock was waited for.
    let database = platform.catalog().map_err(RequestError::Away)?;
    let known = passkeys::list(&database).map_err(refuse)?;
    if known.iter().any(|known| known.name == record.name) {
        return Err(RequestError::AlreadyExists { kind: KIND.kind, name: record.name });
    }
    let holder = check_new(platform, &record, &known).await?;
    record.class = Class::Configuration;
    record.body.status = passkeys::status(None);
    if effect == Effect::DryRun {
        let changes = [record.put(Expect::Absent)];
        return Ok(stored(&record, &changes, database.head().revision));
    }
    let checked = passkeys::add_check(platform, &mut record, &holder);
    checked.map_err(refuse)?;
    let changes = vec![record.put(Expect::Absent)];
    let added = passkeys::add(platform, &in_use, &record, &holder).await;
    added.map_err(refuse)?;
    let deed = asked.deed("create", record.key());
    let revision =
        commit(&database, &deed, changes.clone()).await.map_err(|source| RequestError::Commit { source })?;
    platform.passkeys.named.notify_one();
    Ok(stored(&record, &changes, revision))
}

/// The passphrase under which the key is to be sealed.
async fn check_new(platform: &Platform, record: &Record, known: &[Record]) -> Result<Holder, RequestError> {
    if passkeys::is_default(record) {
        let message = format!("'{INSTANCE_SECRET}' is the Passkey of the instance Secret itself");
        return Err(RequestError::InvalidField { field: "metadata.name", message });
    }
    if known.iter().filter(|known| !passkeys::is_default(known)).count() >= FURTHER_MAX {
        let message = format!("there are {FURTHER_MAX} Passkeys already, and no more are allowed");
        return Err(RequestError::Conflict { message });
    }
    let at = passkeys::secret_of(platform, record).ok_or_else(|| RequestError::InvalidField {
        field: "spec.secret",
        message: "names no Secret".to_owned(),
    })?;
    if at == NamespacedName::new(&platform.settings.install_namespace, INSTANCE_SECRET) {
        let message = "the passphrase would lie beside what it seals; name another Secret".to_owned();
        return Err(RequestError::InvalidField { field: "spec.secret.name", message });
    }
    passkeys::find_holder(platform, at).await.map_err(|unfit| match unfit {
        UnfitPassphrase::Fault(PassphraseFault::Read { secret, source }) => {
            RequestError::Passkey { source: PasskeyError::ReadPassphrase { secret, source } }
        }
        unfit => RequestError::InvalidField { field: "spec.secret", message: Chain(&unfit).to_string() },
    })
}

pub(super) async fn delete(
    platform: &Platform,
    asked: Asked<'_>,
    name: &str,
    preconditions: &Preconditions,
    effect: Effect,
) -> Result<Stored, RequestError> {
    check_instance(platform)?;
    let mut in_use = platform.passkeys.lock().await;
    passkeys::check_volume(platform).await.map_err(refuse)?;
    // As they are at this moment, not as they were when somebody last looked.
    let seen = passkeys::look(platform, &mut in_use).await;
    let seen = seen.map_err(refuse)?;
    let database = platform.catalog().map_err(RequestError::Away)?;
    let key = passkeys::key_of(name);
    let found = database.read(&key).map_err(|source| RequestError::Read { source })?;
    let gone = seen.iter().find(|seen| seen.record.name == name);
    let (found, gone) =
        found.zip(gone).ok_or_else(|| RequestError::NotFound { kind: KIND.kind, name: name.to_owned() })?;
    check(preconditions, &KIND, &found)?;
    if !seen.iter().any(|other| other.record.uid != gone.record.uid && other.is_valid()) {
        let message = format!(
            "'{name}' cannot be deleted: no other Passkey is valid, and nothing else would open the volume when the \
             platform starts again"
        );
        return Err(RequestError::Conflict { message });
    }
    if effect == Effect::DryRun {
        return Ok(found);
    }
    let taken = passkeys::take_away(platform, &mut in_use, &seen, &gone.record).await;
    taken.map_err(refuse)?;
    let deed = asked.deed("delete", key.clone());
    commit(&database, &deed, vec![passkeys::remove(&gone.record)])
        .await
        .map_err(|source| RequestError::Commit { source })?;
    platform.passkeys.named.notify_one();
    Ok(found)
}

/// What stands in the way of the change is told to whoever asked for it.
fn refuse(source: PasskeyError) -> RequestError {
    match source {
        PasskeyError::OfAnotherVolume { .. } | PasskeyError::NoneLeft => {
            RequestError::Conflict { message: told(&source) }
        }
        source => RequestError::Passkey { source },
    }
}

/// An installation that does not know itself has no key to seal.
fn check_instance(platform: &Platform) -> Result<(), RequestError> {
    platform.instance_away().map_or(Ok(()), |why| Err(RequestError::Away(why.clone())))
}
