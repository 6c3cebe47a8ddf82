//! Which folder holds the runs.

use std::{path::PathBuf, sync::Arc};

use etcetera::BaseStrategy as _;
use tempfile::TempDir;

use super::{CliError, Global};
use crate::journal::{FileStore, LockOwner};

/// The state folder, and what keeps it alive.
pub(super) struct StateDir {
    pub(super) path: PathBuf,
    /// A throwaway folder goes when this does.
    _throwaway: Option<TempDir>,
}

impl StateDir {
    /// The folder that was named; else a throwaway one for a simulation; else the XDG state folder.
    pub(super) fn choose(global: &Global, simulated: bool) -> Result<Self, CliError> {
        if let Some(path) = &global.state_dir {
            return Ok(Self { path: path.clone(), _throwaway: None });
        }
        if simulated {
            let dir = tempfile::Builder::new().prefix("rafay-relay-sop-").tempdir()?;
            return Ok(Self { path: dir.path().to_owned(), _throwaway: Some(dir) });
        }
        Ok(Self { path: default_dir()?, _throwaway: None })
    }

    /// Takes the right to write here for this process.
    pub(super) fn open_for_writing(
        &self,
        doing: &str,
        address: Option<String>,
    ) -> Result<Arc<FileStore>, CliError> {
        let owner = LockOwner { pid: std::process::id(), doing: doing.into(), address };
        Ok(Arc::new(FileStore::open_for_writing(&self.path, &owner)?))
    }

    pub(super) fn open_for_reading(&self) -> FileStore {
        FileStore::open_for_reading(&self.path)
    }
}

fn default_dir() -> Result<PathBuf, CliError> {
    let base_dirs = etcetera::choose_base_strategy().map_err(|error| {
        CliError::Usage(format!(
            "cannot find a home folder ({error}); name a state folder with --state-dir"
        ))
    })?;
    let state = base_dirs.state_dir().unwrap_or_else(|| base_dirs.data_dir());
    Ok(state.join("rafay-relay-sop"))
}
