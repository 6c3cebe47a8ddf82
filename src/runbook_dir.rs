//! Where runbooks are kept: a folder, and those that are compiled into the binary. Knows nothing of what is in them.

use std::{
    io,
    path::{Path, PathBuf},
};

use runbook::Source;

/// Runbooks that are compiled in, by name. A file of the same name in the folder comes first.
const BUILT_IN: &[(&str, &str)] = &[("relay-scale", include_str!("../runbooks/relay-scale.yaml"))];

/// The endings of a runbook's file.
const ENDINGS: [&str; 2] = ["yaml", "yml"];

/// A folder of runbooks.
#[derive(Debug, Clone)]
pub struct RunbookDir {
    folder: PathBuf,
}

/// Why a runbook could not be taken from the shelf.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// There is none of that name.
    #[error("there is no runbook '{name}' in {folder}; there is: {known}")]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The folder.
        folder: PathBuf,
        /// The names that there are.
        known: String,
    },
    /// Not a name.
    #[error(
        "'{0}' is not a runbook's name: letters, digits, '-' and '_' only (a path must end in .yaml or .yml)"
    )]
    NotAName(String),
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not text.
    #[error("{path} is not UTF-8: the byte at offset {offset} begins no character")]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where, from 0.
        offset: usize,
    },
}

impl RunbookDir {
    /// The shelf at a folder. The folder need not exist.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Every name, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = BUILT_IN.iter().map(|(name, _)| (*name).into()).collect();
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        names.extend(entries.filter_map(|entry| name_of(&entry.path())));
        names.sort();
        names.dedup();
        names
    }

    /// The runbook of that name. Only a name: never a path, so that a name from a request cannot leave the folder.
    ///
    /// # Errors
    /// No such runbook, or it cannot be read.
    pub fn by_name(&self, name: &str) -> Result<Source, LookupError> {
        if !is_name(name) {
            return Err(LookupError::NotAName(name.chars().take(120).collect()));
        }
        for ending in ENDINGS {
            let path = self.folder.join(format!("{name}.{ending}"));
            match read(&path) {
                Err(LookupError::Unreadable { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        built_in.map(|(name, text)| Source::new(format!("{name}.yaml"), *text)).ok_or_else(|| {
            LookupError::Unknown {
                name: name.into(),
                folder: self.folder.clone(),
                known: self.names().join(", "),
            }
        })
    }

    /// A path is a path; anything else is a name.
    ///
    /// # Errors
    /// As [`by_name`](Self::by_name).
    pub fn by_name_or_path(&self, text: &str) -> Result<Source, LookupError> {
        let is_path =
            text.contains('/') || ENDINGS.iter().any(|e| text.ends_with(&format!(".{e}")));
        if is_path { read(Path::new(text)) } else { self.by_name(text) }
    }
}

/// Reads a runbook's file.
///
/// # Errors
/// It cannot be read, or is not text.
pub fn read(path: &Path) -> Result<Source, LookupError> {
    let bytes = std::fs::read(path)
        .map_err(|source| LookupError::Unreadable { path: path.to_owned(), source })?;
    let text = String::from_utf8(bytes).map_err(|error| LookupError::NotText {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })?;
    Ok(Source::new(path.display().to_string(), text))
}

fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=120).contains(&text.len()) && text.chars().all(allowed)
}

fn name_of(path: &Path) -> Option<String> {
    let ending = path.extension()?.to_str()?;
    ENDINGS.contains(&ending).then(|| path.file_stem()?.to_str().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_folder() {
        let shelf = RunbookDir::at("runbooks");
        for name in ["../Cargo", "a/b", "", ".", "relay scale"] {
            assert!(matches!(shelf.by_name(name), Err(LookupError::NotAName(_))), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = RunbookDir::at("/nowhere").by_name("relay-scael").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no runbook 'relay-scael' in /nowhere; there is: relay-scale"
        );
    }
}
