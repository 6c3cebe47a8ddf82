//! More findings than are shown.

use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB000",
    name: "too_many_findings",
    severity: Severity::Note,
    summary: "more findings than are shown",
    explanation: "\
At most 100 findings of a file are shown, those that come first in it. Mend some and check again.",
};

pub(crate) fn check(_: &Analysis<'_>, _: &mut Diagnostics) {}

/// The one that counts those that are not shown.
pub(crate) fn more(at: usize, count: usize) -> Diagnostic {
    let message = format!("{count} more findings are not shown, all of them below");
    Diagnostic::new(&RULE, at..at, message)
}
