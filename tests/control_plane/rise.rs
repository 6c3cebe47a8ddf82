//! Waiting until programs that were just started do their work.

use std::time::{Duration, Instant};

/// How long a cold machine with other work to do may take to bring a program up. Four seconds are usual.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is asked whether a program is up.
const GLANCE: Duration = Duration::from_millis(50);

/// Waits for a condition, but not for one that a program which has ended was to bring about.
///
/// # Errors
/// One of the programs does not live, in the words of `live`; or the condition does not come, and one that is not
/// answered at all does not.
pub(crate) async fn until(
    what: &str,
    mut live: impl FnMut() -> Result<(), String>,
    mut holds: impl AsyncFnMut() -> bool,
) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let holds = tokio::time::timeout_at(deadline.into(), holds()).await;
        // Asked last: who found its port taken ends, and whoever has the port may have answered in its place.
        live()?;
        if let Ok(true) = holds {
            return Ok(());
        }
        tokio::time::sleep(GLANCE).await;
    }
    Err(format!("{what} did not come in {} s", PATIENCE.as_secs()))
}
