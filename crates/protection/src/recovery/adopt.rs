//! The keys that a recovered instance goes on with.
//!
//! The rule: it takes over the newest vault key that its passphrases lead to. Where a repository names a newer one these
//! passphrases were replaced, so a vault key of its own follows at once, as part of the recovery: nothing is ever
//! written under a key that was the newest only once. A repository that names the newer key is read and never written
//! to. The reasons are in `docs/decisions/0018`.

use keelson_crypto::{Slot, VaultKey, VaultKeyring};
use keelson_model::passphrase::VaultAccess;
use keelson_repository::{Open, Repository};

use crate::identity::RepositoryKeys;
use crate::passphrases;
use crate::platform::Platform;
use crate::recovery::{RecoveryError, slots};

/// What is lost with a passphrase that was replaced, in words for a person.
pub(crate) fn warn_of_replaced(repository: &Repository<Open>) -> Option<String> {
    repository.names_newer_key().then(|| {
        format!(
            "the passphrase in the Secret was replaced: repository {} has a newer key ({}) than it leads to ({}); what \
             was written later does not open with it",
            repository.id(),
            repository.newest_key_named(),
            repository.keyring().newest().number(),
        )
    })
}

/// Decides what to go on with from the repositories that the passphrases have opened, the recovered one first.
pub(crate) async fn adopt_keys<'a>(
    platform: &Platform,
    reached: Option<&VaultAccess>,
    recovered: &'a Repository<Open>,
    others: impl Iterator<Item = &'a Repository<Open>> + Send,
) -> Result<RepositoryKeys, RecoveryError> {
    let own = recovered.vault_keys();
    let is_ours = |other: &&Repository<Open>| {
        is_continued(own, other.vault_keys()) || is_continued(other.vault_keys(), own)
    };
    let ours: Vec<_> = std::iter::once(recovered).chain(others.filter(is_ours)).collect();
    let numbers = |open: &&Repository<Open>| open.vault_keys().newest().number();
    let best = ours.iter().copied().max_by_key(numbers).unwrap_or(recovered);
    let mut vault = best.vault_keys().clone();
    let newest = vault.newest().number();
    if ours.iter().all(|open| open.newest_key_named() <= newest) {
        let slots = ours.iter().filter_map(|open| open.opened_slot());
        let slots =
            slots.filter(|slot| slot.vault_key_number() == newest).map(|slot| (slot.id(), slot.clone()));
        let slots: std::collections::BTreeMap<_, Slot> = slots.collect();
        return Ok(RepositoryKeys { vault, slots: slots.into_values().collect() });
    }
    let number = newest.checked_add(1).ok_or(RecoveryError::KeysExhausted)?;
    tracing::warn!(
        opened = newest,
        vault_key = number,
        "recovered with a passphrase that was replaced; going on under a key of its own"
    );
    let passphrases =
        passphrases::read(platform, reached).await.map_err(|source| RecoveryError::Passphrase { source })?;
    let key = VaultKey::generate(number);
    let all: Vec<_> = passphrases.iter().collect();
    // A recovery takes any passphrase: there is no other.
    let slots = slots::seal(&all, &key, platform.settings.passphrase_cost)?;
    vault.insert(key);
    Ok(RepositoryKeys { vault, slots })
}

/// Whether `newer` holds every key of `older`.
pub(crate) fn is_continued(older: &VaultKeyring, newer: &VaultKeyring) -> bool {
    let same = |key: &VaultKey| {
        newer.find(key.number()).is_some_and(|found| found.fingerprint() == key.fingerprint())
    };
    older.iter().all(same)
}
