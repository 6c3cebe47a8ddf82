//! The bearer token of the service, in a file that may change while the service runs.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};

use crate::secret_file::{SecretFileError, read_secret};
use text::hex;

/// A token shorter than this can be guessed.
const MIN_LENGTH: usize = 16;

/// A token file that cannot be used. Its message never has a part of the token.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// The file cannot be read, or too many can read it.
    #[error("the token file cannot be used: {0}")]
    File(#[from] SecretFileError),
    /// The file has more than one line with text.
    #[error("the token file {path} has several lines: it must hold one token and nothing else")]
    SeveralLines {
        /// The file.
        path: String,
    },
    /// The token has characters that a header cannot carry.
    #[error("the token in {path} has spaces, control characters or characters that are not ASCII")]
    InvalidCharacters {
        /// The file.
        path: String,
    },
    /// The token is too short.
    #[error("the token in {path} is shorter than {MIN_LENGTH} characters, and could be guessed")]
    TooShort {
        /// The file.
        path: String,
    },
}

impl TokenFileError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::SeveralLines { .. } | Self::InvalidCharacters { .. } | Self::TooShort { .. } => {
                Some("make one with `(umask 077; openssl rand -hex 32 > FILE)`".into())
            }
        }
    }
}

/// Reads the token of a file: one line of visible ASCII, with or without a byte order mark and a line end.
///
/// # Errors
/// The file cannot be read, others can read it, or it does not hold one token.
pub fn read_token(path: &Path) -> Result<String, TokenFileError> {
    let bytes = read_secret(path)?;
    let path = || path.display().to_string();
    // Text that is not UTF-8, such as the UTF-16 of some editors, has no token either.
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| TokenFileError::InvalidCharacters { path: path() })?;
    let token = text.trim_start_matches('\u{feff}').trim();
    if token.contains(['\n', '\r']) {
        return Err(TokenFileError::SeveralLines { path: path() });
    }
    if !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(TokenFileError::InvalidCharacters { path: path() });
    }
    if token.len() < MIN_LENGTH {
        return Err(TokenFileError::TooShort { path: path() });
    }
    Ok(token.to_owned())
}

/// A token file. It is read for each request that carries a token.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    /// The hash of the token that the file held when it was last read; none while the file cannot be used.
    last: Mutex<Option<[u8; 32]>>,
}

impl TokenFile {
    /// Opens a token file.
    pub(super) fn open(path: &Path) -> Result<Self, TokenFileError> {
        let last = Mutex::new(Some(hash(&read_token(path)?)));
        Ok(Self { path: path.to_owned(), last })
    }

    /// Returns what a browser that has shown a token shows from then on. The token cannot be had from it.
    pub(super) fn session_of(token: &str) -> String {
        let digest = Sha256::new().chain_update("session of ").chain_update(token).finalize();
        hex(&digest)
    }

    /// Whether this is the session of a browser that has shown the token that the file holds now.
    ///
    /// # Errors
    /// As [`has_token`](Self::has_token).
    pub(super) fn has_session(&self, given: &str) -> Result<bool, TokenFileError> {
        let token = read_token(&self.path)?;
        // Hashes are compared, so that the time of the comparison tells nothing of the session.
        Ok(hash(given) == hash(&Self::session_of(&token)))
    }

    /// Whether this is the token that the file holds now.
    ///
    /// # Errors
    /// The file has changed and cannot be used any more. Then no token is accepted: the old one may have been revoked.
    pub(super) fn has_token(&self, given: &str) -> Result<bool, TokenFileError> {
        let current = read_token(&self.path).map(|token| hash(&token));
        // A change is one assignment: a panic leaves nothing half done.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != current.as_ref().ok().copied() {
            *last = current.as_ref().ok().copied();
            tracing::info!(path = %self.path.display(), "the token file has changed");
        }
        drop(last);
        // Hashes are compared, so that the time of the comparison tells nothing of the token.
        Ok(hash(given) == current?)
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn write(path: &Path, bytes: &[u8], mode: u32) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_token_is_one_line_of_visible_ascii() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let token = "correct-horse-battery";
        for text in [token.to_owned(), format!("{token}\r\n"), format!("\u{feff}{token}\n\n")] {
            write(&path, text.as_bytes(), 0o640);
            assert_eq!(read_token(&path).unwrap(), token, "{text:?}");
        }
        let utf_16: Vec<u8> =
            "\u{feff}correct-horse".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (text, expected) in [
            (format!("{token}\n{token}\n").as_bytes(), "several lines"),
            (b"correct horse battery", "spaces"),
            ("correct-horse-batt\u{e9}ry".as_bytes(), "not ASCII"),
            (&utf_16, "not ASCII"),
            (b"short", "shorter than 16"),
            (b"", "shorter than 16"),
        ] {
            write(&path, text, 0o600);
            let error = read_token(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("correct"), "{error}");
        }
    }

    #[test]
    fn a_token_that_every_user_can_read_or_replace_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for mode in [0o644, 0o602] {
            write(&path, b"correct-horse-battery", mode);
            let error = read_token(&path).unwrap_err();
            assert!(error.to_string().contains("every user"), "{error}");
            assert!(error.hint().unwrap().contains("chmod"));
        }
        let error = read_token(dir.path()).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }

    #[test]
    fn a_token_file_is_read_again_when_it_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        write(&path, b"correct-horse-battery", 0o600);
        let file = TokenFile::open(&path).unwrap();
        assert!(file.has_token("correct-horse-battery").unwrap());
        assert!(!file.has_token("another-horse-battery").unwrap());
        let other = dir.path().join("other");
        write(&other, b"another-horse-battery", 0o600);
        fs::rename(&other, &path).unwrap();
        assert!(!file.has_token("correct-horse-battery").unwrap());
        assert!(file.has_token("another-horse-battery").unwrap());
        fs::remove_file(&path).unwrap();
        assert!(file.has_token("another-horse-battery").is_err());
    }

    /// The file is written to in place, many times within a tick of the file system's clock.
    #[test]
    fn a_token_that_is_replaced_within_a_tick_is_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        write(&path, b"correct-horse-battery", 0o600);
        let file = TokenFile::open(&path).unwrap();
        for (current, other) in [
            ("another-horse-battery", "correct-horse-battery"),
            ("correct-horse-battery", "another-horse-battery"),
        ]
        .repeat(100)
        {
            write(&path, current.as_bytes(), 0o600);
            assert!(file.has_token(current).unwrap() && !file.has_token(other).unwrap());
        }
    }
}
