//! The instance Secret: the key under which the volume keeps the instance key, as it is and in the forms of Passkeys.
//!
//! Guarantees: any one of them opens the volume alone. Without a Passkey that a person has made there is the key as it is,
//! and nothing else is read. `docs/format/slots-and-keys.md` draws what the Secret holds.

use std::collections::{BTreeMap, BTreeSet};

use keelson_crypto::{Fingerprint, InstanceKey, OpenBoxError};
use keelson_model::{Chain, InstanceId};
use keelson_workload::{Cluster, Creation, NamespacedName, Secret};
use zeroize::Zeroizing;

use crate::identity::IdentityError;
use crate::passkeys::form::{Form, read_passphrase};

/// Holds the 32 bytes that wrap the instance key, which wraps everything else this installation keeps on its volume.
pub const INSTANCE_SECRET: &str = "keelson-instance";
const CURRENT: &str = "instance-key";
/// The key before, while a person rotates the Secret.
const PREVIOUS: &str = "previous-instance-key";
/// The key before under the key, while a Passkey is taken away.
const WRAPPED_PREVIOUS: &str = "wrapped-previous-instance-key";
/// The instance id of the volume whose platform alone may replace the key.
pub(crate) const VOLUME: &str = "volume";
/// Before the uid of a Passkey.
const FORM: &str = "passkey-";

pub(crate) type SecretData = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// What the instance Secret holds.
#[derive(Default)]
pub(crate) struct InstanceSecret {
    current: Option<InstanceKey>,
    previous: Option<InstanceKey>,
    wrapped_previous: Option<Vec<u8>>,
    /// As it was written; None where nobody has said so yet.
    volume: Option<Vec<u8>>,
    /// By the uids of their Passkeys.
    pub forms: BTreeMap<String, Form>,
    /// A key of the Secret whose value is no key of ours.
    malformed: Option<&'static str>,
}

impl InstanceSecret {
    pub(crate) fn parse(data: &SecretData) -> Self {
        let mut malformed = None;
        let mut parse = |name: &'static str| {
            let parsed = InstanceKey::from_slice(data.get(name)?);
            parsed.inspect_err(|_| malformed = Some(name)).ok()
        };
        let (current, previous) = (parse(CURRENT), parse(PREVIOUS));
        let form = |(name, value): (&String, &Zeroizing<Vec<u8>>)| {
            Some((name.strip_prefix(FORM)?.to_owned(), Form::parse(value)?))
        };
        let forms = data.iter().filter_map(form).collect();
        let wrapped_previous = data.get(WRAPPED_PREVIOUS).map(|value| value.to_vec());
        let volume = data.get(VOLUME).map(|value| value.to_vec());
        Self { current, previous, wrapped_previous, volume, forms, malformed }
    }

    /// Whether it opens a volume and does not say which.
    pub(crate) fn lacks_volume(&self) -> bool {
        self.volume.is_none() && (self.has_current() || self.has_passkeys())
    }

    /// Whether it says that it belongs to another volume than that of this instance.
    pub(crate) fn is_of_another(&self, instance: InstanceId) -> bool {
        self.volume.as_ref().is_some_and(|volume| *volume != instance.to_string().into_bytes())
    }

    /// Whether it holds a key as it is.
    pub(crate) fn has_current(&self) -> bool {
        self.current.is_some()
    }

    /// Whether taking a Passkey away was begun and not brought to its end.
    pub(crate) fn is_between_keys(&self) -> bool {
        self.wrapped_previous.is_some()
    }

    /// Whether the key as it is, or the one before it, is this one.
    pub(crate) fn holds(&self, key: Fingerprint) -> bool {
        let current = self.current.iter();
        current.clone().any(|current| current.fingerprint() == key)
            || current.flat_map(|current| self.before(current)).any(|before| before.fingerprint() == key)
    }

    /// The keys before this one, as far as the Secret still holds them.
    fn before(&self, key: &InstanceKey) -> Vec<InstanceKey> {
        let wrapped = self.wrapped_previous.as_deref();
        let unwrap =
            |under: &InstanceKey| wrapped.and_then(|wrapped| InstanceKey::unwrap(under, wrapped).ok());
        // A person may have moved the key that a change left behind has wrapped it under.
        let unwrapped = [Some(key), self.previous.as_ref()].into_iter().flatten().filter_map(unwrap);
        self.previous.as_ref().map(copy).into_iter().chain(unwrapped).collect()
    }

    /// Whether it leads to a volume by more than the key as it is.
    fn has_passkeys(&self) -> bool {
        !self.forms.is_empty() || self.is_between_keys()
    }
}

/// For `fuzz`: whatever a Secret holds, its forms are written as they were read, its key is found by the fingerprint, and
/// what was edited for a volume is of that. Says whether it leads to one.
#[cfg(any(test, fuzzing))]
pub(crate) fn withstand(data: &SecretData) -> bool {
    let secret = InstanceSecret::parse(data);
    let mut forms = SecretData::new();
    put_forms(&mut forms, &secret.forms);
    assert_eq!(InstanceSecret::parse(&forms).forms, secret.forms);
    assert!(secret.current.as_ref().is_none_or(|current| secret.holds(current.fingerprint())));
    let (instance, mut edited) = (InstanceId::from_bytes([1; 16]), data.clone());
    let is_ours = edit_own(&mut edited, instance, |_| {});
    assert_eq!(is_ours, !secret.is_of_another(instance));
    if is_ours {
        let edited = InstanceSecret::parse(&edited);
        assert!(!edited.lacks_volume());
        assert!(!edited.is_of_another(instance));
    }
    secret.has_current() || secret.has_passkeys()
}

/// The same key once more, for who keeps it.
pub(crate) fn copy(key: &InstanceKey) -> InstanceKey {
    InstanceKey::from_slice(key.expose()).expect("a key has the length of a key")
}

/// Adds forms, by the uids of their Passkeys.
pub(crate) fn put_forms(data: &mut SecretData, forms: &BTreeMap<String, Form>) {
    data.extend(forms.iter().map(|(uid, form)| (format!("{FORM}{uid}"), Zeroizing::new(form.to_bytes()))));
}

/// Edits what opens the volume of this instance, and says in it that it is of that. Says whether it is: what opens another
/// one stays as it is.
pub(crate) fn edit_own(data: &mut SecretData, instance: InstanceId, edit: impl Fn(&mut SecretData)) -> bool {
    if InstanceSecret::parse(data).is_of_another(instance) {
        return false;
    }
    edit(data);
    if InstanceSecret::parse(data).lacks_volume() {
        data.insert(VOLUME.to_owned(), Zeroizing::new(instance.to_string().into_bytes()));
    }
    true
}

/// What the Secret is to hold for a new key.
pub(crate) struct NewKey<'a> {
    pub key: &'a InstanceKey,
    pub before: &'a InstanceKey,
    /// Whether it holds the key as it is.
    pub as_it_is: bool,
    /// Those that are sealed for the new key.
    pub forms: &'a BTreeMap<String, Form>,
    /// The uids of those whose forms go. All others stay, if need be as they are.
    pub drops: &'a BTreeSet<String>,
}

impl NewKey<'_> {
    pub(crate) fn put(&self, data: &mut SecretData) {
        let Self { key, before, as_it_is, forms, drops } = self;
        data.retain(|name, _| match name.strip_prefix(FORM) {
            Some(uid) => !drops.contains(uid),
            None => ![CURRENT, PREVIOUS].contains(&name.as_str()),
        });
        put_forms(data, forms);
        if *as_it_is {
            data.insert(CURRENT.to_owned(), Zeroizing::new(key.expose().to_vec()));
        }
        data.insert(WRAPPED_PREVIOUS.to_owned(), Zeroizing::new(before.wrap(key)));
    }
}

/// The volume is under the new key: nobody needs the one before.
pub(crate) fn forget_previous(data: &mut SecretData) {
    data.remove(WRAPPED_PREVIOUS);
}

/// What the instance Secret holds, and what opens its forms.
pub(crate) struct SecretKeys {
    namespace: String,
    secret: InstanceSecret,
    /// By uids as the forms, each passphrase or why it cannot be had.
    passphrases: BTreeMap<String, Result<Zeroizing<Vec<u8>>, String>>,
}

/// Reads the instance Secret, or makes one where nothing was ever kept under it.
pub(crate) async fn secret_keys(
    cluster: &Cluster,
    namespace: &str,
    has_identity: bool,
) -> Result<SecretKeys, IdentityError> {
    let at = NamespacedName::new(namespace, INSTANCE_SECRET);
    let failed = |source| IdentityError::ReadSecret { name: INSTANCE_SECRET.to_owned(), source };
    let keys = |secret| SecretKeys { namespace: namespace.to_owned(), secret, passphrases: BTreeMap::new() };
    let Some(found) = cluster.read_secret(&at).await.map_err(failed)? else {
        if has_identity {
            return Err(IdentityError::LostSecret { namespace: namespace.to_owned(), name: INSTANCE_SECRET });
        }
        let current = InstanceKey::generate();
        let secret = Secret::opaque(at, [(CURRENT.to_owned(), current.expose().to_vec())]);
        return match cluster.create_secret(&secret).await.map_err(failed)? {
            Creation::Created(_) => {
                Ok(keys(InstanceSecret { current: Some(current), ..InstanceSecret::default() }))
            }
            // Somebody else's first start was a moment faster.
            Creation::Existed => Box::pin(secret_keys(cluster, namespace, has_identity)).await,
        };
    };
    let mut keys = keys(InstanceSecret::parse(&found.data));
    if !has_identity && keys.secret.has_passkeys() {
        let namespace = namespace.to_owned();
        return Err(IdentityError::OfAnotherVolume { namespace, name: INSTANCE_SECRET });
    }
    let absent = (!keys.secret.has_current()).then_some(CURRENT);
    if let Some(key) = keys.secret.malformed.or(absent).filter(|_| keys.secret.forms.is_empty()) {
        let namespace = namespace.to_owned();
        return Err(IdentityError::MalformedSecret { namespace, name: INSTANCE_SECRET, key });
    }
    for (uid, form) in &keys.secret.forms {
        let passphrase = read_passphrase(cluster, &form.secret).await;
        keys.passphrases.insert(uid.clone(), passphrase.map_err(|fault| Chain(&fault).to_string()));
    }
    Ok(keys)
}

/// The instance key, and what it is wrapped under.
pub(crate) struct OpenedInstanceKey {
    pub key: InstanceKey,
    /// The key of the Secret under which the volume keeps it, once it was rewrapped.
    pub secret: InstanceKey,
    /// As it is to be kept where the Secret has changed since.
    pub rewrapped: Option<Vec<u8>>,
}

impl SecretKeys {
    /// A new instance key, and as it is kept.
    pub(crate) fn make_instance_key(&self) -> Result<(OpenedInstanceKey, Vec<u8>), IdentityError> {
        let mut refused = Vec::new();
        for candidate in self.candidates() {
            match candidate {
                Ok(secret) => {
                    let key = InstanceKey::generate();
                    let wrapped = key.wrap(&secret);
                    return Ok((OpenedInstanceKey { key, secret, rewrapped: None }, wrapped));
                }
                Err(why) => refused.push(why),
            }
        }
        Err(self.no_passkey(refused))
    }

    /// Opens the instance key under the Secret's key, or under the one before.
    ///
    /// Guarantees: the key before counts until the volume holds the instance key under the current one, and never
    /// afterwards, so that a stop at any point leaves one of the two that opens it.
    pub(crate) fn open_instance_key(&self, wrapped: &[u8]) -> Result<OpenedInstanceKey, IdentityError> {
        let (mut refused, mut last) = (Vec::new(), None);
        for candidate in self.candidates() {
            let opened = candidate.and_then(|secret| {
                self.open_under(secret, wrapped).map_err(|source| {
                    let why = source.to_string();
                    last = Some(source);
                    why
                })
            });
            match opened {
                Ok(opened) => return Ok(opened),
                Err(why) => refused.push(why),
            }
        }
        match last {
            Some(source) if self.secret.forms.is_empty() => {
                Err(IdentityError::Unwrap { what: "the instance key", source })
            }
            _ => Err(self.no_passkey(refused)),
        }
    }

    fn open_under(&self, secret: InstanceKey, wrapped: &[u8]) -> Result<OpenedInstanceKey, OpenBoxError> {
        let refusal = match InstanceKey::unwrap(&secret, wrapped) {
            Ok(key) => return Ok(OpenedInstanceKey { key, secret, rewrapped: None }),
            Err(refusal) => refusal,
        };
        let before = self.secret.before(&secret);
        let key =
            before.iter().find_map(|before| InstanceKey::unwrap(before, wrapped).ok()).ok_or(refusal)?;
        let rewrapped = Some(key.wrap(&secret));
        Ok(OpenedInstanceKey { key, secret, rewrapped })
    }

    /// The keys that the Secret leads to, or why it does not: the one as it is before those that cost something.
    fn candidates(&self) -> impl Iterator<Item = Result<InstanceKey, String>> {
        let sealed = self.passphrases.iter().filter_map(|(uid, passphrase)| {
            let form = self.secret.forms.get(uid)?;
            let named = |why: String| format!("Passkey '{}': {why}", form.name);
            Some(match passphrase {
                Ok(passphrase) => {
                    form.open(uid, passphrase).map_err(|fault| named(Chain(&fault).to_string()))
                }
                Err(why) => Err(named(why.clone())),
            })
        });
        self.secret.current.iter().map(|current| Ok(copy(current))).chain(sealed)
    }

    fn no_passkey(&self, why: Vec<String>) -> IdentityError {
        IdentityError::NoPasskey { namespace: self.namespace.clone(), name: INSTANCE_SECRET, why }
    }
}

#[cfg(test)]
mod tests;
