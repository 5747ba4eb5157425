//! Who runs: writers, readers and owners, each with the real code and a store of its own, which may lie.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use keelson_model::{Chain, ManualClock, SessionId};
use keelson_repository::{CommitError, Indexed, Prune, PruneStep, ReadError, Repository, SessionPurpose};
use keelson_store::Store;
use keelson_testkit::explorer::{Actor, Fate, Stage};

use super::base::{Bucket, Log, Scene, begin_pieces, piece, read_pieces, write_pieces};
use super::liars::{Liar, Lie};
use crate::upkeep::*;
use crate::world::*;

/// A part to be played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Writer(&'static [u8]),
    /// Renews its session before it commits.
    RenewingWriter(&'static [u8]),
    /// Does not try again if something failed.
    BriefWriter(&'static [u8]),
    Reader,
    /// Retires an outcome, then prunes.
    Owner,
    /// Prunes only, as an owner does who does not know that he was fenced.
    OtherOwner,
    /// Prunes only, and does so twice.
    TidyOwner,
    /// Retires what writers were told is safe, then prunes twice.
    RetractingOwner,
    /// Prunes, and twice more when a fortnight has passed.
    PatientOwner,
    /// Prunes only, a fortnight after another prune.
    LaterOwner,
    /// Repacks, then prunes.
    RepackingOwner,
    /// Has made a mark before the run begins, and goes on with it now. The session that he waited for has committed
    /// an outcome that keeps a marked pack; whoever retires in this run retires that outcome.
    SlowOwner,
}

/// The parts of a run, each with the lie that its store tells, if any.
pub(super) struct Cast(Vec<(&'static str, Part, Option<Lie>)>);

/// Pieces of a retired outcome, of a dead writer, of a half dead pack, and a new one.
const FIRST: Part = Part::Writer(&[1, 8, 4, 20]);
const SECOND: Part = Part::RenewingWriter(&[8, 2, 20]);
/// A clock that is ahead jumps so far. Once ends every session that was not renewed, twice any.
const JUMP: Duration = Duration::from_hours(8);

impl Cast {
    pub(super) fn of(parts: &[(&'static str, Part, Option<Lie>)]) -> Self {
        Self(parts.to_vec())
    }

    pub(super) fn writer_and_owner() -> Self {
        Self::of(&[("writer", FIRST, None), ("owner", Part::OtherOwner, None)])
    }

    pub(super) fn renewing_writer_and_owner() -> Self {
        let writer = Part::RenewingWriter(&[1]);
        Self::of(&[("writer", writer, None), ("owner", Part::OtherOwner, None)])
    }

    pub(super) fn reader_and_owner() -> Self {
        Self::of(&[("reader", Part::Reader, None), ("owner", Part::Owner, None)])
    }

    pub(super) fn two_owners() -> Self {
        Self::of(&[("owner", Part::Owner, None), ("other owner", Part::OtherOwner, None)])
    }

    /// The mark of the first is decided by the second, who then removes the outcome for whose sake a pack was kept.
    pub(super) fn slow_owner(lie: Option<Lie>) -> Self {
        let writer = Part::Writer(&[8]);
        Self::of(&[
            ("slow owner", Part::SlowOwner, lie),
            ("owner", Part::Owner, None),
            ("writer", writer, None),
        ])
    }

    pub(super) fn everybody() -> Self {
        Self::of(&[
            ("first writer", FIRST, None),
            ("second writer", SECOND, None),
            ("reader", Part::Reader, None),
            ("owner", Part::Owner, None),
            ("repacking owner", Part::RepackingOwner, None),
        ])
    }

    pub(super) fn later_owner() -> Self {
        Self::of(&[
            ("later owner", Part::LaterOwner, None),
            ("writer", FIRST, None),
            ("reader", Part::Reader, None),
            ("owner", Part::Owner, None),
        ])
    }

    /// The same without any lie.
    pub(super) fn honest(&self) -> Self {
        Self(self.0.iter().map(|(name, part, _)| (*name, *part, None)).collect())
    }

    pub(super) fn bucket(&self) -> Bucket {
        match self.0.iter().any(|(_, part, _)| *part == Part::LaterOwner) {
            true => Bucket::Locking,
            false => Bucket::Plain,
        }
    }

    pub(super) async fn actors(&self, scene: &Scene) -> Vec<Actor> {
        let (mut actors, mut retiring) = (Vec::new(), scene.retiring);
        for (number, (name, part, lie)) in self.0.iter().enumerate() {
            let store: Arc<dyn Store> = scene.stage.store_of(number);
            let store = match lie {
                Some(lie) => Arc::new(Liar::new(store, *lie, scene.open_raw().await)),
                None => store,
            };
            if *part == Part::LaterOwner {
                scene.let_a_fortnight_pass_after_a_prune().await;
            }
            let repository = scene.open(store).await;
            let player =
                Player { number, repository, stage: scene.stage.clone(), log: Arc::clone(&scene.log) };
            let targets = [scene.half, retiring];
            let script = match *part {
                Part::Writer(pieces) => player.write(pieces).boxed(),
                Part::RenewingWriter(pieces) => player.write_and_renew(pieces).boxed(),
                Part::BriefWriter(pieces) => player.write_once(pieces).boxed(),
                Part::Reader => {
                    let (memory, vault) = (scene.memory.clone(), Arc::clone(&scene.vault));
                    let was_ended = async move |session| Scene::was_ended(&memory, &vault, session).await;
                    player.read(targets, was_ended).boxed()
                }
                Part::Owner => player.retire_and_prune(retiring).boxed(),
                Part::SlowOwner => {
                    let (prune, kept_for) = player.begin_slowly(scene).await;
                    retiring = kept_for;
                    player.carry_on(prune).boxed()
                }
                Part::OtherOwner | Part::LaterOwner => player.prune_times(1).boxed(),
                Part::TidyOwner => player.prune_times(2).boxed(),
                Part::RetractingOwner => player.retract_and_prune().boxed(),
                Part::PatientOwner => player.prune_for_weeks(Arc::clone(&scene.clock)).boxed(),
                Part::RepackingOwner => player.repack_and_prune().boxed(),
            };
            actors.push(Actor { name, script });
        }
        actors
    }
}

struct Player {
    number: usize,
    repository: Repository<Indexed>,
    stage: Stage,
    log: Arc<Log>,
}

impl Player {
    /// Tries once more if something failed, in a new session.
    async fn write(self, pieces: &'static [u8]) {
        for _ in 0..2 {
            if let Some(outcome) = write_pieces(&self.repository, pieces).await {
                self.log.committed(outcome.id);
                return;
            }
        }
    }

    async fn write_once(self, pieces: &'static [u8]) {
        if let Some(outcome) = write_pieces(&self.repository, pieces).await {
            self.log.committed(outcome.id);
        }
    }

    /// The same as `write`, with a life that is renewed before the commit.
    async fn write_and_renew(self, pieces: &'static [u8]) {
        for _ in 0..2 {
            let Some((session, streams)) = begin_pieces(&self.repository, pieces).await else { continue };
            let renewed = session.life().renew(now() + JUMP).await.is_ok();
            let in_time = renewed && self.log.ahead().is_zero();
            match session.commit(draft(streams)).await {
                Ok(outcome) => {
                    self.log.committed(outcome.id);
                    return;
                }
                Err(CommitError::Ended { session }) if in_time && self.log.ahead() <= JUMP => {
                    self.log.violation(format!("session {session}, which was renewed in time, was ended"));
                }
                Err(_) => {}
            }
        }
    }

    async fn read<F>(self, targets: [SessionId; 2], was_ended: F)
    where
        F: AsyncFn(SessionId) -> bool,
    {
        let Ok(reader) = self.repository.begin_reading(new_session(SessionPurpose::Restore)).await else {
            return;
        };
        for target in targets {
            let read = match reader.outcome(target).await {
                Ok(outcome) => read_pieces(&reader, &outcome).await,
                Err(ReadError::Retired { .. }) => Ok(()),
                Err(error) => Err(format!("outcome {target}: {}", Chain(&error))),
            };
            let Err(what) = read else { continue };
            match reader.id() {
                Some(session) if was_ended(session).await => {}
                _ => self.log.violation(format!("a reader fails on what was not retired: {what}")),
            }
        }
        let _ = reader.finish(now()).await;
    }

    async fn retire_and_prune(self, retiring: SessionId) {
        let _ = self.repository.retire(retiring, &owner(), now()).await;
        self.prune().await;
    }

    async fn retract_and_prune(self) {
        // Not before it is his turn.
        let _ = self.repository.list_outcomes().await;
        for outcome in self.log.retract_all() {
            let _ = self.repository.retire(outcome, &owner(), now()).await;
        }
        self.prune_times(2).await;
    }

    async fn repack_and_prune(self) {
        let _ = repack(&self.repository).await;
        self.prune().await;
    }

    async fn prune_for_weeks(self, clock: Arc<ManualClock>) {
        self.prune().await;
        clock.advance(LATE_EFFECTS);
        self.prune().await;
        self.prune().await;
    }

    async fn prune_times(self, times: usize) {
        for _ in 0..times {
            self.prune().await;
        }
    }

    async fn prune(&self) {
        let Ok(retired) = self.repository.list_retired().await else { return };
        let valid = retired.iter().map(|retirement| retirement.outcome).collect();
        let judged = keelson_repository::JudgedRetirements { valid, ..Default::default() };
        let Ok(plan) = self.repository.plan_prune(&owner(), &judged).await else { return };
        self.carry_out(self.repository.begin_prune(plan)).await;
    }

    /// Comes as far as waiting for a session, which then commits what the mark names.
    async fn begin_slowly(&self, scene: &Scene) -> (Prune, SessionId) {
        let raw = scene.open(Arc::new(scene.memory.clone())).await;
        let session = raw.begin(new_session(SessionPurpose::Backup)).await.unwrap();
        let judged = judge(&raw).await;
        let plan = self.repository.plan_prune(&owner(), &judged).await.unwrap();
        let mut prune = self.repository.begin_prune(plan);
        let step = prune.advance(&owner(), now(), &|_| {}).await.unwrap();
        assert!(matches!(step, PruneStep::Waiting { sessions: 1, .. }));
        let reference = session.write(pieces(&piece(8))).await.unwrap();
        let outcome = session.commit(draft(vec![named("8", reference)])).await.unwrap();
        (prune, outcome.id)
    }

    async fn carry_on(self, prune: Prune) {
        self.carry_out(prune).await;
    }

    async fn carry_out(&self, mut prune: Prune) {
        let (mut ahead, mut failures) = (Duration::ZERO, 0);
        loop {
            match prune.advance(&owner(), now() + ahead, &|_| {}).await {
                Ok(PruneStep::Complete(_)) => return,
                Ok(PruneStep::Settling { .. } | PruneStep::Waiting { .. }) => {
                    if self.stage.wait(self.number).await == Fate::ClockJumps {
                        ahead += JUMP;
                        self.log.clock_is_ahead(ahead);
                    }
                }
                Err(_) if failures < 2 => failures += 1,
                Err(_) => return,
            }
        }
    }
}
