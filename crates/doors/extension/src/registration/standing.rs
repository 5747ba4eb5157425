//! Standing in the cluster: holds the Lease, keeps Service and APIServices as they must be, and takes them away.
//!
//! Works from state: each pass reads what is there, whatever it was called for, and is called every some seconds and
//! whenever the namespace or an APIService with a name of ours changes. Of groups that are somebody else's it says so
//! once, and touches nothing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use keelson_model::{Chain, Classified, Clock, ErrorClass};
use keelson_protection::{Platform, TakenApi};
use kube::Client;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{error, info, warn};

use super::claim::{Claim, is_in};
use super::cluster::{self, EVENTS_TOGETHER_MAX, Home};
use super::lease::{LeaseError, Look, ServeLease};
use super::told::Told;
use super::{
    RegisterError, Registration, Resources, api_service_name, delete_api_service, remove_api_services,
};
use crate::certificates::ServingCertificates;
use crate::discovery::{GroupVersion, Withheld, group_versions};

/// Between two passes, so that a fight with somebody costs neither side more than this.
const PASS_PAUSE: Duration = Duration::from_secs(1);

/// How often is looked, and how long data may be away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandingTimes {
    pub assert_every: Duration,
    /// Whether the data of our groups can be read is cheap to ask.
    pub look_every: Duration,
    /// Groups whose data has been away for so long are taken off the cluster.
    pub away_for: Duration,
    /// For so long before that, discovery lists no resources of theirs. The controllers of the cluster learn from it anew
    /// which resources there are each 30 seconds; the API server asks us when the APIService changes.
    pub withheld_for: Duration,
}

impl StandingTimes {
    pub const USUAL: Self = Self {
        assert_every: Duration::from_secs(15),
        look_every: Duration::from_secs(1),
        away_for: Duration::from_secs(120),
        withheld_for: Duration::from_secs(60),
    };
}

/// Whether the data of a group can be read now.
pub type Answers = Arc<dyn Fn(GroupVersion) -> bool + Send + Sync>;

/// As the platform finds its databases.
pub fn groups_that_answer(platform: Arc<Platform>) -> Answers {
    Arc::new(move |version| version.kinds().all(|kind| platform.database(kind).is_ok()))
}

/// Who is told of APIServices with our names that are somebody else's, at each look.
pub type TellTaken = Arc<dyn Fn(BTreeMap<String, TakenApi>) + Send + Sync>;

/// Who goes on when this process ends by request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Successor {
    /// Nobody: it runs outside a cluster.
    Nobody,
    /// The next pod, as far as anybody knows.
    Somebody,
    /// The next pod of this Deployment, as long as that wants one.
    Deployment(String),
}

/// One `serve` in its cluster.
pub struct Standing {
    lease: ServeLease,
    registrar: Registrar,
}

struct Registrar {
    client: Client,
    registration: Registration,
    certificates: Arc<ServingCertificates>,
    answers: Answers,
    withheld: Arc<Withheld>,
    absences: Absences,
    times: StandingTimes,
    told: Told,
    tell_taken: TellTaken,
    clock: Arc<dyn Clock>,
}

/// Whether who comes by a group is told of the authorities that a pass found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bundle {
    /// Its APIService names them, or does not lead to us: one that comes to do so names those of then.
    Settled,
    /// That is for another pass to find out.
    Open,
}

impl Standing {
    pub fn new(
        client: Client,
        registration: Registration,
        certificates: Arc<ServingCertificates>,
        lease: ServeLease,
        answers: Answers,
        times: StandingTimes,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let registrar = Registrar {
            client,
            registration,
            certificates,
            answers,
            withheld: Arc::default(),
            absences: Absences::default(),
            times,
            told: Told::default(),
            tell_taken: Arc::new(|_| ()),
            clock,
        };
        Self { lease, registrar }
    }

    /// Who answers discovery lists nothing of these groups.
    pub fn withholding(mut self, withheld: Arc<Withheld>) -> Self {
        self.registrar.withheld = withheld;
        self
    }

    /// Beside the log, which people seldom read.
    pub fn telling_taken(mut self, tell: TellTaken) -> Self {
        self.registrar.tell_taken = tell;
        self
    }

    /// Waits until no other `serve` stands here.
    pub async fn acquire(&mut self) {
        self.lease.acquire().await;
    }

    /// Renews the Lease and keeps us registered, until another `serve` has taken the Lease.
    pub async fn keep(&mut self) -> LeaseError {
        let (surely, held) = watch::channel(true);
        tokio::select! {
            lost = self.lease.keep(&surely) => lost,
            never = self.registrar.run(held) => match never {},
        }
    }

    /// Before an end by request: takes the registration away if nobody comes after us. Without the Lease there is nothing
    /// of ours to take away.
    pub async fn withdraw(&mut self, successor: &Successor) {
        if !self.lease.is_held() {
            return;
        }
        match self.lease.look().await {
            Ok(Look::Held | Look::Homeless) => {}
            Ok(Look::Waiting { .. }) => return,
            Err(error) => {
                return warn!(code = error.code(), chain = %Chain(&error), "who holds the Lease is not known");
            }
        }
        if self.registrar.is_last(successor).await {
            self.registrar.withdraw().await;
        }
    }

    /// At the end: another may take the Lease at once.
    pub async fn release(&mut self) {
        if let Err(error) = self.lease.release().await {
            warn!(code = error.code(), chain = %Chain(&error), "the Lease was not released");
        }
    }
}

impl Registrar {
    async fn run(&mut self, mut held: watch::Receiver<bool>) -> Infallible {
        let (client, namespace) = (self.client.clone(), self.registration.namespace.clone());
        let mut changes = pin!(cluster::changes(client, &namespace).ready_chunks(EVENTS_TOGETHER_MAX));
        let mut presence = self.absences.look(Instant::now(), &self.answers, &self.times);
        let mut ticks = interval(self.times.assert_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = interval(self.times.look_every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut authorities = self.certificates.subscribe();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some(_) = changes.next() => {}
                Ok(()) = held.changed() => {}
                Ok(()) = authorities.changed() => {}
                _ = looks.tick() => {
                    let now = self.absences.look(Instant::now(), &self.answers, &self.times);
                    if std::mem::replace(&mut presence, now.clone()) == now {
                        continue;
                    }
                }
            }
            let is_held = *held.borrow_and_update();
            let result = self.pass(&presence, is_held).await;
            self.tell("the registration", &result);
            sleep(PASS_PAUSE).await;
        }
    }

    /// Makes what is registered what it must be.
    async fn pass(
        &mut self,
        presence: &BTreeMap<GroupVersion, Presence>,
        is_held: bool,
    ) -> Result<(), RegisterError> {
        if cluster::read_home(&self.client, &self.registration.namespace).await? == Home::Leaves {
            return self.leave_with_namespace().await;
        }
        if !is_held {
            return Ok(());
        }
        self.withhold(presence);
        let mut found = cluster::find_api_services(&self.client).await?;
        self.registration.apply_service(&self.client).await?;
        let authorities = self.certificates.authorities_pem();
        let (mut taken, mut are_told) = (BTreeMap::new(), true);
        for version in group_versions() {
            let name = api_service_name(version);
            let presence = presence.get(&version).copied().unwrap_or(Presence::There);
            let found = found.remove(&name);
            let result = self.pass_group(version, presence, found.as_ref(), &authorities).await;
            are_told &= is_told(&result);
            if let Err(RegisterError::ForeignApiService { name, by }) = &result {
                let uid = found.and_then(|found| found.metadata.uid).unwrap_or_default();
                taken.insert(name.clone(), TakenApi { uid, by: by.clone() });
            }
            self.tell(&name, &result.map(drop));
        }
        if are_told {
            self.certificates.note_told(&authorities, self.clock.now());
        }
        (self.tell_taken)(taken);
        for (name, leftover) in found {
            let result = self.pass_leftover(&leftover).await;
            self.tell(&name, &result);
        }
        Ok(())
    }

    /// Before the cluster is told of it, so that who looks then finds it so.
    fn withhold(&self, presence: &BTreeMap<GroupVersion, Presence>) {
        let is_withheld = |presence: &Presence| match presence {
            Presence::There | Presence::AwayForAMoment => false,
            Presence::Withheld | Presence::AwayForLong => true,
        };
        let withheld = presence.iter().filter(|(_, presence)| is_withheld(presence));
        self.withheld.replace(withheld.map(|(version, _)| *version).collect());
    }

    /// One group that we serve. While its data is away for a moment it stays registered, if it is, and is answered 503.
    async fn pass_group(
        &mut self,
        version: GroupVersion,
        presence: Presence,
        found: Option<&APIService>,
        authorities: &str,
    ) -> Result<Bundle, RegisterError> {
        let claim = match found {
            Some(found) => Some(self.claim(found).await?),
            None => None,
        };
        let name = api_service_name(version);
        match (claim, presence) {
            (Some(Claim::Foreign { by }), _) => Err(RegisterError::ForeignApiService { name, by }),
            (None, Presence::AwayForAMoment | Presence::Withheld | Presence::AwayForLong)
            | (Some(Claim::Undecided), _)
            | (Some(Claim::Leftover), Presence::AwayForAMoment) => Ok(Bundle::Settled),
            (Some(claim @ Claim::Ours), Presence::AwayForLong)
            | (Some(claim @ Claim::Leftover), Presence::Withheld | Presence::AwayForLong) => {
                warn!(name, "a group is taken off the cluster until its data can be read again");
                let deleted = self.delete(found).await?;
                Ok(if claim == Claim::Ours { deleted } else { Bundle::Settled })
            }
            (Some(Claim::Ours), Presence::Withheld) => {
                self.apply(version, authorities, Resources::Withheld).await?;
                if self.absences.note_withheld(version, Instant::now()) {
                    warn!(name, "the data of a group is away: discovery lists no resources of it");
                }
                Ok(Bundle::Settled)
            }
            (claim @ (None | Some(Claim::Ours | Claim::Leftover)), Presence::There)
            | (claim @ Some(Claim::Ours), Presence::AwayForAMoment) => {
                self.apply(version, authorities, Resources::Listed).await?;
                match claim {
                    None => info!(name, "a group was registered"),
                    Some(Claim::Leftover) => info!(name, "what another installation left was taken over"),
                    Some(_) => {}
                }
                Ok(Bundle::Settled)
            }
        }
    }

    async fn apply(
        &self,
        version: GroupVersion,
        authorities: &str,
        resources: Resources,
    ) -> Result<(), RegisterError> {
        self.registration.apply_api_service(&self.client, version, authorities, resources).await
    }

    /// One group with a name of ours that this version does not serve.
    async fn pass_leftover(&self, found: &APIService) -> Result<(), RegisterError> {
        match self.claim(found).await? {
            Claim::Ours | Claim::Leftover => {
                let name = found.metadata.name.as_deref().unwrap_or_default();
                info!(name, "what another installation left is removed: nobody serves it");
                self.delete(Some(found)).await.map(drop)
            }
            // Somebody serves what we do not.
            Claim::Foreign { .. } | Claim::Undecided => Ok(()),
        }
    }

    /// One that has changed since it was read is looked at again at once.
    async fn delete(&self, found: Option<&APIService>) -> Result<Bundle, RegisterError> {
        let Some(found) = found else { return Ok(Bundle::Settled) };
        match delete_api_service(&self.client, found).await {
            Err(error) if error.class() == ErrorClass::Conflict => Ok(Bundle::Open),
            deleted => deleted.map(|()| Bundle::Settled),
        }
    }

    async fn claim(&self, found: &APIService) -> Result<Claim, RegisterError> {
        cluster::read_claim(&self.client, found, &self.registration.address()).await
    }

    /// No namespace of the cluster would go while ours does, and nothing answers once it is gone.
    async fn leave_with_namespace(&self) -> Result<(), RegisterError> {
        let namespace = &self.registration.namespace;
        let removed = remove_api_services(&self.client, |found| is_in(found, namespace)).await?;
        if !removed.is_empty() {
            info!(
                namespace,
                ?removed,
                "the namespace of the installation goes: the API is no longer registered"
            );
        }
        Ok(())
    }

    async fn is_last(&self, successor: &Successor) -> bool {
        let namespace = &self.registration.namespace;
        let ask = async {
            if cluster::read_home(&self.client, namespace).await? == Home::Leaves {
                return Ok(true);
            }
            match successor {
                Successor::Nobody => Ok(true),
                Successor::Somebody => Ok(false),
                Successor::Deployment(name) => {
                    let comes = cluster::has_successors(&self.client, namespace, name).await?;
                    Ok::<_, RegisterError>(!comes)
                }
            }
        };
        ask.await.unwrap_or_else(|error| {
            warn!(code = error.code(), chain = %Chain(&error), "it is not known whether another comes after this one");
            *successor == Successor::Nobody
        })
    }

    async fn withdraw(&self) {
        match self.registration.unregister(&self.client).await {
            Ok(()) => info!("the API is no longer registered"),
            Err(error) => warn!(
                code = error.code(),
                chain = %Chain(&error),
                "the API is still registered: until `keelson serve` runs again, `keelson guard` acts or the APIServices of \
                 *.kio.kasten.io are deleted, no namespace of the cluster can be removed"
            ),
        }
    }

    fn tell(&mut self, about: &str, result: &Result<(), RegisterError>) {
        let Some(failed) = self.told.news(about, result) else { return };
        let (chain, hint) = (Chain(failed).to_string(), failed.hint().unwrap_or_default());
        match failed.class() {
            ErrorClass::Unavailable { .. } => {
                warn!(code = failed.code(), chain, "the registration cannot be looked at");
            }
            _ => error!(code = failed.code(), chain, hint, "the API is not registered as it should be"),
        }
    }
}

/// What is somebody else's does not lead to us.
fn is_told(result: &Result<Bundle, RegisterError>) -> bool {
    match result {
        Ok(Bundle::Settled) | Err(RegisterError::ForeignApiService { .. }) => true,
        Ok(Bundle::Open) | Err(_) => false,
    }
}

/// How the data of a group is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    There,
    AwayForAMoment,
    /// Away for some time: the group stays, and its resources are not listed.
    Withheld,
    AwayForLong,
}

/// Since when the data of groups is away.
#[derive(Default)]
struct Absences {
    since: BTreeMap<GroupVersion, Instant>,
    /// Since when the cluster has been told that their resources are not listed.
    withheld_since: BTreeMap<GroupVersion, Instant>,
}

impl Absences {
    fn look(
        &mut self,
        now: Instant,
        answers: &Answers,
        times: &StandingTimes,
    ) -> BTreeMap<GroupVersion, Presence> {
        let versions = group_versions().into_iter();
        versions.map(|version| (version, self.look_at(version, now, answers(version), times))).collect()
    }

    fn look_at(
        &mut self,
        version: GroupVersion,
        now: Instant,
        is_there: bool,
        times: &StandingTimes,
    ) -> Presence {
        if is_there {
            self.since.remove(&version);
            self.withheld_since.remove(&version);
            return Presence::There;
        }
        let away = now.duration_since(*self.since.entry(version).or_insert(now));
        let withheld = self.withheld_since.get(&version).map(|since| now.duration_since(*since));
        if away + times.withheld_for < times.away_for {
            Presence::AwayForAMoment
        } else if withheld.is_some_and(|withheld| withheld >= times.withheld_for) {
            Presence::AwayForLong
        } else {
            Presence::Withheld
        }
    }

    /// Whether that is news.
    fn note_withheld(&mut self, version: GroupVersion, now: Instant) -> bool {
        let is_news = !self.withheld_since.contains_key(&version);
        self.withheld_since.entry(version).or_insert(now);
        is_news
    }
}

#[cfg(test)]
mod tests;
