//! Where the actors meet: calls that wait, effects that come late, and the store that every actor is given.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;
use keelson_store::{
    Capabilities, ListPage, Listing, NetworkFault, ObjectMeta, Operation, PutOptions, Read, Store,
    StoreError, StorePath, VersionId, VersionListing, VersionPage, VersionScope, Written,
};
use tokio::sync::oneshot;

use super::calls::{Choice, Fate, Footprint};

/// Somebody who runs.
pub struct Actor {
    pub name: &'static str,
    pub script: BoxFuture<'static, ()>,
}

/// The store behind all actors, and what waits before it. Copies share it.
#[derive(Clone)]
pub struct Stage {
    inner: Arc<dyn Store>,
    passes: fn(&StorePath) -> bool,
    overwrites: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Calls wait only while a run governs them.
    governed: bool,
    names: Vec<&'static str>,
    ordinals: Vec<u64>,
    waiting: Vec<Waiting>,
    late: Vec<LateEffect>,
    late_made: u64,
    /// Counts what was changed, so that a wait ends only after something has happened.
    effects: u64,
    disturbances_left: usize,
}

struct Waiting {
    actor: usize,
    ordinal: u64,
    footprint: Footprint,
    effect: Option<Effect>,
    since: u64,
    answer: oneshot::Sender<Fate>,
}

struct LateEffect {
    number: u64,
    footprint: Footprint,
    effect: Effect,
}

#[derive(Clone)]
enum Effect {
    Put { path: StorePath, body: Bytes, options: PutOptions },
    Delete { path: StorePath, version: Option<VersionId> },
    Extend { path: StorePath, version: Option<VersionId>, until: Timestamp },
}

impl Effect {
    /// Whatever the store answers reaches nobody.
    async fn apply(self, store: &dyn Store) {
        let _unheard = match self {
            Self::Put { path, body, options } => store.put(&path, body, options).await.map(drop),
            Self::Delete { path, version } => store.delete(&path, version.as_ref()).await,
            Self::Extend { path, version, until } => {
                store.extend_retention(&path, version.as_ref(), until).await
            }
        };
    }
}

impl Stage {
    /// Over a store, with so many disturbances in a run at most.
    pub fn new(inner: Arc<dyn Store>, disturbances: usize) -> Self {
        let state = State { disturbances_left: disturbances, ..State::default() };
        Self { inner, passes: |_| false, overwrites: false, state: Arc::new(Mutex::new(state)) }
    }

    /// Lets some objects be read without being granted. A thread that blocks until it has them keeps paused time
    /// standing still, and nothing would ever be granted.
    #[must_use]
    pub fn letting_pass(self, passes: fn(&StorePath) -> bool) -> Self {
        Self { passes, ..self }
    }

    /// Takes every create for an overwrite, as a server does that does not know the condition.
    #[must_use]
    pub fn overwriting(self) -> Self {
        Self { overwrites: true, ..self }
    }

    /// The store as this actor sees it. Calls pass freely until [`super::run`] begins.
    pub fn store_of(&self, actor: usize) -> Arc<ActorStore> {
        Arc::new(ActorStore { stage: self.clone(), actor })
    }

    /// Waits until something has happened elsewhere, and says whether the actor's clock has jumped far ahead
    /// meanwhile. Where nothing else can happen it always does.
    pub async fn wait(&self, actor: usize) -> Fate {
        self.ask(actor, Footprint { operation: None, path: StorePath::root() }, None).await
    }

    /// Lets every effect happen that is still to come.
    pub async fn let_late_effects_happen(&self) {
        let late = std::mem::take(&mut self.lock().late);
        for late in late {
            late.effect.apply(&*self.inner).await;
        }
    }

    pub(super) fn govern(&self, names: Vec<&'static str>) {
        let mut state = self.lock();
        state.ordinals = vec![0; names.len()];
        state.names = names;
        state.governed = true;
    }

    pub(super) fn release(&self) {
        let mut state = self.lock();
        state.governed = false;
        state.waiting.clear();
    }

    /// In an order that depends on nothing but the run so far.
    pub(super) fn options(&self) -> Vec<Choice> {
        let mut state = self.lock();
        state.let_go();
        state.waiting.sort_by_key(|waiting| (waiting.actor, waiting.ordinal));
        let disturbed = state.disturbances_left > 0;
        let mut options = Vec::new();
        for waiting in &state.waiting {
            let offer = |fate| Choice {
                actor: Some(waiting.actor),
                ordinal: waiting.ordinal,
                footprint: waiting.footprint.clone(),
                fate,
            };
            if waiting.footprint.operation.is_none() {
                if state.effects > waiting.since {
                    options.push(offer(Fate::Done));
                }
                continue;
            }
            options.push(offer(Fate::Done));
            if disturbed && waiting.footprint.is_effect() {
                let fates = [Fate::Lost, Fate::AnswerLost, Fate::Late, Fate::Repeated];
                options.extend(fates.map(offer));
            }
        }
        let waits = state.waiting.iter().filter(|waiting| waiting.footprint.operation.is_none());
        if options.is_empty() || disturbed {
            // Time passes where nothing else does; and a clock may be wrong at any time.
            options.extend(waits.map(|waiting| Choice {
                actor: Some(waiting.actor),
                ordinal: waiting.ordinal,
                footprint: waiting.footprint.clone(),
                fate: Fate::ClockJumps,
            }));
        }
        options.extend(state.late.iter().map(|late| Choice {
            actor: None,
            ordinal: late.number,
            footprint: late.footprint.clone(),
            fate: Fate::Done,
        }));
        options
    }

    pub(super) fn describe(&self, choice: &Choice) -> String {
        let state = self.lock();
        let who = choice.actor.map_or("late", |actor| state.names[actor]);
        let what = choice.footprint.operation.map_or("wait".to_owned(), |operation| operation.to_string());
        let fate = match choice.fate {
            Fate::Done => String::new(),
            fate => format!("  {fate:?}"),
        };
        format!("{who}: {what} {}{fate}", choice.footprint.path)
    }

    pub(super) async fn grant(&self, choice: &Choice) {
        let Some(actor) = choice.actor else {
            let late = {
                let mut state = self.lock();
                state.effects += 1;
                let at = state.late.iter().position(|late| late.number == choice.ordinal);
                at.map(|at| state.late.remove(at))
            };
            if let Some(late) = late {
                late.effect.apply(&*self.inner).await;
            }
            return;
        };
        let mut state = self.lock();
        let same = |waiting: &Waiting| (waiting.actor, waiting.ordinal) == (actor, choice.ordinal);
        let Some(at) = state.waiting.iter().position(same) else { return };
        let waiting = state.waiting.remove(at);
        state.effects += u64::from(waiting.footprint.is_effect());
        if choice.fate.is_disturbance() {
            state.disturbances_left = state.disturbances_left.saturating_sub(1);
        }
        // An actor that has given up meanwhile hears nothing.
        let _ = waiting.answer.send(choice.fate);
    }

    async fn ask(&self, actor: usize, footprint: Footprint, effect: Option<Effect>) -> Fate {
        let granted = {
            let mut state = self.lock();
            if !state.governed {
                return Fate::Done;
            }
            let (answer, granted) = oneshot::channel();
            let ordinal = state.ordinals[actor];
            state.ordinals[actor] += 1;
            let since = state.effects;
            state.waiting.push(Waiting { actor, ordinal, footprint, effect, since, answer });
            granted
        };
        match granted.await {
            Ok(fate) => fate,
            // The run is over.
            Err(_) => std::future::pending().await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn postpone(&mut self, footprint: Footprint, effect: Effect) {
        self.late_made += 1;
        self.late.push(LateEffect { number: self.late_made, footprint, effect });
    }

    /// A call whose caller was dropped may be on its way nevertheless.
    fn let_go(&mut self) {
        let all = std::mem::take(&mut self.waiting).into_iter();
        let (gone, waiting): (Vec<_>, Vec<_>) = all.partition(|waiting| waiting.answer.is_closed());
        self.waiting = waiting;
        for Waiting { footprint, effect, .. } in gone {
            if let Some(effect) = effect {
                self.postpone(footprint, effect);
            }
        }
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// A store each call of which waits to be granted.
#[derive(Debug)]
pub struct ActorStore {
    stage: Stage,
    actor: usize,
}

impl ActorStore {
    async fn read<T>(
        &self,
        operation: Operation,
        path: &StorePath,
        answer: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let footprint = Footprint { operation: Some(operation), path: path.clone() };
        self.stage.ask(self.actor, footprint, None).await;
        answer.await
    }

    async fn affect<T>(
        &self,
        operation: Operation,
        path: &StorePath,
        effect: Effect,
        answer: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let footprint = Footprint { operation: Some(operation), path: path.clone() };
        match self.stage.ask(self.actor, footprint.clone(), Some(effect.clone())).await {
            Fate::Done | Fate::ClockJumps => answer.await,
            Fate::Lost => Err(self.broken(operation)),
            Fate::AnswerLost => {
                let _unheard = answer.await;
                Err(self.broken(operation))
            }
            Fate::Late => {
                self.stage.lock().postpone(footprint, effect);
                Err(self.broken(operation))
            }
            Fate::Repeated => {
                let answered = answer.await;
                self.stage.lock().postpone(footprint, effect);
                answered
            }
        }
    }

    fn broken(&self, operation: Operation) -> StoreError {
        let location = self.stage.inner.location().to_owned();
        let source = Box::new(io::Error::other("chosen by the explorer"));
        StoreError::Unreachable { operation, location, fault: NetworkFault::Broken, source }
    }
}

#[async_trait]
impl Store for ActorStore {
    async fn put(&self, path: &StorePath, body: Bytes, options: PutOptions) -> Result<Written, StoreError> {
        let options = if self.stage.overwrites { PutOptions::overwrite() } else { options };
        let effect = Effect::Put { path: path.clone(), body: body.clone(), options };
        self.affect(Operation::Put, path, effect, self.stage.inner.put(path, body, options)).await
    }

    async fn fetch(&self, path: &StorePath, read: Read) -> Result<Bytes, StoreError> {
        if (self.stage.passes)(path) {
            return self.stage.inner.fetch(path, read).await;
        }
        self.read(Operation::Fetch, path, self.stage.inner.fetch(path, read)).await
    }

    async fn head(&self, path: &StorePath, version: Option<&VersionId>) -> Result<ObjectMeta, StoreError> {
        self.read(Operation::Head, path, self.stage.inner.head(path, version)).await
    }

    async fn list(&self, folder: &StorePath, page: &ListPage) -> Result<Listing, StoreError> {
        self.read(Operation::List, folder, self.stage.inner.list(folder, page)).await
    }

    async fn list_folders(&self, folder: &StorePath) -> Result<Vec<String>, StoreError> {
        self.read(Operation::List, folder, self.stage.inner.list_folders(folder)).await
    }

    async fn list_versions(
        &self,
        scope: &VersionScope,
        page: &VersionPage,
    ) -> Result<VersionListing, StoreError> {
        let (VersionScope::Object(path) | VersionScope::Beneath(path)) = scope;
        self.read(Operation::ListVersions, path, self.stage.inner.list_versions(scope, page)).await
    }

    async fn delete(&self, path: &StorePath, version: Option<&VersionId>) -> Result<(), StoreError> {
        let effect = Effect::Delete { path: path.clone(), version: version.cloned() };
        self.affect(Operation::Delete, path, effect, self.stage.inner.delete(path, version)).await
    }

    async fn extend_retention(
        &self,
        path: &StorePath,
        version: Option<&VersionId>,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let effect = Effect::Extend { path: path.clone(), version: version.cloned(), until };
        let extend = self.stage.inner.extend_retention(path, version, until);
        self.affect(Operation::ExtendRetention, path, effect, extend).await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.stage.inner.time().await
    }

    fn capabilities(&self) -> Capabilities {
        self.stage.inner.capabilities()
    }

    fn location(&self) -> &str {
        self.stage.inner.location()
    }
}
