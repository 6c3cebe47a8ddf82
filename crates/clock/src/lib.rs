//! Time, injected. Everything that waits asks a [`Clock`], so that a simulation can run faster than the world it
//! imitates. Knows nothing of the rest of the program.
//!
//! A scaled clock divides every *delay* (a back-off, a polling interval, a simulated boot) by its speed. It never
//! turns a slow machine into a failure: a *deadline* is divided too, but not below [`MIN_SCALED_DEADLINE`], and
//! a deadline that is shorter than that to begin with is kept as it is. Timestamps are always the wall clock's.

use std::time::Duration;

use jiff::Timestamp;

/// The shortest deadline that scaling may produce. A step that was given ten minutes and runs sixty times faster
/// would otherwise have ten seconds, which a busy two-core machine can use up by itself.
pub const MIN_SCALED_DEADLINE: Duration = Duration::from_secs(30);

/// The time that a run, or a simulation, lives in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clock {
    speed: f64,
}

/// A speed that is not a positive, finite number.
#[derive(Debug, thiserror::Error)]
#[error("a speed must be a number from 0.001 to 100000, not {0}")]
pub struct InvalidSpeed(f64);

impl Clock {
    /// The clock of the real world.
    pub const fn real() -> Self {
        Self { speed: 1.0 }
    }

    /// A clock that divides delays by `speed`: 60 turns a minute into a second.
    ///
    /// # Errors
    /// A speed outside 0.001..=100000, or not a number.
    pub fn scaled(speed: f64) -> Result<Self, InvalidSpeed> {
        if (0.001..=100_000.0).contains(&speed) {
            Ok(Self { speed })
        } else {
            Err(InvalidSpeed(speed))
        }
    }

    /// By how much delays are divided.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// How long a delay of `nominal` really takes.
    pub fn delay(&self, nominal: Duration) -> Duration {
        nominal.div_f64(self.speed)
    }

    /// How long a deadline of `nominal` really allows; see the module's words on slow machines.
    pub fn deadline(&self, nominal: Duration) -> Duration {
        self.delay(nominal).max(MIN_SCALED_DEADLINE.min(nominal))
    }

    /// Waits for a delay of `nominal`.
    pub async fn sleep(&self, nominal: Duration) {
        tokio::time::sleep(self.delay(nominal)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_scaled_clock_divides_delays() {
        let clock = Clock::scaled(60.0).unwrap();
        assert_eq!(clock.delay(MINUTE), Duration::from_secs(1));
        assert_eq!(Clock::real().delay(MINUTE), MINUTE);
    }

    #[test]
    fn a_scaled_deadline_is_never_short_because_of_the_scale() {
        let clock = Clock::scaled(60.0).unwrap();
        assert_eq!(clock.deadline(10 * MINUTE), MIN_SCALED_DEADLINE);
        assert_eq!(clock.deadline(60 * MINUTE), MINUTE);
        assert_eq!(clock.deadline(Duration::from_millis(50)), Duration::from_millis(50));
        assert_eq!(Clock::real().deadline(10 * MINUTE), 10 * MINUTE);
    }

    #[test]
    fn an_invalid_speed_is_refused() {
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Clock::scaled(speed).is_err(), "{speed}");
        }
    }
}
