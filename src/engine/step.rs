//! One step: whether it runs, and its execution, once or for each of several items.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::{
    action_run::{ActionRun, Phase},
    block::Block,
    checked::{early_failure, is_of_kind},
    deadline::Deadline,
    drive::Driver,
    interruptible::StopReason,
};
use crate::{
    actions::{self, ActionDef},
    journal::{Event, Failure, FailureKind, StepEvent, StepPath, StepProgress, StoreError},
};
use runbook::{ActionKind, EvaluationError, EvaluationScope, Step};

/// Why a step has no output.
pub(super) enum StepEnd {
    Stopped(StopReason),
    /// The step was not run: one after it would fail in any case.
    Refused(Failure),
}

impl From<StopReason> for StepEnd {
    fn from(reason: StopReason) -> Self {
        Self::Stopped(reason)
    }
}

impl From<StoreError> for StepEnd {
    fn from(error: StoreError) -> Self {
        Self::Stopped(error.into())
    }
}

impl From<EvaluationError> for StepEnd {
    fn from(error: EvaluationError) -> Self {
        Self::Stopped(error.into())
    }
}

impl Driver<'_> {
    /// Runs a step to its end, and gives its output to the steps after it. `later` are those steps.
    pub(super) async fn run_step(
        &self,
        block: &mut Block<'_>,
        step: &Step,
        later: &[Step],
    ) -> Result<(), StepEnd> {
        let path = &block.path(step);
        let name = step.display_name(&block.scope);
        let skipped_by = self.run().skipped_by(path).map(str::to_owned);
        if let Some(actor) = skipped_by {
            for path in self.changed_paths(path) {
                if let Some(step) = self.checked.step(&path) {
                    self.clean_up(step, &path, Phase::Apply).await?;
                }
            }
            let stays = self.run().work_of(path).any(StepProgress::may_need_undo);
            let reason = match stays {
                true => format!("skipped by {actor}; what it has changed stays"),
                false => format!("skipped by {actor}"),
            };
            let event = StepEvent::StepSkipped { name, reason };
            return Ok(self.append(Event::step(path, event)).await?);
        }
        let should_run = step.should_run(&block.scope);
        if let Ok(false) = should_run {
            let reason = match step.explain_when(&block.scope) {
                Some(condition) => format!("`when` is false: {condition}"),
                None => "`when` is false".into(),
            };
            let event = StepEvent::StepSkipped { name, reason };
            return Ok(self.append(Event::step(path, event)).await?);
        }
        let description = step.description(&block.scope);
        let deadline = self.start_step(step, path, name, description).await?;
        should_run?;
        let deadline = deadline.within(block.caller.as_ref().map(|caller| &caller.deadline));
        if may_change(step) && self.changed_paths(path).is_empty() {
            self.evaluate_early(block, later).map_err(StepEnd::Refused)?;
        }
        let output = match step.is_loop() {
            true => self.run_items(block, step, path, deadline).await?,
            false => self.execute(step, path, block.scope.clone(), deadline).await?,
        };
        block.scope.insert(&step.id, &output);
        Ok(())
    }

    /// Executes the action of a step or an item, or runs the runbook that it calls, and returns the output.
    pub(super) async fn execute(
        &self,
        step: &Step,
        path: &StepPath,
        scope: EvaluationScope,
        deadline: Deadline,
    ) -> Result<Value, StopReason> {
        match &step.call {
            // A future that contains itself needs a place of its own.
            Some(called) => Box::pin(self.run_called(called, step, path, scope, deadline)).await,
            None => {
                let action = action_of(step)?;
                ActionRun::new(self, step, path, scope, deadline).run(action).await
            }
        }
    }

    /// Evaluates, before the first change, what can be evaluated of the later steps: one that would fail whatever
    /// happens before it must not fail after something was changed.
    fn evaluate_early(&self, block: &Block<'_>, later: &[Step]) -> Result<(), Failure> {
        if self.has_evaluated_early.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let run = self.run();
        let is_run = |step: &&Step| run.skipped_by(&block.path(step)).is_none();
        match early_failure(later.iter().filter(is_run), &block.scope) {
            None => Ok(()),
            Some((step, failure)) => {
                let name = step.display_name(&block.scope);
                let message = format!("the later step '{name}' would fail: {}", failure.message);
                Err(Failure { message, ..failure })
            }
        }
    }

    /// Records that a step, or an item, starts or continues, and returns its deadline.
    pub(super) async fn start_step(
        &self,
        step: &Step,
        path: &StepPath,
        name: String,
        description: Option<String>,
    ) -> Result<Deadline, StoreError> {
        let (event, elapsed) = match self.run().step(path) {
            // What is done again has all its time again.
            Some(recorded) if recorded.has_ended() => {
                (StepEvent::StepResumed { name }, Duration::ZERO)
            }
            Some(recorded) => (StepEvent::StepResumed { name }, recorded.elapsed()),
            None => (StepEvent::StepStarted { name, description }, Duration::ZERO),
        };
        self.append(Event::step(path, event)).await?;
        let timeout = self.engine.clock.deadline(step.timeout.std());
        let at = Instant::now() + timeout.saturating_sub(elapsed);
        Ok(Deadline::new(at, step.timeout, path))
    }

    /// Gives the targets that the outputs of a step, its items and the steps that it calls name to the steps after it.
    pub(super) fn add_targets_of(&self, path: &StepPath) {
        let outputs: Vec<(StepPath, Value)> = {
            let run = self.run();
            let outputs = run.work_of(path).filter_map(|work| Some((work, work.output()?)));
            outputs.map(|(work, output)| (work.path.clone(), output.to_value())).collect()
        };
        for (path, output) in outputs {
            let step = self.checked.step(&path);
            // The output of a loop is that of its items.
            let one = step.filter(|step| !step.is_loop() || path.step_of_item().is_some());
            if let Some(action) = one.and_then(|step| actions::find(&step.action)) {
                self.add_known_targets(action, &output);
            }
        }
    }

    /// Returns the paths at which a step has decided on changes: its own, or those of its items.
    pub(super) fn changed_paths(&self, path: &StepPath) -> Vec<StepPath> {
        let run = self.run();
        let changed = run.work_of(path).filter(|work| work.intent.is_some());
        changed.map(|work| work.path.clone()).collect()
    }
}

/// Whether a step changes something, or calls a runbook that does.
fn may_change(step: &Step) -> bool {
    match &step.call {
        Some(called) => {
            called.runbook().all_steps().iter().any(|step| is_of_kind(step, ActionKind::Change))
        }
        None => is_of_kind(step, ActionKind::Change),
    }
}

/// Returns the action of a checked step.
pub(super) fn action_of(step: &Step) -> Result<&'static ActionDef, StopReason> {
    actions::find(&step.action).ok_or_else(|| {
        let message = format!("action {} not found", step.action);
        StopReason::StepFailed(Failure::new(FailureKind::Internal, message))
    })
}

/// Returns the revision of the action of a step; 0 for the call of a runbook.
pub(super) fn revision_of(step: &Step) -> u32 {
    actions::find(&step.action).map_or(0, |action| action.revision)
}

/// Returns the message of a step that has succeeded with an output. What was done is done: a message that cannot be
/// rendered does not undo it.
pub(super) fn log_message(step: &Step, scope: &EvaluationScope, output: &Value) -> Option<String> {
    if !step.has_message() {
        return None;
    }
    let mut scope = scope.clone();
    scope.insert(&step.id, output);
    step.message(&scope)
        .unwrap_or_else(|error| Some(format!("(cannot render the step's `log` message: {error})")))
}
