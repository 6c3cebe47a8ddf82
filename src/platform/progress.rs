//! Reports of what an action is doing, for any listener.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// No reader follows a line that changes more often.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// A longer silence in the log suggests a program that hangs.
const REPEAT_AFTER: Duration = Duration::from_secs(30);

/// A report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgressEvent {
    /// Reports the condition that is waited for now; replaces the report before.
    Waiting(String),
    /// Something that happened; stays in the log.
    Message(String),
}

/// A sender of reports. Clones send to the same listener.
#[derive(Clone)]
pub struct Progress {
    shared: Arc<ProgressShared>,
}

struct ProgressShared {
    listener: Box<dyn Fn(ProgressEvent) + Send + Sync>,
    waiting: Mutex<Option<(String, Instant)>>,
}

impl Progress {
    /// Returns a sender to `listener`, which gets the reports in the order of the calls. The listener must be quick and
    /// must not call back.
    pub fn new(listener: impl Fn(ProgressEvent) + Send + Sync + 'static) -> Self {
        Self {
            shared: Arc::new(ProgressShared {
                listener: Box::new(listener),
                waiting: Mutex::new(None),
            }),
        }
    }

    /// Returns a sender without a listener.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Reports what is being waited for. It may be called at any rate: a changed text is passed on at most once per
    /// second, the same text again only after half a minute.
    pub fn waiting(&self, text: &str) {
        self.waiting_at(Instant::now(), text);
    }

    /// Reports what happened.
    pub fn report(&self, text: &str) {
        (self.shared.listener)(ProgressEvent::Message(text.to_owned()));
    }

    fn waiting_at(&self, now: Instant, text: &str) {
        let mut last = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if is_due(last.as_ref(), now, text) {
            *last = Some((text.to_owned(), now));
            drop(last);
            (self.shared.listener)(ProgressEvent::Waiting(text.to_owned()));
        }
    }
}

fn is_due(last: Option<&(String, Instant)>, now: Instant, text: &str) -> bool {
    let Some((last_text, at)) = last else { return true };
    let elapsed = now.saturating_duration_since(*at);
    elapsed >= if last_text == text { REPEAT_AFTER } else { MIN_INTERVAL }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_reported_at_a_limited_rate() {
        let events = Arc::new(Mutex::new(Vec::new()));
        let recorder = Arc::clone(&events);
        let progress = Progress::new(move |event| recorder.lock().unwrap().push(event));
        let start = Instant::now();
        for (millis, text) in [
            (0, "a"),
            (100, "b"),    // too soon
            (1_000, "b"),  // a second later
            (1_900, "b"),  // the same
            (30_900, "b"), // the same, not yet half a minute
            (31_000, "b"), // half a minute later
        ] {
            progress.waiting_at(start + Duration::from_millis(millis), text);
        }
        progress.report("c");
        let recorder = events.lock().unwrap().clone();
        let waiting = |text: &str| ProgressEvent::Waiting(text.into());
        assert_eq!(
            recorder,
            [waiting("a"), waiting("b"), waiting("b"), ProgressEvent::Message("c".into())]
        );
    }
}
