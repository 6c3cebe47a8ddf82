//! Finds what looks like a secret in a text: tokens by their shape, and values by the word before them. It is careful:
//! a digest, a commit, a UUID, a template or a placeholder is no secret.

use std::ops::Range;

/// A possible secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    /// The bytes of the secret itself, without the word before it.
    pub(crate) span: Range<usize>,
    /// The kind with its article, such as "a GitHub token".
    pub(crate) kind: &'static str,
}

/// The shape of a token that begins with a known prefix.
struct Shape {
    prefix: &'static str,
    /// The number of characters after the prefix: the least, and the most.
    lengths: (usize, usize),
    characters: fn(u8) -> bool,
    kind: &'static str,
}

/// The longest first line of a private key.
const MAX_TITLE: usize = 100;

/// How a private key begins.
const BEGIN: &str = "-----BEGIN ";

/// How the address of a webhook begins, without its scheme.
const HOOKS: &str = "hooks.slack.com/services/";

/// The most secrets that are looked for.
const MAX_FOUND: usize = 1_000;

/// The longest value after a word.
const MAX_VALUE: usize = 512;

/// The farthest that the end of a secret is looked for.
const MAX_LENGTH: usize = 16 * 1024;

const ANY_LENGTH: usize = usize::MAX;

/// The shapes of tokens. Real ones are longer than the least length, so that one that was shortened is found too.
const SHAPES: &[Shape] = &[
    shape("ghp_", (20, ANY_LENGTH), alphanumeric, "a GitHub token"),
    shape("gho_", (20, ANY_LENGTH), alphanumeric, "a GitHub token"),
    shape("ghu_", (20, ANY_LENGTH), alphanumeric, "a GitHub token"),
    shape("ghs_", (20, ANY_LENGTH), alphanumeric, "a GitHub token"),
    shape("ghr_", (20, ANY_LENGTH), alphanumeric, "a GitHub token"),
    shape("github_pat_", (20, ANY_LENGTH), word, "a GitHub token"),
    shape("glpat-", (16, ANY_LENGTH), word_or_dash, "a GitLab token"),
    shape("xoxa-", (10, ANY_LENGTH), word_or_dash, "a Slack token"),
    shape("xoxb-", (10, ANY_LENGTH), word_or_dash, "a Slack token"),
    shape("xoxp-", (10, ANY_LENGTH), word_or_dash, "a Slack token"),
    shape("xoxr-", (10, ANY_LENGTH), word_or_dash, "a Slack token"),
    shape("xoxs-", (10, ANY_LENGTH), word_or_dash, "a Slack token"),
    shape("xapp-", (10, ANY_LENGTH), word_or_dash, "a Slack token"),
    shape("sk_live_", (16, ANY_LENGTH), alphanumeric, "a Stripe key"),
    shape("rk_live_", (16, ANY_LENGTH), alphanumeric, "a Stripe key"),
    shape("sk_test_", (16, ANY_LENGTH), alphanumeric, "a Stripe key"),
    shape("npm_", (36, 36), alphanumeric, "an npm token"),
    shape("AIza", (35, 35), word_or_dash, "a Google API key"),
    shape("AKIA", (16, 16), capital_or_digit, "an AWS access key"),
    shape("ASIA", (16, 16), capital_or_digit, "an AWS access key"),
];

const fn shape(
    prefix: &'static str,
    lengths: (usize, usize),
    characters: fn(u8) -> bool,
    kind: &'static str,
) -> Shape {
    Shape { prefix, lengths, characters, kind }
}

/// The ends of names whose value is a secret, as in `DB_PASSWORD=…`.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "token",
    "api_key",
    "api-key",
    "apikey",
    "secret_key",
    "secret_access_key",
    "client_secret",
    "session_token",
];

/// Returns the possible secrets of a text, in order. No two of them overlap.
pub(crate) fn find(text: &str) -> Vec<Secret> {
    let mut found = Found { text, secrets: Vec::new() };
    let candidates = Candidates::of(text);
    // What is more specific comes first.
    candidates.specific.iter().for_each(|at| found.specific(*at));
    candidates.lines.iter().for_each(|line| found.line(line.clone()));
    found.secrets.sort_by_key(|secret| secret.span.start);
    found.secrets
}

/// The places of a text that are worth to be read closely: most of it is passed once and quickly.
struct Candidates {
    /// Where a token of a known shape may begin.
    specific: Vec<usize>,
    /// The lines with a word that a secret comes after.
    lines: Vec<Range<usize>>,
}

impl Candidates {
    fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let begins = |at: usize, word: &str| bytes[at..].starts_with(word.as_bytes());
        let is_word = |at: usize, word: &str| {
            let found = bytes.get(at..at + word.len());
            found.is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
        };
        let mut candidates = Self { specific: Vec::new(), lines: Vec::new() };
        let (mut line, mut is_candidate) = (0, false);
        for (at, byte) in bytes.iter().enumerate() {
            let is_specific = match byte {
                b'g' => begins(at, "gh") || begins(at, "glpat-") || begins(at, "github_pat_"),
                b'x' => begins(at, "xox") || begins(at, "xapp-"),
                b's' => begins(at, "sk_live_") || begins(at, "sk_test_"),
                b'r' => begins(at, "rk_live_"),
                b'n' => begins(at, "npm_"),
                b'A' => begins(at, "AKIA") || begins(at, "ASIA") || begins(at, "AIza"),
                b'e' => begins(at, "eyJ"),
                b'h' => begins(at, HOOKS),
                b'-' => begins(at, BEGIN),
                _ => false,
            };
            if is_specific {
                candidates.specific.push(at);
            }
            is_candidate |= match byte {
                b'=' => at > 0 && word(bytes[at - 1]),
                b':' => begins(at, "://"),
                b'B' => begins(at, "Bearer "),
                b'a' | b'A' => is_word(at, "authorization"),
                b's' | b'S' => {
                    is_word(at, "secret")
                        || is_word(at, "session_token")
                        || is_word(at, "security_token")
                }
                _ => false,
            };
            if *byte == b'\n' || at + 1 == bytes.len() {
                if is_candidate {
                    candidates.lines.push(line..at + 1);
                }
                (line, is_candidate) = (at + 1, false);
            }
        }
        candidates
    }
}

/// Whether a name ends in a word whose value is a secret.
pub(crate) fn is_secret_word(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| {
        // Some have no separator: PGPASSWORD.
        let is_whole = word.starts_with("pass");
        let before = name.strip_suffix(word);
        before.is_some_and(|before| {
            is_whole || before.is_empty() || before.ends_with(['_', '-', '.'])
        })
    })
}

/// Whether the value of a name is chosen by a person.
pub(crate) fn names_password(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("pass") || name.ends_with("pwd")
}

/// Whether a value is a word, a name, a number or a time, as no random one is.
pub(crate) fn is_plain(value: &str) -> bool {
    let (first, rest) = value.split_at(value.floor_char_boundary(1));
    let is_word = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
    is_number
        || is_time(value)
        || first.bytes().all(|byte| byte.is_ascii_alphabetic()) && rest.bytes().all(is_word)
}

/// Whether a value begins with a date: `2026-11-28`.
pub(crate) fn is_time(value: &str) -> bool {
    let bytes = value.as_bytes();
    let is_digits = |place: std::ops::Range<usize>| {
        bytes.get(place).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    is_digits(0..4) && is_digits(5..7) && bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-')
}

/// Whether a value of a secret name is written down: neither a template nor a placeholder.
pub(crate) fn is_written_down(value: &str) -> bool {
    const WORDS: &[&str] = &[
        "redacted",
        "placeholder",
        "none",
        "null",
        "true",
        "false",
        "optional",
        "string",
        "required",
    ];
    const LEAST: usize = 4;
    let starts_like_one =
        value.starts_with(['{', '$', '<', '%', '[', '*', '/', '.', '~', '(', '!', '&']);
    let lower = value.to_ascii_lowercase();
    let first = value.chars().next();
    let repeats = value.chars().all(|character| Some(character) == first);
    value.len() >= LEAST
        && value.is_ascii()
        && !starts_like_one
        && !repeats
        && !value.contains("{{")
        && !value.contains("${")
        && !value.contains('<')
        && !value.contains("...")
        && !WORDS.contains(&lower.as_str())
        && !lower.starts_with("your")
}

struct Found<'t> {
    text: &'t str,
    secrets: Vec<Secret>,
}

impl Found<'_> {
    /// Adds a secret, unless a more specific one is there. A hostile text has no more than are ever shown.
    fn add(&mut self, span: Range<usize>, kind: &'static str) {
        let overlaps =
            |secret: &Secret| secret.span.start < span.end && span.start < secret.span.end;
        if self.secrets.len() < MAX_FOUND && !self.secrets.iter().any(overlaps) {
            self.secrets.push(Secret { span, kind });
        }
    }

    /// Finds the secret of a known shape that may begin at a position.
    fn specific(&mut self, at: usize) {
        if self.secrets.len() >= MAX_FOUND {
            return;
        }
        match self.text.as_bytes().get(at) {
            Some(b'-') => self.private_key(at),
            Some(b'e') => self.web_token(at),
            Some(b'h') => self.slack_hook(at),
            _ => {
                let rest = &self.text[at..];
                let shape = SHAPES.iter().find(|shape| rest.starts_with(shape.prefix));
                if let Some(shape) = shape {
                    self.token(at, shape);
                }
            }
        }
    }

    /// Finds a private key of any kind, from the first line to the last.
    fn private_key(&mut self, start: usize) {
        const END: &str = "-----END ";
        let text = self.text;
        let rest = &text[start + BEGIN.len()..text.floor_char_boundary(start + MAX_TITLE)];
        let title = rest.lines().next().and_then(|line| line.split("-----").next());
        let Some(title) = title.filter(|title| title.contains("PRIVATE KEY")) else { return };
        let head = start + BEGIN.len() + title.len();
        let last = format!("{END}{title}-----");
        let body = &text[head..text.floor_char_boundary(head + MAX_LENGTH)];
        let end = match body.find(&last) {
            Some(at) => head + at + last.len(),
            None => text.floor_char_boundary(head + "-----".len()),
        };
        self.add(start..end, "a private key");
    }

    fn token(&mut self, start: usize, shape: &Shape) {
        let text = self.text;
        if before(text, start).is_some_and(word_or_dash) {
            return;
        }
        let from = start + shape.prefix.len();
        let length = run(text, from, shape.characters);
        let after = text.as_bytes().get(from + length);
        let ends = shape.lengths.1 == ANY_LENGTH || !after.is_some_and(|byte| word(*byte));
        let (least, most) = shape.lengths;
        let body = &text[from..from + length];
        if ends && (least..=most).contains(&length) && is_written_down(body) {
            self.add(start..from + length, shape.kind);
        }
    }

    /// Finds a JSON web token: three parts of base64url, of which the first begins with `{"`.
    fn web_token(&mut self, start: usize) {
        const LEAST: usize = 8;
        let text = self.text;
        if before(text, start).is_some_and(word_or_dash) {
            return;
        }
        let mut at = start;
        let mut parts = 0;
        loop {
            let length = run(text, at, word_or_dash);
            if length < LEAST {
                return;
            }
            parts += 1;
            at += length;
            if parts == 3 {
                return self.add(start..at, "a JSON web token");
            }
            if text.as_bytes().get(at) != Some(&b'.') {
                return;
            }
            at += 1;
        }
    }

    /// Finds the address of one of Slack's incoming webhooks, which is a secret as a whole.
    fn slack_hook(&mut self, at: usize) {
        const SCHEME: &str = "https://";
        const LEAST: usize = 6;
        let text = self.text;
        let from = at + HOOKS.len();
        let length = run(text, from, |byte| alphanumeric(byte) || byte == b'/');
        let path = &text[from..from + length];
        let parts: Vec<&str> = path.split('/').collect();
        if parts.len() == 3 && parts.iter().all(|part| part.len() >= LEAST) {
            let start = if text[..at].ends_with(SCHEME) { at - SCHEME.len() } else { at };
            self.add(start..from + length, "the address of a Slack webhook");
        }
    }

    /// Finds what is a secret in a line because of the words before it.
    fn line(&mut self, place: Range<usize>) {
        let start = place.start;
        let line = &self.text[place];
        self.assignments(line, start);
        self.authorization(line, start);
        self.bearer(line, start);
        self.urls(line, start);
        self.aws_secrets(line, start);
    }

    /// Finds `password=…` and the like.
    fn assignments(&mut self, line: &str, start: usize) {
        let mut next = 0;
        for (at, _) in line.match_indices('=') {
            if at < next {
                continue; // a part of the value before
            }
            let name_length =
                line.as_bytes()[..at].iter().rev().take_while(|b| word_or_dash(**b)).count();
            if !is_secret_word(&line[at - name_length..at]) {
                continue;
            }
            let mut from = at + 1;
            if let Some(quote @ (b'\'' | b'"')) = line.as_bytes().get(from) {
                // A quote that opens, and not the one that ends the text around.
                let rest = &line.as_bytes()[from + 1..];
                if !rest.iter().take(MAX_VALUE).any(|byte| byte == quote) {
                    continue;
                }
                from += 1;
            }
            let end = from + run(line, from, is_part_of_value);
            next = end;
            let value = line[from..end].trim_end_matches(['.', ':']);
            // A password may be a word; a token is random.
            let name = &line[at - name_length..at];
            let is_random = names_password(name) || !is_plain(value);
            if is_written_down(value) && is_random && !value.starts_with('=') {
                self.add(start + from..start + from + value.len(), "a password or token");
            }
        }
    }

    /// Finds the values of `Authorization` headers.
    fn authorization(&mut self, line: &str, start: usize) {
        let lower = line.to_ascii_lowercase();
        for (at, header) in lower.match_indices("authorization") {
            let rest = &lower[at + header.len()..];
            let gap = rest.bytes().take_while(|byte| b":='\" ,".contains(byte)).count();
            let scheme =
                ["bearer ", "basic ", "token "].into_iter().find(|s| rest[gap..].starts_with(s));
            let Some(scheme) = scheme.filter(|_| gap > 0) else { continue };
            let from = at + header.len() + gap + scheme.len();
            let value = &line[from..from + run(line, from, is_credential)];
            let is_word = value.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            if is_written_down(value) && !is_word {
                self.add(start + from..start + from + value.len(), "the credentials of a request");
            }
        }
    }

    /// Finds a bearer token that is long and random enough to be one without the name of its header.
    fn bearer(&mut self, line: &str, start: usize) {
        const LEAST: usize = 16;
        for (at, scheme) in line.match_indices("Bearer ") {
            let from = at + scheme.len();
            let value = &line[from..from + run(line, from, is_credential)];
            let is_random = value.bytes().any(|byte| byte.is_ascii_digit());
            if value.len() >= LEAST && is_random && is_written_down(value) {
                self.add(start + from..start + from + value.len(), "the credentials of a request");
            }
        }
    }

    /// Finds the user and the password of a URL.
    fn urls(&mut self, line: &str, start: usize) {
        for (at, mark) in line.match_indices("://") {
            let from = at + mark.len();
            let authority = &line[from..];
            let end = authority.find(|c: char| c.is_whitespace() || "/?#'\"`,<>()[]".contains(c));
            let authority = &authority[..end.unwrap_or(authority.len())];
            let Some((user, host)) = authority.rsplit_once('@') else { continue };
            let Some((_, password)) = user.split_once(':').filter(|_| !host.is_empty()) else {
                continue;
            };
            if is_written_down(password) && !user.contains('{') && !user.contains('$') {
                self.add(start + from..start + from + user.len(), "the password of a URL");
            }
        }
    }

    /// Finds secret access keys and session tokens of AWS, which have no prefix of their own.
    fn aws_secrets(&mut self, line: &str, start: usize) {
        const KEY_LENGTH: usize = 40;
        const LEAST_TOKEN: usize = 80;
        let lower = line.to_ascii_lowercase();
        let Some(named) =
            ["secret", "session_token", "security_token"].iter().find_map(|w| lower.find(w))
        else {
            return;
        };
        let mut at = named;
        while at < line.len() {
            let length = run(line, at, is_base64);
            let value = &line[at..at + length];
            let mixed = value.bytes().any(|byte| byte.is_ascii_lowercase())
                && value.bytes().any(|byte| byte.is_ascii_uppercase())
                && value.bytes().any(|byte| byte.is_ascii_digit() || byte == b'/' || byte == b'+');
            if mixed && length == KEY_LENGTH {
                self.add(start + at..start + at + length, "an AWS secret access key");
            } else if mixed && length >= LEAST_TOKEN && lower.contains("_token") {
                self.add(start + at..start + at + length, "an AWS session token");
            }
            at += length;
            at += line[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
}

/// Returns how many bytes from a position on are of a kind.
fn run(text: &str, from: usize, is_part: fn(u8) -> bool) -> usize {
    let bytes = text.as_bytes().get(from..).unwrap_or_default();
    bytes.iter().take_while(|byte| is_part(**byte)).count()
}

fn before(text: &str, at: usize) -> Option<u8> {
    text.as_bytes().get(at.checked_sub(1)?).copied()
}

fn alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn word_or_dash(byte: u8) -> bool {
    word(byte) || byte == b'-'
}

fn capital_or_digit(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/".contains(&byte)
}

fn is_credential(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._~+/=-".contains(&byte)
}

fn is_part_of_value(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"'\"`&;,)}]".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&str, &'static str)> {
        find(text).into_iter().map(|secret| (&text[secret.span], secret.kind)).collect()
    }

    #[test]
    fn secrets_are_found_as_a_whole() {
        for (text, secret, kind) in [
            (
                "a: ghp_16C7e42F292c6912E7710c838347Ae178B4a",
                "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
                "a GitHub token",
            ),
            ("# old: glpat-Xy12Ab34Cd56Ef78Gh90", "glpat-Xy12Ab34Cd56Ef78Gh90", "a GitLab token"),
            ("x xoxb-123456789012-abcdefABCDEF", "xoxb-123456789012-abcdefABCDEF", "a Slack token"),
            (
                "u: https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
                "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
                "the address of a Slack webhook",
            ),
            (
                "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP-mB92K27",
                "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP-mB92K27",
                "a JSON web token",
            ),
            ("k: ASIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE", "an AWS access key"),
            (
                "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                "an AWS secret access key",
            ),
            ("psql 'host=db password=hunter2 x'", "hunter2", "a password or token"),
            ("url: http://a.b/c?api_key=abc123&d=e", "abc123", "a password or token"),
            ("'Authorization: Basic dXNlcjpwYXNz'", "dXNlcjpwYXNz", "the credentials of a request"),
            ("h: Bearer abcdef1234567890", "abcdef1234567890", "the credentials of a request"),
            ("url: https://admin:s3cret@db.example.com/x", "admin:s3cret", "the password of a URL"),
            (
                "|\n  -----BEGIN RSA PRIVATE KEY-----\n  MIIE\n  -----END RSA PRIVATE KEY-----\n",
                "-----BEGIN RSA PRIVATE KEY-----\n  MIIE\n  -----END RSA PRIVATE KEY-----",
                "a private key",
            ),
        ] {
            assert_eq!(found(text), [(secret, kind)], "{text}");
        }
    }

    #[test]
    fn what_only_resembles_one_is_none() {
        for text in [
            "image: a@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "# secret of commit da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "id: 123e4567-e89b-12d3-a456-426614174000",
            "nodes: [i-0123456789abcdef0]",
            "arn:aws:secretsmanager:us-west-2:123456789012:secret:Relay-a1b2c3",
            "password={{ inputs.password }}",
            "curl -d token=<token> -d password=${PASSWORD} -d pwd=$PWD -d api_key=xxxxxxxx",
            "Authorization: Bearer <token>",
            "Authorization: Bearer {{ x.y }}",
            "# Authorization: Bearer authentication is used",
            "https://user:<password>@host https://{{ a }}:{{ b }}@host http://[::1]:80/",
            "when: \"{{ inputs.token == 'abcd' }}\"",
            "a: ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "base64: d29ybGQ= aGVsbG8gd29ybGQ=",
            "git@github.com:a/b.git ssh://git@github.com/a/b",
            "# eyJ is how a token begins; -----BEGIN CERTIFICATE----- is public",
            "selector: app=relay,tier!=token",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }
}
