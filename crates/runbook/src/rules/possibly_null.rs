//! A value that may be null where a value is required.

use std::ops::Range;

use super::super::analysis::{Role, TemplateSite};
use super::super::template::{self, TemplateIssueKind, inside_braces};
use super::super::types::{Type, TypeMismatch};
use super::super::yaml::SourceMap;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB035",
    name: "possibly_null",
    severity: Severity::Error,
    summary: "a value that may be null where a value is required",
    explanation: "\
Some outputs are optional: they are null when there is no value. Provide a default: {{
group.launch_template | default('none') }}, or test the value: {{ x if x is not none else y }}.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let has_step_none = analysis.symbols.steps.contains_key("none");
    for (_, issue) in analysis.template_issues() {
        match &issue.kind {
            // A step with that id is reported for its id.
            TemplateIssueKind::PossiblyNull(path) if path == "none" && has_step_none => {}
            TemplateIssueKind::PossiblyNull(path) => {
                diagnostics.push(diagnostic(issue.span.clone(), path));
            }
            TemplateIssueKind::NullItems { path, filter, is_loop } => {
                let why = if *is_loop { ": an item that has failed has no output" } else { "" };
                let message = format!("items of '{path}' may be null{why}");
                let help = format!("leave them out: {path} | reject('none') | {filter}");
                diagnostics.push(Diagnostic::new(&RULE, issue.span.clone(), message).help(help));
            }
            TemplateIssueKind::NullDefault => diagnostics.push(null_default(issue.span.clone())),
            _ => {}
        }
    }
    for site in analysis.sites() {
        let inferred = &site.inferred;
        let mismatch = site.wanted.check_assignable(&inferred.ty);
        let constant = inferred.constant.is_some() && site.role != Role::When;
        let is_null_refused =
            mismatch == Err(TypeMismatch::PossiblyNull) || is_only_one(analysis, site);
        if inferred.issues.is_empty() && !constant && is_null_refused {
            let text = site.node.text().unwrap_or_default();
            let none = template::parse(text)
                .ok()
                .and_then(|template| template::span::of_null_default(text, template.whole()?));
            if let Type::List(of, _) = &inferred.ty
                && matches!(**of, Type::Optional(_))
            {
                diagnostics.push(null_items(analysis, site, text));
                continue;
            }
            diagnostics.push(match none {
                Some(none) => {
                    null_default(SourceMap::new(analysis.source.text(), site.node).range(none))
                }
                None => diagnostic(inferred.span.clone(), inside_braces(text).unwrap_or_default()),
            });
        }
    }
}

/// Whether a value that may be null is the one of several parameters that is given where one must be.
fn is_only_one(analysis: &Analysis<'_>, site: &TemplateSite<'_>) -> bool {
    let (Role::Parameter(path), Type::Optional(_)) = (&site.role, &site.inferred.ty) else {
        return false;
    };
    let step = analysis.steps.get(site.step).and_then(|step| step.signature);
    let with = analysis.document.steps.get(site.step).and_then(|raw| raw.with);
    let (Some(action), Some(with)) = (step, with) else { return false };
    let is_given = |name: &String| name == path || with.member(name).is_some();
    let mut groups = action.params.exactly_one_of.iter().filter(|group| group.contains(path));
    groups.any(|group| group.iter().filter(|name| is_given(name)).count() == 1)
}

/// Reports a list of which some items may be null.
fn null_items(analysis: &Analysis<'_>, site: &TemplateSite<'_>, text: &str) -> Diagnostic {
    let span = site.inferred.span.clone();
    let path = inside_braces(text).unwrap_or_default();
    if path.len() > 2 * MAX_SHOWN {
        let help = "leave them out: | reject('none') | list";
        return Diagnostic::new(&RULE, span, "items of this list may be null").help(help);
    }
    let list = path.strip_suffix("list").map(str::trim_end).and_then(|rest| rest.strip_suffix('|'));
    let list = list.unwrap_or(path).trim_end();
    let without = format!("{list} | reject('none') | list");
    let message = format!("items of '{list}' may be null");
    let mut diagnostic =
        Diagnostic::new(&RULE, span.clone(), message).help(format!("leave them out: {without}"));
    // What is written with escapes in YAML could not be replaced by the text of the expression.
    let is_written = analysis.source.text().get(span).is_some_and(|written| written == path);
    diagnostic.suggestion = is_written.then_some(without);
    diagnostic
}

fn null_default(span: Range<usize>) -> Diagnostic {
    let message = "'none' is null, which is not a value";
    Diagnostic::new(&RULE, span, message)
        .help("write a value, such as default(0) or default('none')")
}

/// An expression that is longer than this is not written again in the help.
const MAX_SHOWN: usize = 60;

fn diagnostic(span: Range<usize>, path: &str) -> Diagnostic {
    if path == "none" {
        let help = "write a value; 'none' is for comparisons: x is none, x is not none";
        return Diagnostic::new(&RULE, span, "'none' is null, which is not a value").help(help);
    }
    let message = format!("'{path}' may be null");
    let help = if path.len() > MAX_SHOWN {
        "write '| default(…)' after it, or use it only where it is not none".to_owned()
    } else {
        let is_open = path.contains(' ') && !path.starts_with('(');
        let of = if is_open { format!("({path})") } else { path.to_owned() };
        format!("write {of} | default(…), or use it only where {of} is not none")
    };
    Diagnostic::new(&RULE, span, message).help(help)
}
