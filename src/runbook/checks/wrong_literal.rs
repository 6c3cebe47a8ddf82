//! A literal of another type than its parameter.

use super::super::examine::ArgumentFault;
use super::super::types::Type;
use super::{Book, Finding, Findings, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB015",
    name: "wrong_literal",
    severity: Severity::Error,
    summary: "a literal of another type than its parameter",
    explanation: "\
YAML 1.2 has four kinds of unquoted scalars: null, true and false, integers, and numbers; everything
else is text. 'yes' and 'on' are text. What is quoted is text.",
};

pub(crate) fn check(book: &Book<'_>, findings: &mut Findings) {
    for flaw in book.argument_flaws() {
        let ArgumentFault::Kind {
            path,
            wanted,
            found,
        } = &flaw.fault
        else {
            continue;
        };
        let wanted_text = wanted.noun();
        let message = format!("'{path}' must be {wanted_text}, not {found}");
        let mut finding = Finding::new(&RULE, flaw.span.clone(), message);
        finding.help = match wanted.present() {
            Type::Boolean => Some("write true or false, without quotes".to_owned()),
            Type::Integer(_) | Type::Number(_) if found.starts_with("the string '") => {
                let number = found.trim_start_matches("the string '").trim_end_matches('\'');
                let is_number = number.parse::<f64>().is_ok();
                is_number.then(|| format!("write {number}, without quotes"))
            }
            _ => None,
        };
        findings.push(finding);
    }
}
