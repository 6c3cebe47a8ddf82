//! The embedded store: a folder with one JSON-lines file a run and one lock file.
//!
//! ```text
//! STATE/writer.lock          locked by the one process that writes; says who it is
//! STATE/runs/<run>.jsonl     one event a line; locked while a process writes that run
//! ```
//!
//! A line that has no end was being written when the process died. Its append never returned, so nothing was done
//! because of it, and it is dropped. Any other damage is refused with its line and the file is left alone.

mod run_file;
mod writer_lock;

use std::{
    collections::HashMap,
    fs::File,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use self::{run_file::RunFile, writer_lock::WriterLock};
use super::{EventRecord, RunId, RunStore, StoreError};

pub use writer_lock::LockOwner;

/// A folder of runs.
pub struct FileStore {
    dir: PathBuf,
    /// The lock, for as long as this store may write.
    writer: Option<WriterLock>,
    open: Mutex<HashMap<RunId, RunFile>>,
}

impl FileStore {
    /// Opens a folder for writing, making it if it is not there.
    ///
    /// # Errors
    /// The folder cannot be made or written to, or another process holds it.
    pub fn open_for_writing(dir: &Path, owner: &LockOwner) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir.join("runs"))
            .map_err(|source| StoreError::Directory { path: dir.to_owned(), source })?;
        let writer = Some(WriterLock::acquire(dir, owner)?);
        Ok(Self { dir: dir.to_owned(), writer, open: Mutex::default() })
    }

    /// Opens a folder for reading. It need not exist: then it has no runs.
    pub fn open_for_reading(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), writer: None, open: Mutex::default() }
    }

    /// The process that writes here now, if there is one and it said who it is.
    pub fn owner(&self) -> Option<LockOwner> {
        writer_lock::owner(&self.dir)
    }

    fn path(&self, run: &RunId) -> PathBuf {
        self.dir.join("runs").join(format!("{run}.jsonl"))
    }

    fn open_runs(&self) -> MutexGuard<'_, HashMap<RunId, RunFile>> {
        // A panic while appending leaves at worst a torn line, which opening the file again mends.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn no_such_run(&self, run: &RunId) -> StoreError {
        StoreError::NoSuchRun { run: run.clone(), path: self.dir.clone() }
    }
}

impl RunStore for FileStore {
    fn append(
        &self,
        run: &RunId,
        expected: u64,
        records: &[EventRecord],
        sync: bool,
    ) -> Result<(), StoreError> {
        if self.writer.is_none() {
            return Err(StoreError::ReadOnly { path: self.dir.clone() });
        }
        let lines =
            to_lines(records).map_err(|source| StoreError::Json { run: run.clone(), source })?;
        let count = records.len() as u64;
        let mut runs = self.open_runs();
        // After a failure the file is not put back: the next append opens it anew, and reads what it holds.
        let file = match runs.remove(run) {
            None if expected == 0 => RunFile::create(&self.path(run), &lines, count)?,
            open => {
                let mut file = match open {
                    Some(file) => file,
                    None => RunFile::open(&self.path(run))?.ok_or_else(|| self.no_such_run(run))?,
                };
                if file.events() != expected {
                    let (run, found) = (run.clone(), file.events());
                    return Err(StoreError::Conflict { run, expected, found });
                }
                file.append(&lines, count, sync)?;
                file
            }
        };
        runs.insert(run.clone(), file);
        Ok(())
    }

    fn read(&self, run: &RunId) -> Result<Vec<EventRecord>, StoreError> {
        run_file::read(&self.path(run))?.ok_or_else(|| self.no_such_run(run))
    }

    fn list(&self) -> Result<Vec<RunId>, StoreError> {
        let dir = self.dir.join("runs");
        let entries = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|source| StoreError::Directory { path: dir, source })?,
        };
        let mut runs: Vec<RunId> =
            entries.filter_map(|entry| run_id_of(&entry.ok()?.path())).collect();
        runs.sort();
        Ok(runs)
    }

    fn is_live(&self, run: &RunId) -> bool {
        if self.open_runs().contains_key(run) {
            return true;
        }
        File::open(self.path(run)).is_ok_and(|file| file.try_lock_shared().is_err())
    }

    fn check_writable(&self) -> Result<(), StoreError> {
        let path = self.dir.join("runs").join("probe");
        let written = std::fs::write(&path, b"probe").and_then(|()| std::fs::remove_file(&path));
        written.map_err(|source| StoreError::Io { doing: "write to", path, source })
    }
}

fn run_id_of(path: &Path) -> Option<RunId> {
    if path.extension()? != "jsonl" {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

fn to_lines(records: &[EventRecord]) -> Result<Vec<u8>, serde_json::Error> {
    let mut lines = Vec::new();
    for record in records {
        serde_json::to_writer(&mut lines, record)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write as _};

    use jiff::Timestamp;

    use super::*;
    use crate::journal::Event;

    fn message(seq: u64) -> EventRecord {
        EventRecord {
            seq,
            time: Timestamp::UNIX_EPOCH,
            event: Event::StepMessage { step: "a".into(), message: seq.to_string() },
        }
    }

    fn owner() -> LockOwner {
        LockOwner { pid: 1, doing: "test".into(), address: None }
    }

    fn run() -> RunId {
        "r-1".parse().unwrap()
    }

    /// A folder with a run of three events, closed.
    fn store_with_three_events() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open_for_writing(dir.path(), &owner()).unwrap();
        store.append(&run(), 0, &[message(0), message(1), message(2)], true).unwrap();
        let path = store.path(&run());
        (dir, path)
    }

    #[test]
    fn appended_events_are_read_back() {
        let (dir, _) = store_with_three_events();
        let store = FileStore::open_for_reading(dir.path());
        assert_eq!(store.read(&run()).unwrap(), [message(0), message(1), message(2)]);
        assert_eq!(store.list().unwrap(), [run()]);
    }

    #[test]
    fn a_torn_last_line_is_dropped_at_every_length() {
        let whole = serde_json::to_vec(&message(3)).unwrap();
        for length in 1..=whole.len() {
            let (dir, path) = store_with_three_events();
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(&whole[..length]).unwrap();
            let store = FileStore::open_for_writing(dir.path(), &owner()).unwrap();
            assert_eq!(store.read(&run()).unwrap().len(), 3, "{length}");
            store.append(&run(), 3, &[message(3)], false).unwrap();
            assert_eq!(store.read(&run()).unwrap().len(), 4, "{length}");
        }
    }

    #[test]
    fn other_damage_is_reported_with_its_line_and_not_repaired() {
        let (dir, path) = store_with_three_events();
        let text = std::fs::read_to_string(&path).unwrap();
        let damages = [
            (text.replacen("said", "sa\0id", 1), 1),
            (text.lines().skip(1).map(|l| format!("{l}\n")).collect(), 1),
            (text.clone() + "{}\n", 4),
        ];
        for (damaged, at) in damages {
            std::fs::write(&path, &damaged).unwrap();
            let store = FileStore::open_for_writing(dir.path(), &owner()).unwrap();
            for result in
                [store.read(&run()).map(drop), store.append(&run(), 3, &[message(3)], true)]
            {
                let Err(StoreError::Damaged { line, .. }) = result else { panic!("{result:?}") };
                assert_eq!(line, at);
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn an_append_that_has_not_seen_all_events_is_a_conflict() {
        let (dir, _) = store_with_three_events();
        let store = FileStore::open_for_writing(dir.path(), &owner()).unwrap();
        let error = store.append(&run(), 2, &[message(2)], true).unwrap_err();
        assert!(matches!(error, StoreError::Conflict { found: 3, .. }), "{error}");
        store.append(&run(), 3, &[message(3)], true).unwrap();
    }

    #[test]
    fn one_process_writes_and_readers_see_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open_for_writing(dir.path(), &owner()).unwrap();
        let error = FileStore::open_for_writing(dir.path(), &owner()).err().unwrap();
        assert!(error.to_string().contains("in use by process 1 (`test`)"), "{error}");
        let reader = FileStore::open_for_reading(dir.path());
        assert_eq!(reader.owner(), Some(owner()));
        drop(store);
        assert_eq!(reader.owner(), None);
    }

    #[test]
    fn a_run_is_live_while_a_process_writes_it() {
        let dir = tempfile::tempdir().unwrap();
        let reader = FileStore::open_for_reading(dir.path());
        let store = FileStore::open_for_writing(dir.path(), &owner()).unwrap();
        store.append(&run(), 0, &[message(0)], true).unwrap();
        assert!(store.is_live(&run()) && reader.is_live(&run()));
        drop(store);
        let other = FileStore::open_for_writing(dir.path(), &owner()).unwrap();
        assert!(!reader.is_live(&run()), "the folder is held, but nobody writes that run");
        other.append(&run(), 1, &[message(1)], false).unwrap();
        assert!(reader.is_live(&run()));
    }

    /// What is not known to be on disk must not be found there later.
    #[test]
    fn a_run_is_not_listed_before_its_first_line_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open_for_writing(dir.path(), &owner()).unwrap();
        std::fs::write(dir.path().join("runs/r-2.jsonl.new"), "{\"seq\":0").unwrap();
        assert!(store.list().unwrap().is_empty());
        store.append(&"r-2".parse().unwrap(), 0, &[message(0)], true).unwrap();
        assert_eq!(store.list().unwrap().len(), 1);
    }
}
