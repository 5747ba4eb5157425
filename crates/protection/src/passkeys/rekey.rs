//! A new key of the instance Secret: what takes a Passkey away for good.
//!
//! The order: 1 the Secret gets the new key as it is or in the forms of all that stay, and the key before, wrapped under the
//! new one; 2 the volume keeps the instance key under the new one; 3 the key before goes from the Secret. Guarantees: after
//! a stop between any two of them a start opens the volume, and the next look makes a new key once more.

use std::collections::{BTreeMap, BTreeSet};

use keelson_crypto::InstanceKey;

use super::{InUse, PasskeyError, Seen, Standing, instance_secret, seal_for};
use crate::instance_secret::{NewKey, forget_previous};
use crate::platform::Platform;
use crate::records::Record;

/// Takes what one of them opens away: a copy of the Secret from before opens nothing that the volume holds from then on.
pub(crate) async fn take_away(
    platform: &Platform,
    in_use: &mut InUse,
    seen: &[Seen],
    gone: &Record,
) -> Result<(), PasskeyError> {
    make_new_key(platform, in_use, seen, Some(gone)).await
}

pub(super) async fn make_new_key(
    platform: &Platform,
    in_use: &mut InUse,
    seen: &[Seen],
    gone: Option<&Record>,
) -> Result<(), PasskeyError> {
    let new = InstanceKey::generate();
    let stays = |seen: &&Seen| gone.is_none_or(|gone| gone.uid != seen.record.uid);
    let mut forms = BTreeMap::new();
    for one in seen.iter().filter(stays) {
        if let Standing::Sealed(holder) = &one.standing {
            forms.insert(one.record.uid.clone(), seal_for(platform, &new, &one.record, holder)?);
        }
    }
    // One that somebody took out of the Secret is not put back.
    let as_it_is = seen.iter().filter(stays).any(|seen| matches!(seen.standing, Standing::AsItIs));
    if !as_it_is && forms.is_empty() {
        return Err(PasskeyError::NoneLeft);
    }
    let keeps: BTreeSet<&str> = seen.iter().filter(stays).map(|seen| seen.record.uid.as_str()).collect();
    let change = NewKey { key: &new, before: &in_use.key, as_it_is, forms: &forms, keeps: &keeps };
    let at = instance_secret(platform);
    let failed = |source| PasskeyError::WriteSecret { secret: at.clone(), source };
    platform.cluster.edit_secret(&at, |data| change.put(data)).await.map_err(failed)?;
    let wrapped = platform.instance_key.wrap(&new);
    tokio::task::block_in_place(|| platform.instance.rewrap(wrapped))
        .map_err(|source| PasskeyError::Rewrap { source })?;
    in_use.key = new;
    in_use.tried.clear();
    platform.cluster.edit_secret(&at, forget_previous).await.map_err(failed)?;
    let gone = gone.map(|gone| gone.name.as_str());
    tracing::info!(
        passkey = gone,
        "the instance Secret has a new key: what opened the one before opens nothing"
    );
    Ok(())
}
