//! A value that a set has twice.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::super::analysis::{Role, TemplateSite};
use super::super::document::{DocumentIssueKind, InputIssueKind, start_span};
use super::super::template::{self, parts};
use super::super::types::{FieldRelation, RecordType, Type};
use super::super::yaml::{Node, SourceMap};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB074",
    name: "duplicate_value",
    severity: Severity::Warning,
    summary: "a value that a list has twice",
    explanation: "\
The values of an enum, the nodes, pods and processes of a step, and the list after 'in' are sets: a value that is there
twice says nothing more, and is probably another one that was misspelled. A command and its arguments are no set.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in &analysis.document.issues {
        if let DocumentIssueKind::Input(InputIssueKind::DuplicateValue(first)) = &issue.kind {
            diagnostics.push(twice(analysis, issue.span.clone(), first.clone()));
        }
    }
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        let Some(action) = step.signature.filter(|_| raw.call.is_none()) else { continue };
        for (key, value) in raw.with.and_then(Node::pairs).unwrap_or_default() {
            let field = key.text().and_then(|name| action.params.field(name));
            let is_list = field.is_some_and(|field| matches!(field.ty.non_null(), Type::List(..)));
            let is_checked = key.text().is_some_and(|name| must_differ(&action.params, name));
            if is_list && !is_checked {
                check_items(analysis, value, diagnostics);
            }
        }
    }
    check_defaults(analysis, diagnostics);
    check_kept_workloads(analysis, diagnostics);
    for site in analysis.sites().filter(|site| site.inferred.issues.is_empty()) {
        // Most templates have no list.
        let Some(text) = site.node.text().filter(|text| text.contains('[')) else { continue };
        let Ok(template) = template::parse(text) else { continue };
        let mut found = Vec::new();
        for expr in template.expressions() {
            duplicate_words(expr, &mut found);
        }
        let file = analysis.source.text();
        for (first, second) in found {
            let place = |expr| {
                let span = template::span::of_expr(text, expr);
                SourceMap::new(file, site.node).range(span)
            };
            diagnostics.push(twice(analysis, place(second), place(first)));
        }
    }
}

/// Whether the items of a list must differ in some of their fields, so that two that do not are an error.
fn must_differ(params: &RecordType, list: &str) -> bool {
    params.relations.iter().any(|relation| match relation {
        FieldRelation::Distinct { of, .. } => of.iter().any(|name| name == list),
        _ => false,
    })
}

fn twice(analysis: &Analysis<'_>, span: Range<usize>, first: Range<usize>) -> Diagnostic {
    /// The longest value that is repeated in the message.
    const MAX_SHOWN: usize = 60;
    let value =
        analysis.source.text().get(span.clone()).unwrap_or_default().trim_matches(['"', '\'']);
    let is_short = value.len() <= MAX_SHOWN && !value.contains(['\n', '{', '[']);
    let message = if is_short && !value.is_empty() {
        format!("'{value}' is in the list twice")
    } else {
        "this value is in the list twice".to_owned()
    };
    Diagnostic::new(&RULE, span, message)
        .label(first, "it is first here")
        .help("remove one of them")
}

/// Reports a workload of which `keep_ready` says twice how many pods are kept.
fn check_kept_workloads(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let kept = analysis.document.limits.and_then(|limits| limits.member("keep_ready"));
    let mut seen: HashMap<Vec<Option<&str>>, Range<usize>> = HashMap::new();
    for item in kept.and_then(Node::items).unwrap_or_default() {
        let names = ["namespace", "deployment", "stateful_set"];
        let workload = names.map(|name| item.member(name).and_then(Node::text)).to_vec();
        let place = item.member("deployment").or(item.member("stateful_set"));
        let Some(place) = place.map(|node| node.span.clone()) else { continue };
        match seen.get(&workload) {
            Some(first) => {
                diagnostics.push(twice(analysis, start_span(item), first.clone()));
            }
            None => drop(seen.insert(workload, place)),
        }
    }
}

/// Reports the items of defaults that are written alike, where the list is a set: the items of a loop, or a parameter.
fn check_defaults(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let steps = analysis.document.steps.iter().zip(&analysis.steps);
    let sets = steps.flat_map(|(raw, step)| {
        let is_set = move |site: &&TemplateSite<'_>| match &site.role {
            Role::ForEach => true,
            Role::Parameter(path) => {
                let action = step.signature.filter(|_| raw.call.is_none());
                let field = action.and_then(|action| action.params.field(path));
                field.is_some_and(|field| matches!(field.ty.non_null(), Type::List(..)))
            }
            _ => false,
        };
        step.sites.iter().filter(is_set)
    });
    let names =
        sets.filter_map(|site| template::inside_braces(site.node.text()?)?.strip_prefix("inputs."));
    let names: HashSet<&str> = names.collect();
    for input in analysis.document.inputs.iter().filter(|input| names.contains(input.name)) {
        if let Some(default) = input.default {
            check_items(analysis, default, diagnostics);
        }
    }
}

/// Reports the items of a parameter that are written alike.
fn check_items(analysis: &Analysis<'_>, list: &Node, diagnostics: &mut Diagnostics) {
    let mut seen: HashMap<&str, Range<usize>> = HashMap::new();
    for item in list.items().unwrap_or_default() {
        let written = analysis.source.text().get(item.span.clone()).unwrap_or_default();
        let written = item.text().unwrap_or_else(|| written.trim_end());
        if written.is_empty() {
            continue;
        }
        match seen.entry(written) {
            Entry::Vacant(place) => {
                place.insert(start_span(item));
            }
            Entry::Occupied(first) => {
                diagnostics.push(twice(analysis, start_span(item), first.get().clone()));
            }
        }
    }
}

type Expr<'t> = minijinja::machinery::ast::Expr<'t>;

/// Finds the words that are twice in a list after `in`, each with the first.
fn duplicate_words<'e, 't>(expr: &'e Expr<'t>, found: &mut Vec<(&'e Expr<'t>, &'e Expr<'t>)>) {
    use minijinja::machinery::ast::CompareOpKind::{In, NotIn};
    let compared = parts::comparisons(expr).into_iter();
    let compared = compared.filter(|(_, op, _)| matches!(op, In | NotIn)).map(|(_, _, list)| list);
    let tested = match expr {
        Expr::Test(test) if test.name == "in" => test.args.first().map(template::span::argument),
        _ => None,
    };
    for list in compared.chain(tested) {
        let items = parts::items(list).unwrap_or_default();
        let mut seen = HashMap::new();
        for (item, word) in items.iter().filter_map(|item| Some((item, parts::word(item)?))) {
            match seen.entry(word) {
                Entry::Vacant(place) => {
                    place.insert(item);
                }
                Entry::Occupied(first) => found.push((*first.get(), item)),
            }
        }
    }
    for part in parts::children(expr) {
        duplicate_words(part, found);
    }
}
