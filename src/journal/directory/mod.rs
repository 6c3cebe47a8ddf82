//! The embedded store: a directory with a JSON-lines file for each run.
//!
//! ```text
//! STATE/writer.lock          locked by the one process that writes; says who it is
//! STATE/runs/<run>.jsonl     one event a line; locked while a process writes that run
//! STATE/heads.jsonl          the heads of the runs: a cache, rebuilt where it is missing or stale
//! STATE/heads.index.jsonl    where each of them is
//! ```
//!
//! A line without an end was being written when the process died. Its append never returned, so nothing was done
//! because of it, and it is dropped. Any other damage is refused with its line, and the file is not modified.

mod file_identity;
mod head_index;
mod run_file;
mod writer_lock;

use std::{
    collections::HashMap,
    fs::{DirBuilder, File},
    io::{self, ErrorKind},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use rustix::fs::{Access, access, statvfs};
use tokio::sync::broadcast;

use self::{head_index::HeadIndex, run_file::RunFile, writer_lock::WriterLock};
use super::{
    HeadEntry, HeadQuery, RecordedEvent, RunHead, RunId, RunStore, StoreError, StoreLocation,
    store::WATCH_BACKLOG,
};

pub use writer_lock::LockOwner;

/// Runs in a directory.
pub struct DirectoryStore {
    shared: Arc<Shared>,
    changes: broadcast::Sender<RunHead>,
}

struct Shared {
    directory: PathBuf,
    /// The lock, for as long as this store may write.
    writer: Option<WriterLock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: HashMap<RunId, RunFile>,
    /// Read when it is first needed. A store that only reads forgets it after each query: another process writes.
    heads: Option<HeadIndex>,
}

impl DirectoryStore {
    /// Opens a directory for writing, creating it if it does not exist.
    ///
    /// # Errors
    /// The directory cannot be created or written to, or another process writes to it.
    pub fn for_writing(directory: &Path, owner: &LockOwner) -> Result<Self, StoreError> {
        // A journal has inputs and names of the cluster: only its owner may read it.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory.join("runs"))
            .map_err(|error| unavailable("use", directory, &error))?;
        let writer = Some(WriterLock::acquire(directory, owner)?);
        Ok(Self::new(directory, writer))
    }

    /// Opens a directory for reading. One that does not exist has no runs.
    pub fn for_reading(directory: &Path) -> Self {
        Self::new(directory, None)
    }

    fn new(directory: &Path, writer: Option<WriterLock>) -> Self {
        let (changes, _) = broadcast::channel(WATCH_BACKLOG);
        let shared = Shared { directory: directory.to_owned(), writer, state: Mutex::default() };
        Self { shared: Arc::new(shared), changes }
    }

    /// Returns the process that writes here now, if there is one and it said who it is.
    pub fn owner(&self) -> Option<LockOwner> {
        writer_lock::owner(&self.shared.directory)
    }

    /// Removes the journals of runs that are over, for good.
    ///
    /// # Errors
    /// A run is not over or not readable, or the medium failed. The runs before it are removed.
    pub async fn remove(&self, runs: Vec<RunId>) -> Result<(), StoreError> {
        self.blocking(move |shared| shared.remove(&runs)).await
    }

    /// Runs `work` where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(result) => result,
            Err(error) => Err(unavailable("use", &self.shared.directory, &io::Error::other(error))),
        }
    }
}

impl Shared {
    fn path(&self, run: &RunId) -> PathBuf {
        self.directory.join("runs").join(format!("{run}.jsonl"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while appending leaves at worst a torn line, which the next opening of the file removes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_found(&self, run: &RunId) -> StoreError {
        StoreError::NotFound { run: run.clone(), place: self.directory.display().to_string() }
    }

    fn append(
        &self,
        run: &RunId,
        expected: u64,
        events: &[RecordedEvent],
        sync: bool,
    ) -> Result<RunHead, StoreError> {
        let path = self.path(run);
        let Some(writer) = &self.writer else {
            let error = io::Error::from(ErrorKind::ReadOnlyFilesystem);
            return Err(unavailable("write to", &path, &error));
        };
        if sync {
            // The run is no longer held by this process.
            writer
                .ensure_held(&self.directory)
                .inspect_err(|_| drop(self.state().open.remove(run)))?;
        }
        let mut state = self.state();
        let state = &mut *state;
        // Read before the directory changes, so that it is known whether it was current.
        let heads = state.heads.get_or_insert_with(|| HeadIndex::load(&self.directory));
        // After a failure the file is not put back: the next append opens it anew, and reads what it holds.
        let file = match state.open.remove(run) {
            None if expected == 0 => RunFile::create(&path, run, events)?,
            open => {
                let mut file = match open {
                    Some(file) => file,
                    None => RunFile::open(&path, run)?.ok_or_else(|| self.not_found(run))?,
                };
                let found = file.head().events;
                if found != expected {
                    return Err(StoreError::Conflict { run: run.clone(), expected, found });
                }
                file.append(events, sync)?;
                file
            }
        };
        let head = file.head().clone();
        heads.update(&head, &path);
        // A run that has ended is not written to until it is resumed: its descriptor and its lock are given back.
        if head.ended_at.is_none() {
            state.open.insert(run.clone(), file);
        }
        Ok(head)
    }

    fn remove(&self, runs: &[RunId]) -> Result<(), StoreError> {
        let directory = self.directory.join("runs");
        if self.writer.is_none() {
            let error = io::Error::from(ErrorKind::ReadOnlyFilesystem);
            return Err(unavailable("remove from", &directory, &error));
        }
        let mut state = self.state();
        let state = &mut *state;
        let heads = state.heads.get_or_insert_with(|| HeadIndex::load(&self.directory));
        let mut result = Ok(());
        for run in runs {
            result = self.remove_one(run, heads, &mut state.open);
            if result.is_err() {
                break;
            }
        }
        heads.rewrite_after_removal();
        // A run that is removed must not be there again after a power cut, when its key may have been used anew.
        let synced = File::open(&directory).and_then(|directory| directory.sync_all());
        result.and(synced.map_err(|error| unavailable("remove from", &directory, &error)))
    }

    fn remove_one(
        &self,
        run: &RunId,
        heads: &mut HeadIndex,
        open: &mut HashMap<RunId, RunFile>,
    ) -> Result<(), StoreError> {
        let path = self.path(run);
        let head = heads.head(run)?.ok_or_else(|| self.not_found(run))?;
        if !head.is_final() {
            let error = io::Error::other(format!("run {run} is {}", head.state(false)));
            return Err(unavailable("remove", &path, &error));
        }
        std::fs::remove_file(&path).map_err(|error| unavailable("remove", &path, &error))?;
        open.remove(run);
        heads.forget(run);
        Ok(())
    }

    fn heads<T>(
        &self,
        query: impl FnOnce(&mut HeadIndex) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut state = self.state();
        let heads = state.heads.get_or_insert_with(|| HeadIndex::load(&self.directory));
        let result = query(heads);
        if self.writer.is_none() {
            state.heads = None;
        }
        result
    }
}

#[async_trait]
impl RunStore for DirectoryStore {
    async fn append(
        &self,
        run: &RunId,
        expected: u64,
        events: &[RecordedEvent],
        sync: bool,
    ) -> Result<(), StoreError> {
        let head = if sync {
            let (run, events) = (run.clone(), events.to_vec());
            self.blocking(move |shared| shared.append(&run, expected, &events, true)).await?
        } else {
            // A write into the page cache takes less than handing it to another thread.
            self.shared.append(run, expected, events, false)?
        };
        // A store that is not watched is fine.
        let _ = self.changes.send(head);
        Ok(())
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<RecordedEvent>, StoreError> {
        let run = run.clone();
        self.blocking(move |shared| {
            let mut events =
                run_file::read(&shared.path(&run))?.ok_or_else(|| shared.not_found(&run))?;
            let from = usize::try_from(from).unwrap_or(usize::MAX).min(events.len());
            events.drain(..from);
            Ok(events)
        })
        .await
    }

    async fn heads(&self, query: HeadQuery) -> Result<Vec<HeadEntry>, StoreError> {
        self.blocking(move |shared| shared.heads(|heads| heads.query(&query))).await
    }

    async fn head(&self, run: &RunId) -> Result<RunHead, StoreError> {
        let run = run.clone();
        self.blocking(move |shared| {
            shared.heads(|heads| heads.head(&run))?.ok_or_else(|| shared.not_found(&run))
        })
        .await
    }

    fn watch(&self) -> broadcast::Receiver<RunHead> {
        self.changes.subscribe()
    }

    async fn is_live(&self, run: &RunId) -> bool {
        if self.shared.state().open.contains_key(run) {
            return true;
        }
        File::open(self.shared.path(run)).is_ok_and(|file| file.try_lock_shared().is_err())
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.blocking(|shared| check_writable(&shared.directory.join("runs"))).await
    }

    fn location(&self) -> StoreLocation {
        let directory = &self.shared.directory;
        let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
        StoreLocation {
            name: format!("directory {}", absolute.display()),
            exclusive_id: self.shared.writer.as_ref().and_then(WriterLock::exclusive_id),
            url: self.shared.writer.as_ref().and_then(|writer| writer.owner().address.clone()),
        }
    }
}

/// Checks that files can be created in a directory, without creating one: probes may come often, and many at once.
fn check_writable(directory: &Path) -> Result<(), StoreError> {
    let failed = |error: io::Error| unavailable("write to", directory, &error);
    access(directory, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| failed(error.into()))?;
    let space = statvfs(directory).map_err(|error| failed(error.into()))?;
    // A file system that does not count its files says that it has none.
    let is_full = space.f_bavail == 0 || (space.f_files > 0 && space.f_favail == 0);
    match is_full {
        true => Err(failed(io::Error::from(ErrorKind::StorageFull))),
        false => Ok(()),
    }
}

fn unavailable(operation: &'static str, place: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable {
        operation,
        place: place.display().to_string(),
        problem: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
