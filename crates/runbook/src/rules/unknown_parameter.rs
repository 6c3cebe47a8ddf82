//! A parameter that the action does not have.

use super::super::analysis::{ArgumentIssueKind, ParameterOwner};
use super::super::diagnostics::spelling::nearest;
use super::super::document::MappingKind;
use super::super::habits;
use super::super::types::Type;
use super::super::yaml::quoted;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB013",
    name: "unknown_parameter",
    severity: Severity::Error,
    summary: "a parameter that the action does not have",
    explanation: "\
`rafay-relay-sop actions NAME` lists the parameters of an action.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let mut equations = None;
    for issue in analysis.argument_issues() {
        let ArgumentIssueKind::UnknownParameter { name, owner, names, meant, given } = &issue.kind
        else {
            continue;
        };
        let message = format!("{owner} has no {} {}", owner.member(), quoted(name));
        let diagnostic = Diagnostic::new(&RULE, issue.span.clone(), message);
        let is_parameter = matches!(owner, ParameterOwner::Action(_));
        if let Some((key, value)) =
            name.split_once('=').filter(|(key, _)| names.iter().any(|n| n == key))
        {
            // One of several in the same mapping.
            let step = analysis
                .document
                .steps
                .partition_point(|step| step.node.span.start <= issue.span.start);
            if equations.replace(step) != Some(step) {
                let help = format!(
                    "write '{key}: {value}': a parameter and its value have ':' between them"
                );
                diagnostics.push(diagnostic.help(help));
            }
            continue;
        }
        if let Some((key, _)) =
            name.split_once(':').filter(|(key, _)| names.iter().any(|n| n == key))
        {
            diagnostics.push(diagnostic.help(format!("a space is missing after '{key}:'")));
            continue;
        }
        let is_key = is_parameter && MappingKind::Step.keys().contains(&name.as_str());
        let is_step_key =
            is_key && !matches!(name.as_str(), "id" | "name" | "description" | "action");
        // What a word means as a parameter comes before what it is as a key of the step.
        let by_meaning = meant
            .as_ref()
            .is_some_and(|meant| habits::parameter(name, &[meant.as_str()], &|_| false).is_some());
        let not_needed = match owner {
            ParameterOwner::Action(action) => habits::not_needed(action, name).map(str::to_owned),
            ParameterOwner::Record(_) => out_of_record(analysis, issue.span.start, name),
        };
        let advice = not_needed.or_else(|| within(analysis, owner, name));
        if let Some(help) = advice.filter(|_| !is_step_key) {
            diagnostics.push(diagnostic.help(help));
        } else if is_step_key && !by_meaning {
            let help = format!("'{name}' is a key of the step: move it out of 'with'");
            diagnostics.push(diagnostic.help(help));
        } else if let Some(given) = given {
            let help = format!("'{given}' is given as well: remove one of the two");
            diagnostics.push(diagnostic.help(help));
        } else if let Some(meant) = meant {
            let diagnostic = diagnostic.replace(meant.clone());
            // The only parameter that is missing is a guess, which is not written by itself.
            let is_known = nearest(name, [meant.as_str()]).is_some()
                || habits::parameter(name, &[meant.as_str()], &|_| false).is_some();
            diagnostics.push(match is_known {
                true => diagnostic,
                false => Diagnostic { suggestion: None, ..diagnostic },
            });
        } else if let Some(ours) = of_step(name).filter(|_| is_parameter) {
            let help = format!("write '{ours}' in the step, beside 'with'");
            diagnostics.push(diagnostic.help(help));
        } else {
            let names = names.iter().map(String::as_str);
            diagnostics.push(diagnostic.suggest(&diagnostics.spelling, name, names));
        }
    }
}

/// Returns that a field of a record is a parameter of the action itself.
fn out_of_record(analysis: &Analysis<'_>, at: usize, name: &str) -> Option<String> {
    let steps = &analysis.document.steps;
    let index = steps.partition_point(|step| step.node.span.start <= at).checked_sub(1)?;
    let (raw, step) = (steps.get(index)?, analysis.steps.get(index)?);
    let with = raw.with?;
    let is_within = with.span.start <= at && at < with.span.end;
    let action = step.signature.filter(|_| is_within && with.member(name).is_none())?;
    action.params.field(name)?;
    Some(format!("'{name}' is a parameter of {}: move it to the left", action.name))
}

/// Returns where a name belongs that is the field of a record among the parameters of an action.
fn within(analysis: &Analysis<'_>, owner: &ParameterOwner, name: &str) -> Option<String> {
    let ParameterOwner::Action(action) = owner else { return None };
    let fields = &analysis.registry.get(action)?.params.fields;
    fields.iter().find_map(|parameter| {
        let of = &parameter.name;
        match parameter.ty.non_null() {
            Type::Record(record) if record.field(name).is_some() => {
                Some(format!("'{name}' is a field of '{of}': write {of}: {{{name}: …}}"))
            }
            Type::List(item, _) => match item.non_null() {
                Type::Record(record) if record.field(name).is_some() => {
                    Some(format!("'{name}' is a field of '{of}': write {of}: [{{{name}: …}}]"))
                }
                _ => None,
            },
            _ => None,
        }
    })
}

/// Returns the key of the step that a word means.
fn of_step(name: &str) -> Option<&'static str> {
    let ours = habits::key(MappingKind::Step, name)?.ours?;
    let is_policy = matches!(
        ours,
        "timeout" | "retry" | "when" | "on_failure" | "for_each" | "at_once" | "log"
    );
    is_policy.then_some(ours)
}
