//! The embedded store: a folder with one JSON-lines file a run and one lock file.
//!
//! ```text
//! STATE/writer.lock          locked by the one process that writes; says who it is
//! STATE/runs/<run>.jsonl     one event a line
//! ```
//!
//! A line that has no end was being written when the process died. Its append never returned, so nothing was done
//! because of it, and it is dropped. Any other damage is refused with its line and the file is left alone.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Record, RunId, Store, StoreError};

/// A reader looks whether the lock is free by taking it for a moment; a writer that meets it tries again this often,
/// [`LOCK_PAUSE`] apart.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Who writes to a state folder, for whoever finds it in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// What it is doing: `run`, `serve`.
    pub doing: String,
    /// Where its HTTP service listens, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A folder of runs.
pub struct FileStore {
    folder: PathBuf,
    /// The lock, for as long as this store may write. Dropping it gives it up; so does the end of the process.
    writer: Option<File>,
    open: Mutex<HashMap<RunId, OpenRun>>,
}

/// A run's file at its end.
struct OpenRun {
    file: File,
    events: u64,
}

impl FileStore {
    /// Opens a folder for writing, making it if it is not there.
    ///
    /// # Errors
    /// The folder cannot be made or written to, or another process holds it.
    pub fn for_writing(folder: &Path, owner: &Owner) -> Result<Self, StoreError> {
        let unusable = |source| StoreError::Folder { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder.join("runs")).map_err(unusable)?;
        let mut lock = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(folder.join("writer.lock"))
            .map_err(unusable)?;
        take(&lock).map_err(|error| match error {
            Some(source) => unusable(source),
            None => StoreError::Held { path: folder.to_owned(), owner: describe_owner(folder) },
        })?;
        write_owner(&mut lock, owner).map_err(unusable)?;
        Ok(Self { folder: folder.to_owned(), writer: Some(lock), open: Mutex::default() })
    }

    /// Opens a folder for reading. It need not exist: then it has no runs.
    pub fn for_reading(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), writer: None, open: Mutex::default() }
    }

    /// The process that writes here now, if there is one and it said who it is.
    pub fn owner(&self) -> Option<Owner> {
        self.has_live_writer().then(|| read_owner(&self.folder)).flatten()
    }

    fn path(&self, run: &RunId) -> PathBuf {
        self.folder.join("runs").join(format!("{run}.jsonl"))
    }

    fn open_runs(&self) -> MutexGuard<'_, HashMap<RunId, OpenRun>> {
        // A panic while appending leaves at worst a torn line, which opening the file again mends.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a run's file at the end of its last whole line.
    fn open_at_end(&self, run: &RunId, expected: u64) -> Result<OpenRun, StoreError> {
        let path = self.path(run);
        let io = |doing| {
            let path = path.clone();
            move |source| StoreError::Io { doing, path, source }
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let opened =
            if expected == 0 { options.create_new(true).open(&path) } else { options.open(&path) };
        let mut file = match opened {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::NoSuchRun { run: run.clone(), path: self.folder.clone() });
            }
            other => other.map_err(io("open the journal"))?,
        };
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io("read the journal"))?;
        let whole = whole_lines(&text);
        let events = parse(&path, &text[..whole])?.len() as u64;
        if whole < text.len() {
            file.set_len(whole as u64).map_err(io("mend the torn last line of"))?;
        }
        file.seek(SeekFrom::End(0)).map_err(io("read the journal"))?;
        if expected == 0 {
            sync_folder(&self.folder.join("runs")).map_err(io("sync the folder of"))?;
        }
        Ok(OpenRun { file, events })
    }
}

impl Store for FileStore {
    fn append(
        &self,
        run: &RunId,
        expected: u64,
        records: &[Record],
        sync: bool,
    ) -> Result<(), StoreError> {
        if self.writer.is_none() {
            return Err(StoreError::ReadOnly { path: self.folder.clone() });
        }
        let lines =
            to_lines(records).map_err(|source| StoreError::Json { run: run.clone(), source })?;
        let mut runs = self.open_runs();
        let mut open = match runs.remove(run) {
            Some(open) => open,
            None => self.open_at_end(run, expected)?,
        };
        if open.events != expected {
            return Err(StoreError::Overtaken { run: run.clone(), expected, found: open.events });
        }
        let io = |doing| {
            let path = self.path(run);
            move |source| StoreError::Io { doing, path, source }
        };
        // After a failure the file is not put back into `runs`: the next append opens it anew and mends its end.
        open.file.write_all(&lines).map_err(io("write to the journal"))?;
        if sync {
            open.file.sync_data().map_err(io("sync the journal"))?;
        }
        open.events += records.len() as u64;
        runs.insert(run.clone(), open);
        Ok(())
    }

    fn read(&self, run: &RunId) -> Result<Vec<Record>, StoreError> {
        let path = self.path(run);
        let text = std::fs::read(&path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => {
                StoreError::NoSuchRun { run: run.clone(), path: self.folder.clone() }
            }
            _ => StoreError::Io { doing: "read the journal", path: path.clone(), source },
        })?;
        parse(&path, &text[..whole_lines(&text)])
    }

    fn list(&self) -> Result<Vec<RunId>, StoreError> {
        let folder = self.folder.join("runs");
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|source| StoreError::Folder { path: folder, source })?,
        };
        let mut runs: Vec<RunId> =
            entries.filter_map(|entry| run_of(&entry.ok()?.path())).collect();
        runs.sort();
        Ok(runs)
    }

    fn has_live_writer(&self) -> bool {
        if self.writer.is_some() {
            return true;
        }
        let Ok(lock) = File::open(self.folder.join("writer.lock")) else {
            return false;
        };
        lock.try_lock_shared().is_err()
    }
}

/// Takes the lock; `None` when another process has it.
fn take(lock: &File) -> Result<(), Option<std::io::Error>> {
    for _ in 1..LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(std::fs::TryLockError::Error(error)) => return Err(Some(error)),
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
    lock.try_lock().map_err(|_| None)
}

fn write_owner(lock: &mut File, owner: &Owner) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.seek(SeekFrom::Start(0))?;
    serde_json::to_writer(lock, owner).map_err(std::io::Error::from)
}

fn read_owner(folder: &Path) -> Option<Owner> {
    serde_json::from_slice(&std::fs::read(folder.join("writer.lock")).ok()?).ok()
}

fn describe_owner(folder: &Path) -> String {
    match read_owner(folder) {
        Some(owner) => format!("process {} (`{}`)", owner.pid, owner.doing),
        None => "another process".into(),
    }
}

fn run_of(path: &Path) -> Option<RunId> {
    if path.extension()? != "jsonl" {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

fn to_lines(records: &[Record]) -> Result<Vec<u8>, serde_json::Error> {
    let mut lines = Vec::new();
    for record in records {
        serde_json::to_writer(&mut lines, record)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// The length of the text up to the end of its last whole line.
fn whole_lines(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

fn parse(path: &Path, text: &[u8]) -> Result<Vec<Record>, StoreError> {
    let damaged = |line: usize, why: String| StoreError::Damaged {
        path: path.to_owned(),
        line: line + 1,
        why,
    };
    let mut records = Vec::new();
    for (line, bytes) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let record: Record = serde_json::from_slice(bytes)
            .map_err(|error| damaged(line, format!("not an event: {error}")))?;
        if record.seq != line as u64 {
            let why = format!("event {} stands where event {line} should", record.seq);
            return Err(damaged(line, why));
        }
        records.push(record);
    }
    Ok(records)
}

/// A new file survives a power cut only when the folder that names it does.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::journal::Event;

    fn said(seq: u64) -> Record {
        Record {
            seq,
            time: Timestamp::UNIX_EPOCH,
            event: Event::Said { step: "a".into(), message: seq.to_string() },
        }
    }

    fn owner() -> Owner {
        Owner { pid: 1, doing: "test".into(), address: None }
    }

    fn run() -> RunId {
        "r-1".parse().unwrap()
    }

    /// A folder with a run of three events, closed.
    fn three_events() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::for_writing(folder.path(), &owner()).unwrap();
        store.append(&run(), 0, &[said(0), said(1), said(2)], true).unwrap();
        let path = store.path(&run());
        (folder, path)
    }

    #[test]
    fn what_was_appended_reads_back() {
        let (folder, _) = three_events();
        let store = FileStore::for_reading(folder.path());
        assert_eq!(store.read(&run()).unwrap(), [said(0), said(1), said(2)]);
        assert_eq!(store.list().unwrap(), [run()]);
    }

    #[test]
    fn a_torn_last_line_is_dropped_at_every_length() {
        let whole = serde_json::to_vec(&said(3)).unwrap();
        for length in 1..=whole.len() {
            let (folder, path) = three_events();
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(&whole[..length]).unwrap();
            let store = FileStore::for_writing(folder.path(), &owner()).unwrap();
            assert_eq!(store.read(&run()).unwrap().len(), 3, "{length}");
            store.append(&run(), 3, &[said(3)], false).unwrap();
            assert_eq!(store.read(&run()).unwrap().len(), 4, "{length}");
        }
    }

    #[test]
    fn other_damage_is_refused_with_its_line_and_left_alone() {
        let (folder, path) = three_events();
        let text = std::fs::read_to_string(&path).unwrap();
        let damages = [
            (text.replacen("said", "sa\0id", 1), 1),
            (text.lines().skip(1).map(|l| format!("{l}\n")).collect(), 1),
            (text.clone() + "{}\n", 4),
        ];
        for (damaged, at) in damages {
            std::fs::write(&path, &damaged).unwrap();
            let store = FileStore::for_writing(folder.path(), &owner()).unwrap();
            for result in [store.read(&run()).map(drop), store.append(&run(), 3, &[said(3)], true)]
            {
                let Err(StoreError::Damaged { line, .. }) = result else { panic!("{result:?}") };
                assert_eq!(line, at);
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn only_who_has_seen_everything_may_append() {
        let (folder, _) = three_events();
        let store = FileStore::for_writing(folder.path(), &owner()).unwrap();
        let error = store.append(&run(), 2, &[said(2)], true).unwrap_err();
        assert!(matches!(error, StoreError::Overtaken { found: 3, .. }), "{error}");
        store.append(&run(), 3, &[said(3)], true).unwrap();
    }

    #[test]
    fn one_process_writes_and_readers_see_who() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::for_writing(folder.path(), &owner()).unwrap();
        let error = FileStore::for_writing(folder.path(), &owner()).err().unwrap();
        assert!(error.to_string().contains("in use by process 1 (`test`)"), "{error}");
        let reader = FileStore::for_reading(folder.path());
        assert_eq!(reader.owner(), Some(owner()));
        drop(store);
        assert_eq!(reader.owner(), None);
    }
}
