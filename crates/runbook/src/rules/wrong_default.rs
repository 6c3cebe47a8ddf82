//! A default that does not match its declaration.

use super::super::analysis::ArgumentIssueKind;
use super::super::habits;
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB041",
    name: "wrong_default",
    severity: Severity::Error,
    summary: "a default that does not match its declaration",
    explanation: "\
A run uses the default when the input is not given, so the default must have the type of the input
and be within its limits.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in &analysis.default_issues {
        let message = match &issue.kind {
            ArgumentIssueKind::TypeMismatch { wanted, found, advice, .. } => {
                let message = format!("the default must be {}, not {found}", wanted.with_article());
                let mut diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
                diagnostic.help = advice.as_ref().map(|advice| advice.help.clone());
                if found == "nothing" {
                    let help = format!("write 'type: optional {wanted}', or remove the default");
                    diagnostic.help = Some(help);
                }
                diagnostics.push(diagnostic);
                continue;
            }
            ArgumentIssueKind::OutOfRange { limits, found, .. } => {
                format!("the default must be {limits}, not {found}")
            }
            ArgumentIssueKind::InvalidFormat { form, found, .. } => {
                format!("the default {form}, not {found}")
            }
            ArgumentIssueKind::InvalidEnumValue { found, values, .. } => {
                let message = format!("{} is not a valid default", quoted(found));
                let values = values.iter().map(String::as_str);
                let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
                diagnostics.push(diagnostic.suggest(&diagnostics.spelling, found, values));
                continue;
            }
            _ => continue,
        };
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        let text = analysis.source.text().get(issue.span.clone()).unwrap_or_default();
        let is_duration = diagnostic.message.contains("must be a duration");
        let meant = habits::duration(text.trim_matches(['"', '\''])).filter(|_| is_duration);
        diagnostics.push(match meant {
            Some(meant) => diagnostic.replace(meant),
            None => diagnostic,
        });
    }
}
