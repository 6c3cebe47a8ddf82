//! Answers to approvals that wait for the process that drives the run: a file each,
//! written by the process of the person who answers.
//!
//! ```text
//! STATE/answers/<run>/<id>.json
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::unavailable;
use crate::journal::{PostedAnswer, RunId, StoreError};

/// The longest answer that is read, in bytes: inputs have the same limit over HTTP.
const MAX_ANSWER: u64 = 64 << 10;

fn directory_of(state: &Path, run: &RunId) -> PathBuf {
    state.join("answers").join(run.as_str())
}

/// Posts an answer. It is there as a whole, or not at all.
pub(super) fn post(state: &Path, run: &RunId, answer: &PostedAnswer) -> Result<(), StoreError> {
    let directory = directory_of(state, run);
    let failed = |error: io::Error| unavailable("write to", &directory, &error);
    DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
    let text = serde_json::to_vec(answer).map_err(|error| failed(error.into()))?;
    let written = directory.join(format!("{}.new", answer.id));
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&written)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&written, directory.join(format!("{}.json", answer.id)))?;
        File::open(&directory)?.sync_all()
    };
    write().map_err(failed)
}

/// Returns the answers that were posted and not removed, the oldest first.
pub(super) fn read(state: &Path, run: &RunId) -> Result<Vec<PostedAnswer>, StoreError> {
    let directory = directory_of(state, run);
    let failed = |error: io::Error| unavailable("read", &directory, &error);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut answers = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match read_one(&path) {
            Ok(Some(answer)) => answers.push(answer),
            Ok(None) => tracing::warn!(file = %path.display(), "this is no answer to an approval"),
            // Another process has taken it.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    answers.sort_by_key(|(written_at, _)| *written_at);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// Reads one answer, with the time at which it was written.
fn read_one(path: &Path) -> io::Result<Option<(std::time::SystemTime, PostedAnswer)>> {
    let file = File::open(path)?;
    let written_at = file.metadata()?.modified()?;
    let mut text = Vec::new();
    file.take(MAX_ANSWER).read_to_end(&mut text)?;
    let answer: Option<PostedAnswer> = serde_json::from_slice(&text).ok();
    let name = path.file_stem().and_then(|name| name.to_str());
    Ok(answer.filter(|answer| name == Some(&answer.id)).map(|answer| (written_at, answer)))
}

/// Removes an answer. One that is not there is no error.
pub(super) fn remove(state: &Path, run: &RunId, id: &str) -> Result<(), StoreError> {
    let directory = directory_of(state, run);
    if !PostedAnswer::is_id(id) {
        return Ok(());
    }
    match fs::remove_file(directory.join(format!("{id}.json"))) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(unavailable("remove from", &directory, &error));
        }
        _ => {}
    }
    // Only when it is empty.
    let _ = fs::remove_dir(&directory);
    Ok(())
}
