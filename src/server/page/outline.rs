//! The steps of a runbook's text in their order, for those of a run that have not begun.

use crate::journal::{CalledText, Run};
use runbook::{ActionKind, Library, MissingRunbook, Source};

use crate::engine::{CheckedRunbook, is_of_kind};

/// The steps of a runbook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outline {
    pub(super) steps: Vec<OutlineStep>,
}

/// A step of a runbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OutlineStep {
    pub(super) id: String,
    /// The name as written: a template in it has no value before the step begins.
    pub(super) name: String,
    /// The action; `call` for one that calls a runbook.
    pub(super) action: String,
    /// Whether it changes something, or a runbook that it calls may.
    pub(super) changes: bool,
}

/// The texts that a run was started with.
struct RecordedLibrary<'r>(&'r [CalledText]);

impl Library for RecordedLibrary<'_> {
    fn find(&self, name: &str) -> Result<Source, MissingRunbook> {
        let found = self.0.iter().find(|called| called.runbook == name);
        let text = found.map(|called| Source::new(format!("{name}.yaml"), called.text.as_str()));
        text.ok_or_else(|| MissingRunbook::Unknown(Vec::new()))
    }
}

impl Outline {
    /// Returns the steps of a run's runbook. Where this version finds errors in the text, a step is not known before it
    /// begins.
    pub(super) fn of_run(run: &Run) -> Self {
        let source = Source::new(format!("{}.yaml", run.spec.runbook), run.text());
        let library = RecordedLibrary(run.called());
        CheckedRunbook::in_library(source, &library)
            .map(|checked| Self::of(&checked))
            .unwrap_or_default()
    }

    /// Returns the steps of a checked runbook.
    pub(super) fn of(checked: &CheckedRunbook) -> Self {
        let steps = checked.runbook().steps.iter().map(|step| OutlineStep {
            id: step.id.clone(),
            name: step.name.clone(),
            action: step.action.clone(),
            changes: match &step.call {
                Some(called) => {
                    let steps = called.runbook().all_steps();
                    steps.iter().any(|step| is_of_kind(step, ActionKind::Change))
                }
                None => is_of_kind(step, ActionKind::Change),
            },
        });
        Self { steps: steps.collect() }
    }

    /// Returns the step with an id.
    pub(super) fn step(&self, id: &str) -> Option<&OutlineStep> {
        self.steps.iter().find(|step| step.id == id)
    }
}
