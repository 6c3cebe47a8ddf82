//! A template that is too long, or takes too much work with the values that it has in any run.

use serde_json::{Map, Value as Json};

use super::super::evaluate::{EvaluationScope, Expression};
use super::super::template::{MAX_BRACKETS, MAX_BYTES, MAX_TOKENS, TemplateIssueKind};
use super::super::types::Type;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};
use crate::analysis::TemplateSite;

pub(crate) const RULE: Rule = Rule {
    code: "RB022",
    name: "template_limit",
    severity: Severity::Error,
    summary: "a template that is too long or takes too much work",
    explanation: "\
An expression can have at most 256 tokens and 24 levels of brackets, and a string with templates
at most 32 KiB, so that parsing and evaluating a template cannot exhaust the machine. Split the
expression, or pass the values to the action in several parameters.

Evaluating a template is limited too, in proportion to the size of the inputs and outputs. A
template that uses no output is evaluated by the checker, with the defaults of its inputs.",
};

/// The most instructions that evaluating the templates of a file may take: a file can have a hundred thousand.
const MAX_FUEL: u64 = 20_000_000;

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        let message = match issue.kind {
            TemplateIssueKind::TooLong => {
                format!("this expression has more than {MAX_TOKENS} names, values and signs")
            }
            TemplateIssueKind::TooManyBytes => {
                format!("a string with templates can have at most {} KiB", MAX_BYTES / 1024)
            }
            TemplateIssueKind::TooDeep => {
                format!("the brackets are nested more than {MAX_BRACKETS} levels deep")
            }
            _ => continue,
        };
        let help = "compute less in one template: pass parts of it as inputs, or use several steps";
        diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message).help(help));
    }
    check_evaluation(analysis, diagnostics);
}

/// Evaluates the templates whose values are known.
fn check_evaluation(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let declared = analysis.document.inputs.iter().zip(&analysis.defaults);
    let defaults: Map<String, Json> = declared
        .filter_map(|(input, default)| Some((input.name.to_owned(), default.clone()?)))
        .collect();
    let is_known = |site: &&TemplateSite<'_>| {
        let inferred = &site.inferred;
        inferred.issues.is_empty()
            && inferred.steps.is_empty()
            && !inferred.all_inputs
            && inferred.inputs.iter().all(|name| defaults.contains_key(name))
    };
    let scope = EvaluationScope::new(&defaults);
    let max_evaluated = usize::try_from(MAX_FUEL / scope.max_fuel()).unwrap_or(usize::MAX);
    for site in analysis.sites().filter(is_known).filter(|site| can_grow(site)).take(max_evaluated)
    {
        let text = site.node.text().unwrap_or_default();
        let template = Expression::new(text, !site.is_text, &Type::Any, "").compile();
        let Err(error) = template.evaluate(&scope) else { continue };
        if error.kind.is_limit() {
            let span = site.inferred.span.clone();
            diagnostics.push(Diagnostic::new(&RULE, span, error.kind.to_string()));
        }
    }
}

/// Whether evaluating a template can take more work than reading a value.
fn can_grow(site: &TemplateSite<'_>) -> bool {
    site.node.text().is_some_and(|text| text.contains(['|', '*', '~', '+']))
}
