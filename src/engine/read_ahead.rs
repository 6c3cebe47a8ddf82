//! What a run would do, as far as that can be read: every step whose parameters depend on nothing that the run itself
//! changes is evaluated against the live platform, where reads are made and changes are prepared. Nothing is sent that
//! changes anything: the operations that are called take a reader.

mod affects;

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};

use super::{
    CheckedRunbook, Engine, action_run::to_journal_change, failure, interruptible::caught,
    items::in_form_of,
};
use crate::{
    actions::{self, ActionDef, ChangeOps, KnownTargets, Operations},
    journal::{Failure, RecordedChange, StepPath},
    platform::Progress,
};
use affects::{Facts, facts_changed_by, facts_read_by};
use runbook::{ActionKind, EvaluationScope, Reversibility, Step, each_of};

/// How long one step may take to be read ahead. Some wait for what is in progress: the run does that, and a plan does
/// not.
const STEP_LIMIT: Duration = Duration::from_secs(15);
/// How long a condition that a step waits for may take to hold, so that the step waits for nothing.
const WAIT_LIMIT: Duration = Duration::from_secs(2);
/// How long all steps together may take.
const TOTAL_LIMIT: Duration = Duration::from_secs(120);

/// A step as it is read ahead.
#[derive(Debug, Clone, PartialEq)]
pub struct StepAhead {
    /// Its address in the run.
    pub path: StepPath,
    /// Its name, with the values that are known.
    pub name: String,
    /// Its action; `call` for one that calls a runbook.
    pub action: String,
    /// The kind of its action.
    pub kind: ActionKind,
    /// How much its undo restores.
    pub reversibility: Reversibility,
    /// Whether it is undone when the run ends.
    pub restore_at_end: bool,
    /// Its parameters, where they are known.
    pub arguments: Option<Value>,
    /// The result of reading ahead.
    pub finding: Ahead,
}

/// The result of reading a step ahead.
#[derive(Debug, Clone, PartialEq)]
pub enum Ahead {
    /// The step reads, and has read this; with the message that it logs.
    Reads {
        /// Its output.
        output: Value,
        /// Its message.
        message: Option<String>,
    },
    /// The step changes this, object by object; nothing where the list is empty.
    Changes(Vec<RecordedChange>),
    /// The step waits, for persons or for a condition that is not looked at before the run.
    Waits,
    /// The step is a loop, or calls a runbook; its parts follow.
    Parts,
    /// The step is skipped, for this reason.
    Skipped(String),
    /// The step fails, whatever happens before it.
    Fails(Failure),
    /// The step depends on what these steps do: their paths.
    KnownAfter(Vec<StepPath>),
    /// The step waits for a condition that holds now; with the message that it logs.
    Holds {
        /// Its message.
        message: Option<String>,
    },
    /// The step was not read in time; with what it was waiting for.
    NotInTime(Option<String>),
}

/// The steps of a run that is not started, in order.
#[derive(Debug, Clone, Default)]
pub struct ReadAhead {
    /// The steps.
    pub steps: Vec<StepAhead>,
}

/// The state of reading ahead: the steps so far, and the facts that they would have changed.
struct Walk<'e> {
    engine: &'e Engine,
    known: KnownTargets,
    steps: Vec<StepAhead>,
    /// The facts that earlier steps would have changed, each with the step.
    changed: Vec<(Facts, StepPath)>,
    /// When the time of all steps is up.
    ends_at: Instant,
}

/// The steps of one runbook, and what is known of those before.
struct Frame {
    caller: Option<StepPath>,
    scope: EvaluationScope,
    /// The steps whose outputs are not known.
    unknown: BTreeSet<String>,
}

impl Frame {
    fn path(&self, step: &str) -> StepPath {
        match &self.caller {
            Some(caller) => caller.child(step),
            None => StepPath::top_level(step),
        }
    }
}

impl Engine {
    /// Reads ahead what a run with these inputs would do.
    pub async fn read_ahead(
        &self,
        checked: &CheckedRunbook,
        inputs: &Map<String, Value>,
    ) -> ReadAhead {
        let known = KnownTargets::default();
        let ends_at = Instant::now() + TOTAL_LIMIT;
        let mut walk =
            Walk { engine: self, known, steps: Vec::new(), changed: Vec::new(), ends_at };
        let scope = EvaluationScope::new(inputs);
        let mut frame = Frame { caller: None, scope, unknown: BTreeSet::new() };
        for step in &checked.runbook().steps {
            let output = walk.step(&mut frame, step).await;
            frame.end(step, output);
        }
        ReadAhead { steps: walk.steps }
    }
}

impl Frame {
    fn end(&mut self, step: &Step, output: Known) {
        match output {
            Known::Output(output) => self.scope.insert(&step.id, &output),
            Known::Absent => {}
            Known::Unknown => {
                self.unknown.insert(step.id.clone());
            }
        }
    }
}

/// The output of a step, as far as it is known.
enum Known {
    Output(Value),
    /// The step is skipped.
    Absent,
    Unknown,
}

impl Walk<'_> {
    async fn step(&mut self, frame: &mut Frame, step: &Step) -> Known {
        let path = frame.path(&step.id);
        let missing: Vec<StepPath> = step
            .uses()
            .iter()
            .filter(|id| frame.unknown.contains(*id))
            .map(|id| frame.path(id))
            .collect();
        if !missing.is_empty() {
            return self.unknown(step, path, &frame.scope, missing);
        }
        match step.should_run(&frame.scope) {
            Ok(true) => {}
            Ok(false) => {
                let why = step.explain_when(&frame.scope);
                let why = why.map(|why| format!("`when` is false: {why}"));
                let reason = why.unwrap_or_else(|| "`when` is false".into());
                self.push(step, path, &frame.scope, None, Ahead::Skipped(reason));
                return Known::Absent;
            }
            Err(error) => {
                return self.fails(step, path, &frame.scope, failure::of_template(&error));
            }
        }
        if !step.is_loop() {
            return self.part(step, path, &frame.scope).await;
        }
        let items = match step.items(&frame.scope) {
            Ok(items) => items,
            Err(error) => {
                return self.fails(step, path, &frame.scope, failure::of_template(&error));
            }
        };
        self.push(step, path.clone(), &frame.scope, None, Ahead::Parts);
        let mut outputs = Some(Vec::new());
        for (index, each) in each_of(items.as_ref()).iter().enumerate() {
            let scope = frame.scope.with_each(each);
            let path = path.item(u32::try_from(index).unwrap_or(u32::MAX));
            let output = self.part(step, path, &scope).await;
            outputs = match (outputs, output) {
                (Some(mut outputs), Known::Output(output)) => {
                    outputs.push(output);
                    Some(outputs)
                }
                _ => None,
            };
        }
        let Some(outputs) = outputs else { return Known::Unknown };
        Known::Output(in_form_of(&items.unwrap_or_default(), outputs))
    }

    /// Reads ahead a step that runs once, or one item.
    async fn part(&mut self, step: &Step, path: StepPath, scope: &EvaluationScope) -> Known {
        if step.call.is_some() {
            return Box::pin(self.call(step, path, scope)).await;
        }
        let Some(action) = actions::find(&step.action) else { return Known::Unknown };
        let arguments = match step.arguments(scope) {
            Ok(arguments) => arguments,
            Err(error) => return self.fails(step, path, scope, failure::of_template(&error)),
        };
        let needed = facts_read_by(action);
        let falsified = self.changed.iter().filter(|(facts, _)| facts.overlaps(needed));
        let falsified: Vec<StepPath> = falsified.map(|(_, path)| path.clone()).collect();
        if !falsified.is_empty() {
            self.note_change(action, &path);
            return self.known_after(step, path, scope, Some(arguments), falsified);
        }
        match &action.operations {
            Operations::Read(read) => {
                let reader = self.engine.platform.reader();
                let progress = Progress::silent();
                let read =
                    self.within(STEP_LIMIT, read(arguments.clone(), &reader, &progress)).await;
                match read {
                    Some(Ok(output)) => {
                        let message = self.know(action, step, scope, &output);
                        let finding = Ahead::Reads { output: output.clone(), message };
                        self.push(step, path, scope, Some(arguments), finding);
                        Known::Output(output)
                    }
                    Some(Err(error)) => self.fails(step, path, scope, failure::of_action(&error)),
                    None => {
                        let finding = Ahead::NotInTime(progress.waiting_for());
                        self.push(step, path, scope, Some(arguments), finding);
                        Known::Unknown
                    }
                }
            }
            // What does not ask the platforms is not tried.
            Operations::Wait(wait) if !action.permissions.is_empty() => {
                let (reader, progress) = (self.engine.platform.reader(), Progress::silent());
                let waited = wait(arguments.clone(), &reader, &progress);
                let Some(Ok(output)) = self.within(WAIT_LIMIT, waited).await else {
                    return self.waits(step, path, scope, arguments);
                };
                let message = self.know(action, step, scope, &output);
                self.push(step, path, scope, Some(arguments), Ahead::Holds { message });
                Known::Output(output)
            }
            Operations::Wait(_) | Operations::Approval(_) => {
                self.waits(step, path, scope, arguments)
            }
            Operations::Change(operations) => {
                let finding = self.prepare(operations, arguments.clone()).await;
                if !matches!(&finding, Ahead::Changes(changes) if changes.is_empty()) {
                    self.note_change(action, &path);
                }
                self.push(step, path, scope, Some(arguments), finding);
                Known::Unknown
            }
        }
    }

    /// Takes note of what a step has found, and returns the message that it logs.
    fn know(
        &mut self,
        action: &ActionDef,
        step: &Step,
        scope: &EvaluationScope,
        output: &Value,
    ) -> Option<String> {
        (action.add_known_targets)(output, &mut self.known);
        let mut after = scope.clone();
        after.insert(&step.id, output);
        step.message(&after).ok().flatten()
    }

    /// Records a step for which time passes: what is read after it may be something else than what is there now.
    fn waits(
        &mut self,
        step: &Step,
        path: StepPath,
        scope: &EvaluationScope,
        arguments: Value,
    ) -> Known {
        self.changed.push((Facts::ALL, path.clone()));
        self.push(step, path, scope, Some(arguments), Ahead::Waits);
        Known::Unknown
    }

    async fn prepare(&self, operations: &ChangeOps, arguments: Value) -> Ahead {
        let reader = self.engine.platform.reader();
        let progress = Progress::silent();
        let prepare = (operations.prepare)(arguments, &self.known, &reader, &progress);
        let Some(intent) = self.within(STEP_LIMIT, prepare).await else {
            return Ahead::NotInTime(progress.waiting_for());
        };
        match intent.and_then(|intent| (operations.planned_changes)(&intent)) {
            Ok(changes) => Ahead::Changes(changes.into_iter().map(to_journal_change).collect()),
            Err(error) => Ahead::Fails(failure::of_action(&error)),
        }
    }

    /// Returns what an operation has found, or nothing when its time is up.
    async fn within<T>(
        &self,
        limit: Duration,
        operation: impl Future<Output = actions::Result<T>>,
    ) -> Option<actions::Result<T>> {
        let ends_at = self.ends_at.min(Instant::now() + limit);
        timeout_at(ends_at, caught(operation)).await.ok()
    }

    async fn call(&mut self, step: &Step, path: StepPath, scope: &EvaluationScope) -> Known {
        let Some(called) = &step.call else { return Known::Unknown };
        let inputs = match step.call_inputs(scope) {
            Ok(inputs) => inputs,
            Err(error) => return self.fails(step, path, scope, failure::of_template(&error)),
        };
        self.push(step, path.clone(), scope, Some(json!(inputs)), Ahead::Parts);
        let scope = EvaluationScope::new(&inputs);
        let mut frame = Frame { caller: Some(path), scope, unknown: BTreeSet::new() };
        for step in &called.runbook().steps {
            let output = self.step(&mut frame, step).await;
            frame.end(step, output);
        }
        if !frame.unknown.is_empty() {
            return Known::Unknown;
        }
        called.runbook().outputs(&frame.scope).map_or(Known::Unknown, Known::Output)
    }

    /// Records a step whose parameters are not known, and those of the runbook that it calls.
    fn unknown(
        &mut self,
        step: &Step,
        path: StepPath,
        scope: &EvaluationScope,
        missing: Vec<StepPath>,
    ) -> Known {
        match (&step.call, actions::find(&step.action)) {
            (Some(called), _) => {
                let all = called.runbook().all_steps().into_iter();
                for action in all.filter_map(|step| actions::find(&step.action)) {
                    self.note_change(action, &path);
                }
            }
            (None, Some(action)) => self.note_change(action, &path),
            (None, None) => {}
        }
        self.known_after(step, path, scope, None, missing)
    }

    fn known_after(
        &mut self,
        step: &Step,
        path: StepPath,
        scope: &EvaluationScope,
        arguments: Option<Value>,
        mut after: Vec<StepPath>,
    ) -> Known {
        after.dedup();
        self.push(step, path, scope, arguments, Ahead::KnownAfter(after));
        Known::Unknown
    }

    fn fails(
        &mut self,
        step: &Step,
        path: StepPath,
        scope: &EvaluationScope,
        failure: Failure,
    ) -> Known {
        self.push(step, path, scope, None, Ahead::Fails(failure));
        Known::Unknown
    }

    fn note_change(&mut self, action: &ActionDef, path: &StepPath) {
        match action.kind() {
            ActionKind::Change => self.changed.push((facts_changed_by(action), path.clone())),
            ActionKind::Wait => self.changed.push((Facts::ALL, path.clone())),
            ActionKind::Read => {}
        }
    }

    fn push(
        &mut self,
        step: &Step,
        path: StepPath,
        scope: &EvaluationScope,
        arguments: Option<Value>,
        finding: Ahead,
    ) {
        let action = actions::find(&step.action);
        self.steps.push(StepAhead {
            path,
            name: step.display_name(scope),
            action: step.action.clone(),
            kind: action.map_or(ActionKind::Change, ActionDef::kind),
            reversibility: action.map_or(Reversibility::NotApplicable, ActionDef::reversibility),
            restore_at_end: step.restore_at_end,
            arguments,
            finding,
        });
    }
}
