//! A condition that is the same for every run.

use std::collections::HashSet;
use std::ops::Range;

use minijinja::machinery::ast::{BinOpKind, CompareOpKind, Expr};
use serde_json::Map;

use super::super::analysis::{AnalyzedStep, Role, TemplateSite};
use super::super::document::{OnFailure, RawStep};
use super::super::evaluate::{Known, contradict};
use super::super::registry::{ActionKind, ActionSignature};
use super::super::template::canonical::canonical;
use super::super::template::{self, Template, parts};
use super::super::types::Type;
use super::super::yaml::{Node, ScalarValue, SourceMap};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB056",
    name: "constant_condition",
    severity: Severity::Warning,
    summary: "a condition that is the same for every run",
    explanation: "\
A 'when', or the condition of an assertion, that does not depend on an input or an output has the same value in every
run. So has one that its own form decides: `a == a`, `a or true`, `a != 1 or a != 2`, `b | length >= 0`. `is defined`
asks whether a step has run, and not whether a value is null: `is not none` asks that.

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
    let is_present = |path: &Expr<'_>| analysis.type_of_present(path).is_some();
    let is_count = |path: &Expr<'_>| is_count(analysis, path);
    let bounds = |path: &Expr<'_>| bounds(analysis, path);
    let known = Known::new(&Map::new()).with_present(&is_present).with_counts(&is_count);
    let known = known.with_bounds(&bounds);
    // Many steps have the same condition.
    let mut variable = HashSet::new();
    let mut asserted: Vec<(usize, Template<'_>)> = Vec::new();
    for (index, (raw, step)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        if let Some(span) = raw.when.and_then(literally_true) {
            let message = "'when: true' has no effect: the step always runs";
            diagnostics.push(Diagnostic::new(&RULE, span, message).help("remove it"));
        }
        for site in &step.sites {
            let Some(purpose) = purpose(site, raw, step) else { continue };
            let text = site.node.text().unwrap_or_default();
            if !variable.contains(text)
                && !check_template(analysis, &known, site, purpose, diagnostics)
            {
                check_asserted(analysis, &asserted, site, purpose, diagnostics);
                variable.insert(text);
            }
            let is_certain = purpose == Purpose::Assertion { always_runs: true }
                && step.policy.on_failure != OnFailure::Continue;
            if is_certain && site.inferred.issues.is_empty() && asserted.len() < MAX_ASSERTED {
                asserted.extend(template::parse(text).ok().map(|template| (index, template)));
            }
        }
        check_literal_assertion(raw, step, diagnostics);
    }
    check_tests_of_null(analysis, &known, diagnostics);
}

/// Returns the bounds of an input that is an integer.
fn bounds(analysis: &Analysis<'_>, path: &Expr<'_>) -> (Option<i128>, Option<i128>) {
    let Expr::GetAttr(get) = path else { return (None, None) };
    if !matches!(&get.expr, Expr::Var(var) if var.id == "inputs") {
        return (None, None);
    }
    match analysis.symbols.inputs.field(get.name).map(|field| &field.ty) {
        Some(Type::Integer(bounds)) => (bounds.minimum, bounds.maximum),
        _ => (None, None),
    }
}

/// The most assertions that later conditions are compared with.
const MAX_ASSERTED: usize = 16;

/// Reports a condition of which an earlier assertion has made sure that it is false.
fn check_asserted(
    analysis: &Analysis<'_>,
    asserted: &[(usize, Template<'_>)],
    site: &TemplateSite<'_>,
    purpose: Purpose,
    diagnostics: &mut Diagnostics,
) {
    let Some((message, help)) = describe(purpose, false) else { return };
    let Some(template) = site.node.text().and_then(|text| template::parse(text).ok()) else {
        return;
    };
    let Some(condition) = template.whole() else { return };
    let contrary = |one: &&(usize, Template<'_>)| {
        one.1.whole().is_some_and(|asserted| contradict(asserted, condition))
    };
    if let Some((step, _)) = asserted.iter().find(contrary) {
        let diagnostic = Diagnostic::new(&RULE, site.inferred.span.clone(), message)
            .label(analysis.declaration(*step), "the run goes on only if the contrary is true")
            .help(help);
        diagnostics.push(diagnostic);
    }
}

/// Whether a path is a field of an output whose type has no negative number.
fn is_count(analysis: &Analysis<'_>, path: &Expr<'_>) -> bool {
    let is_of_step = |get: &Expr<'_>| matches!(get, Expr::Var(var) if var.id != "inputs");
    let Expr::GetAttr(get) = path else { return false };
    let ty = is_of_step(&get.expr).then(|| analysis.type_of_present(path)).flatten();
    matches!(ty, Some(Type::Integer(bounds)) if bounds.minimum.is_some_and(|least| least >= 0))
}

/// Reports tests for absence of what may be null, in templates that are no constant conditions themselves.
fn check_tests_of_null(analysis: &Analysis<'_>, known: &Known<'_>, diagnostics: &mut Diagnostics) {
    for site in analysis.sites().filter(|site| site.inferred.issues.is_empty()) {
        // Most templates have no such test.
        let Some(text) = site.node.text().filter(|text| text.contains("defined")) else { continue };
        let Ok(template) = template::parse(text) else { continue };
        if template.whole().is_some_and(|condition| known.truth(condition).is_some()) {
            continue;
        }
        for expr in template.expressions() {
            let Some(asked) = asked_of_null(analysis, expr) else { continue };
            let is_true = matches!(asked.test, "defined" | "not undefined");
            let always = if is_true { "true" } else { "false" };
            let message = format!(
                "'{} is {}' is always {always}: it may be null, and null is defined",
                asked.path, asked.test
            );
            let span = template::span::of_expr(text, asked.expr);
            let span = SourceMap::new(analysis.source.text(), site.node).range(span);
            diagnostics.push(Diagnostic::new(&RULE, span, message).help(asked.help()));
        }
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
    analysis: &Analysis<'_>,
    known: &Known<'_>,
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
    let has_all = || has_all_values(analysis, condition).then_some(true);
    if let Some(truth) = known.truth(condition).or_else(has_all) {
        if let Some((message, help)) = describe(purpose, truth) {
            let span = inferred.span.clone();
            diagnostics.push(match asked_of_null(analysis, condition) {
                Some(asked) => {
                    let always = message.split(':').next().unwrap_or(message);
                    let message =
                        format!("{always}: '{}' may be null, and null is defined", asked.path);
                    Diagnostic::new(&RULE, span, message).help(asked.help())
                }
                None => Diagnostic::new(&RULE, span, message).help(help),
            });
        }
        return true;
    }
    let mut decided = Vec::new();
    decided_operands(known, condition, &mut decided);
    for (operand, truth) in &decided {
        let span = template::span::of_expr(text, operand);
        let span = SourceMap::new(analysis.source.text(), site.node).range(span);
        let message = format!("this part is always {truth}: the number is never negative");
        let help = "compare it with the number that is meant, such as > 0, or remove it";
        diagnostics.push(Diagnostic::new(&RULE, span, message).help(help));
    }
    !decided.is_empty()
}

/// Whether a condition is true for each value of an enum: `mode in ['a', 'b']`, `mode == 'a' or mode == 'b'`.
fn has_all_values(analysis: &Analysis<'_>, condition: &Expr<'_>) -> bool {
    let (mut path, mut words) = (None, Vec::new());
    if !collect_words(condition, &mut path, &mut words) {
        return false;
    }
    let ty = path.and_then(|path| analysis.type_of_present(path));
    match ty {
        Some(Type::Enum(values)) => values.iter().all(|value| words.contains(&value.as_str())),
        _ => false,
    }
}

/// Collects the words that one path is compared with, and returns whether the condition is nothing but that.
fn collect_words<'e, 't>(
    expr: &'e Expr<'t>,
    path: &mut Option<&'e Expr<'t>>,
    words: &mut Vec<&'e str>,
) -> bool {
    if let Expr::BinOp(op) = expr
        && matches!(op.op, BinOpKind::ScOr)
    {
        return collect_words(&op.left, path, words) && collect_words(&op.right, path, words);
    }
    let pairs = parts::comparisons(expr);
    let [(of, op, with)] = pairs.as_slice() else { return false };
    match op {
        CompareOpKind::Eq => words.extend(parts::word(with)),
        CompareOpKind::In => {
            words.extend(parts::items(with).unwrap_or_default().iter().filter_map(parts::word));
        }
        _ => return false,
    }
    let known = *path.get_or_insert(of);
    canonical(known) == canonical(of)
}

/// Finds the operands of `and` and `or` that compare a count with what it always, or never, is.
fn decided_operands<'e, 't>(
    known: &Known<'_>,
    expr: &'e Expr<'t>,
    found: &mut Vec<(&'e Expr<'t>, bool)>,
) {
    match expr {
        Expr::BinOp(op) if matches!(op.op, BinOpKind::ScAnd | BinOpKind::ScOr) => {
            decided_operands(known, &op.left, found);
            decided_operands(known, &op.right, found);
        }
        operand => found.extend(known.truth_of_count(operand).map(|truth| (operand, truth))),
    }
}

/// A test for the absence of what may be null.
struct AskedOfNull<'e, 't> {
    expr: &'e Expr<'t>,
    path: String,
    test: &'static str,
    /// The test that is meant.
    meant: &'static str,
}

impl AskedOfNull<'_, '_> {
    fn help(&self) -> String {
        format!("write 'is {}' instead of 'is {}'", self.meant, self.test)
    }
}

/// Returns the first test in an expression for the absence of what has a value in every run, and may be null.
fn asked_of_null<'e, 't>(
    analysis: &Analysis<'_>,
    expr: &'e Expr<'t>,
) -> Option<AskedOfNull<'e, 't>> {
    // The parser writes `a is not defined` as `not (a is defined)`.
    let negated = parts::negated(expr);
    if let Expr::Test(test) = negated.unwrap_or(expr) {
        let (asked, meant) = match (test.name, negated.is_some()) {
            ("defined", false) => ("defined", "not none"),
            ("defined", true) => ("not defined", "none"),
            ("undefined", false) => ("undefined", "none"),
            ("undefined", true) => ("not undefined", "not none"),
            _ => return None,
        };
        let is_optional = matches!(analysis.type_of_present(&test.expr)?, Type::Optional(_));
        let path = canonical(&test.expr);
        return is_optional.then_some(AskedOfNull { expr, path, test: asked, meant });
    }
    parts::children(expr).into_iter().find_map(|part| asked_of_null(analysis, part))
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
