//! A string that does not have its parameter's format.

use super::super::analysis::{ArgumentIssueKind, ImpossibleText, Role};
use super::super::habits;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB017",
    name: "invalid_format",
    severity: Severity::Error,
    summary: "a string that does not have its parameter's format",
    explanation: "\
Some strings have a format that the platform would reject only in the middle of a run: durations
(10m), the names of Kubernetes objects, label keys, AWS regions (us-west-2), EC2 instance ids
(i-0123456789abcdef0). The format is checked before the run.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.argument_issues() {
        let ArgumentIssueKind::InvalidFormat { path, form, found } = &issue.kind else {
            continue;
        };
        let message = format!("'{path}' {form}, not {found}");
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        let text = analysis.source.text().get(issue.span.clone()).unwrap_or_default();
        let is_duration = form.starts_with("must be a duration");
        let meant = habits::duration(text.trim_matches(['"', '\''])).filter(|_| is_duration);
        diagnostics.push(match meant {
            Some(meant) => diagnostic.replace(meant),
            None => diagnostic,
        });
    }
    for site in analysis.sites() {
        let Role::Parameter(path) = &site.role else { continue };
        let Some(ImpossibleText { span, character, form }) = analysis.impossible_text(site) else {
            continue;
        };
        let message = match character {
            Some(character) => {
                format!("'{path}' must be {form}; {} is not allowed in it", shown(character))
            }
            None => format!("'{path}' must be {form}, which this text never is"),
        };
        diagnostics.push(Diagnostic::new(&RULE, span, message));
    }
}

/// Returns a character for a message.
fn shown(character: char) -> String {
    match character {
        ' ' => "a space".to_owned(),
        '\n' => "a line break".to_owned(),
        '\t' => "a tab".to_owned(),
        character => format!("'{character}'"),
    }
}
