//! A field of an object that an action neither reads nor changes.

use super::super::analysis::ArgumentIssueKind;
use super::super::objects::{refusal_to_patch, refusal_to_read};
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB070",
    name: "refused_field",
    severity: Severity::Error,
    summary: "a field of an object that is not read or not changed",
    explanation: "\
What a step reads and what it changes is in the journal, in logs and in the output of commands. So the
values of a Secret are not read, and a Secret is not changed: mount it, or use a tool that keeps it
secret. A patch changes neither what identifies an object (its kind, name and namespace) nor what the
API server and controllers write (status, and metadata other than labels, annotations and finalizers).
The annotations by which this program knows what it has changed, and the taint of a cordoned node, are
not set either.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.argument_issues() {
        if let ArgumentIssueKind::RefusedText { path, text, why, help } = &issue.kind {
            let message = format!("'{path}' cannot be {}: {why}", quoted(text));
            diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message).help(help));
        }
    }
    for object in analysis.objects() {
        let Ok(kind) = &object.kind else { continue };
        for (path, span) in object.paths() {
            if let Some(why) = refusal_to_read(kind, &path) {
                let diagnostic = Diagnostic::new(&RULE, span, why);
                diagnostics.push(match kind.is_secret() {
                    true => diagnostic.help(
                        "read a label or an annotation of it, or keep what is no secret in a ConfigMap",
                    ),
                    false => diagnostic,
                });
            }
        }
        for (keys, value, span) in object.patched() {
            if let Some(why) = refusal_to_patch(kind, &keys, &value) {
                // No field of a Secret is changed: the kind is the mistake, and it is one.
                let is_secret = kind.is_secret();
                let span = if is_secret { object.span("kind") } else { span };
                let diagnostic = Diagnostic::new(&RULE, span, why);
                if is_secret {
                    let help = "let a tool that keeps secrets do it, and revoke a value that is written down here";
                    diagnostics.push(diagnostic.help(help));
                    break;
                }
                diagnostics.push(diagnostic);
            }
        }
    }
}
