//! A removal of another taint than the one that was set.

use super::super::document::start_span;
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};
use crate::nearest;

pub(crate) const RULE: Rule = Rule {
    code: "RB112",
    name: "taint_stays",
    severity: Severity::Warning,
    summary: "a removal of another taint than the one that was set",
    explanation: "\
A taint is its key and its effect: with the same key and another effect it is another taint. A runbook that sets one
and removes another leaves the first where it is.",
};

/// The actions with taints, and their parameters that set and remove them.
const ACTIONS: [(&str, &str, &str); 2] =
    [("taint_nodes", "taints", "remove"), ("set_nodegroup", "taints", "remove_taints")];

/// A taint that is set or removed.
struct Taint<'t> {
    action: usize,
    step: usize,
    key: &'t Node,
    effect: Option<&'t Node>,
}

impl Taint<'_> {
    fn key(&self) -> Option<&str> {
        self.key.text()
    }

    fn effect(&self) -> Option<&str> {
        self.effect?.text()
    }
}

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let (mut set, mut removed) = (Vec::new(), Vec::new());
    for (step, (raw, analyzed)) in analysis.document.steps.iter().zip(&analysis.steps).enumerate() {
        let (Some(with), Some(signature)) = (raw.with, analyzed.signature) else { continue };
        let known = ACTIONS.iter().position(|(name, ..)| *name == signature.name);
        let Some((action, (_, sets, takes))) =
            known.and_then(|action| Some((action, ACTIONS.get(action)?)))
        else {
            continue;
        };
        for (name, list) in [(sets, &mut set), (takes, &mut removed)] {
            let Some(node) = with.member(name) else { continue };
            let Some(items) = node.items() else { return }; // it may have any taint
            for item in items {
                let Some(key) = item.member("key") else { return };
                list.push(Taint { action, step, key, effect: item.member("effect") });
            }
        }
    }
    if set.len().saturating_mul(removed.len()) > 10_000 {
        return;
    }
    for one in &removed {
        let same = |other: &&Taint<'_>| other.action == one.action && other.key() == one.key();
        // What was there before the run is removed with another effect, or key.
        let stays = |other: &&Taint<'_>| {
            other.step < one.step
                && !removed.iter().any(|gone| {
                    gone.action == other.action
                        && gone.key() == other.key()
                        && (gone.effect.is_none() || gone.effect() == other.effect())
                })
        };
        let before = || set.iter().filter(|other| other.step < one.step);
        if let Some(effect) = one.effect {
            let all: Vec<&Taint<'_>> = before().filter(same).collect();
            let is_set = all.iter().any(|other| other.effect() == one.effect());
            if let (false, Some(other)) = (is_set, all.iter().find(|other| stays(other))) {
                let id = analysis.id(other.step);
                let wanted = other.effect().unwrap_or_default();
                let message = format!(
                    "'{id}' sets this taint with the effect {wanted}: with {} it is another one",
                    one.effect().unwrap_or_default()
                );
                let diagnostic = Diagnostic::new(&RULE, effect.span.clone(), message)
                    .label(analysis.declaration(other.step), "this taint stays")
                    .help(format!("write {wanted}"));
                diagnostics.push(diagnostic);
                continue;
            }
        }
        if before().any(|other| same(&other)) {
            continue;
        }
        let similar = before().filter(|other| other.action == one.action && stays(other));
        let names: Vec<&str> = similar.clone().filter_map(Taint::key).collect();
        let Some(name) = one.key().and_then(|key| nearest(key, names.iter().copied())) else {
            continue;
        };
        let Some(other) = similar.clone().find(|other| other.key() == Some(name)) else { continue };
        let id = analysis.id(other.step);
        let message = format!("no step has set this taint; '{id}' sets {name}, which stays");
        let diagnostic = Diagnostic::new(&RULE, start_span(one.key), message)
            .label(analysis.declaration(other.step), "this taint stays")
            .help(format!("write {name}"));
        diagnostics.push(diagnostic);
    }
}
