//! A file that is not a runbook.

use std::ops::Range;

use super::super::diagnostics::spelling::nearest;
use super::super::document::MappingKind;
use super::super::habits;
use super::super::yaml::{Node, quoted};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB091",
    name: "another_kind_of_file",
    severity: Severity::Error,
    summary: "a file that is not a runbook",
    explanation: "\
A runbook is a mapping with a name and a list of steps at the top of the file. A file of another kind, such as a
Kubernetes manifest or a playbook, has one diagnostic, because nothing in it is meant as a part of a runbook.",
};

/// The keys of a runbook.
const HELP: &str = "a runbook has 'name' and 'steps' at the top of the file; each step has 'id', 'action' and 'with'";

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let text = analysis.source.text();
    let found =
        if analysis.root.is_empty() { unreadable(analysis) } else { of_keys(analysis.root) };
    let Some((span, message)) = found else { return };
    let help = if message.contains("nothing in it") || message.contains("no runbook in it") {
        "write a runbook: name, and steps with id, action and with"
    } else if message.contains(" under ") || message.contains("a list") {
        "move 'name' and 'steps' to the top of the file"
    } else {
        HELP
    };
    let diagnostic = Diagnostic::new(&RULE, span, message).help(help);
    diagnostics.push_for(0..text.len().max(1), diagnostic);
}

/// Returns what a file seems to be by its keys, with the place of the key that shows it.
fn of_keys(root: &[(Node, Node)]) -> Option<(Range<usize>, String)> {
    let value = |name: &str| root.iter().find(|(key, _)| key.text() == Some(name));
    let has = |name: &str| value(name).is_some();
    let place = |name: &str| value(name).map(|(key, _)| key.span.clone()).unwrap_or_default();
    // A file with steps that have actions is a runbook, whatever else it has.
    let steps = value("steps").and_then(|(_, steps)| steps.items()).unwrap_or_default();
    if steps
        .iter()
        .any(|step| ["action", "call", "with"].iter().any(|key| step.member(key).is_some()))
    {
        return None;
    }
    let nested = |(key, value): &(Node, Node)| {
        let steps = value.member("steps").and_then(Node::items).unwrap_or_default();
        let is_step =
            |step: &Node| step.member("action").is_some() || step.member("call").is_some();
        (!has("steps") && steps.iter().any(is_step)).then(|| {
            if has("apiVersion") && has("kind") {
                let message =
                    "this is written as a Kubernetes object: the runbook is under its 'spec'";
                return (place("apiVersion"), message.to_owned());
            }
            let name = quoted(key.text().unwrap_or_default());
            let message =
                format!("the runbook is under the key {name}: its keys belong at the top");
            (key.span.clone(), message)
        })
    };
    if let Some(found) = root.iter().find_map(nested) {
        return Some(found);
    }
    let seems = |name: &str, what: &str| {
        Some((place(name), format!("this is not a runbook: it seems to be {what}")))
    };
    if has("apiVersion") && has("kind") {
        let text = |name: &str| value(name).and_then(|(_, value)| value.text()).unwrap_or_default();
        let kind = text("kind");
        return if text("apiVersion").starts_with("argoproj.io") {
            seems("apiVersion", "a workflow of Argo")
        } else {
            seems("apiVersion", &format!("a Kubernetes manifest of the kind {}", quoted(kind)))
        };
    }
    if has("jobs") {
        return seems(if has("on") { "on" } else { "jobs" }, "a workflow of GitHub Actions");
    }
    if has("schemaVersion") && (has("mainSteps") || has("runtimeConfig")) {
        return seems("schemaVersion", "an SSM document of AWS");
    }
    if has("AWSTemplateFormatVersion") || has("Resources") {
        let name =
            if has("AWSTemplateFormatVersion") { "AWSTemplateFormatVersion" } else { "Resources" };
        return seems(name, "a template of CloudFormation");
    }
    if has("services")
        && !has("name") | has("volumes") | has("networks") | has("version")
        && !has("steps")
    {
        return seems("services", "a file of docker compose");
    }
    if has("stages") && !has("steps") {
        return seems("stages", "a pipeline of continuous integration");
    }
    if has("pipeline") && !has("steps") {
        return seems("pipeline", "a pipeline of continuous integration");
    }
    if has("hosts") && (has("tasks") || has("roles")) {
        return seems("hosts", "a playbook of Ansible");
    }
    if has("resource") || has("terraform") || has("provider") {
        let name = ["resource", "terraform", "provider"].into_iter().find(|name| has(name))?;
        return seems(name, "a configuration of Terraform");
    }
    if has("openapi") || has("swagger") {
        return seems(
            if has("openapi") { "openapi" } else { "swagger" },
            "a description of an API",
        );
    }
    if has("image") && (has("replicaCount") || has("service") || has("resources")) && !has("steps")
    {
        return seems("image", "a values file of Helm");
    }
    if has("$schema") && has("properties") {
        return seems("$schema", "a JSON Schema");
    }
    // Not one key is that of a runbook, not even under another name.
    let keys = MappingKind::Runbook.keys();
    let is_ours = |name: &str| {
        let is_similar = || nearest(name, keys.iter().copied()).is_some();
        keys.contains(&name) || habits::key(MappingKind::Runbook, name).is_some() || is_similar()
    };
    let mut names = root.iter().take(MAX_KEYS).filter_map(|(key, _)| key.text());
    if names.any(is_ours) {
        return None;
    }
    let (first, _) = root.first()?;
    let message =
        format!("this is not a runbook: it has no 'steps', but {}", quoted(first.text()?));
    Some((first.span.clone(), message))
}

/// The most keys that are compared.
const MAX_KEYS: usize = 32;

/// Reports a text that cannot be read because it is of another kind.
pub(crate) fn check_unreadable(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    /// The most lines that are read.
    const MAX_LINES: usize = 400;
    let text = analysis.source.text();
    let lines = || text.lines().take(MAX_LINES);
    let has = |start: &str| lines().any(|line| line.starts_with(start));
    if has("steps:") || has("name:") {
        return;
    }
    let message = if has("apiVersion:") && has("kind:") && text.contains("{{") {
        "this is not a runbook: it seems to be a template of Helm"
    } else if has("apiVersion:") && has("kind:") {
        "this is not a runbook: it seems to be a Kubernetes manifest"
    } else if has("- hosts:") {
        "this is not a runbook: it seems to be a playbook of Ansible"
    } else if has("jobs:") {
        "this is not a runbook: it seems to be a workflow of GitHub Actions"
    } else if has("resource \"") || has("terraform {") || has("provider \"") {
        "this is not a runbook: it seems to be a configuration of Terraform"
    } else if has("pipeline {") || has("node {") {
        "this is not a runbook: it seems to be a pipeline of Jenkins"
    } else if has("#!/") {
        "this is not a runbook: it seems to be a script"
    } else {
        return;
    };
    let diagnostic = Diagnostic::new(&RULE, 0..0, message).help(HELP);
    diagnostics.push_for(0..text.len().max(1), diagnostic);
}

/// Returns what a file is that is not a mapping.
fn unreadable(analysis: &Analysis<'_>) -> Option<(Range<usize>, String)> {
    if !analysis.yaml.is_empty() {
        return None;
    }
    let root = analysis.tree?;
    let start = root.span.start..root.span.start;
    if root.is_null() {
        let message = if analysis.source.text().trim().is_empty() {
            "the file has no runbook in it: it is empty"
        } else {
            "the file has no runbook in it: there is nothing in it but comments"
        };
        return Some((0..0, message.to_owned()));
    }
    if let Some(items) = root.items() {
        let first = items.first();
        let has = |name: &str| first.is_some_and(|item| item.member(name).is_some());
        let message = if has("hosts") || has("tasks") {
            "this is not a runbook: it seems to be a playbook of Ansible"
        } else if has("steps") {
            "the runbook is an item of a list: remove the '-' before it"
        } else if has("action") || has("id") {
            "this is a list of steps without the runbook around it"
        } else {
            "this is not a runbook: it is a list"
        };
        return Some((start, message.to_owned()));
    }
    let text = root.text()?;
    let seems = [
        ("resource \"", "a configuration of Terraform"),
        ("terraform {", "a configuration of Terraform"),
        ("pipeline {", "a pipeline of Jenkins"),
        ("<?xml", "XML"),
        ("set -", "a script"),
    ];
    if let Some((_, what)) = seems.iter().find(|(start, _)| text.starts_with(start)) {
        return Some((start, format!("this is not a runbook: it seems to be {what}")));
    }
    Some((root.span.clone(), format!("this is not a runbook: it is the text {}", quoted(text))))
}
