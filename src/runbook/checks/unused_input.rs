//! An input that nothing uses.

use std::collections::HashSet;

use super::super::document::is_name;
use super::super::template::Fault;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB042",
    name: "unused_input",
    severity: Severity::Warning,
    summary: "an input that nothing uses",
    explanation: "\
Somebody who gives it expects it to matter. Remove it, or use it: {{ inputs.NAME }}.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    if !book.is_read() || book.sites().any(|site| site.inferred.all_inputs) {
        return;
    }
    let mut used: HashSet<String> =
        book.sites().flat_map(|site| &site.inferred.inputs).cloned().collect();
    for (_, flaw) in book.template_flaws() {
        if let Fault::UnknownInput(name) | Fault::UnknownName(name) = &flaw.fault {
            let names = book.names.inputs.names();
            used.extend(findings.spelling.meant(name, names)); // it is used, in a wrong spelling
            used.insert(name.clone());
        }
    }
    for input in &book.document.inputs {
        if !used.contains(input.name) && is_name(input.name) {
            let message = format!("the input '{}' is not used", input.name);
            findings.push(Finding::new(&RULE, input.key.span.clone(), message));
        }
    }
}
