//! Parameters that name no object of Kubernetes.

use super::super::objects::ObjectKindError;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB069",
    name: "invalid_object",
    severity: Severity::Error,
    summary: "parameters that name no Kubernetes object",
    explanation: "\
An API server is asked for an object by its group, version and resource, which is the kind in the
plural, and the permissions of a run name the resource too. Those of the kinds that Kubernetes itself
has are known; for any other kind, such as that of a custom resource, 'resource' must give it, as
`kubectl api-resources` shows it. An object of a kind with namespaces needs one, and one of a kind
without, such as a Node, must not have any.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for object in analysis.objects() {
        let Err(error) = &object.kind else { continue };
        let parameter = match error {
            ObjectKindError::InvalidVersion(_) => "api_version",
            ObjectKindError::InvalidKind(_)
            | ObjectKindError::UnknownPlural { .. }
            | ObjectKindError::MissingNamespace(_) => "kind",
            ObjectKindError::OtherPlural { .. } => "resource",
            ObjectKindError::NoNamespace(_) => "namespace",
        };
        let mut diagnostic = Diagnostic::new(&RULE, object.span(parameter), error.to_string());
        if let ObjectKindError::UnknownPlural { similar: Some(similar), .. } = error {
            diagnostic = diagnostic.help(format!("did you mean '{similar}'?"));
        }
        diagnostics.push(diagnostic);
    }
}
