//! A removal of another label or annotation than the one that was set.

use std::collections::{HashMap, HashSet};

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
        let keys: Vec<(usize, &Node, &str, bool)> = pairs
            .flat_map(|(index, pairs)| {
                let written =
                    pairs.iter().filter_map(|(key, value)| Some((key, key.text()?, value)));
                written.map(move |(key, name, value)| (index, key, name, value.is_null()))
            })
            .collect();
        let removed: HashSet<&str> =
            keys.iter().filter(|(.., removes)| *removes).map(|(_, _, name, _)| *name).collect();
        let mut set: HashMap<&str, usize> = HashMap::new();
        // Those that are set and stay, in the order of the steps.
        let mut left: Vec<&str> = Vec::new();
        for (index, key, name, removes) in keys {
            if !removes {
                if set.insert(name, index).is_none() && !removed.contains(name) {
                    left.push(name);
                }
                continue;
            }
            if set.get(name).is_some_and(|by| *by < index) {
                continue;
            }
            let near = &left[left.len().saturating_sub(MAX_COMPARED)..];
            let meant = similar(name, near).and_then(|meant| Some((meant, *set.get(meant)?)));
            let Some((meant, by)) = meant.filter(|(_, by)| *by < index) else { continue };
            let message =
                format!("no step has set {name}; '{}' sets {meant}, which stays", analysis.id(by));
            let diagnostic = Diagnostic::new(&RULE, start_span(key), message)
                .label(analysis.declaration(by), "what it sets stays")
                .help(format!("write {meant}"));
            diagnostics.push(diagnostic);
        }
    }
}

/// The most keys that one is compared with, so that the time stays linear.
const MAX_COMPARED: usize = 256;

/// Returns the key that was meant: with two letters exchanged, or with one letter more, less or another inside of a
/// word. Keys that differ in another way, such as `slot-a` and `slot-b`, or `app.example.com` and `apps.example.com`,
/// are two.
pub(super) fn similar<'n>(key: &str, others: &[&'n str]) -> Option<&'n str> {
    others.iter().copied().find(|other| {
        let (prefix, name) = parts(key);
        let (other_prefix, other_name) = parts(other);
        // A slip in the prefix is one only in letters that are exchanged: `app` and `apps` are two owners.
        if name == other_name {
            is_exchanged(prefix.as_bytes(), other_prefix.as_bytes())
        } else {
            let (name, other_name) = (name.as_bytes(), other_name.as_bytes());
            prefix == other_prefix
                && (is_exchanged(name, other_name)
                    || is_other_letter(name, other_name)
                    || has_one_more(name, other_name)
                    || has_one_more(other_name, name))
        }
    })
}

/// Returns the prefix of a key, if it has one, and its name.
fn parts(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or(("", key))
}

/// Whether two letters that follow each other are exchanged.
fn is_exchanged(one: &[u8], two: &[u8]) -> bool {
    let same = one.iter().zip(two).take_while(|(a, b)| a == b).count();
    match (&one[same..], &two[same..]) {
        ([a, b, rest @ ..], [c, d, others @ ..]) => {
            let are_letters = a.is_ascii_alphabetic() && b.is_ascii_alphabetic();
            are_letters && a == d && b == c && rest == others
        }
        _ => false,
    }
}

/// Whether a name has one letter more, inside of a word.
fn has_one_more(longer: &[u8], shorter: &[u8]) -> bool {
    let same = longer.iter().zip(shorter).take_while(|(a, b)| a == b).count();
    let is_letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphabetic);
    longer.len() == shorter.len() + 1
        && longer[same + 1..] == shorter[same..]
        && is_letter(longer.get(same))
        && is_letter(longer.get(same + 1))
        && same.checked_sub(1).is_some_and(|before| is_letter(longer.get(before)))
}

/// Whether one letter is another one, inside of a word that is long enough to be known again.
fn is_other_letter(one: &[u8], two: &[u8]) -> bool {
    const LEAST: usize = 6;
    let same = one.iter().zip(two).take_while(|(a, b)| a == b).count();
    let letters = |part: &[u8]| part.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let before = one[..same].iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let after = one.get(same + 1..).map_or(0, letters);
    let are_letters =
        [one, two].iter().all(|name| name.get(same).is_some_and(u8::is_ascii_alphabetic));
    let is_inside = before > 0 && after > 0 && before + after + 1 >= LEAST;
    one.len() == two.len() && are_letters && is_inside && one[same + 1..] == two[same + 1..]
}
