//! More diagnostics than are shown.

use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB000",
    name: "too_many_findings",
    severity: Severity::Note,
    summary: "more diagnostics than are shown",
    explanation: "\
At most 100 diagnostics of a file are shown, in the order of the file. Fix some of them and check
again.",
};

pub(crate) fn check(_: &Analysis<'_>, _: &mut Diagnostics) {}

/// Returns the diagnostic that counts the omitted diagnostics.
pub(crate) fn more(at: usize, count: usize) -> Diagnostic {
    let noun = if count == 1 { "diagnostic is" } else { "diagnostics are" };
    let message = format!("{count} more {noun} not shown, all after this position");
    Diagnostic::new(&RULE, at..at, message)
}
