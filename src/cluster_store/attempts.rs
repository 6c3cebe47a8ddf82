//! The attempts of a call that is sent again while the API server does not answer.

use std::time::{Duration, Instant};

use clock::{Backoff, Delays};

/// For how long a call is sent again that the API server refuses and has allowed before: one that has just started does
/// not know the roles.
pub(super) const DENIED_PATIENCE: Duration = Duration::from_secs(10);
/// The pauses in between.
const BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(250), Duration::from_secs(5)).with_jitter(0.25);

/// The attempts so far.
pub(super) struct Attempts {
    started: Instant,
    delays: Delays,
    count: u32,
}

impl Attempts {
    /// Begins with the first one.
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), delays: BACKOFF.delays(), count: 1 }
    }

    /// Whether the call was sent before, too.
    pub(super) fn has_repeated(&self) -> bool {
        self.count > 1
    }

    /// Whether there is another attempt, for a failure that is borne for this long.
    pub(super) fn are_left(&self, patience: Duration) -> bool {
        self.started.elapsed() < patience
    }

    /// Waits before it.
    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.delays.next_delay()).await;
        self.count += 1;
    }
}
