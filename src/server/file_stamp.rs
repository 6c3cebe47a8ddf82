//! Whether a file has changed since it was read, and whether others may read it.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

/// A file as it was when it was read. A file that was replaced or written to since has another stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// Returns the stamp of the file that the path leads to.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::of(&metadata))
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

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
pub(super) fn read_secret(path: &Path) -> Result<(Vec<u8>, FileStamp), SecretFileError> {
    read(path, true)
}

/// Reads a file that everyone may read.
pub(super) fn read_public(path: &Path) -> Result<(Vec<u8>, FileStamp), SecretFileError> {
    read(path, false)
}

fn read(path: &Path, is_secret: bool) -> Result<(Vec<u8>, FileStamp), SecretFileError> {
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
    // A file that is replaced in between has another stamp, and is read again.
    Ok((fs::read(path).map_err(failed)?, FileStamp::of(&metadata)))
}
