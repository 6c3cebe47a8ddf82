//! How far each sink of notifications was told of a run: one small file for each run, written by the process that
//! drives the run. Without the file nothing is lost but that knowledge.
//!
//! ```text
//! STATE/notified/<run>.json     {"oncall": 17}
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::unavailable;
use crate::journal::{Notified, RunId, StoreError};

/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;

fn path_of(state: &Path, run: &RunId) -> PathBuf {
    state.join("notified").join(format!("{run}.json"))
}

/// Returns what is known; nothing where the file was damaged, which is said in the log.
pub(super) fn read(state: &Path, run: &RunId) -> Result<Notified, StoreError> {
    let path = path_of(state, run);
    let mut text = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut text));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Notified::new()),
        Err(error) => return Err(unavailable("read", &path, &error)),
    }
    Ok(serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(%error, file = %path.display(), "the file is damaged: notifications may be sent again");
        Notified::new()
    }))
}

/// Records how far a sink was told. The file is there as a whole, or as it was before. Its caller writes one at a time.
pub(super) fn set(state: &Path, run: &RunId, sink: &str, next: u64) -> Result<(), StoreError> {
    let path = path_of(state, run);
    let mut notified = read(state, run)?;
    notified.insert(sink.to_owned(), next);
    let written = path.with_extension("json.new");
    let write = || -> io::Result<()> {
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&written)?;
        file.write_all(&serde_json::to_vec(&notified)?)?;
        file.sync_all()?;
        fs::rename(&written, &path)
    };
    write().map_err(|error| unavailable("write", &path, &error))
}

/// Removes what is known of a run. A file that cannot be removed is of no use, and no harm.
pub(super) fn remove(state: &Path, run: &RunId) {
    let path = path_of(state, run);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::debug!(%error, file = %path.display(), "cannot remove the file");
        }
        _ => {}
    }
}
