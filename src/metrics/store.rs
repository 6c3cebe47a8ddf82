//! A store whose appends are measured, and whose failures are counted.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::{Metrics, labels::Store};
use crate::journal::{
    HeadEntry, HeadQuery, Notified, PostedAnswer, RecordedEvent, RunHead, RunId, RunStore,
    SharedStore, StoreError, StoreLocation,
};

/// A store that is otherwise another one.
pub struct MeasuredStore {
    store: Arc<dyn RunStore>,
    metrics: Metrics,
    labels: Store,
}

impl MeasuredStore {
    /// Returns `store`, measured. `kind` is its label: `directory`, `cluster` or `memory`.
    pub fn new(store: Arc<dyn RunStore>, kind: &'static str, metrics: Metrics) -> Self {
        let labels = Store { store: kind };
        // From the beginning, so that the first failure is a difference from zero.
        drop(metrics.families().journal_errors.get_or_create(&labels));
        Self { store, metrics, labels }
    }

    /// Counts an error of the medium. That there is no such run, that another process was first, or that a journal is
    /// of another version, is not one.
    fn count<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let is_failure = match &result {
            Err(
                StoreError::Unavailable { .. }
                | StoreError::Cluster { .. }
                | StoreError::Corrupt { .. }
                | StoreError::Locked { .. },
            ) => true,
            Ok(_)
            | Err(
                StoreError::NotFound { .. }
                | StoreError::Conflict { .. }
                | StoreError::TooNew { .. },
            ) => false,
        };
        if is_failure {
            self.metrics.families().journal_errors.get_or_create(&self.labels).inc();
        }
        result
    }
}

#[async_trait]
impl RunStore for MeasuredStore {
    async fn append(
        &self,
        run: &RunId,
        expected: u64,
        events: &[RecordedEvent],
        sync: bool,
    ) -> Result<(), StoreError> {
        let started = Instant::now();
        let result = self.store.append(run, expected, events, sync).await;
        let duration = self.metrics.families().append_duration.get_or_create_owned(&self.labels);
        duration.observe(started.elapsed().as_secs_f64());
        self.count(result)
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<RecordedEvent>, StoreError> {
        self.count(self.store.read(run, from).await)
    }

    async fn heads(&self, query: HeadQuery) -> Result<Vec<HeadEntry>, StoreError> {
        self.count(self.store.heads(query).await)
    }

    async fn head(&self, run: &RunId) -> Result<RunHead, StoreError> {
        self.count(self.store.head(run).await)
    }

    fn watch(&self) -> broadcast::Receiver<RunHead> {
        self.store.watch()
    }

    async fn is_live(&self, run: &RunId) -> bool {
        self.store.is_live(run).await
    }

    async fn post_answer(&self, run: &RunId, answer: &PostedAnswer) -> Result<(), StoreError> {
        self.count(self.store.post_answer(run, answer).await)
    }

    async fn answers(&self, run: &RunId) -> Result<Vec<PostedAnswer>, StoreError> {
        self.count(self.store.answers(run).await)
    }

    async fn remove_answer(&self, run: &RunId, id: &str) -> Result<(), StoreError> {
        self.count(self.store.remove_answer(run, id).await)
    }

    async fn notified(&self, run: &RunId) -> Result<Notified, StoreError> {
        self.count(self.store.notified(run).await)
    }

    async fn set_notified(&self, run: &RunId, sink: &str, next: u64) -> Result<(), StoreError> {
        self.count(self.store.set_notified(run, sink, next).await)
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.count(self.store.check_writable().await)
    }

    fn location(&self) -> StoreLocation {
        self.store.location()
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        self.store.shared()
    }
}
