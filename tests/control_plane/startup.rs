//! Waiting until programs that were just started do their work.

use std::time::{Duration, Instant};

/// The time-out for a program to start, on a cold and loaded machine. Four seconds are usual.
const WAIT_TIMEOUT: Duration = Duration::from_mins(2);

/// The interval at which a program is checked for being ready.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Waits for a condition, and fails early when a program that it depends on has ended.
///
/// # Errors
/// A program has ended, as `check_alive` reports it, or the condition did not hold within the time-out. A check of the
/// condition that does not return counts as not holding.
pub(crate) async fn wait_until(
    what: &str,
    mut check_alive: impl FnMut() -> Result<(), String>,
    mut condition: impl AsyncFnMut() -> bool,
) -> Result<(), String> {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    while Instant::now() < deadline {
        let condition = tokio::time::timeout_at(deadline.into(), condition()).await;
        // Checked last: a program that finds its port taken ends, and the process that has the port may have answered.
        check_alive()?;
        if let Ok(true) = condition {
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Err(format!("{what} did not come in {} s", WAIT_TIMEOUT.as_secs()))
}
