//! Reports of what an action is doing, for any listener. A report that was made before is made again at growing
//! intervals only, so that a wait of an hour has a dozen lines and not a thousand.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clock::Backoff;
use tokio::time::Instant;

/// No reader follows a line that changes more often.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The intervals between equal reports in a row. A longer silence at the beginning of a wait suggests a program that
/// hangs; who has read the same for an hour knows it.
const REPEAT_INTERVALS: Backoff = Backoff::new(Duration::from_secs(30), Duration::from_secs(300));
/// The intervals between equal reports with others between them, as when a wait alternates between two causes.
const RETURN_INTERVALS: Backoff = Backoff::new(MIN_INTERVAL, Duration::from_secs(300));
/// A report that has not been made for this long is news.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// A report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgressEvent {
    /// Reports the condition that is waited for now; replaces the report before.
    Waiting {
        /// The missing condition.
        message: String,
        /// How long it has been missing so far; none in the first report.
        so_far: Option<Duration>,
    },
    /// Something that happened; stays in the log.
    Message(String),
}

/// A sender of reports. Clones send to the same listener, and share what was reported before.
#[derive(Clone)]
pub struct Progress {
    shared: Arc<ProgressShared>,
}

struct ProgressShared {
    listener: Box<dyn Fn(ProgressEvent) + Send + Sync>,
    history: Mutex<History>,
}

#[derive(Default)]
struct History {
    waits: HashMap<String, Reported>,
    messages: HashMap<String, Reported>,
    last_wait: Option<(String, Instant)>,
    /// The condition of the latest call, whether it was passed on or not, and since when it has been the same.
    current_wait: Option<(String, Instant)>,
    waiting_for: Option<String>,
}

/// A report that was made before.
struct Reported {
    last: Instant,
    /// How often it was made again with no other between.
    repetitions: u32,
    /// How often it was made again after another.
    returns: u32,
}

impl Progress {
    /// Returns a sender to `listener`, which gets the reports in the order of the calls. The listener must be quick and
    /// must not call back.
    pub fn new(listener: impl Fn(ProgressEvent) + Send + Sync + 'static) -> Self {
        Self {
            shared: Arc::new(ProgressShared {
                listener: Box::new(listener),
                history: Mutex::default(),
            }),
        }
    }

    /// Returns a sender without a listener.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Reports what is being waited for. It may be called at any rate: a changed text is passed on at most once per
    /// second, and a text that was passed on before at growing intervals, with the time so far.
    pub fn waiting(&self, text: &str) {
        self.waiting_at(Instant::now(), text);
    }

    /// Reports what happened. A text that was reported before is passed on at growing intervals.
    pub fn report(&self, text: &str) {
        self.report_at(Instant::now(), text);
    }

    /// Returns the condition of the latest call of [`waiting`](Self::waiting) since the last
    /// [`begin_operation`](Self::begin_operation).
    pub fn waiting_for(&self) -> Option<String> {
        self.history(|history| history.waiting_for.clone())
    }

    /// Notes that another operation begins, which waits for nothing yet. What was reported before stays reported.
    pub fn begin_operation(&self) {
        self.history(|history| history.waiting_for = None);
    }

    fn waiting_at(&self, now: Instant, text: &str) {
        if let Some(so_far) = self.history(|history| history.wait_is_due(now, text)) {
            let so_far = (!so_far.is_zero()).then_some(so_far);
            (self.shared.listener)(ProgressEvent::Waiting { message: text.to_owned(), so_far });
        }
    }

    fn report_at(&self, now: Instant, text: &str) {
        if self.history(|history| history.message_is_due(now, text)) {
            (self.shared.listener)(ProgressEvent::Message(text.to_owned()));
        }
    }

    fn history<T>(&self, use_history: impl FnOnce(&mut History) -> T) -> T {
        use_history(&mut self.shared.history.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl History {
    /// Returns the time so far of a wait that is to be reported now, which is zero in a first report; none where it is
    /// not to be reported.
    fn wait_is_due(&mut self, now: Instant, text: &str) -> Option<Duration> {
        let since = match &self.current_wait {
            Some((current, since)) if current == text => *since,
            _ => now,
        };
        self.current_wait = Some((text.to_owned(), since));
        self.waiting_for = Some(text.to_owned());
        let is_repetition = self.last_wait.as_ref().is_some_and(|(last, _)| last == text);
        let is_too_soon = self
            .last_wait
            .as_ref()
            .is_some_and(|(_, at)| now.saturating_duration_since(*at) < MIN_INTERVAL);
        if is_too_soon || !is_due(&mut self.waits, is_repetition, now, text) {
            return None;
        }
        self.last_wait = Some((text.to_owned(), now));
        Some(if is_repetition { now.saturating_duration_since(since) } else { Duration::ZERO })
    }

    fn message_is_due(&mut self, now: Instant, text: &str) -> bool {
        is_due(&mut self.messages, true, now, text)
    }
}

/// Returns whether a text is to be reported now, and then notes that it was.
fn is_due(
    reported: &mut HashMap<String, Reported>,
    is_repetition: bool,
    now: Instant,
    text: &str,
) -> bool {
    reported.retain(|_, earlier| now.saturating_duration_since(earlier.last) < FORGET_AFTER);
    let Some(earlier) = reported.get_mut(text) else {
        reported.insert(text.to_owned(), Reported { last: now, repetitions: 0, returns: 0 });
        return true;
    };
    let (intervals, times) = if is_repetition {
        (REPEAT_INTERVALS, &mut earlier.repetitions)
    } else {
        (RETURN_INTERVALS, &mut earlier.returns)
    };
    let is_due = now.saturating_duration_since(earlier.last) >= intervals.delay(*times);
    if is_due {
        *times = times.saturating_add(1);
        earlier.last = now;
    }
    is_due
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording() -> (Progress, Arc<Mutex<Vec<ProgressEvent>>>) {
        let events = Arc::new(Mutex::new(Vec::new()));
        let recorder = Arc::clone(&events);
        (Progress::new(move |event| recorder.lock().unwrap().push(event)), events)
    }

    fn waiting(text: &str, so_far: Option<u64>) -> ProgressEvent {
        ProgressEvent::Waiting { message: text.into(), so_far: so_far.map(Duration::from_secs) }
    }

    #[test]
    fn waiting_is_reported_at_a_limited_rate() {
        let (progress, events) = recording();
        let start = Instant::now();
        for (millis, text) in [
            (0, "a"),
            (100, "b"),    // too soon
            (1_000, "b"),  // a second later
            (1_900, "b"),  // the same
            (30_900, "b"), // the same, not yet half a minute
            (31_100, "b"), // half a minute later
        ] {
            progress.waiting_at(start + Duration::from_millis(millis), text);
        }
        progress.report("c");
        assert_eq!(
            *events.lock().unwrap(),
            [
                waiting("a", None),
                waiting("b", None),
                waiting("b", Some(31)),
                ProgressEvent::Message("c".into())
            ]
        );
    }

    #[test]
    fn an_equal_wait_is_reported_at_growing_intervals_with_the_time_so_far() {
        let (progress, events) = recording();
        let start = Instant::now();
        for second in 0..=1_600 {
            progress.waiting_at(start + Duration::from_secs(second), "a");
        }
        let repeated = [30, 90, 210, 450, 750, 1_050, 1_350].map(|s| waiting("a", Some(s)));
        let mut events = events.lock().unwrap();
        assert_eq!(events.remove(0), waiting("a", None));
        assert_eq!(*events, repeated);
    }

    #[test]
    fn two_waits_that_alternate_are_reported_at_growing_intervals() {
        let (progress, events) = recording();
        let start = Instant::now();
        for second in 0..3_600 {
            let text = if second % 2 == 0 { "a" } else { "b" };
            progress.waiting_at(start + Duration::from_secs(second), text);
        }
        let count = events.lock().unwrap().len();
        assert!((10..60).contains(&count), "{count}");
    }

    #[test]
    fn a_wait_that_comes_back_after_a_long_time_is_news() {
        let (progress, events) = recording();
        let start = Instant::now();
        for (second, text) in [(0, "a"), (30, "a"), (31, "b"), (900, "a"), (930, "a")] {
            progress.waiting_at(start + Duration::from_secs(second), text);
        }
        let expected = [
            waiting("a", None),
            waiting("a", Some(30)),
            waiting("b", None),
            waiting("a", None),
            waiting("a", Some(30)),
        ];
        assert_eq!(*events.lock().unwrap(), expected);
    }

    #[test]
    fn an_equal_message_is_reported_at_growing_intervals() {
        let (progress, events) = recording();
        let start = Instant::now();
        for second in 0..1_000 {
            progress.report_at(start + Duration::from_secs(second), "no answer");
        }
        progress.report_at(start, "another");
        assert_eq!(events.lock().unwrap().len(), 7, "0, 30, 90, 210, 450 and 750, and another");
    }

    #[test]
    fn an_operation_waits_for_nothing_until_it_says_so() {
        let (progress, events) = recording();
        progress.waiting("a");
        assert_eq!(progress.waiting_for().as_deref(), Some("a"));
        progress.begin_operation();
        assert_eq!(progress.waiting_for(), None);
        progress.waiting("a");
        assert_eq!(progress.waiting_for().as_deref(), Some("a"), "also where it is not reported");
        assert_eq!(events.lock().unwrap().len(), 1);
    }
}
