//! The time until which changes may be sent. A process that holds a cluster only as long as it renews its hold must
//! send nothing after that time, also when it was stopped in the middle of a call and does not know for how long.
//!
//! This module knows no platform, and not how the hold is renewed.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::{Duration, SystemTime},
};

use super::Error;
use tokio::time::Instant;

/// A moment on two clocks. The monotonic one does not move while the machine sleeps, and the other one may be set back:
/// of two moments, neither is taken to be closer than one of the clocks says.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    /// Returns the present moment.
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// Returns how long ago it was.
    pub fn elapsed(&self) -> Duration {
        // A clock that was set back says nothing.
        let wall = self.wall.elapsed().unwrap_or_default();
        wall.max(self.monotonic.elapsed())
    }
}

/// Lets changes through until a time, and refuses them afterwards. Clones share the time.
#[derive(Debug, Clone)]
pub struct WriteFence {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Nothing has to be renewed.
    Unlimited,
    /// Closed until the first renewal.
    NotYet,
    /// Open for this long after this moment.
    Until(Moment, Duration),
    /// Closed for good.
    Closed,
}

impl WriteFence {
    /// Returns a fence that never closes, for changes that need no hold.
    pub fn unlimited() -> Self {
        Self::of(State::Unlimited)
    }

    /// Returns a fence that lets nothing through before it is extended.
    pub fn closed() -> Self {
        Self::of(State::NotYet)
    }

    fn of(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Opens the fence for `duration` after the moment at which the renewal was sent; one that was closed stays so.
    pub fn extend(&self, since: Moment, duration: Duration) {
        let mut state = self.state();
        if !matches!(*state, State::Closed) {
            *state = State::Until(since, duration);
        }
    }

    /// Closes the fence until it is extended again; one that was closed for good stays so.
    pub fn suspend(&self) {
        let mut state = self.state();
        if !matches!(*state, State::Closed) {
            *state = State::NotYet;
        }
    }

    /// Closes the fence for good.
    pub fn close(&self) {
        *self.state() = State::Closed;
    }

    /// Returns for how long changes may still be sent: zero when they may not.
    fn left(&self) -> Duration {
        match *self.state() {
            State::Unlimited => Duration::MAX,
            State::Until(since, duration) => duration.saturating_sub(since.elapsed()),
            State::NotYet | State::Closed => Duration::ZERO,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a call that changes something, for as long as the fence is open. The time is looked at whenever the call
    /// goes on, so a process that was stopped does not send the rest of it.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the fence is or gets closed; in the second case the call may have had its effect.
    pub(super) async fn guard<T>(
        &self,
        call: &str,
        server: &str,
        sending: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut sending = pin!(sending);
        let fenced = || Error::Fenced { call: call.into(), server: server.into() };
        loop {
            let left = self.left();
            if left.is_zero() {
                return Err(fenced());
            }
            let guarded = std::future::poll_fn(|context| match self.left().is_zero() {
                true => Poll::Ready(Err(fenced())),
                false => sending.as_mut().poll(context),
            });
            // The fence may have been extended meanwhile.
            let Ok(result) = tokio::time::timeout(left, guarded).await else { continue };
            return result;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    async fn send(fence: &WriteFence) -> Result<u8, Error> {
        fence.guard("patch node a", "server", async { Ok(1) }).await
    }

    fn minutes_ago(minutes: u32) -> Moment {
        let ago = MINUTE * minutes;
        // The monotonic clock begins with the machine.
        let monotonic = Instant::now().checked_sub(ago).unwrap_or_else(Instant::now);
        Moment { monotonic, wall: SystemTime::now() - ago }
    }

    #[tokio::test]
    async fn nothing_is_sent_after_the_time() {
        assert!(send(&WriteFence::unlimited()).await.is_ok());
        let fence = WriteFence::closed();
        assert!(send(&fence).await.is_err(), "before the first renewal");
        fence.extend(Moment::now(), MINUTE);
        assert!(send(&fence).await.is_ok());
        fence.extend(minutes_ago(2), MINUTE);
        let error = send(&fence).await.unwrap_err();
        assert!(error.to_string().contains("not sent"), "{error}");
        assert!(error.is_retryable(), "the hold may be renewed");
        fence.extend(Moment::now(), MINUTE);
        assert!(send(&fence).await.is_ok(), "it was renewed");
        fence.close();
        fence.extend(Moment::now(), MINUTE);
        assert!(send(&fence).await.is_err(), "a late renewal does not open it again");
    }

    /// On a machine that slept, the monotonic clock has not moved.
    #[tokio::test]
    async fn either_clock_closes_the_fence() {
        let fence = WriteFence::closed();
        let now = Moment::now();
        fence.extend(Moment { wall: now.wall - 2 * MINUTE, ..now }, MINUTE);
        assert!(send(&fence).await.is_err(), "the machine slept for two minutes");
        fence.extend(Moment { wall: now.wall + 60 * MINUTE, ..now }, MINUTE);
        assert!(send(&fence).await.is_ok(), "the clock was set back by an hour");
    }

    /// As after SIGSTOP: the call goes on when the time is over.
    #[tokio::test]
    async fn a_call_that_was_begun_is_not_continued_after_the_time() {
        let fence = WriteFence::closed();
        fence.extend(Moment::now(), MINUTE);
        let mut has_sent_the_rest = false;
        let sending = async {
            tokio::task::yield_now().await;
            has_sent_the_rest = true;
            Ok(())
        };
        let other = fence.clone();
        let stopped = async { other.extend(minutes_ago(2), MINUTE) };
        let (result, ()) = tokio::join!(fence.guard("patch", "server", sending), stopped);
        assert!(result.is_err());
        assert!(!has_sent_the_rest);
    }

    #[tokio::test]
    async fn a_call_without_a_response_ends_with_the_time() {
        let fence = WriteFence::closed();
        fence.extend(Moment::now(), Duration::from_millis(20));
        let hangs = std::future::pending::<Result<(), Error>>();
        assert!(matches!(fence.guard("patch", "server", hangs).await, Err(Error::Fenced { .. })));
    }
}
