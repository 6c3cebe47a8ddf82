//! Files with a certificate, a key or a token, which must not be readable for every user. They are short, and are read
//! anew for each use: a file that is written twice within a tick of the file system's clock has the same times, and may
//! have the same length.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

/// Why a file that holds a secret is not used.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    ReadFailed {
        /// The file.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The path leads to a directory, a pipe or a device.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// The file.
        path: String,
    },
    /// The file is longer than any file of its kind.
    #[error("{path} is longer than {MAX_BYTES} bytes")]
    TooLong {
        /// The file.
        path: String,
    },
    /// Every user of the machine may read or write the file.
    #[error("{path} can be read or written by every user of this machine (mode {mode:04o})")]
    OpenToAll {
        /// The file.
        path: String,
        /// Its permissions.
        mode: u32,
    },
}

/// A chain of certificates is the longest file that is read here.
const MAX_BYTES: u64 = 256 * 1024;

impl SecretFileError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::OpenToAll { path, .. } => Some(format!(
                "`chmod 640 {path}` or stricter; for a volume of a Secret set `defaultMode: 0440`, and `fsGroup`"
            )),
            Self::ReadFailed { .. } | Self::NotAFile { .. } | Self::TooLong { .. } => None,
        }
    }
}

/// Reads a file that only its owner and its group may read.
///
/// # Errors
/// The file cannot be read, is not a regular one, is too long, or can be read by every user.
pub fn read_secret(path: &Path) -> Result<Vec<u8>, SecretFileError> {
    read(path, true)
}

/// Reads a file that everyone may read.
///
/// # Errors
/// The file cannot be read, is not a regular one, or is too long.
pub fn read_public(path: &Path) -> Result<Vec<u8>, SecretFileError> {
    read(path, false)
}

fn read(path: &Path, is_secret: bool) -> Result<Vec<u8>, SecretFileError> {
    let name = || path.display().to_string();
    let failed = |source| SecretFileError::ReadFailed { path: name(), source };
    // Before the file is opened: to open a pipe would wait for its writer.
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(SecretFileError::NotAFile { path: name() });
    }
    if metadata.len() > MAX_BYTES {
        return Err(SecretFileError::TooLong { path: name() });
    }
    let mode = metadata.mode() & 0o777;
    if is_secret && mode & 0o006 != 0 {
        return Err(SecretFileError::OpenToAll { path: name(), mode });
    }
    fs::read(path).map_err(failed)
}
