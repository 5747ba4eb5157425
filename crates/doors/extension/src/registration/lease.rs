//! The Lease of the one `serve` that works and to which the cluster is sent.
//!
//! Whether another holder still lives is judged by our own clock, since we last saw the Lease change: what a holder
//! wrote as its time counts for nothing, so clocks may differ. Every write is bound to the version that was read.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use keelson_model::names::SERVE_LEASE;
use keelson_model::{Chain, Classified, Clock, ErrorClass};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::failure::{class_of, within};

/// How often the Lease is renewed, and after how long without a change another may take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    pub renew_every: Duration,
    pub expires_after: Duration,
}

impl LeaseTimes {
    /// Two renewals may fail.
    pub const USUAL: Self =
        Self { renew_every: Duration::from_secs(10), expires_after: Duration::from_secs(30) };

    /// After a look that did not end in holding it.
    fn look_again(self) -> Duration {
        self.renew_every / 5
    }
}

/// Who holds the Lease, or wants to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Whose volume. One process at a time has it open, so any other holder of the same one has ended.
    pub instance: String,
    pub process: String,
}

impl Holder {
    fn is_of_same_instance(&self, other: &str) -> bool {
        other.strip_prefix(&self.instance).is_some_and(|rest| rest.starts_with('_'))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.instance, self.process)
    }
}

/// The Lease could not be read or written, or is somebody else's.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("read Lease '{namespace}/{SERVE_LEASE}'")]
    Read { namespace: String, source: Box<kube::Error> },
    #[error("write Lease '{namespace}/{SERVE_LEASE}'")]
    Write { namespace: String, source: Box<kube::Error> },
    #[error("another 'keelson serve', '{holder}', took Lease '{namespace}/{SERVE_LEASE}'")]
    Lost { namespace: String, holder: String },
}

impl Classified for LeaseError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => class_of(source),
            Self::Lost { .. } => ErrorClass::Conflict,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "extension.lease.read",
            Self::Write { .. } => "extension.lease.write",
            Self::Lost { .. } => "extension.lease.lost",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Lost { .. } => Some(
                "one installation runs one 'serve'; started again, this one waits until the other has ended"
                    .to_owned(),
            ),
            error if error.class() == ErrorClass::Denied => Some(
                "the account needs the rights to Leases of its namespace that docs/operations/api.md lists"
                    .to_owned(),
            ),
            Self::Read { .. } | Self::Write { .. } => None,
        }
    }
}

/// What one look at the Lease came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    Held,
    /// Another has it, and may still live.
    Waiting {
        holder: String,
    },
    /// Its namespace terminates or is gone.
    Homeless,
}

/// Our side of the Lease.
pub struct ServeLease {
    leases: Api<Lease>,
    namespace: String,
    clock: Arc<dyn Clock>,
    candidate: Candidate,
}

/// What decides about the Lease, beside what is read.
struct Candidate {
    me: Holder,
    times: LeaseTimes,
    is_held: bool,
    /// The version that another holder wrote, and since when it is the last one.
    seen: Option<(String, Instant)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Create,
    /// Renew it, or take it from whoever is gone.
    Write,
    Wait {
        holder: String,
    },
    Lost {
        holder: String,
    },
}

impl ServeLease {
    pub fn new(
        client: Client,
        namespace: &str,
        me: Holder,
        times: LeaseTimes,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            clock,
            candidate: Candidate { me, times, is_held: false, seen: None },
        }
    }

    /// Whether it was taken and, as far as is known, not lost since.
    pub(super) fn is_held(&self) -> bool {
        self.candidate.is_held
    }

    /// Waits until the Lease is ours, as long as that takes.
    pub(super) async fn acquire(&mut self) {
        let mut told = String::new();
        loop {
            let obstacle = match self.look().await {
                Ok(Look::Held) => return,
                Ok(Look::Waiting { holder }) => {
                    format!("another 'keelson serve', '{holder}', holds the Lease")
                }
                Ok(Look::Homeless) => format!("namespace '{}' terminates or is gone", self.namespace),
                Err(error) => Chain(&error).to_string(),
            };
            if obstacle != told {
                info!(why = obstacle, "waiting for the Lease");
                told = obstacle;
            }
            sleep(self.candidate.times.look_again()).await;
        }
    }

    /// Renews it until somebody else has it, and says all the while whether it is surely ours.
    pub(super) async fn keep(&mut self, surely: &watch::Sender<bool>) -> LeaseError {
        let mut renewed = Instant::now();
        let mut told = String::new();
        loop {
            let pause = match self.look().await {
                Ok(Look::Held) => {
                    renewed = Instant::now();
                    told.clear();
                    self.candidate.times.renew_every
                }
                Ok(Look::Waiting { .. } | Look::Homeless) => self.candidate.times.look_again(),
                Err(error @ LeaseError::Lost { .. }) => return error,
                Err(error) => {
                    let chain = Chain(&error).to_string();
                    if chain != told {
                        warn!(code = error.code(), chain, "the Lease was not renewed");
                        told = chain;
                    }
                    self.candidate.times.look_again()
                }
            };
            let is_sure = renewed.elapsed() < self.candidate.times.expires_after;
            surely.send_if_modified(|sure| std::mem::replace(sure, is_sure) != is_sure);
            sleep(pause).await;
        }
    }

    /// Takes, renews or waits: one step.
    pub(super) async fn look(&mut self) -> Result<Look, LeaseError> {
        let read = |source| LeaseError::Read { namespace: self.namespace.clone(), source: Box::new(source) };
        let found = within(self.leases.get_opt(SERVE_LEASE)).await.map_err(read)?;
        let written = match self.candidate.decide(found.as_ref(), Instant::now()) {
            Decision::Create => {
                let lease = self.written_on(Lease::default());
                within(self.leases.create(&PostParams::default(), &lease)).await
            }
            Decision::Write => {
                let lease = self.written_on(found.unwrap_or_default());
                within(self.leases.replace(SERVE_LEASE, &PostParams::default(), &lease)).await
            }
            Decision::Wait { holder } => return Ok(Look::Waiting { holder }),
            Decision::Lost { holder } => {
                self.candidate.is_held = false;
                return Err(LeaseError::Lost { namespace: self.namespace.clone(), holder });
            }
        };
        match written {
            Ok(_) => {
                self.candidate.is_held = true;
                Ok(Look::Held)
            }
            Err(error) if is_homeless(&error) => Ok(Look::Homeless),
            Err(source) => {
                Err(LeaseError::Write { namespace: self.namespace.clone(), source: Box::new(source) })
            }
        }
    }

    /// Lets the next one take it at once.
    pub(super) async fn release(&mut self) -> Result<(), LeaseError> {
        if !std::mem::take(&mut self.candidate.is_held) {
            return Ok(());
        }
        let read = |source| LeaseError::Read { namespace: self.namespace.clone(), source: Box::new(source) };
        let found = within(self.leases.get_opt(SERVE_LEASE)).await.map_err(read)?;
        let Some(mut lease) = found.filter(|lease| holder_of(lease) == self.candidate.me.to_string()) else {
            return Ok(());
        };
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.renew_time = Some(MicroTime(self.clock.now()));
        within(self.leases.replace(SERVE_LEASE, &PostParams::default(), &lease)).await.map(drop).map_err(
            |source| LeaseError::Write { namespace: self.namespace.clone(), source: Box::new(source) },
        )
    }

    /// The Lease with our name in it, as of now.
    fn written_on(&self, lease: Lease) -> Lease {
        let now = MicroTime(self.clock.now());
        let is_renewed = holder_of(&lease) == self.candidate.me.to_string();
        let before = lease.spec.unwrap_or_default();
        let transitions = before.lease_transitions.unwrap_or(0);
        let seconds = i32::try_from(self.candidate.times.expires_after.as_secs()).unwrap_or(i32::MAX);
        let spec = LeaseSpec {
            holder_identity: Some(self.candidate.me.to_string()),
            lease_duration_seconds: Some(seconds.max(1)),
            acquire_time: if is_renewed { before.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if is_renewed { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        };
        let metadata = ObjectMeta { name: Some(SERVE_LEASE.to_owned()), ..lease.metadata };
        Lease { metadata, spec: Some(spec) }
    }
}

impl Candidate {
    fn decide(&mut self, found: Option<&Lease>, now: Instant) -> Decision {
        let Some(lease) = found else { return Decision::Create };
        let holder = holder_of(lease).to_owned();
        if holder.is_empty() || holder == self.me.to_string() {
            return Decision::Write;
        }
        if self.is_held {
            return Decision::Lost { holder };
        }
        if self.me.is_of_same_instance(&holder) {
            return Decision::Write;
        }
        let version = version_of(lease);
        match &self.seen {
            Some((seen, since)) if *seen == version => {
                let is_expired = now.duration_since(*since) >= self.times.expires_after;
                if is_expired { Decision::Write } else { Decision::Wait { holder } }
            }
            Some(_) | None => {
                self.seen = Some((version, now));
                Decision::Wait { holder }
            }
        }
    }
}

/// Empty where it was released.
pub(super) fn holder_of(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

/// Changes with every renewal, and with every Lease made anew.
pub(super) fn version_of(lease: &Lease) -> String {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    format!("{}/{}", text(&lease.metadata.uid), text(&lease.metadata.resource_version))
}

/// Nothing can be created in a namespace that terminates or is gone.
fn is_homeless(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    status.code == 404 || causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn candidate() -> Candidate {
        let me = Holder { instance: "a1".to_owned(), process: "2".to_owned() };
        let times = LeaseTimes { renew_every: MINUTE, expires_after: 3 * MINUTE };
        Candidate { me, times, is_held: false, seen: None }
    }

    fn lease(holder: &str, version: &str) -> Lease {
        let lease = json!({
            "metadata": { "uid": "u", "resourceVersion": version }, "spec": { "holderIdentity": holder },
        });
        serde_json::from_value(lease).unwrap()
    }

    #[test]
    fn what_is_absent_free_ours_or_of_an_earlier_process_of_our_volume_is_taken_at_once() {
        let now = Instant::now();
        assert_eq!(candidate().decide(None, now), Decision::Create);
        for holder in ["", "a1_2", "a1_1"] {
            assert_eq!(candidate().decide(Some(&lease(holder, "1")), now), Decision::Write, "{holder}");
        }
    }

    #[test]
    fn another_is_believed_alive_until_its_lease_was_seen_unchanged_for_long() {
        let (mut candidate, start) = (candidate(), Instant::now());
        let mut check = |version: &str, minutes: u32, expected: Decision| {
            let decision = candidate.decide(Some(&lease("a12_1", version)), start + minutes * MINUTE);
            assert_eq!(decision, expected, "version {version} after {minutes} minutes");
        };
        let wait = || Decision::Wait { holder: "a12_1".to_owned() };
        // However old it is by what it says: it counts from when it was first seen.
        check("1", 60, wait());
        check("1", 62, wait());
        check("2", 63, wait());
        check("2", 65, wait());
        check("2", 66, Decision::Write);
    }

    #[test]
    fn who_held_it_and_finds_another_has_lost_it() {
        let mut candidate = Candidate { is_held: true, ..candidate() };
        for holder in ["b_1", "a1_3"] {
            let lost = Decision::Lost { holder: holder.to_owned() };
            assert_eq!(candidate.decide(Some(&lease(holder, "1")), Instant::now()), lost);
        }
        assert_eq!(candidate.decide(None, Instant::now()), Decision::Create);
    }
}
