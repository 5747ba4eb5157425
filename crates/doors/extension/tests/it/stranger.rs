//! A client that is not ours beside a test: waited for, and asked whether it holds what the catalog holds. Whatever client-go
//! complains of was announced by the test, or the test fails.

use serde_json::Value;

use crate::environment::{Environment, Held, eventually};

/// Dropping it ends it.
pub(crate) struct Stranger(keelson_testkit::Stranger);

impl Stranger {
    /// Starts one under a name that no other has. `switches` are variables of client-go.
    pub(crate) fn start(
        cluster: &Environment,
        name: &str,
        words: &[&str],
        switches: &[(&str, &str)],
    ) -> Self {
        let complaints = cluster.plane.directory().join(format!("{name}.complaints"));
        Self(keelson_testkit::Stranger::start(complaints, words, switches).unwrap())
    }

    /// An informer of a kind.
    pub(crate) fn informer(
        cluster: &Environment,
        name: &str,
        resource: &str,
        words: &[&str],
        switches: &[(&str, &str)],
    ) -> Self {
        let kubeconfig = cluster.plane.kubeconfig().to_str().unwrap();
        let first = ["informer", "--kubeconfig", kubeconfig, "--resource", resource];
        Self::start(cluster, name, &[&first[..], words].concat(), switches)
    }

    /// Gives it a line, which means what the subcommand says.
    pub(crate) fn ask(&mut self) {
        self.0.ask().unwrap();
    }

    /// All lines that have a key, so far.
    pub(crate) fn lines(&self, key: &str) -> Vec<Value> {
        self.0.lines(key)
    }

    /// What these lines say under it.
    pub(crate) fn told(&self, key: &str) -> Vec<Value> {
        self.0.told(key)
    }

    /// Waits for the `count`th line under a key.
    pub(crate) fn await_told(&mut self, key: &str, count: usize) -> Value {
        let found = eventually(&format!("{count} lines of '{key}'"), || {
            let found = self.told(key).into_iter().nth(count - 1);
            // One that has ended says no more.
            let ended = found.is_none() && self.0.ended().unwrap().is_some();
            if ended { Some(Err(self.complaints())) } else { found.map(Ok) }
        });
        found.unwrap_or_else(|complaints| panic!("'{key}' was not told: {complaints}"))
    }

    /// What an informer holds now, of one namespace.
    pub(crate) fn holds(&mut self, namespace: &str) -> Held {
        let answers = self.told("store").len();
        self.ask();
        let store = self.await_told("store", answers + 1);
        let within = format!("{namespace}/");
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
        let entries = store.as_array().unwrap().iter();
        entries
            .map(|entry| (text(entry, "object"), (text(entry, "uid"), text(entry, "version"))))
            .filter(|(name, _)| name.starts_with(&within))
            .collect()
    }

    /// Waits until an informer holds what the catalog does.
    pub(crate) fn await_holding(&mut self, cluster: &Environment, plural: &str, namespace: &str) {
        let held = cluster.held(plural, namespace);
        let mut differing = Vec::new();
        eventually("the informer holds what the catalog holds", || {
            let holds = self.holds(namespace);
            let names = held.keys().chain(holds.keys());
            differing = names.filter(|name| held.get(*name) != holds.get(*name)).cloned().collect();
            differing.is_empty().then_some(())
        });
    }

    /// Ends it and fails on complaints with none of these words.
    #[track_caller]
    pub(crate) fn finish(mut self, announced: &[&str]) {
        self.0.dismiss();
        let status = eventually("the client ends", || self.0.ended().unwrap());
        let complaints = self.complaints();
        assert!(status.success(), "{status}: {complaints}");
        let unexpected: Vec<&str> = complaints
            .lines()
            // What klog tells of its own accord begins with an I; warnings, errors and panics do not.
            .filter(|line| !line.starts_with('I') || line.contains("Warning"))
            .filter(|line| !announced.iter().any(|word| line.contains(word)))
            .collect();
        assert_eq!(unexpected, Vec::<&str>::new());
    }

    pub(crate) fn complaints(&self) -> String {
        self.0.complaints().unwrap()
    }
}
