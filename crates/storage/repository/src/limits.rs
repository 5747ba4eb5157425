//! Every bound of the repository, in one place, with its reason.

use std::time::Duration;

/// A pack is one PUT, and four of them in flight must fit the memory gate.
pub(crate) const PACK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Packs being sealed or sent at once by a session.
pub(crate) const UPLOADS_IN_FLIGHT: usize = 4;
/// Chunks may be this long at most, so that a pack holds at least one.
pub(crate) const CHUNK_BYTES_MAX: u32 = 8 * 1024 * 1024;
/// Below this an entry in the index outweighs its chunk.
pub(crate) const CHUNK_BYTES_MIN: u32 = 64;
/// Groups of chunks being hashed and compressed at once, per stream.
pub(crate) const PREPARED_IN_FLIGHT: usize = 2;
/// Chunks that wait for the packer. Each is at most a chunk long.
pub(crate) const CHUNKS_QUEUED: usize = 4;
/// What one task on the blocking pool hashes and compresses: enough to outweigh the hand-over.
pub(crate) const PREPARE_BYTES: usize = 1024 * 1024;

/// An index object is written whenever its entries reach this, and keeps far below an object's bound.
pub(crate) const INDEX_BYTES_TARGET: usize = 8 * 1024 * 1024;
/// Or whenever it describes so many packs, 1 GiB: what an interrupted session has written until then the next one finds.
pub(crate) const INDEX_PACKS_MAX: usize = 64;
/// Index objects read at once.
pub(crate) const INDEX_READS_IN_FLIGHT: usize = 8;

/// Children of a tree node: 160 KiB of them.
pub(crate) const NODE_CHILDREN_MAX: usize = 4096;
/// A node has at least so many, its level's last one excepted, so that every level is far shorter than the one below.
pub(crate) const NODE_CHILDREN_MIN: usize = 128;
/// Levels above the chunks: 128^7 chunks are more than a 64-bit length can fill.
pub(crate) const TREE_DEPTH_MAX: u8 = 9;

/// Sealed bytes of neighbouring chunks that one request reads.
pub(crate) const READ_SEALED_BYTES: u32 = 4 * 1024 * 1024;
/// What one request may unpack to, a single chunk excepted.
pub(crate) const READ_PLAIN_BYTES: u32 = 8 * 1024 * 1024;
/// Requests in flight per stream that is read.
pub(crate) const READS_IN_FLIGHT: usize = 4;

/// No store that we know has longer ones.
pub(crate) const VERSION_ID_BYTES_MAX: usize = 1024;
/// What the caller may say of an outcome.
pub(crate) const DESCRIPTION_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Streams of one outcome.
pub(crate) const STREAMS_MAX: usize = 65_536;
/// A stream's name.
pub(crate) const STREAM_NAME_BYTES_MAX: usize = 1024;
/// Attributes of a stream.
pub(crate) const ATTRIBUTES_MAX: usize = 64;
/// Name or value of an attribute.
pub(crate) const ATTRIBUTE_BYTES_MAX: usize = 4096;

/// Slots in memory at once. We make one with each changed passphrase; more than this is a flood.
pub(crate) const SLOTS_HELD_MAX: usize = 1024;
/// Slots read side by side.
pub(crate) const SLOT_READS_IN_FLIGHT: usize = 8;
/// Each of so many tries is told in the log: half a minute of work.
pub(crate) const SLOTS_TOLD_EVERY: usize = 64;
/// Objects among keys and slots that somebody else put there: so many are remembered, and so many named in the log.
pub(crate) const STRANGERS_NAMED_MAX: usize = 10_000;
pub(crate) const STRANGERS_LOGGED_MAX: usize = 10;
/// A slot has 200 bytes; room for a later format.
pub(crate) const SLOT_FILE_BYTES_MAX: u64 = 4096;
/// A repository gets a key with each changed passphrase.
pub(crate) const KEYS_MAX: u32 = 1024;
/// A key file has 263 bytes at most; room for a later format.
pub(crate) const KEY_FILE_BYTES_MAX: u64 = 4096;
/// Outcomes read at once when all are wanted.
pub(crate) const OUTCOME_READS_IN_FLIGHT: usize = 8;
/// Packs that a session relies on looked for at once, and retentions extended at once.
pub(crate) const COMMIT_REQUESTS_IN_FLIGHT: usize = 8;
/// Packs verified at once.
pub(crate) const VERIFIES_IN_FLIGHT: usize = 3;
/// Damaged objects that a report names; it counts all.
pub(crate) const FINDINGS_MAX: usize = 10_000;
/// Packs of one mark: 16 MB, which every writer reads that begins meanwhile. The next prune takes the rest.
pub(crate) const MARK_PACKS_MAX: usize = 1_000_000;
/// Outcomes in the list of one mark: 16 MB. Those beyond are read a second time.
pub(crate) const MARK_OUTCOMES_MAX: usize = 1_000_000;
/// Objects removed at once.
pub(crate) const DELETES_IN_FLIGHT: usize = 8;
/// Objects whose paths are in memory at once while they are removed.
pub(crate) const DELETE_BATCH: usize = 1000;
/// Nothing reaches a store later than this after its sender was told that it failed: no server, proxy or kernel
/// that we know of holds a request for more than hours. Until then what could come late meets something.
pub(crate) const LATE_EFFECTS_MAX: Duration = Duration::from_hours(14 * 24);
/// A session may commit so long after its stated life: clocks differ by minutes, and what ended it is there for
/// `LATE_EFFECTS_MAX`.
pub(crate) const LATE_COMMIT_MAX: Duration = Duration::from_hours(1);
/// How long a session is waited for whose own record cannot be read, from when the store took it.
pub(crate) const UNREADABLE_SESSION_LIFE: Duration = Duration::from_hours(7 * 24);

/// What a repository's index may take before its rows move to disk.
pub(crate) const INDEX_MEMORY_BYTES: usize = 4 * 1024 * 1024;
/// Rows that are sorted at once while an index is loaded.
pub(crate) const INDEX_SORT_BYTES: usize = 24 * 1024 * 1024;
/// Rolls that are written before they are merged; each holds a file open and the bytes that are read ahead.
pub(crate) const INDEX_MERGE_INPUTS_MAX: usize = 256;
/// What a merge reads of a roll at once: enough that a disk is not kept busy with seeking.
pub(crate) const INDEX_READ_AHEAD_BYTES: usize = 64 * 1024;
/// Rows of a page: up to twice as many. Its filter of 10 to 20 KiB is what one lookup may have to read.
pub(crate) const INDEX_PAGE_ROWS: u64 = 8192;
/// Filters in memory: those of 100 million chunks, half of the memory that a process may take.
pub(crate) const INDEX_FILTER_BYTES: usize = 128 * 1024 * 1024;
/// Sealed index objects in memory while they wait to be taken in.
pub(crate) const INDEX_BYTES_IN_FLIGHT: u64 = 24 * 1024 * 1024;
/// Chunks looked up by one task on the blocking pool: enough to outweigh the hand-over.
pub(crate) const LOOKUPS_PER_TASK: usize = 256;
/// New chunks whose ids a session keeps in memory before they move to disk.
pub(crate) const CLAIMS_IN_MEMORY: usize = 128 * 1024;
