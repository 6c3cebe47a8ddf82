//! What the processes that write to one namespace know of each other: which runs have lost their process, and which are
//! to be canceled. Such a request is an annotation of the run's object, so that it survives the process that is asked.

use std::time::Duration;

use async_trait::async_trait;
use clock::{Backoff, Clock, Pace};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::{
    ClusterStore, ListedRun, Shared,
    failure::Call,
    liveness::{duration, renewed_at, says_driven},
    projection::{Projection, head_of},
    requests::{answered, is_request, request},
};
use crate::{
    journal::{
        InterruptedRun, RequestAnswer, RunHead, RunId, RunRequest, RunState, RunsElsewhere,
        SharedStore, StoreError,
    },
    platform::{
        kubernetes::RunbookRun,
        wait::{SourceEvent, WaitSource as _},
    },
};

/// The annotation with the actor that asked for a run to be canceled. Anybody who may change the object may write it.
const CANCEL: &str = "sop.rafay.dev/cancel-requested-by";
/// The longest actor that is taken from it, in bytes.
const MAX_ACTOR: usize = 256;
/// The pauses between watches that the API server refuses.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

#[async_trait]
impl SharedStore for ClusterStore {
    async fn request_cancel(&self, run: &RunId, actor: &str) -> Result<(), StoreError> {
        self.shared.annotate_cancel(run, Some(actor)).await
    }

    async fn wait_for_cancel(&self, run: &RunId) -> String {
        let mut pace = Pace::new(&Clock::real(), BACKOFF);
        loop {
            pace.next_turn().await;
            let mut watch = self.shared.objects.watch_run(run.as_str());
            let problem = loop {
                match watch.changed().await {
                    Ok(SourceEvent::Changed) => {
                        if let Some(actor) = watch.objects().iter().find_map(|run| cancel_of(run)) {
                            return actor;
                        }
                    }
                    Ok(SourceEvent::Interrupted(_)) => {}
                    Err(error) => break error,
                }
            };
            tracing::warn!(error = %problem, run = run.as_str(), "requests to cancel the run are not seen");
        }
    }

    async fn withdraw_cancel(&self, run: &RunId) -> Result<(), StoreError> {
        match self.shared.object(run).await? {
            Some(object) if cancel_of(&object).is_some() => {
                self.shared.annotate_cancel(run, None).await
            }
            Some(_) => Ok(()),
            None => Err(self.shared.not_found(run)),
        }
    }

    async fn runs_elsewhere(&self) -> Result<RunsElsewhere, StoreError> {
        let shared = &self.shared;
        let mut elsewhere = RunsElsewhere::default();
        let runs = self.watched();
        for object in runs.current().unwrap_or_default() {
            let Some(ListedRun { run, object, .. }) = ListedRun::of(object) else { continue };
            if shared.live(&run).is_some() {
                continue;
            }
            if !says_driven(&object) {
                if says_interrupted(&object)
                    && let Some(head) = head_of(object.status.as_ref())
                {
                    // The process that continues it reads its journal.
                    let renewed_at = renewed_at(object.status.as_ref());
                    let alive_at =
                        renewed_at.map_or(head.last_event_at, |at| at.max(head.last_event_at));
                    elsewhere.interrupted.push(InterruptedRun { head, alive_at });
                }
                continue;
            }
            let Some(unchanged) =
                runs.unchanged_for(&object).filter(|time| *time >= duration(&object))
            else {
                elsewhere.may_be_driven = true;
                continue;
            };
            if runs.was_given_up(&object) {
                continue;
            }
            match shared.interrupted_head(&run, &object).await {
                Ok(Some(head)) => {
                    let alive_at =
                        Timestamp::now() - SignedDuration::try_from(unchanged).unwrap_or_default();
                    elsewhere.interrupted.push(InterruptedRun { head, alive_at });
                }
                Ok(None) => runs.give_up(&object),
                // The others can be continued, and this one is tried again.
                Err(error) => {
                    tracing::warn!(%error, run = run.as_str(), "the run cannot be read");
                }
            }
        }
        elsewhere.interrupted.sort_by_key(|run| run.head.started_at);
        Ok(elsewhere)
    }

    async fn requested_runs(&self) -> Result<Vec<RunRequest>, StoreError> {
        let objects = self.watched().current().unwrap_or_default();
        let is_here = |object: &RunbookRun| {
            let run = object.metadata.name.as_ref().and_then(|name| name.parse().ok());
            run.is_some_and(|run| self.shared.live(&run).is_some())
        };
        let open = objects.iter().filter(|object| is_request(object) && !is_here(object));
        let mut requests: Vec<RunRequest> = open.map(|object| request(object)).collect();
        requests.sort_by_key(|request| request.created_at);
        Ok(requests)
    }

    async fn answer(&self, request: &RunRequest, answer: RequestAnswer) -> Result<(), StoreError> {
        let objects = &self.shared.objects;
        let status = answered(&answer);
        match objects.write_status(&request.name, request.version.as_deref(), &status).await {
            Ok(_) => Ok(()),
            // Another process was faster, or it is gone.
            Err(error) if matches!(error.code(), "Conflict" | "NotFound") => Ok(()),
            Err(error) => Err(Call::WRITE_STATUS.failed(objects, &error)),
        }
    }

    async fn remove_run(&self, run: &RunId) -> Result<(), StoreError> {
        let shared = &self.shared;
        shared.writer("remove from")?;
        let object = shared.object(run).await?.ok_or_else(|| shared.not_found(run))?;
        let head = shared.head_of_object(run, &object).await?;
        let head = head.ok_or_else(|| shared.not_found(run))?;
        if !head.is_final() {
            return Err(StoreError::Unavailable {
                operation: "remove",
                place: shared.place(run),
                problem: format!("run {run} is {}", head.state(false)),
            });
        }
        // The API server deletes the events a moment later.
        let deleted = shared.objects.delete_run(&object).await;
        deleted.map_err(|error| Call::DELETE_RUN.failed(&shared.objects, &error))
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.watched().changes()
    }
}

impl Shared {
    async fn annotate_cancel(&self, run: &RunId, actor: Option<&str>) -> Result<(), StoreError> {
        match self.objects.annotate_run(run.as_str(), CANCEL, actor).await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == "NotFound" => Err(self.not_found(run)),
            Err(error) => Err(Call::PATCH_RUN.failed(&self.objects, &error)),
        }
    }

    /// Makes a request of an object again, whose process died before the first event of the run.
    async fn return_request(&self, run: &RunId, object: &RunbookRun) {
        let answer = RequestAnswer::Waits("the process that was about to start it is gone".into());
        let version = object.metadata.resource_version.as_deref();
        let written = self.objects.write_status(run.as_str(), version, &answered(&answer)).await;
        if let Err(error) = written {
            tracing::warn!(%error, run = run.as_str(), "cannot write the status of the request");
        }
    }

    /// Returns the head of a run whose process is gone, if the run is interrupted by its journal, too. Its status is
    /// made to say so, unless the process comes back meanwhile. A journal that cannot be read is another one's to tell.
    async fn interrupted_head(
        &self,
        run: &RunId,
        object: &RunbookRun,
    ) -> Result<Option<RunHead>, StoreError> {
        let journal = match self.journal_of(run, object).await {
            Ok(journal) => journal,
            Err(StoreError::Corrupt { .. } | StoreError::TooNew { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let projection = journal.and_then(|journal| Projection::of(run, &journal.events));
        let Some(projection) = projection else {
            if object.spec.writer.is_none() {
                self.return_request(run, object).await;
            }
            return Ok(None);
        };
        self.repair(run, object, &projection).await;
        let head = projection.head().clone();
        Ok((head.state(false) == RunState::Interrupted).then_some(head))
    }
}

fn says_interrupted(run: &RunbookRun) -> bool {
    let state = run.status.as_ref().and_then(|status| status.state.as_deref());
    state == Some(RunState::Interrupted.as_str())
}

/// Returns the actor that asked for a run to be canceled.
fn cancel_of(run: &RunbookRun) -> Option<String> {
    let actor = run.metadata.annotations.as_ref()?.get(CANCEL)?;
    let actor = &actor[..actor.floor_char_boundary(MAX_ACTOR)];
    Some(if actor.is_empty() { "an unknown actor".to_owned() } else { actor.to_owned() })
}
