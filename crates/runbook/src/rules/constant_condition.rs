//! A condition that is the same for every run.

use std::collections::HashSet;
use std::ops::Range;

use serde_json::Map;

use super::super::analysis::{AnalyzedStep, Role, TemplateSite};
use super::super::document::RawStep;
use super::super::evaluate::Known;
use super::super::registry::{ActionKind, ActionSignature};
use super::super::template;
use super::super::types::Type;
use super::super::yaml::{Node, ScalarValue};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB056",
    name: "constant_condition",
    severity: Severity::Warning,
    summary: "a condition that is the same for every run",
    explanation: "\
A 'when', or the condition of an assertion, that does not depend on an input or an output has the same value in every
run. So has one that its own form decides: `a == a`, `a or true`, `a != 1 or a != 2`, `b | length >= 0`.

To disable a step for a while, write `when: false`, which is clearer. An assertion that always fails is accepted where
it is written as `that: false`, or in a step with 'when' or 'for_each': there it is what ends the run.",
};

/// The purpose of a condition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    When,
    /// The condition of an assertion, in a step that runs in any case or not.
    Assertion {
        always_runs: bool,
    },
}

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let known = Known::new(&Map::new());
    // Many steps have the same condition.
    let mut variable = HashSet::new();
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        if let Some(span) = raw.when.and_then(literally_true) {
            let message = "'when: true' has no effect: the step always runs";
            diagnostics.push(Diagnostic::new(&RULE, span, message).help("remove it"));
        }
        for site in &step.sites {
            let Some(purpose) = purpose(site, raw, step) else { continue };
            let text = site.node.text().unwrap_or_default();
            if !variable.contains(text) && !check_template(&known, site, purpose, diagnostics) {
                variable.insert(text);
            }
        }
        check_literal_assertion(raw, step, diagnostics);
    }
}

/// Returns the purpose of a template that is a condition.
fn purpose(site: &TemplateSite<'_>, raw: &RawStep<'_>, step: &AnalyzedStep<'_>) -> Option<Purpose> {
    match &site.role {
        Role::When => Some(Purpose::When),
        Role::Parameter(path) if is_condition(step.signature?, path) => Some(assertion(raw)),
        _ => None,
    }
}

fn assertion(raw: &RawStep<'_>) -> Purpose {
    Purpose::Assertion { always_runs: raw.when.is_none() && raw.for_each.is_none() }
}

/// Whether a parameter is what its action waits for: a boolean that must be given.
fn is_condition(action: &ActionSignature, parameter: &str) -> bool {
    let field = action.params.field(parameter);
    action.kind == ActionKind::Wait
        && field.is_some_and(|field| field.required && field.ty == Type::Boolean)
}

fn literally_true(node: &Node) -> Option<Range<usize>> {
    matches!(node.scalar_value(), Some(ScalarValue::Boolean(true))).then(|| node.span.clone())
}

/// Reports what is constant in a condition, and returns whether anything is.
fn check_template(
    known: &Known,
    site: &TemplateSite<'_>,
    purpose: Purpose,
    diagnostics: &mut Diagnostics,
) -> bool {
    let inferred = &site.inferred;
    if site.is_text || !inferred.issues.is_empty() || inferred.ty != Type::Boolean {
        return true; // not read, so not known to be variable
    }
    let Some(text) = site.node.text() else { return false };
    let Ok(template) = template::parse(text) else { return false };
    let Some(condition) = template.whole() else { return false };
    if let Some(truth) = known.truth(condition) {
        if let Some((message, help)) = describe(purpose, truth) {
            let diagnostic = Diagnostic::new(&RULE, inferred.span.clone(), message);
            diagnostics.push(diagnostic.help(help));
        }
        return true;
    }
    false
}

/// Reports an assertion whose condition is written as `true`.
fn check_literal_assertion(
    raw: &RawStep<'_>,
    step: &AnalyzedStep<'_>,
    diagnostics: &mut Diagnostics,
) {
    let Some(action) = step.signature else { return };
    for (key, value) in raw.with.and_then(Node::pairs).unwrap_or_default() {
        let is_assertion = key.text().is_some_and(|name| is_condition(action, name));
        // One that is written as false fails on purpose.
        if let Some(span) = literally_true(value).filter(|_| is_assertion)
            && let Some((message, help)) = describe(assertion(raw), true)
        {
            diagnostics.push(Diagnostic::new(&RULE, span, message).help(help));
        }
    }
}

fn describe(purpose: Purpose, truth: bool) -> Option<(&'static str, &'static str)> {
    const COMPARE: &str = "compare with an input, or with the output of an earlier step";
    Some(match (purpose, truth) {
        (Purpose::When, true) => {
            ("this condition is always true: the step always runs", "remove 'when', or correct it")
        }
        (Purpose::When, false) => (
            "this condition is always false: the step never runs",
            "correct it, or write 'when: false' to disable the step",
        ),
        (Purpose::Assertion { .. }, true) => {
            ("this condition is always true: it checks nothing", COMPARE)
        }
        (Purpose::Assertion { always_runs: true }, false) => {
            ("this condition is always false: every run fails here", COMPARE)
        }
        (Purpose::Assertion { always_runs: false }, false) => return None,
    })
}
