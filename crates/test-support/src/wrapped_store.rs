//! A store with something around each append, for tests that disturb or measure a run.

use std::sync::Arc;

use async_trait::async_trait;
use rafay_relay_sop::journal::{
    HeadEntry, HeadQuery, Notified, PostedAnswer, RecordedEvent, RunHead, RunId, RunStore,
    StoreError, StoreLocation,
};
use tokio::sync::broadcast;

/// The work around an append.
#[async_trait]
pub trait AroundAppend: Send + Sync {
    /// Appends to `store`, or does not.
    ///
    /// # Errors
    /// As [`RunStore::append`].
    async fn append(
        &self,
        store: &dyn RunStore,
        run: &RunId,
        expected: u64,
        events: &[RecordedEvent],
        sync: bool,
    ) -> Result<(), StoreError>;
}

/// A store that is otherwise another one.
pub struct WrappedStore<A> {
    store: Arc<dyn RunStore>,
    /// The work around each append.
    pub around: A,
}

impl<A> WrappedStore<A> {
    pub fn around(store: Arc<dyn RunStore>, around: A) -> Self {
        Self { store, around }
    }
}

#[async_trait]
impl<A: AroundAppend> RunStore for WrappedStore<A> {
    async fn append(
        &self,
        run: &RunId,
        expected: u64,
        events: &[RecordedEvent],
        sync: bool,
    ) -> Result<(), StoreError> {
        self.around.append(self.store.as_ref(), run, expected, events, sync).await
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<RecordedEvent>, StoreError> {
        self.store.read(run, from).await
    }

    async fn heads(&self, query: HeadQuery) -> Result<Vec<HeadEntry>, StoreError> {
        self.store.heads(query).await
    }

    async fn head(&self, run: &RunId) -> Result<RunHead, StoreError> {
        self.store.head(run).await
    }

    fn watch(&self) -> broadcast::Receiver<RunHead> {
        self.store.watch()
    }

    async fn is_live(&self, run: &RunId) -> bool {
        self.store.is_live(run).await
    }

    async fn post_answer(&self, run: &RunId, answer: &PostedAnswer) -> Result<(), StoreError> {
        self.store.post_answer(run, answer).await
    }

    async fn answers(&self, run: &RunId) -> Result<Vec<PostedAnswer>, StoreError> {
        self.store.answers(run).await
    }

    async fn remove_answer(&self, run: &RunId, id: &str) -> Result<(), StoreError> {
        self.store.remove_answer(run, id).await
    }

    async fn notified(&self, run: &RunId) -> Result<Notified, StoreError> {
        self.store.notified(run).await
    }

    async fn set_notified(&self, run: &RunId, sink: &str, next: u64) -> Result<(), StoreError> {
        self.store.set_notified(run, sink, next).await
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.store.check_writable().await
    }

    fn location(&self) -> StoreLocation {
        self.store.location()
    }
}
