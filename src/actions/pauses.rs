//! How often AWS is asked for something that it cannot be watched for.

use std::time::Duration;

/// EKS takes from seconds to minutes for a change. The first look comes soon, so that a quick one is not waited for,
/// and the looks then grow apart, because AWS throttles describing calls of one account together.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Pauses that grow from [`FIRST_LOOK`] to [`LONGEST_PAUSE`].
#[derive(Default)]
pub(super) struct Pauses(u32);

impl Pauses {
    pub(super) fn next(&mut self) -> Duration {
        let pause = FIRST_LOOK.saturating_mul(1 << self.0.min(16)).min(LONGEST_PAUSE);
        self.0 += 1;
        pause
    }
}
