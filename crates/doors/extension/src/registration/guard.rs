//! The guard: takes our APIServices away where no `serve` can. It keeps nothing and asks nobody but the API server.
//!
//! An APIService that nobody answers keeps every namespace of the cluster from going, so it must not outlive its
//! server: not when the namespace of the installation goes, and not when nobody has renewed the Lease for long. How long
//! is counted by our own clock, over looks that succeeded: a Lease that cannot be read says nothing.
//!
//! Our own account goes with the namespace, some seconds after the word: whatever is to be done is done before
//! (`docs/decisions/0027-the-guard-acts-before-its-account-goes.md`).

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use keelson_model::names::{API_SERVICE, SERVE_LEASE};
use keelson_model::{Chain, Classified, ErrorClass};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::claim::{Address, Claim, is_in, judge};
use super::cluster::{self, EVENTS_TOGETHER_MAX, Home, absent_is_fine};
use super::lease::{LeaseError, holder_of, version_of};
use super::told::Told;
use super::{RegisterError, delete_api_service, delete_service, remove_api_services};
use crate::failure::within;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardTimes {
    pub look_every: Duration,
    /// How often the namespace is looked at beside being watched: several times within the five seconds that the cluster
    /// waits before it empties a namespace.
    pub follow_every: Duration,
    /// A Lease that was seen unchanged for so long is nobody's.
    pub lost_after: Duration,
    /// Longer than a `serve` takes to renew its Lease once.
    pub renewed_within: Duration,
}

impl GuardTimes {
    pub const USUAL: Self = Self {
        look_every: Duration::from_secs(5),
        follow_every: Duration::from_secs(1),
        lost_after: Duration::from_secs(120),
        renewed_within: Duration::from_secs(15),
    };
}

/// For how long an API server that is away is waited for at the end. A pod is given thirty seconds.
const LAST_LOOK_WITHIN: Duration = Duration::from_secs(10);

/// What is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Namespace,
    NamespaceAndLease,
}

/// What we registered cannot be taken away.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("take the registration away")]
    Registration { source: RegisterError },
    #[error("look who serves")]
    Lease { source: LeaseError },
    #[error(
        "a 'keelson serve' runs: '{holder}' renews Lease '{namespace}/{SERVE_LEASE}' and would register again"
    )]
    StillServed { namespace: String, holder: String },
}

impl Classified for RemoveError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Registration { source } => source.class(),
            Self::Lease { source } => source.class(),
            Self::StillServed { .. } => ErrorClass::Conflict,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Registration { source } => source.code(),
            Self::Lease { source } => source.code(),
            Self::StillServed { .. } => "extension.guard.still_served",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Registration { source } => source.hint(),
            Self::Lease { source } => source.hint(),
            Self::StillServed { .. } => {
                Some("stop it first: scale its Deployment to 0, or end the process".to_owned())
            }
        }
    }
}

/// Watches over the registration of one installation.
pub struct Guard {
    client: Client,
    leases: Api<Lease>,
    ours: Address,
    times: GuardTimes,
    told: Told,
    looked: watch::Sender<Instant>,
}

impl Guard {
    pub fn new(client: Client, namespace: &str, times: GuardTimes) -> Self {
        let leases = Api::namespaced(client.clone(), namespace);
        let ours = Address { namespace: namespace.to_owned(), name: API_SERVICE.to_owned() };
        let looked = watch::Sender::new(Instant::now());
        Self { client, leases, ours, times, told: Told::default(), looked }
    }

    /// When it has last looked, or was made.
    pub fn looked(&self) -> watch::Receiver<Instant> {
        self.looked.subscribe()
    }

    /// Guards until `stop`. Two of them at once do no harm.
    pub async fn run(&mut self, stop: CancellationToken) {
        let changes = cluster::changes_of_namespace(self.client.clone(), &self.ours.namespace);
        let mut changes = pin!(changes.ready_chunks(EVENTS_TOGETHER_MAX));
        let mut ticks = interval(self.times.look_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut follows = interval(self.times.follow_every);
        follows.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unrenewed = Unrenewed::new(2 * self.times.look_every);
        loop {
            let due = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = ticks.tick() => Due::NamespaceAndLease,
                _ = follows.tick() => Due::Namespace,
                Some(_) = changes.next() => Due::Namespace,
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.pass(due, &mut unrenewed) => {}
            }
            self.looked.send_replace(Instant::now());
        }
        self.look_last().await;
    }

    /// Its namespace may be why it ends, and another look of anybody's too late.
    async fn look_last(&mut self) {
        let began = Instant::now();
        loop {
            let followed = self.follow_namespace().await.map(drop);
            self.tell("the namespace", &followed);
            let is_passing = followed.is_err_and(|error| error.class().is_retryable());
            if !is_passing || began.elapsed() >= LAST_LOOK_WITHIN {
                return;
            }
            sleep(self.times.follow_every).await;
        }
    }

    /// Takes away all that an installation registers, at a person's word. Answers what it was. Refuses while a `serve`
    /// runs, in whatever namespace stays.
    pub async fn remove(&self) -> Result<Vec<String>, RemoveError> {
        let home = cluster::read_home(&self.client, &self.ours.namespace).await.map_err(registration)?;
        if home == Home::Stays {
            self.check_that_nobody_serves().await?;
        }
        let namespace = &self.ours.namespace;
        let names = remove_api_services(&self.client, |found| match judge(found, &self.ours, true) {
            Claim::Ours => true,
            Claim::Leftover => is_in(found, namespace),
            Claim::Foreign { .. } | Claim::Undecided => home == Home::Leaves && is_in(found, namespace),
        });
        let names = names.await.map_err(registration)?;
        let mut removed: Vec<String> = names.into_iter().map(|name| format!("APIService '{name}'")).collect();
        if delete_service(&self.client, &self.ours).await.map_err(registration)? {
            removed.push(self.ours.to_string());
        }
        if self.delete_lease().await? {
            removed.push(format!("Lease '{namespace}/{SERVE_LEASE}'"));
        }
        Ok(removed)
    }

    /// Who holds the Lease, whether it still lives or not.
    pub async fn read_holder(&self) -> Result<Option<String>, RemoveError> {
        let lease = self.read_lease().await?;
        let holder = lease.map(|lease| holder_of(&lease).to_owned());
        Ok(holder.filter(|holder| !holder.is_empty()))
    }

    async fn pass(&mut self, due: Due, unrenewed: &mut Unrenewed) {
        let followed = self.follow_namespace().await;
        if due == Due::NamespaceAndLease && !matches!(followed, Ok(Home::Leaves)) {
            let result = self.follow_lease(unrenewed).await;
            self.tell("the Lease", &result);
        }
        self.tell("the namespace", &followed.map(drop));
    }

    /// While our namespace goes, and once it is gone, nobody answers there.
    async fn follow_namespace(&self) -> Result<Home, RemoveError> {
        let namespace = &self.ours.namespace;
        let home = cluster::read_home(&self.client, namespace).await.map_err(registration)?;
        if home == Home::Leaves {
            let removed = remove_api_services(&self.client, |found| is_in(found, namespace)).await;
            let removed = removed.map_err(registration)?;
            if !removed.is_empty() {
                warn!(
                    namespace,
                    ?removed,
                    "the namespace of the installation goes: APIServices were deleted"
                );
            }
        }
        Ok(home)
    }

    /// A `serve` takes the Lease before it registers. So what was listed *before* a Lease that nobody has renewed is
    /// nobody's, and what is registered since then has another version and stays.
    async fn follow_lease(&self, unrenewed: &mut Unrenewed) -> Result<(), RemoveError> {
        let found = cluster::find_api_services(&self.client).await.map_err(registration)?;
        let lease = self.read_lease().await?;
        let version = lease.as_ref().map(version_of);
        let unchanged = unrenewed.look(version, Instant::now());
        if unchanged < self.times.lost_after {
            return Ok(());
        }
        for (name, found) in found {
            if judge(&found, &self.ours, true) != Claim::Ours {
                continue;
            }
            match delete_api_service(&self.client, &found).await {
                Ok(()) => {
                    let seconds = unchanged.as_secs();
                    warn!(name, seconds, "nobody has renewed the Lease for long: an APIService was deleted");
                }
                // Registered anew meanwhile, or looked at again soon.
                Err(error) if error.class() == ErrorClass::Conflict => {}
                Err(error) => return Err(registration(error)),
            }
        }
        Ok(())
    }

    /// A holder that was killed is still named.
    async fn check_that_nobody_serves(&self) -> Result<(), RemoveError> {
        let Some(first) = self.read_lease().await? else { return Ok(()) };
        let began = Instant::now();
        let mut last = first.clone();
        while !holder_of(&last).is_empty() && began.elapsed() < self.times.renewed_within {
            if version_of(&last) != version_of(&first) {
                let (namespace, holder) = (self.ours.namespace.clone(), holder_of(&last).to_owned());
                return Err(RemoveError::StillServed { namespace, holder });
            }
            sleep(self.times.renewed_within / 10).await;
            match self.read_lease().await? {
                Some(lease) => last = lease,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    async fn read_lease(&self) -> Result<Option<Lease>, RemoveError> {
        within(self.leases.get_opt(SERVE_LEASE)).await.map_err(|source| {
            let (namespace, source) = (self.ours.namespace.clone(), Box::new(source));
            RemoveError::Lease { source: LeaseError::Read { namespace, source } }
        })
    }

    /// Whether there was one. A `serve` that has just taken it keeps it.
    async fn delete_lease(&self) -> Result<bool, RemoveError> {
        let Some(lease) = self.read_lease().await? else { return Ok(false) };
        let deleted = within(self.leases.delete(SERVE_LEASE, &cluster::as_read(&lease.metadata))).await;
        absent_is_fine(deleted).map(|()| true).map_err(|source| {
            let (namespace, source) = (self.ours.namespace.clone(), Box::new(source));
            RemoveError::Lease { source: LeaseError::Write { namespace, source } }
        })
    }

    fn tell(&mut self, about: &str, result: &Result<(), RemoveError>) {
        let Some(failed) = self.told.news(about, result) else { return };
        let (chain, hint) = (Chain(failed).to_string(), failed.hint().unwrap_or_default());
        warn!(
            code = failed.code(),
            chain, hint, about, "the guard cannot look, and leaves everything as it is"
        );
    }
}

fn registration(source: RegisterError) -> RemoveError {
    RemoveError::Registration { source }
}

/// For how long the Lease has been seen unchanged. Time in which we could not look, or did not run, does not count.
struct Unrenewed {
    /// None where there is no Lease.
    version: Option<String>,
    unchanged: Duration,
    looked: Option<Instant>,
    /// The most that counts between two looks.
    gap_max: Duration,
}

impl Unrenewed {
    fn new(gap_max: Duration) -> Self {
        Self { version: None, unchanged: Duration::ZERO, looked: None, gap_max }
    }

    /// Takes note of a look that succeeded.
    fn look(&mut self, version: Option<String>, now: Instant) -> Duration {
        let since = self.looked.replace(now).map(|before| now.duration_since(before));
        match since {
            Some(gap) if self.version == version => self.unchanged += gap.min(self.gap_max),
            Some(_) | None => self.unchanged = Duration::ZERO,
        }
        self.version = version;
        self.unchanged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_in_which_the_lease_was_seen_unchanged_counts() {
        let (mut unrenewed, start) = (Unrenewed::new(Duration::from_secs(10)), Instant::now());
        let mut check = |seconds: u64, version: Option<&str>, expected: u64| {
            let now = start + Duration::from_secs(seconds);
            let unchanged = unrenewed.look(version.map(str::to_owned), now);
            assert_eq!(unchanged.as_secs(), expected, "after {seconds} s");
        };
        // However old it is when it is seen first.
        check(0, Some("1"), 0);
        check(5, Some("1"), 5);
        check(10, Some("1"), 10);
        // An hour without an answer.
        check(3_610, Some("1"), 20);
        check(3_615, Some("2"), 0);
        check(3_620, Some("2"), 5);
        // A Lease that is not there is seen, too.
        check(3_625, None, 0);
        check(3_630, None, 5);
        check(3_635, Some("3"), 0);
    }
}
