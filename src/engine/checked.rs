//! A runbook that was checked, with its text: what travels from the file to the run, so that no text is checked twice.

use std::sync::Arc;

use super::{StartError, digest, failure};
use crate::{
    actions,
    journal::{ActionOf, CalledText, Failure, Run, StepPath},
};
use runbook::{
    ActionKind, CalledRunbook, EmptyLibrary, EvaluationScope, Library, Limits, Runbook, Source,
    Step,
};

/// A runbook without errors and the text it came from. Clones share it.
#[derive(Debug, Clone)]
pub struct CheckedRunbook(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    runbook: Runbook,
    origin: Option<String>,
}

impl CheckedRunbook {
    /// Checks a text against the actions of this program.
    ///
    /// # Errors
    /// [`StartError::InvalidRunbook`] with everything that is wrong with it.
    pub fn new(source: Source) -> Result<Self, StartError> {
        Self::check(source, None, &EmptyLibrary)
    }

    /// Checks a text, and the runbooks of the library that it calls.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn in_library(source: Source, library: &dyn Library) -> Result<Self, StartError> {
        Self::check(source, None, library)
    }

    /// Checks a text whose origin is recorded in the run: a path, or `built in`.
    ///
    /// # Errors
    /// [`StartError::InvalidRunbook`] with everything that is wrong with it.
    pub fn with_origin(
        source: Source,
        origin: impl Into<String>,
        library: &dyn Library,
    ) -> Result<Self, StartError> {
        Self::check(source, Some(origin.into()), library)
    }

    fn check(
        source: Source,
        origin: Option<String>,
        library: &dyn Library,
    ) -> Result<Self, StartError> {
        let checked = runbook::check_in(&source, actions::registry(), library);
        tracing::debug!(runbook = source.name(), "checked the runbook");
        match checked.runbook {
            Some(runbook) => Ok(Self(Arc::new(Inner { source, runbook, origin }))),
            None => Err(StartError::InvalidRunbook {
                source_text: Box::new(source),
                diagnostics: checked.diagnostics,
            }),
        }
    }

    /// Checks the text that a run is to finish with, whatever has happened to its file since.
    ///
    /// # Errors
    /// This version finds errors in it, or it is not the text that the journal has the digest of.
    pub(super) fn of_run(run: &Run) -> Result<Self, StartError> {
        let is_damaged = |called: &CalledText| digest(&called.text) != called.digest;
        if digest(run.text()) != run.digest() || run.called().iter().any(is_damaged) {
            return Err(StartError::DigestMismatch { run: run.id().clone() });
        }
        let since = if run.text() == run.spec.text { "started" } else { "last resumed" };
        let name = format!("{} (as run {} was {since} with)", run.spec.runbook, run.id());
        let text = |called: &CalledText| {
            Source::new(format!("{}.yaml", called.runbook), called.text.as_str())
        };
        let called: Vec<Source> = run.called().iter().map(text).collect();
        Self::check(Source::new(name, run.text()), None, &called)
    }

    /// Returns the texts of the runbooks that it calls, for the journal.
    pub(super) fn called_texts(&self) -> Vec<CalledText> {
        let text = |called: &CalledRunbook| {
            let text = called.source().text().to_owned();
            CalledText { runbook: called.runbook().name.clone(), digest: digest(&text), text }
        };
        self.runbook().called().into_iter().map(text).collect()
    }

    /// Returns the limits of a run with these inputs.
    ///
    /// # Errors
    /// A template of a limit cannot be evaluated, or yields a value that is not a valid limit.
    pub(super) fn limits(&self, inputs: &EvaluationScope) -> Result<Limits, StartError> {
        self.runbook().limits(inputs).map_err(|error| StartError::PreviewFailed {
            step: "limits".into(),
            failure: Box::new(failure::of_template(&error)),
        })
    }

    /// Returns the text.
    pub fn source(&self) -> &Source {
        &self.0.source
    }

    /// Returns where the text comes from, where that is known.
    pub fn origin(&self) -> Option<&str> {
        self.0.origin.as_deref()
    }

    /// Returns the step of a path.
    pub fn step(&self, path: &StepPath) -> Option<&Step> {
        let (last, outer) = path.segments().split_last()?;
        let mut runbook = self.runbook();
        for segment in outer {
            runbook = runbook.step(&segment.step)?.call.as_ref()?.runbook();
        }
        runbook.step(&last.step)
    }

    /// Returns how to find the action of a step, for observers.
    pub(super) fn action_of(&self) -> ActionOf {
        let checked = self.clone();
        Arc::new(move |path| {
            let step = checked.step(path)?;
            let has_items = step.is_loop() && path.step_of_item().is_none();
            Some(if has_items { "for_each".to_owned() } else { step.action.clone() })
        })
    }

    /// Evaluates what can be evaluated of the runbook with the values of a scope.
    ///
    /// # Errors
    /// A step would fail by its parameters alone.
    pub(super) fn evaluate_early(&self, scope: &EvaluationScope) -> Result<(), StartError> {
        Self::evaluate_steps_early(&self.runbook().steps, scope)
    }

    /// Evaluates what can be evaluated of some steps.
    ///
    /// # Errors
    /// As for [`evaluate_early`](Self::evaluate_early).
    pub(super) fn evaluate_steps_early<'s>(
        steps: impl IntoIterator<Item = &'s Step>,
        scope: &EvaluationScope,
    ) -> Result<(), StartError> {
        match early_failure(steps, scope) {
            Some((step, failure)) => Err(StartError::PreviewFailed {
                step: step.display_name(scope),
                failure: Box::new(failure),
            }),
            None => Ok(()),
        }
    }

    /// Whether a step of it, or of a runbook that it calls, changes something.
    pub fn changes_something(&self) -> bool {
        self.runbook().all_steps().iter().any(|step| is_of_kind(step, ActionKind::Change))
    }

    /// Returns the runbook.
    pub fn runbook(&self) -> &Runbook {
        &self.0.runbook
    }
}

/// Whether the action of a step is of a kind.
pub fn is_of_kind(step: &Step, kind: ActionKind) -> bool {
    actions::find(&step.action).is_some_and(|action| action.kind() == kind)
}

/// Returns the first of the steps that fails with the values of a scope, whatever the steps before it yield, and why.
pub(super) fn early_failure<'s>(
    steps: impl IntoIterator<Item = &'s Step>,
    scope: &EvaluationScope,
) -> Option<(&'s Step, Failure)> {
    let errors = steps.into_iter().filter_map(|step| Some((step, step.early_error(scope)?)));
    let mut failures = errors.map(|(step, error)| (step, failure::of_template(&error)));
    failures.next()
}

/// Returns the actions that runbooks are checked against.
pub fn registry() -> &'static runbook::ActionRegistry {
    actions::registry()
}
