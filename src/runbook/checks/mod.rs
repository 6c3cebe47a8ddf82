//! What a runbook is held to: one file a rule. A rule looks at the [`Book`] and adds findings; it
//! calls no other rule, and what two of them need is a question that the book answers.

use super::examine::Book;
use super::findings::{Finding, Findings, Severity};

/// A rule, as `explain` shows it.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its stable code, `RB012`.
    pub code: &'static str,
    /// Its name, `unknown_action`.
    pub name: &'static str,
    /// How grave a breach of it is.
    pub severity: Severity,
    /// What it finds, in one line.
    pub summary: &'static str,
    /// Why, and what to do about it.
    pub explanation: &'static str,
}

/// Lists the rules once: as modules, as documentation and as functions.
macro_rules! rules {
    ($($rule:ident),* $(,)?) => {
        $(pub(crate) mod $rule;)*
        static RULES: &[Rule] = &[$($rule::RULE),*];
        const CHECKS: &[fn(&Book<'_>, &mut Findings)] = &[$($rule::check),*];
    };
}

rules![
    too_many_findings,
    invalid_yaml,
    too_large,
    duplicate_key,
    unsupported_yaml,
    unquoted_template,
    unknown_key,
    missing_key,
    wrong_shape,
    file_name,
    invalid_step_id,
    duplicate_step_id,
    unknown_action,
    unknown_parameter,
    missing_parameter,
    wrong_literal,
    out_of_range,
    wrong_form,
    unknown_word,
    exactly_one_of,
    template_syntax,
    template_statement,
    template_limit,
    unknown_step,
    later_step,
    own_output,
    unknown_input,
    unknown_output,
    unknown_filter,
    function_call,
    wrong_operand,
    wrong_expression,
    when_not_boolean,
    missing_else,
    may_be_absent,
    may_be_null,
    not_printable,
    template_not_allowed,
    reserved_step_id,
    invalid_name,
    invalid_input,
    wrong_default,
    unused_input,
    irreversible_change,
    timeout_too_short,
    pointless_retry,
    unused_output,
    opposite_steps,
    empty_selection,
    constant_condition,
    backoff_order,
    looks_secret,
];

/// All rules, by code.
pub fn rules() -> &'static [Rule] {
    RULES
}

/// Holds a book to all rules.
pub(crate) fn run(book: &Book<'_>, findings: &mut Findings) {
    for check in CHECKS {
        check(book, findings);
    }
}

/// Of a text that could not be read as YAML, only that can be said.
pub(crate) fn run_on_unreadable(book: &Book<'_>, findings: &mut Findings) {
    let checks: [fn(&Book<'_>, &mut Findings); 5] = [
        invalid_yaml::check,
        too_large::check,
        duplicate_key::check,
        unsupported_yaml::check,
        unquoted_template::check,
    ];
    for check in checks {
        check(book, findings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_every_rule_explains_itself() {
        for pair in RULES.windows(2) {
            assert!(pair[0].code < pair[1].code, "{} {}", pair[0].code, pair[1].code);
        }
        for rule in RULES {
            assert!(rule.code.len() == 5 && rule.code.starts_with("RB"), "{}", rule.code);
            assert!(rule.explanation.len() > 40 && !rule.summary.ends_with('.'), "{}", rule.code);
        }
    }
}
