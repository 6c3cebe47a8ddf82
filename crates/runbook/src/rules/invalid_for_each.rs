//! A `for_each` that is neither a list nor a map.

use std::borrow::Cow;

use super::super::MAX_ITEMS;
use super::super::analysis::{Role, TemplateSite};
use super::super::document::start_span;
use super::super::template::{self, is_template};
use super::super::types::{Field, Type};
use super::super::yaml::{Node, NodeKind};

use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB060",
    name: "invalid_for_each",
    severity: Severity::Error,
    summary: "a 'for_each' that is neither a list nor a map",
    explanation: "\
A step runs once for each item of its 'for_each': a list, a map, or one whole expression that yields
one of them. It may have up to 1000 items; an empty one is fine, and the step then does nothing.

    for_each: [relay, relay-cache]
    for_each: \"{{ inputs.deployments }}\"

A value that may be null needs a default: {{ inputs.deployments | default([]) }}.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        let Some(node) = raw.for_each else { continue };
        let mut own = step.sites.iter().filter(|site| site.role == Role::ForEach);
        match own.find(|site| std::ptr::eq(site.node, node)) {
            Some(site) => check_template(site, diagnostics),
            None => check_literal(node, diagnostics),
        }
    }
}

fn check_template(site: &TemplateSite<'_>, diagnostics: &mut Diagnostics) {
    let inferred = &site.inferred;
    if !inferred.issues.is_empty() {
        return;
    }
    if site.is_text {
        let message = "'for_each' must be one whole expression, without text around it";
        let diagnostic = Diagnostic::new(&RULE, site.node.span.clone(), message);
        return diagnostics.push(diagnostic.help("write \"{{ a + b }}\" to join two lists"));
    }
    let (message, help): (String, Cow<'_, str>) = match &inferred.ty {
        Type::List(..) | Type::Map(..) | Type::Any => return,
        Type::Record(record) if record.is_map() => return,
        Type::Optional(of) if matches!(**of, Type::List(..) | Type::Map(..)) => (
            "'for_each' must be a list or a map, but this expression may be null".to_owned(),
            "add a default, such as {{ x | default([]) }}".into(),
        ),
        other => (
            format!(
                "'for_each' must be a list or a map, but this expression yields {}",
                other.with_article()
            ),
            list_in(site).into(),
        ),
    };
    diagnostics.push(Diagnostic::new(&RULE, inferred.span.clone(), message).help(help));
}

/// Names the list that is meant in what an expression yields: the names, where there are several.
fn list_in(site: &TemplateSite<'_>) -> String {
    let Type::Record(record) = site.inferred.ty.non_null() else {
        return "name a list or a map, or write one: [ … ]".to_owned();
    };
    let is_list = |field: &&Field| matches!(field.ty.non_null(), Type::List(..));
    let lists = || record.fields.iter().filter(is_list);
    let list = lists().find(|field| field.name == "names").or_else(|| lists().next());
    let Some(list) = list else {
        return "it has no list in it: name a list of another step, or of an input".to_owned();
    };
    let path = site.node.text().and_then(template::inside_braces);
    let is_path = |path: &&str| path.chars().all(|c| c.is_alphanumeric() || "_.".contains(c));
    match path.filter(is_path) {
        Some(path) => format!("write {{{{ {path}.{} }}}}", list.name),
        None => format!("name a list in it, such as its field '{}'", list.name),
    }
}

fn check_literal(node: &Node, diagnostics: &mut Diagnostics) {
    let count = match &node.kind {
        NodeKind::List(items) => items.len(),
        NodeKind::Map(pairs) => pairs.len(),
        NodeKind::Broken => return,
        NodeKind::Scalar { .. } => {
            if node.text().is_some_and(is_template) {
                return;
            }
            let message = format!("'for_each' must be a list or a map, not {}", node.describe());
            let diagnostic = Diagnostic::new(&RULE, start_span(node), message);
            return diagnostics.push(match node.text() {
                Some(text) if text.trim().parse::<f64>().is_ok() => diagnostic.help(
                    "write the list of the items, such as [a, b, c]: a step is not repeated by a number",
                ),
                Some(text) if !node.is_null() && !text.contains([' ', ',']) => {
                    diagnostic.help(format!("write \"{{{{ {text} }}}}\" or [{text}]"))
                }
                Some(text) if !node.is_null() && text.len() <= 80 => {
                    let words: Vec<&str> =
                        text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
                    diagnostic.help(format!("write [{}]", words.join(", ")))
                }
                _ => diagnostic.help("write \"{{ … }}\" or a list"),
            });
        }
    };
    if count > MAX_ITEMS {
        let message = format!("'for_each' has {count} items, and at most {MAX_ITEMS} are allowed");
        diagnostics.push(Diagnostic::new(&RULE, start_span(node), message));
    }
}
