//! The files to check: finds them, reads them within limits and checks several at a time.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use walkdir::{DirEntry, WalkDir};

use crate::{ActionRegistry, Diagnostic, MAX_BYTES, Source};

/// A file that was read, with its diagnostics.
pub(super) struct CheckedFile {
    pub(super) source: Source,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// A path that cannot be read: a mistake in the call and not in a runbook.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}")]
pub(super) struct Unreadable {
    path: String,
    source: io::Error,
}

impl Unreadable {
    fn new(path: &Path, source: io::Error) -> Self {
        Self { path: path.display().to_string(), source }
    }
}

/// Returns the files that the paths name, each once: a file itself, and of a directory all .yaml and .yml files at any
/// depth, by name. A directory that cannot be read is reported beside the files that can.
pub(super) fn collect(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<Unreadable>) {
    let mut files = Vec::new();
    let mut unreadable = Vec::new();
    for path in paths {
        if !is_standard_input(path) && path.is_dir() {
            walk(path, &mut files, &mut unreadable);
        } else {
            files.push(path.clone());
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    files.retain(|file| seen.insert(file.clone()));
    (files, unreadable)
}

/// Links to directories are not followed, because they can lead in circles. Hidden entries, such as `.git`, hold no
/// runbooks.
fn walk(directory: &Path, files: &mut Vec<PathBuf>, unreadable: &mut Vec<Unreadable>) {
    let entries = WalkDir::new(directory).sort_by_file_name().into_iter();
    for entry in entries.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry)) {
        match entry {
            Ok(entry) => {
                let extension = entry.path().extension();
                if extension.is_some_and(|extension| extension == "yaml" || extension == "yml")
                    && !entry.path().is_dir()
                {
                    files.push(entry.into_path());
                }
            }
            Err(error) => {
                let path = error.path().unwrap_or(directory).to_owned();
                unreadable.push(Unreadable::new(&path, error.into()));
            }
        }
    }
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == OsStr::new("-")
}

/// Reads and checks every file, as many at a time as the machine has processors. The results come in the order of the
/// files.
pub(super) fn check(
    files: &[PathBuf],
    registry: &ActionRegistry,
) -> (Vec<CheckedFile>, Vec<Unreadable>) {
    let workers = thread::available_parallelism().map_or(1, usize::from).min(files.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((at, file)) = take(files, &next) {
            done.push((at, check_one(file, registry)));
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
    let mut unreadable = Vec::new();
    for (_, result) in results {
        match result {
            Ok(one) => checked.push(one),
            Err(error) => unreadable.push(error),
        }
    }
    (checked, unreadable)
}

fn take<'f>(files: &'f [PathBuf], next: &AtomicUsize) -> Option<(usize, &'f PathBuf)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    files.get(at).map(|file| (at, file))
}

/// Passes on the panic of a thread: a bug in the checks must not appear as an empty result.
fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn check_one(path: &Path, registry: &ActionRegistry) -> Result<CheckedFile, Unreadable> {
    let (name, bytes) = if is_standard_input(path) {
        ("<stdin>".to_owned(), read(io::stdin().lock()))
    } else {
        (path.display().to_string(), File::open(path).and_then(read))
    };
    let bytes = bytes.map_err(|error| Unreadable::new(Path::new(&name), error))?;
    Ok(check_bytes(name, bytes, registry))
}

/// Reads one byte more than the limit at most, so that an endless device is a file that is too large.
fn read(file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check_bytes(name: String, bytes: Vec<u8>, registry: &ActionRegistry) -> CheckedFile {
    // The only diagnostic of a file that is too large is its size, and the cut may have split a character.
    let source = if bytes.len() > MAX_BYTES {
        Ok(Source::new(name, String::from_utf8_lossy(&bytes)))
    } else {
        Source::from_bytes(name, bytes)
    };
    match source {
        Ok(source) => {
            let diagnostics = crate::diagnose(&source, registry);
            CheckedFile { source, diagnostics }
        }
        Err(error) => CheckedFile { source: error.readable, diagnostics: vec![error.diagnostic] },
    }
}
