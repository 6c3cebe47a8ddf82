//! A removal of another label or annotation than the one that was set.

use super::super::document::start_span;
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB127",
    name: "label_stays",
    severity: Severity::Warning,
    summary: "a removal of another label or annotation than the one that was set",
    explanation: "\
A label or annotation is removed by its key, with the value `null`. A runbook that sets one and removes another with a
similar key leaves the first where it is.",
};

/// The actions that set and remove what has a key, and the parameter.
const ACTIONS: [(&str, &str); 3] =
    [("label_nodes", "labels"), ("annotate", "annotations"), ("set_nodegroup", "labels")];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (action, parameter) in ACTIONS {
        let steps = || analysis.document.steps.iter().zip(&analysis.steps).enumerate();
        let pairs = steps()
            .filter(|(_, (raw, step))| {
                // Of two steps with conditions, one may be in the place of the other.
                raw.when.is_none() && step.signature.is_some_and(|found| found.name == action)
            })
            .filter_map(|(index, (raw, _))| Some((index, raw.with?.member(parameter)?.pairs()?)));
        let keys: Vec<(usize, &Node, bool)> = pairs
            .flat_map(|(index, pairs)| {
                pairs.iter().map(move |(key, value)| (index, key, value.is_null()))
            })
            .collect();
        let is_removed =
            |name: &str| keys.iter().any(|(_, key, removes)| *removes && key.text() == Some(name));
        for (index, key, _) in keys.iter().filter(|(_, _, removes)| *removes) {
            let before = || keys.iter().filter(|(by, _, removes)| !removes && by < index);
            let Some(name) = key.text() else { continue };
            if before().any(|(_, other, _)| other.text() == Some(name)) {
                continue;
            }
            let left = before().filter_map(|(_, other, _)| other.text());
            let left: Vec<&str> = left.filter(|other| !is_removed(other)).collect();
            let Some(meant) = similar(name, &left) else { continue };
            let by = before().find(|(_, other, _)| other.text() == Some(meant));
            let Some((by, ..)) = by else { continue };
            let id = analysis.id(*by);
            let message = format!("no step has set {name}; '{id}' sets {meant}, which stays");
            let diagnostic = Diagnostic::new(&RULE, start_span(key), message)
                .label(analysis.declaration(*by), "what it sets stays")
                .help(format!("write {meant}"));
            diagnostics.push(diagnostic);
        }
    }
}

/// Returns the key that was meant: with two letters exchanged, or with one more or less that is not the last one. Keys
/// that differ in another way, such as `slot-a` and `slot-b`, are two.
fn similar<'n>(key: &str, others: &[&'n str]) -> Option<&'n str> {
    others.iter().copied().find(|other| is_slip(key.as_bytes(), other.as_bytes()))
}

fn is_slip(one: &[u8], two: &[u8]) -> bool {
    let same = one.iter().zip(two).take_while(|(a, b)| a == b).count();
    let (one, two) = (&one[same..], &two[same..]);
    match (one, two) {
        ([a, b, rest @ ..], [c, d, others @ ..]) if one.len() == two.len() => {
            a == d && b == c && rest == others && a.is_ascii_alphabetic() && b.is_ascii_alphabetic()
        }
        ([_, rest @ ..], others) | (others, [_, rest @ ..]) if rest == others => !rest.is_empty(),
        _ => false,
    }
}
