//! A wait for nodes that the group cannot launch.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::super::analysis::flow::{Reading, Size, Target, is_off};
use super::super::document::start_span;
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB111",
    name: "no_new_nodes",
    severity: Severity::Warning,
    summary: "a wait for nodes that the group does not launch",
    explanation: "\
A group whose process Launch is suspended launches no instances, so a wait for its nodes fails. With 'lower_desired',
'terminate_instances' makes the group smaller, and no new node comes for one that has ended: a wait for as many as
before never ends.",
};

/// Why a group launches no instances: the place that says so.
#[derive(Default)]
struct Group<'t> {
    /// `Launch` among the suspended processes.
    suspended: Option<&'t Node>,
    /// Whether the group needs new instances for a size that it was given.
    needs: bool,
    /// Whether it needs them for those that were ended, to be as large as before.
    replaces: bool,
    /// The key `lower_desired`, and the step.
    lowered: Option<(&'t Node, usize)>,
}

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let mut groups: HashMap<&Target, Group<'_>> = HashMap::new();
    let steps = analysis.document.steps.iter().zip(&analysis.steps).zip(&analysis.flow.steps);
    for (index, ((raw, step), facts)) in steps.enumerate() {
        let (Some(with), Some(action), Some(target)) = (raw.with, step.signature, &facts.target)
        else {
            continue;
        };
        match action.name.as_str() {
            "suspend_processes" if facts.is_certain => {
                if let Some(launch) = launch(with) {
                    groups.entry(target).or_default().suspended = Some(launch);
                }
            }
            "resume_processes" => drop(groups.remove(target)),
            "scale_nodegroup" | "scale_auto_scaling_group" => {
                let group = groups.entry(target).or_default();
                (group.needs, group.replaces, group.lowered) = (true, false, None);
                let reading = Reading::new(analysis, &analysis.flow);
                let direction = reading.direction(target, facts.size.as_ref(), with);
                match direction {
                    // It is refused, so the wait is not reached.
                    Some(Ordering::Greater) => group.suspended = None,
                    Some(Ordering::Less) => group.needs = false,
                    _ => {}
                }
            }
            "terminate_instances" if is_off(with, "lower_desired") => {
                groups.entry(target).or_default().replaces = true;
            }
            "terminate_instances" if facts.is_certain => {
                let pairs = with.pairs().unwrap_or_default().iter();
                let key = pairs.map(|(key, _)| key).find(|key| key.text() == Some("lower_desired"));
                groups.entry(target).or_default().lowered = key.map(|key| (key, index));
            }
            "wait_nodes" => {
                let Some(group) = groups.get_mut(target) else { continue };
                let id = analysis.id(index);
                // How many it waits for is not known of every expression: those that are left, perhaps.
                let count = with.member("count");
                let reading = Reading::new(analysis, &analysis.flow);
                let is_full = count.is_none_or(|count| reading.size(count).is_some());
                let needs = group.needs || group.replaces && is_full;
                if let Some(launch) = group.suspended.take_if(|_| needs) {
                    let message =
                        format!("the group launches no instances, but '{id}' waits for its nodes");
                    let diagnostic = Diagnostic::new(&RULE, launch.span.clone(), message)
                        .label(analysis.declaration(index), "it fails while Launch is suspended")
                        .help("do not suspend Launch, or resume it before");
                    diagnostics.push(diagnostic);
                } else if let Some((key, by)) = group.lowered.take()
                    && is_former(analysis, with, target, by)
                {
                    let message = format!(
                        "the group does not launch new instances, but '{id}' waits for as many as before"
                    );
                    let diagnostic = Diagnostic::new(&RULE, start_span(key), message)
                        .label(analysis.declaration(index), "no new node comes")
                        .help(format!("remove 'lower_desired', or let '{id}' wait for fewer"));
                    diagnostics.push(diagnostic);
                }
            }
            _ => {}
        }
    }
}

/// Returns `Launch` in a list of processes.
fn launch(with: &Node) -> Option<&Node> {
    let items = with.member("processes")?.items()?;
    items.iter().find(|item| item.text() == Some("Launch"))
}

/// Whether a wait is for the size that a step before another one has found or listed of its group.
fn is_former(analysis: &Analysis<'_>, with: &Node, target: &Target, by: usize) -> bool {
    let reading = Reading::new(analysis, &analysis.flow);
    let size = with.member("count").and_then(|count| reading.size(count));
    let Some(of) = size.filter(Size::is_whole).and_then(|size| size.of) else {
        return false;
    };
    let Some((root, rest)) = of.split_once('.') else { return false };
    let field = rest.strip_suffix(" | length").unwrap_or(rest);
    let is_limit = matches!(field, "min" | "max");
    if is_limit || field.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        return false;
    }
    let found = analysis.symbols.steps.get(root).is_some_and(|step| *step < by);
    found && reading.target_of(root).as_ref() == Some(target)
}
