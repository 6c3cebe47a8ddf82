//! The right to write to a state folder, which one process has at a time.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Seek as _, SeekFrom},
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::journal::StoreError;

const NAME: &str = "writer.lock";

/// A reader looks whether the lock is free by taking it for a moment; a writer that meets it tries again this often,
/// [`PAUSE`] apart.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

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

/// The lock, held until it is dropped or the process ends.
pub(super) struct WriterLock {
    _file: File,
}

impl WriterLock {
    /// Takes the lock of a folder and writes into it who has it.
    pub(super) fn take(folder: &Path, owner: &Owner) -> Result<Self, StoreError> {
        let unusable = |source| StoreError::Folder { path: folder.to_owned(), source };
        let mut options = OpenOptions::new();
        options.create(true).read(true).write(true).truncate(false);
        let mut file = options.open(folder.join(NAME)).map_err(unusable)?;
        lock(&file).map_err(|error| match error {
            TryLockError::Error(source) => unusable(source),
            TryLockError::WouldBlock => {
                StoreError::Held { path: folder.to_owned(), owner: describe(folder) }
            }
        })?;
        write_owner(&mut file, owner).map_err(unusable)?;
        Ok(Self { _file: file })
    }
}

/// The living process that has the lock of a folder, if it said who it is.
pub(super) fn owner(folder: &Path) -> Option<Owner> {
    let file = File::open(folder.join(NAME)).ok()?;
    let is_free = file.try_lock_shared().is_ok();
    if is_free { None } else { read_owner(folder) }
}

fn lock(file: &File) -> Result<(), TryLockError> {
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            decided => return decided,
        }
    }
    file.try_lock()
}

fn write_owner(file: &mut File, owner: &Owner) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    serde_json::to_writer(file, owner).map_err(io::Error::from)
}

fn read_owner(folder: &Path) -> Option<Owner> {
    serde_json::from_slice(&std::fs::read(folder.join(NAME)).ok()?).ok()
}

fn describe(folder: &Path) -> String {
    match read_owner(folder) {
        Some(Owner { pid, doing, address: Some(address) }) => {
            format!("process {pid} (`{doing}`, at http://{address})")
        }
        Some(Owner { pid, doing, address: None }) => format!("process {pid} (`{doing}`)"),
        None => "another process".into(),
    }
}
