//! Exponential backoff with jitter.

use std::time::Duration;

/// Delays that double from a first one up to a longest one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    jitter: f64,
}

impl Backoff {
    /// Returns a backoff without jitter. A `first` delay that is longer than `max` is cut to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, jitter: 0.0 }
    }

    /// Returns the same backoff with a random share taken off every delay: at most `jitter`, which is from 0 to 1.
    /// Clients that failed at the same time then do not retry at the same time.
    #[must_use]
    pub const fn with_jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// Returns the delay that follows `previous` earlier delays.
    pub fn delay(&self, previous: u32) -> Duration {
        let factor = 2_u32.saturating_pow(previous);
        let delay = self.first.saturating_mul(factor).min(self.max);
        delay.mul_f64(1.0 - self.jitter * fastrand::f64())
    }

    /// Returns the delays one after the other.
    pub const fn delays(self) -> Delays {
        Delays { backoff: self, previous: 0 }
    }
}

/// The delays of a [`Backoff`], one after the other.
#[derive(Debug, Clone)]
pub struct Delays {
    backoff: Backoff,
    previous: u32,
}

impl Delays {
    /// Returns the next delay.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.backoff.delay(self.previous);
        self.previous = self.previous.saturating_add(1);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut delays = Backoff::new(SECOND, 5 * SECOND).delays();
        let seconds: Vec<u64> = (0..5).map(|_| delays.next_delay().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 5, 5]);
        assert_eq!(Backoff::new(SECOND, 5 * SECOND).delay(u32::MAX), 5 * SECOND);
        assert_eq!(Backoff::new(6 * SECOND, 5 * SECOND).delay(0), 5 * SECOND);
    }

    #[test]
    fn jitter_takes_off_at_most_its_share() {
        let backoff = Backoff::new(SECOND, 5 * SECOND).with_jitter(0.25);
        for _ in 0..100 {
            let delay = backoff.delay(1);
            assert!((1.5..=2.0).contains(&delay.as_secs_f64()), "{delay:?}");
        }
    }
}
