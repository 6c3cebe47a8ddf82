//! Calls that go in circles, or too deep.

use super::super::callables::{CallProblem, MAX_DEPTH};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB066",
    name: "nested_call",
    severity: Severity::Error,
    summary: "a call that goes in circles or too deep",
    explanation: "\
The texts of all called runbooks become part of a run when it starts, so a runbook cannot call itself,
directly or through others. Calls can be nested three deep: what a run does can then still be read.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (node, problem) in analysis.call_problems() {
        let (message, help) = match problem {
            CallProblem::Cycle(chain) if chain.len() == 2 => (
                "a runbook cannot call itself".to_owned(),
                "to do something for each of several items, use 'for_each'",
            ),
            CallProblem::Cycle(chain) => (
                format!("this call goes in circles: {}", chain.join(" calls ")),
                "move what both need into a third runbook",
            ),
            CallProblem::TooDeep => (
                format!("calls can be nested {MAX_DEPTH} deep, and these are deeper"),
                "call the inner runbook from an outer one",
            ),
            _ => continue,
        };
        diagnostics.push(Diagnostic::new(&RULE, node.span.clone(), message).help(help));
    }
}
