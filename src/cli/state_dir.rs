//! The directory that holds the runs.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use etcetera::BaseStrategy as _;
use tempfile::TempDir;

use super::{CliError, Global};
use crate::journal::{DirectoryStore, LockOwner};

/// The state directory, and what keeps it alive.
pub(super) struct StateDir {
    pub(super) path: PathBuf,
    /// A throwaway directory is removed when this is dropped.
    _throwaway: Option<TempDir>,
}

impl StateDir {
    /// Returns the directory that was named; else a throwaway one for a simulation; else the XDG state directory.
    pub(super) fn choose(global: &Global, simulated: bool) -> Result<Self, CliError> {
        match &global.state_dir {
            None if !simulated => Ok(Self { path: default_dir()?, _throwaway: None }),
            named => Self::named_or_throwaway(named.as_ref()),
        }
    }

    /// Returns the directory that was named, or a throwaway one.
    pub(super) fn named_or_throwaway(named: Option<&PathBuf>) -> Result<Self, CliError> {
        if let Some(path) = named {
            return Ok(Self { path: path.clone(), _throwaway: None });
        }
        let parent = std::env::temp_dir();
        let created = tempfile::Builder::new().prefix("rafay-relay-sop-").tempdir_in(&parent);
        let dir = created.map_err(|error| cannot_create_in(&parent, &error))?;
        Ok(Self { path: dir.path().to_owned(), _throwaway: Some(dir) })
    }

    /// Takes the right to write here for this process.
    pub(super) fn open_for_writing(
        &self,
        doing: &str,
        address: Option<String>,
    ) -> Result<Arc<DirectoryStore>, CliError> {
        let owner = LockOwner { pid: std::process::id(), doing: doing.into(), address };
        Ok(Arc::new(DirectoryStore::for_writing(&self.path, &owner)?))
    }

    pub(super) fn open_for_reading(&self) -> DirectoryStore {
        DirectoryStore::for_reading(&self.path)
    }
}

/// Describes that a throwaway directory cannot be created, as in a container with a read-only root file system.
fn cannot_create_in(parent: &Path, error: &io::Error) -> CliError {
    CliError::usage_with_hint(
        // The text of the error has the path once more, with a random name.
        format!("cannot create a temporary directory in {}: {}", parent.display(), error.kind()),
        "pass --state-dir DIR, or name a directory that can be written to in TMPDIR; a pod mounts an emptyDir there",
    )
}

fn default_dir() -> Result<PathBuf, CliError> {
    let base_dirs = etcetera::choose_base_strategy().map_err(|error| {
        let message = format!("cannot find a home directory: {error}");
        CliError::usage_with_hint(message, "name a state directory with --state-dir")
    })?;
    let state = base_dirs.state_dir().unwrap_or_else(|| base_dirs.data_dir());
    Ok(state.join("rafay-relay-sop"))
}
