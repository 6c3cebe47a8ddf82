//! Where the texts of called runbooks come from. The language reads no file itself.

use super::Source;

/// Runbooks by name.
pub trait Library: Sync {
    /// Returns the text of the runbook with a name.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    fn find(&self, name: &str) -> Result<Source, MissingRunbook>;
}

/// Why a library has no text for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingRunbook {
    /// No runbook has that name. These are there.
    Unknown(Vec<String>),
    /// The text cannot be read, with the reason.
    Unreadable(String),
}

/// A library without runbooks.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmptyLibrary;

impl Library for EmptyLibrary {
    fn find(&self, _name: &str) -> Result<Source, MissingRunbook> {
        Err(MissingRunbook::Unknown(Vec::new()))
    }
}

impl Library for Vec<Source> {
    /// Finds a text by the stem of its name.
    fn find(&self, name: &str) -> Result<Source, MissingRunbook> {
        let found = self.iter().find(|source| source.stem() == Some(name));
        found.cloned().ok_or_else(|| {
            let stems = self.iter().filter_map(Source::stem);
            MissingRunbook::Unknown(stems.map(str::to_owned).collect())
        })
    }
}
