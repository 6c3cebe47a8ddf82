//! What is known of a run: its status, its summary, and whether a process writes to it.

use std::borrow::Borrow;

use bytes::Bytes;

use super::{
    super::{
        active_runs::Phase,
        error::ApiError,
        responses::Status,
        run_feed::ObservedRun,
        status_cache::{StatusKey, to_json},
        views,
    },
    Service,
};
use crate::journal::{
    Failure, FailureKind, HeadQuery, RecordedEvent, Run, RunHead, RunId, RunSummary, StoreError,
    with_liveness,
};

impl Service {
    /// Reports on the run that was asked for; else the active one; else the latest; else idle. Returns JSON.
    pub(in crate::server) async fn status(&self, id: Option<&RunId>) -> Result<Bytes, ApiError> {
        let id = match id.cloned().or_else(|| self.shared.active.running()) {
            Some(id) => id,
            None => match self.latest().await? {
                Some(head) => head.run,
                None => {
                    let idle = Status { change_window: self.change_window(), ..views::idle() };
                    return Ok(to_json(&idle));
                }
            },
        };
        // What this service drives, it observes: a client that polls costs no reading.
        let feed = self.shared.active.phase(&id).filter(|phase| matches!(phase, Phase::Running(_)));
        if feed.is_some() {
            return self.observed_status(&id).await;
        }
        let _place = self.shared.status_cache.enter()?;
        let _reading = self.shared.reading.acquire().await;
        let (events, is_live) = self.read(&id).await?;
        let key = self.status_key(&id, events.len() as u64, is_live);
        self.render_status(key, events).await
    }

    /// Reports on a run that this service drives. Those who ask while an answer is being made share the next one.
    async fn observed_status(&self, id: &RunId) -> Result<Bytes, ApiError> {
        let cache = &self.shared.status_cache;
        let find = |run: &ObservedRun| cache.find(&self.status_key(id, run.count, run.is_live));
        if let Some(json) = find(&self.feeds().observed(self, id).await?) {
            return Ok(json);
        }
        let _turn = cache.wait_for_turn().await;
        // What has happened since is in this answer.
        let run = self.feeds().observed(self, id).await?;
        if let Some(json) = find(&run) {
            return Ok(json);
        }
        self.render_status(self.status_key(id, run.count, run.is_live), run.events()).await
    }

    /// Returns all that an answer about a run depends on, of which `count` events are known.
    fn status_key(&self, id: &RunId, count: u64, is_live: bool) -> StatusKey {
        StatusKey {
            run: id.clone(),
            events: count,
            is_live,
            phase: format!("{:?}", self.shared.active.phase(id)),
            change_window: self.change_window(),
        }
    }

    /// Returns the answer about a run with these events, and keeps it.
    async fn render_status<E: Borrow<RecordedEvent> + Send + 'static>(
        &self,
        key: StatusKey,
        events: Vec<E>,
    ) -> Result<Bytes, ApiError> {
        if let Some(json) = self.shared.status_cache.find(&key) {
            return Ok(json);
        }
        let phase = self.shared.active.phase(&key.run);
        let (id, is_live, change_window) =
            (key.run.clone(), key.is_live, key.change_window.clone());
        let json = render(move || {
            let run = Run::of(&id, &events).ok_or_else(|| no_start(&id))?;
            let status = views::status(&run, &events, phase.as_ref(), is_live);
            Ok(to_json(&Status { change_window, ..status }))
        })
        .await?;
        self.shared.status_cache.keep(key, json.clone());
        Ok(json)
    }

    /// Reads a run, with whether it is being written to.
    ///
    /// That is asked first: a run that ends in between then has its end in what is read, and counts as ended. Asked
    /// afterwards, it would seem to have been interrupted. A run that was resumed in between is asked again: what is
    /// read of it says that it has not ended.
    async fn read(&self, id: &RunId) -> Result<(Vec<RecordedEvent>, bool), StoreError> {
        let was_live = self.is_written(id).await;
        let events = self.store().read(id, 0).await?;
        Ok((events, was_live || self.is_written(id).await))
    }

    /// Whether this service writes to a run. The store knows that from before the run's first event can be read until
    /// its last one can be.
    pub(in crate::server) async fn is_written(&self, id: &RunId) -> bool {
        self.is_live(id) || (!self.is_left(id) && self.store().is_live(id).await)
    }

    /// Whether it is known here that no process writes to a run, whatever its store says: it is about to be resumed, or
    /// its driver has ended without the run's end. In a store to which several processes write, another one may.
    fn is_left(&self, id: &RunId) -> bool {
        match self.active().phase(id) {
            Some(Phase::Recovering { .. }) => true,
            Some(Phase::JournalFailed(_)) => self.store().shared().is_none(),
            Some(Phase::Running(_)) | None => false,
        }
    }

    /// Returns a head that was read, with whether the service writes to its run.
    pub(in crate::server) async fn with_liveness(
        &self,
        head: RunHead,
    ) -> Result<(RunHead, bool), StoreError> {
        match self.is_left(&head.run) {
            true => Ok((head, false)),
            false => with_liveness(self.store().as_ref(), head).await,
        }
    }

    pub(in crate::server) async fn run(&self, id: &RunId) -> Result<RunSummary, ApiError> {
        let _reading = self.shared.reading.acquire().await;
        let (events, is_live) = self.read(id).await?;
        let id = id.clone();
        // Without the differences between runbooks: no route that needs no token shows their text.
        render(move || {
            let run = Run::of(&id, &events).ok_or_else(|| no_start(&id))?;
            Ok(RunSummary::of(&run, is_live))
        })
        .await
    }

    /// Returns the head of the newest run that can be read.
    pub(in crate::server) async fn latest(&self) -> Result<Option<RunHead>, StoreError> {
        match self.store().heads(HeadQuery::Newest(1)).await?.pop() {
            Some(entry) => entry.head.map(Some),
            None => Ok(None),
        }
    }
}

fn no_start(id: &RunId) -> ApiError {
    let message = format!("the journal of run {id} has no first event");
    Failure::new(FailureKind::Store, message).into()
}

/// Makes a response that may be large, beside the threads that answer requests.
async fn render<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::unfinished())?
}
