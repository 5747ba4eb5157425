//! Watches: what happens to the objects of a kind, as it happens, from a version that the client names.
//!
//! A watch pulls whenever a commit of its kind wakes it, so a slow client holds up nobody and costs no queue. What many
//! watches need at once is read from the journal once. Commits of other kinds wake nobody: a watch passes over them when
//! it looks, now and then.
//! It ends at its timeout, with the server, and, as expired, when a recovery replaces the catalog.

mod feed;
mod reader;
mod visibility;

use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures::{StreamExt, stream};
use keelson_protection::Requester;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use self::feed::Feed;
pub(crate) use self::feed::Feeds;
use self::reader::{Progress, Reader};
use crate::fairness::Share;
use crate::limits::{
    COMMITS_TOGETHER, EVENTS_INLINE, LOOK_INTERVAL, WATCH_TIMEOUT_LEAST, WATCH_TIMEOUT_MAX,
    WATCH_TIMEOUT_MOST,
};
use crate::options::{WatchOptions, WatchStart};
use crate::refusal::Refusal;
use crate::response::json_events;
use crate::rows::{Extent, check_reachable};
use crate::shared::{Shared, blocking};
use crate::view::View;

pub(crate) async fn watch(
    shared: &Arc<Shared>,
    requester: &Requester,
    extent: Extent,
    options: WatchOptions,
    view: View,
) -> Result<Response, Refusal> {
    // It would be over at once, and asked for again at once. A client that the cluster finds nobody for lists anew.
    if shared.shutdown.is_cancelled() {
        return Err(Refusal::shutting_down());
    }
    let share = shared.watches.take(requester).ok_or_else(|| Refusal::too_many_requests("watches"))?;
    // Subscribed before the first read, so that no commit falls between them.
    let commits = shared.platform.commits_of(extent.kind);
    let database = shared.database(extent.kind)?;
    // The version that a watch goes on from is judged by its first read.
    if let WatchStart::Initial { not_older_than: Some(revision), .. } = options.start {
        let database = database.clone();
        blocking(move || check_reachable(&database, revision)).await?;
    }
    let now = Instant::now();
    let reader = match options.start {
        WatchStart::Initial { end, .. } => {
            Reader::from_start(&database, extent, view, options.selection, end)
        }
        WatchStart::After(since) => Reader::after(since, extent, view, options.selection),
        WatchStart::Now => Reader::after(database.head().revision, extent, view, options.selection),
    };
    let mut watcher = Watcher {
        shared: Arc::clone(shared),
        feed: shared.feeds.of(reader.row_kind()),
        follows: false,
        reader: Some(reader),
        behind: true,
        read_at: now,
        look_due: now + LOOK_INTERVAL,
        takes_bookmarks: options.bookmarks,
        ends: now + options.timeout.unwrap_or_else(spread_timeout).min(WATCH_TIMEOUT_MAX),
        commits,
        _share: share,
    };
    // A version that cannot be continued from is refused here, while there is still a status to say it with.
    let first = watcher.read().await?;
    let begun = stream::iter((!first.is_empty()).then_some(Ok(Bytes::from(first))));
    Ok(json_events(Body::from_stream(begun.chain(stream::unfold(watcher, Watcher::next)))))
}

/// One client's watch.
struct Watcher {
    shared: Arc<Shared>,
    feed: Arc<Feed>,
    /// It has come as far as there was, and waits for what happens with all others.
    follows: bool,
    /// None once the watch is over.
    reader: Option<Reader>,
    /// There may be more to read without waiting.
    behind: bool,
    read_at: Instant,
    look_due: Instant,
    takes_bookmarks: bool,
    ends: Instant,
    /// Of its kind.
    commits: watch::Receiver<()>,
    _share: Share,
}

/// What made a waiting watch go on.
enum Wake {
    Commit,
    Look,
    End,
}

impl Watcher {
    /// The next piece of the stream: the events of one read, or a bookmark.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        while self.reader.is_some() && !self.is_due() {
            let bytes = if self.behind {
                self.read().await.unwrap_or_else(reader::error_event)
            } else {
                match self.wait().await {
                    Wake::End => break,
                    Wake::Commit => {
                        self.behind = !self.pass_quiet();
                        continue;
                    }
                    Wake::Look => self.look(),
                }
            };
            if !bytes.is_empty() {
                return Some((Ok(Bytes::from(bytes)), self));
            }
        }
        self.end().await
    }

    /// The last word, if the client takes any: how far it has come, so that it goes on from there and lists nothing.
    async fn end(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if !self.takes_bookmarks {
            return None;
        }
        let mut bytes = if self.pass_quiet() {
            Vec::new()
        } else {
            self.read().await.unwrap_or_else(reader::error_event)
        };
        bytes.extend(self.bookmark());
        self.reader = None;
        (!bytes.is_empty()).then(|| (Ok(Bytes::from(bytes)), self))
    }

    fn is_due(&self) -> bool {
        self.shared.shutdown.is_cancelled() || Instant::now() >= self.ends
    }

    /// Passes over what is nothing to this watch, and says whether that is all there is.
    fn pass_quiet(&mut self) -> bool {
        let Some(reader) = &mut self.reader else { return true };
        // Where there is no catalog, the read says so.
        self.shared.database(reader.kind()).is_ok_and(|database| reader.pass_quiet(&database, &self.feed))
    }

    /// Goes on to where it is without a read, and tells a client that takes bookmarks.
    fn look(&mut self) -> Vec<u8> {
        self.look_due = Instant::now() + LOOK_INTERVAL;
        self.behind = !self.pass_quiet();
        if self.takes_bookmarks { self.bookmark() } else { Vec::new() }
    }

    /// Nothing, where the client knows already how far it is.
    fn bookmark(&mut self) -> Vec<u8> {
        self.reader.as_mut().map(Reader::bookmark).unwrap_or_default()
    }

    /// Reads once. After a refusal the watch is over.
    async fn read(&mut self) -> Result<Vec<u8>, Refusal> {
        let Some(mut reader) = self.reader.take() else { return Ok(Vec::new()) };
        // What is committed after this wakes the watch again, and another catalog does.
        self.commits.borrow_and_update();
        let database = self.shared.database(reader.kind())?;
        let now = self.shared.now();
        self.read_at = Instant::now();
        let head = database.head().revision;
        let news = if self.follows { self.feed.after(&database, reader.since(), head).await } else { None };
        let (reader, progress) = match news {
            Some(news) if news.happenings.len() <= EVENTS_INLINE => {
                let progress = reader.tell(&news, now);
                (reader, progress)
            }
            news => {
                let read = move || {
                    let progress = match news {
                        Some(news) => reader.tell(&news, now),
                        None => reader.read(&database, now)?,
                    };
                    Ok((reader, progress))
                };
                blocking(read).await?
            }
        };
        let Progress { bytes, complete } = progress;
        self.follows |= complete;
        self.reader = Some(reader);
        self.behind = !complete;
        Ok(bytes)
    }

    async fn wait(&mut self) -> Wake {
        let until = self.look_due.min(self.ends);
        tokio::select! {
            () = self.shared.shutdown.cancelled() => Wake::End,
            changed = self.commits.changed() => match changed {
                Ok(()) => {
                    // The first of a burst is read at once, the rest of it together.
                    sleep_until(self.read_at + COMMITS_TOGETHER).await;
                    Wake::Commit
                }
                Err(_) => Wake::End,
            },
            () = sleep_until(until) => if until == self.ends { Wake::End } else { Wake::Look },
        }
    }
}

fn spread_timeout() -> Duration {
    let spread = WATCH_TIMEOUT_MOST - WATCH_TIMEOUT_LEAST;
    let random = RandomState::new().build_hasher().finish();
    WATCH_TIMEOUT_LEAST + Duration::from_secs(random % spread.as_secs().max(1))
}
