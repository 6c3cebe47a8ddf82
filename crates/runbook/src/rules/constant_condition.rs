//! A condition that is the same for every run.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::Range;

use minijinja::machinery::ast::{BinOpKind, CompareOpKind, Expr};
use serde_json::Map;

use super::super::analysis::flow::{literal_integer, path};
use super::super::analysis::{AnalyzedStep, Role, TemplateSite};
use super::super::document::{OnFailure, RawStep};
use super::super::evaluate::Known;
use super::super::registry::{ActionKind, ActionSignature};
use super::super::template::canonical::canonical;
use super::super::template::{self, Template, parts};
use super::super::types::{RecordType, Type};
use super::super::yaml::{Node, ScalarValue, SourceMap};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB056",
    name: "constant_condition",
    severity: Severity::Warning,
    summary: "a condition that is the same for every run",
    explanation: "\
A 'when', or the condition of an assertion, that does not depend on an input or an output has the same value in every
run. So has one that its own form decides: `a == a`, `a or true`, `a != 1 or a != 2`, `b | length >= 0`, and one that the
limits of an input decide: `inputs.size > 9` where the maximum is 9. `is defined` asks whether a step has run, and not
whether a value is null: `is not none` asks that.

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

/// The outputs that are not less than a parameter of their action, with its default.
const LEAST: [(&str, &str, &str, i64); 1] = [("find_nodegroup", "desired", "min_nodes", 1)];

/// Returns the least value of an output, by the parameters of its step.
fn least_size(analysis: &Analysis<'_>, expr: &Expr<'_>) -> Option<i64> {
    let (root, fields) = path(expr)?;
    let index = *analysis.symbols.steps.get(root)?;
    let name = &analysis.steps.get(index)?.signature?.name;
    let is_of = |(action, output, ..): &&(&str, &str, &str, i64)| {
        action == name && fields.as_slice() == [*output]
    };
    let (_, _, parameter, default) = LEAST.iter().find(is_of)?;
    match analysis.document.steps.get(index)?.with?.member(parameter) {
        None => Some(*default),
        Some(node) => literal_integer(node),
    }
}

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let type_of = |path: &Expr<'_>| analysis.type_of_present(path);
    let least_of = |path: &Expr<'_>| least_size(analysis, path);
    let known = Known::new(&Map::new()).with_types(&type_of).with_least(&least_of);
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
            if !variable.contains(text) {
                // What is constant by itself says nothing of other conditions.
                if check_template(analysis, &known, site, purpose, diagnostics) {
                    continue;
                }
                check_asserted(analysis, &known, &asserted, site, purpose, diagnostics);
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

/// The most assertions that later conditions are compared with.
const MAX_ASSERTED: usize = 16;

/// Reports a condition of which an earlier assertion has made sure that it is false.
fn check_asserted(
    analysis: &Analysis<'_>,
    known: &Known<'_>,
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
        one.1.whole().is_some_and(|asserted| known.contradict(asserted, condition))
    };
    if let Some((step, _)) = asserted.iter().find(contrary) {
        let diagnostic = Diagnostic::new(&RULE, site.inferred.span.clone(), message)
            .label(analysis.declaration(*step), "the run goes on only if the contrary is true")
            .help(help);
        diagnostics.push(diagnostic);
    }
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
    if let Some(truth) = known.truth(condition) {
        if let Some((message, help)) = describe(purpose, truth) {
            let span = inferred.span.clone();
            let (always, effect) = message.split_once(": ").unwrap_or((message, ""));
            let reason = match asked_of_null(analysis, condition) {
                Some(asked) => Some((
                    format!("{always}: '{}' may be null, and null is defined", asked.path),
                    asked.help(),
                )),
                None => reason(analysis, known, condition, truth).map(|(reason, advice)| {
                    let help = advice.unwrap_or_else(|| help.to_owned());
                    (format!("{always}, because {reason}: {effect}"), help)
                }),
            };
            let (message, help) = reason.unwrap_or((message.to_owned(), help.to_owned()));
            diagnostics.push(Diagnostic::new(&RULE, span, message).help(help));
        }
        return true;
    }
    let by_limits = || known.true_by_limits(condition).map(|why| (true, why));
    // An assertion that is always true by them is there for the reader; a step that always runs needs no condition.
    let is_told = |(truth, _): &(bool, String)| !truth || purpose == Purpose::When;
    let decided = by_sizes(analysis, condition).or_else(by_limits).filter(is_told);
    if let Some((truth, why)) = decided
        && let Some((message, help)) = describe(purpose, truth)
    {
        let message = message.replacen(": ", &format!(", because {why}: "), 1);
        let diagnostic = Diagnostic::new(&RULE, inferred.span.clone(), message).help(help);
        diagnostics.push(diagnostic);
        return true;
    }
    let mut decided = Vec::new();
    decided_operands(known, condition, &mut decided);
    for (operand, (truth, limits)) in &decided {
        let span = template::span::of_expr(text, operand);
        let span = SourceMap::new(analysis.source.text(), site.node).range(span);
        let message = format!("this part is always {truth}: {limits}");
        let help = match limits.ends_with(NEVER_NEGATIVE) {
            true => "compare it with the number that is meant, such as > 0, or remove it",
            false => "correct it, or remove it",
        };
        diagnostics.push(Diagnostic::new(&RULE, span, message).help(help));
    }
    !decided.is_empty()
}

/// The sizes of a group, from the least: EKS and Auto Scaling keep this order.
const SIZES: [&str; 3] = ["min", "desired", "max"];

/// Returns the truth of a comparison of two sizes of one group, and why it is always that.
fn by_sizes(analysis: &Analysis<'_>, condition: &Expr<'_>) -> Option<(bool, String)> {
    use CompareOpKind::{Gt, Gte, Lt, Lte};
    let pairs = parts::comparisons(condition);
    let [(left, op, right)] = pairs.as_slice() else { return None };
    let (step, left) = size_of_group(analysis, left)?;
    let (other, right) = size_of_group(analysis, right)?;
    let truth = match (op, left.cmp(&right)) {
        _ if step != other => return None,
        (Lte, Ordering::Less) | (Gte, Ordering::Greater) => true,
        (Gt, Ordering::Less) | (Lt, Ordering::Greater) => false,
        _ => return None,
    };
    let [least, most] = [left.min(right), left.max(right)].map(|size| SIZES[size]);
    Some((truth, format!("'{most}' of a group is never below '{least}'")))
}

/// Returns the step of an output that is a size of a group, and the place of the size.
fn size_of_group(analysis: &Analysis<'_>, expr: &Expr<'_>) -> Option<(usize, usize)> {
    let (root, fields) = path(expr)?;
    let step = *analysis.symbols.steps.get(root)?;
    analysis.steps.get(step)?.signature?;
    let target = analysis.flow.steps.get(step)?.target.as_ref();
    target.filter(|target| !target.is_workload())?;
    let record = analysis.symbols.outputs.get(step).filter(|output| output.items.is_none())?;
    let has_all = |record: &RecordType| SIZES.iter().all(|size| record.field(size).is_some());
    record.record.as_ref().filter(|record| has_all(record))?;
    let [field] = fields.as_slice() else { return None };
    Some((step, SIZES.iter().position(|size| size == field)?))
}

/// The limits of a count.
const NEVER_NEGATIVE: &str = "is never negative";

/// Returns why a condition is the same for every run, and what to write; none where that is plain.
fn reason(
    analysis: &Analysis<'_>,
    known: &Known<'_>,
    condition: &Expr<'_>,
    truth: bool,
) -> Option<(String, Option<String>)> {
    let asked = parts::negated(condition).unwrap_or(condition);
    if let Expr::Test(test) = asked
        && matches!(test.name, "defined" | "undefined")
        && let Expr::Var(var) = &test.expr
    {
        return Some(always_there(analysis, var.id));
    }
    if let Expr::Test(test) = asked
        && test.name == "none"
    {
        return Some((format!("'{}' is never null", canonical(&test.expr)), None));
    }
    let mut decided = Vec::new();
    decided_operands(known, asked, &mut decided);
    if let Some((_, (_, limits))) = decided.into_iter().next() {
        let advice = if limits.ends_with(NEVER_NEGATIVE) {
            Some("compare it with the number that is meant, such as > 0".to_owned())
        } else {
            None
        };
        return Some((limits, advice));
    }
    let path = known.contradiction(condition)?;
    let verb = if truth { "leave nothing out" } else { "exclude each other" };
    Some((format!("its parts about '{path}' {verb}"), None))
}

/// Returns why the output of a step is always there, and what can be asked of it.
fn always_there(analysis: &Analysis<'_>, id: &str) -> (String, Option<String>) {
    let step = analysis.symbols.steps.get(id).and_then(|step| analysis.symbols.outputs.get(*step));
    let record = step.and_then(|output| output.record.as_ref());
    let nullable = record.and_then(|record| {
        record.fields.iter().find(|field| matches!(field.ty, Type::Optional(_)))
    });
    let advice = match nullable {
        Some(field) => {
            format!("ask about a field that may be null, such as: {id}.{} is not none", field.name)
        }
        None => "ask about a field of it, or remove the condition".to_owned(),
    };
    (format!("'{id}' runs in any case"), Some(advice))
}

/// A part of a condition, its truth, and the limits that decide it.
type Decided<'e, 't> = (&'e Expr<'t>, (bool, String));

/// Finds the operands of `and` and `or` that compare a number with what it always, or never, is.
fn decided_operands<'e, 't>(
    known: &Known<'_>,
    expr: &'e Expr<'t>,
    found: &mut Vec<Decided<'e, 't>>,
) {
    match expr {
        Expr::BinOp(op) if matches!(op.op, BinOpKind::ScAnd | BinOpKind::ScOr) => {
            decided_operands(known, &op.left, found);
            decided_operands(known, &op.right, found);
        }
        operand => found.extend(known.decided(operand).map(|decided| (operand, decided))),
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
