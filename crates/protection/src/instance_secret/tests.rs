//! Which of what the Secret holds opens a volume, and what is left of it by each step of a change.

use keelson_crypto::KdfCost;

use super::*;

const PASSPHRASE: &[u8] = b"correct horse";

fn form(uid: &str, key: &InstanceKey) -> (String, Form) {
    let secret = NamespacedName::new("vaults", uid);
    (uid.to_owned(), Form::seal((uid, uid), secret, PASSPHRASE, KdfCost::LOWEST, key).unwrap())
}

/// As a start reads it, where each Passkey's Secret holds this passphrase.
fn keys(data: &SecretData, passphrase: &[u8]) -> SecretKeys {
    let secret = InstanceSecret::parse(data);
    let held = |uid: &String| (uid.clone(), Ok(Zeroizing::new(passphrase.to_vec())));
    let passphrases = secret.forms.keys().map(held).collect();
    SecretKeys { namespace: "kasten-io".to_owned(), secret, passphrases }
}

fn as_it_is(key: &InstanceKey) -> SecretData {
    BTreeMap::from([(CURRENT.to_owned(), Zeroizing::new(key.expose().to_vec()))])
}

fn sealed(forms: impl IntoIterator<Item = (String, Form)>) -> SecretData {
    let mut data = SecretData::new();
    put_forms(&mut data, &forms.into_iter().collect());
    data
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_as_it_is_and_each_form_open_the_volume_alone() {
    let (key, volume) = (InstanceKey::generate(), InstanceKey::generate());
    let wrapped = volume.wrap(&key);
    for data in [as_it_is(&key), sealed([form("a", &key)]), sealed([form("a", &volume), form("b", &key)])] {
        let opened = keys(&data, PASSPHRASE).open_instance_key(&wrapped).unwrap();
        assert_eq!(opened.key.fingerprint(), volume.fingerprint());
        assert!(opened.rewrapped.is_none());
    }
    // Somebody has put another key there: the form makes good for it.
    let mut damaged = as_it_is(&volume);
    damaged.extend(sealed([form("a", &key)]));
    let opened = keys(&damaged, PASSPHRASE).open_instance_key(&wrapped).unwrap();
    assert_eq!(opened.secret.fingerprint(), key.fingerprint());
}

#[test]
fn what_opens_another_volume_is_not_edited_and_what_opens_ours_says_whose_it_is() {
    let (ours, theirs) = (InstanceId::from_bytes([1; 16]), InstanceId::from_bytes([2; 16]));
    let (key, new) = (InstanceKey::generate(), InstanceKey::generate());
    let mut data = as_it_is(&key);
    assert!(edit_own(&mut data, ours, |_| ()));
    assert_eq!(*data[VOLUME], ours.to_string().into_bytes());
    let before = data.clone();
    assert!(!edit_own(&mut data, theirs, SecretData::clear));
    assert!(data == before);

    let (forms, drops) = (BTreeMap::new(), BTreeSet::new());
    let change = NewKey { key: &new, before: &key, as_it_is: true, forms: &forms, drops: &drops };
    assert!(edit_own(&mut data, ours, |data| change.put(data)));
    assert_eq!(data.get(VOLUME), before.get(VOLUME), "a new key opens the same volume");

    let mut empty = SecretData::new();
    assert!(edit_own(&mut empty, ours, |_| ()) && empty.is_empty(), "it opens nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_opens_the_volume_each_passkey_says_why() {
    let (key, volume) = (InstanceKey::generate(), InstanceKey::generate());
    let keys = keys(&sealed([form("a", &key)]), b"another");
    let refused = keys.open_instance_key(&volume.wrap(&key)).err().unwrap().to_string();
    assert_eq!(
        refused,
        "neither 'instance-key' of Secret 'kasten-io/keelson-instance' nor a Passkey opens the volume: Passkey 'a': the \
         passphrase in Secret 'vaults/a' is not the one that the Passkey was added with"
    );
    assert!(keys.make_instance_key().is_err());
}

/// 1 the Secret for the new key; 2 the volume; 3 the key before is forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_between_two_keys_leaves_the_volume_open_and_afterwards_the_old_key_opens_nothing() {
    let (old, new, volume) = (InstanceKey::generate(), InstanceKey::generate(), InstanceKey::generate());
    let mut data = as_it_is(&old);
    data.extend(sealed([form("gone", &old), form("kept", &old), form("away", &old)]));
    let before = data.clone();
    let forms = BTreeMap::from([form("kept", &new)]);
    let drops = BTreeSet::from(["gone".to_owned()]);
    let change = NewKey { key: &new, before: &old, as_it_is: false, forms: &forms, drops: &drops };
    change.put(&mut data);
    assert!(InstanceSecret::parse(&data).is_between_keys());
    assert_eq!(
        data.keys().map(String::as_str).collect::<Vec<_>>(),
        ["passkey-away", "passkey-kept", WRAPPED_PREVIOUS]
    );

    let mut found = keys(&data, PASSPHRASE);
    found.passphrases.insert("away".to_owned(), Err("its Secret is away".to_owned()));
    let opened = found.open_instance_key(&volume.wrap(&old)).unwrap();
    let rewrapped = opened.rewrapped.expect("it lies under the key before");
    assert_eq!(opened.secret.fingerprint(), new.fingerprint());
    forget_previous(&mut data);
    let opened = keys(&data, PASSPHRASE).open_instance_key(&rewrapped).unwrap();
    assert_eq!(opened.key.fingerprint(), volume.fingerprint());
    assert!(
        keys(&data, PASSPHRASE).open_instance_key(&volume.wrap(&old)).is_ok(),
        "a form from before is left"
    );
    // Whoever kept all that there was does not open what the volume holds now.
    assert!(keys(&before, PASSPHRASE).open_instance_key(&rewrapped).is_err());
}

#[test]
fn the_key_before_counts_as_held_while_the_secret_is_rotated() {
    let (old, new) = (InstanceKey::generate(), InstanceKey::generate());
    let mut data = as_it_is(&new);
    assert!(!InstanceSecret::parse(&data).holds(old.fingerprint()));
    data.insert(PREVIOUS.to_owned(), Zeroizing::new(old.expose().to_vec()));
    assert!(InstanceSecret::parse(&data).holds(old.fingerprint()));
    data.insert(CURRENT.to_owned(), Zeroizing::new(vec![1; 31]));
    assert!(!InstanceSecret::parse(&data).holds(new.fingerprint()));
}
