//! Waiting: evaluates a condition, reports what is missing, evaluates again as soon as a source has changed, and stops
//! at once when the condition can no longer hold. A wait has no deadline of its own: dropping the future ends the wait,
//! and nothing is left running.
//!
//! A wait is a set of sources ([`ObjectWatch`](super::kubernetes::ObjectWatch), [`PollSource`](super::PollSource)) and
//! a pure function of their views:
//!
//! ```ignore
//! let mut nodes = reader.kubernetes().await?.watch::<Node>(&Selection::all());
//! let seen = nodes.view();
//! wait::until(progress, &mut [&mut nodes], || ready(&seen.objects())).await?;
//! ```
//!
//! What is read with one call and has no source of its own is waited for with [`poll`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, select_all, try_join_all};
use tokio::time::Instant;

use clock::{Backoff, Clock, Pace};

use super::Progress;

/// A state can also change by time alone (see [`GraceTimer`]), and the message is repeated from time to time. An
/// evaluation reads memory only.
const REEVALUATION_INTERVAL: Duration = Duration::from_millis(250);

/// How many times as long as an evaluation took there is none. A large cluster changes faster than all its objects can
/// be evaluated, and the changes in between are evaluated together.
const PAUSE_PER_EVALUATION: u32 = 4;

/// The longest time for which a change waits for its evaluation.
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// The state of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitState<T> {
    /// The condition holds.
    Ready(T),
    /// Not yet; says what is missing.
    Pending(String),
    /// The condition can no longer hold; says why.
    Failed(Failure),
}

/// Why a condition can no longer hold. `Display` is the message without the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub message: String,
    /// The remedy, where one is known.
    pub hint: Option<String>,
}

impl Failure {
    /// Returns the same failure with a remedy.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the same failure with another message.
    #[must_use]
    pub fn map_message(self, change: impl FnOnce(&str) -> String) -> Self {
        Self { message: change(&self.message), hint: self.hint }
    }
}

impl<T: Into<String>> From<T> for Failure {
    fn from(message: T) -> Self {
        Self { message: message.into(), hint: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<T> WaitState<T> {
    /// Returns the state of a condition that can no longer hold, for the reason that `message` says.
    pub fn failed(message: impl Into<Failure>) -> Self {
        Self::Failed(message.into())
    }

    /// Returns the same state with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> WaitState<U> {
        match self {
            Self::Ready(value) => WaitState::Ready(change(value)),
            Self::Pending(why) => WaitState::Pending(why),
            Self::Failed(why) => WaitState::Failed(why),
        }
    }

    /// Returns the same state with another text of what is missing.
    #[must_use]
    pub fn map_pending(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Pending(why) => Self::Pending(change(why)),
            Self::Ready(_) | Self::Failed(_) => self,
        }
    }

    /// Returns the state of both conditions: the more serious one, unless both are ready.
    pub fn and<U>(self, other: WaitState<U>) -> WaitState<(T, U)> {
        match (self, other) {
            (Self::Failed(why), _) | (_, WaitState::Failed(why)) => WaitState::Failed(why),
            (Self::Pending(one), WaitState::Pending(other)) => {
                WaitState::Pending(format!("{one}; {other}"))
            }
            (Self::Pending(why), _) | (_, WaitState::Pending(why)) => WaitState::Pending(why),
            (Self::Ready(one), WaitState::Ready(other)) => WaitState::Ready((one, other)),
        }
    }
}

/// The event that a source reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceEvent {
    /// The view has changed.
    Changed,
    /// A read failed, and is retried.
    Interrupted(String),
}

/// A source whose view changes.
pub trait WaitSource: Send {
    /// Returns when the view has changed; the first time, as soon as there is one. Dropping the future loses
    /// nothing: the next call goes on from there.
    ///
    /// # Errors
    /// The source cannot be read, and retries cannot help.
    fn changed(&mut self) -> BoxFuture<'_, Result<SourceEvent, super::Error>>;
}

/// The reason why a wait ended without success.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The condition can no longer hold.
    #[error("{0}")]
    ConditionFailed(Failure),
    /// A source cannot be read.
    #[error(transparent)]
    Platform(#[from] super::Error),
}

/// Waits until the condition holds. It is first evaluated when every source has been read once.
///
/// # Errors
/// The condition can no longer hold, or a source cannot be read.
pub async fn until<T>(
    progress: &Progress,
    sources: &mut [&mut dyn WaitSource],
    evaluate: impl FnMut() -> WaitState<T>,
) -> Result<T, Error> {
    read_all(progress, sources).await?;
    until_with_read_sources(progress, sources, evaluate).await
}

/// Waits like [`until`], with sources that an earlier wait has read. Changes between the two waits are seen as soon as
/// this one begins.
///
/// # Errors
/// As [`until`].
pub async fn until_with_read_sources<T>(
    progress: &Progress,
    sources: &mut [&mut dyn WaitSource],
    mut evaluate: impl FnMut() -> WaitState<T>,
) -> Result<T, Error> {
    let mut reported = BTreeSet::new();
    loop {
        let start = Instant::now();
        match evaluate() {
            WaitState::Ready(value) => return Ok(value),
            WaitState::Failed(why) => return Err(Error::ConditionFailed(why)),
            WaitState::Pending(why) => progress.waiting(&why),
        }
        let pause = (start.elapsed() * PAUSE_PER_EVALUATION).min(MAX_PAUSE);
        // A shorter sleep than a millisecond takes a millisecond.
        if pause >= Duration::from_millis(1)
            && collect_changes(progress, sources, &mut reported, pause).await?
        {
            continue;
        }
        tokio::select! {
            event = any_changed(sources) => note(event?, progress, &mut reported),
            () = tokio::time::sleep(REEVALUATION_INTERVAL) => {}
        }
    }
}

/// Takes every change that comes within a time, and returns whether there was one. A connection hands over one event of
/// a watch at a time: who does not ask for the next one gets no burst, but an event after each pause.
async fn collect_changes(
    progress: &Progress,
    sources: &mut [&mut dyn WaitSource],
    reported: &mut BTreeSet<String>,
    time: Duration,
) -> Result<bool, Error> {
    let mut end = std::pin::pin!(tokio::time::sleep(time));
    let mut has_changed = false;
    loop {
        tokio::select! {
            biased;
            () = &mut end => return Ok(has_changed),
            event = any_changed(sources) => {
                note(event?, progress, reported);
                has_changed = true;
            }
        }
    }
}

/// Reports an interruption once between two changes.
fn note(event: SourceEvent, progress: &Progress, reported: &mut BTreeSet<String>) {
    match event {
        SourceEvent::Changed => reported.clear(),
        SourceEvent::Interrupted(what) => report_once(progress, reported, what),
    }
}

/// Reads at once, and again after each pause of the backoff, until the condition holds.
///
/// # Errors
/// The condition can no longer hold, or a read failed.
pub async fn poll<T, E, F>(
    progress: &Progress,
    clock: &Clock,
    backoff: Backoff,
    mut read: impl FnMut() -> F,
) -> Result<T, E>
where
    E: From<Error>,
    F: Future<Output = Result<WaitState<T>, E>>,
{
    let mut pace = Pace::new(clock, backoff);
    loop {
        pace.next_turn().await;
        match read().await? {
            WaitState::Ready(value) => return Ok(value),
            WaitState::Failed(why) => return Err(Error::ConditionFailed(why).into()),
            WaitState::Pending(why) => progress.waiting(&why),
        }
    }
}

async fn read_all(
    progress: &Progress,
    sources: &mut [&mut dyn WaitSource],
) -> Result<(), super::Error> {
    let reads = sources.iter_mut().map(|source| async move {
        let mut reported = BTreeSet::new();
        while let SourceEvent::Interrupted(what) = source.changed().await? {
            report_once(progress, &mut reported, what);
        }
        Ok::<_, super::Error>(())
    });
    try_join_all(reads).await.map(drop)
}

/// Returns the first event of any source. The order is rotated each time so that a busy source cannot starve the
/// others.
async fn any_changed(sources: &mut [&mut dyn WaitSource]) -> Result<SourceEvent, super::Error> {
    if sources.is_empty() {
        return std::future::pending().await;
    }
    let turn = fastrand::usize(..sources.len());
    let mut waiting: Vec<_> = sources.iter_mut().map(|source| source.changed()).collect();
    waiting.rotate_left(turn);
    select_all(waiting).map(|(event, ..)| event).await
}

/// Reports a problem once, also when several sources have the same one.
fn report_once(progress: &Progress, reported: &mut BTreeSet<String>, what: String) {
    if reported.insert(what.clone()) {
        progress.report(&what);
    }
}

/// A timer that fails a wait only after a problem has lasted: a first `CrashLoopBackOff` or a lack of capacity can
/// resolve itself.
#[derive(Debug)]
pub struct GraceTimer {
    give_up_after: Duration,
    since: BTreeMap<String, Instant>,
}

impl GraceTimer {
    /// Returns a timer with this real duration; scale it with [`Clock::deadline`](clock::Clock::deadline).
    pub fn new(give_up_after: Duration) -> Self {
        Self { give_up_after, since: BTreeMap::new() }
    }

    /// Takes all problems of one evaluation, each with its own key (such as a pod's UID), and returns the first that
    /// has lasted too long. A problem that is not named again is over.
    pub fn expired<K: Into<String>>(
        &mut self,
        now: Instant,
        problems: impl IntoIterator<Item = (K, String)>,
    ) -> Option<String> {
        let mut ongoing = BTreeMap::new();
        let mut overdue = None;
        for (key, what) in problems {
            let key = key.into();
            let since = self.since.remove(&key).unwrap_or(now);
            if overdue.is_none() && self.has_expired(since, now) {
                overdue = Some(what);
            }
            ongoing.insert(key, since);
        }
        self.since = ongoing;
        overdue
    }

    /// Turns a failed state into a pending one until it has been failed for long enough.
    pub fn tolerate<T>(&mut self, now: Instant, state: WaitState<T>) -> WaitState<T> {
        const KEY: &str = "";
        match state {
            WaitState::Failed(failure) => match self.expired(now, [(KEY, failure.message.clone())])
            {
                Some(_) => WaitState::Failed(failure),
                None => WaitState::Pending(failure.message),
            },
            other => {
                self.since.clear();
                other
            }
        }
    }

    fn has_expired(&self, since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(since) >= self.give_up_after
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};
    use std::task::Poll;

    use super::*;
    use crate::platform::ProgressEvent;

    /// A source that plays its events and then keeps still.
    struct ScriptedSource {
        events: VecDeque<SourceEvent>,
        changes: Arc<Mutex<usize>>,
    }

    impl ScriptedSource {
        fn new(events: impl IntoIterator<Item = SourceEvent>) -> (Self, Arc<Mutex<usize>>) {
            let changes = Arc::new(Mutex::new(0));
            let source =
                Self { events: events.into_iter().collect(), changes: Arc::clone(&changes) };
            (source, changes)
        }
    }

    impl WaitSource for ScriptedSource {
        fn changed(&mut self) -> BoxFuture<'_, Result<SourceEvent, crate::platform::Error>> {
            async {
                let Some(event) = self.events.pop_front() else {
                    return std::future::pending().await;
                };
                if event == SourceEvent::Changed {
                    *self.changes.lock().unwrap() += 1;
                }
                Ok(event)
            }
            .boxed()
        }
    }

    /// A source that has its next change only when it was asked twice, as a connection that reads it meanwhile.
    struct Connection {
        left: usize,
        is_read: bool,
    }

    impl WaitSource for Connection {
        fn changed(&mut self) -> BoxFuture<'_, Result<SourceEvent, crate::platform::Error>> {
            std::future::poll_fn(|context| {
                self.is_read = !self.is_read;
                match self.left {
                    0 => Poll::Pending,
                    _ if self.is_read => {
                        context.waker().wake_by_ref();
                        Poll::Pending
                    }
                    _ => {
                        self.left -= 1;
                        Poll::Ready(Ok(SourceEvent::Changed))
                    }
                }
            })
            .boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_changes_is_taken_in_one_pause() {
        let mut source = Connection { left: 1_000, is_read: false };
        let mut reported = BTreeSet::new();
        let mut collect = async |source: &mut Connection| {
            collect_changes(&Progress::silent(), &mut [source], &mut reported, MAX_PAUSE).await
        };
        assert!(collect(&mut source).await.unwrap());
        assert_eq!(source.left, 0);
        assert!(!collect(&mut source).await.unwrap(), "nothing has changed since");
    }

    fn interrupted(what: &str) -> SourceEvent {
        SourceEvent::Interrupted(what.into())
    }

    #[tokio::test]
    async fn a_wait_evaluates_after_each_change_and_reports() {
        let events = Arc::new(Mutex::new(Vec::new()));
        let recorder = Arc::clone(&events);
        let progress = Progress::new(move |event| recorder.lock().unwrap().push(event));
        let (mut source, changes) = ScriptedSource::new([
            interrupted("no answer"),
            interrupted("still none"),
            interrupted("no answer"),
            SourceEvent::Changed,
            SourceEvent::Changed,
        ]);
        let seen = until(&progress, &mut [&mut source], || match *changes.lock().unwrap() {
            2 => WaitState::Ready("two"),
            n => WaitState::Pending(format!("{n} of 2")),
        })
        .await
        .unwrap();
        assert_eq!(seen, "two");
        assert_eq!(
            *events.lock().unwrap(),
            [
                ProgressEvent::Message("no answer".into()),
                ProgressEvent::Message("still none".into()),
                ProgressEvent::Waiting { message: "1 of 2".into(), so_far: None }
            ]
        );
    }

    #[tokio::test]
    async fn the_first_evaluation_waits_for_every_source() {
        let (mut one, first) = ScriptedSource::new([SourceEvent::Changed]);
        let (mut other, second) = ScriptedSource::new([interrupted("slow"), SourceEvent::Changed]);
        until(&Progress::silent(), &mut [&mut one, &mut other], || {
            assert_eq!(*first.lock().unwrap() + *second.lock().unwrap(), 2);
            WaitState::Ready(())
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn time_alone_brings_another_evaluation() {
        let mut evaluations = 0;
        let why = until::<()>(&Progress::silent(), &mut [], || {
            evaluations += 1;
            if evaluations < 3 {
                WaitState::Pending("later".into())
            } else {
                WaitState::failed("too late")
            }
        })
        .await
        .unwrap_err();
        assert_eq!(why.to_string(), "too late");
    }

    #[tokio::test]
    async fn a_poll_reads_at_intervals_until_the_condition_holds() {
        let clock = Clock::scaled(1_000.0).unwrap();
        let interval = Duration::from_secs(10);
        let reads = std::cell::Cell::new(0);
        let start = Instant::now();
        let read = || async {
            reads.set(reads.get() + 1);
            Ok::<_, Error>(match reads.get() {
                4 => WaitState::Ready("four"),
                n => WaitState::Pending(format!("{n} of 4")),
            })
        };
        let backoff = Backoff::new(interval, interval);
        let found = poll(&Progress::silent(), &clock, backoff, read).await.unwrap();
        assert_eq!((found, reads.get()), ("four", 4));
        assert!(start.elapsed() >= clock.delay(3 * interval), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_poll_ends_when_the_condition_can_no_longer_hold() {
        let read = || async { Ok::<_, Error>(WaitState::<()>::failed("it is gone")) };
        let backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        let error = poll(&Progress::silent(), &Clock::real(), backoff, read).await.unwrap_err();
        assert_eq!(error.to_string(), "it is gone");
    }

    #[test]
    fn the_more_serious_of_two_states_is_kept() {
        let done = || WaitState::Ready(1);
        let pending = |why: &str| WaitState::<i32>::Pending(why.into());
        let failed = |why: &str| WaitState::<i32>::failed(why);
        assert_eq!(done().and(done()), WaitState::Ready((1, 1)));
        assert_eq!(pending("a").and(done()), WaitState::Pending("a".into()));
        assert_eq!(pending("a").and(pending("b")), WaitState::Pending("a; b".into()));
        assert_eq!(pending("a").and(failed("b")), WaitState::failed("b"));
        assert_eq!(failed("a").and(done()), WaitState::failed("a"));
    }

    #[test]
    fn a_problem_must_last_before_it_fails_a_wait() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let crash = || [("pod-1/CrashLoopBackOff", "crash".to_owned())];
        let mut grace = GraceTimer::new(Duration::from_secs(120));
        assert_eq!(grace.expired(at(0), crash()), None);
        assert_eq!(grace.expired(at(119), crash()), None);
        assert_eq!(grace.expired(at(120), crash()), Some("crash".into()));
        assert_eq!(grace.expired::<String>(at(121), []), None);
        assert_eq!(grace.expired(at(250), crash()), None, "it began anew");
    }

    #[test]
    fn one_problem_ending_does_not_reset_another() {
        let start = Instant::now();
        let mut grace = GraceTimer::new(Duration::from_secs(10));
        let both = [("a", "first".to_owned()), ("b", "second".to_owned())];
        assert_eq!(grace.expired(start, both), None);
        let later = start + Duration::from_secs(10);
        assert_eq!(grace.expired(later, [("b", "second".to_owned())]), Some("second".into()));
    }

    #[test]
    fn a_failed_state_is_pending_within_its_grace_period() {
        let start = Instant::now();
        let mut grace = GraceTimer::new(Duration::from_secs(10));
        let failed = || WaitState::<()>::failed("why");
        assert_eq!(grace.tolerate(start, failed()), WaitState::Pending("why".into()));
        let later = start + Duration::from_secs(10);
        assert_eq!(grace.tolerate(later, failed()), failed());
        assert_eq!(grace.tolerate(later, WaitState::Ready(())), WaitState::Ready(()));
        assert_eq!(grace.tolerate(later, failed()), WaitState::Pending("why".into()));
    }
}
