//! A step that calls a runbook: its inputs are decided once, and journaled, and its steps have paths below that of the
//! step. They are run as those of any runbook; where one of them fails, what the caller says decides about the run.

use serde_json::{Map, Value};

use super::{
    block::{Block, Caller, ForwardOutcome},
    deadline::Deadline,
    drive::Driver,
    interruptible::StopReason,
    step::log_message,
};
use crate::journal::{Event, Failure, FailureKind, StepEvent, StepPath};
use runbook::{CalledRunbook, EvaluationScope, Step};

impl Driver<'_> {
    /// Runs the steps of a called runbook that have not ended, and returns its outputs.
    pub(super) async fn run_called(
        &self,
        called: &CalledRunbook,
        step: &Step,
        path: &StepPath,
        scope: EvaluationScope,
        deadline: Deadline,
    ) -> Result<Value, StopReason> {
        let runbook = called.runbook();
        let inputs = self.decided_inputs(called, step, path, &scope).await?;
        let mut block = Block {
            runbook,
            caller: Some(Caller { path: path.clone(), deadline }),
            scope: EvaluationScope::new(&inputs),
        };
        match self.run_steps(&mut block).await? {
            ForwardOutcome::Completed => {}
            ForwardOutcome::Left(failure) => return Err(StopReason::StepFailed(failure)),
            // A called runbook is left.
            ForwardOutcome::Stopped | ForwardOutcome::RollBack => {
                let failure = Failure::new(FailureKind::Internal, "the called runbook has failed");
                return Err(StopReason::StepFailed(failure));
            }
        }
        let output = runbook.outputs(&block.scope)?;
        let message = log_message(step, &scope, &output);
        let event = StepEvent::StepCompleted { revision: 0, output: (&output).into(), message };
        self.append(Event::step(path, event)).await?;
        Ok(output)
    }

    /// Returns the inputs that were decided on before, or decides.
    async fn decided_inputs(
        &self,
        called: &CalledRunbook,
        step: &Step,
        path: &StepPath,
        scope: &EvaluationScope,
    ) -> Result<Map<String, Value>, StopReason> {
        let decided = self.run().step(path).and_then(|recorded| recorded.inputs.clone());
        if let Some(inputs) = decided {
            return Ok(inputs);
        }
        let inputs = step.call_inputs(scope)?;
        let (runbook, recorded) = (called.runbook().name.clone(), inputs.clone());
        let event = StepEvent::StepCalled { runbook, inputs: recorded };
        self.append(Event::step(path, event)).await?;
        Ok(inputs)
    }
}
