//! An expression whose type differs from its parameter's.

use std::sync::Arc;

use minijinja::machinery::ast::{BinOpKind, Expr};
use serde_json::Value as Json;

use super::super::analysis::{AT_ONCE, Role, TemplateSite};
use super::super::template::canonical::canonical;
use super::super::template::{self, Template};
use super::super::types::{Field, MismatchReason, RecordType, Type, TypeMismatch, requirement};
use super::super::yaml::{SourceMap, quoted};
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
        let found = match &value {
            Json::String(text) => quoted(text),
            value => value.to_string(),
        };
        let is_quoted = matches!(&value, Json::String(text) if is_expression(analysis, site, text));
        let mismatch = site.wanted.coerce(value).err()?;
        let is_plain = found.len() <= 60 && mismatch.path.is_empty();
        let message = match mismatch.reason {
            MismatchReason::TypeMismatch { wanted, .. } if is_plain => {
                format!("'{path}' must be {wanted}, not {found}")
            }
            reason @ MismatchReason::TypeMismatch { .. } => format!("'{path}' {reason}"),
            reason if is_plain => format!("'{path}' {reason}, not {found}"),
            reason => format!("'{path}' {reason}"),
        };
        let mut diagnostic = Diagnostic::new(&RULE, span, message);
        if is_quoted {
            diagnostic.help = Some("remove the quotes inside {{ … }}".to_owned());
        }
        return Some(diagnostic);
    }
    let wanted = site.wanted.non_null().with_article();
    let found = inferred.ty.with_article();
    let Err(mismatch) = site.wanted.check_assignable(&inferred.ty) else {
        return check_sum(analysis, site, path);
    };
    match mismatch {
        TypeMismatch::PossiblyNull => None, // reported as RB035
        TypeMismatch::Incompatible => {
            let message = format!("'{path}' must be {wanted}, but this expression yields {found}");
            let mut diagnostic = Diagnostic::new(&RULE, span, message);
            diagnostic.help = help(site).or_else(|| other_group(analysis, site));
            Some(name_field_beside(diagnostic, analysis, site))
        }
        TypeMismatch::OutOfRange(limits) => {
            let requirement = requirement(&limits);
            let message = format!("'{path}' {requirement}, which this expression never does");
            let message = message.replace(
                "never does",
                if requirement.starts_with("must be") { "never is" } else { "never has" },
            );
            Some(Diagnostic::new(&RULE, span, message))
        }
        mismatch => {
            let reason = reason(&mismatch);
            let message = format!("'{path}' must be {wanted}, but in {found} {reason}");
            let diagnostic = Diagnostic::new(&RULE, span, message);
            Some(match parameter_of_record(analysis, site) {
                Some(parameter) => diagnostic.help(format!("give it as '{parameter}'")),
                None => diagnostic,
            })
        }
    }
}

/// Reports a list of another kind in a sum of lists, which has no kind as a whole.
fn check_sum(analysis: &Analysis<'_>, site: &TemplateSite<'_>, path: &str) -> Option<Diagnostic> {
    // Texts are joined, and have no kind then.
    let is_list = |ty: &Type| matches!(ty.non_null(), Type::List(..));
    site.wanted.kind().filter(|_| is_list(&site.wanted))?;
    let text = site.node.text()?;
    let template = template::parse(text).ok()?;
    let mut operands = vec![whole_list(template.whole()?)];
    while let Some(operand) = operands.pop() {
        if let Expr::BinOp(sum) = operand
            && matches!(sum.op, BinOpKind::Add)
        {
            operands.extend([&sum.right, &sum.left].map(whole_list));
            continue;
        }
        let Some(found) = analysis.type_of_present(operand) else { continue };
        if found.kind().is_none()
            || !is_list(&found)
            || site.wanted.check_assignable(&found) != Err(TypeMismatch::Incompatible)
        {
            continue;
        }
        let span = template::span::of_expr(text, operand);
        let span = SourceMap::new(analysis.source.text(), site.node).range(span);
        let message = format!(
            "'{path}' must be {}, but '{}' is {}",
            site.wanted.non_null().with_article(),
            canonical(operand),
            found.with_article()
        );
        return Some(Diagnostic::new(&RULE, span, message).help("add lists of the same kind"));
    }
    None
}

/// Returns a list without the filters that only order it, or leave items out.
fn whole_list<'e, 't>(mut expr: &'e Expr<'t>) -> &'e Expr<'t> {
    while let Expr::Filter(filter) = expr
        && matches!(filter.name, "list" | "reverse" | "sort" | "unique")
        && let Some(of) = &filter.expr
    {
        expr = of;
    }
    expr
}

/// Whether a constant text is an expression that uses an input or a step.
fn is_expression(analysis: &Analysis<'_>, site: &TemplateSite<'_>, text: &str) -> bool {
    let root = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
    let is_known =
        root.is_some_and(|root| root == "inputs" || analysis.symbols.steps.contains_key(root));
    let is_text = site.wanted.non_null().is_text();
    is_known && !is_text && template::parse(&format!("{{{{ {text} }}}}")).is_ok()
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

/// Returns that a name is that of another kind of group, which another parameter takes with its region.
fn other_group(analysis: &Analysis<'_>, site: &TemplateSite<'_>) -> Option<String> {
    let action = analysis.steps.get(site.step)?.signature?;
    let Type::Record(_) = site.wanted.non_null() else { return None };
    let step = site.node.text().and_then(template::inside_braces)?.strip_suffix(".name")?;
    let output = analysis.symbols.outputs.get(*analysis.symbols.steps.get(step)?)?;
    let record = output.record.as_ref().filter(|_| output.items.is_none())?;
    let whole = Type::Record(Arc::clone(record));
    let takes = |field: &&Field| {
        matches!(field.ty.non_null(), Type::Record(_)) && field.ty.check_assignable(&whole).is_ok()
    };
    let parameter = action.params.fields.iter().find(takes)?;
    Some(format!("write {}: \"{{{{ {step} }}}}\"", parameter.name))
}

/// Returns the parameter of the same action that takes such a record.
fn parameter_of_record<'a>(analysis: &'a Analysis<'_>, site: &TemplateSite<'_>) -> Option<&'a str> {
    let signature = analysis.steps.get(site.step)?.signature?;
    let takes_it = |field: &&Field| {
        matches!(field.ty.non_null(), Type::Record(record) if record.fields.iter().any(|f| f.required))
            && field.ty.check_assignable(&site.inferred.ty).is_ok()
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
            let fits = match (field.ty.non_null(), beside.is_map, beside.takes_one) {
                (Type::List(of, _), false, true) => (**of).clone(),
                (ty, true, false) => Type::list(ty.clone()),
                (ty, ..) => ty.clone(),
            };
            let is_of_records = wanted.is_none() && has_records(&site.wanted);
            (is_of_kind || is_of_records) && site.wanted.check_assignable(&fits).is_ok()
        };
        if let Some(field) = beside.record.fields.iter().find(is_meant) {
            return Some(beside.with_field(&field.name));
        }
        let is_plain = !beside.is_map && !beside.takes_one;
        let (list, field) = field_of_items(&beside.record, &site.wanted).filter(|_| is_plain)?;
        let list = beside.with_field(list);
        Some(format!("{list} | map(attribute='{field}') | list"))
    }) else {
        if let Some(filter) = needless_map(site) {
            let help =
                format!("leave {filter} out: the records are needed, and not a field of them");
            diagnostic.help = Some(help);
        } else if let Some(expression) = with_field(site) {
            diagnostic.help = Some(format!("write {{{{ {expression} }}}}"));
            diagnostic.suggestion = Some(expression);
        } else if let Some(parameter) = parameter_for(analysis, site) {
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

/// Returns a list of records in a record, and the field of its items whose values are of the kind that is wanted.
fn field_of_items<'r>(record: &'r RecordType, wanted: &Type) -> Option<(&'r str, &'r str)> {
    let kind = wanted.kind().filter(|_| matches!(wanted.non_null(), Type::List(..)))?;
    record.fields.iter().find_map(|list| {
        let Type::List(of, _) = list.ty.non_null() else { return None };
        let Type::Record(item) = of.non_null() else { return None };
        let field = item.fields.iter().find(|field| field.ty.kind() == Some(kind))?;
        // Null would have to be left out.
        (!matches!(field.ty, Type::Optional(_)))
            .then_some((list.name.as_str(), field.name.as_str()))
    })
}

/// Whether a value is a record, or a list of records.
fn has_records(ty: &Type) -> bool {
    match ty.non_null() {
        Type::Record(_) => true,
        Type::List(of, _) => matches!(of.non_null(), Type::Record(_)),
        _ => false,
    }
}

/// Returns the expression of a site, as far as it is short enough for a message.
fn expression<'s>(site: &'s TemplateSite<'_>) -> Option<&'s str> {
    site.node.text().and_then(template::inside_braces).filter(|text| text.len() <= 60)
}

/// Returns the expression with the field of a record that has the wanted type.
fn with_field(site: &TemplateSite<'_>) -> Option<String> {
    let Type::Record(record) = site.inferred.ty.non_null() else { return None };
    let path = expression(site)?;
    let is_path = path.chars().all(|c| c.is_alphanumeric() || "_.".contains(c));
    let fits = |field: &&Field| field.required && site.wanted.check_assignable(&field.ty).is_ok();
    // The item of a loop over a map: its value, in most cases.
    if record.name == RecordType::EACH && path == "each" {
        let field = record.fields.iter().rev().find(fits)?;
        return Some(format!("{path}.{}", field.name));
    }
    let is_text = site.wanted.non_null().is_text() && is_path;
    let mut fields = record.fields.iter().filter(fits);
    // The first field of a text would be a guess.
    let field = fields.clone().find(|field| field.name == "name").or_else(|| fields.next());
    let kind = site.wanted.kind();
    let field =
        field.filter(|field| field.name == "name" || kind.is_some() && field.ty.kind() == kind);
    field.filter(|_| is_text).map(|field| format!("{path}.{}", field.name))
}

/// Returns the filter that makes values of records, where the records are wanted.
fn needless_map<'s>(site: &'s TemplateSite<'_>) -> Option<&'s str> {
    let text = site.node.text().filter(|_| has_records(&site.wanted))?;
    let start = text.rfind("map(attribute=")?;
    let filter = text.get(start..)?;
    let end = filter.find(')')? + 1;
    let rest = filter.get(end..)?.trim_start();
    let is_last =
        rest.starts_with("}}") || rest.starts_with("| list }}") || rest.starts_with("| list}}");
    filter.get(..end).filter(|_| is_last)
}

fn constant(value: &minijinja::Value) -> Option<Json> {
    serde_json::to_value(value).ok()
}

fn help(site: &TemplateSite<'_>) -> Option<String> {
    let (wanted, ty) = (site.wanted.non_null(), site.inferred.ty.non_null());
    if site.is_text && ty.is_text() {
        return Some(around(site));
    }
    if let (Type::Map(of, _), ty) = (wanted, ty)
        && of.check_assignable(ty).is_ok()
    {
        let expression = expression(site).unwrap_or("…");
        return Some(format!(
            "write {{KEY: \"{{{{ {expression} }}}}\"}}, with the key that is meant"
        ));
    }
    if let (Type::List(of, _), Type::List(inner, _)) = (wanted, ty)
        && let Type::List(item, _) = inner.non_null()
        && of.check_assignable(item).is_ok()
    {
        let help = "this is a list of lists: write 'for_each' with the outer list, and one of its items here";
        return Some(help.to_owned());
    }
    if let (Type::List(..), true, Some(text)) = (wanted, ty.is_text(), expression(site))
        && let Some((_, filter)) = text.rsplit_once('|')
        && filter.trim_start().starts_with("join")
    {
        return Some(format!("leave '| {}' out: it makes a text of the list", filter.trim()));
    }
    if let (Type::List(of, _), ty) = (wanted, ty)
        && of.check_assignable(ty).is_ok()
        && let Some(expression) = expression(site)
    {
        return Some(format!("put it into a list: [\"{{{{ {expression} }}}}\"]"));
    }
    let text = match (wanted, ty) {
        (Type::Integer(_), Type::List(..)) => "use '| length' for the number of items",
        (Type::Integer(_), Type::Number(_)) if site.inferred.divides => {
            "'/' yields a fraction: use '//', or '| int'"
        }
        (Type::Integer(_), Type::Number(_)) => "use '| int'",
        (Type::Integer(_), ty) if ty.is_text() => "use '| int' to convert a string to an integer",
        (Type::Number(_), ty) if ty.is_text() => "use '| float' to convert a string to a number",
        (Type::Duration, Type::String(_)) => "declare the input with 'type: duration'",
        (Type::Duration, ty) if ty.is_numeric() => "add a unit: {{ … }}s",
        (Type::Enum(_), Type::String(_)) => "declare the input with 'type: enum' and 'values'",
        (Type::List(of, _), ty) if of.check_assignable(ty).is_ok() => "put it into a list: [ … ]",
        (Type::Boolean, ty) if ty.is_numeric() => "compare it, such as x > 0",
        (Type::Boolean, ty) if ty.is_text() => "compare it, such as x == 'yes', or use '| bool'",
        (Type::Boolean, Type::List(..)) => "compare its length, such as x | length > 0",
        // Names are not joined to one name.
        (Type::String(text), Type::List(of, _)) if text.syntax.is_some() && of.is_text() => {
            let expression = expression(site)?;
            let one = if expression.contains([' ', '|']) {
                format!("({expression})[0]")
            } else {
                format!("{expression}[0]")
            };
            return Some(format!(
                "write 'for_each: \"{{{{ {expression} }}}}\"' in the step, and \"{{{{ each }}}}\" here; for one of them: {one}"
            ));
        }
        (Type::String(_), Type::List(of, _)) => joining(of),
        _ => return None,
    };
    Some(text.to_owned())
}

/// Returns what to write instead of templates with text around them.
fn around(site: &TemplateSite<'_>) -> String {
    const SHOWN: usize = 80;
    let text = site.node.text().unwrap_or_default().trim();
    let joined = template::parse(text).ok().and_then(|template| joined(&template));
    match (site.wanted.non_null(), joined) {
        (ty, Some(joined)) if ty.is_numeric() && joined.len() <= SHOWN => {
            format!("write it as one template: \"{{{{ {joined} }}}}\"")
        }
        (Type::Boolean, Some(joined)) if joined.len() <= SHOWN => {
            format!("write it as one template: \"{{{{ {joined} }}}}\"")
        }
        (Type::Record(record), _) => {
            let fields: Vec<String> = record.names().map(|name| format!("{name}: …")).collect();
            format!("write {{{}}}: text around {{{{ … }}}} makes a string of it", fields.join(", "))
        }
        (Type::Map(..), _) => {
            "write {KEY: \"{{ … }}\"}: text around {{ … }} makes a string of it".to_owned()
        }
        (Type::List(..), _) => {
            "write [\"{{ … }}\"]: text around {{ … }} makes a string of it".to_owned()
        }
        _ => "remove the text around {{ … }}, which makes a string of it".to_owned(),
    }
}

/// Returns the expression that templates with operators between them are: `{{ a }} + {{ b }}`.
pub(super) fn joined(template: &Template<'_>) -> Option<String> {
    let text = template.text();
    let between = template.literal_parts().map(|part| text.get(part).unwrap_or_default());
    let is_operator = |word: &str| {
        let is_word =
            matches!(word, "and" | "or" | "not" | "in" | "is" | "none" | "true" | "false");
        is_word || word.bytes().all(|b| b.is_ascii_digit() || b"+-*/%().<>=!".contains(&b))
    };
    let words: Vec<&str> = between.flat_map(str::split_whitespace).collect();
    if words.is_empty() || !words.into_iter().all(is_operator) {
        return None;
    }
    let mut joined = String::new();
    let mut rest = text;
    while let Some((before, (inside, after))) =
        rest.split_once("{{").and_then(|(before, rest)| Some((before, rest.split_once("}}")?)))
    {
        let inside = inside.trim();
        let is_path = inside.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.[]'".contains(&b));
        joined.push_str(before);
        joined.push_str(&if is_path { inside.to_owned() } else { format!("({inside})") });
        rest = after;
    }
    joined.push_str(rest);
    let joined = joined.split_whitespace().collect::<Vec<_>>().join(" ");
    template::parse(&format!("{{{{ {joined} }}}}")).is_ok().then_some(joined)
}

/// Returns how the items of a list become a string.
pub(super) fn joining(of: &Type) -> &'static str {
    match of {
        Type::Optional(of) if matches!(**of, Type::Record(_)) => {
            "join one field of its items: | reject('none') | map(attribute='FIELD') | join(', ')"
        }
        Type::Optional(_) => "join its items: | reject('none') | join(', ')",
        Type::Record(_) => "join one field of its items: | map(attribute='FIELD') | join(', ')",
        _ => "join its items: | join(', ')",
    }
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
