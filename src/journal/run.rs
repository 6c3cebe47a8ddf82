//! A run as a fold over its events: what resume, `/status` and `runs show` read.

use std::{borrow::Borrow, collections::HashMap, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    AfterFailure, Amendment, ApprovalProgress, CalledText, Event, Failure, GivenApproval,
    RecordedAmendment, RecordedChange, RecordedDifference, RecordedEvent, RecordedJson, Rejection,
    ReplacedRunbook, ResumeMode, RunEvent, RunHead, RunOutcome, RunSpec, RunState, StepEvent,
    StepPath,
};
use crate::journal::RunId;

/// A run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The specification that it was started with.
    pub spec: RunSpec,
    /// Its summary: id, state, times.
    pub head: RunHead,
    /// Its steps in the order in which they began; steps that have not begun are not here.
    steps: Vec<StepProgress>,
    index: HashMap<StepPath, usize>,
    /// The generations of steps whose progress was forgotten: what they send again is another request.
    generations: HashMap<StepPath, u32>,
    /// The differences from its start when it last ended; none where the targets were not read.
    differences: Option<Vec<RecordedDifference>>,
    amendments: Vec<RecordedAmendment>,
    /// The steps that a person skips, with the actor that asked for it.
    skipped: HashMap<StepPath, String>,
}

/// The progress of a step.
#[derive(Debug, Clone)]
pub struct StepProgress {
    /// Its address in the run.
    pub path: StepPath,
    /// Its name, for people.
    pub name: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How many attempts have failed since it began, or since a person resumed the run.
    pub failed_attempts: u32,
    /// The items for which it runs, once they are decided.
    pub items: Option<Value>,
    /// The inputs of the runbook that it calls, once they are decided.
    pub inputs: Option<Map<String, Value>>,
    /// The approval that it asked for.
    pub approval: Option<ApprovalProgress>,
    /// The changes that the step decided on.
    pub intent: Option<RecordedIntent>,
    /// How many operations of this step ended in a definite failure: part of the client token.
    pub generation: u32,
    /// The receipt that came back when the intent was sent.
    pub receipt: Option<Value>,
    /// How it ended, if it has.
    pub outcome: Option<StepOutcome>,
    /// The progress of its undo, if there was one.
    pub undo: Option<UndoStatus>,
    /// Whether it was undone, as far as it could be, because the run came to its end.
    is_restored: bool,
    /// Whether its undo has found that the change cannot be undone.
    is_irreversible: bool,
    /// The place of the event that prepared it: changes are undone in the reverse of this order.
    prepared_seq: Option<u64>,
    elapsed: Duration,
    running_since: Option<Timestamp>,
    /// The time that it took, once it has ended.
    took: Option<Duration>,
}

/// The changes that a step decided on.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedIntent {
    /// The revision of the action that wrote it.
    pub revision: u32,
    /// In the action's own form.
    pub value: Value,
    /// The same, target by target.
    pub changes: Vec<RecordedChange>,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq)]
pub enum StepOutcome {
    /// The step succeeded.
    Completed {
        /// The revision of the action that wrote the output.
        revision: u32,
        /// The output that later steps are given.
        output: RecordedJson,
    },
    /// The step was skipped.
    Skipped {
        /// Why.
        reason: String,
    },
    /// The step failed.
    Failed {
        /// Why.
        failure: Failure,
        /// The consequence.
        then: AfterFailure,
    },
}

/// The progress of an undo.
#[derive(Debug, Clone, PartialEq)]
pub enum UndoStatus {
    /// The undo began.
    Started,
    /// The undo finished; these targets were not restored.
    Finished(Vec<String>),
    /// The undo failed.
    Failed(Failure),
}

impl StepProgress {
    fn new(path: &StepPath) -> Self {
        Self {
            path: path.clone(),
            name: path.to_string(),
            started_at: None,
            ended_at: None,
            failed_attempts: 0,
            items: None,
            inputs: None,
            approval: None,
            intent: None,
            generation: 0,
            receipt: None,
            outcome: None,
            undo: None,
            is_restored: false,
            is_irreversible: false,
            prepared_seq: None,
            elapsed: Duration::ZERO,
            running_since: None,
            took: None,
        }
    }

    /// Returns the time that this step used in earlier processes, in units of the wall clock. Time in which no process
    /// drove the run does not count.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Returns the time that it took, once it has ended, in units of the wall clock. Time in which no process drove the
    /// run does not count.
    pub fn took(&self) -> Option<Duration> {
        self.took
    }

    /// Whether it has ended in a way after which the run goes on. A failure that ended the run, or what the step is a
    /// part of, is what a resume is for.
    pub fn has_ended(&self) -> bool {
        match &self.outcome {
            None => false,
            Some(StepOutcome::Failed { then, .. }) => *then == AfterFailure::Continue,
            Some(StepOutcome::Completed { .. } | StepOutcome::Skipped { .. }) => true,
        }
    }

    /// Returns how many items it runs for, once they are decided.
    pub fn item_count(&self) -> Option<usize> {
        match self.items.as_ref()? {
            Value::Array(items) => Some(items.len()),
            Value::Object(fields) => Some(fields.len()),
            _ => None,
        }
    }

    /// Whether its change may have had an effect that is still there.
    pub fn may_need_undo(&self) -> bool {
        self.intent.is_some() && !matches!(self.undo, Some(UndoStatus::Finished(_)))
    }

    /// Whether its change was undone because the run ended.
    pub fn is_restored(&self) -> bool {
        self.is_restored && matches!(self.undo, Some(UndoStatus::Finished(_)))
    }

    /// Returns the changes that it decided on as differences that are not verified.
    pub fn unverified_differences(&self) -> Vec<RecordedDifference> {
        let changes = self.intent.iter().flat_map(|intent| &intent.changes);
        let difference = |change: &RecordedChange| RecordedDifference {
            target: change.target.clone(),
            before: change.before.clone(),
            now: change.after.clone(),
            unverified: true,
            restore: None,
        };
        changes.map(difference).collect()
    }

    /// Returns its output, if it succeeded.
    pub fn output(&self) -> Option<&RecordedJson> {
        match &self.outcome {
            Some(StepOutcome::Completed { output, .. }) => Some(output),
            _ => None,
        }
    }

    fn stop_timer(&mut self, now: Timestamp) {
        if let Some(since) = self.running_since.take() {
            self.elapsed += Duration::try_from(now - since).unwrap_or_default();
        }
    }

    /// Lets a change that was undone be made again. One that cannot be undone is still there.
    fn repeat(&mut self) {
        if self.is_irreversible && self.output().is_some() {
            self.undo = None;
            return;
        }
        // One that was undone in part is made again as it was decided, so that its undo restores what was there first.
        if matches!(self.undo, Some(UndoStatus::Finished(_))) {
            (self.intent, self.prepared_seq) = (None, None);
        }
        (self.receipt, self.undo) = (None, None);
        (self.outcome, self.ended_at) = (None, None);
        self.is_restored = false;
        // What is sent again is another request to the platform.
        self.generation += 1;
        self.reset_retry_budget();
    }

    /// Whether it has failed and the run went on without it.
    fn has_failed_for_good(&self) -> bool {
        matches!(&self.outcome, Some(StepOutcome::Failed { then: AfterFailure::Continue, .. }))
    }

    /// Gives an open step its whole time and all its attempts again: a person resumes a run that had stopped.
    fn reset_retry_budget(&mut self) {
        self.elapsed = Duration::ZERO;
        self.failed_attempts = 0;
        // What was asked before is asked again.
        if self.outcome.is_none() {
            self.approval = None;
        }
    }
}

impl Run {
    /// Folds a run's events; `None` when the first of them does not start a run.
    pub fn of<E: Borrow<RecordedEvent>>(id: &RunId, events: &[E]) -> Option<Self> {
        let (first, rest) = events.split_first()?;
        let first = first.borrow();
        let Event::Run(RunEvent::RunStarted(spec)) = &first.event else { return None };
        let head = RunHead::start(id, first)?;
        let mut run = Self {
            spec: (**spec).clone(),
            head,
            steps: Vec::new(),
            index: HashMap::new(),
            generations: HashMap::new(),
            differences: None,
            amendments: Vec::new(),
            skipped: HashMap::new(),
        };
        rest.iter().for_each(|event| run.apply(event.borrow()));
        Some(run)
    }

    /// Returns the run's id.
    pub fn id(&self) -> &RunId {
        &self.head.run
    }

    /// Returns the state; `is_live` says whether a process drives the run.
    pub fn state(&self, is_live: bool) -> RunState {
        self.head.state(is_live)
    }

    /// Returns what persons changed about the rest of the run, in that order.
    pub fn amendments(&self) -> &[RecordedAmendment] {
        &self.amendments
    }

    /// Returns who decided that a step is not run.
    pub fn skipped_by(&self, path: &StepPath) -> Option<&str> {
        self.skipped.get(path).map(String::as_str)
    }

    /// Returns the text of the runbook that the run is to finish with.
    pub fn text(&self) -> &str {
        self.replaced().map_or(&self.spec.text, |runbook| &runbook.text)
    }

    /// Returns the SHA-256 of that text, in hexadecimal.
    pub fn digest(&self) -> &str {
        self.replaced().map_or(&self.spec.digest, |runbook| &runbook.digest)
    }

    /// Returns where that text came from, where it is known.
    pub fn origin(&self) -> Option<&str> {
        self.replaced().map_or(&self.spec.origin, |runbook| &runbook.origin).as_deref()
    }

    /// Returns the texts of the runbooks that it calls.
    pub fn called(&self) -> &[CalledText] {
        self.replaced().map_or(&self.spec.called, |runbook| &runbook.called)
    }

    /// Returns the inputs as that runbook declares them.
    pub fn inputs(&self) -> &Map<String, Value> {
        self.replaced().map_or(&self.spec.inputs, |runbook| &runbook.inputs)
    }

    fn replaced(&self) -> Option<&ReplacedRunbook> {
        self.amendments.iter().rev().find_map(|recorded| recorded.amendment.runbook.as_ref())
    }

    /// Returns the steps that have begun, in that order.
    pub fn steps(&self) -> &[StepProgress] {
        &self.steps
    }

    /// Returns a step, if it has begun.
    pub fn step(&self, path: &StepPath) -> Option<&StepProgress> {
        self.steps.get(*self.index.get(path)?)
    }

    /// Returns the steps that wait for approval, each with what it has asked.
    pub fn open_approvals(&self) -> impl Iterator<Item = (&StepPath, &ApprovalProgress)> {
        let waiting = self.steps.iter().filter(|step| step.outcome.is_none());
        waiting.filter_map(|step| {
            let approval = step.approval.as_ref().filter(|approval| approval.is_open())?;
            Some((&step.path, approval))
        })
    }

    /// Whether a step, or an item of it, has decided on its changes.
    pub fn has_decided(&self, path: &StepPath) -> bool {
        self.work_of(path).any(|work| work.intent.is_some())
    }

    /// Returns what has begun of a step: itself, and its items.
    pub fn work_of(&self, path: &StepPath) -> impl Iterator<Item = &StepProgress> {
        self.steps.iter().filter(move |step| step.path.is_part_of(path))
    }

    /// Returns the steps that a rollback undoes, in its order: the reverse of the order in which they were prepared.
    pub fn rollback_order(&self) -> Vec<&StepProgress> {
        let mut steps: Vec<&StepProgress> =
            self.steps.iter().filter(|step| step.may_need_undo()).collect();
        steps.sort_by_key(|step| std::cmp::Reverse(step.prepared_seq));
        steps
    }

    /// Returns the steps that decided on changes, undone or not, in the order in which they did.
    pub fn prepared_steps(&self) -> Vec<&StepProgress> {
        let mut steps: Vec<&StepProgress> =
            self.steps.iter().filter(|step| step.intent.is_some()).collect();
        steps.sort_by_key(|step| step.prepared_seq);
        steps
    }

    /// Returns what still differs from the start of the run, as was seen when it ended. Where its process died before
    /// that, these are the changes that it decided on and did not undo. A run that succeeded has none.
    pub fn differences(&self) -> Vec<RecordedDifference> {
        if let Some(differences) = &self.differences {
            return differences.clone();
        }
        match self.state(false) {
            RunState::Succeeded | RunState::SucceededWithFailures | RunState::RolledBack => {
                Vec::new()
            }
            _ => self
                .prepared_steps()
                .into_iter()
                .filter(|step| step.may_need_undo())
                .flat_map(StepProgress::unverified_differences)
                .collect(),
        }
    }

    /// Folds one more event.
    pub fn apply(&mut self, recorded: &RecordedEvent) {
        match &recorded.event {
            Event::Run(RunEvent::RunResumed { actor, amendment, mode, .. }) => {
                // After a crash the open step keeps the time and the attempts that it used.
                self.differences = None;
                let last = self.head.last_event_at;
                self.steps.iter_mut().for_each(|step| step.stop_timer(last));
                self.repeat_restored(*mode);
                // A person continues what was stopped while it was being left: it begins again.
                if *mode == ResumeMode::Continue
                    && self.head.is_cancel_requested()
                    && let Some(path) = self.left()
                {
                    self.begin_again(&path);
                }
                if let Some(amendment) = amendment {
                    self.amend(recorded.time, actor, amendment);
                }
            }
            Event::Run(RunEvent::RunEnded { outcome, differences, .. }) => {
                self.differences.clone_from(differences);
                for step in &mut self.steps {
                    step.stop_timer(recorded.time);
                    if *outcome != RunOutcome::Interrupted {
                        step.reset_retry_budget();
                    }
                }
            }
            Event::Run(_) => {}
            Event::Step { path, event } => self.apply_step_event(path, event, recorded),
        }
        self.head.apply(recorded);
    }

    fn apply_step_event(&mut self, path: &StepPath, event: &StepEvent, recorded: &RecordedEvent) {
        let time = recorded.time;
        let is_restoring = self.head.restoring().is_some();
        let step = self.step_mut(path);
        match event {
            StepEvent::StepStarted { name, .. } => begin(step, name, time),
            StepEvent::StepResumed { name } => {
                let begins_again = step.outcome.is_some();
                begin(step, name, time);
                if begins_again {
                    self.begin_again(path);
                }
            }
            StepEvent::StepCalled { inputs, .. } => step.inputs = Some(inputs.clone()),
            StepEvent::StepItemsDecided { items } => step.items = Some(items.clone()),
            StepEvent::StepSkipped { name, reason } => {
                begin(step, name, time);
                end(step, time, StepOutcome::Skipped { reason: reason.clone() });
            }
            StepEvent::StepMessage { .. } | StepEvent::StepWaiting { .. } => {}
            StepEvent::StepApprovalRequested { message, approvals, not_by, ask, expires_at } => {
                step.approval = Some(ApprovalProgress {
                    message: message.clone(),
                    approvals: *approvals,
                    not_by: not_by.clone(),
                    ask: ask.clone(),
                    expires_at: *expires_at,
                    given: Vec::new(),
                    answers: Map::new(),
                    rejection: None,
                    taken: Vec::new(),
                });
            }
            StepEvent::StepApproved { answer, actor, answers, note } => {
                let Some(approval) = &mut step.approval else { return };
                if approval.given.is_empty() {
                    approval.answers.clone_from(answers);
                }
                approval.taken.push(answer.clone());
                let (actor, note) = (actor.clone(), note.clone());
                approval.given.push(GivenApproval { actor, time, note });
            }
            StepEvent::StepRejected { answer, actor, reason } => {
                let Some(approval) = &mut step.approval else { return };
                approval.taken.push(answer.clone());
                let (actor, reason) = (actor.clone(), reason.clone());
                approval.rejection = Some(Rejection { actor, reason });
            }
            StepEvent::StepPrepared { revision, intent, changes } => {
                step.prepared_seq = Some(recorded.seq);
                step.intent = Some(RecordedIntent {
                    revision: *revision,
                    value: intent.clone(),
                    changes: changes.clone(),
                });
            }
            StepEvent::StepApplied { receipt, .. } => step.receipt = Some(receipt.clone()),
            StepEvent::StepOperationFailed { generation, .. } => {
                step.generation = generation + 1;
                step.receipt = None;
            }
            StepEvent::StepAttemptFailed { attempt, .. } => step.failed_attempts = *attempt,
            StepEvent::StepCompleted { revision, output, .. } => {
                let output = output.clone();
                end(step, time, StepOutcome::Completed { revision: *revision, output });
            }
            StepEvent::StepFailed { failure, then } => {
                end(step, time, StepOutcome::Failed { failure: failure.clone(), then: *then });
            }
            StepEvent::StepUndoStarted => step.undo = Some(UndoStatus::Started),
            StepEvent::StepUndoFinished { not_restored, irreversible } => {
                step.undo = Some(UndoStatus::Finished(not_restored.clone()));
                step.is_irreversible = *irreversible;
                step.is_restored = is_restoring;
            }
            StepEvent::StepUndoFailed { failure } => {
                step.undo = Some(UndoStatus::Failed(failure.clone()));
                step.is_restored = is_restoring;
            }
        }
    }

    fn amend(&mut self, time: Timestamp, actor: &str, amendment: &Amendment) {
        for path in &amendment.again {
            self.skipped.remove(path);
            if let Some(index) = self.index.get(path) {
                let step = &mut self.steps[*index];
                step.outcome = None;
                step.ended_at = None;
                step.reset_retry_budget();
            }
            self.begin_again(path);
        }
        if amendment.runbook.is_some() || amendment.from.is_some() {
            self.forget_open_decisions();
        }
        let skipped = amendment.skip.iter().map(|path| (path.clone(), actor.to_owned()));
        self.skipped.extend(skipped);
        let (actor, amendment) = (actor.to_owned(), amendment.clone());
        self.amendments.push(RecordedAmendment { time, actor, amendment });
    }

    /// Lets the changes be made again that were undone when the run ended, if the run goes on: later steps rely on
    /// them.
    fn repeat_restored(&mut self, mode: ResumeMode) {
        let goes_on = mode == ResumeMode::Continue
            && !self.head.is_rolling_back()
            && self.head.restoring().is_none();
        if !goes_on {
            return;
        }
        let restored: Vec<StepPath> = self
            .steps
            .iter()
            .filter(|step| step.is_restored && !self.is_over_for_good(&step.path))
            .map(|step| step.path.clone())
            .collect();
        for path in restored {
            self.step_mut(&path).repeat();
            self.open_around(&path);
        }
    }

    /// Opens what a step is a part of, so that the step is reached again. What has failed begins again in any case.
    fn open_around(&mut self, path: &StepPath) {
        for path in std::iter::successors(path.outer(), StepPath::outer) {
            let step = self.step_mut(&path);
            if matches!(step.outcome, Some(StepOutcome::Completed { .. })) {
                (step.outcome, step.ended_at) = (None, None);
            }
        }
    }

    /// Whether the run went on without a step, or without what it is a part of.
    fn is_over_for_good(&self, path: &StepPath) -> bool {
        let mut paths = std::iter::successors(Some(path.clone()), StepPath::outer);
        paths.any(|path| self.step(&path).is_some_and(StepProgress::has_failed_for_good))
    }

    /// Lets the items and inputs of open steps be decided again where nothing was changed by them: a person has changed
    /// what they follow from.
    fn forget_open_decisions(&mut self) {
        let is_open = |step: &&StepProgress| {
            !step.has_ended() && (step.items.is_some() || step.inputs.is_some())
        };
        let open: Vec<StepPath> =
            self.steps.iter().filter(is_open).map(|step| step.path.clone()).collect();
        open.iter().for_each(|path| self.forget_parts(path));
    }

    /// Lets a step that had ended begin again: with other items and inputs, unless a part of it has decided on its
    /// changes.
    fn begin_again(&mut self, path: &StepPath) {
        if !self.has_decided(path) {
            return self.forget_parts(path);
        }
        let mut undone = Vec::new();
        for index in 0..self.steps.len() {
            let part = &self.steps[index];
            let is_meant = part.path != *path && part.path.is_part_of(path);
            if !is_meant || self.is_over_for_good(&part.path) {
                continue;
            }
            let part = &mut self.steps[index];
            // The step at which a called runbook was left is where it goes on.
            if let Some(StepOutcome::Failed { then: then @ AfterFailure::Leave, .. }) =
                &mut part.outcome
            {
                *then = AfterFailure::Stop;
                part.reset_retry_budget();
            }
            // What was undone when it was left, whole or in part, is done again.
            if part.undo.is_some() {
                part.repeat();
                undone.push(part.path.clone());
            }
        }
        undone.iter().for_each(|path| self.open_around(path));
    }

    /// Returns the step at the top level that has failed inside, where the run has not dealt with that yet.
    pub fn left(&self) -> Option<StepPath> {
        let is_left = |step: &&StepProgress| {
            matches!(&step.outcome, Some(StepOutcome::Failed { then: AfterFailure::Leave, .. }))
                && !self.is_over_for_good(&step.path)
        };
        let tops = self.steps.iter().filter(is_left).map(|step| step.path.top());
        let mut open = tops.filter(|top| self.step(top).is_some_and(|step| step.outcome.is_none()));
        open.next()
    }

    /// Forgets the items of a step and the steps of a runbook that it calls, unless one of them has decided on its
    /// changes: they are then those of the run.
    fn forget_parts(&mut self, path: &StepPath) {
        if self.has_decided(path) {
            return;
        }
        if let Some(index) = self.index.get(path) {
            let step = &mut self.steps[*index];
            (step.items, step.inputs) = (None, None);
        }
        let is_kept = |step: &StepProgress| step.path == *path || !step.path.is_part_of(path);
        let forgotten = self.steps.iter().filter(|step| !is_kept(step) && step.generation > 0);
        self.generations.extend(forgotten.map(|step| (step.path.clone(), step.generation)));
        self.steps.retain(is_kept);
        let paths = self.steps.iter().enumerate();
        self.index = paths.map(|(index, step)| (step.path.clone(), index)).collect();
    }

    fn step_mut(&mut self, path: &StepPath) -> &mut StepProgress {
        let index = *self.index.entry(path.clone()).or_insert_with(|| {
            let generation = self.generations.get(path).copied().unwrap_or_default();
            self.steps.push(StepProgress { generation, ..StepProgress::new(path) });
            self.steps.len() - 1
        });
        &mut self.steps[index]
    }
}

fn begin(step: &mut StepProgress, name: &str, time: Timestamp) {
    name.clone_into(&mut step.name);
    step.started_at.get_or_insert(time);
    step.running_since = Some(time);
    step.took = None;
    // What was asked before it ended is asked again.
    if step.outcome.is_some() {
        step.approval = None;
    }
    step.outcome = None;
    step.ended_at = None;
}

fn end(step: &mut StepProgress, time: Timestamp, outcome: StepOutcome) {
    let since = step.running_since.take().unwrap_or(time);
    step.took = Some(step.elapsed + Duration::try_from(time - since).unwrap_or_default());
    step.ended_at = Some(time);
    step.outcome = Some(outcome);
}
