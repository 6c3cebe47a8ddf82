//! A possible secret in the runbook.

use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB058",
    name: "hardcoded_secret",
    severity: Severity::Warning,
    summary: "a possible secret in the runbook",
    explanation: "\
A runbook is read by many people, kept in version control, and copied into the journal of every run.
Credentials belong in the environment that the program runs in: an IAM role, a service account, a
kubeconfig.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    for input in &analysis.document.inputs {
        if is_secret_name(input.name) {
            let message = format!("the name of the input '{}' suggests a secret", input.name);
            let help = "inputs are written to the journal; use an IAM role or a service account";
            diagnostics.push(Diagnostic::new(&RULE, input.key.span.clone(), message).help(help));
        }
    }
    for text in analysis.source.text().match_indices(KEY_ID) {
        let start = text.0;
        if let Some(end) = key_id_end(analysis.source.text(), start) {
            let message = "possible AWS access key";
            diagnostics.push(Diagnostic::new(&RULE, start..end, message));
        }
    }
    for (start, text) in analysis.source.text().match_indices("-----BEGIN ") {
        let rest = &analysis.source.text()[start..];
        if rest.lines().next().is_some_and(|line| line.contains("PRIVATE KEY-----")) {
            let message = "possible private key";
            diagnostics.push(Diagnostic::new(&RULE, start..start + text.len(), message));
        }
    }
}

/// The prefix of long-lived AWS access key ids, which are 20 characters long.
const KEY_ID: &str = "AKIA";
const KEY_ID_LENGTH: usize = 20;

fn key_id_end(text: &str, start: usize) -> Option<usize> {
    let is_part = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    let length = text[start..].bytes().take_while(|b| is_part(*b)).count();
    let alone = start == 0 || !text.as_bytes()[start - 1].is_ascii_alphanumeric();
    (length == KEY_ID_LENGTH && alone).then_some(start + length)
}

fn is_secret_name(name: &str) -> bool {
    const WORDS: [&str; 6] = ["password", "passwd", "secret", "token", "apikey", "credential"];
    let joined: String = name.chars().filter(|c| *c != '_').collect();
    WORDS.iter().any(|word| joined.contains(word))
}
