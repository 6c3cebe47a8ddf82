//! A field that an output does not have.

use super::super::analysis::TemplateSite;
use super::super::habits;
use super::super::template::{self, Names, TemplateIssueKind, filters};
use super::super::types::{RecordType, Type};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB027",
    name: "unknown_output",
    severity: Severity::Error,
    summary: "a field that an output does not have",
    explanation: "\
The output of an action is a record with fixed fields; `rafay-relay-sop actions NAME` lists them.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (site, issue) in analysis.template_issues() {
        let span = issue.span.clone();
        match &issue.kind {
            TemplateIssueKind::UnknownField { step, path, name, record } => {
                let is_by_key = record.name == RecordType::BY_KEY;
                let message = match step {
                    Some(_) if is_by_key => {
                        format!(
                            "'{path}' has no key '{name}': its keys are those of its 'for_each'"
                        )
                    }
                    Some(_) => format!("the output of the step '{path}' has no field '{name}'"),
                    None => format!("'{path}' has no field '{name}'"),
                };
                let diagnostic = Diagnostic::new(&RULE, span, message);
                let diagnostic = match step {
                    Some(step) => {
                        let text = match is_by_key {
                            true => "its 'for_each' has no such key".to_owned(),
                            false => format!("the {} has no such field", record.name),
                        };
                        diagnostic.label(analysis.declaration(*step), text)
                    }
                    None => diagnostic,
                };
                let within = record.fields.iter().find(|field| {
                    matches!(field.ty.non_null(), Type::Record(inner) if inner.field(name).is_some())
                });
                let wrapped = matches!(
                    name.as_str(),
                    "outputs" | "output" | "result" | "results" | "value" | "json" | "data"
                );
                let after = analysis.source.text().get(issue.span.end..).unwrap_or_default();
                let field = after.strip_prefix('.').filter(|_| wrapped).and_then(|after| {
                    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
                    after.get(..end).filter(|field| record.field(field).is_some())
                });
                if let Some(field) = field {
                    diagnostics.push(diagnostic.help(format!("write {path}.{field}")));
                    continue;
                }
                diagnostics.push(match within {
                    Some(of) => diagnostic.help(format!("write {path}.{}.{name}", of.name)),
                    None => diagnostic.suggest(&diagnostics.spelling, name, record.names()),
                });
            }
            TemplateIssueKind::NoFields { name, path, ty } => {
                let message =
                    format!("'{path}' is {}, which has no field '{name}'", ty.with_article());
                let mut diagnostic = Diagnostic::new(&RULE, span, message);
                diagnostic.help = match is_item_meant(analysis, site, path, name, ty) {
                    true => Some(format!("write each.{name}")),
                    false => instead(path, name, ty),
                };
                diagnostics.push(diagnostic);
            }
            _ => {}
        }
    }
}

/// Whether a path is the list of the loop that its template is in, and the field one of each item.
fn is_item_meant(
    analysis: &Analysis<'_>,
    site: &TemplateSite<'_>,
    path: &str,
    name: &str,
    ty: &Type,
) -> bool {
    let Type::List(of, _) = ty else { return false };
    let has_field = matches!(of.non_null(), Type::Record(record) if record.field(name).is_some());
    let items = analysis.document.steps.get(site.step).and_then(|step| step.for_each);
    let items = items.and_then(|items| template::inside_braces(items.text()?));
    has_field && site.role.names() != Names::Earlier && items == Some(path)
}

/// Returns what to write instead of a field of a list or of a text.
fn instead(path: &str, name: &str, ty: &Type) -> Option<String> {
    let is_open = path.contains(' ') && !path.starts_with('(');
    let one = if is_open { format!("({path})") } else { path.to_owned() };
    let is_length = matches!(name, "length" | "len" | "size" | "count");
    match ty {
        Type::List(of, _) => match of.non_null() {
            Type::Record(record) if record.field(name).is_some() => Some(format!(
                "write {one}[0].{name} for the first one, or {path} | map(attribute='{name}') | list for all"
            )),
            _ if is_length => Some(format!("write {path} | length")),
            _ if name == "first" || name == "last" => Some(format!("write {path} | {name}")),
            _ => Some(format!("write {one}[0] for the first one")),
        },
        Type::Map(..) | Type::Record(_) => None,
        ty if ty.is_text() && is_length => Some(format!("write {path} | length")),
        _ => Some(match filter_for(name) {
            Some(filter) => format!("write {path} | {filter}"),
            None => format!("write {path} alone"),
        }),
    }
}

/// Returns the filter that a field of another language is.
fn filter_for(name: &str) -> Option<String> {
    if filters::names().any(|filter| filter == name) {
        return Some(name.to_owned());
    }
    habits::filter(name)?.replacement
}
