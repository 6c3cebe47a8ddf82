//! A value that may be null where one is needed.

use std::ops::Range;

use super::super::examine::Role;
use super::super::template::{Fault, inside_braces};
use super::super::types::Misfit;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB035",
    name: "may_be_null",
    severity: Severity::Error,
    summary: "a value that may be null where one is needed",
    explanation: "\
Some outputs are optional: they are null when there is nothing to tell. Say what is meant then: {{
group.launch_template | default('none') }}, or test it: {{ x if x is not none else y }}.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for (_, flaw) in book.template_flaws() {
        if let Fault::MayBeNull(path) = &flaw.fault {
            findings.push(finding(flaw.span.clone(), path));
        }
    }
    for site in book.sites() {
        let inferred = &site.inferred;
        let misfit = site.wanted.fits(&inferred.ty);
        let constant = inferred.constant.is_some() && site.role != Role::When;
        if inferred.flaws.is_empty() && !constant && misfit == Err(Misfit::Null) {
            let text = site.node.text().and_then(inside_braces).unwrap_or_default();
            findings.push(finding(inferred.span.clone(), text));
        }
    }
}

fn finding(span: Range<usize>, path: &str) -> Finding {
    let message = format!("'{path}' may be null");
    let help = "say what is meant then: | default(…), or test it: is not none";
    Finding::new(&RULE, span, message).help(help)
}
