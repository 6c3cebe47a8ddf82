//! The secrets of a webhook: the key by which its messages are signed, and the headers that only it is sent. They are
//! in files, by the rules of every file with a secret, and are read for each attempt.

use std::path::Path;

use crate::secret_file::{SecretFileError, read_secret};

use super::signature::{SigningKey, SigningKeyError};

/// How many headers a file may have.
const MAX_HEADERS: usize = 32;
/// The headers that are this program's to send.
const RESERVED: [&str; 8] = [
    "content-type",
    "content-length",
    "host",
    "transfer-encoding",
    "connection",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

/// The secrets of a webhook.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// The key, if messages are signed.
    pub(super) key: Option<SigningKey>,
    /// Names and values.
    pub(super) headers: Vec<(String, String)>,
}

/// The reason why the secrets of a webhook cannot be used. It holds none of them.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read, or may be read by everybody.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The key is not valid.
    #[error("{path}: {error}")]
    Key {
        /// The file.
        path: String,
        /// Why.
        #[source]
        error: SigningKeyError,
    },
    /// A line of the headers is not valid.
    #[error("{path}: line {line} {problem}")]
    Header {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// The problem.
        problem: &'static str,
    },
}

impl CredentialsError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Key { path, .. } => Some(format!(
                "write one: (umask 077; echo whsec_$(head -c 32 /dev/urandom | base64) > {path})"
            )),
            Self::Header { .. } => Some("a line is: Authorization: Bearer TOKEN".to_owned()),
        }
    }
}

impl Credentials {
    /// Reads the files.
    pub(super) fn read(
        secret_file: Option<&Path>,
        headers_file: Option<&Path>,
    ) -> Result<Self, CredentialsError> {
        let mut credentials = Self::default();
        if let Some(path) = secret_file {
            let text = read_secret(path)?;
            let key = SigningKey::parse(&text).map_err(|error| CredentialsError::Key {
                path: path.display().to_string(),
                error,
            })?;
            credentials.key = Some(key);
        }
        if let Some(path) = headers_file {
            let text = read_secret(path)?;
            credentials.headers = headers(&text).map_err(|(line, problem)| {
                CredentialsError::Header { path: path.display().to_string(), line, problem }
            })?;
        }
        Ok(credentials)
    }
}

/// Returns the headers of a file, or the line that is not valid and what is wrong with it.
fn headers(text: &[u8]) -> Result<Vec<(String, String)>, (usize, &'static str)> {
    let text = std::str::from_utf8(text).map_err(|_| (1, "is not UTF-8"))?;
    let mut headers = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim().is_empty() {
            continue;
        }
        let (name, value) = text.split_once(':').ok_or((line, "has no colon"))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(is_token) {
            return Err((line, "has no valid name of a header"));
        }
        if RESERVED.contains(&name.as_str()) {
            return Err((line, "names a header that this program sends itself"));
        }
        if !value.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
            return Err((line, "has a value with other characters than those of ASCII"));
        }
        headers.push((name, value.to_owned()));
    }
    match headers.len() > MAX_HEADERS {
        true => Err((MAX_HEADERS + 1, "is one header too many")),
        false => Ok(headers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_line_by_line() {
        let found = headers(b"Authorization: Bearer a:b\n\nX-Team: sre\n").unwrap();
        let expected = [("authorization", "Bearer a:b"), ("x-team", "sre")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for (text, line) in [
            ("a: b\nno colon", 2),
            (": x", 1),
            ("a b: c", 1),
            ("Content-Type: text/html", 1),
            ("a: \u{1}", 1),
        ] {
            assert_eq!(headers(text.as_bytes()).unwrap_err().0, line, "{text}");
        }
    }
}
