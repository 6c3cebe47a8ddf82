//! An expression of another type than its parameter.

use serde_json::Value as Json;

use super::super::analysis::{Role, TemplateSite};
use super::super::types::{Type, TypeMismatch};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB031",
    name: "expression_type_mismatch",
    severity: Severity::Error,
    summary: "an expression of another type than its parameter",
    explanation: "\
What a template yields is known before the run: inputs and outputs have types, and so has everything
made of them. A scalar that is one whole {{ expression }} yields the expression's own value; with
any text around it, it yields text.

'/' always yields a fraction: use '//' for whole numbers, or '| int'.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for site in analysis.sites() {
        let Role::Parameter(path) = &site.role else {
            continue;
        };
        if let Some(diagnostic) = check_site(site, path) {
            diagnostics.push(diagnostic);
        }
    }
}

fn check_site(site: &TemplateSite<'_>, path: &str) -> Option<Diagnostic> {
    let inferred = &site.inferred;
    if !inferred.issues.is_empty() {
        return None; // what has a flaw in it has no type to speak of
    }
    let span = inferred.span.clone();
    if let Some(value) = inferred.constant.as_ref().and_then(constant) {
        let mismatch = site.wanted.coerce(value).err()?;
        let message = format!("'{path}' {}", mismatch.reason);
        return Some(Diagnostic::new(&RULE, span, message));
    }
    let wanted = site.wanted.with_article();
    let found = inferred.ty.with_article();
    match site.wanted.check_assignable(&inferred.ty).err()? {
        TypeMismatch::PossiblyNull => None, // RB035's
        TypeMismatch::Incompatible => {
            let message = format!("'{path}' must be {wanted}, but this yields {found}");
            let mut diagnostic = Diagnostic::new(&RULE, span, message);
            diagnostic.help = help(site);
            Some(diagnostic)
        }
        TypeMismatch::OutOfRange(limits) => {
            let message = format!("'{path}' must be {limits}, which this never is");
            Some(Diagnostic::new(&RULE, span, message))
        }
        mismatch => {
            let reason = reason(&mismatch);
            let message = format!("'{path}' must be {wanted}, but in {found} {reason}");
            Some(Diagnostic::new(&RULE, span, message))
        }
    }
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
            "with text around it a template yields text: leave only {{ … }}"
        }
        (Type::Integer(_), ty) if ty.is_text() => "use '| int' to make a number of a text",
        (Type::Number(_), ty) if ty.is_text() => "use '| float' to make a number of a text",
        (Type::Duration, Type::String(_)) => "declare it with 'type: duration'",
        (Type::Duration, ty) if ty.is_numeric() => "a duration has a unit: {{ … }}s",
        (Type::Enum(_), Type::String(_)) => "declare it with 'type: enum' and 'values'",
        (Type::List(of, _), ty) if of.check_assignable(ty).is_ok() => "make a list of it: [ … ]",
        (Type::String(_), Type::List(..)) => "use '| join(\", \")' to make one text of a list",
        _ => return None,
    };
    Some(text.to_owned())
}

fn reason(mismatch: &TypeMismatch) -> String {
    match mismatch {
        TypeMismatch::Incompatible => "it is of another type".to_owned(),
        TypeMismatch::PossiblyNull => "it may be null".to_owned(),
        TypeMismatch::MissingField(name) => format!("there is no '{name}'"),
        TypeMismatch::OutOfRange(limits) => format!("it is never {limits}"),
        TypeMismatch::Field(name, inner) => {
            format!("the field '{name}' does not fit: {}", reason(inner))
        }
    }
}
