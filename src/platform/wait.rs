//! Waiting: look at what the sources show, say what is missing, look again as soon as one of them has changed, and
//! stop at once when waiting is hopeless. It owns no deadline: whoever drops the future ends the wait, and nothing
//! is left running.
//!
//! A wait is a set of sources ([`Watched`](super::kubernetes::Watched), [`Polled`](super::Polled)) and a pure look
//! at their views:
//!
//! ```ignore
//! let mut nodes = reader.kubernetes().await?.watch::<Node>(&Selection::all());
//! let seen = nodes.view();
//! wait::until(progress, &mut [&mut nodes], || ready(&seen.objects())).await?;
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, select_all, try_join_all};

use super::Progress;

/// A state can also change by the clock alone (see [`Patience`]), and the message should be repeated now and then.
/// A look reads memory only.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State<T> {
    /// It is so.
    Done(T),
    /// Not yet: what is missing.
    Pending(String),
    /// It never will be: why.
    Hopeless(String),
}

impl<T> State<T> {
    /// The same state with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> State<U> {
        match self {
            Self::Done(value) => State::Done(change(value)),
            Self::Pending(why) => State::Pending(why),
            Self::Hopeless(why) => State::Hopeless(why),
        }
    }

    /// Both, with the more serious of the two when they are not both done.
    pub fn and<U>(self, other: State<U>) -> State<(T, U)> {
        match (self, other) {
            (Self::Hopeless(why), _) | (_, State::Hopeless(why)) => State::Hopeless(why),
            (Self::Pending(one), State::Pending(other)) => {
                State::Pending(format!("{one}; {other}"))
            }
            (Self::Pending(why), _) | (_, State::Pending(why)) => State::Pending(why),
            (Self::Done(one), State::Done(other)) => State::Done((one, other)),
        }
    }
}

/// What a source reports when it returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// There is something new to look at.
    Changed,
    /// It could not look, and goes on trying.
    Trouble(String),
}

/// Something whose view changes.
pub trait Source: Send {
    /// Returns when the view has changed; the first time, as soon as there is one. Dropping the future loses
    /// nothing: the next call goes on from there.
    ///
    /// # Errors
    /// Looking is not possible and will not become possible.
    fn changed(&mut self) -> BoxFuture<'_, Result<Event, super::Error>>;
}

/// Why a wait ended without what it waited for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is waited for will not happen.
    #[error("{0}")]
    Hopeless(String),
    /// It cannot be seen whether it happens.
    #[error(transparent)]
    Platform(#[from] super::Error),
}

/// Looks until it is so. The first look is taken when every source has been read once.
///
/// # Errors
/// The look says that it is hopeless, or a source cannot be read.
pub async fn until<T>(
    progress: &Progress,
    sources: &mut [&mut dyn Source],
    look: impl FnMut() -> State<T>,
) -> Result<T, Error> {
    all_read(progress, sources).await?;
    until_again(progress, sources, look).await
}

/// The same with sources that an earlier wait has read, and that have been kept since. What changed between the two
/// waits is heard of as soon as this one begins.
///
/// # Errors
/// As [`until`].
pub async fn until_again<T>(
    progress: &Progress,
    sources: &mut [&mut dyn Source],
    mut look: impl FnMut() -> State<T>,
) -> Result<T, Error> {
    let mut told = BTreeSet::new();
    loop {
        match look() {
            State::Done(value) => return Ok(value),
            State::Hopeless(why) => return Err(Error::Hopeless(why)),
            State::Pending(why) => progress.waiting(&why),
        }
        tokio::select! {
            event = any_changed(sources) => match event? {
                Event::Changed => told.clear(),
                Event::Trouble(what) => say_once(progress, &mut told, what),
            },
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

async fn all_read(
    progress: &Progress,
    sources: &mut [&mut dyn Source],
) -> Result<(), super::Error> {
    let reads = sources.iter_mut().map(|source| async move {
        let mut told = BTreeSet::new();
        while let Event::Trouble(what) = source.changed().await? {
            say_once(progress, &mut told, what);
        }
        Ok::<_, super::Error>(())
    });
    try_join_all(reads).await.map(drop)
}

/// The first event of any source. The order is turned each time so that a lively source cannot hide the others.
async fn any_changed(sources: &mut [&mut dyn Source]) -> Result<Event, super::Error> {
    if sources.is_empty() {
        return std::future::pending().await;
    }
    let turn = fastrand::usize(..sources.len());
    let mut waiting: Vec<_> = sources.iter_mut().map(|source| source.changed()).collect();
    waiting.rotate_left(turn);
    select_all(waiting).map(|(event, ..)| event).await
}

/// Several sources in the same trouble take turns in telling it.
fn say_once(progress: &Progress, told: &mut BTreeSet<String>, what: String) {
    if told.insert(what.clone()) {
        progress.say(&what);
    }
}

/// Gives up on trouble only after it has lasted: a first `CrashLoopBackOff` or a shortage of capacity can heal.
#[derive(Debug)]
pub struct Patience {
    give_up_after: Duration,
    since: BTreeMap<String, Instant>,
}

impl Patience {
    /// Patience for real time `give_up_after`; scale it with [`Clock::deadline`](crate::clock::Clock::deadline).
    pub fn new(give_up_after: Duration) -> Self {
        Self { give_up_after, since: BTreeMap::new() }
    }

    /// All troubles of one look, each under a key of its own (a pod's UID with the reason). Returns the first that
    /// has lasted too long. A trouble that is not named again is over.
    pub fn lasting<K: Into<String>>(
        &mut self,
        now: Instant,
        troubles: impl IntoIterator<Item = (K, String)>,
    ) -> Option<String> {
        let mut still = BTreeMap::new();
        let mut verdict = None;
        for (key, what) in troubles {
            let key = key.into();
            let since = self.since.remove(&key).unwrap_or(now);
            if verdict.is_none() && self.is_over(since, now) {
                verdict = Some(what);
            }
            still.insert(key, since);
        }
        self.since = still;
        verdict
    }

    /// Turns a hopeless state into a pending one until it has been hopeless for long enough.
    pub fn still<T>(&mut self, now: Instant, state: State<T>) -> State<T> {
        const KEY: &str = "";
        match state {
            State::Hopeless(why) => match self.lasting(now, [(KEY, why.clone())]) {
                Some(why) => State::Hopeless(why),
                None => State::Pending(why),
            },
            other => {
                self.since.clear();
                other
            }
        }
    }

    fn is_over(&self, since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(since) >= self.give_up_after
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::platform::Note;

    /// A source that plays its events and then keeps still.
    struct Played {
        events: VecDeque<Event>,
        changes: Arc<Mutex<usize>>,
    }

    impl Played {
        fn new(events: impl IntoIterator<Item = Event>) -> (Self, Arc<Mutex<usize>>) {
            let changes = Arc::new(Mutex::new(0));
            let played =
                Self { events: events.into_iter().collect(), changes: Arc::clone(&changes) };
            (played, changes)
        }
    }

    impl Source for Played {
        fn changed(&mut self) -> BoxFuture<'_, Result<Event, crate::platform::Error>> {
            async {
                let Some(event) = self.events.pop_front() else {
                    return std::future::pending().await;
                };
                if event == Event::Changed {
                    *self.changes.lock().unwrap() += 1;
                }
                Ok(event)
            }
            .boxed()
        }
    }

    fn trouble(what: &str) -> Event {
        Event::Trouble(what.into())
    }

    #[tokio::test]
    async fn a_wait_looks_after_each_change_and_tells() {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&notes);
        let progress = Progress::new(move |note| heard.lock().unwrap().push(note));
        let (mut source, changes) = Played::new([
            trouble("no answer"),
            trouble("still none"),
            trouble("no answer"),
            Event::Changed,
            Event::Changed,
        ]);
        let seen = until(&progress, &mut [&mut source], || match *changes.lock().unwrap() {
            2 => State::Done("two"),
            n => State::Pending(format!("{n} of 2")),
        })
        .await
        .unwrap();
        assert_eq!(seen, "two");
        assert_eq!(
            *notes.lock().unwrap(),
            [
                Note::Said("no answer".into()),
                Note::Said("still none".into()),
                Note::Waiting("1 of 2".into())
            ]
        );
    }

    #[tokio::test]
    async fn the_first_look_waits_for_every_source() {
        let (mut one, first) = Played::new([Event::Changed]);
        let (mut other, second) = Played::new([trouble("slow"), Event::Changed]);
        until(&Progress::silent(), &mut [&mut one, &mut other], || {
            assert_eq!(*first.lock().unwrap() + *second.lock().unwrap(), 2);
            State::Done(())
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn time_alone_brings_another_look() {
        let mut looks = 0;
        let why = until::<()>(&Progress::silent(), &mut [], || {
            looks += 1;
            if looks < 3 {
                State::Pending("later".into())
            } else {
                State::Hopeless("too late".into())
            }
        })
        .await
        .unwrap_err();
        assert_eq!(why.to_string(), "too late");
    }

    #[test]
    fn the_more_serious_of_two_states_stands() {
        let done = || State::Done(1);
        let pending = |why: &str| State::<i32>::Pending(why.into());
        let hopeless = |why: &str| State::<i32>::Hopeless(why.into());
        assert_eq!(done().and(done()), State::Done((1, 1)));
        assert_eq!(pending("a").and(done()), State::Pending("a".into()));
        assert_eq!(pending("a").and(pending("b")), State::Pending("a; b".into()));
        assert_eq!(pending("a").and(hopeless("b")), State::Hopeless("b".into()));
        assert_eq!(hopeless("a").and(done()), State::Hopeless("a".into()));
    }

    #[test]
    fn trouble_must_last_before_it_is_hopeless() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let crash = || [("pod-1/CrashLoopBackOff", "crash".to_owned())];
        let mut patience = Patience::new(Duration::from_secs(120));
        assert_eq!(patience.lasting(at(0), crash()), None);
        assert_eq!(patience.lasting(at(119), crash()), None);
        assert_eq!(patience.lasting(at(120), crash()), Some("crash".into()));
        assert_eq!(patience.lasting::<String>(at(121), []), None);
        assert_eq!(patience.lasting(at(250), crash()), None, "it began anew");
    }

    #[test]
    fn one_trouble_ending_does_not_forgive_another() {
        let start = Instant::now();
        let mut patience = Patience::new(Duration::from_secs(10));
        let both = [("a", "first".to_owned()), ("b", "second".to_owned())];
        assert_eq!(patience.lasting(start, both), None);
        let later = start + Duration::from_secs(10);
        assert_eq!(patience.lasting(later, [("b", "second".to_owned())]), Some("second".into()));
    }

    #[test]
    fn a_hopeless_state_pends_while_there_is_patience() {
        let start = Instant::now();
        let mut patience = Patience::new(Duration::from_secs(10));
        let hopeless = || State::<()>::Hopeless("why".into());
        assert_eq!(patience.still(start, hopeless()), State::Pending("why".into()));
        let later = start + Duration::from_secs(10);
        assert_eq!(patience.still(later, hopeless()), hopeless());
        assert_eq!(patience.still(later, State::Done(())), State::Done(()));
        assert_eq!(patience.still(later, hopeless()), State::Pending("why".into()));
    }
}
