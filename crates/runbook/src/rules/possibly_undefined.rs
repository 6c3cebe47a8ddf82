//! An output that may be absent.

use super::super::template::TemplateIssueKind;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB034",
    name: "possibly_undefined",
    severity: Severity::Error,
    summary: "an output that may be absent",
    explanation: "\
The output of a step is absent when its 'when' was false, or when the step failed under 'on_failure:
continue'. Using an absent output would fail in the middle of the run. Guard the use:

    when: \"{{ scale_up is defined }}\"
    desired: \"{{ scale_up.desired | default(2) }}\"
    desired: \"{{ scale_up.desired if scale_up is defined else 2 }}\"

or give this step the same 'when' as the other step, which guards against the condition, but not
against a failure.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (_, issue) in analysis.template_issues() {
        let TemplateIssueKind::PossiblyUndefined { step, presence } = &issue.kind else {
            continue;
        };
        let id = analysis.id(*step);
        let (cause, label) = if presence.may_fail {
            ("may have failed under 'on_failure: continue'", "this step may fail")
        } else {
            ("may have been skipped by its 'when'", "this step has a condition")
        };
        let message = format!("the output of '{id}' may be absent: the step {cause}");
        let help =
            format!("guard the use with `{id} is defined`, or add `| default(…)` after the field");
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message)
            .label(analysis.declaration(*step), label);
        diagnostics.push(diagnostic.help(help));
    }
}
