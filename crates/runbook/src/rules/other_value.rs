//! A wait for a value that is not the one that an earlier step has set.

use std::collections::HashMap;

use super::super::analysis::flow::lets_others_act;
use super::super::document::{OnFailure, start_span};
use super::super::objects::ObjectPath;
use super::super::registry::ActionKind;
use super::super::template::is_template;
use super::super::yaml::{Node, ScalarValue};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB130",
    name: "other_value",
    severity: Severity::Warning,
    summary: "a wait for a value that is not the one that was set",
    explanation: "\
A step that sets a field of an object, and a later one that waits until the same field has another value, wait for a
change that no step makes. Wait for the value that was set, or for a field of the status.",
};

/// The parameters that name an object.
const NAMING: [&str; 5] = ["api_version", "kind", "resource", "namespace", "name"];

/// The most fields that are compared. A person writes few.
const MAX_FIELDS: usize = 64;

/// The object of a step, as its parameters are written.
type Object<'t> = [Option<&'t str>; NAMING.len()];

/// The fields that a step has set.
struct Set {
    fields: Vec<(ObjectPath, String)>,
    step: usize,
}

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let mut all: HashMap<Object<'_>, Set> = HashMap::new();
    for (step, (raw, checked)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let (Some(with), Some(action)) = (raw.with, checked.signature) else {
            // What a called runbook does is not followed.
            all.clear();
            continue;
        };
        let object = object_of(with);
        match action.name.as_str() {
            "patch_object" if raw.for_each.is_none() => {
                // It may be any object that has a name of its own here.
                if object.iter().flatten().any(|name| is_template(name)) {
                    all.clear();
                }
                let patch = with.member("patch").filter(|_| raw.when.is_none());
                let mut fields = Vec::new();
                patch.into_iter().for_each(|patch| fields_of(patch, &mut Vec::new(), &mut fields));
                all.insert(object, Set { fields, step });
            }
            "wait_object" if checked.policy.on_failure == OnFailure::Continue => {}
            "wait_object" if raw.for_each.is_none() => {
                let until = with.member("until").and_then(Node::items).unwrap_or_default();
                let Some(set) = all.get(&object) else { continue };
                let until = until.iter().take(MAX_FIELDS);
                until.for_each(|expected| check_one(analysis, set, expected, diagnostics));
            }
            // Another change may be one of the object, and so may what a person or a job does.
            _ if action.kind == ActionKind::Change || lets_others_act(action) => all.clear(),
            _ => {}
        }
    }
}

fn check_one(analysis: &Analysis<'_>, set: &Set, expected: &Node, diagnostics: &mut Diagnostics) {
    let path = expected.member("path").and_then(Node::text).and_then(ObjectPath::parse);
    let field = path.and_then(|path| set.fields.iter().find(|(field, _)| *field == path));
    let Some((_, value)) = field else { return };
    let test = ["equals", "not_equals", "at_least"].into_iter();
    let mut tests = test.filter_map(|test| Some((test, expected.member(test)?)));
    let Some((test, node)) = tests.next() else { return };
    let Some(wanted) = written(node) else { return };
    let is_met = match test {
        "equals" => *value == wanted,
        "not_equals" => *value != wanted,
        _ => match (value.parse::<f64>(), wanted.parse::<f64>()) {
            (Ok(value), Ok(least)) => value >= least,
            _ => return,
        },
    };
    if is_met {
        return;
    }
    let id = analysis.id(set.step);
    let wanted = match test {
        "not_equals" => format!("another value than {wanted}"),
        "at_least" => format!("at least {wanted}"),
        _ => wanted,
    };
    let message = format!("this waits for {wanted}, but '{id}' sets the field to {value}");
    let diagnostic = Diagnostic::new(&RULE, start_span(node), message)
        .label(analysis.declaration(set.step), "it sets the field")
        .help(match test {
            "not_equals" => "wait for a field of the status, or remove this".to_owned(),
            _ => format!("wait for {value}, or for a field of the status"),
        });
    diagnostics.push(diagnostic);
}

fn object_of(with: &Node) -> Object<'_> {
    NAMING.map(|name| with.member(name).and_then(Node::text))
}

/// Returns a value as a wait compares it; none of a quantity, which the API server may write in another way.
fn written(node: &Node) -> Option<String> {
    match node.scalar_value()? {
        ScalarValue::Boolean(value) => Some(value.to_string()),
        ScalarValue::Integer(value) => Some(value.to_string()),
        ScalarValue::Text(text) => {
            let is_quantity = text.starts_with(|c: char| c.is_ascii_digit());
            (!is_template(text) && !is_quantity).then(|| text.to_owned())
        }
        ScalarValue::Null | ScalarValue::Number(_) => None,
    }
}

/// Collects the fields of a patch that are written down as texts or numbers.
fn fields_of<'t>(node: &'t Node, above: &mut Vec<&'t str>, found: &mut Vec<(ObjectPath, String)>) {
    for (key, value) in node.pairs().unwrap_or_default() {
        let Some(key) = key.text() else { continue };
        // A controller may answer by the label or the annotation that it was asked by.
        if above.is_empty() && key == "metadata" {
            continue;
        }
        above.push(key);
        match written(value).filter(|_| found.len() < MAX_FIELDS) {
            Some(text) => found.push((ObjectPath::of_keys(above.iter().copied()), text)),
            None => fields_of(value, above, found),
        }
        above.pop();
    }
}
