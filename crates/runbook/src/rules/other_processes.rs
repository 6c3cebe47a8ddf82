//! A step that resumes other processes than those which were suspended.

use std::collections::HashMap;

use super::super::analysis::flow::Target;
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB125",
    name: "other_processes",
    severity: Severity::Warning,
    summary: "a step that resumes other processes than those which were suspended",
    explanation: "\
A runbook that suspends processes of a group and resumes others leaves the first suspended: the group goes on without
them. Resume the ones that were suspended: `processes: \"{{ hold.changed }}\"` resumes those that
the step `hold` had to suspend.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let of = |name: &'static str| {
        let steps = analysis.document.steps.iter().zip(&analysis.steps).zip(&analysis.flow.steps);
        steps.enumerate().filter_map(move |(index, ((raw, step), facts))| {
            step.signature.filter(|action| action.name == name)?;
            Some((index, raw.with?.member("processes")?, facts.target.as_ref()))
        })
    };
    let mut suspended: HashMap<&Target, Vec<(usize, &[Node])>> = HashMap::new();
    let mut resumed: HashMap<&Target, Vec<(usize, &[Node])>> = HashMap::new();
    for (name, found) in [("suspend_processes", &mut suspended), ("resume_processes", &mut resumed)]
    {
        for (index, node, target) in of(name) {
            // A list that is not written down, or a group that is not known, may have any process.
            let (Some(items), Some(target)) = (node.items(), target) else { return };
            found.entry(target).or_default().push((index, items));
        }
    }
    for (target, resumed) in &resumed {
        // The same group may be named in another way.
        let is_other = |other: &&Target| *other == *target || other.differs(target);
        let Some(suspended) = suspended.get(target).filter(|_| suspended.keys().all(is_other))
        else {
            continue;
        };
        let has = |lists: &[(usize, &[Node])], process: &Node| {
            let mut all = lists.iter().flat_map(|(_, items)| items.iter());
            all.any(|item| item.text().is_none() || item.text() == process.text())
        };
        let is_restored = |by: usize| {
            let raw = analysis.document.steps.get(by);
            raw.is_some_and(|raw| raw.node.member("restore").is_some())
        };
        let mut lists = suspended.iter().filter(|(by, _)| !is_restored(*by));
        // What is resumed right after it takes the place of what is suspended.
        let is_next = |by: usize| resumed.iter().any(|(index, _)| *index == by + 1);
        let is_one = resumed.len() == 1 && resumed.iter().all(|(_, items)| items.len() == 1);
        let left = lists.find_map(|(by, items)| {
            // Where none is resumed, others are meant, unless it is one for one.
            let is_exchanged = is_one && items.len() == 1 && !is_next(*by);
            items.iter().find(|item| is_exchanged || has(resumed, item))?;
            let stays = items.iter().find(|item| !has(resumed, item))?;
            Some((*by, stays.text()?))
        });
        let other = resumed.iter().find_map(|(index, items)| {
            let other = items.iter().find(|item| !has(suspended, item))?;
            Some((*index, other))
        });
        if left.is_none()
            && let Some((index, other)) = other
        {
            report_more(analysis, suspended, resumed, (index, other), diagnostics);
        }
        let (Some((by, stays)), Some((index, other))) = (left, other) else { continue };
        // What was suspended by something else before the run may be resumed first.
        let (Some(text), true) = (other.text(), index > by) else { continue };
        let by_id = analysis.id(by);
        let message =
            format!("'{by_id}' suspended {stays}, and not {text}: {stays} stays suspended");
        let diagnostic = Diagnostic::new(&RULE, other.span.clone(), message)
            .label(analysis.declaration(by), "it suspends the processes")
            .write(stays);
        diagnostics.push(diagnostic);
    }
}

/// Reports a process that is resumed with all that a step before has suspended: its own suspension was not the run's.
fn report_more(
    analysis: &Analysis<'_>,
    suspended: &[(usize, &[Node])],
    resumed: &[(usize, &[Node])],
    (index, other): (usize, &Node),
    diagnostics: &mut Diagnostics,
) {
    let ([(by, hold)], [(_, free)]) = (suspended, resumed) else { return };
    // A list with most of them means all there are.
    let is_one_more = free.len() == hold.len() + 1;
    let Some(process) = other.text().filter(|_| is_one_more && *by < index) else { return };
    let by_id = analysis.id(*by);
    let message = format!(
        "this resumes {process}, which '{by_id}' has not suspended: another client may have suspended it"
    );
    let diagnostic = Diagnostic::new(&RULE, other.span.clone(), message)
        .label(analysis.declaration(*by), "it suspends the processes")
        .help(format!("remove {process}, or write \"{{{{ {by_id}.changed }}}}\""));
    diagnostics.push(diagnostic);
}
