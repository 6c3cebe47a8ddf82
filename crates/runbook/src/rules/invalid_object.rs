//! Parameters that name no object of Kubernetes.

use super::super::objects::{ObjectKindError, kind_of};
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
            ObjectKindError::InvalidVersion(_) | ObjectKindError::OtherGroup { .. } => {
                "api_version"
            }
            ObjectKindError::InvalidKind(_)
            | ObjectKindError::UnknownPlural { .. }
            | ObjectKindError::MissingNamespace(_) => "kind",
            ObjectKindError::OtherPlural { .. } => "resource",
            ObjectKindError::NoNamespace(_) => "namespace",
        };
        let mut diagnostic = Diagnostic::new(&RULE, object.span(parameter), error.to_string());
        match error {
            ObjectKindError::UnknownPlural { similar: Some(similar), .. } => {
                diagnostic = diagnostic.help(format!("did you mean '{similar}'?"));
            }
            ObjectKindError::OtherGroup { api_version, .. } => {
                let help = format!("write 'api_version: {api_version}'");
                diagnostic = diagnostic.help(help);
            }
            ObjectKindError::InvalidVersion(_) => {
                let help =
                    "write it as `kubectl api-resources` shows it: v1, apps/v1 or GROUP/VERSION";
                diagnostic = diagnostic.help(help);
            }
            ObjectKindError::InvalidKind(written) => {
                let meant = kind_of(written);
                let help = meant.map_or_else(
                    || "write it in the singular, with a capital, as in a manifest".to_owned(),
                    |kind| format!("write {kind}"),
                );
                diagnostic = diagnostic.help(help);
                diagnostic.suggestion = meant.map(str::to_owned);
            }
            ObjectKindError::OtherPlural { resource, .. } => {
                let help = format!("write {resource}, or remove 'resource'");
                diagnostic = diagnostic.help(help);
            }
            ObjectKindError::MissingNamespace(_) => {
                diagnostic = diagnostic.help("add 'namespace:' under 'with'");
            }
            ObjectKindError::NoNamespace(_) => diagnostic = diagnostic.help("remove 'namespace'"),
            ObjectKindError::UnknownPlural { similar: None, .. } => {
                let help = "add 'resource:' with the plural, or correct 'kind' and 'api_version'";
                diagnostic = diagnostic.help(help);
            }
        }
        diagnostics.push(diagnostic);
    }
}
