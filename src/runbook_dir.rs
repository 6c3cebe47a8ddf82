//! Where runbooks are looked up: a directory, and those that are compiled into the binary. It does not depend on what
//! is in them.

use std::{
    io,
    path::{Path, PathBuf},
};

use runbook::Source;

/// Runbooks that are compiled in, by name. A file of the same name in the directory comes first.
const BUILT_IN_RUNBOOKS: &[(&str, &str)] =
    &[("relay-scale", include_str!("../runbooks/relay-scale.yaml"))];

/// The extensions of a runbook's file.
const EXTENSIONS: [&str; 2] = ["yaml", "yml"];

/// A directory of runbooks.
#[derive(Debug, Clone)]
pub struct RunbookDir {
    dir: PathBuf,
}

/// Why a runbook was not found. `Display` is the message; [`hint`](Self::hint) is the remedy.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// No runbook has that name.
    #[error("runbook '{name}' not found in {dir}")]
    NotFound {
        /// The name that was asked for.
        name: String,
        /// The directory.
        dir: PathBuf,
        /// The known names.
        known: String,
    },
    /// Not a name.
    #[error("'{0}' is not a valid runbook name: letters, digits, '-' and '_' only")]
    InvalidName(String),
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    ReadFailed {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not text.
    #[error("{path} is not UTF-8: invalid UTF-8 at byte {offset}")]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Where, from 0.
        offset: usize,
    },
}

impl LookupError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { known, .. } => Some(format!("known runbooks: {known}")),
            Self::InvalidName(_) => Some("a path must end in .yaml or .yml".into()),
            Self::ReadFailed { .. } | Self::NotUtf8 { .. } => None,
        }
    }
}

impl RunbookDir {
    /// Returns the runbooks of a directory, which need not exist.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Returns every name, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            BUILT_IN_RUNBOOKS.iter().map(|(name, _)| (*name).into()).collect();
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        names.extend(entries.filter_map(|entry| runbook_name(&entry.path())));
        names.sort();
        names.dedup();
        names
    }

    /// Returns the runbook of that name: never a path, so that a name from a request cannot leave the directory.
    ///
    /// # Errors
    /// No such runbook, or it cannot be read.
    pub fn find(&self, name: &str) -> Result<Source, LookupError> {
        if !is_valid_name(name) {
            return Err(LookupError::InvalidName(name.chars().take(120).collect()));
        }
        for extension in EXTENSIONS {
            let path = self.dir.join(format!("{name}.{extension}"));
            match read(&path) {
                Err(LookupError::ReadFailed { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        let built_in = BUILT_IN_RUNBOOKS.iter().find(|(known, _)| *known == name);
        built_in.map(|(name, text)| Source::new(format!("{name}.yaml"), *text)).ok_or_else(|| {
            LookupError::NotFound {
                name: name.into(),
                dir: self.dir.clone(),
                known: self.names().join(", "),
            }
        })
    }

    /// Reads a path, or finds a name.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn find_or_read(&self, text: &str) -> Result<Source, LookupError> {
        let is_path =
            text.contains('/') || EXTENSIONS.iter().any(|e| text.ends_with(&format!(".{e}")));
        if is_path { read(Path::new(text)) } else { self.find(text) }
    }
}

/// Reads a runbook's file.
///
/// # Errors
/// It cannot be read, or is not text.
pub fn read(path: &Path) -> Result<Source, LookupError> {
    let bytes = std::fs::read(path)
        .map_err(|source| LookupError::ReadFailed { path: path.to_owned(), source })?;
    let text = String::from_utf8(bytes).map_err(|error| LookupError::NotUtf8 {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })?;
    Ok(Source::new(path.display().to_string(), text))
}

fn is_valid_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=120).contains(&text.len()) && text.chars().all(allowed)
}

fn runbook_name(path: &Path) -> Option<String> {
    let extension = path.extension()?.to_str()?;
    EXTENSIONS.contains(&extension).then(|| path.file_stem()?.to_str().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_directory() {
        let runbook_dir = RunbookDir::new("runbooks");
        for name in ["../Cargo", "a/b", "", ".", "relay scale"] {
            assert!(matches!(runbook_dir.find(name), Err(LookupError::InvalidName(_))), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = RunbookDir::new("/nowhere").find("relay-scael").unwrap_err();
        assert_eq!(error.to_string(), "runbook 'relay-scael' not found in /nowhere");
        assert_eq!(error.hint().unwrap(), "known runbooks: relay-scale");
    }
}
