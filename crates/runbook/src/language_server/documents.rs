//! The documents that the client has open. Their texts come before those of the files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::uri;
use crate::{Library, MissingRunbook, Source, validator::files::Callable};

/// The open documents, by URI.
#[derive(Default)]
pub(super) struct Documents(BTreeMap<String, Document>);

/// An open document.
pub(super) struct Document {
    pub(super) source: Source,
    /// The version, which the client counts.
    pub(super) version: Option<i64>,
}

impl Documents {
    pub(super) fn get(&self, uri: &str) -> Option<&Document> {
        self.0.get(uri)
    }

    pub(super) fn set(&mut self, uri: &str, text: &str, version: Option<i64>) {
        let source = Source::new(name(uri), text);
        self.0.insert(uri.to_owned(), Document { source, version });
    }

    pub(super) fn close(&mut self, uri: &str) {
        self.0.remove(uri);
    }

    pub(super) fn uris(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Returns the documents with a call of any runbook.
    pub(super) fn callers(&self) -> impl Iterator<Item = &str> {
        let callers = self.0.iter().filter(|(_, one)| one.source.text().contains("call:"));
        callers.map(|(uri, _)| uri.as_str())
    }

    /// Returns the URI of a file: that of the client, if the client has it open.
    pub(super) fn uri_of(&self, name: &str) -> Option<String> {
        let open = self.0.iter().find(|(_, document)| document.source.name() == name);
        let path = Path::new(name);
        // The text of a built-in runbook has a name, and no file.
        open.map(|(uri, _)| uri.clone()).or_else(|| path.is_file().then(|| uri::from_path(path)))
    }
}

/// Returns the name of a document in messages: its path, if it has one.
fn name(uri: &str) -> String {
    match uri::to_path(uri) {
        Some(path) => path.display().to_string(),
        // A name without an extension: there is no file whose name the runbook must have.
        None => "untitled".to_owned(),
    }
}

/// The runbooks that an open document can call: those beside it, as they are open or on disk, and then others.
pub(super) struct OpenLibrary<'l> {
    documents: &'l Documents,
    dir: Option<PathBuf>,
    others: Callable<'l>,
}

impl<'l> OpenLibrary<'l> {
    pub(super) fn of(documents: &'l Documents, source: &Source, others: &'l dyn Library) -> Self {
        let dir = Path::new(source.name()).parent().map(Path::to_owned);
        Self { documents, dir, others: Callable::by(source, others) }
    }
}

impl Library for OpenLibrary<'_> {
    fn find(&self, name: &str) -> Result<Source, MissingRunbook> {
        let is_it = |document: &&Document| {
            let path = Path::new(document.source.name());
            path.parent() == self.dir.as_deref() && document.source.stem() == Some(name)
        };
        match self.documents.0.values().find(is_it) {
            Some(document) => Ok(document.source.clone()),
            None => self.others.find(name),
        }
    }
}
