//! A possible secret in the runbook.

use std::ops::Range;

use super::super::analysis::ArgumentIssueKind;
use super::super::secrets::{self, Secret};
use super::super::types::Type;
use super::super::yaml::{Node, NodeKind, ScalarStyle};
use super::{Analysis, Diagnostic, Diagnostics, Rule, Severity};

pub(crate) const RULE: Rule = Rule {
    code: "RB058",
    name: "hardcoded_secret",
    severity: Severity::Warning,
    summary: "a possible secret in the runbook",
    explanation: "\
A runbook is read by many people, kept in version control, and copied into the journal of every run.
Credentials belong in the environment that the program runs in: an IAM role, a service account, a
kubeconfig.

Tokens are known by their shape (GitHub, GitLab, Slack, AWS, JSON web tokens, private keys), other values by the
word before them: password=, token=, api_key=, an Authorization header, a URL with a password. Comments count. A
template, and a placeholder such as <token> or ${TOKEN}, is none.",
};

pub(crate) fn check(analysis: &Analysis<'_>, diagnostics: &mut Diagnostics) {
    let mut found = secrets::find(analysis.source.text());
    for input in &analysis.document.inputs {
        if is_secret_name(input.name) && may_be_secret(&input.ty) {
            // A default that is the secret itself is the worse half of the mistake.
            if let Some(default) = input.default
                && let Some(text) = default.text()
            {
                if is_told(&found, default) {
                    continue;
                }
                // The default of a name: that of a Secret, or of a file.
                let is_plain = !secrets::names_password(input.name) && secrets::is_plain(text);
                if is_plain && text.contains(['-', '/']) {
                    continue;
                }
                if secrets::is_written_down(text) {
                    found.push(Secret { span: inside(default), kind: "a password or token" });
                    continue;
                }
            }
            let message = format!("the name of the input '{}' suggests a secret", input.name);
            let help = "inputs are written to the journal; use an IAM role or a service account";
            diagnostics.push(Diagnostic::new(&RULE, input.key.span.clone(), message).help(help));
        }
    }
    let asked = analysis.questions();
    for (name, span, _) in asked.filter(|(name, _, ty)| is_secret_name(name) && may_be_secret(ty)) {
        let message = format!("the name of the question '{name}' suggests a secret");
        let help = "answers are written to the journal; use an IAM role or a service account";
        diagnostics.push(Diagnostic::new(&RULE, span, message).help(help));
    }
    for step in &analysis.document.steps {
        if let Some(with) = step.with {
            named_values(with, &mut found);
        }
    }
    // A URL with a password is refused as such where one is called.
    let refused = analysis
        .argument_issues()
        .filter(|issue| matches!(issue.kind, ArgumentIssueKind::InvalidFormat { .. }))
        .map(|issue| issue.span.clone());
    // So is a Secret that is changed, with its values.
    let patches = analysis.objects().filter_map(|object| {
        object.kind.as_ref().ok().filter(|kind| kind.is_secret())?;
        Some(object.patch()?.span.clone())
    });
    let refused: Vec<Range<usize>> = refused.chain(patches).collect();
    let is_refused = |span: &Range<usize>| {
        refused.iter().any(|one| one.start <= span.start && span.end <= one.end)
    };
    for secret in found.into_iter().filter(|secret| !is_refused(&secret.span)) {
        let message = format!(
            "{} is written down here: everybody who reads the runbook can use it",
            secret.kind
        );
        diagnostics.push(Diagnostic::new(&RULE, secret.span, message).help(HELP));
    }
}

/// The remedy. The secret is known to others by now, so that removing it is not enough.
const HELP: &str =
    "revoke it, and let the program have its own from an IAM role, a service account or a Secret";

/// Finds the values of parameters and variables such as `DB_PASSWORD: …`.
fn named_values(node: &Node, found: &mut Vec<Secret>) {
    for (key, value) in node.pairs().unwrap_or_default() {
        let name = key.text().filter(|name| secrets::is_secret_word(name));
        let is_secret = name.zip(value.text()).is_some_and(|(name, value)| is_random(name, value));
        if is_secret && !is_told(found, value) {
            found.push(Secret { span: inside(value), kind: "a password or token" });
        }
        named_values(value, found);
    }
    for item in node.items().unwrap_or_default() {
        named_values(item, found);
    }
}

/// Whether a secret was found in a value.
fn is_told(found: &[Secret], value: &Node) -> bool {
    let mut found = found.iter();
    found.any(|secret| secret.span.start < value.span.end && value.span.start < secret.span.end)
}

/// Returns the place of a string without its quotes.
fn inside(value: &Node) -> Range<usize> {
    let is_quoted =
        matches!(&value.kind, NodeKind::Scalar { style, .. } if *style != ScalarStyle::Plain);
    let quote = usize::from(is_quoted);
    value.span.start + quote..value.span.end.saturating_sub(quote)
}

/// Whether the value of a name is no word or name, such as that of the Secret which has the password.
fn is_random(name: &str, value: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || b"-._/ ".contains(&byte);
    let is_name =
        value.contains('-') && value.bytes().all(|byte| is_plain(byte) || byte.is_ascii_digit());
    secrets::is_written_down(value)
        && !value.contains(char::is_whitespace)
        && !value.bytes().all(is_plain)
        && !is_name
        && !secrets::is_time(value)
        && (secrets::names_password(name) || !secrets::is_plain(value))
}

/// Whether values of a type can be secrets: a number is none, and neither is the name of an object.
fn may_be_secret(ty: &Type) -> bool {
    match ty.non_null() {
        Type::String(text) => text.syntax.is_none(),
        Type::List(of, _) | Type::Map(of, _) => may_be_secret(of),
        Type::Any => true,
        _ => false,
    }
}

/// Whether a name ends with a word for a secret: `token_ttl` and `secret_name` say something about one.
fn is_secret_name(name: &str) -> bool {
    /// The words that say no more than which secret it is.
    const ABOUT: [&str; 7] = ["value", "text", "old", "new", "hash", "json", "base64"];
    const WORDS: [&str; 8] =
        ["password", "passwd", "passphrase", "secret", "token", "apikey", "credential", "pwd"];
    /// Several tokens are more often a number of them, or pieces of a text.
    const SEVERAL: [&str; 3] = ["passwords", "secrets", "credentials"];
    const KEYS: [&str; 4] = ["api", "access", "private", "secret"];
    /// A pass of something else is one of several times.
    const PASS: [&str; 5] = ["db", "database", "user", "admin", "root"];
    let name = name.to_ascii_lowercase();
    let parts =
        name.rsplit(['_', '-']).map(|part| part.trim_end_matches(|c: char| c.is_ascii_digit()));
    let mut parts = parts.skip_while(|part| part.is_empty() || ABOUT.contains(part));
    let last = parts.next().unwrap_or_default();
    let before = parts.next().unwrap_or_default();
    WORDS.iter().chain(&SEVERAL).any(|word| last.ends_with(word))
        || last == "key" && KEYS.contains(&before)
        || last == "pass" && PASS.contains(&before)
}
