//! An input's default that its own declaration refuses.

use super::super::analysis::ArgumentIssueKind;
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB041",
    name: "wrong_default",
    severity: Severity::Error,
    summary: "an input's default that its own declaration refuses",
    explanation: "\
A default is what a run uses when nothing is given, so it must be of the input's type and within its
limits.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in &analysis.default_issues {
        let message = match &issue.kind {
            ArgumentIssueKind::TypeMismatch { wanted, found, .. } => {
                format!("this default must be {}, not {found}", wanted.with_article())
            }
            ArgumentIssueKind::OutOfRange { limits, found, .. } => {
                format!("this default must be {limits}, not {found}")
            }
            ArgumentIssueKind::InvalidFormat { form, found, .. } => {
                format!("this default {form}, not {found}")
            }
            ArgumentIssueKind::InvalidEnumValue { found, values, .. } => {
                let message = format!("this default cannot be {}", quoted(found));
                let values = values.iter().map(String::as_str);
                let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
                diagnostics.push(diagnostic.suggest(&diagnostics.spelling, found, values));
                continue;
            }
            _ => continue,
        };
        diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message));
    }
}
