//! One step: whether it runs, and its execution, once or for each of several items.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::{
    action_run::{ActionRun, Phase},
    block::Block,
    checked::early_failure,
    drive::Driver,
    failure,
    interruptible::StopReason,
};
use crate::{
    actions::{self, ActionDef},
    journal::{Event, Failure, FailureKind, StepEvent, StepPath, StoreError},
};
use runbook::{ActionKind, EvaluationScope, Step};

impl Driver<'_> {
    /// Runs a step to its end, and gives its output to the steps after it. `later` are those steps.
    pub(super) async fn run_step(
        &self,
        block: &mut Block<'_>,
        step: &Step,
        later: &[Step],
    ) -> Result<(), StopReason> {
        let path = &block.path(step);
        let name = step.display_name(&block.scope);
        let skipped_by = self.run().skipped_by(path).map(str::to_owned);
        if let Some(actor) = skipped_by {
            let changed = self.changed_paths(path);
            for path in &changed {
                self.clean_up(step, path, Phase::Apply).await?;
            }
            let reason = match changed.is_empty() {
                false => format!("skipped by {actor}; what it has changed stays"),
                true => format!("skipped by {actor}"),
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
        should_run.map_err(|error| StopReason::StepFailed(failure::of_template(&error)))?;
        let action = action_of(step)?;
        if action.kind() == ActionKind::Change && self.changed_paths(path).is_empty() {
            self.evaluate_early(block, later)?;
        }
        let output = match step.at_once {
            Some(at_once) => self.run_items(block, step, path, action, at_once, deadline).await?,
            None => {
                let scope = block.scope.clone();
                ActionRun::new(self, step, path, scope, deadline).run(action).await?
            }
        };
        block.scope.insert(&step.id, &output);
        Ok(())
    }

    /// Evaluates, before the first change, what can be evaluated of the later steps: one that would fail whatever
    /// happens before it must not fail after something was changed.
    fn evaluate_early(&self, block: &Block<'_>, later: &[Step]) -> Result<(), StopReason> {
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
                self.has_refused_early.store(true, Ordering::Relaxed);
                Err(StopReason::StepFailed(Failure { message, ..failure }))
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
    ) -> Result<Instant, StoreError> {
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
        Ok(Instant::now() + timeout.saturating_sub(elapsed))
    }

    /// Gives the targets that the output of a step names to the steps after it.
    pub(super) fn add_targets_of(&self, step: &Step, output: &Value) {
        let Some(action) = actions::find(&step.action) else { return };
        match output {
            Value::Array(outputs) if step.is_loop() => {
                outputs.iter().for_each(|output| self.add_known_targets(action, output));
            }
            Value::Object(outputs) if step.is_loop() => {
                outputs.values().for_each(|output| self.add_known_targets(action, output));
            }
            output => self.add_known_targets(action, output),
        }
    }

    /// Returns the paths at which a step has decided on changes: its own, or those of its items.
    pub(super) fn changed_paths(&self, path: &StepPath) -> Vec<StepPath> {
        let run = self.run();
        let changed = run.work_of(path).filter(|work| work.intent.is_some());
        changed.map(|work| work.path.clone()).collect()
    }
}

/// Returns the action of a checked step.
pub(super) fn action_of(step: &Step) -> Result<&'static ActionDef, StopReason> {
    actions::find(&step.action).ok_or_else(|| {
        let message = format!("action {} not found", step.action);
        StopReason::StepFailed(Failure::new(FailureKind::Internal, message))
    })
}

/// Returns the items of a step, evaluated.
pub(super) fn items_of(step: &Step, scope: &EvaluationScope) -> Result<Value, StopReason> {
    let items = step.items(scope);
    let items = items.map_err(|error| StopReason::StepFailed(failure::of_template(&error)))?;
    Ok(items.unwrap_or_default())
}
