//! One run's file, open at its end.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use super::{
    file_identity::{FileIdentity, private},
    unavailable,
};
use crate::journal::{
    RecordedEvent, RunHead, RunId, StoreError,
    lines::{self, Checksum},
    store::no_start,
};

/// A run's file, locked for as long as it is open, so that other processes can tell that the run is live.
pub(super) struct RunFile {
    path: PathBuf,
    file: File,
    head: RunHead,
    length: u64,
    sum: Checksum,
}

impl RunFile {
    /// Creates the file of a new run with its first lines in it. The file gets its name when they are on disk: a run
    /// whose journal has no first event must not exist.
    pub(super) fn create(
        path: &Path,
        run: &RunId,
        events: &[RecordedEvent],
    ) -> Result<Self, StoreError> {
        let (text, sum) = to_lines(path, events, Checksum::default())?;
        let head = RunHead::of(run, events).ok_or_else(|| no_start(run))?;
        let unnamed = path.with_extension("jsonl.new");
        let created = || {
            let mut options = private();
            options.read(true).write(true).create(true).truncate(true);
            let mut file = options.open(&unnamed)?;
            lock(&file)?;
            file.write_all(&text)?;
            file.sync_data()?;
            std::fs::rename(&unnamed, path)?;
            // A new name survives a power cut only when the directory that holds it does.
            path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())?;
            Ok(file)
        };
        let file = created().map_err(failed("create the journal", path))?;
        Ok(Self { path: path.to_owned(), file, head, length: text.len() as u64, sum })
    }

    /// Opens the file of a run at the end of its last whole line; `None` when there is no such file.
    pub(super) fn open(path: &Path, run: &RunId) -> Result<Option<Self>, StoreError> {
        let mut file = match private().read(true).write(true).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed("open the journal", path))?,
        };
        lock(&file).map_err(failed("lock the journal", path))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed("read the journal", path))?;
        let whole = lines::whole_lines(&text);
        let (events, sum) = lines::parse(&path.display().to_string(), &text[..whole])?;
        let head = RunHead::of(run, &events).ok_or_else(|| no_start(run))?;
        let length = whole as u64;
        let mut opened = Self { path: path.to_owned(), file, head, length, sum };
        opened.truncate().map_err(failed("remove the torn last line of", path))?;
        Ok(Some(opened))
    }

    /// Returns the head of the run as the file has it.
    pub(super) fn head(&self) -> &RunHead {
        &self.head
    }

    /// Appends lines. When it fails, none of them is there: what is not known to be written must not be found later.
    pub(super) fn append(
        &mut self,
        events: &[RecordedEvent],
        sync: bool,
    ) -> Result<(), StoreError> {
        let (text, sum) = to_lines(&self.path, events, self.sum)?;
        if sync {
            self.ensure_named()?;
        }
        let written = self.file.write_all(&text).and_then(|()| match sync {
            true => self.file.sync_data(),
            false => Ok(()),
        });
        if let Err(error) = written {
            // When this fails too, the file keeps lines that were not acted on: a resume reads the platform anyway.
            let _ = self.truncate();
            return Err(unavailable("write to the journal", &self.path, &error));
        }
        events.iter().for_each(|event| self.head.apply(event));
        self.length += text.len() as u64;
        self.sum = sum;
        Ok(())
    }

    /// Checks that the file still has its name: what is written to a file that was removed or replaced is lost.
    fn ensure_named(&self) -> Result<(), StoreError> {
        let own = FileIdentity::of(
            &self.file.metadata().map_err(failed("check the journal", &self.path))?,
        );
        match std::fs::symlink_metadata(&self.path) {
            Ok(named) if FileIdentity::of(&named) == own => Ok(()),
            Ok(_) => Err(gone(&self.path, "another file has its name")),
            Err(error) => Err(unavailable("write to the journal", &self.path, &error)),
        }
    }

    fn truncate(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length)).map(drop)
    }
}

/// Returns all events of a file; `None` when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<RecordedEvent>>, StoreError> {
    match std::fs::read(path) {
        Ok(text) => {
            let whole = &text[..lines::whole_lines(&text)];
            lines::parse(&path.display().to_string(), whole).map(|(events, _)| Some(events))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unavailable("read the journal", path, &error)),
    }
}

fn to_lines(
    path: &Path,
    events: &[RecordedEvent],
    sum: Checksum,
) -> Result<(Vec<u8>, Checksum), StoreError> {
    lines::to_lines(events, sum)
        .map_err(|error| unavailable("write an event to", path, &io::Error::other(error)))
}

/// A process that checks whether the run is live holds a shared lock for a moment; a writer waits for it.
fn lock(file: &File) -> io::Result<()> {
    file.lock()
}

fn gone(path: &Path, problem: &str) -> StoreError {
    unavailable("write to the journal", path, &io::Error::other(problem.to_owned()))
}

/// Returns how an error of a file is reported.
pub(super) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |error| unavailable(operation, path, &error)
}
