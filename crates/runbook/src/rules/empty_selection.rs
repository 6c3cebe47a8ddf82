//! A step without a target.

use super::super::analysis::empty_message;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB055",
    name: "empty_selection",
    severity: Severity::Error,
    summary: "a step without a target",
    explanation: "\
An empty list of nodes, instances or pods is a mistake: the step would report success without doing
anything. So is an empty set of labels by which something is selected, because it matches every
object, and one of labels to be set.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for step in &analysis.document.steps {
        if let Some(items) = step.for_each.filter(|node| node.items().is_some_and(<[_]>::is_empty))
        {
            let message = "'for_each' has no items: the step never runs";
            let diagnostic = Diagnostic::new(&RULE, items.span.clone(), message);
            diagnostics.push(diagnostic.help("name the items, or remove the step"));
        }
    }
    for step in &analysis.steps {
        let Some(action) = step.signature else {
            continue;
        };
        for (path, span) in &step.empty {
            let Some(message) = empty_message(action, path) else {
                continue;
            };
            let is_selection = message.ends_with("every object");
            let diagnostic = Diagnostic::new(&RULE, span.clone(), message);
            diagnostics.push(diagnostic.help(match is_selection {
                true => "name at least one",
                false => "name at least one, or remove the step",
            }));
        }
    }
}
