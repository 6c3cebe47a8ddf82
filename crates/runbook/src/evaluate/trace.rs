//! Where the value of a parameter comes from, before the step runs: from the file, from an input, or from the output
//! of an earlier step. Nothing is guessed: a template that computes something of a value that is not known yet has no
//! known origin.

use std::collections::BTreeSet;

use minijinja::machinery::ast::Expr;
use serde_json::Value as Json;

use super::super::template;
use super::argument::{Argument, CompiledArgument, CompiledExpression};
use super::scope::EvaluationScope;

/// The part of a path that stands for every item of a list: `pods[].namespace`.
const ITEMS: &str = "[]";

/// The filters that leave out or reorder items of a list, and change none of them.
const SELECTING_FILTERS: [&str; 8] =
    ["list", "reject", "rejectattr", "reverse", "select", "selectattr", "sort", "unique"];

/// The knowledge of a value before its step runs.
#[derive(Debug, Clone, PartialEq)]
pub enum TracedValue {
    /// The value.
    Known(Json),
    /// The runbook does not set the parameter, or sets it to null.
    NotSet,
    /// The value is that of an input that has none yet.
    MissingInput(String),
    /// The value is computed from these inputs, of which one has no value yet.
    ComputedFromInputs(BTreeSet<String>),
    /// The value is this part of the output of an earlier step.
    Output {
        /// The id of the step.
        step: String,
        /// The path in its output, such as `before.pods[].namespace`.
        path: String,
    },
    /// The value is computed from the outputs of these steps.
    Computed(BTreeSet<String>),
}

/// Returns what is known of the values at a path below a parameter; several for a path through a list.
pub(crate) fn trace(
    argument: &CompiledArgument,
    path: &str,
    scope: &EvaluationScope,
) -> Vec<TracedValue> {
    let parts: Vec<&str> = path.split('.').flat_map(split_items).collect();
    trace_parts(argument, &parts, scope)
}

/// Returns what is known of the values at a path below the items for which a step runs.
pub(crate) fn trace_item(
    items: &CompiledArgument,
    path: &str,
    scope: &EvaluationScope,
) -> Vec<TracedValue> {
    let parts: Vec<&str> = path.split('.').flat_map(split_items).collect();
    let parts: Vec<&str> = std::iter::once(ITEMS).chain(parts).collect();
    trace_parts(items, &parts, scope)
}

/// Returns `pods` and `[]` for `pods[]`.
fn split_items(part: &str) -> impl Iterator<Item = &str> {
    let (name, items) = match part.strip_suffix(ITEMS) {
        Some(name) => (name, Some(ITEMS)),
        None => (part, None),
    };
    [name].into_iter().filter(|name| !name.is_empty()).chain(items)
}

fn trace_parts(
    argument: &CompiledArgument,
    parts: &[&str],
    scope: &EvaluationScope,
) -> Vec<TracedValue> {
    match argument {
        Argument::Literal(value) => values_at(value, parts),
        Argument::Template(template) => match argument.evaluate_early(scope) {
            Some(Ok(value)) => values_at(&value, parts),
            Some(Err(_)) | None => vec![origin(template, parts)],
        },
        Argument::List(items) => match parts.split_first() {
            Some((&ITEMS, rest)) => {
                items.iter().flat_map(|item| trace_parts(item, rest, scope)).collect()
            }
            _ => whole(argument, scope),
        },
        Argument::Map(fields) => match parts.split_first() {
            Some((name, rest)) => match fields.iter().find(|(field, _)| field == name) {
                Some((_, field)) => trace_parts(field, rest, scope),
                None => vec![TracedValue::NotSet],
            },
            None => whole(argument, scope),
        },
    }
}

/// Returns a list or map with templates in it, as one value.
fn whole(argument: &CompiledArgument, scope: &EvaluationScope) -> Vec<TracedValue> {
    let value = match argument.evaluate_early(scope) {
        Some(Ok(value)) => TracedValue::Known(value),
        Some(Err(_)) | None => computed(
            argument.templates().into_iter().filter_map(CompiledExpression::paths).flatten(),
        ),
    };
    vec![value]
}

fn values_at(value: &Json, parts: &[&str]) -> Vec<TracedValue> {
    match (parts.split_first(), value) {
        (_, Json::Null) => vec![TracedValue::NotSet],
        (None, value) => vec![TracedValue::Known(value.clone())],
        (Some((&ITEMS, rest)), Json::Array(items)) => {
            items.iter().flat_map(|item| values_at(item, rest)).collect()
        }
        (Some((name, rest)), value) => match value.get(name) {
            Some(field) => values_at(field, rest),
            None => vec![TracedValue::NotSet],
        },
    }
}

/// Returns where the value of a template comes from that cannot be evaluated yet.
fn origin(expression: &CompiledExpression, parts: &[&str]) -> TracedValue {
    let parsed = template::parse(expression.text());
    let path = parsed.ok().and_then(|template| template.whole().and_then(path_of));
    match path.as_deref() {
        Some([root, input]) if root == "inputs" && parts.is_empty() => {
            TracedValue::MissingInput(input.clone())
        }
        Some([root, path @ ..]) if root != "inputs" => {
            let path = path.iter().map(String::as_str).chain(parts.iter().copied());
            TracedValue::Output { step: root.clone(), path: joined(path) }
        }
        _ => computed(expression.paths().into_iter().flatten()),
    }
}

/// Returns the value that is computed from these paths, such as `inputs.a` and `step.b.c`.
fn computed(paths: impl Iterator<Item = String>) -> TracedValue {
    let (mut inputs, mut steps) = (BTreeSet::new(), BTreeSet::new());
    for path in paths {
        let mut parts = path.split('.');
        match (parts.next(), parts.next()) {
            (Some("inputs"), input) => inputs.extend(input.map(str::to_owned)),
            (Some(step), _) => {
                steps.insert(step.to_owned());
            }
            (None, _) => {}
        }
    }
    match steps.is_empty() && !inputs.is_empty() {
        true => TracedValue::ComputedFromInputs(inputs),
        false => TracedValue::Computed(steps),
    }
}

/// Returns the path that an expression is, through filters that only leave out items.
fn path_of(expr: &Expr<'_>) -> Option<Vec<String>> {
    match expr {
        Expr::Var(var) => Some(vec![var.id.to_owned()]),
        Expr::GetAttr(get) => {
            let mut path = path_of(&get.expr)?;
            path.push(get.name.to_owned());
            Some(path)
        }
        Expr::GetItem(get) => {
            let Expr::Const(constant) = &get.subscript_expr else { return None };
            let mut path = path_of(&get.expr)?;
            path.push(constant.value.as_str()?.to_owned());
            Some(path)
        }
        Expr::Filter(filter) if SELECTING_FILTERS.contains(&filter.name) => {
            path_of(filter.expr.as_ref()?)
        }
        _ => None,
    }
}

/// Returns a path as it is written: `pods[].namespace`.
fn joined<'p>(parts: impl Iterator<Item = &'p str>) -> String {
    let mut path = String::new();
    for part in parts {
        if part != ITEMS && !path.is_empty() {
            path.push('.');
        }
        path.push_str(part);
    }
    path
}
