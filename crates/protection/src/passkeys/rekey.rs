//! A new key of the instance Secret: what takes a Passkey away for good.
//!
//! The order: 1 the Secret gets the new key as it is or in the forms of all that stay, and the key before, wrapped under the
//! new one; 2 the volume keeps the instance key under the new one, and wipes what it kept before; 3 the key before goes from
//! the Secret. Guarantees: after a stop between any two of them, or where nobody knows whether one of them was done, a start
//! opens the volume, and the next look brings it to its end. A form that this volume has not made stays.

use std::collections::{BTreeMap, BTreeSet};

use keelson_catalog::Rewrapped;
use keelson_crypto::InstanceKey;

use super::{InUse, PasskeyError, Seen, Standing, edit_instance_secret, seal_for};
use crate::instance_secret::{NewKey, copy, forget_previous};
use crate::platform::Platform;
use crate::records::Record;

/// Takes what one of them opens away: a copy of the Secret from before opens nothing that the volume holds from then on.
pub(crate) async fn take_away(
    platform: &Platform,
    in_use: &mut InUse,
    seen: &[Seen],
    gone: &Record,
) -> Result<(), PasskeyError> {
    let stay: Vec<_> = seen.iter().filter(|seen| seen.record.uid != gone.uid).collect();
    make_new_key(platform, in_use, &stay, &BTreeSet::from([gone.uid.clone()])).await?;
    tracing::info!(
        passkey = gone.name,
        "a Passkey was taken away: the instance Secret has a new key, and what opened the one before opens nothing"
    );
    Ok(())
}

/// Brings a change to its end that was begun, and takes these forms away.
pub(super) async fn renew(
    platform: &Platform,
    in_use: &mut InUse,
    seen: &[Seen],
    strays: &BTreeSet<String>,
) -> Result<(), PasskeyError> {
    let stay: Vec<_> = seen.iter().collect();
    make_new_key(platform, in_use, &stay, strays).await?;
    tracing::info!(
        forms = ?strays,
        "the instance Secret has a new key, after a change that was not brought to its end; what opened the one before \
         opens nothing"
    );
    Ok(())
}

/// The Secret holds the key that follows, or the one in use: the volume keeps the instance key under that, holds nothing of
/// the one before any more, and then the Secret does not either.
pub(super) async fn settle(platform: &Platform, in_use: &mut InUse) -> Result<(), PasskeyError> {
    let wrapped = platform.instance_key.wrap(in_use.next.as_ref().unwrap_or(&in_use.key));
    let rewrapped = tokio::task::block_in_place(|| platform.instance.rewrap(wrapped));
    let rewrapped = rewrapped.map_err(|source| PasskeyError::Rewrap { source })?;
    if let Some(next) = in_use.next.take() {
        in_use.key = next;
        in_use.lingers = false;
    }
    match rewrapped {
        Rewrapped::Wiped => {
            edit_instance_secret(platform, forget_previous).await?;
            in_use.lingers = false;
        }
        // The Secret says that something is left to do.
        Rewrapped::BeforeLingers { why } => {
            tracing::warn!(
                why,
                "what the volume kept under the key before could not be wiped yet; trying again"
            );
            in_use.lingers = true;
        }
    }
    Ok(())
}

async fn make_new_key(
    platform: &Platform,
    in_use: &mut InUse,
    stay: &[&Seen],
    drops: &BTreeSet<String>,
) -> Result<(), PasskeyError> {
    // The volume may be under it already.
    let new = in_use.next.as_ref().map_or_else(InstanceKey::generate, copy);
    let mut forms = BTreeMap::new();
    for one in stay {
        if let Standing::Sealed(holder) = &one.standing {
            forms.insert(one.record.uid.clone(), seal_for(platform, &new, &one.record, holder)?);
        }
    }
    // One that somebody took out of the Secret is not put back.
    let as_it_is = stay.iter().any(|seen| matches!(seen.standing, Standing::AsItIs));
    if !as_it_is && forms.is_empty() {
        return Err(PasskeyError::NoneLeft);
    }
    let change = NewKey { key: &new, before: &in_use.key, as_it_is, forms: &forms, drops };
    edit_instance_secret(platform, |data| change.put(data)).await?;

    in_use.next = Some(new);
    in_use.tried.clear();
    settle(platform, in_use).await
}
