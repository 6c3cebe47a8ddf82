//! A filter or test that does not exist.

use super::super::habits;
use super::super::template::TemplateIssueKind;
use super::super::template::filters::{self, predicates};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB028",
    name: "unknown_filter",
    severity: Severity::Error,
    summary: "a filter or test that does not exist",
    explanation: "\
Filters are written after '|', tests after 'is'.

Filters: abs, bool, capitalize, default, first, float, int, join, last, length, lines, list, lower,
map, max, min, reject, rejectattr, replace, reverse, round, select, selectattr, sort, split, string,
sum, title, trim, unique, upper.

Tests: defined, undefined, none, even, odd, divisibleby, in, eq, ne, lt, le, gt, ge, startingwith,
endingwith, and the kinds: boolean, integer, float, number, string, sequence, mapping, iterable.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        let (what, name, names, habit) = match &issue.kind {
            TemplateIssueKind::UnknownFilter(name) => {
                ("filter", name, filters::names().collect(), habits::filter(name))
            }
            TemplateIssueKind::UnknownTest(name) => {
                ("test", name, predicates::NAMES.to_vec(), habits::test(name))
            }
            _ => continue,
        };
        let message = format!("unknown {what} '{name}'");
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        diagnostics.push(match habit {
            Some(habit) => diagnostic.rewrite(habit),
            None => diagnostic.suggest(&diagnostics.spelling, name, names),
        });
    }
}
