//! A view of something that can only be asked for again and again: AWS has no watch.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::Clock;

use super::Error;
use super::wait::{Event, Source};

/// A source that never answered is given up after so many looks; one that has answered before is asked for as long
/// as the wait lasts, since an outage ends.
pub(super) const FIRST_LOOKS: u32 = 5;
/// However long the trouble lasts, it is looked again this soon (unless the interval itself is longer).
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A look that is repeated at an interval for as long as it is awaited.
pub struct Polled<T> {
    look: Box<dyn FnMut() -> BoxFuture<'static, Result<T, Error>> + Send>,
    clock: Clock,
    interval: Duration,
    next: Next<T>,
    failures: u32,
    latest: Latest<T>,
    prompt: Prompt,
}

/// Lets a [`Polled`] look before its time. Clones prompt the same.
#[derive(Clone, Default)]
pub struct Prompt(Arc<Notify>);

/// What a [`Polled`] saw last. Clones see the same.
pub struct Latest<T>(Arc<Mutex<Option<Arc<T>>>>);

enum Next<T> {
    At(Instant),
    /// Kept here while the caller turns to another source, so that a look is never begun twice.
    Under(BoxFuture<'static, Result<T, Error>>),
}

impl<T: Send + Sync + 'static> Polled<T> {
    /// Looks at once, and again after each `interval` (divided by the clock's speed).
    pub fn new<F>(
        clock: &Clock,
        interval: Duration,
        mut look: impl FnMut() -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        Self {
            look: Box::new(move || look().boxed()),
            clock: *clock,
            interval,
            next: Next::At(Instant::now()),
            failures: 0,
            latest: Latest(Arc::new(Mutex::new(None))),
            prompt: Prompt::default(),
        }
    }

    /// What lets it look at once: for who hears elsewhere that what it saw is out of date.
    pub fn prompt(&self) -> Prompt {
        self.prompt.clone()
    }

    /// What it saw last, readable while it looks again.
    pub fn view(&self) -> Latest<T> {
        self.latest.clone()
    }

    async fn next(&mut self) -> Result<T, Error> {
        loop {
            match &mut self.next {
                Next::At(time) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(*time) => {}
                        // After a failure the pause is kept: somebody may be overburdened.
                        () = self.prompt.0.notified(), if self.failures == 0 => {}
                    }
                    self.next = Next::Under((self.look)());
                }
                Next::Under(look) => {
                    let answer = look.await;
                    self.failures = match answer {
                        Ok(_) => 0,
                        Err(_) => self.failures.saturating_add(1),
                    };
                    self.next = Next::At(Instant::now() + self.clock.delay(self.pause()));
                    return answer;
                }
            }
        }
    }

    /// The interval, doubled with each failure in a row, with a little jitter against looking in step with others.
    fn pause(&self) -> Duration {
        let grown = self.interval * 2_u32.saturating_pow(self.failures.min(10));
        let pause = grown.min(LONGEST_PAUSE.max(self.interval));
        pause.mul_f64(0.9 + fastrand::f64() / 5.0)
    }

    fn may_go_on(&self, error: &Error) -> bool {
        let answered_before = self.latest.get().is_some();
        error.can_heal() && (answered_before || self.failures < FIRST_LOOKS)
    }
}

impl<T: Send + Sync + 'static> Source for Polled<T> {
    fn changed(&mut self) -> BoxFuture<'_, Result<Event, Error>> {
        async {
            match self.next().await {
                Ok(seen) => {
                    self.latest.set(seen);
                    Ok(Event::Changed)
                }
                Err(error) if self.may_go_on(&error) => {
                    Ok(Event::Trouble(format!("{error}; trying again")))
                }
                Err(error) => Err(error),
            }
        }
        .boxed()
    }
}

impl Prompt {
    /// Looks at once, or as soon as it is awaited; after a look that failed, at its time. Whoever calls this each time that he looks makes a loop of it.
    pub fn look_now(&self) {
        self.0.notify_one();
    }
}

impl<T> Latest<T> {
    /// What was seen last; nothing before the first look.
    pub fn get(&self) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, seen: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(seen));
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
    use crate::platform::error::Class;

    fn failure(class: Class) -> Error {
        Error::access("no", class)
    }

    /// Ten seconds take ten milliseconds.
    fn fast() -> Clock {
        Clock::scaled(1_000.0).unwrap()
    }

    fn polled(mut answers: Vec<Result<u32, Class>>) -> Polled<u32> {
        answers.reverse();
        Polled::new(&fast(), Duration::from_secs(10), move || {
            let answer = answers.pop().unwrap_or(Ok(0));
            async move { answer.map_err(failure) }
        })
    }

    #[tokio::test]
    async fn it_looks_at_once_and_then_at_its_interval() {
        let mut source = polled(vec![Ok(1), Ok(2)]);
        let view = source.view();
        assert!(view.get().is_none());
        assert_eq!(source.changed().await.unwrap(), Event::Changed);
        assert_eq!(view.get().as_deref(), Some(&1));
        let start = Instant::now();
        source.changed().await.unwrap();
        assert_eq!(view.get().as_deref(), Some(&2));
        assert!(start.elapsed() >= Duration::from_millis(8), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_prompt_brings_the_next_look_forward_and_only_that_one() {
        let hour = Duration::from_secs(3_600);
        let mut source = Polled::new(&Clock::real(), hour, || async { Ok(()) });
        let prompt = source.prompt();
        source.changed().await.unwrap();
        prompt.look_now();
        prompt.look_now();
        source.changed().await.unwrap();
        let brief = Duration::from_millis(20);
        assert!(tokio::time::timeout(brief, source.changed()).await.is_err());
        let later = tokio::time::sleep(brief).then(|()| async { prompt.look_now() });
        let (seen, ()) = tokio::join!(source.changed(), later);
        seen.unwrap();
    }

    #[tokio::test]
    async fn a_look_is_not_begun_twice() {
        let begun = Arc::new(Mutex::new(0));
        let count = Arc::clone(&begun);
        let gate = Arc::new(tokio::sync::Notify::new());
        let held = Arc::clone(&gate);
        let mut source = Polled::new(&fast(), Duration::from_secs(1), move || {
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
        assert_eq!(*begun.lock().unwrap(), 1);
    }

    #[tokio::test]
    async fn trouble_that_heals_is_told_and_outlasted() {
        let mut source = polled(vec![Ok(1), Err(Class::Transient), Err(Class::Busy), Ok(2)]);
        source.changed().await.unwrap();
        let trouble = Event::Trouble("no; trying again".into());
        assert_eq!(source.changed().await.unwrap(), trouble);
        assert_eq!(source.changed().await.unwrap(), trouble);
        assert_eq!(source.changed().await.unwrap(), Event::Changed);
    }

    #[tokio::test]
    async fn what_cannot_heal_ends_it_and_so_does_silence_from_the_start() {
        let mut denied = polled(vec![Ok(1), Err(Class::Denied)]);
        denied.changed().await.unwrap();
        assert_eq!(denied.changed().await.unwrap_err().class(), Class::Denied);
        let mut nobody = polled(vec![Err(Class::Unreachable); 9]);
        for _ in 1..FIRST_LOOKS {
            nobody.changed().await.unwrap();
        }
        let error = nobody.changed().await.unwrap_err();
        assert_eq!(error.class(), Class::Unreachable);
    }
}
