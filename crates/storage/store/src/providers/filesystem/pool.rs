//! Calls that may hang in the kernel, run beside the runtime, few at a time, and not waited for without end.
//!
//! A share that does not answer holds its threads; nothing can end them. So their number is bounded, later calls
//! queue, and every caller is told after the deadline. They are threads of their own and not the runtime's, which would
//! wait for them when it ends.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::{Operation, StoreError, StorePath};

/// Threads that a store may hold at a time.
const CALLS_MAX: usize = 16;
/// How long a caller waits for a share, queueing included.
const DEADLINE: Duration = Duration::from_secs(30);
/// Slower shares than this count as not answering: a large object gets so much more time.
const BYTES_PER_SECOND_MIN: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Pool {
    permits: Arc<Semaphore>,
    deadline: Duration,
}

/// What a call is for, so that its failure can be told.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) operation: Operation,
    pub(super) path: StorePath,
    pub(super) location: Arc<str>,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(CALLS_MAX)), deadline: DEADLINE }
    }

    /// Runs `work`, which moves about `bytes`. What a caller no longer waits for still runs to its end.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        call: Call,
        bytes: u64,
        work: impl FnOnce(&Call) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let deadline = self.deadline + Duration::from_secs(bytes / BYTES_PER_SECOND_MIN);
        let permits = Arc::clone(&self.permits);
        let worker_call = call.clone();
        let answer = async move {
            let permit = permits.acquire_owned().await;
            let (answer, answered) = oneshot::channel();
            let worker = move || {
                let outcome = work(&worker_call);
                drop(permit);
                // Perhaps nobody waits any more.
                let _ = answer.send(outcome);
            };
            thread::Builder::new().name("share".into()).spawn(worker)?;
            // No answer comes from a thread that panicked.
            answered.await.map_err(io::Error::other)
        };
        let Call { operation, path, location } = call;
        let location = location.to_string();
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Err(StoreError::Transfer { operation, path, location, source: error.into() }),
            Err(_elapsed) => Err(StoreError::Unanswered { operation, path, location, waited: deadline }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn call() -> Call {
        Call { operation: Operation::List, path: StorePath::root(), location: "/share".into() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_share_that_hangs_is_told_of_and_works_again_when_it_answers() {
        let pool = Pool { deadline: Duration::from_millis(50), ..Pool::new() };
        let mut answers = Vec::new();
        for _ in 0..CALLS_MAX {
            let (answer, hang) = mpsc::channel::<()>();
            answers.push(answer);
            let result = pool.run(call(), 0, move |_| Ok(hang.recv().is_ok())).await;
            assert!(matches!(result, Err(StoreError::Unanswered { .. })));
        }
        let queued = pool.run(call(), 0, |_| Ok(())).await;
        assert!(matches!(queued, Err(StoreError::Unanswered { .. })), "every thread hangs");

        drop(answers);
        pool.permits.acquire_many(CALLS_MAX as u32).await.unwrap().forget();
        pool.permits.add_permits(CALLS_MAX);
        // What is to be answered may take its time on a busy machine.
        let pool = Pool { deadline: DEADLINE, ..pool };
        pool.run(call(), 0, |_| Ok(())).await.unwrap();
    }
}
