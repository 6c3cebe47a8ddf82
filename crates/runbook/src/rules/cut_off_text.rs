//! A text for people that a comment cuts off.

use super::super::yaml::{Node, NodeKind, ScalarStyle, in_double_quotes};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB105",
    name: "cut_off_text",
    severity: Severity::Warning,
    summary: "a text for people that a comment cuts off",
    explanation: "\
In YAML, ' #' begins a comment, also in the middle of a text that is not in quotes: `name: See #relay-ops` is the name
'See'. Put the text in quotes; a template in such a comment is not evaluated. A comment that is meant as one has a space
after its '#'.",
};

/// The parameters whose texts are for people.
const FOR_PEOPLE: [&str; 3] = ["message", "note", "description"];

/// The words after which a text goes on.
const GOING_ON: &[&str] = &[
    "a", "an", "and", "at", "by", "channel", "for", "from", "in", "incident", "issue", "of", "on",
    "or", "pr", "see", "the", "ticket", "to", "via", "with",
];

/// The words that begin a comment although no space comes before them.
const NOTES: &[&str] =
    &["todo", "fixme", "xxx", "hack", "note", "noqa", "nosec", "nolint", "region", "endregion"];

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let text = analysis.source.text();
    let document = &analysis.document;
    let inputs = analysis.header().find(|(key, _)| key.text() == Some("inputs"));
    let inputs = inputs.and_then(|(_, inputs)| inputs.pairs()).unwrap_or_default();
    let of_inputs = inputs.iter().filter_map(|(_, input)| input.member("description"));
    let of_steps = document.steps.iter().flat_map(|step| {
        let parameters = FOR_PEOPLE.iter().filter_map(|name| step.with?.member(name));
        [step.name, step.description, step.log].into_iter().flatten().chain(parameters)
    });
    for node in document.description.into_iter().chain(of_inputs).chain(of_steps) {
        check_text(node, text, diagnostics);
    }
}

fn check_text(node: &Node, file: &str, diagnostics: &mut Diagnostics) {
    let NodeKind::Scalar { text, style: ScalarStyle::Plain } = &node.kind else { return };
    let Some(rest) = file.get(node.span.end..) else { return };
    let rest = rest.lines().next().unwrap_or_default();
    // A comment that is meant as one has a space after its '#', and mostly two before it.
    let Some(comment) = rest.strip_prefix(" #") else { return };
    let begins = comment.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '{');
    // A template in a comment is one that was meant to be in the text.
    if !begins || !comment.contains("{{") && !is_cut(text, comment) {
        return;
    }
    let start = node.span.end + 1;
    let whole = format!("{text} #{}", comment.trim_end());
    let message = "the text ends before this: ' #' begins a comment in YAML";
    let mut diagnostic =
        Diagnostic::new(&RULE, start..start + 1 + comment.trim_end().len(), message);
    diagnostic = match text.contains(['\n', '{']) {
        true => diagnostic.help("write the text in quotes"),
        false => diagnostic.help(format!("write it in quotes: {}", in_double_quotes(&whole))),
    };
    diagnostics.push(diagnostic);
}

/// Whether a text goes on in what YAML takes for a comment: it is not complete, or what comes is one word.
fn is_cut(text: &str, comment: &str) -> bool {
    let word_end = comment.find(|c: char| !is_of_word(c)).unwrap_or(comment.len());
    let word = comment.get(..word_end).unwrap_or_default().to_ascii_lowercase();
    if NOTES.contains(&word.as_str()) {
        return false;
    }
    let last = text.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let goes_on = GOING_ON.contains(&last.to_ascii_lowercase().as_str());
    let is_open = text.matches('(').count() > text.matches(')').count();
    let is_word = comment.trim_end().trim_end_matches(['.', ')', '!', '?']).len() == word_end;
    goes_on || is_open || text.ends_with([',', ':', '/', '-']) || is_word && text.contains(' ')
}

fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-_".contains(character)
}
