//! A step that is given nothing to act on.

use super::super::catalogue::Kind;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB055",
    name: "empty_selection",
    severity: Severity::Error,
    summary: "a step that is given nothing to act on",
    explanation: "\
An empty list of nodes, instances or pods is never meant: the step would report success and have
done nothing.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for step in &book.steps {
        let Some(action) = step.signature.filter(|action| action.kind != Kind::Read) else {
            continue;
        };
        for (path, span) in &step.empty_lists {
            let selects = action.params.field(path).is_some_and(|field| field.required)
                || action.params.exactly_one_of.iter().flatten().any(|name| name == path);
            if selects {
                let message = format!("'{path}' is empty: {} would do nothing", action.name);
                findings.push(Finding::new(&RULE, span.clone(), message));
            }
        }
    }
}
