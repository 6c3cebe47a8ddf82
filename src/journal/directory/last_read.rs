//! The journal that was read last, and how far: a client that follows a run asks for what is new, and pays for
//! that only.

use std::{
    fs::File,
    io::{ErrorKind, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{file_identity::FileIdentity, run_file::failed};
use crate::journal::{
    RecordedEvent, StoreError,
    lines::{self, LineReader},
};

/// Reads journals, and remembers where the last reading ended.
#[derive(Default)]
pub(super) struct LastRead(Mutex<Option<Place>>);

/// The end of what was read of a file.
struct Place {
    path: PathBuf,
    file: FileIdentity,
    /// In bytes.
    length: u64,
    reader: LineReader,
}

impl LastRead {
    /// Returns the events of a file from this one on; `None` when there is no such file.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or comes from a newer version.
    pub(super) fn read(
        &self,
        path: &Path,
        from: u64,
    ) -> Result<Option<Vec<RecordedEvent>>, StoreError> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed("read the journal", path))?,
        };
        let metadata = file.metadata().map_err(failed("read the journal", path))?;
        let identity = FileIdentity::of(&metadata);
        // Taken out: a reader that has met an error is not used again, and two clients do not wait for each other.
        let place = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let place = place.filter(|place| {
            place.path == path
                && place.file == identity
                && place.length <= metadata.len()
                && place.reader.count() <= from
        });
        let is_continued = place.is_some();
        let new = || Place {
            path: path.to_owned(),
            file: identity,
            length: 0,
            reader: LineReader::default(),
        };
        let read = place.unwrap_or_else(new).read_on(&mut file);
        let (place, mut events) = match read {
            // What was read before may have been taken back since, by an append that failed.
            Err(_) if is_continued => new().read_on(&mut file)?,
            read => read?,
        };
        let first = place.reader.count() - events.len() as u64;
        let unwanted = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        events.drain(..unwanted.min(events.len()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        Ok(Some(events))
    }
}

impl Place {
    /// Reads the whole lines after this place, and returns the place after them and their events.
    fn read_on(mut self, file: &mut File) -> Result<(Self, Vec<RecordedEvent>), StoreError> {
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(self.length))
            .and_then(|_| file.read_to_end(&mut text))
            .map_err(failed("read the journal", &self.path))?;
        let whole = &text[..lines::whole_lines(&text)];
        let events = self.reader.read(&self.path.display().to_string(), whole)?;
        self.length += whole.len() as u64;
        Ok((self, events))
    }
}
