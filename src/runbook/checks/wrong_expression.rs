//! An expression of another type than its parameter.

use serde_json::Value as Json;

use super::super::examine::{Role, Site};
use super::super::types::{Misfit, Type};
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB031",
    name: "wrong_expression",
    severity: Severity::Error,
    summary: "an expression of another type than its parameter",
    explanation: "\
What a template yields is known before the run: inputs and outputs have types, and so has everything
made of them. A scalar that is one whole {{ expression }} yields the expression's own value; with
any text around it, it yields text.

'/' always yields a fraction: use '//' for whole numbers, or '| int'.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for site in book.sites() {
        let Role::Parameter(path) = &site.role else {
            continue;
        };
        if let Some(finding) = judge(site, path) {
            findings.push(finding);
        }
    }
}

fn judge(site: &Site<'_>, path: &str) -> Option<Finding> {
    let inferred = &site.inferred;
    if !inferred.flaws.is_empty() {
        return None; // what has a flaw in it has no type to speak of
    }
    let span = inferred.span.clone();
    if let Some(value) = inferred.constant.as_ref().and_then(constant) {
        let mismatch = site.wanted.project(value).err()?;
        let message = format!("'{path}' {}", mismatch.reason);
        return Some(Finding::new(&RULE, span, message));
    }
    let wanted = site.wanted.noun();
    let found = inferred.ty.noun();
    match site.wanted.fits(&inferred.ty).err()? {
        Misfit::Null => None, // RB035's
        Misfit::Type => {
            let message = format!("'{path}' must be {wanted}, but this yields {found}");
            let mut finding = Finding::new(&RULE, span, message);
            finding.help = help(site);
            Some(finding)
        }
        Misfit::Limits(limits) => {
            let message = format!("'{path}' must be {limits}, which this never is");
            Some(Finding::new(&RULE, span, message))
        }
        misfit => {
            let reason = reason(&misfit);
            let message = format!("'{path}' must be {wanted}, but in {found} {reason}");
            Some(Finding::new(&RULE, span, message))
        }
    }
}

fn constant(value: &minijinja::Value) -> Option<Json> {
    serde_json::to_value(value).ok()
}

fn help(site: &Site<'_>) -> Option<String> {
    let (wanted, ty) = (site.wanted.present(), site.inferred.ty.present());
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
        (Type::List(of, _), ty) if of.fits(ty).is_ok() => "make a list of it: [ … ]",
        (Type::String(_), Type::List(..)) => "use '| join(\", \")' to make one text of a list",
        _ => return None,
    };
    Some(text.to_owned())
}

fn reason(misfit: &Misfit) -> String {
    match misfit {
        Misfit::Type => "it is of another type".to_owned(),
        Misfit::Null => "it may be null".to_owned(),
        Misfit::Missing(name) => format!("there is no '{name}'"),
        Misfit::Limits(limits) => format!("it is never {limits}"),
        Misfit::Field(name, inner) => format!("the field '{name}' does not fit: {}", reason(inner)),
    }
}
