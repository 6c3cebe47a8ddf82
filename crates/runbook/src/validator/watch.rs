//! `--watch`: checks again whenever a file has changed, until Ctrl-C.
//!
//! The files are asked for their size and time a few times a second. What a system reports by itself needs a different
//! interface on each, misses changes on network file systems and in containers, and loses a file that an editor
//! replaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, SystemTime},
};

use text::printable;

use super::{
    Format,
    files::{self, CheckedFile},
    report::Report,
};
use crate::{ActionRegistry, Library};

/// How often the files are asked.
const INTERVAL: Duration = Duration::from_millis(250);
/// For how long nothing may change before a check: an editor or `git` writes several files, or one in parts.
const SETTLED: Duration = Duration::from_millis(80);

/// Moves the cursor to the top of an empty screen.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J\u{1b}[3J";

/// The files that are watched, and how the results are shown.
pub(super) struct Watch<'w> {
    pub(super) paths: &'w [PathBuf],
    pub(super) registry: &'w ActionRegistry,
    pub(super) others: &'w dyn Library,
    pub(super) format: Format,
    pub(super) color: bool,
    /// Whether a person sees the output, and only the newest matters.
    pub(super) is_terminal: bool,
}

/// The state of the files, by path.
type State = BTreeMap<PathBuf, Option<(u64, Option<SystemTime>)>>;

/// Ends the process with success when it is interrupted: that is how a person ends the watching.
///
/// # Errors
/// The system refuses.
pub(super) fn end_with_success_on_interrupt() -> io::Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    let signal = signal_hook::consts::SIGINT;
    signal_hook::flag::register_conditional_shutdown(signal, 0, always).map(|_| ())
}

/// Waits until the files have changed, and a moment has passed without another change.
pub(super) fn wait_for_change(paths: &[PathBuf], seen: &State) -> bool {
    let mut now = state(paths);
    while now == *seen {
        thread::sleep(INTERVAL);
        now = state(paths);
    }
    loop {
        thread::sleep(SETTLED);
        let later = state(paths);
        if later == now {
            return true;
        }
        now = later;
    }
}

impl Watch<'_> {
    /// Checks, and checks again after each change, for as long as `wait` says that there was one. A reader that has
    /// closed standard output ends it too.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn run(
        &self,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
        wait: &mut dyn FnMut(&[PathBuf], &State) -> bool,
    ) -> io::Result<()> {
        let mut shown = BTreeMap::new();
        loop {
            // It is read before the files are: a change during the check is one that was not seen.
            let seen = state(self.paths);
            let (files, mut read_errors) = files::collect(self.paths);
            let (checked, failed) = files::check(&files, self.registry, self.others);
            read_errors.extend(failed);
            let text = self.text(&checked, &mut shown);
            match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                written => written?,
            }
            // A standard error that cannot be written changes nothing about the runbooks.
            for error in &read_errors {
                let _ = writeln!(stderr, "error: {}", printable(&error.to_string()));
            }
            let summary = Report::new(&checked).summary();
            let _ = writeln!(stderr, "{summary}; waiting for changes, Ctrl-C ends");
            if !wait(self.paths, &seen) {
                return Ok(());
            }
        }
    }

    /// Returns what to show: everything on a terminal and in a format of one document, else the files with other
    /// diagnostics than before.
    fn text(&self, checked: &[CheckedFile], shown: &mut BTreeMap<String, String>) -> String {
        let all = Report::new(checked);
        if matches!(self.format, Format::Json | Format::Sarif) {
            return all.text(self.format, self.color);
        }
        if self.is_terminal {
            return format!("{CLEAR}{}", all.text(self.format, self.color));
        }
        let mut changed = String::new();
        let mut now = BTreeMap::new();
        for file in checked {
            let text = Report::new(std::slice::from_ref(file)).text(self.format, self.color);
            let name = file.source.name();
            match shown.get(name) {
                Some(before) if *before == text => {}
                Some(_) if text.is_empty() => {
                    changed += &format!("{}: no diagnostics any more\n", printable(name));
                }
                _ => changed += &text,
            }
            now.insert(name.to_owned(), text);
        }
        *shown = now;
        changed
    }
}

/// Returns the size and time of each file that the paths name, and of those beside them, which they can call.
fn state(paths: &[PathBuf]) -> State {
    let (files, _) = files::collect(paths);
    let dirs: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    let beside = dirs.into_iter().flat_map(files::runbooks_in);
    let stamp = |path: PathBuf| {
        let metadata = fs::metadata(&path).ok();
        let stamp = metadata.map(|metadata| (metadata.len(), metadata.modified().ok()));
        (path, stamp)
    };
    files.iter().cloned().chain(beside).map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EmptyLibrary;

    /// A directory that is removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("sop-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn write(&self, name: &str, text: &str) {
            // As most editors do: another file takes the place of the old one.
            let new = self.0.join(".new");
            fs::write(&new, text).unwrap();
            fs::rename(new, self.0.join(name)).unwrap();
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn each_change_is_checked_and_only_what_is_new_is_shown() {
        let dir = Scratch::new("watch");
        dir.write("a.yaml", "name: a\n");
        dir.write("b.yaml", "name: b\n");
        let paths = [dir.0.clone()];
        let registry = ActionRegistry::default();
        let watch = Watch {
            paths: &paths,
            registry: &registry,
            others: &EmptyLibrary,
            format: Format::Short,
            color: false,
            is_terminal: false,
        };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut rounds = 0;
        let mut wait = |paths: &[PathBuf], seen: &State| {
            rounds += 1;
            match rounds {
                1 => dir.write("a.yaml", "name: a\nsteps: 5\n"),
                2 => dir.write("new.yaml", "name: new\n"),
                3 => fs::remove_file(dir.0.join("b.yaml")).unwrap(),
                _ => return false,
            }
            wait_for_change(paths, seen)
        };
        watch.run(&mut stdout, &mut stderr, &mut wait).unwrap();
        let prefix = format!("{}/", dir.0.display());
        let stdout = String::from_utf8(stdout).unwrap().replace(&prefix, "");
        let places: Vec<&str> =
            stdout.lines().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(places, ["a.yaml:1:1", "b.yaml:1:1", "a.yaml:2:8", "new.yaml:1:1"]);
        let stderr = String::from_utf8(stderr).unwrap();
        let counts: Vec<&str> = stderr.lines().map(|line| &line[..1]).collect();
        assert_eq!(counts, ["2", "2", "3", "2"]);
    }
}
