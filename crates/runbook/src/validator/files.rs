//! The files to check: finds them, reads them within limits and checks several at a time.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::{ActionRegistry, Diagnostic, Library, MAX_BYTES, MissingRunbook, Source};

/// The extensions of the files of runbooks.
const EXTENSIONS: [&str; 2] = ["yaml", "yml"];

/// A file that was read, with its diagnostics.
pub(super) struct CheckedFile {
    pub(super) source: Source,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// A path that cannot be read: a mistake in the call and not in a runbook.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}")]
pub(super) struct ReadError {
    path: String,
    source: io::Error,
}

impl ReadError {
    fn new(path: &Path, source: io::Error) -> Self {
        Self { path: path.display().to_string(), source }
    }
}

/// Returns the files that the paths name, each once: a file itself, and of a directory all .yaml and .yml files at any
/// depth, by name. A directory that cannot be read is reported beside the files that can.
pub(super) fn collect(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<ReadError>) {
    let mut files = Vec::new();
    let mut read_errors = Vec::new();
    for path in paths {
        if !is_standard_input(path) && path.is_dir() {
            walk(path, &mut files, &mut read_errors);
        } else {
            files.push(path.clone());
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    files.retain(|file| seen.insert(file.clone()));
    (files, read_errors)
}

/// Links to directories are not followed, because they can lead in circles. Hidden entries, such as `.git`, hold no
/// runbooks.
fn walk(dir: &Path, files: &mut Vec<PathBuf>, read_errors: &mut Vec<ReadError>) {
    let entries = match dir.read_dir().and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(error) => return read_errors.push(ReadError::new(dir, error)),
    };
    let mut paths: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).collect();
    paths.sort();
    for path in paths.into_iter().filter(|path| !is_hidden(path)) {
        if path.is_dir() {
            if !path.is_symlink() {
                walk(&path, files, read_errors);
            }
        } else if is_runbook(&path) {
            files.push(path);
        }
    }
}

fn is_runbook(path: &Path) -> bool {
    path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known))
}

/// Returns the runbooks that are directly in a directory.
pub(crate) fn runbooks_in(dir: &Path) -> impl Iterator<Item = PathBuf> {
    // The directory of a bare file name is the one of the process.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let entries = dir.read_dir().into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| is_runbook(path))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

pub(super) fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == OsStr::new("-")
}

/// Reads and checks every file, as many at a time as the machine has processors. The results come in the order of the
/// files.
pub(super) fn check(
    files: &[PathBuf],
    registry: &ActionRegistry,
    others: &dyn Library,
) -> (Vec<CheckedFile>, Vec<ReadError>) {
    let workers = thread::available_parallelism().map_or(1, usize::from).min(files.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((at, file)) = take(files, &next) {
            done.push((at, check_one(file, registry, others)));
        }
        done
    };
    let mut results: Vec<_> = if workers < 2 {
        work() // one small file is the usual case, and a thread costs more than it
    } else {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            threads.into_iter().flat_map(joined).collect()
        })
    };
    results.sort_by_key(|(at, _)| *at);
    let mut checked = Vec::new();
    let mut read_errors = Vec::new();
    for (_, result) in results {
        match result {
            Ok(one) => checked.push(one),
            Err(error) => read_errors.push(error),
        }
    }
    (checked, read_errors)
}

/// The runbooks that a file can call: those in its directory, and then others.
pub(crate) struct Callable<'l> {
    dir: Option<PathBuf>,
    others: &'l dyn Library,
}

impl<'l> Callable<'l> {
    pub(crate) fn by(source: &Source, others: &'l dyn Library) -> Self {
        Self { dir: Path::new(source.name()).parent().map(Path::to_owned), others }
    }
}

impl Library for Callable<'_> {
    fn find(&self, name: &str) -> Result<Source, MissingRunbook> {
        let Some(dir) = &self.dir else { return self.others.find(name) };
        for extension in EXTENSIONS {
            let path = dir.join(format!("{name}.{extension}"));
            let bytes = match File::open(&path).and_then(read) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(MissingRunbook::Unreadable(error.to_string())),
            };
            let source = Source::from_bytes(path.display().to_string(), bytes);
            return source.map_err(|error| MissingRunbook::Unreadable(error.to_string()));
        }
        let mut names = match self.others.find(name) {
            Err(MissingRunbook::Unknown(names)) => names,
            found => return found,
        };
        let stem = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
        names.extend(runbooks_in(dir).filter_map(stem));
        names.sort();
        names.dedup();
        Err(MissingRunbook::Unknown(names))
    }
}

fn take<'f>(files: &'f [PathBuf], next: &AtomicUsize) -> Option<(usize, &'f PathBuf)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    files.get(at).map(|file| (at, file))
}

/// Passes on the panic of a thread: a bug in the checks must not appear as an empty result.
fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn check_one(
    path: &Path,
    registry: &ActionRegistry,
    others: &dyn Library,
) -> Result<CheckedFile, ReadError> {
    let (name, bytes) = read_path(path);
    let bytes = bytes.map_err(|error| ReadError::new(Path::new(&name), error))?;
    Ok(check_bytes(name, bytes, registry, others))
}

/// Reads a file that is a text of a size that is checked.
pub(super) fn read_source(path: &Path) -> Option<Source> {
    let (name, bytes) = read_path(path);
    let bytes = bytes.ok().filter(|bytes| bytes.len() <= MAX_BYTES)?;
    Source::from_bytes(name, bytes).ok()
}

/// Returns the name of a file for messages, and its bytes.
fn read_path(path: &Path) -> (String, io::Result<Vec<u8>>) {
    if is_standard_input(path) {
        return ("<stdin>".to_owned(), read(io::stdin().lock()));
    }
    (path.display().to_string(), File::open(path).and_then(read))
}

/// Reads one byte more than the limit at most, so that an endless device is a file that is too large.
fn read(file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check_bytes(
    name: String,
    bytes: Vec<u8>,
    registry: &ActionRegistry,
    others: &dyn Library,
) -> CheckedFile {
    // The only diagnostic of a file that is too large is its size, and the cut may have split a character.
    let source = if bytes.len() > MAX_BYTES {
        Ok(Source::new(name, String::from_utf8_lossy(&bytes)))
    } else {
        Source::from_bytes(name, bytes)
    };
    match source {
        Ok(source) => {
            let diagnostics = crate::diagnose(&source, registry, &Callable::by(&source, others));
            CheckedFile { source, diagnostics }
        }
        Err(error) => CheckedFile { source: error.readable, diagnostics: vec![error.diagnostic] },
    }
}
