//! How often AWS is asked for something that it cannot be watched for.

use std::time::Duration;

/// EKS takes from seconds to minutes for a change. The first look comes soon, so that a quick one is not waited for,
/// and the looks then grow apart, because AWS throttles describing calls of one account together.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const MAX_DELAY: Duration = Duration::from_secs(5);

/// Pauses that grow from [`FIRST_DELAY`] to [`MAX_DELAY`].
#[derive(Default)]
pub(super) struct PollBackoff(u32);

impl PollBackoff {
    pub(super) fn next_delay(&mut self) -> Duration {
        let delay = FIRST_DELAY.saturating_mul(1 << self.0.min(16)).min(MAX_DELAY);
        self.0 += 1;
        delay
    }
}
