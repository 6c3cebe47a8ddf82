//! Those who see every event of every run that this process writes: the audit log, and what will count and notify.

use super::{RecordedEvent, Run};

/// Sees every event after the store has kept it. It must return at once and cannot fail: a run does not wait for those
/// who watch it.
pub trait RunObserver: Send + Sync {
    /// Takes one more event; `run` is the run with that event in it.
    fn on_event(&self, run: &Run, recorded: &RecordedEvent);
}
