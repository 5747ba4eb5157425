//! What every store and every decorator must do. A store's capabilities choose its cases.
//!
//! `run` gives each case a folder of its own in one store, so that a bucket serves them all. A case fails with an
//! error that names it. The suite waits for nothing: what it locks stays locked.

mod basics;
mod listings;
mod versions;

use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use keelson_store::{Capabilities, Store, StoreExt, StorePath, Written};

/// Does what anybody with the credentials can do past our port. Only stores with versions need one.
#[async_trait]
pub trait Tamper: Send + Sync {
    /// A plain PUT.
    async fn overwrite(&self, path: &StorePath, body: Bytes) -> Result<()>;

    /// A plain DELETE.
    async fn delete(&self, path: &StorePath) -> Result<()>;
}

/// A store, and the folder that a case may fill.
#[derive(Clone)]
struct Subject {
    store: Arc<dyn Store>,
    folder: StorePath,
    tamper: Option<Arc<dyn Tamper>>,
}

impl Subject {
    fn path(&self, relative: &str) -> Result<StorePath> {
        Ok(self.folder.join(relative)?)
    }

    async fn create(&self, relative: &str, body: impl Into<Bytes>) -> Result<Written> {
        let path = self.path(relative)?;
        self.store.create(&path, body.into()).await.with_context(|| format!("create {path}"))
    }

    /// The paths that a listing of `relative` answers, relative to the case's folder.
    async fn names(&self, relative: &str) -> Result<Vec<String>> {
        let found = self.store.list_all(&self.path(relative)?).await?;
        let names = found.iter().map(|object| object.path.strip_prefix(&self.folder));
        let names: Option<Vec<_>> = names.map(|path| path.map(|path| path.to_string())).collect();
        names.context("a listing names what lies outside of its folder")
    }
}

struct Case {
    name: &'static str,
    applies: fn(&Capabilities) -> bool,
    run: fn(Subject) -> BoxFuture<'static, Result<()>>,
}

/// Declares cases: a name that is a sentence, and which stores it is for.
macro_rules! cases {
    ($($name:ident if $applies:expr;)*) => {
        pub(super) const CASES: &[super::Case] = &[$(super::Case {
            name: stringify!($name),
            applies: $applies,
            run: |subject| Box::pin($name(subject)),
        }),*];
    };
}
use cases;

/// Checks that an operation fails, and how.
macro_rules! ensure_fails {
    ($answer:expr, $error:pat) => {
        match $answer {
            Err($error) => {}
            other => anyhow::bail!("expected {}, got {other:?}", stringify!($error)),
        }
    };
}
use ensure_fails;

/// Runs every case that the store's capabilities call for; answers their names.
pub async fn run(store: Arc<dyn Store>, tamper: Option<Arc<dyn Tamper>>) -> Result<Vec<&'static str>> {
    let capabilities = store.capabilities();
    let mut names = Vec::new();
    for case in [basics::CASES, listings::CASES, versions::CASES].into_iter().flatten() {
        if (case.applies)(&capabilities) {
            let folder = StorePath::root().join("conformance")?.join(case.name)?;
            let subject = Subject { store: Arc::clone(&store), folder, tamper: tamper.clone() };
            (case.run)(subject).await.with_context(|| format!("case {}", case.name))?;
            names.push(case.name);
        }
    }
    Ok(names)
}
