//! What a run would find and do, for a person who has to confirm it: the leading steps that only read, run without a
//! journal, and the steps that change something.

use serde_json::{Map, Value};

use super::{
    CheckedRunbook, Engine, Preflight, ResumePreflight, StartError, checked::is_of_kind, failure,
    interruptible::caught,
};
use crate::{
    actions::{self, Operations},
    journal::{Failure, FailureKind, RecordedChange, StepPath, StepProgress},
    platform::Progress,
};
use runbook::{ActionKind, EvaluationScope, Reversibility, Step};

/// A step that would change something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangingStep {
    /// The step's name.
    pub name: String,
    /// Its action.
    pub action: String,
    /// Whether it can be undone.
    pub is_reversible: bool,
    /// Whether it is undone when the run ends.
    pub restore_at_end: bool,
}

/// A step that would be undone.
#[derive(Debug, Clone, PartialEq)]
pub struct UndoneStep {
    /// The step's name.
    pub name: String,
    /// Whether it can be undone.
    pub is_reversible: bool,
    /// The changes of the step.
    pub changes: Vec<RecordedChange>,
}

/// The work that is left for a resumed run.
#[derive(Debug, Clone, PartialEq)]
pub enum Remaining {
    /// The run continues with these steps, among others that change nothing.
    Forward(Vec<ChangingStep>),
    /// The run undoes these steps, in this order.
    Back(Vec<UndoneStep>),
}

impl Preflight {
    /// Returns the steps that would change something.
    pub fn changing_steps(&self) -> Vec<ChangingStep> {
        let inputs = EvaluationScope::new(&self.inputs);
        let scope = self.reads.as_ref().map_or(&inputs, |reads| &reads.scope);
        let steps = self.checked.runbook().steps.iter();
        steps.flat_map(|step| changing_steps(step, scope)).collect()
    }
}

impl ResumePreflight {
    /// Returns what resuming the run would do.
    pub fn remaining(&self) -> Remaining {
        let (run, runbook) = (self.run(), self.checked.runbook());
        if !self.rolls_back() {
            let steps = runbook.steps.iter().filter(|step| self.is_left(step));
            let scope = &self.scope();
            let steps = steps.flat_map(|step| changing_steps(step, scope));
            return Remaining::Forward(steps.collect());
        }
        let steps = run.rollback_order().into_iter().map(|recorded| {
            let step = self.checked.step(&recorded.path);
            let action = step.and_then(|step| actions::find(&step.action));
            UndoneStep {
                name: recorded.name.clone(),
                is_reversible: action
                    .is_none_or(|action| action.reversibility() != Reversibility::Irreversible),
                changes: recorded.intent.iter().flat_map(|i| i.changes.clone()).collect(),
            }
        });
        Remaining::Back(steps.collect())
    }

    /// Returns the inputs and the outputs so far.
    pub(super) fn scope(&self) -> EvaluationScope {
        let mut scope = EvaluationScope::new(self.inputs());
        for step in &self.checked.runbook().steps {
            let recorded = self.run().step(&StepPath::top_level(&step.id));
            if let Some(output) = recorded.and_then(StepProgress::output) {
                scope.insert(&step.id, &output.to_value());
            }
        }
        scope
    }

    /// Whether the resumed run runs the step.
    pub(super) fn is_left(&self, step: &Step) -> bool {
        let path = StepPath::top_level(&step.id);
        let has_ended = || self.run().step(&path).is_some_and(StepProgress::has_ended);
        self.is_run(&path).unwrap_or_else(|| !has_ended())
    }

    /// Evaluates what can be evaluated of the steps that are left of a changed runbook: one that would fail whatever
    /// happens before it is found before the run is resumed.
    ///
    /// # Errors
    /// A step would fail by its parameters alone.
    pub(super) fn evaluate_early(&self) -> Result<(), StartError> {
        let replaced = self.amendment.as_ref().and_then(|amendment| amendment.runbook.as_ref());
        let Some(replaced) = replaced.filter(|_| !self.rolls_back()) else { return Ok(()) };
        let mut scope = EvaluationScope::new(&replaced.inputs);
        for step in &self.checked.runbook().steps {
            // What was read may be read again.
            let reads = is_of_kind(step, ActionKind::Read);
            let recorded = self.run().step(&StepPath::top_level(&step.id));
            if let Some(output) = recorded.filter(|_| !reads).and_then(StepProgress::output) {
                scope.insert(&step.id, &output.to_value());
            }
        }
        let left = self.checked.runbook().steps.iter().filter(|step| self.is_left(step));
        CheckedRunbook::evaluate_steps_early(left, &scope)
    }

    /// Whether a person decided that the step is run, or that it is not; `None` where no person did.
    fn is_run(&self, path: &StepPath) -> Option<bool> {
        match &self.amendment {
            Some(amendment) if amendment.skip.contains(path) => Some(false),
            Some(amendment) if amendment.again.contains(path) => Some(true),
            _ => self.run().skipped_by(path).map(|_| false),
        }
    }
}

/// Returns a step, if it changes something, or the steps of the runbook that it calls which do.
fn changing_steps(step: &Step, scope: &EvaluationScope) -> Vec<ChangingStep> {
    let name = step.display_name(scope);
    if let Some(called) = &step.call {
        let inputs = step.call_inputs(scope).unwrap_or_default();
        let inner = EvaluationScope::new(&inputs);
        let steps = called.runbook().steps.iter().flat_map(|step| changing_steps(step, &inner));
        let below = |changing: ChangingStep| ChangingStep {
            name: format!("{name}: {}", changing.name),
            ..changing
        };
        return steps.map(below).collect();
    }
    let Some(action) = actions::find(&step.action) else { return Vec::new() };
    if action.kind() != ActionKind::Change {
        return Vec::new();
    }
    vec![ChangingStep {
        name,
        action: step.action.clone(),
        is_reversible: action.reversibility() != Reversibility::Irreversible,
        restore_at_end: step.restore_at_end,
    }]
}

impl Engine {
    /// Runs the leading steps that read, up to the first that fails or does anything else.
    pub(super) async fn read_leading(
        &self,
        checked: &CheckedRunbook,
        inputs: &Map<String, Value>,
    ) -> LeadingReads {
        let scope = EvaluationScope::new(inputs);
        let mut reads = LeadingReads { scope, failure: None };
        let reader = self.platform.reader();
        for step in &checked.runbook().steps {
            let operation = actions::find(&step.action).map(|action| &action.operations);
            let Some(Operations::Read(read)) = operation.filter(|_| !step.is_loop()) else { break };
            match step.should_run(&reads.scope) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => return reads.failed(step, failure::of_template(&error)),
            }
            let arguments = match step.arguments(&reads.scope) {
                Ok(arguments) => arguments,
                Err(error) => return reads.failed(step, failure::of_template(&error)),
            };
            let progress = Progress::silent();
            let output = match caught(read(arguments, &reader, &progress)).await {
                Ok(output) => output,
                Err(error) => return reads.failed(step, failure::of_action(&error)),
            };
            reads.scope.insert(&step.id, &output);
        }
        reads
    }
}

/// The outputs of the leading steps of a run.
#[derive(Debug, Clone)]
pub(super) struct LeadingReads {
    /// The inputs and the outputs.
    pub(super) scope: EvaluationScope,
    /// The name of the last of them, if it failed, and why.
    failure: Option<(String, Failure)>,
}

impl LeadingReads {
    /// Returns the reads of a run of which nothing was read in time.
    pub(super) fn none(inputs: &Map<String, Value>) -> Self {
        let failure = Failure::new(FailureKind::TimedOut, "no answer in time");
        Self {
            scope: EvaluationScope::new(inputs),
            failure: Some(("the leading steps".into(), failure)),
        }
    }

    /// Returns why what the steps were to read is not known.
    pub(super) fn why_incomplete(&self) -> Option<String> {
        let (step, failure) = self.failure.as_ref()?;
        Some(format!("its resource is not known, because this failed: {step}: {failure}"))
    }

    fn failed(self, step: &Step, failure: Failure) -> Self {
        Self { failure: Some((step.display_name(&self.scope), failure)), ..self }
    }
}
