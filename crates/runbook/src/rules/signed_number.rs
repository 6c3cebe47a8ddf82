//! A number with a plus before it, which is read as the number alone.

use super::super::yaml::{Node, NodeKind, ScalarStyle, ScalarValue};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB117",
    name: "signed_number",
    severity: Severity::Warning,
    summary: "a number with '+' before it",
    explanation: "\
`+2` is the number 2 in YAML, and not 2 more than there are. To add to a size, compute it: `{{ group.desired + 2 }}`.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for step in &analysis.document.steps {
        for (_, value) in step.with.and_then(Node::pairs).unwrap_or_default() {
            let NodeKind::Scalar { text, style: ScalarStyle::Plain } = &value.kind else {
                continue;
            };
            let is_number = matches!(value.scalar_value(), Some(ScalarValue::Integer(_)));
            let Some(number) = text.strip_prefix('+').filter(|_| is_number) else { continue };
            let message = format!("this is the number {number}, and not {number} more");
            let help = format!("write \"{{{{ STEP.FIELD + {number} }}}}\", or {number}");
            diagnostics.push(Diagnostic::new(&RULE, value.span.clone(), message).help(help));
        }
    }
}
