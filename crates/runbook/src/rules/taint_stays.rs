//! A removal of another taint than the one that was set.

use super::super::analysis::flow::{simple_path, template_text};
use super::super::document::start_span;
use super::super::key_slips::similar;
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

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
        // Right after it, another effect takes the place of the one that was there before.
        let replaces = |other: &&Taint<'_>| other.step + 1 == one.step;
        // What was there before the run is removed with another effect, or key.
        let stays = |other: &&Taint<'_>| {
            other.step < one.step
                && !removed.iter().any(|gone| {
                    gone.action == other.action
                        && gone.key() == other.key()
                        && (gone.effect.is_none() || gone.effect() == other.effect())
                })
        };
        let before = || {
            let before = set.iter().filter(|other| other.step < one.step);
            before.filter(|other| !are_other_nodes(analysis, other.step, one.step))
        };
        if let Some(effect) = one.effect {
            let all: Vec<&Taint<'_>> = before().filter(same).collect();
            let is_set = all.iter().any(|other| other.effect() == one.effect());
            if let (false, Some(other)) =
                (is_set, all.iter().find(|other| stays(other) && !replaces(other)))
            {
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
        let alike = before().filter(|other| other.action == one.action && stays(other));
        let names: Vec<&str> = alike.clone().filter_map(Taint::key).collect();
        let Some(name) = one.key().and_then(|key| similar(key, &names)) else {
            continue;
        };
        let Some(other) = alike.clone().find(|other| other.key() == Some(name)) else { continue };
        let id = analysis.id(other.step);
        let message = format!("no step has set this taint; '{id}' sets {name}, which stays");
        let diagnostic = Diagnostic::new(&RULE, start_span(one.key), message)
            .label(analysis.declaration(other.step), "this taint stays")
            .help(format!("write {name}"));
        diagnostics.push(diagnostic);
    }
}

/// Whether two steps are about nodes, or groups, that two steps before them have found: others, perhaps.
fn are_other_nodes(analysis: &Analysis<'_>, first: usize, second: usize) -> bool {
    let root = |step: usize| {
        let with = analysis.document.steps.get(step)?.with?;
        let node = with.member("nodes").or_else(|| with.member("nodegroup"))?;
        let (root, _) = simple_path(template_text(node)?)?;
        analysis.symbols.steps.get(root).map(|found| (root, *found))
    };
    let (Some((one, _)), Some((two, by))) = (root(first), root(second)) else { return false };
    one != two && by < first
}
