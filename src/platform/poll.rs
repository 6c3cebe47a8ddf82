//! A view of something that can only be polled: AWS has no watch.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::Instant;

use clock::{Backoff, Clock};

use super::Error;
use super::wait::{SourceEvent, WaitSource};

/// A source that never answered fails after this many polls; one that has answered before is polled for as long as the
/// wait lasts, because an outage ends.
pub(super) const MAX_FIRST_ATTEMPTS: u32 = 5;
/// The longest delay between polls during an outage (unless the interval itself is longer).
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// The shortest time between two early polls, however often they are triggered.
const MIN_TRIGGER_INTERVAL: Duration = Duration::from_secs(1);

/// A read that is repeated at an interval for as long as the source is awaited.
pub struct PollSource<T> {
    poll: Box<dyn FnMut() -> BoxFuture<'static, Result<T, Error>> + Send>,
    clock: Clock,
    interval: Duration,
    next: NextPoll<T>,
    failures: u32,
    latest: Latest<T>,
    trigger: PollTrigger,
    next_triggered: Instant,
}

/// Lets a [`PollSource`] poll early. Clones trigger the same source.
#[derive(Clone, Default)]
pub struct PollTrigger(Arc<Notify>);

/// The latest value of a [`PollSource`]. Clones share it.
pub struct Latest<T>(Arc<Mutex<Option<Arc<T>>>>);

enum NextPoll<T> {
    At(Instant),
    /// Kept here while the caller awaits another source, so that a poll is never started twice.
    InFlight(BoxFuture<'static, Result<T, Error>>),
}

impl<T: Send + Sync + 'static> PollSource<T> {
    /// Returns a source that polls at once, and again after each `interval` (divided by the clock's speed).
    pub fn new<F>(
        clock: &Clock,
        interval: Duration,
        mut poll: impl FnMut() -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        Self {
            poll: Box::new(move || poll().boxed()),
            clock: *clock,
            interval,
            next: NextPoll::At(Instant::now()),
            failures: 0,
            latest: Latest::default(),
            trigger: PollTrigger::default(),
            next_triggered: Instant::now(),
        }
    }

    /// Returns the trigger for an early poll, for a caller that knows that the latest value is out of date.
    pub fn poll_trigger(&self) -> PollTrigger {
        self.trigger.clone()
    }

    /// Returns the latest value, readable while the source polls again.
    pub fn view(&self) -> Latest<T> {
        self.latest.clone()
    }

    async fn next(&mut self) -> Result<T, Error> {
        loop {
            match &mut self.next {
                NextPoll::At(time) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(*time) => {
                            self.next = NextPoll::InFlight((self.poll)());
                        }
                        // After a failure the delay is kept: the server may be overloaded.
                        () = self.trigger.0.notified(), if self.failures == 0 => {
                            let triggered = self.next_triggered.max(Instant::now());
                            self.next_triggered =
                                triggered + self.clock.delay(MIN_TRIGGER_INTERVAL);
                            *time = triggered.min(*time);
                        }
                    }
                }
                NextPoll::InFlight(poll) => {
                    let result = poll.await;
                    self.failures = match result {
                        Ok(_) => 0,
                        Err(_) => self.failures.saturating_add(1),
                    };
                    self.next = NextPoll::At(Instant::now() + self.clock.delay(self.delay()));
                    return result;
                }
            }
        }
    }

    /// Returns the interval, doubled with each failure in a row, with jitter so that clients do not poll in step.
    fn delay(&self) -> Duration {
        let max = MAX_BACKOFF.max(self.interval);
        Backoff::new(self.interval, max).with_jitter(0.1).delay(self.failures)
    }

    fn may_continue(&self, error: &Error) -> bool {
        let has_succeeded = self.latest.get().is_some();
        error.is_retryable() && (has_succeeded || self.failures < MAX_FIRST_ATTEMPTS)
    }
}

impl<T: Send + Sync + 'static> WaitSource for PollSource<T> {
    fn changed(&mut self) -> BoxFuture<'_, Result<SourceEvent, Error>> {
        async {
            match self.next().await {
                Ok(value) => {
                    self.latest.set(value);
                    Ok(SourceEvent::Changed)
                }
                Err(error) if self.may_continue(&error) => {
                    Ok(SourceEvent::Interrupted(format!("{error}; trying again")))
                }
                Err(error) => Err(error),
            }
        }
        .boxed()
    }
}

impl PollTrigger {
    /// Starts a poll at once, or as soon as the source is awaited; after a failed poll the delay is kept. Early polls
    /// are a second apart.
    pub fn trigger(&self) {
        self.0.notify_one();
    }
}

impl<T> Latest<T> {
    /// Returns the latest value; none before the first poll.
    pub fn get(&self) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(value));
    }
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }
}

impl<T> Clone for Latest<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::error::ErrorKind;

    fn failure(kind: ErrorKind) -> Error {
        Error::access("no", kind)
    }

    /// Ten seconds take ten milliseconds.
    fn fast() -> Clock {
        Clock::scaled(1_000.0).unwrap()
    }

    fn poll_source(mut results: Vec<Result<u32, ErrorKind>>) -> PollSource<u32> {
        results.reverse();
        PollSource::new(&fast(), Duration::from_secs(10), move || {
            let result = results.pop().unwrap_or(Ok(0));
            async move { result.map_err(failure) }
        })
    }

    #[tokio::test]
    async fn a_poll_starts_at_once_and_repeats_at_its_interval() {
        let mut source = poll_source(vec![Ok(1), Ok(2)]);
        let view = source.view();
        assert!(view.get().is_none());
        assert_eq!(source.changed().await.unwrap(), SourceEvent::Changed);
        assert_eq!(view.get().as_deref(), Some(&1));
        let start = Instant::now();
        source.changed().await.unwrap();
        assert_eq!(view.get().as_deref(), Some(&2));
        assert!(start.elapsed() >= Duration::from_millis(8), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_trigger_brings_the_next_poll_forward_and_only_that_one() {
        let day = Duration::from_hours(24);
        let mut source = PollSource::new(&fast(), day, || async { Ok(()) });
        let trigger = source.poll_trigger();
        source.changed().await.unwrap();
        trigger.trigger();
        trigger.trigger();
        source.changed().await.unwrap();
        let brief = Duration::from_millis(20);
        assert!(tokio::time::timeout(brief, source.changed()).await.is_err());
        let later = tokio::time::sleep(brief).then(|()| async { trigger.trigger() });
        let (value, ()) = tokio::join!(source.changed(), later);
        value.unwrap();
    }

    #[tokio::test]
    async fn a_trigger_after_every_poll_does_not_poll_without_a_pause() {
        let polls = Arc::new(Mutex::new(0));
        let count = Arc::clone(&polls);
        let mut source = PollSource::new(&fast(), Duration::from_hours(24), move || {
            *count.lock().unwrap() += 1;
            async { Ok(()) }
        });
        let trigger = source.poll_trigger();
        let start = Instant::now();
        for _ in 0..100 {
            source.changed().await.unwrap();
            trigger.trigger();
        }
        // The first poll and the first early one come at once.
        assert!(start.elapsed() >= Duration::from_millis(98), "{:?}", start.elapsed());
        assert_eq!(*polls.lock().unwrap(), 100);
    }

    #[tokio::test]
    async fn a_poll_is_not_started_twice() {
        let started = Arc::new(Mutex::new(0));
        let count = Arc::clone(&started);
        let gate = Arc::new(tokio::sync::Notify::new());
        let held = Arc::clone(&gate);
        let mut source = PollSource::new(&fast(), Duration::from_secs(1), move || {
            *count.lock().unwrap() += 1;
            let held = Arc::clone(&held);
            async move {
                held.notified().await;
                Ok(())
            }
        });
        for _ in 0..4 {
            let brief = Duration::from_millis(5);
            let cut_short = tokio::time::timeout(brief, source.changed()).await;
            assert!(cut_short.is_err());
        }
        gate.notify_one();
        source.changed().await.unwrap();
        assert_eq!(*started.lock().unwrap(), 1);
    }

    #[tokio::test]
    async fn a_retryable_error_is_reported_and_outlasted() {
        let mut source =
            poll_source(vec![Ok(1), Err(ErrorKind::Transient), Err(ErrorKind::Busy), Ok(2)]);
        source.changed().await.unwrap();
        let interrupted = SourceEvent::Interrupted("no; trying again".into());
        assert_eq!(source.changed().await.unwrap(), interrupted);
        assert_eq!(source.changed().await.unwrap(), interrupted);
        assert_eq!(source.changed().await.unwrap(), SourceEvent::Changed);
    }

    #[tokio::test]
    async fn an_error_that_is_not_retryable_ends_a_poll_and_so_do_first_failures() {
        let mut denied = poll_source(vec![Ok(1), Err(ErrorKind::Denied)]);
        denied.changed().await.unwrap();
        assert_eq!(denied.changed().await.unwrap_err().kind(), ErrorKind::Denied);
        let mut unreachable = poll_source(vec![Err(ErrorKind::Unreachable); 9]);
        for _ in 1..MAX_FIRST_ATTEMPTS {
            unreachable.changed().await.unwrap();
        }
        let error = unreachable.changed().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
    }
}
