//! What the processes that write to one namespace know of each other: which runs have lost their process, and which are
//! to be canceled. Such a request is an annotation of the run's object, so that it survives the process that is asked.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::{
    ClusterStore, ListedRun, Shared,
    failure::Call,
    follow::follow,
    liveness::{duration, renewed_at, says_driven},
    projection::{Projection, head_of},
    requests::{answered, is_request, request},
};
use crate::{
    journal::{
        InterruptedRun, Notified, PostedAnswer, RequestAnswer, RunHead, RunId, RunRequest,
        RunState, RunsElsewhere, SharedStore, StepPath, StoreError,
    },
    platform::kubernetes::RunbookRun,
};

/// The annotation with the actor that asked for a run to be canceled. Anybody who may change the object may write it.
const CANCEL: &str = "sop.rafay.dev/cancel-requested-by";
/// The beginning of the annotations with answers to approvals. Anybody who may change the object may write them.
const ANSWER: &str = "sop.rafay.dev/answer-";
/// The beginning of the annotations that say how far a sink of notifications was told of the run.
const NOTIFIED: &str = "sop.rafay.dev/notified-";
/// The longest actor that is taken from it, in bytes.
const MAX_ACTOR: usize = 256;

#[async_trait]
impl SharedStore for ClusterStore {
    async fn request_cancel(&self, run: &RunId, actor: &str) -> Result<(), StoreError> {
        self.shared.annotate_cancel(run, Some(actor)).await
    }

    async fn wait_for_cancel(&self, run: &RunId) -> String {
        let watch = || self.shared.objects.watch_run(run.as_str());
        let problem = format!("requests to cancel run {run} are not seen");
        follow(watch, &problem, |found| found?.objects().iter().find_map(|run| cancel_of(run)))
            .await
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

    async fn wait_for_answer(&self, run: &RunId, step: &StepPath) -> PostedAnswer {
        let watch = || self.shared.objects.watch_run(run.as_str());
        let problem = format!("answers to approvals of run {run} are not seen");
        let answer =
            |run: &RunbookRun| answers_of(run).into_iter().find(|answer| answer.step == *step);
        follow(watch, &problem, |found| found?.objects().iter().find_map(|run| answer(run))).await
    }

    async fn runs_elsewhere(&self) -> Option<RunsElsewhere> {
        let shared = &self.shared;
        let mut elsewhere = RunsElsewhere::default();
        let runs = self.watched();
        for object in runs.current()? {
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
            match shared.left_run(&run, &object).await {
                Ok(LeftRun::Interrupted(head)) => {
                    // It may have been so for long before this process has seen it.
                    let seen = SignedDuration::try_from(unchanged).unwrap_or_default();
                    let seen = Timestamp::now() - seen;
                    let said = renewed_at(object.status.as_ref()).unwrap_or(seen);
                    let alive_at = seen.min(said).max(head.last_event_at);
                    elsewhere.interrupted.push(InterruptedRun { head: *head, alive_at });
                }
                Ok(LeftRun::Changed) => elsewhere.may_be_driven = true,
                Ok(LeftRun::Nothing) => runs.give_up(&object),
                // The others can be continued, and this one is tried again.
                Err(error) => {
                    tracing::warn!(%error, run = run.as_str(), "the run cannot be read");
                }
            }
        }
        elsewhere.interrupted.sort_by_key(|run| run.head.started_at);
        Some(elsewhere)
    }

    fn requested_runs(&self) -> Option<Vec<RunRequest>> {
        let objects = self.watched().current()?;
        let is_here = |object: &RunbookRun| {
            let run = object.metadata.name.as_ref().and_then(|name| name.parse().ok());
            run.is_some_and(|run| self.shared.live(&run).is_some())
        };
        let open = objects.iter().filter(|object| is_request(object) && !is_here(object));
        let mut requests: Vec<RunRequest> = open.map(|object| request(object)).collect();
        requests.sort_by_key(|request| request.created_at);
        Some(requests)
    }

    async fn answer(&self, request: &RunRequest, answer: RequestAnswer) -> Result<(), StoreError> {
        self.shared.answer(&request.name, request.version.as_deref(), &answer).await
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

    /// Posts an answer to an approval, or removes it. Each has an annotation of its own, so that two that are posted at
    /// the same time are both there.
    pub(super) async fn annotate_answer(
        &self,
        run: &RunId,
        id: &str,
        answer: Option<&PostedAnswer>,
    ) -> Result<(), StoreError> {
        if !PostedAnswer::is_id(id) {
            return Ok(());
        }
        // An answer is plain data.
        let text = answer.and_then(|answer| serde_json::to_string(answer).ok());
        let annotation = format!("{ANSWER}{id}");
        match self.objects.annotate_run(run.as_str(), &annotation, text.as_deref()).await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == "NotFound" => Err(self.not_found(run)),
            Err(error) => Err(Call::PATCH_RUN.failed(&self.objects, &error)),
        }
    }

    /// Records how far a sink was told of a run. Each has an annotation of its own.
    pub(super) async fn annotate_notified(
        &self,
        run: &RunId,
        sink: &str,
        next: u64,
    ) -> Result<(), StoreError> {
        let annotation = format!("{NOTIFIED}{sink}");
        match self.objects.annotate_run(run.as_str(), &annotation, Some(&next.to_string())).await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == "NotFound" => Err(self.not_found(run)),
            Err(error) => Err(Call::PATCH_RUN.failed(&self.objects, &error)),
        }
    }

    /// Answers a request whose run has no event. What another process has written meanwhile stays.
    pub(super) async fn answer(
        &self,
        name: &str,
        version: Option<&str>,
        answer: &RequestAnswer,
    ) -> Result<(), StoreError> {
        match self.objects.write_status(name, version, &answered(answer)).await {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.code(), "Conflict" | "NotFound") => Ok(()),
            Err(error) => Err(Call::WRITE_STATUS.failed(&self.objects, &error)),
        }
    }

    /// Returns what became of a run whose process seems to be gone. Its status is made to say so, unless the process
    /// has renewed it meanwhile, unseen.
    async fn left_run(&self, run: &RunId, object: &RunbookRun) -> Result<LeftRun, StoreError> {
        let journal = match self.journal_of(run, object).await {
            Ok(journal) => journal,
            Err(error @ (StoreError::Corrupt { .. } | StoreError::TooNew { .. })) => {
                tracing::warn!(%error, "an interrupted run cannot be read, and waits for a person");
                return Ok(LeftRun::Nothing);
            }
            Err(error) => return Err(error),
        };
        let projection = journal.and_then(|journal| Projection::of(run, &journal.events));
        let Some(projection) = projection else {
            if object.spec.writer.is_none() {
                let version = object.metadata.resource_version.as_deref();
                let why = "the process that was about to start it is gone".to_owned();
                self.answer(run.as_str(), version, &RequestAnswer::Waits(why)).await?;
            }
            return Ok(LeftRun::Nothing);
        };
        match self.repair(run, object, &projection).await {
            Ok(()) => {}
            Err(error) if matches!(error.code(), "Conflict" | "NotFound") => {
                tracing::debug!(run = run.as_str(), "the run has changed meanwhile");
                return Ok(LeftRun::Changed);
            }
            Err(error) => return Err(Call::WRITE_STATUS.failed(&self.objects, &error)),
        }
        let head = projection.head().clone();
        Ok(match head.state(false) {
            RunState::Interrupted => LeftRun::Interrupted(Box::new(head)),
            _ => LeftRun::Nothing,
        })
    }
}

/// A run whose process seems to be gone.
enum LeftRun {
    /// A run that can be continued.
    Interrupted(Box<RunHead>),
    /// A run that its process, or another one, has changed.
    Changed,
    /// A run that cannot be continued without a person, or none.
    Nothing,
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

/// Returns how far sinks were told of a run.
pub(super) fn notified_of(run: &RunbookRun) -> Notified {
    let annotations = run.metadata.annotations.iter().flatten();
    let notified = annotations.filter_map(|(name, text)| {
        Some((name.strip_prefix(NOTIFIED)?.to_owned(), text.parse().ok()?))
    });
    notified.collect()
}

/// Returns the answers to approvals of a run. What is not one is no answer.
pub(super) fn answers_of(run: &RunbookRun) -> Vec<PostedAnswer> {
    let annotations = run.metadata.annotations.iter().flatten();
    let answers = annotations.filter_map(|(name, text)| {
        let id = name.strip_prefix(ANSWER)?;
        let mut answer: PostedAnswer = serde_json::from_str(text).ok()?;
        answer.actor.truncate(answer.actor.floor_char_boundary(MAX_ACTOR));
        (answer.id == id && PostedAnswer::is_id(id)).then_some(answer)
    });
    answers.collect()
}
