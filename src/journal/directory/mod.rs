//! The embedded store: a directory with a JSON-lines file for each run.
//!
//! ```text
//! STATE/writer.lock          locked by the one process that writes; says who it is
//! STATE/runs/<run>.jsonl     one event a line; locked while a process writes that run
//! STATE/heads.jsonl          the heads of the runs: a cache, rebuilt where it is missing or stale
//! STATE/heads.index.jsonl    where each of them is
//! STATE/answers/<run>/       answers to approvals, until they are events of the run
//! STATE/notified/<run>.json  how far each sink of notifications was told of the run
//! ```
//!
//! A line without an end was being written when the process died. Its append never returned, so nothing was done
//! because of it, and it is dropped. Any other damage is refused with its line, and the file is not modified.

mod answers;
mod file_identity;
mod head_index;
mod heads;
mod last_read;
mod notified;
mod open_runs;
mod run_file;
mod writer_lock;

use std::{
    fs::{DirBuilder, File},
    io::{self, ErrorKind},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use rustix::fs::{Access, access, statvfs};
use tokio::sync::broadcast;

use self::{
    head_index::{HeadIndex, Stamp},
    heads::Heads,
    last_read::LastRead,
    open_runs::OpenRuns,
    run_file::RunFile,
    writer_lock::WriterLock,
};
use super::{
    HeadEntry, HeadQuery, Notified, PostedAnswer, RecordedEvent, RunHead, RunId, RunStore,
    StoreError, StoreLocation, store::WATCH_BACKLOG,
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
    /// The files of the runs that this store writes.
    open: OpenRuns,
    heads: Heads,
    last_read: LastRead,
    /// Held while what sinks were told is written: several sinks are told of one run.
    notified: Mutex<()>,
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
        let heads = Heads::new(directory, writer.is_some());
        let open = OpenRuns::default();
        let notified = Mutex::default();
        let (directory, last_read) = (directory.to_owned(), LastRead::default());
        let shared = Shared { directory, writer, open, heads, last_read, notified };
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
        let head = self.open.with(run, |open| {
            // Before the file is touched: it is the one of the writer that has seen everything.
            if let Some(file) = open {
                ensure_seen(run, expected, file)?;
            }
            // After a failure the file is not put back: the next append opens it anew, and reads what it holds.
            let file = open.take();
            if sync || file.is_none() {
                writer.ensure_held(&self.directory)?;
            }
            let file = match file {
                None if expected == 0 && is_free(&path)? => self.create(&path, run, events)?,
                file => {
                    let mut file = match file {
                        Some(file) => file,
                        None => RunFile::open(&path, run)?.ok_or_else(|| self.not_found(run))?,
                    };
                    ensure_seen(run, expected, &file)?;
                    file.append(events, sync)?;
                    file
                }
            };
            let head = file.head().clone();
            self.heads.appended(&head, Stamp::at(&path));
            // A run that has ended is not written to until it is resumed: its descriptor and its lock are given back.
            if head.ended_at.is_none() {
                *open = Some(file);
            }
            Ok(head)
        })?;
        // A message is taken into the index with what follows it.
        if sync || head.ended_at.is_some() {
            self.heads.update();
        }
        Ok(head)
    }

    fn create(
        &self,
        path: &Path,
        run: &RunId,
        events: &[RecordedEvent],
    ) -> Result<RunFile, StoreError> {
        self.heads.expect(run);
        RunFile::create(path, run, events).inspect_err(|_| {
            // A file that got its name before the failure is still to be found by the next process.
            if is_free(path).unwrap_or(false) {
                self.heads.forget_expected(run);
            }
        })
    }

    fn remove(&self, runs: &[RunId]) -> Result<(), StoreError> {
        let directory = self.directory.join("runs");
        if self.writer.is_none() {
            let error = io::Error::from(ErrorKind::ReadOnlyFilesystem);
            return Err(unavailable("remove from", &directory, &error));
        }
        let result = self.heads.query(|heads| {
            let result = runs.iter().try_for_each(|run| self.remove_one(run, heads));
            heads.rewrite_after_removal();
            result
        });
        // A run that is removed must not be there again after a power cut, when its key may have been used anew.
        let synced = File::open(&directory).and_then(|directory| directory.sync_all());
        result.and(synced.map_err(|error| unavailable("remove from", &directory, &error)))
    }

    /// Removes a run that is over, whose file is not open therefore.
    fn remove_one(&self, run: &RunId, heads: &mut HeadIndex) -> Result<(), StoreError> {
        let path = self.path(run);
        let head = heads.head(run)?.ok_or_else(|| self.not_found(run))?;
        if !head.is_final() {
            let error = io::Error::other(format!("run {run} is {}", head.state(false)));
            return Err(unavailable("remove", &path, &error));
        }
        std::fs::remove_file(&path).map_err(|error| unavailable("remove", &path, &error))?;
        heads.forget(run);
        notified::remove(&self.directory, run);
        Ok(())
    }
}

/// Checks that a writer has seen everything that a run's file holds.
fn ensure_seen(run: &RunId, expected: u64, file: &RunFile) -> Result<(), StoreError> {
    let found = file.head().events;
    if found == expected {
        return Ok(());
    }
    Err(StoreError::Conflict { run: run.clone(), expected, found })
}

/// Whether a new run can have this file.
fn is_free(path: &Path) -> Result<bool, StoreError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(unavailable("create the journal", path, &error)),
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
            let events = shared.last_read.read(&shared.path(&run), from)?;
            events.ok_or_else(|| shared.not_found(&run))
        })
        .await
    }

    async fn heads(&self, query: HeadQuery) -> Result<Vec<HeadEntry>, StoreError> {
        self.blocking(move |shared| shared.heads.query(|heads| heads.query(&query))).await
    }

    async fn head(&self, run: &RunId) -> Result<RunHead, StoreError> {
        let run = run.clone();
        self.blocking(move |shared| {
            shared.heads.query(|heads| heads.head(&run))?.ok_or_else(|| shared.not_found(&run))
        })
        .await
    }

    fn watch(&self) -> broadcast::Receiver<RunHead> {
        self.changes.subscribe()
    }

    async fn is_live(&self, run: &RunId) -> bool {
        if self.shared.open.contains(run) {
            return true;
        }
        let path = self.shared.path(run);
        let is_locked = move || File::open(path).is_ok_and(|file| file.try_lock_shared().is_err());
        self.blocking(move |_| Ok(is_locked())).await.unwrap_or(false)
    }

    async fn post_answer(&self, run: &RunId, answer: &PostedAnswer) -> Result<(), StoreError> {
        let (run, answer) = (run.clone(), answer.clone());
        self.blocking(move |shared| {
            if is_free(&shared.path(&run))? {
                return Err(shared.not_found(&run));
            }
            answers::post(&shared.directory, &run, &answer)
        })
        .await
    }

    async fn answers(&self, run: &RunId) -> Result<Vec<PostedAnswer>, StoreError> {
        let run = run.clone();
        self.blocking(move |shared| answers::read(&shared.directory, &run)).await
    }

    async fn remove_answer(&self, run: &RunId, id: &str) -> Result<(), StoreError> {
        let (run, id) = (run.clone(), id.to_owned());
        self.blocking(move |shared| answers::remove(&shared.directory, &run, &id)).await
    }

    async fn notified(&self, run: &RunId) -> Result<Notified, StoreError> {
        let run = run.clone();
        self.blocking(move |shared| notified::read(&shared.directory, &run)).await
    }

    async fn set_notified(&self, run: &RunId, sink: &str, next: u64) -> Result<(), StoreError> {
        let (run, sink) = (run.clone(), sink.to_owned());
        self.blocking(move |shared| {
            // A panic leaves a file that is whole.
            let _turn = shared.notified.lock().unwrap_or_else(PoisonError::into_inner);
            if is_free(&shared.path(&run))? {
                return Err(shared.not_found(&run));
            }
            notified::set(&shared.directory, &run, &sink, next)
        })
        .await
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
