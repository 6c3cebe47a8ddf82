//! A change of a group's size that is refused, because an earlier step keeps the group from it.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::super::analysis::flow::{Reading, Target, lets_others_act, simple_path, template_text};
use super::super::registry::ActionKind;
use super::super::yaml::{Node, ScalarValue};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB124",
    name: "refused_size",
    severity: Severity::Warning,
    summary: "a change of size that an earlier step keeps the group from",
    explanation: "\
A group whose process Launch is suspended does not grow, and one whose process Terminate is suspended does not get
smaller. Instances that are protected from scale-in stay, so a group of which all instances are protected does not get
smaller either. A step that asks for such a change is refused, and so is an update of the nodegroup. Let the group do it:
resume the process, or protect fewer instances. The size of a nodegroup's own Auto Scaling group is set through EKS, by
`scale_nodegroup`.",
};

/// The reasons why a group does not change its size.
#[derive(Default)]
struct Group<'t> {
    /// The processes that are suspended, as they are written down.
    suspended: Vec<&'t Node>,
    /// The step that protects all of its instances.
    protected: Option<usize>,
}

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let mut groups: HashMap<&Target, Group<'_>> = HashMap::new();
    let steps = analysis.document.steps.iter().zip(&analysis.steps).zip(&analysis.flow.steps);
    for (index, ((raw, step), facts)) in steps.enumerate() {
        let action = step.signature.filter(|_| raw.call.is_none());
        let (Some(with), Some(action)) = (raw.with, action) else {
            // What a called runbook does to a group is not followed here.
            groups.clear();
            continue;
        };
        // They may do something to any of them.
        if lets_others_act(action) {
            groups.clear();
        }
        let Some(target) = &facts.target else {
            if action.kind == ActionKind::Change {
                groups.clear();
            }
            continue;
        };
        match action.name.as_str() {
            "suspend_processes" if facts.is_certain => {
                let items = with.member("processes").and_then(Node::items).unwrap_or_default();
                groups.entry(target).or_default().suspended.extend(items);
            }
            "set_protection" if facts.is_certain && protects_all(analysis, target, with) => {
                groups.entry(target).or_default().protected = Some(index);
            }
            "resume_processes" | "set_protection" | "terminate_instances" => {
                // By another name it may be the same group.
                groups.retain(|known, _| known.differs(target));
            }
            "scale_nodegroup" | "scale_auto_scaling_group" => {
                report_group_of_nodegroup(analysis, with, diagnostics);
                let Some(group) = groups.remove(target) else { continue };
                let reading = Reading::new(analysis, &analysis.flow);
                let direction = reading.direction(target, facts.size.as_ref(), with);
                report(analysis, index, with, &group, direction, diagnostics);
            }
            "update_nodegroup_version" => {
                let Some(group) = groups.remove(target) else { continue };
                report_update(analysis, index, &group, diagnostics);
            }
            _ => {}
        }
    }
}

/// Reports an update for which the group would have to launch and end instances.
fn report_update(
    analysis: &Analysis<'_>,
    index: usize,
    group: &Group<'_>,
    diagnostics: &mut Diagnostics,
) {
    let is_needed = |item: &&&Node| matches!(item.text(), Some("Launch" | "Terminate"));
    let Some(suspended) = group.suspended.iter().find(is_needed) else { return };
    let (id, process) = (analysis.id(index), suspended.text().unwrap_or_default());
    let message =
        format!("'{id}' is refused: EKS cannot update a group while {process} is suspended");
    let diagnostic = Diagnostic::new(&RULE, suspended.span.clone(), message)
        .label(analysis.declaration(index), "this step updates it")
        .help(format!("remove {process} here, or resume it before '{id}'"));
    diagnostics.push(diagnostic);
}

/// Reports the group of a nodegroup as the one to scale: EKS would set it back.
fn report_group_of_nodegroup(analysis: &Analysis<'_>, with: &Node, diagnostics: &mut Diagnostics) {
    let Some(group) = with.member("auto_scaling_group") else { return };
    let name = group.member("name").unwrap_or(group);
    let Some((root, fields)) = template_text(name).and_then(simple_path) else { return };
    let step = analysis.symbols.steps.get(root).and_then(|step| analysis.steps.get(*step));
    let finds = step.and_then(|step| step.signature).is_some_and(|by| by.name == "find_nodegroup");
    if !finds || fields.as_slice() != ["auto_scaling_group"] {
        return;
    }
    let message =
        format!("this is the group of the nodegroup '{root}': its size is set through EKS");
    let help = format!("use scale_nodegroup with nodegroup: \"{{{{ {root} }}}}\"");
    diagnostics.push(Diagnostic::new(&RULE, name.span.clone(), message).help(help));
}

/// Whether a step protects the instances that a step before has found of the same group: all of them.
fn protects_all(analysis: &Analysis<'_>, target: &Target, with: &Node) -> bool {
    let is_on = |node: &Node| matches!(node.scalar_value(), Some(ScalarValue::Boolean(true)));
    let instances = with.member("instances").and_then(template_text).and_then(simple_path);
    let Some((root, fields)) = instances.filter(|_| with.member("protected").is_some_and(is_on))
    else {
        return false;
    };
    fields.as_slice() == ["instances"] && Reading::new(analysis, &analysis.flow).finds(root, target)
}

fn report(
    analysis: &Analysis<'_>,
    index: usize,
    with: &Node,
    group: &Group<'_>,
    direction: Option<Ordering>,
    diagnostics: &mut Diagnostics,
) {
    let id = analysis.id(index);
    let (process, change) = match direction {
        Some(Ordering::Greater) => ("Launch", "launches no instances, so it cannot grow"),
        Some(Ordering::Less) => ("Terminate", "ends no instances, so it cannot get smaller"),
        _ => return,
    };
    let suspended = group.suspended.iter().find(|item| item.text() == Some(process));
    if let Some(suspended) = suspended {
        let message =
            format!("'{id}' is refused: while {process} is suspended, the group {change}");
        let diagnostic = Diagnostic::new(&RULE, suspended.span.clone(), message)
            .label(analysis.declaration(index), "this step changes its size")
            .help(format!("remove {process} here, or resume it before '{id}'"));
        diagnostics.push(diagnostic);
        return;
    }
    let (Some(by), Some(Ordering::Less)) = (group.protected, direction) else { return };
    let place = with
        .member("desired")
        .map_or_else(|| analysis.declaration(index), |node| node.span.clone());
    let message = format!(
        "the group cannot get smaller: '{}' has protected all of its instances from scale-in",
        analysis.id(by)
    );
    let diagnostic = Diagnostic::new(&RULE, place, message)
        .label(analysis.declaration(by), "it protects all of them")
        .help("protect only the instances that are to stay");
    diagnostics.push(diagnostic);
}
