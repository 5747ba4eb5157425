//! A platform in FIPS mode.

use std::fs;

use anyhow::{Context, Result, ensure};
use keelson_testkit::Supervisor;

use crate::stage::{Stage, assert_said};
use crate::world::{PASSPHRASE, only_child};

/// As `docs/format/slots-and-keys.md` has it: the byte of a slot that names its key derivation, and PBKDF2-HMAC-SHA256.
const KEY_DERIVATION_AT: usize = 10;
const PBKDF2_HMAC_SHA256: u8 = 2;

#[test]
fn in_fips_mode_a_short_passphrase_is_refused_and_slots_are_derived_as_fips_allows() -> Result<()> {
    let share = Supervisor::start("share")?;
    let stage = Stage::raise_with(share.directory(), &[], &["--fips"], None)?;
    stage.profile("vault", "vault")?;
    stage.wait_valid("profile", "vault")?;
    let enable = || stage.keelson(&["dr", "enable", "--profile", "vault"]);
    stage.passphrase(&[("key", "thirteen-byte")])?;
    assert_said(&enable()?, 3, &["shorter than 14 bytes, the least in FIPS mode", "hint:"]);

    stage.passphrase(&[("key", PASSPHRASE)])?;
    let said = enable()?;
    assert_eq!(said.code, 0, "{said:?}");
    let cluster = share.directory().join("vault").join("k10").join(stage.cluster_id()?);
    let slots = only_child(&cluster.join("dr"))?.join("slots");
    let slots = fs::read_dir(&slots).with_context(|| format!("list {}", slots.display()))?;
    let slots = slots.map(|entry| Ok(fs::read(entry?.path())?)).collect::<Result<Vec<_>>>()?;
    ensure!(!slots.is_empty(), "a chain without slots");
    for slot in slots {
        assert_eq!(slot[KEY_DERIVATION_AT], PBKDF2_HMAC_SHA256);
    }
    Ok(())
}
