//! A wait that is not shorter than its step's timeout.

use std::ops::Range;

use super::super::analysis::AnalyzedStep;
use super::super::duration::Duration;
use super::super::template::is_template;
use super::super::types::FieldRelation;
use super::super::yaml::Node;
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB051",
    name: "timeout_too_short",
    severity: Severity::Error,
    summary: "a wait that is not shorter than its step's timeout",
    explanation: "\
'timeout' covers the whole step, including its waits and retries. A wait that is as long as the
timeout, or longer, can never complete. A step without a timeout has that of 'defaults', else 10m.
Something that is to happen several times takes the pauses between.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for (raw, step) in analysis.document.steps.iter().zip(&analysis.steps) {
        let timeout = step.policy.timeout;
        let place = raw.policy.timeout.as_ref().or(analysis.document.defaults.timeout.as_ref());
        let outlasts = |path: &str| {
            let field = step.signature.and_then(|action| action.params.field(path));
            field.is_some_and(|field| field.outlasts)
        };
        // One of 0s is never shorter than an approval that expires at once, which is reported as such.
        let is_zero = |duration| duration == Duration::default();
        let waits = step.durations.iter().filter(|wait| !outlasts(&wait.path));
        let too_long = waits.filter(|wait| wait.duration >= timeout);
        for wait in too_long.filter(|wait| !is_zero(wait.duration)) {
            let message = format!(
                "'{}' is {}, but the timeout of the step is {timeout}",
                wait.path, wait.duration
            );
            let diagnostic = Diagnostic::new(&RULE, wait.span.clone(), message)
                .help(format!("set a 'timeout' longer than {}", wait.duration));
            diagnostics.push(match place {
                Some((_, span)) => diagnostic.label(span.clone(), "the timeout"),
                None => diagnostic,
            });
        }
        for (span, text, lasts) in raw.with.map(|with| series(step, with)).unwrap_or_default() {
            let message = format!("{text} take {lasts}, but the timeout of the step is {timeout}");
            let diagnostic = Diagnostic::new(&RULE, span, message)
                .help(format!("set a 'timeout' longer than {lasts}, or ask for less"));
            diagnostics.push(match place {
                Some((_, span)) => diagnostic.label(span.clone(), "the timeout"),
                None => diagnostic,
            });
        }
    }
}

/// Returns what is to happen so often that it takes as long as the timeout, with its place and how long it takes.
fn series(step: &AnalyzedStep<'_>, with: &Node) -> Vec<(Range<usize>, String, Duration)> {
    let Some(params) = step.signature.map(|action| &action.params) else { return Vec::new() };
    let of = |relation: &FieldRelation| {
        let FieldRelation::Lasts(times, pause) = relation else { return None };
        // The value that is written, or else the default, as a text.
        let text = |name: &str| match with.member(name) {
            Some(node) => node.text().filter(|text| !is_template(text)).map(str::to_owned),
            None => match params.field(name)?.default.as_ref()? {
                serde_json::Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            },
        };
        let count: u32 = text(times)?.parse().ok()?;
        let each: Duration = text(pause)?.parse().ok()?;
        let place = with.member(times).or(with.member(pause))?.span.clone();
        let lasts: Duration = each.std().checked_mul(count.checked_sub(1)?)?.into();
        // A pause that is too long by itself is reported.
        let is_long = lasts >= step.policy.timeout && each < step.policy.timeout;
        is_long.then(|| (place, format!("{count} {times} with {each} between them"), lasts))
    };
    params.relations.iter().filter_map(of).collect()
}
