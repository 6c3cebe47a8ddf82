//! One run's file, open at its end.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use crate::journal::{EventRecord, StoreError};

/// A run's file, locked for as long as it is open, so that others can tell that the run lives.
pub(super) struct RunFile {
    path: PathBuf,
    file: File,
    events: u64,
    length: u64,
}

impl RunFile {
    /// Makes the file of a new run with its first lines in it. It gets its name when they are on disk: a run whose
    /// journal has no beginning must not exist.
    pub(super) fn create(path: &Path, lines: &[u8], events: u64) -> Result<Self, StoreError> {
        let temporary = path.with_extension("jsonl.new");
        let create_file = || {
            let mut options = OpenOptions::new();
            let mut file =
                options.read(true).write(true).create(true).truncate(true).open(&temporary)?;
            lock(&file)?;
            file.write_all(lines)?;
            file.sync_data()?;
            std::fs::rename(&temporary, path)?;
            // A new name survives a power cut only when the folder that holds it does.
            path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
            Ok(file)
        };
        let file = create_file().map_err(io_error("make the journal", path))?;
        Ok(Self { path: path.to_owned(), file, events, length: lines.len() as u64 })
    }

    /// Opens the file of a run at the end of its last whole line; `None` when there is no such file.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io_error("open the journal", path))?,
        };
        lock(&file).map_err(io_error("lock the journal", path))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io_error("read the journal", path))?;
        let whole = complete_length(&text);
        let events = parse(path, &text[..whole])?.len() as u64;
        let mut opened = Self { path: path.to_owned(), file, events, length: whole as u64 };
        opened.truncate().map_err(io_error("mend the torn last line of", path))?;
        Ok(Some(opened))
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Adds lines. When it fails, none of them is there: what is not known to be written must not be found later.
    pub(super) fn append(
        &mut self,
        lines: &[u8],
        events: u64,
        sync: bool,
    ) -> Result<(), StoreError> {
        let written = self.file.write_all(lines).and_then(|()| match sync {
            true => self.file.sync_data(),
            false => Ok(()),
        });
        if let Err(source) = written {
            // When this fails too, the file keeps lines that nobody acted on: a resume looks at the world anyway.
            let _ = self.truncate();
            return Err(io_error("write to the journal", &self.path)(source));
        }
        self.events += events;
        self.length += lines.len() as u64;
        Ok(())
    }

    fn truncate(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length)).map(drop)
    }
}

/// All events of a file; `None` when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<EventRecord>>, StoreError> {
    match std::fs::read(path) {
        Ok(text) => parse(path, &text[..complete_length(&text)]).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io_error("read the journal", path)(source)),
    }
}

/// Whoever looks whether the run lives holds a shared lock for a moment; a writer waits for it.
fn lock(file: &File) -> io::Result<()> {
    file.lock()
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { doing, path, source }
}

/// The length of the text up to the end of its last whole line.
fn complete_length(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

fn parse(path: &Path, text: &[u8]) -> Result<Vec<EventRecord>, StoreError> {
    let damaged = |line: usize, why: String| StoreError::Damaged {
        path: path.to_owned(),
        line: line + 1,
        why,
    };
    let mut records = Vec::new();
    for (line, bytes) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let record: EventRecord = serde_json::from_slice(bytes)
            .map_err(|error| damaged(line, format!("not an event: {error}")))?;
        if record.seq != line as u64 {
            let why = format!("event {} stands where event {line} should", record.seq);
            return Err(damaged(line, why));
        }
        records.push(record);
    }
    Ok(records)
}
