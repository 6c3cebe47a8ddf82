//! The right to write to a state directory, which one process has at a time.

use std::{
    fs::{File, TryLockError},
    io::{self, Seek as _, SeekFrom},
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    file_identity::{FileIdentity, private},
    unavailable,
};
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
    identity: FileIdentity,
    owner: LockOwner,
}

/// A random id of the running kernel, which all its containers see. Other systems than Linux have none.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

impl WriterLock {
    /// Takes the lock of a directory and writes into it who holds it.
    pub(super) fn acquire(dir: &Path, owner: &LockOwner) -> Result<Self, StoreError> {
        let unusable = |error: io::Error| unavailable("use", dir, &error);
        let mut options = private();
        options.create(true).read(true).write(true).truncate(false);
        let mut file = options.open(dir.join(LOCK_FILE)).map_err(unusable)?;
        lock(&file).map_err(|error| match error {
            TryLockError::Error(source) => unusable(source),
            TryLockError::WouldBlock => {
                StoreError::Locked { place: dir.display().to_string(), holder: describe(dir) }
            }
        })?;
        write_owner(&mut file, owner).map_err(unusable)?;
        let identity = FileIdentity::of(&file.metadata().map_err(unusable)?);
        Ok(Self { _file: file, identity, owner: owner.clone() })
    }

    /// Returns the process that holds the lock: this one.
    pub(super) fn owner(&self) -> &LockOwner {
        &self.owner
    }

    /// Returns an id of the lock file on this machine since it started. Of two processes that found the same, only one
    /// can hold the lock.
    pub(super) fn exclusive_id(&self) -> Option<String> {
        let boot = std::fs::read_to_string(BOOT_ID).ok()?;
        Some(format!("{}/{}", boot.trim(), self.identity))
    }

    /// Checks that the lock still is the one of the directory. In a directory that was replaced another process could
    /// take another lock, and both would act.
    pub(super) fn ensure_held(&self, dir: &Path) -> Result<(), StoreError> {
        let unusable = |error: io::Error| unavailable("write to", dir, &error);
        let named = std::fs::symlink_metadata(dir.join(LOCK_FILE)).map_err(unusable)?;
        if FileIdentity::of(&named) == self.identity {
            return Ok(());
        }
        let problem = "it was replaced by another directory, or its lock by another file";
        Err(unusable(io::Error::other(problem)))
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
