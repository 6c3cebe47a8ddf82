//! The steps of a runbook in a run, one after another.

use super::{
    action_run::Phase, checked::is_of_kind, deadline::Deadline, drive::Driver,
    interruptible::StopReason, step::StepEnd,
};
use crate::{
    journal::{
        AfterFailure, Event, Failure, RecordedJson, RunEvent, RunOutcome, StepEvent, StepOutcome,
        StepPath,
    },
    lease::HeldLease,
};
use runbook::{ActionKind, EvaluationScope, OnFailure, Runbook, Step};

/// The steps of a runbook, and what their templates can use.
pub(super) struct Block<'r> {
    pub(super) runbook: &'r Runbook,
    /// The step, or item, that calls the runbook of the steps; none at the top level.
    pub(super) caller: Option<Caller>,
    pub(super) scope: EvaluationScope,
}

/// The step, or item, that calls a runbook.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) path: StepPath,
    /// When the time of the call is up.
    pub(super) deadline: Deadline,
}

/// How the steps ended.
pub(super) enum ForwardOutcome {
    Completed,
    Stopped,
    RollBack,
    /// A called runbook has failed, and its caller decides about the run.
    Left(Failure),
}

impl Block<'_> {
    /// Returns the address of a step in the run.
    pub(super) fn path(&self, step: &Step) -> StepPath {
        match &self.caller {
            Some(caller) => caller.path.child(&step.id),
            None => StepPath::top_level(&step.id),
        }
    }

    /// Returns what follows from a failure after which the steps do not go on.
    pub(super) fn after_failure(&self, step: &Step) -> AfterFailure {
        match (&self.caller, step.on_failure) {
            (Some(_), _) => AfterFailure::Leave,
            (None, OnFailure::Rollback) => AfterFailure::Rollback,
            (None, OnFailure::Stop | OnFailure::Continue) => AfterFailure::Stop,
        }
    }
}

impl Driver<'_> {
    /// Runs the steps that have not ended.
    pub(super) async fn run_steps(
        &self,
        block: &mut Block<'_>,
    ) -> Result<ForwardOutcome, StopReason> {
        let steps = &block.runbook.steps;
        let unused_after = block.runbook.unused_after();
        let read_again = self.steps_to_read_again(block);
        // Without a change there was no lock: another run may have changed since what was read before.
        let has_been_alone = self.lease.as_ref().is_none_or(HeldLease::is_continued);
        let begins_again = !has_been_alone && !self.run().head.has_changed;
        for (index, step) in steps.iter().enumerate() {
            // A large cluster has outputs of megabytes.
            let unused = index.checked_sub(1).map(|before| &unused_after[before]);
            unused.into_iter().flatten().for_each(|id| block.scope.remove(id));
            let path = block.path(step);
            if let Some(failure) = self.left_at(&path) {
                return self.leave(block, step, failure).await;
            }
            // Its old output is not given to later steps, whatever becomes of the new read.
            let is_skipped = self.run().skipped_by(&path).is_some();
            let runs_again = read_again.contains(&step.id) || (begins_again && !is_skipped);
            if !runs_again && self.is_finished(block, step) {
                continue;
            }
            if let Some(request) = self.control.stop_requested() {
                return Err(StopReason::StopRequested(request));
            }
            let (stop_reason, is_refused) =
                match self.run_step(block, step, &steps[index + 1..]).await {
                    Ok(()) => continue,
                    Err(StepEnd::Stopped(stop_reason)) => (stop_reason, false),
                    Err(StepEnd::Refused(failure)) => (StopReason::StepFailed(failure), true),
                };
            if !matches!(stop_reason, StopReason::JournalError(_)) {
                self.clean_up(step, &path, Phase::Apply).await?;
            }
            let StopReason::StepFailed(failure) = stop_reason else { return Err(stop_reason) };
            let goes_on = step.on_failure == OnFailure::Continue
                && !is_refused
                // Its items fail one by one: without the list of them, later steps have nothing to go on with.
                && !step.is_loop();
            let then = if goes_on { AfterFailure::Continue } else { block.after_failure(step) };
            let event = StepEvent::StepFailed { failure: failure.clone(), then };
            let mut events = vec![Event::step(&path, event)];
            // The run ends with this. What is not to outlast it must not wait for a person, whatever becomes of this
            // process.
            if then == AfterFailure::Stop && self.is_left_to_restore() {
                let (outcome, failure) = (RunOutcome::Failed, None);
                events.push(RunEvent::RunRestoring { outcome, failure }.into());
            }
            self.append_all(events).await?;
            match then {
                AfterFailure::Continue => {}
                AfterFailure::Stop => return Ok(ForwardOutcome::Stopped),
                AfterFailure::Rollback => return Ok(ForwardOutcome::RollBack),
                AfterFailure::Leave => return self.leave(block, step, failure).await,
            }
        }
        Ok(ForwardOutcome::Completed)
    }

    /// Returns the failure of a step, or an item, at which a called runbook is being left: its process died before that
    /// was done.
    pub(super) fn left_at(&self, path: &StepPath) -> Option<Failure> {
        match &self.run().step(path)?.outcome {
            Some(StepOutcome::Failed { failure, then: AfterFailure::Leave }) => {
                Some(failure.clone())
            }
            _ => None,
        }
    }

    /// Ends a called runbook after the failure of one of its steps: where that step asks for a rollback, what the
    /// runbook has changed is undone.
    async fn leave(
        &self,
        block: &Block<'_>,
        step: &Step,
        failure: Failure,
    ) -> Result<ForwardOutcome, StopReason> {
        if let Some(caller) =
            block.caller.as_ref().filter(|_| step.on_failure == OnFailure::Rollback)
        {
            self.undo_steps(|_, path| path.is_part_of(&caller.path)).await?;
        }
        let name = step.display_name(&block.scope);
        let message = format!("{name}: {}", failure.message);
        Ok(ForwardOutcome::Left(Failure { message, ..failure }))
    }

    /// Returns the ids of the completed steps that a resumed run reads again: those that read directly before the step
    /// at which the run stopped. A person may have changed what they read, and the step would fail in the same way for
    /// ever. A step that has decided on its changes no longer depends on what was read.
    fn steps_to_read_again(&self, block: &Block<'_>) -> Vec<String> {
        let run = self.run();
        let recorded = |step: &Step| run.step(&block.path(step));
        let is_skipped = |step: &Step| run.skipped_by(&block.path(step)).is_some();
        let has_stopped = |step: &Step| {
            let outcome = recorded(step).and_then(|recorded| recorded.outcome.as_ref());
            matches!(outcome, Some(StepOutcome::Failed { then: AfterFailure::Stop, .. }))
                && !is_skipped(step)
        };
        let steps = &block.runbook.steps;
        let Some(stopped) = steps.iter().position(has_stopped) else { return Vec::new() };
        if run.has_decided(&block.path(&steps[stopped])) {
            return Vec::new();
        }
        let has_read = |step: &&Step| {
            is_of_kind(step, ActionKind::Read)
                && recorded(step).is_some_and(|recorded| recorded.output().is_some())
                && !is_skipped(step)
        };
        let before = steps[..stopped].iter().rev();
        before.take_while(has_read).map(|step| step.id.clone()).collect()
    }

    /// Whether a step's events say that it is over; its output, if it has one, is given to later steps.
    fn is_finished(&self, block: &mut Block<'_>, step: &Step) -> bool {
        let path = block.path(step);
        let (has_ended, output) = match self.run().step(&path) {
            None => return false,
            Some(recorded) => (recorded.has_ended(), recorded.output().map(RecordedJson::to_value)),
        };
        if let Some(output) = output {
            block.scope.insert(&step.id, &output);
            self.add_targets_of(&path);
        }
        has_ended
    }
}
