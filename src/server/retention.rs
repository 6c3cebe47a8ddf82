//! The removal of old runs from a store to which several processes write, and which is no person's own.

use std::time::Duration;

use jiff::Timestamp;

use super::Service;
use crate::journal::{HeadQuery, Retention, RunId, SharedStore, StoreError};
use clock::{Backoff, Clock, Pace};

/// How often old runs are looked for.
const INTERVAL: Duration = Duration::from_secs(3600);

impl Service {
    /// Removes old runs by a rule, for as long as this is awaited. In a store that only one process writes to, a person
    /// does that.
    pub async fn remove_old_runs(&self, retention: Retention) {
        let Some(shared) = self.store().shared() else { return };
        // The processes of a service begin together.
        let mut pace = Pace::new(&Clock::real(), Backoff::new(INTERVAL, INTERVAL).with_jitter(0.5));
        loop {
            pace.next_turn().await;
            if let Err(error) = self.remove_by(shared, retention).await {
                let hint = error.hint();
                tracing::warn!(%error, hint, "old runs are not removed");
            }
        }
    }

    async fn remove_by(
        &self,
        shared: &dyn SharedStore,
        retention: Retention,
    ) -> Result<(), StoreError> {
        let heads = self.store().heads(HeadQuery::All).await?;
        let selected: Vec<RunId> =
            retention.select(heads, Timestamp::now()).into_iter().map(|head| head.run).collect();
        let (removed, result) = shared.remove_runs(&selected).await;
        if removed > 0 {
            tracing::info!(removed, "removed old runs");
        }
        result
    }
}
