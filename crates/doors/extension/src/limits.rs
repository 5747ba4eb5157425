//! Every bound of the server, with its reason. Requests beyond a bound are refused, never queued without end.

use std::time::Duration;

use keelson_model::names::label;
use keelson_resources::LABELS_MAX;

use crate::fairness::Portions;

// The labels that clients give a backup, its export and the restore point, and all of the platform, fit into one row.
const _: () = assert!(3 * LABELS_MAX + label::OF_THE_SYSTEM.len() <= keelson_catalog::limits::LABELS_MAX);

/// The API server itself takes no larger body.
pub(crate) const BODY_BYTES_MAX: usize = 3 << 20;

/// Memory for bodies, in bytes: of each what is read, and what is made of it. A write of two KiB, as people make them,
/// takes no more than 64 KiB, so that hundreds of one name go on at once; the largest body that there is fits alone.
pub(crate) const BODIES: Portions = Portions { all: 80 << 20, kept: 16 << 20, each: 20 << 20 };

/// A write takes this of it, however small its body.
pub(crate) const WRITE_BYTES: usize = 4 << 10;

/// What a body that does not say how long it is takes at once while it is read.
pub(crate) const BODY_STEP_BYTES: usize = 64 << 10;

/// What may be made of one body: two brackets become some thirty bytes, and a field some hundred. What is written for
/// people takes ten bytes for each of its own, and no object of ours is larger than a MiB.
pub(crate) const DECODED_BYTES_MAX: usize = 16 << 20;

/// What a body takes at once while it is decoded.
pub(crate) const DECODED_STEP_BYTES: usize = 16 << 10;

/// Scalars, lists and objects of a body in YAML, aliases followed. Clients of Kubernetes send JSON.
pub(crate) const YAML_NODES_MAX: usize = 50_000;

/// Scalars, and beginnings and ends of lists and objects, that such a body keeps to repeat them by aliases. What is anchored
/// within an anchor is kept for both, and each takes three times what is made of it.
pub(crate) const YAML_REPEATED_MAX: usize = 1_000;

/// Warnings that a client is told, of keys given twice and fields that nobody knows. Each becomes a header.
pub(crate) const WARNINGS_MAX: usize = 32;

/// Names, options and a continue token fit many times over; groups and extra of a requester come in headers.
pub(crate) const HEADER_BYTES_MAX: usize = 64 << 10;
pub(crate) const HEADERS_MAX: usize = 256;

/// The aggregator multiplexes over a few connections for each API server.
pub(crate) const CONNECTIONS_MAX: usize = 512;
/// Probes and discovery come without a client certificate; anybody else has no business here. Where more come, the oldest
/// of the address that holds most places goes.
pub(crate) const STRANGERS_MAX: usize = 128;
/// Connections whose handshake is not done; the same holds for them.
pub(crate) const NEWCOMERS_MAX: usize = 256;
pub(crate) const STREAMS_PER_CONNECTION_MAX: u32 = 1_000;
/// What is written of one answer before its reader takes it.
pub(crate) const SEND_BYTES_PER_STREAM: usize = 64 << 10;

/// The controller-manager holds three watches a kind; every informer of a client holds one.
pub(crate) const WATCHES: Portions = Portions { all: 2_000, kept: 500, each: 200 };

/// Lists on their way, and details of actions. Each holds a page, or an object with all that belongs to it.
pub(crate) const LISTS: Portions = Portions { all: 64, kept: 16, each: 16 };

/// Details of what is protected, until they are taken. Each reads what is in a namespace, or a part of a repository, for up
/// to half a minute.
pub(crate) const DETAILS: Portions = Portions { all: 6, kept: 0, each: 2 };

/// A list, and details, wait this long for their turn. Clients come back by themselves.
pub(crate) const LIST_PATIENCE: Duration = Duration::from_secs(10);

/// From the opening of a connection to its first request, the handshake included. Clients connect when they have
/// something to ask.
pub(crate) const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A probe takes a moment, and the next one may come over a connection of its own.
pub(crate) const STRANGER_LIFE: Duration = Duration::from_secs(60);

/// Objects of which a watch with a field selector remembers whether they were in view: at most a quarter of a MiB.
pub(crate) const OBJECTS_REMEMBERED_MAX: usize = 10_000;

/// A client that does not finish its headers or body in this time is gone.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The API server gives up on a request after a minute; so do we, a little earlier, to say why.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(55);

/// The audit event of a request, of one that was cut too, is written before the answer if the disk takes it until so long
/// after that: what is left of the minute.
pub(crate) const EVENT_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection whose peer answers no ping is closed, and its watches with it.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(30);
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Watches that end with the server are asked for again in a moment: for this long somebody is there to say when.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);

/// What is still open this long after the shutdown began is dropped.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A watch that names no timeout ends within this span, spread so that not all clients return at once.
pub(crate) const WATCH_TIMEOUT_LEAST: Duration = Duration::from_secs(30 * 60);
pub(crate) const WATCH_TIMEOUT_MOST: Duration = Duration::from_secs(60 * 60);

/// A watch that names a longer timeout ends after a day; clients begin the next one by themselves.
pub(crate) const WATCH_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A watch that nothing wakes looks this often how far it is, and tells in a bookmark: its version, and its client's, stay
/// ahead of the cut of the journal.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// A watch reads no more often than this: what is committed of its kind meanwhile it reads together. One reads the journal
/// for all, so this bounds the pieces that each client is sent, two hundred a second. Of 50 commits a second few wait.
pub(crate) const COMMITS_TOGETHER: Duration = Duration::from_millis(5);

/// Rows read in one go, and their weight. A list up to this size is one consistent read.
pub(crate) const PAGE_ROWS: usize = 1_000;
pub(crate) const PAGE_BYTES: usize = 1 << 20;

/// Answers of fewer bytes are not worth the work.
pub(crate) const COMPRESSED_FROM: u64 = 128 << 10;

/// A list that a client limits by rows ends earlier where they are large.
pub(crate) const LIMITED_LIST_BYTES: usize = 4 << 20;

/// Events of a watch read in one go.
pub(crate) const EVENTS_PER_READ: usize = 500;

/// What happened lately to a kind is kept for all its watches: at most so many events,
pub(crate) const FEED_EVENTS: usize = 500;

/// and so many bytes of them.
pub(crate) const FEED_BYTES: usize = 1 << 20;

/// Where nobody watched for longer than so many commits, what is kept begins anew: far fewer than the journal keeps.
pub(crate) const FEED_GAP: u64 = 1_000;

/// More events than this are turned into bytes on the blocking pool.
pub(crate) const EVENTS_INLINE: usize = 16;

/// Objects at the beginning of a watch read in one go, by weight: a client that takes nothing holds what was read.
pub(crate) const WATCH_READ_BYTES: usize = 64 << 10;

/// Deletions of one deletecollection that are under way together.
pub(crate) const DELETIONS_AT_ONCE: usize = 32;

/// A grant is believed this long; a denial is never kept.
pub(crate) const REVIEW_TTL: Duration = Duration::from_secs(10);
pub(crate) const REVIEWS_KEPT_MAX: usize = 4_096;

/// References in one spec. Each costs an access review; a batch of 100 restores has two of each application.
pub(crate) const REFERENCES_MAX: usize = 208;

/// Names that are tried for one `generateName`.
pub(crate) const GENERATED_NAMES_TRIED: usize = 8;

/// Tries of one patch while others change the object.
pub(crate) const PATCHES_TRIED: usize = 16;

/// What a client may put into one selector.
pub(crate) const SELECTOR_BYTES_MAX: usize = 16 << 10;

/// The front proxy's authority is read again this often.
pub(crate) const TRUST_RELOAD_INTERVAL: Duration = Duration::from_secs(60);

/// Lives of our certificates. Each is replaced when a third of its life is left.
pub(crate) const AUTHORITY_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
pub(crate) const AUTHORITY_RENEW_AFTER: Duration = Duration::from_secs(240 * 24 * 3600);
pub(crate) const SERVING_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
pub(crate) const SERVING_RENEW_AFTER: Duration = Duration::from_secs(20 * 24 * 3600);
pub(crate) const SERVING_LOOK_EVERY: Duration = Duration::from_secs(3600);

/// For so long a new authority stands in all APIServices before it signs: each API server reads them, and one that was
/// cut off for a night is back.
pub(crate) const AUTHORITY_TOLD_FOR: Duration = Duration::from_secs(24 * 3600);

/// What we sign is valid from so long before: there are clocks that lag.
pub(crate) const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(24 * 3600);

/// Clients are asked to come back after this.
pub(crate) const RETRY_AFTER_SECONDS: u32 = 5;
