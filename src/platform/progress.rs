//! How an action tells what it is doing while it does it. Knows nothing of who listens.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// No reader follows a line that changes more often.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// A log that says nothing for longer looks like a program that hangs.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// What is being waited for, as it stands; it replaces the note before it.
    Waiting(String),
    /// Something that happened; it stays in the log.
    Said(String),
}

/// A way to tell. Clones tell the same listener.
#[derive(Clone)]
pub struct Progress {
    told: Arc<Told>,
}

struct Told {
    listener: Box<dyn Fn(Note) + Send + Sync>,
    waiting: Mutex<Option<(String, Instant)>>,
}

impl Progress {
    /// Tells `listener` each note, in the order of the calls. The listener must be quick and must not call back.
    pub fn new(listener: impl Fn(Note) + Send + Sync + 'static) -> Self {
        Self { told: Arc::new(Told { listener: Box::new(listener), waiting: Mutex::new(None) }) }
    }

    /// Tells nobody.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Says what is being waited for. It may be called as often as one looks: a changed text is passed on at most
    /// once per second, the same text again only after half a minute.
    pub fn waiting(&self, text: &str) {
        self.waiting_at(Instant::now(), text);
    }

    /// Says what happened.
    pub fn say(&self, text: &str) {
        (self.told.listener)(Note::Said(text.to_owned()));
    }

    fn waiting_at(&self, now: Instant, text: &str) {
        let mut last = self.told.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if is_due(last.as_ref(), now, text) {
            *last = Some((text.to_owned(), now));
            drop(last);
            (self.told.listener)(Note::Waiting(text.to_owned()));
        }
    }
}

fn is_due(last: Option<&(String, Instant)>, now: Instant, text: &str) -> bool {
    let Some((said, at)) = last else { return true };
    let quiet = now.saturating_duration_since(*at);
    quiet >= if said == text { AGAIN_AFTER } else { AT_MOST_EVERY }
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
    fn waiting_is_said_at_a_sane_rate() {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&notes);
        let progress = Progress::new(move |note| heard.lock().unwrap().push(note));
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
        progress.say("c");
        let heard = notes.lock().unwrap().clone();
        let waiting = |text: &str| Note::Waiting(text.into());
        assert_eq!(heard, [waiting("a"), waiting("b"), waiting("b"), Note::Said("c".into())]);
    }
}
