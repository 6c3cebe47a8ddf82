//! A wait for a value that is not the one that an earlier step has set.

use std::collections::HashMap;

use super::super::analysis::flow::lets_others_act;
use super::super::document::start_span;
use super::super::objects::ObjectPath;
use super::super::registry::ActionKind;
use super::super::template::is_template;
use super::super::yaml::Node;
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

/// The object of a step, as its parameters are written.
type Object<'t> = [Option<&'t str>; NAMING.len()];

/// The fields that a step has set.
struct Set<'t> {
    fields: Vec<(ObjectPath, &'t str)>,
    step: usize,
}

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let mut all: HashMap<Object<'_>, Set<'_>> = HashMap::new();
    for (step, (raw, checked)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let (Some(with), Some(action)) = (raw.with, checked.signature) else {
            // What a called runbook does is not followed.
            all.clear();
            continue;
        };
        let object = object_of(with);
        match action.name.as_str() {
            "patch_object" if raw.for_each.is_none() => {
                let patch = with.member("patch").filter(|_| raw.when.is_none());
                let mut fields = Vec::new();
                patch.into_iter().for_each(|patch| fields_of(patch, &mut Vec::new(), &mut fields));
                all.insert(object, Set { fields, step });
            }
            "wait_object" if raw.for_each.is_none() => {
                let until = with.member("until").and_then(Node::items).unwrap_or_default();
                let Some(set) = all.get(&object) else { continue };
                until.iter().for_each(|expected| check_one(analysis, set, expected, diagnostics));
            }
            // Another change may be one of the object, and so may what a person or a job does.
            _ if action.kind == ActionKind::Change || lets_others_act(action) => all.clear(),
            _ => {}
        }
    }
}

fn check_one(
    analysis: &Analysis<'_>,
    set: &Set<'_>,
    expected: &Node,
    diagnostics: &mut Diagnostics,
) {
    let path = expected.member("path").and_then(Node::text).and_then(ObjectPath::parse);
    let field = path.and_then(|path| set.fields.iter().find(|(field, _)| *field == path));
    let Some((_, value)) = field else { return };
    let test = ["equals", "not_equals", "at_least"].into_iter();
    let mut tests = test.filter_map(|test| Some((test, expected.member(test)?)));
    let Some((test, node)) = tests.next() else { return };
    let Some(wanted) = literal(node) else { return };
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
        _ => wanted.to_owned(),
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

fn literal(node: &Node) -> Option<&str> {
    node.text().filter(|text| !is_template(text))
}

/// Collects the fields of a patch that are written down as texts or numbers.
fn fields_of<'t>(node: &'t Node, above: &mut Vec<&'t str>, found: &mut Vec<(ObjectPath, &'t str)>) {
    for (key, value) in node.pairs().unwrap_or_default() {
        let Some(key) = key.text() else { continue };
        above.push(key);
        match literal(value).filter(|_| !value.is_null()) {
            Some(text) => found.push((ObjectPath::of_keys(above.iter().copied()), text)),
            None => fields_of(value, above, found),
        }
        above.pop();
    }
}
