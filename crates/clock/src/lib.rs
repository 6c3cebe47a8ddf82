//! Time, injected. Everything that waits asks a [`Clock`], so that a simulation can run faster than a real cluster.
//! This crate knows nothing of the rest of the program.
//!
//! A scaled clock divides every *delay* (a back-off, a polling interval, a simulated boot) by its speed. A *deadline*
//! ends a wait for work that takes real time on a real machine, so deadlines are divided by at most
//! [`MAX_DEADLINE_SPEED`]. The divisor is the same for all deadlines: they keep their order and their proportion, and
//! the shortest of several deadlines is the one that ends a wait, at any speed. Timestamps are always those of the wall
//! clock.

mod backoff;
mod pace;

use std::time::Duration;

pub use backoff::{Backoff, Delays};
pub use pace::Pace;

use jiff::Timestamp;

/// The largest number by which deadlines are divided. A step with a timeout of fifteen minutes has 90 s at least, and
/// one that gives up after two minutes has 12 s, which is enough for a busy two-core machine.
pub const MAX_DEADLINE_SPEED: f64 = 10.0;

/// A clock whose delays and deadlines can be scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clock {
    speed: f64,
}

/// The error for a speed that is out of range or not a number.
#[derive(Debug, thiserror::Error)]
#[error("speed must be a number from 0.001 to 100000, not {0}")]
pub struct InvalidSpeed(f64);

impl Clock {
    /// Returns a clock that does not scale.
    pub const fn real() -> Self {
        Self { speed: 1.0 }
    }

    /// Returns a clock that divides delays by `speed`: 60 turns a minute into a second.
    ///
    /// # Errors
    /// The speed is not in 0.001..=100000, or not a number.
    pub fn scaled(speed: f64) -> Result<Self, InvalidSpeed> {
        if (0.001..=100_000.0).contains(&speed) {
            Ok(Self { speed })
        } else {
            Err(InvalidSpeed(speed))
        }
    }

    /// Returns the number by which delays are divided.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Returns the time of the wall clock.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Returns the real duration of a delay of `nominal`.
    pub fn delay(&self, nominal: Duration) -> Duration {
        nominal.div_f64(self.speed)
    }

    /// Returns the real duration of a deadline of `nominal`, which is divided by [`MAX_DEADLINE_SPEED`] at most.
    pub fn deadline(&self, nominal: Duration) -> Duration {
        nominal.div_f64(self.speed.min(MAX_DEADLINE_SPEED))
    }

    /// Waits for a delay of `nominal`.
    pub async fn sleep(&self, nominal: Duration) {
        tokio::time::sleep(self.delay(nominal)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const DAY_IN_MILLISECONDS: u64 = 24 * 60 * 60 * 1000;

    #[test]
    fn a_scaled_clock_divides_delays() {
        let clock = Clock::scaled(60.0).unwrap();
        assert_eq!(clock.delay(MINUTE), Duration::from_secs(1));
        assert_eq!(Clock::real().delay(MINUTE), MINUTE);
    }

    #[test]
    fn a_scaled_clock_divides_deadlines_by_a_limited_speed() {
        let deadline = |speed, nominal| Clock::scaled(speed).unwrap().deadline(nominal);
        assert_eq!(Clock::real().deadline(15 * MINUTE), 15 * MINUTE);
        assert_eq!(deadline(0.5, 15 * MINUTE), 30 * MINUTE);
        assert_eq!(deadline(5.0, 15 * MINUTE), 3 * MINUTE);
        for speed in [60.0, 600.0, 100_000.0] {
            assert_eq!(deadline(speed, 15 * MINUTE), Duration::from_secs(90));
            assert_eq!(deadline(speed, 2 * MINUTE), Duration::from_secs(12));
            assert_eq!(deadline(speed, Duration::from_secs(1)), Duration::from_millis(100));
        }
    }

    #[test]
    fn deadlines_keep_their_order_at_every_speed() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            let speed = 10_f64.powf(random.f64() * 8.0 - 3.0);
            let clock = Clock::scaled(speed.clamp(0.001, 100_000.0)).unwrap();
            let longer = random.u64(1..=DAY_IN_MILLISECONDS);
            let lengths = [longer - 1, random.u64(0..longer)];
            let longer = Duration::from_millis(longer);
            for shorter in lengths.map(Duration::from_millis) {
                assert!(
                    clock.deadline(shorter) < clock.deadline(longer),
                    "{shorter:?} < {longer:?} at {speed}"
                );
            }
            assert!(clock.deadline(longer) >= clock.delay(longer), "{longer:?} at {speed}");
        }
    }

    #[test]
    fn an_invalid_speed_is_rejected() {
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Clock::scaled(speed).is_err(), "{speed}");
        }
    }
}
