//! A wait for a condition that objects of a kind never have.

use super::super::document::start_span;
use super::super::template::is_template;
use super::super::yaml::{Node, quoted};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB131",
    name: "unknown_condition",
    severity: Severity::Warning,
    summary: "a wait for a condition that objects of a kind never have",
    explanation: "\
The controllers of Kubernetes give each kind its own conditions: a Deployment is Available and never Ready, a Job is
Complete and never Completed, and a StatefulSet has none. A wait for another one ends at its timeout.",
};

/// The conditions of kinds that only the controllers of Kubernetes give conditions to, as its API documents them, with
/// what is most often meant first. A node or a pod can have others.
const CONDITIONS: [(&str, &str, &[&str]); 7] = [
    ("apps/v1", "Deployment", &["Available", "Progressing", "ReplicaFailure"]),
    ("apps/v1", "StatefulSet", &[]),
    ("apps/v1", "DaemonSet", &[]),
    (
        "batch/v1",
        "Job",
        &["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet", "Suspended"],
    ),
    ("batch/v1", "CronJob", &[]),
    (
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        &["AbleToScale", "ScalingActive", "ScalingLimited"],
    ),
    ("policy/v1", "PodDisruptionBudget", &["DisruptionAllowed"]),
];

/// The words by which other kinds say that all is well.
const WELL: [&str; 6] = ["Ready", "Completed", "Done", "Succeeded", "Healthy", "Success"];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        let is_wait = step.signature.is_some_and(|action| action.name == "wait_object");
        let Some(with) = raw.with.filter(|_| is_wait) else { continue };
        let literal = |name: &str| with.member(name).and_then(Node::text);
        let is_kind = |(version, kind, _): &&(&str, &str, &[&str])| {
            literal("api_version") == Some(version) && literal("kind") == Some(kind)
        };
        let Some((_, kind, known)) = CONDITIONS.iter().find(is_kind) else { continue };
        for expected in with.member("until").and_then(Node::items).unwrap_or_default() {
            let Some(node) = expected.member("condition") else { continue };
            let Some(name) = node.text().filter(|name| !is_template(name)) else { continue };
            // A wait takes no notice of capital letters.
            if !known.iter().any(|one| one.eq_ignore_ascii_case(name)) {
                diagnostics.push(report(diagnostics, node, name, kind, known));
            }
        }
    }
}

fn report(
    diagnostics: &Diagnostics,
    node: &Node,
    name: &str,
    kind: &str,
    known: &[&str],
) -> Diagnostic {
    if known.is_empty() {
        let message = format!("a {kind} has no conditions, so this one is never met");
        return Diagnostic::new(&RULE, start_span(node), message)
            .help("wait for a field of the object: {path: …, equals: …}");
    }
    let message = format!("a {kind} never has the condition {}", quoted(name));
    let diagnostic = Diagnostic::new(&RULE, start_span(node), message);
    match known.first().filter(|_| WELL.contains(&name)) {
        Some(meant) => diagnostic.replace((*meant).to_owned()),
        None => diagnostic.suggest(&diagnostics.spelling, name, known.iter().copied()),
    }
}
