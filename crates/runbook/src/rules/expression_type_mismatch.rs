//! An expression whose type differs from its parameter's.

use std::sync::Arc;

use serde_json::Value as Json;

use super::super::analysis::{AT_ONCE, Role, TemplateSite};
use super::super::types::{Field, Type, TypeMismatch};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB031",
    name: "expression_type_mismatch",
    severity: Severity::Error,
    summary: "an expression whose type differs from its parameter's",
    explanation: "\
The type of a template is known before the run, because inputs and outputs have types. A scalar that
is one whole {{ expression }} yields the value of the expression; with any text around it, it yields
a string.

'/' always yields a fraction: use '//' for whole numbers, or '| int'.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for site in analysis.sites() {
        let path = match &site.role {
            Role::Parameter(path) | Role::Limit(path) => path,
            Role::AtOnce => AT_ONCE,
            _ => continue,
        };
        if let Some(diagnostic) = check_site(analysis, site, path) {
            diagnostics.push(diagnostic);
        }
    }
}

fn check_site(analysis: &Analysis<'_>, site: &TemplateSite<'_>, path: &str) -> Option<Diagnostic> {
    let inferred = &site.inferred;
    if !inferred.issues.is_empty() {
        return None; // an expression with an issue has no reliable type
    }
    let span = inferred.span.clone();
    if let Some(value) = inferred.constant.as_ref().and_then(constant) {
        let mismatch = site.wanted.coerce(value).err()?;
        let message = format!("'{path}' {}", mismatch.reason);
        return Some(Diagnostic::new(&RULE, span, message));
    }
    let wanted = site.wanted.non_null().with_article();
    let found = inferred.ty.with_article();
    match site.wanted.check_assignable(&inferred.ty).err()? {
        TypeMismatch::PossiblyNull => None, // reported as RB035
        TypeMismatch::Incompatible => {
            let message = format!("'{path}' must be {wanted}, but this expression yields {found}");
            let mut diagnostic = Diagnostic::new(&RULE, span, message);
            diagnostic.help = help(site);
            Some(name_field_beside(diagnostic, analysis, site))
        }
        TypeMismatch::OutOfRange(limits) => {
            let message = format!("'{path}' must be {limits}, but this expression never is");
            Some(Diagnostic::new(&RULE, span, message))
        }
        mismatch => {
            let reason = reason(&mismatch);
            let message = format!("'{path}' must be {wanted}, but in {found} {reason}");
            Some(Diagnostic::new(&RULE, span, message))
        }
    }
}

/// Returns the parameter of the same action that takes values of the kind.
fn parameter_for<'a>(analysis: &'a Analysis<'_>, site: &TemplateSite<'_>) -> Option<&'a str> {
    let kind = site.inferred.ty.kind()?;
    let signature = analysis.steps.get(site.step)?.signature?;
    let takes_it = |field: &&Field| {
        field.ty.kind() == Some(kind) && field.ty.check_assignable(&site.inferred.ty).is_ok()
    };
    signature.params.fields.iter().find(takes_it).map(|field| field.name.as_str())
}

/// Adds the field that is meant, where the record that has the wrong value has one of the right kind.
fn name_field_beside(
    mut diagnostic: Diagnostic,
    analysis: &Analysis<'_>,
    site: &TemplateSite<'_>,
) -> Diagnostic {
    let Some(expression) = analysis.beside(site).and_then(|beside| {
        let whole = Type::Record(Arc::clone(&beside.record));
        if !beside.is_map && site.wanted.check_assignable(&whole).is_ok() {
            return beside.whole();
        }
        let wanted = site.wanted.kind();
        let is_meant = |field: &&Field| {
            let is_of_kind = wanted.is_some() && field.ty.kind() == wanted;
            let fits = match beside.is_map {
                true => Type::list(field.ty.non_null().clone()),
                false => field.ty.non_null().clone(),
            };
            is_of_kind && site.wanted.check_assignable(&fits).is_ok()
        };
        let field = beside.record.fields.iter().find(is_meant)?;
        Some(beside.with_field(&field.name))
    }) else {
        if let Some(parameter) = parameter_for(analysis, site) {
            diagnostic.help = Some(format!("give them as '{parameter}'"));
        }
        return diagnostic;
    };
    diagnostic.help = Some(format!("write {{{{ {expression} }}}}"));
    // What is written with escapes in YAML could not be replaced by the text of the expression.
    let written = site.node.text().is_some_and(|text| {
        analysis.source.text().get(diagnostic.span.clone()).is_some_and(|span| text.contains(span))
    });
    diagnostic.suggestion = written.then_some(expression);
    diagnostic
}

fn constant(value: &minijinja::Value) -> Option<Json> {
    serde_json::to_value(value).ok()
}

fn help(site: &TemplateSite<'_>) -> Option<String> {
    let (wanted, ty) = (site.wanted.non_null(), site.inferred.ty.non_null());
    let text = match (wanted, ty) {
        (Type::Integer(_), Type::Number(_)) if site.inferred.divides => {
            "'/' yields a fraction: use '//', or '| int'"
        }
        (Type::Integer(_), Type::Number(_)) => "use '| int'",
        (_, ty) if site.is_text && ty.is_text() => {
            "a template with text around it yields a string: remove the text around {{ … }}"
        }
        (Type::Integer(_), ty) if ty.is_text() => "use '| int' to convert a string to an integer",
        (Type::Number(_), ty) if ty.is_text() => "use '| float' to convert a string to a number",
        (Type::Duration, Type::String(_)) => "declare the input with 'type: duration'",
        (Type::Duration, ty) if ty.is_numeric() => "add a unit: {{ … }}s",
        (Type::Enum(_), Type::String(_)) => "declare the input with 'type: enum' and 'values'",
        (Type::List(of, _), ty) if of.check_assignable(ty).is_ok() => "put it into a list: [ … ]",
        (Type::String(_), Type::List(..)) => "use '| join(\", \")' to convert a list to a string",
        _ => return None,
    };
    Some(text.to_owned())
}

fn reason(mismatch: &TypeMismatch) -> String {
    match mismatch {
        TypeMismatch::Incompatible => "the type differs".to_owned(),
        TypeMismatch::PossiblyNull => "the value may be null".to_owned(),
        TypeMismatch::MissingField(name) => format!("the field '{name}' is missing"),
        TypeMismatch::OutOfRange(limits) => format!("the value is never {limits}"),
        TypeMismatch::Field(name, inner) => {
            format!("the field '{name}' does not match: {}", reason(inner))
        }
    }
}
