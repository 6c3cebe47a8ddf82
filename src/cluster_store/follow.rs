//! Following objects for as long as it takes: a watch that the API server ends for good begins again.

use std::time::Duration;

use clock::{Backoff, Clock, Pace};

use crate::platform::{
    kubernetes::{ObjectWatch, RunbookRun},
    wait::{SourceEvent, WaitSource as _},
};

/// The pauses between watches that the API server refuses.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// Calls `on_change` with the runs after each change, and with none when what is known of them may be old, until it
/// returns a value. `problem` says in the log what is missing while they cannot be watched.
pub(super) async fn follow<T>(
    watch: impl Fn() -> ObjectWatch<RunbookRun>,
    problem: &str,
    mut on_change: impl FnMut(Option<&ObjectWatch<RunbookRun>>) -> Option<T>,
) -> T {
    let mut pace = Pace::new(&Clock::real(), BACKOFF);
    loop {
        pace.next_turn().await;
        let mut runs = watch();
        let error = loop {
            let known = match runs.changed().await {
                Ok(SourceEvent::Changed) => Some(&runs),
                Ok(SourceEvent::Interrupted(why)) => {
                    tracing::debug!(why, "the watch of runs is interrupted");
                    None
                }
                Err(error) => break error,
            };
            if let Some(value) = on_change(known) {
                return value;
            }
        };
        if let Some(value) = on_change(None) {
            return value;
        }
        tracing::warn!(%error, "{problem}");
    }
}
