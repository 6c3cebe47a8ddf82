//! Amending a run: a person who resumes it replaces its runbook, or decides which steps are run. Pure: the request is
//! compared with what the journal says, and nothing is written.

use std::collections::{BTreeSet, HashSet};

use super::{CheckedRunbook, StartError, digest};
use crate::journal::{
    Amendment, FailureKind, ReplacedRunbook, ResumeMode, Run, StepOutcome, StepPath, StepProgress,
};
use runbook::Step;

/// How a run is to be resumed.
#[derive(Debug, Clone, Default)]
pub struct ResumeRequest {
    /// Whether the run continues or rolls back.
    pub mode: ResumeMode,
    /// The runbook with which it continues, if not with its own.
    pub runbook: Option<CheckedRunbook>,
    /// The id of the step from which it continues, if not from where it stopped.
    pub from: Option<String>,
    /// The ids of steps that are not run.
    pub skip: Vec<String>,
}

impl From<ResumeMode> for ResumeRequest {
    fn from(mode: ResumeMode) -> Self {
        Self { mode, ..Self::default() }
    }
}

impl ResumeRequest {
    /// Returns what a person must type to confirm the request: the ids of the steps that are named in it. `None` where
    /// none is named.
    pub fn confirmation(&self) -> Option<String> {
        let ids: Vec<&str> = self.from.iter().chain(&self.skip).map(String::as_str).collect();
        (!ids.is_empty()).then(|| ids.join(" "))
    }

    fn amends(&self) -> bool {
        self.runbook.is_some() || self.confirmation().is_some()
    }
}

/// Why a run cannot be amended in the requested way. `Display` is the message; [`hint`](Self::hint) is the remedy.
#[derive(Debug, thiserror::Error)]
pub enum AmendError {
    /// A rollback undoes what the journal says.
    #[error("a run that is rolling back, or is to be rolled back, cannot be continued differently")]
    RollsBack,
    /// Its steps are over.
    #[error(
        "the steps of the run are over: only what is not to outlast it is still to be restored"
    )]
    IsOver,
    /// A step has failed inside, and the run has not dealt with that yet.
    #[error("step '{step}' has failed, and what follows from that is not done yet")]
    IsLeft {
        /// The path of the step.
        step: String,
    },
    /// The runbook is another one.
    #[error("the run is one of the runbook '{expected}', and the file has the runbook '{found}'")]
    OtherRunbook {
        /// The runbook of the run.
        expected: String,
        /// The name in the file.
        found: String,
    },
    /// The runbook acts on a platform whose lock the run does not hold.
    #[error("the changed runbook acts on {platform}, and the run was started without it")]
    OtherPlatform {
        /// `AWS` or `Kubernetes`.
        platform: &'static str,
    },
    /// A step that has run is not where it was.
    #[error("step '{step}' has run already, and is no longer at its place in the changed runbook")]
    MovedStep {
        /// The id of the step.
        step: String,
    },
    /// A step that has run is to do something else.
    #[error("step '{step}' has run already, and does something else in the changed runbook")]
    ChangedStep {
        /// The id of the step.
        step: String,
    },
    /// The runbook has no such step.
    #[error("the runbook has no step '{step}'")]
    UnknownStep {
        /// The id that was given.
        step: String,
        /// The remedy.
        hint: String,
    },
    /// A step to be skipped has ended.
    #[error("step '{step}' cannot be skipped: it has ended already")]
    HasEnded {
        /// The id of the step.
        step: String,
    },
    /// A step that changed something would run again.
    #[error(
        "cannot continue from step '{from}': step '{step}' has changed something, and would do so again"
    )]
    WouldRepeat {
        /// The id that was given.
        from: String,
        /// The id of the step that changed something.
        step: String,
    },
    /// A step would lack the output of one that is skipped or has failed.
    #[error("{}", missing(.0))]
    MissingOutputs(Vec<(String, String)>),
}

fn missing(pairs: &[(String, String)]) -> String {
    let sentence = |(step, skipped): &(String, String)| {
        format!("step '{step}' uses the output of step '{skipped}', which has none")
    };
    pairs.iter().map(sentence).collect::<Vec<_>>().join("; ")
}

impl AmendError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::IsLeft { .. } => {
                Some("resume it without --runbook, --from and --skip, and once more when it has stopped".into())
            }
            Self::RollsBack | Self::IsOver => Some("resume it without --runbook, --from and --skip".into()),
            Self::OtherRunbook { .. } | Self::OtherPlatform { .. } => {
                Some("abandon the run, and start another".into())
            }
            Self::MovedStep { .. } => {
                Some("the steps that have run come first, in the order in which they ran".into())
            }
            Self::ChangedStep { .. } => Some(
                "its action, 'with' and 'when' must stay as they were; change the steps after it"
                    .into(),
            ),
            Self::UnknownStep { hint, .. } => Some(hint.clone()),
            Self::HasEnded { .. } => Some("only a step that is still to be run can be skipped".into()),
            Self::WouldRepeat { .. } => Some(
                "continue from a later step, or abandon the run and start another from the beginning".into(),
            ),
            Self::MissingOutputs(_) => Some(
                "skip these steps too, or pass --runbook with a runbook in which they do not use it"
                    .into(),
            ),
        }
    }

    /// Returns the kind of the failure.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::RollsBack | Self::IsOver | Self::IsLeft { .. } => FailureKind::Conflict,
            Self::OtherRunbook { .. }
            | Self::OtherPlatform { .. }
            | Self::MovedStep { .. }
            | Self::ChangedStep { .. }
            | Self::UnknownStep { .. }
            | Self::HasEnded { .. }
            | Self::WouldRepeat { .. }
            | Self::MissingOutputs(_) => FailureKind::Usage,
        }
    }
}

/// Returns the runbook with which a run continues, and what is changed about its rest.
///
/// # Errors
/// The request does not fit what the run has done.
pub(super) fn amend(
    run: &Run,
    request: ResumeRequest,
) -> Result<(CheckedRunbook, Option<Amendment>), StartError> {
    let rolls_back = request.mode == ResumeMode::Rollback || run.head.is_rolling_back();
    if request.amends() && rolls_back {
        return Err(AmendError::RollsBack.into());
    }
    if request.amends() && run.head.restoring().is_some() {
        return Err(AmendError::IsOver.into());
    }
    if request.amends()
        && !run.head.is_cancel_requested()
        && let Some(step) = run.left()
    {
        return Err(AmendError::IsLeft { step: step.to_string() }.into());
    }
    let old = CheckedRunbook::of_run(run)?;
    if !request.amends() {
        return Ok((old, None));
    }
    let changed = request.runbook.filter(|changed| {
        changed.source().text() != run.text() || changed.called_texts() != run.called()
    });
    let replaced = changed.as_ref().map(|changed| replace(run, &old, changed)).transpose()?;
    let checked = changed.unwrap_or_else(|| old.clone());
    let choice = Choice { run, old: &old, steps: &checked.runbook().steps };
    let amendment = choice.amend(replaced, request.from, &request.skip)?;
    Ok((checked, Some(amendment).filter(|amendment| !amendment.is_empty())))
}

/// Checks that a changed runbook continues the run: the steps that have run come first, unchanged.
fn replace(
    run: &Run,
    old: &CheckedRunbook,
    changed: &CheckedRunbook,
) -> Result<ReplacedRunbook, StartError> {
    let new = changed.runbook();
    if new.name != run.spec.runbook {
        let (expected, found) = (run.spec.runbook.clone(), new.name.clone());
        return Err(AmendError::OtherRunbook { expected, found }.into());
    }
    Level { run, callers: None }.ensure_unchanged(&old.runbook().steps, &new.steps)?;
    // An input that is no longer declared is not used any more.
    let is_declared = |name: &String| new.inputs.iter().any(|input| input.name == *name);
    // One that an earlier change had dropped still has the value that the run was started with.
    let given = run.spec.inputs.iter().chain(run.inputs()).filter(|(name, _)| is_declared(name));
    let given = given.map(|(name, value)| (name.clone(), value.clone())).collect();
    let inputs = new.bind(&given).map_err(StartError::Inputs)?;
    let text = changed.source().text().to_owned();
    let origin = changed.origin().map(str::to_owned);
    let called = changed.called_texts();
    Ok(ReplacedRunbook { origin, digest: digest(&text), text, called, inputs })
}

/// The steps of a runbook, and where they have run.
struct Level<'a> {
    run: &'a Run,
    /// The steps and items that call the runbook; none at the top level.
    callers: Option<HashSet<StepPath>>,
}

impl Level<'_> {
    /// Checks that the steps that have run are in the changed runbook as they were, in their order, and that no new
    /// step is before one of them. The same holds for the runbooks that they call.
    fn ensure_unchanged(&self, old: &[Step], new: &[Step]) -> Result<(), AmendError> {
        let mut expected = old.iter().filter(|step| self.has_run(step)).peekable();
        for step in new {
            let Some(next) = expected.peek() else { break };
            if step.id == next.id {
                self.ensure_same(next, step)?;
                expected.next();
            } else if !old.iter().any(|old| old.id == step.id && !self.has_run(old)) {
                break;
            }
        }
        match expected.next() {
            Some(step) => Err(AmendError::MovedStep { step: self.name_of(step) }),
            None => Ok(()),
        }
    }

    fn ensure_same(&self, old: &Step, new: &Step) -> Result<(), AmendError> {
        let changed = || AmendError::ChangedStep { step: self.name_of(old) };
        if !new.does_the_same_as(old) {
            return Err(changed());
        }
        let (Some(old_called), Some(new_called)) = (&old.call, &new.call) else { return Ok(()) };
        let (old_runbook, new_runbook) = (old_called.runbook(), new_called.runbook());
        let callers = self.executions(old);
        let has_output =
            |path: &StepPath| self.run.step(path).is_some_and(|step| step.output().is_some());
        if !new_runbook.takes_the_same_as(old_runbook)
            || (callers.iter().any(has_output) && !new_runbook.gives_the_same_as(old_runbook))
        {
            return Err(changed());
        }
        let is_open = |path: &StepPath| !self.run.step(path).is_some_and(StepProgress::has_ended);
        let is_known = |new: &Step| old_runbook.steps.iter().any(|old| old.id == new.id);
        // It would never run.
        if !self.paths(old).iter().any(is_open) && !new_runbook.steps.iter().all(is_known) {
            return Err(changed());
        }
        let called = Level { run: self.run, callers: Some(callers) };
        called.ensure_unchanged(&old_runbook.steps, &new_runbook.steps)
    }

    fn has_run(&self, step: &Step) -> bool {
        let paths = self.paths(step);
        self.run.steps().iter().any(|recorded| {
            let mut around = std::iter::successors(Some(recorded.path.clone()), StepPath::outer);
            (recorded.has_ended() && paths.contains(&recorded.path))
                || (recorded.intent.is_some() && around.any(|path| paths.contains(&path)))
        })
    }

    fn paths(&self, step: &Step) -> HashSet<StepPath> {
        match &self.callers {
            None => HashSet::from([StepPath::top_level(&step.id)]),
            Some(callers) => callers.iter().map(|caller| caller.child(&step.id)).collect(),
        }
    }

    /// Returns the paths at which a step has been executed: its own, or those of its items.
    fn executions(&self, step: &Step) -> HashSet<StepPath> {
        let paths = self.paths(step);
        if !step.is_loop() {
            return paths;
        }
        let begun = self.run.steps().iter().map(|step| &step.path);
        let is_item =
            |path: &&StepPath| path.step_of_item().is_some_and(|step| paths.contains(&step));
        begun.filter(is_item).cloned().collect()
    }

    /// Returns the name of a step for people: `rotate/cordon`.
    fn name_of(&self, step: &Step) -> String {
        let caller = self.callers.iter().flatten().next();
        let outer = caller.iter().flat_map(|path| path.segments());
        let ids = outer.map(|segment| segment.step.as_str()).chain([step.id.as_str()]);
        ids.collect::<Vec<_>>().join("/")
    }
}

/// The choice of the steps that are run.
struct Choice<'a> {
    run: &'a Run,
    /// The runbook with which the run would continue unchanged.
    old: &'a CheckedRunbook,
    /// The steps of the runbook with which it continues.
    steps: &'a [Step],
}

impl Choice<'_> {
    fn amend(
        &self,
        runbook: Option<ReplacedRunbook>,
        from: Option<String>,
        skip: &[String],
    ) -> Result<Amendment, AmendError> {
        let start = from.as_deref().map(|from| self.position(from)).transpose()?;
        let mut skipped = BTreeSet::new();
        for id in skip {
            let index = self.position(id)?;
            let runs_again = start.is_some_and(|start| start <= index);
            if !runs_again && self.has_ended(index) {
                return Err(AmendError::HasEnded { step: id.clone() });
            }
            skipped.insert(index);
        }
        let mut again = BTreeSet::new();
        if let (Some(start), Some(from)) = (start, &from) {
            skipped.extend((0..start).filter(|index| !self.has_ended(*index)));
            for index in (start..self.steps.len()).filter(|index| !skipped.contains(index)) {
                if self.has_changed_something(index) {
                    let (from, step) = (from.clone(), self.steps[index].id.clone());
                    return Err(AmendError::WouldRepeat { from, step });
                }
                if self.has_ended(index) || self.is_skipped_by_person(index) {
                    again.insert(index);
                }
            }
        }
        // Another step under the id of one that was skipped is not meant.
        let is_another = |index: &usize| {
            let step = &self.steps[*index];
            let before = self.old.step(&self.path(*index));
            !before.is_some_and(|before| before.does_the_same_as(step))
        };
        let inherited = (0..self.steps.len()).filter(|index| self.is_skipped_by_person(*index));
        let inherited = inherited.filter(|index| !skipped.contains(index));
        again.extend(inherited.filter(is_another));
        self.ensure_outputs(&skipped, &again)?;
        let paths = |indexes: BTreeSet<usize>| {
            indexes.into_iter().map(|index| self.path(index)).collect::<Vec<_>>()
        };
        let from = from.map(|id| StepPath::top_level(&id));
        Ok(Amendment { runbook, from, skip: paths(skipped), again: paths(again) })
    }

    /// Checks that no step that is run needs the output of one that a person skips, now or earlier, or of one that has
    /// failed.
    fn ensure_outputs(
        &self,
        skipped: &BTreeSet<usize>,
        again: &BTreeSet<usize>,
    ) -> Result<(), AmendError> {
        let is_absent = |index: usize| {
            skipped.contains(&index)
                || (!again.contains(&index)
                    && (self.is_skipped_by_person(index) || self.has_failed(index)))
        };
        let is_left = |index: &usize| {
            !is_absent(*index) && (again.contains(index) || !self.has_ended(*index))
        };
        let mut missing = Vec::new();
        for step in (0..self.steps.len()).filter(is_left).map(|index| &self.steps[index]) {
            let needed = step.requires().iter();
            let absent = needed.filter(|id| self.find(id).is_some_and(is_absent));
            missing.extend(absent.map(|id| (step.id.clone(), id.clone())));
        }
        if missing.is_empty() { Ok(()) } else { Err(AmendError::MissingOutputs(missing)) }
    }

    fn find(&self, id: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.id == id)
    }

    fn position(&self, id: &str) -> Result<usize, AmendError> {
        self.find(id).ok_or_else(|| {
            let known: Vec<&str> = self.steps.iter().map(|step| step.id.as_str()).collect();
            let hint = match runbook::nearest(id, known.iter().copied()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("its steps are {}", known.join(", ")),
            };
            AmendError::UnknownStep { step: id.into(), hint }
        })
    }

    fn path(&self, index: usize) -> StepPath {
        StepPath::top_level(&self.steps[index].id)
    }

    fn recorded(&self, index: usize) -> Option<&StepProgress> {
        self.run.step(&self.path(index))
    }

    fn has_ended(&self, index: usize) -> bool {
        self.recorded(index).is_some_and(StepProgress::has_ended)
    }

    fn is_skipped_by_person(&self, index: usize) -> bool {
        self.run.skipped_by(&self.path(index)).is_some()
    }

    /// Whether the run went on after a failure of the step.
    fn has_failed(&self, index: usize) -> bool {
        let outcome = self.recorded(index).and_then(|recorded| recorded.outcome.as_ref());
        let failed = |outcome: &StepOutcome| matches!(outcome, StepOutcome::Failed { .. });
        outcome.is_some_and(failed) && self.has_ended(index)
    }

    /// Whether the step has ended with changes. One that was skipped halfway continues what it had begun.
    fn has_changed_something(&self, index: usize) -> bool {
        let Some(recorded) = self.recorded(index) else { return false };
        let is_skipped = matches!(recorded.outcome, Some(StepOutcome::Skipped { .. }));
        recorded.has_ended() && !is_skipped && self.run.has_decided(&self.path(index))
    }
}
