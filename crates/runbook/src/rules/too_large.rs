//! A file that is too large or nested too deeply.

use super::super::yaml::{MAX_BYTES, MAX_DEPTH, MAX_NODES, YamlIssueKind};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB002",
    name: "too_large",
    severity: Severity::Error,
    summary: "a file that is too large or nested too deeply",
    explanation: "\
Limits keep a hostile or broken file from exhausting the machine that checks it: 1 MiB of text,
400,000 values, 32 levels of nesting. The thirteen steps of relay-scale take 6 KiB and 5 levels.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.yaml {
        let message = match issue.kind {
            YamlIssueKind::TooManyBytes => {
                format!("the file is larger than {} KiB", MAX_BYTES / 1024)
            }
            YamlIssueKind::TooManyNodes => format!("the file has more than {MAX_NODES} values"),
            // The parser itself rejects brackets that are nested deeper still.
            YamlIssueKind::TooDeep => format!("the nesting exceeds {MAX_DEPTH} levels"),
            _ => continue,
        };
        let help = match issue.kind {
            YamlIssueKind::TooDeep => {
                "write fewer brackets, or less indentation, within each other"
            }
            _ => "split the runbook, and call the parts with 'call'",
        };
        diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message).help(help));
    }
}
