//! Something that is looked up and not used.

use std::collections::HashSet;

use super::super::catalogue::Kind;
use super::super::template::Fault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB053",
    name: "unused_output",
    severity: Severity::Note,
    summary: "something that is looked up and not used",
    explanation: "\
A step that only looks changes nothing, so that without a use of its output it has no purpose but to
fail when it cannot look.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    if !book.is_read() {
        return;
    }
    let mut used: HashSet<usize> =
        book.sites().flat_map(|site| &site.inferred.steps).copied().collect();
    for (_, flaw) in book.template_flaws() {
        match &flaw.fault {
            Fault::LaterStep(step) => {
                used.insert(*step);
            }
            Fault::UnknownName(name) => {
                let meant = findings.spelling.meant(name, book.names.steps.keys().copied());
                used.extend(meant.and_then(|name| book.names.steps.get(name.as_str())));
            }
            _ => {}
        }
    }
    for (index, step) in book.steps.iter().enumerate() {
        let reads = step.signature.is_some_and(|action| {
            action.kind == Kind::Read && !action.output.fields.is_empty()
        });
        if reads && !used.contains(&index) && !book.id(index).is_empty() {
            let message = format!("nothing uses the output of '{}'", book.id(index));
            findings.push(Finding::new(&RULE, book.declaration(index), message));
        }
    }
}
