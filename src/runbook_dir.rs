//! Where runbooks are looked up: a directory, and those that are compiled into the binary. It does not depend on what
//! is in them.

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
};

use runbook::{BUILT_IN_RUNBOOKS, Library, MissingRunbook, Source};

/// The extensions of a runbook's file.
const EXTENSIONS: [&str; 2] = ["yaml", "yml"];

/// The directory that is used where none is named. It need not exist.
const DEFAULT_DIR: &str = "runbooks";

/// A directory of runbooks.
#[derive(Debug, Clone)]
pub struct RunbookDir {
    dir: PathBuf,
    /// Whether the caller named the directory. Then the built-in runbooks do not replace it when it is missing.
    is_named: bool,
}

/// A runbook that was found, and where.
#[derive(Debug, Clone)]
pub struct FoundRunbook {
    /// The text.
    pub source: Source,
    /// The place of the text.
    pub origin: Origin,
    /// The runbooks that it can call.
    pub library: RunbookLibrary,
}

/// The runbooks that a runbook can call: those in the directory of its file, then those of the directory of runbooks,
/// then those that are built in.
#[derive(Debug, Clone)]
pub struct RunbookLibrary {
    beside: Option<RunbookDir>,
    dir: RunbookDir,
}

impl Library for RunbookLibrary {
    fn find(&self, name: &str) -> Result<Source, MissingRunbook> {
        let beside = self.beside.as_ref().map(|beside| beside.find_file(name));
        let found = match beside {
            Some(Ok(Some(found))) => Ok(found),
            Some(Err(error)) => Err(error),
            Some(Ok(None)) | None => self.dir.find(name),
        };
        found.map(|found| found.source).map_err(|error| match error {
            LookupError::NotFound { .. } | LookupError::InvalidName(_) => {
                let beside = self.beside.iter().flat_map(RunbookDir::names);
                let names: BTreeSet<String> = beside.chain(self.dir.names()).collect();
                MissingRunbook::Unknown(names.into_iter().collect())
            }
            error => MissingRunbook::Unreadable(error.to_string()),
        })
    }
}

/// The place of a runbook's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The text is compiled into the program.
    BuiltIn,
    /// A file, with an absolute path.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::File(path) => path.display().fmt(f),
        }
    }
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
    /// The directory that was named is missing, or is not a directory.
    #[error("cannot use {} as the directory of runbooks: {problem}", dir.display())]
    UnusableDir {
        /// The directory.
        dir: PathBuf,
        /// The reason.
        problem: String,
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
            Self::UnusableDir { .. } => {
                Some("name an existing directory with --runbooks (SOP_RUNBOOKS)".into())
            }
            Self::InvalidName(_) => Some("a path must end in .yaml or .yml".into()),
            Self::ReadFailed { .. } | Self::NotUtf8 { .. } => None,
        }
    }
}

impl RunbookDir {
    /// Returns the runbooks of the directory that is used by default, which need not exist.
    pub fn by_default() -> Self {
        Self { dir: DEFAULT_DIR.into(), is_named: false }
    }

    /// Returns the runbooks of a directory that the caller named.
    pub fn named(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), is_named: true }
    }

    /// Checks that a directory that was named exists. A built-in runbook must not silently replace the caller's own.
    ///
    /// # Errors
    /// The directory is missing, is not a directory, or cannot be read.
    pub fn ensure_usable(&self) -> Result<(), LookupError> {
        if !self.is_named {
            return Ok(());
        }
        std::fs::read_dir(&self.dir).map(drop).map_err(|error| LookupError::UnusableDir {
            dir: self.dir.clone(),
            problem: error.to_string(),
        })
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
    /// No such runbook, it cannot be read, or the directory that was named is missing.
    pub fn find(&self, name: &str) -> Result<FoundRunbook, LookupError> {
        if !is_valid_name(name) {
            return Err(LookupError::InvalidName(name.chars().take(120).collect()));
        }
        // Each time: a service outlives a directory that is unmounted.
        self.ensure_usable()?;
        if let Some(found) = self.find_file(name)? {
            return Ok(found);
        }
        let built_in = BUILT_IN_RUNBOOKS.iter().find(|(known, _)| *known == name);
        let (name, text) = built_in.ok_or_else(|| LookupError::NotFound {
            name: name.into(),
            dir: self.dir.clone(),
            known: self.names().join(", "),
        })?;
        let source = Source::new(format!("{name}.yaml"), *text);
        Ok(FoundRunbook { source, origin: Origin::BuiltIn, library: self.library_beside(None) })
    }

    /// Returns the file of a valid name, if there is one.
    fn find_file(&self, name: &str) -> Result<Option<FoundRunbook>, LookupError> {
        for extension in EXTENSIONS {
            let path = self.dir.join(format!("{name}.{extension}"));
            match self.read(&path) {
                Err(LookupError::ReadFailed { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                other => return other.map(Some),
            }
        }
        Ok(None)
    }

    /// Returns the runbooks that a text can call which is in no file.
    pub fn library(&self) -> RunbookLibrary {
        self.library_beside(None)
    }

    fn library_beside(&self, path: Option<&Path>) -> RunbookLibrary {
        let beside = path.and_then(Path::parent).filter(|dir| *dir != self.dir);
        RunbookLibrary { beside: beside.map(Self::named), dir: self.clone() }
    }

    /// Reads a runbook's file.
    ///
    /// # Errors
    /// It cannot be read, or is not text.
    fn read(&self, path: &Path) -> Result<FoundRunbook, LookupError> {
        let (source, origin) = read(path)?;
        Ok(FoundRunbook { source, origin, library: self.library_beside(Some(path)) })
    }

    /// Reads a path, or finds a name.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn find_or_read(&self, text: &str) -> Result<FoundRunbook, LookupError> {
        self.ensure_usable()?;
        if is_path(text) { self.read(Path::new(text)) } else { self.find(text) }
    }
}

/// Whether a text that names a runbook is a path.
pub fn is_path(text: &str) -> bool {
    text.contains('/') || EXTENSIONS.iter().any(|e| text.ends_with(&format!(".{e}")))
}

/// Returns a note for a run that continues with a text, where the place that the text came from has another one now;
/// `None` where it has not, or where the place is not known.
pub fn change_note(origin: Option<&str>, name: &str, text: &str) -> Option<String> {
    let change = change_since(origin, name, text)?;
    Some(format!("{change} since its text was read; the run continues with that text"))
}

/// Returns what has become of the place, as the beginning of a sentence.
fn change_since(origin: Option<&str>, name: &str, text: &str) -> Option<String> {
    let origin = origin?;
    if origin == Origin::BuiltIn.to_string() {
        let (_, built_in) = BUILT_IN_RUNBOOKS.iter().find(|(known, _)| *known == name)?;
        return (*built_in != text)
            .then(|| format!("the runbook {name} that is built into this program has changed"));
    }
    // A file of another length need not be read, and something else than a file must not be.
    let is_same = |found: std::fs::Metadata| -> io::Result<bool> {
        let is_candidate = found.is_file() && found.len() == text.len() as u64;
        Ok(is_candidate && std::fs::read(origin)? == text.as_bytes())
    };
    match std::fs::metadata(origin).and_then(is_same) {
        Ok(true) => None,
        Ok(false) => Some(format!("{origin} has changed")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Some(format!("{origin} has been removed or renamed"))
        }
        Err(error) => Some(format!("{origin} cannot be read any more ({error})")),
    }
}

/// Reads a runbook's file.
///
/// # Errors
/// It cannot be read, or is not text.
fn read(path: &Path) -> Result<(Source, Origin), LookupError> {
    let bytes = std::fs::read(path)
        .map_err(|source| LookupError::ReadFailed { path: path.to_owned(), source })?;
    let text = String::from_utf8(bytes).map_err(|error| LookupError::NotUtf8 {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })?;
    // Fails only where there is no current directory; then the relative path has just been read all the same.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let source = Source::new(path.display().to_string(), text);
    Ok((source, Origin::File(absolute)))
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
        let runbook_dir = RunbookDir::by_default();
        for name in ["../Cargo", "a/b", "", ".", "relay scale"] {
            assert!(matches!(runbook_dir.find(name), Err(LookupError::InvalidName(_))), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let dir = tempfile::tempdir().unwrap();
        let error = RunbookDir::named(dir.path()).find("relay-scael").unwrap_err();
        let expected = format!("runbook 'relay-scael' not found in {}", dir.path().display());
        assert_eq!(error.to_string(), expected);
        assert_eq!(
            error.hint().unwrap(),
            "known runbooks: drain-node, evacuate-zone, park, relay-scale, replace-node, restart-deployments, rotate-nodegroup, scale-nodegroup, unpark, upgrade-nodegroup"
        );
    }

    #[test]
    fn a_file_of_the_directory_comes_before_the_built_in_runbook() {
        let dir = tempfile::tempdir().unwrap();
        let runbooks = RunbookDir::named(dir.path());
        assert_eq!(runbooks.find("relay-scale").unwrap().origin.to_string(), "built in");
        let path = dir.path().join("relay-scale.yml");
        std::fs::write(&path, "name: relay-scale\n").unwrap();
        assert_eq!(runbooks.find("relay-scale").unwrap().origin, Origin::File(path));
    }

    #[test]
    fn a_named_directory_that_disappears_is_not_replaced_by_built_in_runbooks() {
        let dir = tempfile::tempdir().unwrap();
        let runbooks = RunbookDir::named(dir.path());
        assert!(runbooks.find("relay-scale").is_ok());
        drop(dir);
        let error = runbooks.find("relay-scale").unwrap_err();
        assert!(matches!(error, LookupError::UnusableDir { .. }), "{error}");
    }
}
