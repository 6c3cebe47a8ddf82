//! A version and its exclusion that leave nothing, or exclude nothing.

use super::super::analysis::flow::template_text;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB115",
    name: "excluded_version",
    severity: Severity::Warning,
    summary: "a version and its exclusion that select no node, or the same as one of them",
    explanation: "\
'version' selects the nodes of a version, and 'not_version' leaves those of another one out: 1.33 without 1.33.2. The
same version in both selects no node; with different ones, 'version' alone selects the same.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for with in analysis.document.steps.iter().filter_map(|step| step.with) {
        let pairs = with.pairs().unwrap_or_default().iter();
        let key = pairs.map(|(key, _)| key).find(|key| key.text() == Some("not_version"));
        let (Some(key), Some(version), Some(not)) =
            (key, with.member("version"), with.member("not_version"))
        else {
            continue;
        };
        let (Some(one), Some(other)) = (version.text(), not.text()) else { continue };
        let is_known = template_text(version).is_none() && template_text(not).is_none();
        let (a, b) = (parts(one), parts(other));
        let message = if one == other || is_known && a.starts_with(&b) {
            "no node has a version that is wanted and excluded"
        } else if is_known && !b.starts_with(&a) {
            "this excludes nothing: 'version' selects no node of that version"
        } else {
            continue;
        };
        let diagnostic = Diagnostic::new(&RULE, key.span.clone(), message)
            .label(version.span.clone(), "the version that is wanted")
            .help("remove 'version' or 'not_version'");
        diagnostics.push(diagnostic);
    }
}

/// Returns the components of a version.
fn parts(version: &str) -> Vec<&str> {
    version.strip_prefix('v').unwrap_or(version).split(['.', '-']).collect()
}
