//! Proves a catalog against its own digests and chain, and asks SQLite about the file.

use keelson_model::{Revision, Sequence};
use rusqlite::Connection;

use super::journal::scan;
use super::lookup::query_error;
use super::tables::{find_cut, find_head, read_row};
use crate::digest::{Digests, Head, Proof};
use crate::error::VerifyError;
use crate::row::Class;

fn verify_error(error: rusqlite::Error) -> VerifyError {
    query_error(error).into()
}

/// Adds up all rows in one pass and compares with the head.
pub(super) fn verify_digests(connection: &Connection, proof: &Proof) -> Result<Head, VerifyError> {
    let head = find_head(connection).map_err(verify_error)?;
    let mut digests = Digests::default();
    let mut statement =
        connection.prepare_cached(include_str!("../sql/objects/list_all.sql")).map_err(verify_error)?;
    let mut rows = statement.query([]).map_err(verify_error)?;
    while let Some(row) = rows.next().map_err(verify_error)? {
        proof.add(&mut digests, &read_row(row).map_err(verify_error)?.record);
    }
    match Class::ALL.into_iter().find(|&class| digests.of(class) != head.digests.of(class)) {
        Some(class) => Err(VerifyError::Digest { class, revision: head.revision }),
        None => Ok(head),
    }
}

/// Follows the chain through all entries that the journal still has.
pub(super) fn verify_chain(connection: &Connection, proof: &Proof) -> Result<Head, VerifyError> {
    let cut = find_cut(connection).map_err(verify_error)?;
    verify_chain_after(connection, proof, Sequence(cut))
}

/// Follows the chain through the entries after a sequence number, up to the recorded head.
pub(super) fn verify_chain_after(
    connection: &Connection,
    proof: &Proof,
    after: Sequence,
) -> Result<Head, VerifyError> {
    let head = find_head(connection).map_err(verify_error)?;
    let mut reached: Option<Head> = None;
    let mut broken = None;
    scan(connection, after, head.revision, usize::MAX, |entry| {
        let expected = reached.map_or(after, |reached| reached.revision.sequence()).0 + 1;
        let follows = reached.is_none_or(|reached| reached.chain == entry.previous);
        if entry.revision.sequence().0 != expected || !follows || proof.entry(&entry) != entry.digest {
            broken = Some(entry.revision.sequence());
            return Ok(false);
        }
        reached = Some(Head { revision: entry.revision, digests: entry.digests, chain: entry.digest });
        Ok(true)
    })?;
    if let Some(at) = broken {
        return Err(VerifyError::Chain { at });
    }
    let is_at_head = match reached {
        Some(reached) => reached == head,
        None => head.revision == Revision::new(head.revision.generation(), after),
    };
    if is_at_head { Ok(head) } else { Err(VerifyError::Chain { at: head.revision.sequence() }) }
}

/// SQLite's own check of every page and index.
pub(super) fn check_file(connection: &Connection) -> Result<(), VerifyError> {
    let finding: String =
        connection.pragma_query_value(None, "quick_check", |row| row.get(0)).map_err(verify_error)?;
    if finding == "ok" { Ok(()) } else { Err(VerifyError::File { finding: finding.into() }) }
}
