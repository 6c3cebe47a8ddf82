//! A value of the wrong type for a key of the language.

use std::ops::Range;

use super::super::document::{DocumentIssueKind, RawStep, start_span};
use super::super::duration::Duration;
use super::super::habits;
use super::super::types::Type;
use super::super::yaml::{Node, NodeKind, ScalarStyle};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB008",
    name: "invalid_type",
    severity: Severity::Error,
    summary: "a value of the wrong type for a key of the language",
    explanation: "\
The keys of the language have fixed types: steps is a list, inputs and with are mappings, timeout is
a duration such as 10m, attempts is an integer from 1 to 100, on_failure is rollback, stop or
continue.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for issue in &analysis.document.issues {
        let span = issue.span.clone();
        let diagnostic = match &issue.kind {
            DocumentIssueKind::InvalidType { what, wanted, found } => {
                let text = analysis.source.text().get(span.clone()).unwrap_or_default();
                let message = format!("{what} must be {wanted}, not {found}");
                let diagnostic = Diagnostic::new(&RULE, span, message);
                if let Some(key) = glued_key(text).filter(|_| wanted.starts_with("a mapping")) {
                    diagnostics.push(diagnostic.help(format!("a space is missing after '{key}:'")));
                    continue;
                }
                match (what.as_str(), text.parse::<u32>()) {
                    ("retry", Ok(attempts)) if attempts > 1 => {
                        diagnostic.write(format!("{{attempts: {attempts}}}"))
                    }
                    ("retry", _) => diagnostic.help("write {attempts: 3}, or remove it"),
                    _ => match of_input(what, found)
                        .or_else(|| help(what, found).map(str::to_owned))
                    {
                        Some(help) => diagnostic.help(help),
                        None => diagnostic,
                    },
                }
            }
            DocumentIssueKind::InvalidEnumValue { what, found, choices } => {
                let message = format!("'{found}' is not a valid value for {what}");
                let diagnostic = Diagnostic::new(&RULE, span, message);
                let meant = Some(*what).filter(|what| *what == "on_failure");
                if let [only] = choices {
                    diagnostics.push(diagnostic.replace(*only));
                    continue;
                }
                match meant.and_then(|_| habits::on_failure(found)) {
                    Some(meant) => diagnostic.replace(meant),
                    None if *what == "on_failure" && found.starts_with("retry") => diagnostic.help(
                        "a failed call is retried by itself: write 'retry', and 'on_failure' for what follows",
                    ),
                    None => {
                        let choices = choices.iter().copied();
                        diagnostic.suggest(&diagnostics.spelling, found, choices)
                    }
                }
            }
            DocumentIssueKind::InvalidDuration(message) => {
                let text = analysis.source.text().get(span.clone()).unwrap_or_default();
                let meant = habits::duration(text.trim_matches(['"', '\'']));
                let diagnostic = Diagnostic::new(&RULE, span, message.clone());
                match meant {
                    Some(meant) if !message.contains("longer than 0s") => diagnostic.replace(meant),
                    Some(_) => diagnostic.help("write how long, such as 10m"),
                    None => diagnostic,
                }
            }
            _ => continue,
        };
        diagnostics.push(diagnostic);
    }
    for step in &analysis.document.steps {
        check_step(analysis, step, diagnostics);
    }
}

/// Returns the key of a text such as `nodes:"a"`, in which YAML sees no key without a space after the colon.
fn glued_key(text: &str) -> Option<&str> {
    let (key, rest) = text.split_once(':')?;
    let is_name = key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    (is_name && !rest.is_empty() && !rest.starts_with([' ', '/'])).then_some(key)
}

/// Returns the declaration of an input that is given its default alone.
fn of_input(what: &str, found: &str) -> Option<String> {
    let text = found.strip_prefix("the string '")?.strip_suffix('\'')?;
    let is_type = Type::parse(text).is_ok() || habits::type_name(text).is_some();
    if !what.starts_with("the input '") || text.len() > 40 || is_type {
        return None;
    }
    let ty = if text.parse::<Duration>().is_ok() { "duration" } else { "string" };
    Some(format!("write {{type: {ty}, default: {text}}}"))
}

/// Returns what to write for a value that has not the type of its key.
fn help(what: &str, found: &str) -> Option<&'static str> {
    Some(match (what, found) {
        ("action", "a mapping") => "write 'action: NAME', and the parameters under 'with'",
        ("action", "a list") => "write one name; each action is a step of its own",
        ("call", "a mapping") => "write 'call: NAME', and the inputs under 'with'",
        ("outputs", "a list") => "write NAME: \"{{ STEP.FIELD }}\" for each output",
        ("inputs", "a list") => "write NAME: {type: …} for each input, without '- '",
        ("limits", "a list") => "write the limits as keys, without '- '",
        ("defaults", "a list") => "write timeout, retry and on_failure as keys, without '- '",
        ("on_failure", "a mapping") => "write 'on_failure: rollback', stop or continue",
        (input, _) if input.starts_with("the input '") => match found {
            "the string 'string'" => "write {type: string}",
            "the string 'integer'" => "write {type: integer}",
            "the string 'boolean'" => "write {type: boolean}",
            "the string 'number'" => "write {type: number}",
            "the string 'duration'" => "write {type: duration}",
            "a list" => "write {type: list of string, default: [ … ]}",
            found if found.starts_with("the integer") => "write {type: integer, default: …}",
            found if found.starts_with("the number") => "write {type: number, default: …}",
            found if found.starts_with("the boolean") => "write {type: boolean, default: …}",
            _ => "write {type: …}, such as {type: string, default: …}",
        },
        _ => return None,
    })
}

/// Returns the span of the `|` or `>` before a block of text.
fn block_header(analysis: &Analysis<'_>, node: &Node) -> Option<Range<usize>> {
    let NodeKind::Scalar { style: ScalarStyle::Literal | ScalarStyle::Folded, .. } = &node.kind
    else {
        return None;
    };
    let before = analysis.source.text().get(..node.span.start)?;
    let start = before.rfind(['|', '>'])?;
    Some(start..start + 1)
}

/// Reports a `with` that is not a mapping and a `log` that is not a string.
fn check_step(analysis: &Analysis<'_>, step: &RawStep<'_>, diagnostics: &mut Diagnostics) {
    let wrong = |node: &Node, what: &str, wanted: &str| {
        let message = format!("{what} must be {wanted}, not {}", node.describe());
        Diagnostic::new(&RULE, start_span(node), message)
    };
    if let Some(with) = step.with.filter(|with| !is_map(with)) {
        let mut diagnostic = wrong(with, "with", "a mapping of parameters");
        if with.items().is_some_and(|items| items.iter().any(|item| item.pairs().is_some())) {
            diagnostic = diagnostic.help("write the parameters as keys, without '- '");
        }
        if let Some(key) = with.text().and_then(glued_key) {
            diagnostic = diagnostic.help(format!("a space is missing after '{key}:'"));
        }
        if let Some(header) = block_header(analysis, with) {
            diagnostic.span = header;
            diagnostic = diagnostic.help("remove this sign: the parameters are the keys below it");
        }
        diagnostics.push(diagnostic);
    }
    if let Some(log) = step.log.filter(|log| !is_text(log)) {
        let help = "write one string; the items of a list in it: {{ … | join(', ') }}";
        diagnostics.push(wrong(log, "log", "a string").help(help));
    }
}

fn is_map(node: &Node) -> bool {
    node.pairs().is_some() || node.is_null() || node.is_broken()
}

fn is_text(node: &Node) -> bool {
    node.text().is_some() && !node.is_null() || node.is_broken()
}
