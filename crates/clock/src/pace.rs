//! The rhythm of a loop that reads again until something has changed.

use std::time::Duration;

use crate::{Backoff, Clock, Delays};

/// The shortest pause, whatever the backoff says: no loop reads more often than ten times a second.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// A rhythm: the first turn of a loop comes at once, and each later one after a pause. Every loop that reads again what
/// another party may change takes its turns here, so that no loop reads without a pause.
#[derive(Debug)]
pub struct Pace {
    clock: Clock,
    delays: Delays,
    is_first: bool,
}

impl Pace {
    /// Returns a rhythm with these pauses, none of which is shorter than a tenth of a second.
    pub const fn new(clock: &Clock, backoff: Backoff) -> Self {
        Self { clock: *clock, delays: backoff.delays(), is_first: true }
    }

    /// Waits until the next turn: not at all before the first one.
    pub async fn next_turn(&mut self) {
        if std::mem::take(&mut self.is_first) {
            return;
        }
        self.clock.sleep(self.delays.next_delay().max(MIN_PAUSE)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Takes turns at a thousand times the speed, and returns how long they took at least, in nominal time.
    async fn nominal_duration_of_turns(backoff: Backoff, count: usize) -> Duration {
        let clock = Clock::scaled(1_000.0).unwrap();
        let mut pace = Pace::new(&clock, backoff);
        let start = Instant::now();
        for _ in 0..count {
            pace.next_turn().await;
        }
        start.elapsed() * 1_000
    }

    #[tokio::test]
    async fn later_turns_come_after_growing_pauses() {
        let took = nominal_duration_of_turns(Backoff::new(10 * SECOND, 30 * SECOND), 5).await;
        assert!(took >= 90 * SECOND, "10, 20, 30 and 30 seconds take longer than {took:?}");
    }

    #[tokio::test]
    async fn the_first_turn_comes_at_once() {
        let hour = Duration::from_hours(1);
        let mut pace = Pace::new(&Clock::real(), Backoff::new(hour, hour));
        pace.next_turn().await;
        let later = tokio::time::timeout(Duration::ZERO, pace.next_turn()).await;
        assert!(later.is_err());
    }

    #[tokio::test]
    async fn a_backoff_without_a_delay_has_a_pause() {
        let took = nominal_duration_of_turns(Backoff::new(Duration::ZERO, SECOND), 101).await;
        assert!(took >= 10 * SECOND, "{took:?}");
    }
}
