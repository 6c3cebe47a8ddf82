//! Time, injected. Everything that waits asks a [`Clock`], so that a simulation can run faster than a real cluster.
//! This crate knows nothing of the rest of the program.
//!
//! A scaled clock divides every *delay* (a back-off, a polling interval, a simulated boot) by its speed. A *deadline*
//! ends a wait for work that takes real time on a real machine, so deadlines are divided by at most
//! [`MAX_DEADLINE_SPEED`]. The divisor is the same for all deadlines: they keep their order and their proportion, and
//! the shortest of several deadlines is the one that ends a wait, at any speed. Its timestamps are those of the wall
//! clock.
//!
//! A virtual clock does not scale: it belongs to a runtime whose time does not pass while anything can run, and jumps
//! to the next timer when nothing can. Its timestamps follow that time. It suits what runs in one process without
//! sockets: half an hour takes as long as the work that is done in it.

mod backoff;
mod pace;

use std::time::Duration;

pub use backoff::{Backoff, Delays};
pub use pace::Pace;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The largest number by which deadlines are divided. A step with a timeout of fifteen minutes has 90 s at least, and
/// one that gives up after two minutes has 12 s, which is enough for a busy two-core machine.
pub const MAX_DEADLINE_SPEED: f64 = 10.0;

/// A clock whose delays and deadlines can be scaled, or whose time is that of a paused runtime.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clock {
    speed: f64,
    /// Where the timestamps come from, if not from the wall clock.
    start: Option<VirtualStart>,
}

/// A moment by both measures.
#[derive(Debug, Clone, Copy, PartialEq)]
struct VirtualStart {
    timestamp: Timestamp,
    instant: Instant,
}

/// The error for a speed that is out of range or not a number.
#[derive(Debug, thiserror::Error)]
#[error("speed must be a number from 0.001 to 100000, not {0}")]
pub struct InvalidSpeed(f64);

impl Clock {
    /// Returns a clock that does not scale.
    pub const fn real() -> Self {
        Self { speed: 1.0, start: None }
    }

    /// Returns a clock that shows `now` at this moment and then the time of tokio's timers. To be called in the runtime
    /// that [`virtual_runtime`] makes.
    pub fn virtual_from(now: Timestamp) -> Self {
        let start = VirtualStart { timestamp: now, instant: Instant::now() };
        Self { speed: 1.0, start: Some(start) }
    }

    /// Returns a clock that divides delays by `speed`: 60 turns a minute into a second.
    ///
    /// # Errors
    /// The speed is not in 0.001..=100000, or not a number.
    pub fn scaled(speed: f64) -> Result<Self, InvalidSpeed> {
        if (0.001..=100_000.0).contains(&speed) {
            Ok(Self { speed, start: None })
        } else {
            Err(InvalidSpeed(speed))
        }
    }

    /// Returns the number by which delays are divided.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Returns whether the time is virtual.
    pub fn is_virtual(&self) -> bool {
        self.start.is_some()
    }

    /// Returns the time: that of the wall clock, unless the clock is virtual.
    pub fn now(&self) -> Timestamp {
        let Some(start) = self.start else { return Timestamp::now() };
        let elapsed =
            SignedDuration::try_from(start.instant.elapsed()).unwrap_or(SignedDuration::MAX);
        start.timestamp.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
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

/// Returns a runtime of one thread for a [virtual](Clock::virtual_from) clock. Its time does not pass while a task can
/// run, and jumps to the next timer when none can. Tasks run in the order in which they became ready.
///
/// # Errors
/// The operating system refuses what a runtime needs.
pub fn virtual_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()
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
    fn virtual_time_jumps_over_what_nothing_happens_in() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        virtual_runtime().unwrap().block_on(async {
            let clock = Clock::virtual_from(start);
            assert_eq!(clock.now(), start);
            let began = std::time::Instant::now();
            clock.sleep(30 * 24 * 60 * MINUTE).await;
            assert_eq!(clock.now().to_string(), "2026-01-31T00:00:00Z");
            assert!(began.elapsed() < 24 * 60 * MINUTE);
            assert_eq!(clock.deadline(MINUTE), MINUTE);
        });
    }

    #[test]
    fn an_invalid_speed_is_rejected() {
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Clock::scaled(speed).is_err(), "{speed}");
        }
    }
}
