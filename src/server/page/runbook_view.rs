//! A runbook as a page shows it: its inputs as a form, its steps in words, or what is wrong with it. Pure.

use super::{
    fields::{Field, Typed},
    words::{Badge, shown, shown_lines},
};
use crate::engine::{CheckedRunbook, is_of_kind};
use runbook::{ActionKind, Diagnostic, OnFailure, Severity, Source, Step};

/// A runbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunbookView {
    pub(super) name: String,
    pub(super) badge: Badge,
    pub(super) is_valid: bool,
    pub(super) description: Option<String>,
    pub(super) origin: String,
    pub(super) fields: Vec<Field>,
    pub(super) steps: Vec<DescribedStep>,
    pub(super) diagnostics: Vec<DiagnosticView>,
}

/// A step in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DescribedStep {
    pub(super) name: String,
    pub(super) action: String,
    /// Its kind, and the consequence of its failure.
    pub(super) text: String,
}

/// A finding of the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DiagnosticView {
    pub(super) badge: Badge,
    pub(super) code: &'static str,
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// Why a request of the page was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) title: String,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// The run that is in the way, with its state.
    pub(super) run: Option<(String, String)>,
}

/// A finding in spite of which a run can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AcceptableFinding {
    pub(super) code: String,
    pub(super) message: String,
}

impl RunbookView {
    /// Returns a runbook without errors, with what was typed into its form.
    pub(super) fn valid(checked: &CheckedRunbook, typed: Option<&Typed>) -> Self {
        let runbook = checked.runbook();
        let field = |input| Field::of(input, "start", typed);
        Self {
            name: shown(&runbook.name),
            badge: Badge { class: "ok", icon: "ok", word: "valid" },
            is_valid: true,
            description: runbook.description.as_deref().map(shown_lines),
            origin: shown(checked.origin().unwrap_or_default()),
            fields: runbook.inputs.iter().map(field).collect(),
            steps: runbook.steps.iter().map(described).collect(),
            diagnostics: Vec::new(),
        }
    }

    /// Returns a runbook with errors.
    pub(super) fn invalid(
        name: &str,
        origin: &str,
        source: &Source,
        diagnostics: &[Diagnostic],
    ) -> Self {
        Self {
            name: shown(name),
            badge: Badge { class: "bad", icon: "bad", word: "not valid" },
            is_valid: false,
            description: None,
            origin: shown(origin),
            fields: Vec::new(),
            steps: Vec::new(),
            diagnostics: diagnostics.iter().map(|one| diagnostic(source, one)).collect(),
        }
    }
}

fn diagnostic(source: &Source, one: &Diagnostic) -> DiagnosticView {
    let place = source.position(one.span.start);
    let badge = |class, icon, word| Badge { class, icon, word };
    DiagnosticView {
        badge: match one.severity {
            Severity::Error => badge("bad", "bad", "error"),
            Severity::Warning => badge("warn", "warn", "warning"),
            Severity::Note => badge("off", "pending", "note"),
        },
        code: one.code,
        line: place.line,
        column: place.column,
        message: shown_lines(&one.message),
        help: one.help.as_deref().map(shown_lines),
    }
}

fn described(step: &Step) -> DescribedStep {
    let mut parts = Vec::new();
    if let Some(called) = &step.call {
        parts.push(format!(
            "runs {} of another runbook",
            text::plural(called.runbook().steps.len(), "step")
        ));
    } else if step.expires.is_some() {
        parts.push("asks persons for their approval".to_owned());
    } else if is_of_kind(step, ActionKind::Change) {
        parts.push("changes something".to_owned());
    } else if is_of_kind(step, ActionKind::Wait) {
        parts.push("waits for a condition".to_owned());
    } else {
        parts.push("reads".to_owned());
    }
    if step.is_loop() {
        parts.push("once for each of several items".to_owned());
    }
    if step.restore_at_end {
        parts.push("is undone when the run ends".to_owned());
    }
    let attempts = step.retry.attempts;
    parts.push(match attempts {
        0 | 1 => format!("within {}", step.timeout),
        attempts => format!("within {} and {attempts} attempts", step.timeout),
    });
    parts.push(
        match step.on_failure {
            OnFailure::Rollback => "a failure undoes the run",
            OnFailure::Stop => "a failure stops the run",
            OnFailure::Continue => "the run goes on after a failure",
        }
        .to_owned(),
    );
    let action = match &step.call {
        Some(called) => format!("call {}", called.runbook().name),
        None => step.action.clone(),
    };
    DescribedStep { name: shown(&step.name), action: shown(&action), text: parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::registry;
    use runbook::BuiltInLibrary;

    #[test]
    fn a_runbook_has_a_field_for_each_input_and_its_steps_in_words() {
        let (_, text) =
            runbook::BUILT_IN_RUNBOOKS.iter().find(|(name, _)| *name == "relay-scale").unwrap();
        let source = Source::new("relay-scale.yaml", *text);
        let checked = CheckedRunbook::with_origin(source, "built in", &BuiltInLibrary).unwrap();
        let view = RunbookView::valid(&checked, None);
        assert_eq!(view.fields.len(), checked.runbook().inputs.len());
        assert_eq!(view.steps.len(), checked.runbook().steps.len());
        assert!(view.steps.iter().any(|step| step.text.starts_with("changes something")));
        assert!(view.steps[0].text.starts_with("reads, within"), "{:?}", view.steps[0]);
    }

    #[test]
    fn a_runbook_with_errors_has_their_places_and_no_form() {
        let source = Source::new("x.yaml", "name: x\nsteps: [{id: a, action: b}]\n");
        let checked = runbook::check(&source, registry());
        let view = RunbookView::invalid("x", "x.yaml", &source, &checked.diagnostics);
        assert!(!view.is_valid && view.fields.is_empty());
        assert_eq!(view.diagnostics[0].line, 2);
    }
}
