//! The rules that a runbook is checked against, one file per rule. A rule reads the [`Analysis`] and
//! adds diagnostics. It calls no other rule: what two rules need belongs to the analysis.

pub(crate) mod action_and_call;
pub(crate) mod another_kind_of_file;
pub(crate) mod backoff_order;
pub(crate) mod beyond_limit;
pub(crate) mod call_too_short;
pub(crate) mod cannot_restore;
pub(crate) mod conflicting_parameters;
pub(crate) mod constant_condition;
pub(crate) mod cut_off_text;
pub(crate) mod deleted_pods;
pub(crate) mod duplicate_item;
pub(crate) mod duplicate_key;
pub(crate) mod duplicate_step_id;
pub(crate) mod duplicate_value;
pub(crate) mod empty_selection;
pub(crate) mod ended_instances;
pub(crate) mod ended_nodes;
pub(crate) mod exactly_one_of;
pub(crate) mod excluded_version;
pub(crate) mod expression_type_mismatch;
pub(crate) mod failing_default;
pub(crate) mod forward_reference;
pub(crate) mod function_call;
pub(crate) mod hardcoded_secret;
pub(crate) mod held_back;
pub(crate) mod invalid_call;
pub(crate) mod invalid_enum_value;
pub(crate) mod invalid_for_each;
pub(crate) mod invalid_format;
pub(crate) mod invalid_input;
pub(crate) mod invalid_name;
pub(crate) mod invalid_object;
pub(crate) mod invalid_output;
pub(crate) mod invalid_step_id;
pub(crate) mod invalid_type;
pub(crate) mod invalid_yaml;
pub(crate) mod irreversible_change;
pub(crate) mod keeps_too_many;
pub(crate) mod label_stays;
pub(crate) mod literal_type_mismatch;
pub(crate) mod misleading_character;
pub(crate) mod misplaced_each;
pub(crate) mod missing_colon;
pub(crate) mod missing_dash;
pub(crate) mod missing_else;
pub(crate) mod missing_key;
pub(crate) mod missing_parameter;
pub(crate) mod name_mismatch;
pub(crate) mod nested_call;
pub(crate) mod no_change;
pub(crate) mod no_effect;
pub(crate) mod no_new_nodes;
pub(crate) mod nodes_stay;
pub(crate) mod not_printable;
pub(crate) mod opposite_filters;
pub(crate) mod opposite_steps;
pub(crate) mod other_processes;
pub(crate) mod other_release;
pub(crate) mod other_target;
pub(crate) mod other_value;
pub(crate) mod out_of_range;
pub(crate) mod possibly_null;
pub(crate) mod possibly_undefined;
pub(crate) mod question_not_literal;
pub(crate) mod refused_by_limit;
pub(crate) mod refused_field;
pub(crate) mod refused_size;
pub(crate) mod repeated_step;
pub(crate) mod requests_above_limits;
pub(crate) mod reserved_step_id;
pub(crate) mod self_reference;
pub(crate) mod signed_number;
pub(crate) mod stale_nodes;
pub(crate) mod stale_pods;
pub(crate) mod stray_braces;
pub(crate) mod taint_stays;
pub(crate) mod template_form;
pub(crate) mod template_limit;
pub(crate) mod template_not_allowed;
pub(crate) mod template_statement;
pub(crate) mod template_syntax;
pub(crate) mod timeout_too_short;
pub(crate) mod too_large;
pub(crate) mod too_many_findings;
pub(crate) mod undoes_more;
pub(crate) mod unknown_action;
pub(crate) mod unknown_condition;
pub(crate) mod unknown_filter;
pub(crate) mod unknown_input;
pub(crate) mod unknown_key;
pub(crate) mod unknown_output;
pub(crate) mod unknown_parameter;
pub(crate) mod unknown_runbook;
pub(crate) mod unknown_step;
pub(crate) mod unquoted_template;
pub(crate) mod unsupported_yaml;
pub(crate) mod unused_input;
pub(crate) mod unused_item_field;
pub(crate) mod unused_output;
pub(crate) mod useless_at_once;
pub(crate) mod useless_delay;
pub(crate) mod useless_limit;
pub(crate) mod useless_retry;
pub(crate) mod waits_for_more;
pub(crate) mod when_not_boolean;
pub(crate) mod wrong_default;
pub(crate) mod wrong_operand;
pub(crate) mod zero_duration;

use super::analysis::Analysis;
use super::diagnostics::{Diagnostic, Diagnostics, Severity};
use super::{Stopped, Wanted};

/// A rule, as `explain` shows it.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The stable code, such as `RB012`.
    pub code: &'static str,
    /// The name, such as `unknown_action`.
    pub name: &'static str,
    /// The severity of a violation.
    pub severity: Severity,
    /// A summary of the rule's report, in one line.
    pub summary: &'static str,
    /// Why the rule exists, and how to satisfy it.
    pub explanation: &'static str,
}

/// Lists the rules by code: as documentation and as functions. A rule that has a `mod` line and is
/// not listed here is dead code, which the compiler reports.
macro_rules! rules {
    ($($rule:ident),* $(,)?) => {
        static RULES: &[Rule] = &[$($rule::RULE),*];
        const CHECKS: &[fn(&Analysis<'_>, &mut Diagnostics)] = &[$($rule::check),*];
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
    invalid_type,
    name_mismatch,
    invalid_step_id,
    duplicate_step_id,
    unknown_action,
    unknown_parameter,
    missing_parameter,
    literal_type_mismatch,
    out_of_range,
    invalid_format,
    invalid_enum_value,
    exactly_one_of,
    template_syntax,
    template_statement,
    template_limit,
    unknown_step,
    forward_reference,
    self_reference,
    unknown_input,
    unknown_output,
    unknown_filter,
    function_call,
    wrong_operand,
    expression_type_mismatch,
    when_not_boolean,
    missing_else,
    possibly_undefined,
    possibly_null,
    not_printable,
    template_not_allowed,
    reserved_step_id,
    invalid_name,
    invalid_input,
    wrong_default,
    unused_input,
    irreversible_change,
    timeout_too_short,
    useless_retry,
    unused_output,
    opposite_steps,
    empty_selection,
    constant_condition,
    backoff_order,
    hardcoded_secret,
    misplaced_each,
    invalid_for_each,
    duplicate_item,
    useless_at_once,
    cannot_restore,
    action_and_call,
    unknown_runbook,
    nested_call,
    invalid_call,
    invalid_output,
    invalid_object,
    refused_field,
    question_not_literal,
    call_too_short,
    useless_limit,
    duplicate_value,
    zero_duration,
    useless_delay,
    failing_default,
    waits_for_more,
    no_change,
    beyond_limit,
    stale_pods,
    undoes_more,
    other_target,
    keeps_too_many,
    template_form,
    another_kind_of_file,
    misleading_character,
    missing_dash,
    missing_colon,
    conflicting_parameters,
    cut_off_text,
    ended_nodes,
    no_new_nodes,
    taint_stays,
    stray_braces,
    requests_above_limits,
    excluded_version,
    unused_item_field,
    signed_number,
    repeated_step,
    deleted_pods,
    refused_by_limit,
    opposite_filters,
    ended_instances,
    refused_size,
    other_processes,
    no_effect,
    label_stays,
    nodes_stay,
    stale_nodes,
    other_value,
    unknown_condition,
    other_release,
];

/// Returns all rules, in the order of their codes.
pub fn rules() -> &'static [Rule] {
    RULES
}

/// The former names of rules, each with the current name.
const ALIASES: &[(&str, &str)] = &[
    ("file_name", "name_mismatch"),
    ("later_step", "forward_reference"),
    ("looks_secret", "hardcoded_secret"),
    ("may_be_absent", "possibly_undefined"),
    ("may_be_null", "possibly_null"),
    ("own_output", "self_reference"),
    ("pointless_retry", "useless_retry"),
    ("unknown_word", "invalid_enum_value"),
    ("wrong_expression", "expression_type_mismatch"),
    ("wrong_form", "invalid_format"),
    ("wrong_literal", "literal_type_mismatch"),
    ("wrong_shape", "invalid_type"),
];

/// Returns the rule with a code, a name or a former name.
pub fn find_rule(code_or_name: &str) -> Option<&'static Rule> {
    let alias = ALIASES.iter().find(|(old, _)| *old == code_or_name);
    let name = alias.map_or(code_or_name, |(_, new)| new);
    RULES.iter().find(|rule| rule.code.eq_ignore_ascii_case(name) || rule.name == name)
}

/// Checks a runbook against all rules, for as long as the result is wanted.
pub(crate) fn run(
    analysis: &Analysis<'_>,
    diagnostics: &mut Diagnostics,
    wanted: &Wanted<'_>,
) -> Result<(), Stopped> {
    for check in CHECKS {
        wanted.ensure()?;
        check(analysis, diagnostics);
    }
    name_declarations(analysis, diagnostics);
    held_back::hold_back(analysis, diagnostics);
    Ok(())
}

/// Adds to what is wrong with a parameter of a call where the called runbook declares it.
fn name_declarations(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for step in &analysis.document.steps {
        let name = step.call.and_then(|call| call.text());
        let Some(callable) = name.and_then(|name| analysis.callables.get(name)) else { continue };
        for (key, value) in step.with.and_then(|with| with.pairs()).unwrap_or_default() {
            let declared = key.text().and_then(|name| callable.declaration(name));
            let Some(declared) = declared else { continue };
            let about = key.span.start..value.span.end;
            diagnostics.label_within(&about, &callable.source, &declared, "it is declared here");
        }
    }
}

/// Checks a text that has no YAML tree against the rules that need none.
pub(crate) fn run_on_unreadable(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let checks: [fn(&Analysis<'_>, &mut Diagnostics); 6] = [
        another_kind_of_file::check_unreadable,
        invalid_yaml::check,
        too_large::check,
        duplicate_key::check,
        unsupported_yaml::check,
        unquoted_template::check,
    ];
    for check in checks {
        check(analysis, diagnostics);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_finds_a_rule_and_hides_none() {
        for (old, new) in ALIASES {
            assert_eq!(find_rule(old).map(|rule| rule.name), Some(*new));
            assert!(RULES.iter().all(|rule| rule.name != *old), "{old}");
        }
        for rule in RULES {
            assert_eq!(find_rule(rule.name).map(|found| found.code), Some(rule.code));
            assert_eq!(
                find_rule(&rule.code.to_lowercase()).map(|found| found.code),
                Some(rule.code)
            );
        }
    }

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
