//! A literal whose type differs from its parameter's.

use super::super::analysis::ArgumentIssueKind;
use super::super::types::Type;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB015",
    name: "literal_type_mismatch",
    severity: Severity::Error,
    summary: "a literal whose type differs from its parameter's",
    explanation: "\
YAML 1.2 has four kinds of unquoted scalars that are not strings: null, true and false, integers,
and numbers. Every other scalar is a string, including 'yes' and 'on', and so is a quoted scalar.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in analysis.argument_issues() {
        let ArgumentIssueKind::TypeMismatch { path, wanted, found } = &issue.kind else {
            continue;
        };
        let wanted_text = wanted.with_article();
        let message = format!("'{path}' must be {wanted_text}, not {found}");
        let mut diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        diagnostic.help = match wanted.non_null() {
            Type::Boolean => Some("write true or false, without quotes".to_owned()),
            Type::Integer(_) | Type::Number(_) if found.starts_with("the string '") => {
                let number = found.trim_start_matches("the string '").trim_end_matches('\'');
                let is_number = number.parse::<f64>().is_ok();
                is_number.then(|| format!("write {number}, without quotes"))
            }
            _ => None,
        };
        diagnostics.push(diagnostic);
    }
}
