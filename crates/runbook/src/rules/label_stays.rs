//! A removal of another label or annotation than the one that was set.

use std::collections::{HashMap, HashSet};

use super::super::document::start_span;
use super::super::key_slips::similar;
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
