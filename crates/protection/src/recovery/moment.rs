//! A point in time: which chain held that moment, and the last entry at or before it.
//!
//! Guarantees: what is found was committed at or before the second that was asked for, and everything that was
//! committed before it is in, or the answer says that it may not be. Outside what was shipped the answer is the range
//! that is possible. Assumes that the platform's clock was not set back.

use jiff::{SignedDuration, Timestamp};
use keelson_catalog::{EntryTime, Segment};
use keelson_crypto::{ObjectKind, open_object};
use keelson_model::Sequence;
use keelson_model::recovery::DrMode;

use crate::documents::DocumentError;
use crate::layout::Position;
use crate::recovery::RecoveryError;
use crate::recovery::chain::{ShippedChain, latest_chain};
use crate::recovery::documents::{BaseDocument, SegmentDirectory};
use crate::recovery::error::Unseen;
use crate::recovery::open::OpenChain;
use crate::recovery::read::{Shelf, is_damage};

/// The state of a moment.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    pub open: &'a OpenChain,
    pub at: Position,
    /// When that entry was committed.
    pub committed_at: Timestamp,
    pub mode: DrMode,
    /// What follows is there and was committed later. Otherwise more may have been committed by then.
    pub whole: bool,
}

/// A second lasts until the next one begins.
pub(crate) fn end_of_second(time: Timestamp) -> Timestamp {
    if time.subsec_nanosecond() != 0 {
        return time;
    }
    time.saturating_add(SignedDuration::from_micros(999_999)).unwrap_or(time)
}

/// Finds a moment on the chain that is followed now, or on those that it came from. Ancestors, below other cluster ids,
/// count up to where they were left.
pub(crate) async fn find_moment<'a>(
    chains: &'a [OpenChain],
    ancestors: &'a [OpenChain],
    wanted: Timestamp,
    now: Timestamp,
) -> Result<Moment<'a>, RecoveryError> {
    let shipped: Vec<ShippedChain> = chains.iter().map(|open| open.chain.clone()).collect();
    let all = || chains.iter().chain(ancestors);
    let find = |repository| all().find(|open| open.chain.repository == repository);
    let latest = latest_chain(&shipped).and_then(|chain| find(chain.repository));
    let last = latest.map_or(now, |open| open.end_at);
    // Nobody knows yet; the search still tells what is possible.
    let until = if wanted <= now { end_of_second(wanted) } else { Timestamp::MIN };
    let (mut line, mut end, mut first) = (latest, End::default(), last);
    // Each step goes to another chain, and there are only so many.
    for _ in all() {
        let Some(open) = line else { break };
        let begun = match search(open, until, end).await? {
            Found::At { at, committed_at, mode, whole } => {
                return Ok(Moment { open, at, committed_at, mode, whole });
            }
            Found::NothingSince { earliest, begun } => {
                first = earliest;
                begun
            }
        };
        if let Some(elder) = find_elder(open, all()) {
            let resumed = begun.filter(|begun| begun.generation == elder.base.at.generation);
            end = End { resumed: resumed.map(|begun| begun.sequence), ..end };
            line = Some(elder);
            continue;
        }
        let parent = open.chain.parent.as_ref();
        let is_next = begun.is_some_and(|begun| begun.sequence <= Sequence(1));
        end = End { left: parent.map(|fork| fork.at.sequence), is_next, resumed: None };
        line = parent.and_then(|fork| find(fork.repository));
    }
    Err(RecoveryError::PointInTime { wanted, first, last, unseen: Unseen::default() })
}

/// Pure: where the same instance shipped the same generation to before. A new passphrase makes a new repository, and its
/// bases name the same parent as those before.
fn find_elder<'a>(open: &OpenChain, all: impl Iterator<Item = &'a OpenChain>) -> Option<&'a OpenChain> {
    let (instance, begun) = (open.base.instance, open.base.at);
    let elders = all.filter(|other| {
        let (theirs, at) = (other.base.instance, other.base.at);
        let is_same_life = theirs == instance && at.generation == begun.generation;
        is_same_life && at.sequence < begun.sequence && other.cluster == open.cluster
    });
    elders.max_by_key(|elder| elder.base.at.sequence)
}

/// Where a chain ends for whoever comes from a later one.
#[derive(Clone, Copy, Default)]
struct End {
    /// It was left there: what lies behind belongs to somebody else.
    left: Option<Sequence>,
    /// Whoever left it shipped its very first entry. Otherwise there were some that nobody knows the time of.
    is_next: bool,
    /// The same life went on there, with the first base of another repository. Before it nothing may have been shipped.
    resumed: Option<Sequence>,
}

enum Found {
    At {
        at: Position,
        committed_at: Timestamp,
        mode: DrMode,
        whole: bool,
    },
    /// The earliest moment of this chain is later. With its first base that can be read.
    NothingSince {
        earliest: Timestamp,
        begun: Option<Position>,
    },
}

/// Of one chain, up to where it was left.
async fn search(open: &OpenChain, until: Timestamp, end: End) -> Result<Found, RecoveryError> {
    let shelf = open.shelf();
    let (mut next, mut earliest) = (None, open.end_at);
    for at in open.chain.bases.iter().rev() {
        let base = match shelf.base(*at).await {
            Ok(base) => base,
            Err(error) if is_damage(&error) => continue,
            Err(error) => return Err(error),
        };
        if base.head_at <= until && end.left.is_none_or(|left| base.at.sequence <= left) {
            return behind(&shelf, &base, next, until, end).await;
        }
        (next, earliest) = (Some(base.at), base.head_at);
    }
    Ok(Found::NothingSince { earliest, begun: next })
}

/// Behind a base that is not too late, and before the next base, which is.
async fn behind(
    shelf: &Shelf<'_>,
    base: &BaseDocument,
    next: Option<Position>,
    until: Timestamp,
    end: End,
) -> Result<Found, RecoveryError> {
    let names = shelf.segments(Some(base.at)).await?;
    let ours = |at: &Position| {
        at.generation == base.at.generation
            && next.is_none_or(|next| *at <= next)
            && end.left.is_none_or(|left| at.sequence <= left)
    };
    let names: Vec<Position> = names.iter().map(|name| name.at).filter(ours).collect();
    let next = match next {
        Some(next) => (next.generation == base.at.generation).then_some(next.sequence),
        None => end.resumed,
    };
    let is_left_at = |sequence: Sequence| end.left.is_some_and(|left| sequence >= left);
    let Some(directory) = last_begun(shelf, &names, until).await? else {
        let whole = match is_left_at(base.at.sequence) {
            true => end.is_next,
            false => is_followed(shelf, &names, base.at, next).await?,
        };
        return Ok(Found::At { at: base.at, committed_at: base.head_at, mode: base.mode, whole });
    };
    let found = last_entry(shelf, &directory, until).await?;
    let sequence = found.revision.sequence();
    let whole = match is_left_at(sequence) {
        true => end.is_next,
        false => {
            sequence < directory.last.sequence || is_followed(shelf, &names, directory.last, next).await?
        }
    };
    let sequence = end.left.map_or(sequence, |left| sequence.min(left));
    let at = Position { sequence, ..directory.first };
    Ok(Found::At { at, committed_at: found.at, mode: base.mode, whole })
}

/// Whether the entry after `end` is to be had, or there is none. A base that begins with it is as good: it is later.
async fn is_followed(
    shelf: &Shelf<'_>,
    names: &[Position],
    end: Position,
    next: Option<Sequence>,
) -> Result<bool, RecoveryError> {
    match names.iter().find(|name| name.sequence > end.sequence) {
        None => Ok(next.is_none_or(|next| next.0 <= end.sequence.0 + 1)),
        Some(name) if name.sequence.0 != end.sequence.0 + 1 => Ok(false),
        Some(name) => match shelf.segment(*name).await {
            Ok(_) => Ok(true),
            Err(error) if is_damage(&error) => Ok(false),
            Err(error) => Err(error),
        },
    }
}

/// The last segment that had begun by then. Times ascend with names; what does not open is passed over.
async fn last_begun(
    shelf: &Shelf<'_>,
    names: &[Position],
    until: Timestamp,
) -> Result<Option<SegmentDirectory>, RecoveryError> {
    let (mut low, mut high, mut found) = (0, names.len(), None);
    while low < high {
        let middle = low + (high - low) / 2;
        let Some((index, directory)) = nearest_good(shelf, names, low, middle).await? else {
            low = middle + 1;
            continue;
        };
        if directory.first_at <= until {
            found = Some(directory);
            low = middle + 1;
        } else {
            high = index;
        }
    }
    Ok(found)
}

async fn nearest_good(
    shelf: &Shelf<'_>,
    names: &[Position],
    low: usize,
    middle: usize,
) -> Result<Option<(usize, SegmentDirectory)>, RecoveryError> {
    for index in (low..=middle).rev() {
        match shelf.segment(names[index]).await {
            Ok(directory) => return Ok(Some((index, directory))),
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

async fn last_entry(
    shelf: &Shelf<'_>,
    directory: &SegmentDirectory,
    until: Timestamp,
) -> Result<EntryTime, RecoveryError> {
    let path = shelf.folder.segment(directory.first);
    let bytes = shelf.bytes(&path).await?;
    let opening = |source| RecoveryError::Document { source: DocumentError::Open { path, source } };
    let opened = open_object(shelf.repository.keyring(), ObjectKind::Segment, &bytes);
    let entries = opened.and_then(|opened| opened.part(0)).map_err(opening)?;
    let found =
        Segment::last_until(&entries, until).map_err(|source| RecoveryError::DecodeSegment { source })?;
    found.ok_or_else(|| RecoveryError::Mismatch { what: "a segment's times are not its entries'".to_owned() })
}
