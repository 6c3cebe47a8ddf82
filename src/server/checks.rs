//! Reading and checking runbooks for requests. Either may take long, and a disk may not answer at all: so it is done on
//! threads of its own, beside the runtime that answers requests and the one that drives runs, and only so many at a
//! time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{error::ApiError, listener::prefer_runs};

/// How many runbooks are read or checked at a time, those of `/validate` not counted.
const MAX_CHECKS: usize = 2;

/// The right to read and check runbooks.
pub(super) struct Checks {
    turns: Arc<Semaphore>,
}

/// Whether a request still waits for the result of a check.
pub(super) struct Wanted(Arc<AtomicBool>);

/// A request that waits for a check, until it ends in whatever way.
struct Request(Arc<AtomicBool>);

impl Default for Checks {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(MAX_CHECKS)) }
    }
}

impl Checks {
    /// Waits for a turn, and returns the result of `work`.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Wanted) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        // This semaphore is never closed.
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| unfinished())?;
        run(turn, work).await
    }
}

/// Returns the result of `work`, which has a thread of its own. When the request ends, `work` is told; it keeps the
/// turn until it has ended, so that work that nothing waits for is bounded, too.
pub(super) async fn run<T: Send + 'static>(
    turn: OwnedSemaphorePermit,
    work: impl FnOnce(&Wanted) -> T + Send + 'static,
) -> Result<T, ApiError> {
    let is_wanted = Arc::new(AtomicBool::new(true));
    let request = Request(Arc::clone(&is_wanted));
    let (sender, receiver) = oneshot::channel();
    let body = move || {
        prefer_runs();
        let result = work(&Wanted(is_wanted));
        drop(turn);
        // The request may have ended.
        let _ = sender.send(result);
    };
    thread::Builder::new()
        .name("check".into())
        .spawn(body)
        .map_err(|_| ApiError::overloaded("the system gives the service no more threads"))?;
    let result = receiver.await.map_err(|_| unfinished());
    drop(request);
    result
}

fn unfinished() -> ApiError {
    ApiError::unfinished()
}

impl Wanted {
    pub(super) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_check_is_told_that_its_request_has_ended_and_keeps_its_turn_until_it_ends() {
        let checks = Checks::default();
        let (started, has_started) = oneshot::channel();
        let endless = checks.run(move |wanted| {
            started.send(()).unwrap();
            while wanted.is_wanted() {
                thread::yield_now();
            }
        });
        tokio::select! {
            _ = endless => panic!("it ends when nothing waits for it"),
            started = has_started => started.unwrap(),
        }
        // Every turn comes back, also the one of a check that panics.
        let _turns = Arc::clone(&checks.turns).acquire_many_owned(2).await.unwrap();
    }

    #[tokio::test]
    async fn a_check_that_does_not_end_leaves_a_turn_to_others_and_no_more_begin() {
        let checks = Checks::default();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (started, has_started) = oneshot::channel();
        let stuck = checks.run(move |_| {
            started.send(()).unwrap();
            ended.recv().unwrap_err();
        });
        tokio::select! {
            _ = stuck => panic!("the disk does not answer"),
            started = has_started => started.unwrap(),
        }
        assert_eq!(checks.run(|_| 7).await.unwrap(), 7);
        assert_eq!(checks.turns.available_permits(), MAX_CHECKS - 1, "the thread is still there");
        drop(end);
        let _turns = Arc::clone(&checks.turns).acquire_many_owned(2).await.unwrap();
    }

    #[tokio::test]
    async fn a_check_that_panics_is_an_error_and_gives_its_turn_back() {
        let checks = Checks::default();
        for _ in 0..=MAX_CHECKS {
            assert!(checks.run(|_| panic!("a defect")).await.is_err());
        }
    }
}
