//! Follows both journals and tells each entry: to whoever listens, then in the files. The order makes it at least once
//! there and exactly once here.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keelson_catalog::{Database, ReadError};
use keelson_model::{Chain, Generation, Revision, Sequence};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::event::{Place, of_entry, of_loss};
use super::series::Series;
use super::{CATALOG, INSTANCE, START, TOLD, ToldThrough, Trail, lock};
use crate::platform::Platform;

/// Of the journal, read in one go.
const READ_BYTES: usize = 1 << 20;
/// After what could not be written.
const AGAIN: Duration = Duration::from_secs(5);
/// Commits of this long are told together.
const GATHER: Duration = Duration::from_millis(100);

/// Takes whole lines, each one event.
pub type Sink = Box<dyn FnMut(&[u8]) -> io::Result<()> + Send>;

#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error("read the journal of the {name}")]
    ReadJournal { name: &'static str, source: ReadError },
    #[error("write the events of the {name}")]
    WriteEvents { name: &'static str, source: io::Error },
}

/// One journal on its way into a series of files.
struct Follower {
    name: &'static str,
    series: Series,
    told: Revision,
}

/// Tells all that was not told yet, then whatever comes, until `stop`; and what there is then.
pub async fn run(platform: Arc<Platform>, sink: Option<Sink>, stop: CancellationToken) {
    let mut teller: Option<Teller> = None;
    let mut sink = sink;
    let mut commits = platform.commits();
    loop {
        commits.borrow_and_update();
        let is_last = stop.is_cancelled();
        let (telling, trail) = (platform.clone(), platform.trail.clone());
        let pass = tokio::task::spawn_blocking(move || {
            let result = pass(&telling, &trail, &mut teller, &mut sink);
            (teller, sink, result)
        });
        let Ok((then_teller, then_sink, result)) = pass.await else {
            tracing::error!("the audit trail ended abnormally");
            return stop.cancelled().await;
        };
        (teller, sink) = (then_teller, then_sink);
        if let Err(error) = &result {
            warn!(chain = %Chain(error), "audit events wait to be told");
        }
        if is_last {
            return;
        }
        let pause = async {
            match &result {
                Ok(()) => std::future::pending().await,
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        };
        tokio::select! {
            _ = commits.changed(), if result.is_ok() => (),
            () = platform.trail.0.noted.notified(), if result.is_ok() => (),
            () = pause => (),
            () = stop.cancelled() => continue,
        }
        tokio::select! { () = tokio::time::sleep(GATHER) => (), () = stop.cancelled() => () }
    }
}

/// Both journals.
struct Teller {
    catalog: Follower,
    instance: Follower,
}

impl Teller {
    fn resume(trail: &Trail) -> Result<Self, TellError> {
        let folder = &trail.0.folder;
        let known = read_told(folder).map_err(|source| TellError::WriteEvents { name: TOLD, source })?;
        Ok(Self {
            catalog: Follower::resume(folder, CATALOG, known.map(|known| known.catalog))?,
            instance: Follower::resume(folder, INSTANCE, known.map(|known| known.instance))?,
        })
    }
}

/// After an error the files are looked at anew.
fn pass(
    platform: &Platform,
    trail: &Trail,
    teller: &mut Option<Teller>,
    sink: &mut Option<Sink>,
) -> Result<(), TellError> {
    let mut at_work = match teller.take() {
        Some(teller) => teller,
        None => Teller::resume(trail)?,
    };
    print_requests(trail, sink);
    let now = platform.clock.now();
    at_work.instance.follow(&platform.instance, now, sink)?;
    if let Ok(catalog) = platform.catalog() {
        at_work.catalog.follow(&catalog, now, sink)?;
    }
    *lock(&trail.0.told) =
        Some(ToldThrough { catalog: at_work.catalog.told, instance: at_work.instance.told });
    *teller = Some(at_work);
    Ok(())
}

fn print_requests(trail: &Trail, sink: &mut Option<Sink>) {
    let unprinted = std::mem::take(&mut *lock(&trail.0.unprinted));
    unprinted.iter().for_each(|line| print(sink, line));
}

/// Who does not listen any more does not hold up the files.
fn print(sink: &mut Option<Sink>, lines: &[u8]) {
    if let Some(Err(error)) = sink.as_mut().map(|sink| sink(lines)) {
        *sink = None;
        warn!(error = &error as &dyn std::error::Error, "audit events are not printed any more");
    }
}

impl Follower {
    /// Where the files end, or where it was known to be behind what had no events.
    fn resume(folder: &Path, name: &'static str, known: Option<Revision>) -> Result<Self, TellError> {
        let mut series = Series::new(folder, name);
        let last = series.resume().map_err(|source| TellError::WriteEvents { name, source })?;
        let told = last.map(|Place { revision, .. }| revision).max(known).unwrap_or(START);
        Ok(Self { name, series, told })
    }

    fn follow(
        &mut self,
        database: &Database,
        now: Timestamp,
        sink: &mut Option<Sink>,
    ) -> Result<(), TellError> {
        let generation = database.generation();
        loop {
            let after = self.after(generation);
            let entries = match database.entries(after, READ_BYTES) {
                Ok(entries) => entries,
                Err(ReadError::Expired { oldest, .. }) => {
                    self.skip(after, oldest, now, sink)?;
                    continue;
                }
                // Somebody put an older file in the catalog's place: what it goes on with is told.
                Err(ReadError::AheadOfUs { head, .. }) => {
                    warn!(name = self.name, %head, "a journal ends before what was told of it");
                    self.told = head;
                    return Ok(());
                }
                Err(source) => return Err(TellError::ReadJournal { name: self.name, source }),
            };
            let Some(last) = entries.last() else { return Ok(()) };
            for entry in &entries {
                let lines: Vec<u8> = of_entry(entry).iter().flat_map(|event| event.line()).collect();
                self.tell(&lines, sink)?;
            }
            self.told = last.revision;
        }
    }

    /// A recovery begins to count anew.
    fn after(&self, generation: Generation) -> Sequence {
        if self.told.generation() == generation { self.told.sequence() } else { Sequence(0) }
    }

    /// What was cut off before any trail was kept is no loss.
    fn skip(
        &mut self,
        after: Sequence,
        oldest: Revision,
        now: Timestamp,
        sink: &mut Option<Sink>,
    ) -> Result<(), TellError> {
        if after > Sequence(0) {
            let what = format!("entries {} to {} of the {}", after.0 + 1, oldest.sequence().0, self.name);
            self.tell(&of_loss(what, oldest, now).line(), sink)?;
        }
        self.told = oldest;
        Ok(())
    }

    fn tell(&mut self, lines: &[u8], sink: &mut Option<Sink>) -> Result<(), TellError> {
        if lines.is_empty() {
            return Ok(());
        }
        print(sink, lines);
        self.series.append(lines).map_err(|source| TellError::WriteEvents { name: self.name, source })
    }
}

fn read_told(folder: &Path) -> io::Result<Option<ToldThrough>> {
    match fs::read(folder.join(TOLD)) {
        Ok(text) => Ok(parse_told(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Two lines; anything else says nothing, and the files tell where they end.
fn parse_told(text: &[u8]) -> Option<ToldThrough> {
    let (catalog, instance) = std::str::from_utf8(text).ok()?.trim_end().split_once('\n')?;
    let parse = |line: &str, name: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    Some(ToldThrough { catalog: parse(catalog, CATALOG)?, instance: parse(instance, INSTANCE)? })
}

fn told_text(told: &ToldThrough) -> String {
    format!("{CATALOG} {}\n{INSTANCE} {}\n", told.catalog, told.instance)
}

/// For `fuzz`: what says how far was told is written as a text that says the same.
#[cfg(any(test, fuzzing))]
pub(crate) fn withstand_told(bytes: &[u8]) -> bool {
    let Some(told) = parse_told(bytes) else { return false };
    assert_eq!(parse_told(told_text(&told).as_bytes()), Some(told));
    true
}

/// Beside, then in place of the one before. The events up to there are on the disk before.
pub(super) fn write_told(folder: &Path, told: &ToldThrough) -> io::Result<()> {
    if read_told(folder)? == Some(*told) {
        return Ok(());
    }
    for series in [CATALOG, INSTANCE] {
        if let Some((_, newest)) = super::series::files(folder, series)?.last() {
            File::open(newest)?.sync_data()?;
        }
    }
    let beside = folder.join(format!("{TOLD}.new"));
    let mut file = File::create(&beside)?;
    file.write_all(told_text(told).as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, folder.join(TOLD))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
