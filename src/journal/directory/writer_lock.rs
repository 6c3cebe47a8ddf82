//! The right to write to a state directory, which one process has at a time.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::unavailable;
use crate::journal::StoreError;

const LOCK_FILE: &str = "writer.lock";

/// A reader checks whether the lock is free by taking it for a moment; a writer that meets it tries again this often,
/// [`LOCK_RETRY_INTERVAL`] apart.
const MAX_LOCK_ATTEMPTS: u32 = 10;
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// The process that writes to a state directory, for others that find it in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockOwner {
    /// Process id.
    pub pid: u32,
    /// The subcommand: `run`, `serve`.
    pub doing: String,
    /// The URL of its HTTP service, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// The lock, held until it is dropped or the process ends.
pub(super) struct WriterLock {
    _file: File,
}

impl WriterLock {
    /// Takes the lock of a directory and writes into it who holds it.
    pub(super) fn acquire(dir: &Path, owner: &LockOwner) -> Result<Self, StoreError> {
        let unusable = |error: io::Error| unavailable("use", dir, &error);
        let mut options = OpenOptions::new();
        options.create(true).read(true).write(true).truncate(false).mode(0o600);
        let mut file = options.open(dir.join(LOCK_FILE)).map_err(unusable)?;
        lock(&file).map_err(|error| match error {
            TryLockError::Error(source) => unusable(source),
            TryLockError::WouldBlock => {
                StoreError::Locked { place: dir.display().to_string(), holder: describe(dir) }
            }
        })?;
        write_owner(&mut file, owner).map_err(unusable)?;
        Ok(Self { _file: file })
    }
}

/// Returns the live process that holds the lock of a directory, if it said who it is.
pub(super) fn owner(dir: &Path) -> Option<LockOwner> {
    let file = File::open(dir.join(LOCK_FILE)).ok()?;
    let is_free = file.try_lock_shared().is_ok();
    if is_free { None } else { read_owner(dir) }
}

fn lock(file: &File) -> Result<(), TryLockError> {
    for _ in 1..MAX_LOCK_ATTEMPTS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY_INTERVAL),
            decided => return decided,
        }
    }
    file.try_lock()
}

fn write_owner(file: &mut File, owner: &LockOwner) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    serde_json::to_writer(file, owner).map_err(io::Error::from)
}

fn read_owner(dir: &Path) -> Option<LockOwner> {
    serde_json::from_slice(&std::fs::read(dir.join(LOCK_FILE)).ok()?).ok()
}

fn describe(dir: &Path) -> String {
    match read_owner(dir) {
        Some(LockOwner { pid, doing, address: Some(address) }) => {
            format!("process {pid} (`{doing}`, at {address})")
        }
        Some(LockOwner { pid, doing, address: None }) => format!("process {pid} (`{doing}`)"),
        None => "another process".into(),
    }
}
