//! Which folder holds the runs.

use std::{path::PathBuf, sync::Arc};

use etcetera::BaseStrategy as _;
use tempfile::TempDir;

use super::{Global, Trouble};
use crate::journal::{FileStore, Owner};

/// The state folder, and what keeps it alive.
pub(super) struct StateFolder {
    pub(super) path: PathBuf,
    /// A throwaway folder goes when this does.
    _throwaway: Option<TempDir>,
}

impl StateFolder {
    /// The folder that was named; else a throwaway one for a simulation; else the XDG state folder.
    pub(super) fn choose(global: &Global, simulated: bool) -> Result<Self, Trouble> {
        if let Some(path) = &global.state_dir {
            return Ok(Self { path: path.clone(), _throwaway: None });
        }
        if simulated {
            let folder = tempfile::Builder::new().prefix("rafay-relay-sop-").tempdir()?;
            return Ok(Self { path: folder.path().to_owned(), _throwaway: Some(folder) });
        }
        Ok(Self { path: default_path()?, _throwaway: None })
    }

    /// Takes the right to write here for this process.
    pub(super) fn for_writing(
        &self,
        doing: &str,
        address: Option<String>,
    ) -> Result<Arc<FileStore>, Trouble> {
        let owner = Owner { pid: std::process::id(), doing: doing.into(), address };
        Ok(Arc::new(FileStore::for_writing(&self.path, &owner)?))
    }

    pub(super) fn for_reading(&self) -> FileStore {
        FileStore::for_reading(&self.path)
    }
}

fn default_path() -> Result<PathBuf, Trouble> {
    let folders = etcetera::choose_base_strategy().map_err(|error| {
        Trouble::Usage(format!(
            "cannot find a home folder ({error}); name a state folder with --state-dir"
        ))
    })?;
    let state = folders.state_dir().unwrap_or_else(|| folders.data_dir());
    Ok(state.join("rafay-relay-sop"))
}
