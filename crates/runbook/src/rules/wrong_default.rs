//! A default that does not match its declaration.

use std::collections::HashMap;

use super::super::analysis::ArgumentIssueKind;
use super::super::document::InputDeclaration;
use super::super::habits;
use super::super::types::{Syntax, Type, requirement};
use super::super::yaml::{Node, ScalarValue, quoted};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB041",
    name: "wrong_default",
    severity: Severity::Error,
    summary: "a default that does not match its declaration",
    explanation: "\
A run uses the default when the input is not given, so the default must have the type of the input
and be within its limits.

A number has no zero at its end: with the default 1.10, a tag that is made of it is 1.1. Versions are strings.",
};

/// Reports the numbers that lose a zero where they become a part of a text: `1.10` as the tag of an image.
fn check_lost_zeros(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let inputs = analysis.document.inputs.iter();
    let losing = inputs.filter_map(|input| Some((input.name, lost_zero(input)?)));
    let mut losing: HashMap<&str, (&Node, &str)> = losing.collect();
    if losing.is_empty() {
        return;
    }
    // A number in a sentence, or in a quantity, has the same value without the zero.
    let is_name = |ty: &Type| match ty.non_null() {
        Type::String(text) => {
            text.syntax.is_some_and(|syntax| !matches!(syntax, Syntax::Quantity | Syntax::Amount))
        }
        _ => false,
    };
    for site in analysis.sites().filter(|site| site.is_text && is_name(&site.wanted)) {
        for input in &site.inferred.inputs {
            let Some((default, text)) = losing.remove(input.as_str()) else { continue };
            let shown = text.trim_end_matches('0').trim_end_matches('.');
            let message =
                format!("a number has no last zero: {text} is written as {shown} in a text");
            let help = format!("declare it with 'type: string', and write \"{text}\"");
            let mut diagnostic = Diagnostic::new(&RULE, default.span.clone(), message)
                .help(help)
                .label(site.node.span.clone(), "it is used here");
            diagnostic.severity = Severity::Warning;
            diagnostics.push(diagnostic);
        }
    }
}

/// Returns the default of a number that ends with a zero behind its point, with its text.
fn lost_zero<'t>(input: &InputDeclaration<'t>) -> Option<(&'t Node, &'t str)> {
    let default = input.default?;
    let text = default.text()?;
    let (_, digits) = text.split_once('.')?;
    let is_number = matches!(default.scalar_value(), Some(ScalarValue::Number(_)))
        && matches!(input.ty.non_null(), Type::Number(_));
    let is_digits = digits.bytes().all(|b| b.is_ascii_digit());
    let loses = digits.len() > 1 && is_digits && digits.ends_with('0');
    (is_number && loses).then_some((default, text))
}

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    check_lost_zeros(analysis, diagnostics);
    for issue in &analysis.default_issues {
        let message = match &issue.kind {
            ArgumentIssueKind::TypeMismatch { wanted, found, advice, .. } => {
                let message = format!("the default must be {}, not {found}", wanted.with_article());
                let mut diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
                diagnostic.help = advice.as_ref().map(|advice| advice.help.clone());
                if found == "nothing" {
                    let help = format!("write 'type: optional {wanted}', or remove the default");
                    diagnostic.help = Some(help);
                }
                diagnostics.push(diagnostic);
                continue;
            }
            ArgumentIssueKind::OutOfRange { limits, found, .. } => {
                format!("the default {}, not {found}", requirement(limits))
            }
            ArgumentIssueKind::InvalidFormat { form, found, .. } => {
                format!("the default {form}, not {found}")
            }
            ArgumentIssueKind::InvalidEnumValue { found, values, .. } => {
                let message = format!("{} is not a valid default", quoted(found));
                let values = values.iter().map(String::as_str);
                let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
                diagnostics.push(diagnostic.suggest(&diagnostics.spelling, found, values));
                continue;
            }
            _ => continue,
        };
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        let text = analysis.source.text().get(issue.span.clone()).unwrap_or_default();
        let is_duration = diagnostic.message.contains("must be a duration");
        let meant = habits::duration(text.trim_matches(['"', '\''])).filter(|_| is_duration);
        diagnostics.push(match meant {
            Some(meant) => diagnostic.replace(meant),
            None => diagnostic,
        });
    }
}
