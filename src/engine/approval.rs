//! A step that waits for persons: it asks once, and takes the answers that any process posts to the store. Enough
//! approvals complete it; a rejection, and the time that was fixed when it asked, fail it.

use std::{collections::HashSet, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    Engine,
    action_run::{ActionRun, AttemptError},
    answer::{AnswerError, check},
    control::StopRequest,
    interruptible::StopReason,
};
use crate::{
    actions::ApprovalOps,
    journal::{
        ApprovalProgress, Decision, Failure, FailureKind, PostedAnswer, RunId, StepEvent, StepPath,
        StoreError, timestamp,
    },
};
use clock::{Backoff, Clock, Pace};

/// The pauses between reads of the answers in a store of this machine.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
/// How often the wall clock is read: another clock does not move while a machine sleeps.
const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// How a wait for persons ended.
enum Ended {
    Approved(Vec<String>, Map<String, Value>),
    Failed(Failure),
}

impl ActionRun<'_> {
    /// Asks, unless that was done before, waits for the answers, and returns the output.
    pub(super) async fn approval(&mut self, ops: &ApprovalOps) -> Result<Value, AttemptError> {
        if self.asked().is_none() {
            self.ask(ops).await?;
        }
        let ended = match self.ended() {
            Some(ended) => Ok(ended),
            None => self.wait_without_lease().await,
        };
        if !is_left(&ended) {
            self.remove_answers().await;
        }
        match ended? {
            Ended::Approved(by, answers) => (ops.output)(by, answers).map_err(AttemptError::Action),
            Ended::Failed(failure) => Err(StopReason::StepFailed(failure).into()),
        }
    }

    async fn wait_without_lease(&mut self) -> Result<Ended, StopReason> {
        self.driver.begin_wait().await;
        let ended = self.wait_for_persons().await;
        if !is_left(&ended) {
            let goes_on = matches!(&ended, Ok(Ended::Approved(..)));
            self.driver.end_wait(&self.path, goes_on).await?;
        }
        ended
    }

    /// Returns what the step has asked.
    fn asked(&self) -> Option<ApprovalProgress> {
        self.driver.run().step(&self.path)?.approval.clone()
    }

    async fn ask(&mut self, ops: &ApprovalOps) -> Result<(), AttemptError> {
        let request = (ops.request)(self.arguments()?).map_err(AttemptError::Action)?;
        let mut not_by = request.not_by;
        if request.excludes_starter {
            not_by.push(self.driver.run().spec.actor.clone());
        }
        let engine = self.driver.engine;
        let expires = engine.clock.deadline(request.expires.std());
        let event = StepEvent::StepApprovalRequested {
            message: request.message,
            approvals: request.approvals,
            not_by,
            ask: request.ask,
            // A year at most.
            expires_at: engine.clock.now().saturating_add(expires).unwrap_or(Timestamp::MAX),
        };
        self.append(event).await?;
        self.approve_in_simulation().await
    }

    /// Gives the approvals that a simulation gives by itself.
    async fn approve_in_simulation(&mut self) -> Result<(), AttemptError> {
        let approver = self.driver.engine.approver.clone();
        let actors = self.asked().map(|asked| approver.actors_for(&asked)).unwrap_or_default();
        for actor in &actors {
            let Some(asked) = self.asked().filter(ApprovalProgress::is_open) else { break };
            let answers = approver.answers(&asked).map_err(failed)?;
            let decision = Decision::Approve { answers, note: None };
            let posted = PostedAnswer::new(self.path.clone(), actor, decision);
            self.take(&posted).await?.map_err(failed)?;
        }
        match self.asked() {
            Some(asked) if asked.is_open() && !actors.is_empty() => {
                let missing = usize::try_from(asked.missing()).unwrap_or(usize::MAX);
                let message = format!("{} missing", text::plural(missing, "approval"));
                let failure = Failure::new(FailureKind::Precondition, message)
                    .with_hint(Some("name more actors with --approve-as"));
                Err(StopReason::StepFailed(failure).into())
            }
            _ => Ok(()),
        }
    }

    /// Returns how the wait has ended, by what is in the journal and by the clock.
    fn ended(&self) -> Option<Ended> {
        let asked = self.asked()?;
        if let Some(rejection) = &asked.rejection {
            let message = format!("rejected by {}: {}", rejection.actor, rejection.reason);
            return Some(Ended::Failed(Failure::new(FailureKind::Precondition, message)));
        }
        if !asked.is_open() {
            return Some(Ended::Approved(asked.approved_by(), asked.answers));
        }
        if self.driver.engine.clock.now() < asked.expires_at {
            return None;
        }
        let message = format!(
            "the approval has expired: {} of {} given until {}",
            asked.given.len(),
            asked.approvals,
            timestamp(asked.expires_at)
        );
        Some(Ended::Failed(Failure::new(FailureKind::TimedOut, message)))
    }

    async fn wait_for_persons(&mut self) -> Result<Ended, StopReason> {
        let expires_at = self.asked().map_or(Timestamp::MAX, |asked| asked.expires_at);
        let (run, control) = (self.driver.run().id().clone(), self.driver.control.clone());
        let (path, deadline, engine) = (self.path.clone(), self.deadline.at, self.driver.engine);
        let mut seen = HashSet::new();
        loop {
            if let Some(ended) = self.ended() {
                return Ok(ended);
            }
            tokio::select! {
                biased;
                request = control.wait_for_stop() => return Err(StopReason::StopRequested(request)),
                answer = engine.next_answer(&run, &path, &seen) => {
                    self.take_posted(&answer).await?;
                    seen.insert(answer.id);
                }
                () = tokio::time::sleep_until(deadline) => {
                    return Ok(Ended::Failed(self.timed_out(Some("approval"))));
                }
                () = engine.wait_until(expires_at) => {}
            }
        }
    }

    /// Takes an answer from the store: what counts is an event, and what does not is reported.
    async fn take_posted(&mut self, posted: &PostedAnswer) -> Result<(), StopReason> {
        if let Err(error) = self.take(posted).await? {
            let message = format!("The answer of {} does not count: {error}", posted.actor);
            self.append(StepEvent::StepMessage { message }).await?;
        }
        let (store, run) = (&self.driver.engine.store, self.driver.run().id().clone());
        if let Err(error) = store.remove_answer(&run, &posted.id).await {
            tracing::warn!(%error, run = run.as_str(), "an answer to an approval is not removed");
        }
        Ok(())
    }

    /// Removes the answers that come too late, and those that a process took which died before it removed them.
    async fn remove_answers(&self) {
        let (store, run) = (&self.driver.engine.store, self.driver.run().id().clone());
        let remove = async {
            for answer in store.answers(&run).await?.iter().filter(|one| one.step == self.path) {
                store.remove_answer(&run, &answer.id).await?;
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = remove.await {
            tracing::warn!(%error, run = run.as_str(), "answers to an approval are not removed");
        }
    }

    /// Journals an answer, if it counts.
    async fn take(&mut self, posted: &PostedAnswer) -> Result<Result<(), AnswerError>, StopReason> {
        let Some(asked) = self.asked() else { return Ok(Ok(())) };
        // It was taken by a process that died before it could remove it.
        if asked.taken.contains(&posted.id) {
            return Ok(Ok(()));
        }
        let now = self.driver.engine.clock.now();
        let decision = match check(&self.path, &asked, &posted.actor, &posted.decision, now) {
            Ok(decision) => decision,
            Err(error) => return Ok(Err(error)),
        };
        let (answer, actor) = (posted.id.clone(), posted.actor.clone());
        let event = match decision {
            Decision::Approve { answers, note } => {
                StepEvent::StepApproved { answer, actor, answers, note }
            }
            Decision::Reject { reason } => StepEvent::StepRejected { answer, actor, reason },
        };
        self.append(event).await?;
        Ok(Ok(()))
    }
}

impl Engine {
    /// Waits for an answer to the approval of a step, but for those that were seen.
    async fn next_answer(
        &self,
        run: &RunId,
        step: &StepPath,
        seen: &HashSet<String>,
    ) -> PostedAnswer {
        let mut pace = Pace::new(&Clock::real(), PAUSES);
        loop {
            pace.next_turn().await;
            let found = match self.store.shared() {
                Some(shared) => vec![shared.wait_for_answer(run, step).await],
                None => self.store.answers(run).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, run = run.as_str(), "answers to approvals are not seen");
                    Vec::new()
                }),
            };
            let mut new = found.into_iter().filter(|answer| !seen.contains(&answer.id));
            if let Some(answer) = new.find(|answer| answer.step == *step) {
                return answer;
            }
        }
    }

    /// Waits until a time of the wall clock.
    async fn wait_until(&self, time: Timestamp) {
        while let Ok(left) = Duration::try_from(time - self.clock.now()) {
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(CLOCK_INTERVAL)).await;
        }
    }
}

/// Whether this process leaves the run to another one, as it is.
fn is_left(ended: &Result<Ended, StopReason>) -> bool {
    use StopRequest::{LeaseLost, ShutDown};
    matches!(
        ended,
        Err(StopReason::StopRequested(ShutDown | LeaseLost) | StopReason::JournalError(_))
    )
}

fn failed(error: AnswerError) -> AttemptError {
    AttemptError::Stop(StopReason::StepFailed(error.failure()))
}
