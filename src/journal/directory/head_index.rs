//! The heads of a directory's runs, in one file that is read without parsing more than is asked for.
//!
//! Each line is a head as it was at some time; the last line of a run counts. A line says whether the head is final,
//! how long the run's file was, and when the directory of runs was last changed. So the index knows without reading a
//! journal whether a line is current, and which files it has not seen. It is a cache: whatever is wrong with it, the
//! journals say.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata, OpenOptions},
    io::Write as _,
    ops::Range,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{run_file, unavailable};
use crate::journal::{HeadEntry, HeadQuery, RunHead, RunId, StoreError, store::no_start};

/// The first line. A file that begins otherwise is of another version, and is rebuilt.
const HEADER: &str = "{\"heads\":1}";

/// How many stale lines the file may hold for each run before it is written anew.
const STALE_LINES: usize = 4;

/// The heads of the runs of a directory.
pub(super) struct HeadIndex {
    directory: PathBuf,
    /// The file as it was read. A line is parsed when its run is asked for, and not copied before.
    text: String,
    slots: BTreeMap<RunId, Slot>,
    /// How many lines the file has, the header not counted.
    lines: usize,
    /// Whether there are runs that the file has no line for, such as those that were copied into the directory.
    is_incomplete: bool,
}

/// The knowledge of one run.
enum Slot {
    /// The place in the text of a line that was not needed so far.
    Line(Range<usize>),
    /// A head with what its file was like.
    Head(Box<RunHead>, Stamp),
    /// Nothing: the file has to be read.
    Unknown,
}

/// A file as it was when its head was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    length: u64,
    seconds: i64,
    nanoseconds: i64,
}

/// One line of the index. `run` and `final` come first: they are read without parsing the line.
#[derive(Serialize, Deserialize)]
struct Line {
    run: RunId,
    r#final: bool,
    file: Stamp,
    runs: Stamp,
    head: RunHead,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        Self { length: metadata.len(), seconds, nanoseconds }
    }

    /// The stamp of a path; nothing is like a file that is not there.
    fn at(path: &Path) -> Self {
        fs::metadata(path).map(|metadata| Self::of(&metadata)).unwrap_or_default()
    }
}

impl Slot {
    fn is_final(&self, text: &str) -> bool {
        match self {
            // As `Line` is serialized.
            Self::Line(line) => text[line.clone()].contains("\",\"final\":true,"),
            Self::Head(head, _) => head.is_final(),
            Self::Unknown => false,
        }
    }

    /// Whether the run can have this key.
    fn may_have_key(&self, text: &str, key: &str) -> bool {
        match self {
            Self::Line(line) => serde_json::to_string(key)
                .is_ok_and(|quoted| text[line.clone()].contains(quoted.as_str())),
            Self::Head(head, _) => head.key.as_deref() == Some(key),
            Self::Unknown => true,
        }
    }
}

impl HeadIndex {
    /// Reads the index of a state directory, and takes note of the files that it does not know.
    pub(super) fn load(directory: &Path) -> Self {
        let mut index = Self {
            directory: directory.to_owned(),
            text: String::new(),
            slots: BTreeMap::new(),
            lines: 0,
            is_incomplete: false,
        };
        let seen = index.read_lines();
        let runs = index.runs_directory();
        if seen != Some(Stamp::at(&runs)) {
            index.reconcile(&runs);
        }
        index
    }

    fn runs_directory(&self) -> PathBuf {
        self.directory.join("runs")
    }

    fn file(&self) -> PathBuf {
        self.directory.join("heads.jsonl")
    }

    /// Reads the lines and returns what the directory of runs was like when the last one was written.
    fn read_lines(&mut self) -> Option<Stamp> {
        let text = fs::read_to_string(self.file()).ok()?;
        let mut lines = Vec::new();
        let mut end = 0;
        for line in text.split_inclusive('\n') {
            let start = end;
            end += line.len();
            // A line without an end was being written when its writer died.
            if line.ends_with('\n') {
                lines.push(start..end - 1);
            }
        }
        let (header, lines) = lines.split_first()?;
        if text[header.clone()] != *HEADER {
            return None;
        }
        let run_of_line = |line: &Range<usize>| -> Option<RunId> {
            text[line.clone()].strip_prefix("{\"run\":\"")?.split_once('"')?.0.parse().ok()
        };
        // Of the lines of one run the last one counts.
        let slots: Option<BTreeMap<_, _>> =
            lines.iter().map(|line| Some((run_of_line(line)?, Slot::Line(line.clone())))).collect();
        let last: Line = serde_json::from_str(&text[lines.last()?.clone()]).ok()?;
        (self.slots, self.lines, self.text) = (slots?, lines.len(), text);
        Some(last.runs)
    }

    /// Compares the index with the files that there are.
    fn reconcile(&mut self, runs: &Path) {
        let entries = fs::read_dir(runs).into_iter().flatten();
        let names: Vec<RunId> = entries.filter_map(|entry| run_of(&entry.ok()?.path())).collect();
        let mut known = std::mem::take(&mut self.slots);
        for run in names {
            let slot = known.remove(&run).unwrap_or_else(|| {
                self.is_incomplete = true;
                Slot::Unknown
            });
            self.slots.insert(run, slot);
        }
    }

    /// Takes note of a run's head after an append, and writes it where a reader must know it: when the run becomes open
    /// and when it stops.
    pub(super) fn update(&mut self, head: &RunHead, path: &Path) {
        let stamp = Stamp::at(path);
        let was_open = matches!(self.slots.get(&head.run), Some(Slot::Head(before, _)) if before.ended_at.is_none());
        let is_open = head.ended_at.is_none();
        self.slots.insert(head.run.clone(), Slot::Head(Box::new(head.clone()), stamp));
        if was_open && is_open {
            return;
        }
        // The index is a cache: a reader that finds an old line reads the journal.
        if let Err(error) = self.write(head, stamp) {
            tracing::debug!(%error, "the index of runs was not written");
        }
    }

    fn write(&mut self, head: &RunHead, stamp: Stamp) -> std::io::Result<()> {
        let is_long = self.lines > STALE_LINES * self.slots.len() + 64;
        if self.lines == 0 || self.is_incomplete || is_long {
            return self.rewrite();
        }
        let line = line(head, stamp, self.directory_stamp())?;
        let mut file = OpenOptions::new().append(true).open(self.file())?;
        file.write_all(line.as_bytes())?;
        self.lines += 1;
        Ok(())
    }

    /// Returns the stamp to write into a line: what the directory is like now, if each of its runs has a line.
    /// Otherwise it is one that no directory has, so that the next process reads the directory.
    fn directory_stamp(&self) -> Stamp {
        let has_no_line = |slot: &Slot| matches!(slot, Slot::Unknown);
        if self.slots.values().any(has_no_line) {
            return Stamp::default();
        }
        Stamp::at(&self.runs_directory())
    }

    /// Writes the whole index, without stale lines.
    fn rewrite(&mut self) -> std::io::Result<()> {
        for run in self.slots.keys().cloned().collect::<Vec<_>>() {
            // One that cannot be read has no line; it is read again each time.
            let _ = self.head(&run);
        }
        let mut text = format!("{HEADER}\n");
        let mut lines = 0;
        let runs = self.directory_stamp();
        for slot in self.slots.values() {
            let Slot::Head(head, stamp) = slot else { continue };
            text += &line(head, *stamp, runs)?;
            lines += 1;
        }
        let unnamed = self.directory.join("heads.jsonl.new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&unnamed)?.write_all(text.as_bytes())?;
        fs::rename(&unnamed, self.file())?;
        self.lines = lines;
        self.is_incomplete = false;
        Ok(())
    }

    /// Forgets a run whose file was removed.
    pub(super) fn forget(&mut self, run: &RunId) {
        self.slots.remove(run);
    }

    /// Writes the index without the runs that were forgotten.
    pub(super) fn rewrite_after_removal(&mut self) {
        // The index is a cache: a reader compares it with the files that there are.
        if let Err(error) = self.rewrite() {
            tracing::debug!(%error, "the index of runs was not written");
        }
    }

    /// Returns the head of a run, from the index where it is current, else from the run's file.
    pub(super) fn head(&mut self, run: &RunId) -> Result<Option<RunHead>, StoreError> {
        let Some(slot) = self.slots.get_mut(run) else { return Ok(None) };
        if let Slot::Line(line) = slot {
            *slot = match serde_json::from_str::<Line>(&self.text[line.clone()]) {
                Ok(line) => Slot::Head(Box::new(line.head), line.file),
                Err(_) => Slot::Unknown,
            };
        }
        let path = self.runs_directory().join(format!("{run}.jsonl"));
        let stamp = Stamp::at(&path);
        if let Some(Slot::Head(head, taken)) = self.slots.get(run)
            && *taken == stamp
        {
            return Ok(Some((**head).clone()));
        }
        let Some(events) = run_file::read(&path)? else {
            self.slots.remove(run);
            return Ok(None);
        };
        let head = RunHead::of(run, &events).ok_or_else(|| no_start(run))?;
        self.slots.insert(run.clone(), Slot::Head(Box::new(head.clone()), stamp));
        Ok(Some(head))
    }

    /// Returns the heads that a query asks for, the oldest first.
    pub(super) fn query(&mut self, query: &HeadQuery) -> Result<Vec<HeadEntry>, StoreError> {
        let runs = self.runs_directory();
        if let Err(error) = fs::read_dir(&runs)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(unavailable("use", &self.directory, &error));
        }
        let newest_first = self.slots.iter().rev();
        let ids = |slots: &mut dyn Iterator<Item = (&RunId, &Slot)>| -> Vec<RunId> {
            slots.map(|(run, _)| run.clone()).collect()
        };
        let mut wanted = match query {
            HeadQuery::All => ids(&mut newest_first.into_iter()),
            HeadQuery::Newest(limit) => ids(&mut newest_first.take(*limit)),
            HeadQuery::Before(run, limit) => {
                ids(&mut newest_first.filter(|(id, _)| *id < run).take(*limit))
            }
            HeadQuery::Open => {
                ids(&mut newest_first.filter(|(_, slot)| !slot.is_final(&self.text)))
            }
            HeadQuery::WithKey(key) => {
                ids(&mut newest_first.filter(|(_, slot)| slot.may_have_key(&self.text, key)))
            }
        };
        wanted.reverse();
        let mut found = Vec::new();
        for run in wanted {
            let head = match self.head(&run) {
                Ok(Some(head)) => Ok(head),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            let is_wanted = match (query, &head) {
                (HeadQuery::Open, Ok(head)) => !head.is_final(),
                (HeadQuery::WithKey(key), Ok(head)) => head.key.as_ref() == Some(key),
                (HeadQuery::WithKey(_), Err(_)) => false,
                _ => true,
            };
            if is_wanted {
                found.push(HeadEntry { run, head });
            }
        }
        Ok(found)
    }
}

/// Returns the line of a head, whose file and whose directory of runs were like this.
fn line(head: &RunHead, file: Stamp, runs: Stamp) -> std::io::Result<String> {
    let line =
        Line { run: head.run.clone(), r#final: head.is_final(), file, runs, head: head.clone() };
    Ok(serde_json::to_string(&line)? + "\n")
}

/// The run whose journal a file is.
fn run_of(path: &Path) -> Option<RunId> {
    if path.extension()? != "jsonl" {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}
