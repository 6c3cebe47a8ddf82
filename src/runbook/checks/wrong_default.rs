//! An input's default that its own declaration refuses.

use super::super::examine::ArgumentFault;
use super::super::yaml::quoted;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB041",
    name: "wrong_default",
    severity: Severity::Error,
    summary: "an input's default that its own declaration refuses",
    explanation: "\
A default is what a run uses when nothing is given, so it must be of the input's type and within its
limits.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for flaw in &book.default_flaws {
        let message = match &flaw.fault {
            ArgumentFault::Kind { wanted, found, .. } => {
                format!("this default must be {}, not {found}", wanted.noun())
            }
            ArgumentFault::Limit { limits, found, .. } => {
                format!("this default must be {limits}, not {found}")
            }
            ArgumentFault::Form { form, found, .. } => format!("this default {form}, not {found}"),
            ArgumentFault::Word { found, words, .. } => {
                let message = format!("this default cannot be {}", quoted(found));
                let words = words.iter().map(String::as_str);
                let finding = Finding::new(&RULE, flaw.span.clone(), message);
                findings.push(finding.suggest(&findings.spelling, found, words));
                continue;
            }
            _ => continue,
        };
        findings.push(Finding::new(&RULE, flaw.span.clone(), message));
    }
}
