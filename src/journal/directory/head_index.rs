//! The heads of a directory's runs, in two files, of which no more is read than is asked for.
//!
//! `heads.jsonl` has the heads. `heads.index.jsonl` has a short line for each, which says where the head is; the last
//! line of a run counts. A line says whether the head is final, how long the run's file was, and, if it is the last
//! one, when the directory of runs was last changed. So the index knows without reading a journal whether a line is
//! current, and which files it has not seen. It is a cache: whatever is wrong with it, the journals say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Metadata},
    io::Write as _,
    ops::Range,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{file_identity::private, run_file, unavailable};
use crate::journal::{HeadEntry, HeadQuery, RunHead, RunId, StoreError, store::no_start};

/// The first line. A file that begins otherwise is of another version, and is rebuilt.
const HEADER: &str = "{\"heads\":3}";

/// How many stale lines the file may hold for each run before it is written anew.
const STALE_LINES: usize = 4;

/// The heads of the runs of a directory.
pub(super) struct HeadIndex {
    directory: PathBuf,
    /// The index as it was read. A line is parsed when its run is asked for, and not copied before.
    text: String,
    /// The file of heads that the lines mean, once one was asked for.
    heads: Option<File>,
    slots: BTreeMap<RunId, Slot>,
    /// How many lines the file has, the header not counted.
    lines: usize,
    /// Whether there are runs that the file has no line for, such as those that were copied into the directory.
    is_incomplete: bool,
    created: Arc<CreatedRuns>,
}

/// The runs whose files are there, or are about to be, and that the index may not know yet. Locked for operations on
/// memory only: the run that creates a file does not have the index.
#[derive(Default)]
pub(super) struct CreatedRuns(Mutex<BTreeSet<RunId>>);

impl CreatedRuns {
    pub(super) fn insert(&self, run: &RunId) {
        self.runs().insert(run.clone());
    }

    pub(super) fn remove(&self, run: &RunId) {
        self.runs().remove(run);
    }

    fn runs(&self) -> MutexGuard<'_, BTreeSet<RunId>> {
        // Each change is one call: a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
#[serde(from = "(u64, i64, i64)", into = "(u64, i64, i64)")]
pub(super) struct Stamp {
    length: u64,
    seconds: i64,
    nanoseconds: i64,
}

/// One line of the index. `run` and `final` come first: they are read without parsing the line.
#[derive(Serialize, Deserialize)]
struct Line {
    run: RunId,
    r#final: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    file: Stamp,
    head: Place,
    /// The directory of runs as it was; needed in the last line only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runs: Option<Stamp>,
}

/// The place of a head in the file of heads: where it begins, and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Place(u64, u64);

/// The longest head that is read: its failure is bounded, and its other texts are short.
const MAX_HEAD: u64 = 1 << 20;

impl From<(u64, i64, i64)> for Stamp {
    fn from((length, seconds, nanoseconds): (u64, i64, i64)) -> Self {
        Self { length, seconds, nanoseconds }
    }
}

impl From<Stamp> for (u64, i64, i64) {
    fn from(Stamp { length, seconds, nanoseconds }: Stamp) -> Self {
        (length, seconds, nanoseconds)
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        Self { length: metadata.len(), seconds, nanoseconds }
    }

    /// The stamp of a path; nothing is like a file that is not there.
    pub(super) fn at(path: &Path) -> Self {
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
    pub(super) fn load(directory: &Path, created: &Arc<CreatedRuns>) -> Self {
        let mut index = Self {
            directory: directory.to_owned(),
            text: String::new(),
            heads: None,
            slots: BTreeMap::new(),
            lines: 0,
            is_incomplete: false,
            created: Arc::clone(created),
        };
        let seen = index.read_lines();
        let runs = index.runs_directory();
        if seen.is_none_or(|seen| seen != Stamp::at(&runs)) {
            index.reconcile(&runs);
        }
        index
    }

    fn runs_directory(&self) -> PathBuf {
        self.directory.join("runs")
    }

    fn file(&self) -> PathBuf {
        self.directory.join("heads.index.jsonl")
    }

    fn heads_file(&self) -> PathBuf {
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
        last.runs
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

    /// Takes note of a run's head after an append, when the run's file was like that, and writes the head where a
    /// reader must know it: when the run becomes open and when it stops.
    pub(super) fn update(&mut self, head: &RunHead, stamp: Stamp) {
        let was_open = matches!(self.slots.get(&head.run), Some(Slot::Head(before, _)) if before.ended_at.is_none());
        let is_open = head.ended_at.is_none();
        self.slots.insert(head.run.clone(), Slot::Head(Box::new(head.clone()), stamp));
        if was_open && is_open {
            return;
        }
        // The index is a cache: a reader that finds an old line reads the journal. One that finds no line must find no
        // later line either that says that the index is complete.
        if let Err(error) = self.write(head, stamp) {
            self.is_incomplete = true;
            tracing::debug!(%error, "the index of runs was not written");
        }
    }

    fn write(&mut self, head: &RunHead, stamp: Stamp) -> std::io::Result<()> {
        let is_long = self.lines > STALE_LINES * self.slots.len() + 64;
        if self.lines == 0 || self.is_incomplete || is_long {
            return self.rewrite();
        }
        let text = serde_json::to_string(head)? + "\n";
        let mut heads = private().append(true).open(self.heads_file())?;
        let place = Place(heads.metadata()?.len(), text.len() as u64);
        heads.write_all(text.as_bytes())?;
        let line = line(head, stamp, place, Some(self.directory_stamp()))?;
        let mut file = private().append(true).open(self.file())?;
        file.write_all(line.as_bytes())?;
        self.lines += 1;
        Ok(())
    }

    /// Returns the stamp to write into a line: what the directory is like now, if each of its runs has a line.
    /// Otherwise it is one that no directory has, so that the next process reads the directory.
    fn directory_stamp(&self) -> Stamp {
        // In this order: a run that is not among the created ones yet is created after the directory was like this.
        let stamp = Stamp::at(&self.runs_directory());
        let has_no_line = |slot: &Slot| matches!(slot, Slot::Unknown);
        let is_unknown = |run: &RunId| !self.slots.contains_key(run);
        if self.slots.values().any(has_no_line) || self.created.runs().iter().any(is_unknown) {
            return Stamp::default();
        }
        stamp
    }

    /// Writes the whole index, without stale lines.
    fn rewrite(&mut self) -> std::io::Result<()> {
        for run in self.slots.keys().cloned().collect::<Vec<_>>() {
            // One that cannot be read has no line; it is read again each time.
            let _ = self.head(&run);
        }
        let mut text = format!("{HEADER}\n");
        let mut heads = String::new();
        let runs = self.directory_stamp();
        let known = self.slots.values().filter_map(|slot| match slot {
            Slot::Head(head, stamp) => Some((head, *stamp)),
            Slot::Line(_) | Slot::Unknown => None,
        });
        let lines = known.clone().count();
        for (index, (head, stamp)) in known.enumerate() {
            let start = heads.len();
            heads += &serde_json::to_string(head)?;
            heads.push('\n');
            let place = Place(start as u64, (heads.len() - start) as u64);
            text += &line(head, stamp, place, (index + 1 == lines).then_some(runs))?;
        }
        // A line whose head is not where it says is read from the journal, so either may come first.
        self.replace(&self.heads_file(), &heads)?;
        self.replace(&self.file(), &text)?;
        self.heads = None;
        self.lines = lines;
        self.is_incomplete = false;
        Ok(())
    }

    fn replace(&self, path: &Path, text: &str) -> std::io::Result<()> {
        let unnamed = self.directory.join("heads.new");
        let mut options = private();
        options.write(true).create(true).truncate(true);
        options.open(&unnamed)?.write_all(text.as_bytes())?;
        fs::rename(&unnamed, path)
    }

    /// Reads a head from the file of heads; `None` where another run's or none is there.
    fn read_head(&mut self, line: &Line) -> Option<RunHead> {
        let path = self.heads_file();
        let file = match &mut self.heads {
            Some(file) => file,
            none => none.insert(File::open(path).ok()?),
        };
        let Place(start, length) = line.head;
        let mut bytes = vec![0; usize::try_from(length.min(MAX_HEAD)).ok()?];
        file.read_exact_at(&mut bytes, start).ok()?;
        let head: RunHead = serde_json::from_slice(&bytes).ok()?;
        (head.run == line.run).then_some(head)
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
        match self.slots.get(run) {
            None => return Ok(None),
            Some(Slot::Line(line)) => {
                let line = serde_json::from_str::<Line>(&self.text[line.clone()]).ok();
                let read = line.and_then(|line| Some((self.read_head(&line)?, line.file)));
                let slot = read.map_or(Slot::Unknown, |(head, file)| Slot::Head(head.into(), file));
                self.slots.insert(run.clone(), slot);
            }
            Some(Slot::Head(..) | Slot::Unknown) => {}
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

/// Returns the line of a head, which is at that place, and whose file and whose directory of runs were like this.
fn line(head: &RunHead, file: Stamp, place: Place, runs: Option<Stamp>) -> std::io::Result<String> {
    let (run, key) = (head.run.clone(), head.key.clone());
    let line = Line { run, r#final: head.is_final(), key, file, head: place, runs };
    Ok(serde_json::to_string(&line)? + "\n")
}

/// The run whose journal a file is.
fn run_of(path: &Path) -> Option<RunId> {
    if path.extension()? != "jsonl" {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}
