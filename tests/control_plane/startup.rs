//! Waiting until programs that were just started do their work.

use std::time::{Duration, Instant};

/// How long a cold machine with other work to do may take to bring a program up. Four seconds are usual.
const WAIT_TIMEOUT: Duration = Duration::from_mins(2);

/// How often it is asked whether a program is up.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Waits for a condition, but not for one that a program which has ended was to bring about.
///
/// # Errors
/// One of the programs does not live, in the words of `check_alive`; or the condition does not come, and one that is not
/// answered at all does not.
pub(crate) async fn wait_until(
    what: &str,
    mut check_alive: impl FnMut() -> Result<(), String>,
    mut condition: impl AsyncFnMut() -> bool,
) -> Result<(), String> {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    while Instant::now() < deadline {
        let condition = tokio::time::timeout_at(deadline.into(), condition()).await;
        // Asked last: who found its port taken ends, and whoever has the port may have answered in its place.
        check_alive()?;
        if let Ok(true) = condition {
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Err(format!("{what} did not come in {} s", WAIT_TIMEOUT.as_secs()))
}
