//! Measures work and processes for the benchmarks, and prints the figures as rows of Markdown.
//!
//! A figure is the median, with the shortest and the longest beside it: the shortest of many is what no user meets. One
//! piece of work in ten, and at least one, is done first and not counted.

#![expect(clippy::print_stdout, reason = "the output is the result")]

mod process;

use std::{
    fmt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::program_path;

pub use process::{Measured, SimulatorProcess, Usage, measure, resident, resident_kibibytes};

/// The durations of the same work, done several times.
#[derive(Clone, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Does some work that many times after the warm-up, and measures each.
    pub fn of<T>(tries: usize, mut work: impl FnMut() -> T) -> Self {
        let mut measure = || {
            let begin = Instant::now();
            std::hint::black_box(work());
            begin.elapsed()
        };
        for _ in 0..warm_up(tries) {
            measure();
        }
        (0..tries).map(|_| measure()).collect()
    }

    /// Starts a command that many times after the warm-up, and measures each from its start to its end. Its output is
    /// dropped.
    ///
    /// # Panics
    /// It does not end with success.
    pub fn of_processes(tries: usize, mut command: impl FnMut() -> Command) -> Self {
        Self::of(tries, || {
            let mut command = command();
            let status =
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            assert!(status.is_ok_and(|status| status.success()), "{command:?} fails");
        })
    }

    /// Returns the duration that this part of them does not exceed.
    pub fn at_percent(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((self.0.len() * percent / 100).min(last)).copied().unwrap_or_default()
    }

    /// Returns the median.
    pub fn median(&self) -> Duration {
        self.at_percent(50)
    }

    /// Returns the number of measurements.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the shortest and the longest, and how many there are.
    pub fn spread(&self) -> String {
        let (shortest, longest) = (self.at_percent(0), self.at_percent(100));
        format!("{} to {}, {}", Short(shortest), Short(longest), self.count())
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut durations: Vec<_> = durations.into_iter().collect();
        durations.sort_unstable();
        Self(durations)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", Short(self.median()), self.spread())
    }
}

/// Returns how often the work is done before it is measured that often.
pub fn warm_up(tries: usize) -> usize {
    (tries / 10).max(1)
}

/// A duration with two or three digits and its unit.
pub struct Short(pub Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        let (value, unit) = match seconds {
            0.995.. => (seconds, "s"),
            0.000_995.. => (seconds * 1e3, "ms"),
            _ => (seconds * 1e6, "µs"),
        };
        let digits = match value {
            99.5.. => 0,
            9.95.. => 1,
            _ => 2,
        };
        write!(f, "{value:.digits$} {unit}")
    }
}

/// How the figures of most tables come about: [`Times::of`] and [`Measured::of`] do that.
pub const WARM_UP: &str =
    "A tenth as many, and at least one, come before them and are not counted.";

/// Prints under which conditions the tables that follow are measured; `warm_up` says what is done before.
pub fn print_conditions(warm_up: &str) {
    let command = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let unknown = || "unknown".to_owned();
    let cpu = file("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or_else(unknown, |(_, model)| model.to_owned());
    let cores = std::thread::available_parallelism().map_or_else(|_| unknown(), |n| n.to_string());
    let load = file("/proc/loadavg");
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let profile = program_path();
    let profile = profile.parent().and_then(Path::file_name).unwrap_or_default();
    let commit = command("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(unknown);
    let is_changed =
        command("git", &["status", "--porcelain"]).is_some_and(|text| !text.is_empty());
    let changed = if is_changed { " with uncommitted changes" } else { "" };
    println!(
        "Measured on {cores} cores ({model}), load average {load} at the start, {} build, allocator mimalloc, \
         commit {commit}{changed}. A time is the median; beside it are the shortest, the longest and the number of \
         measurements. {warm_up}\n",
        profile.display(),
    );
}

/// A table of figures with their goals, as `docs/performance.md` has it.
pub struct Figures(());

impl Figures {
    /// Prints the head of the table.
    pub fn start() -> Self {
        println!("| what | goal | figure | shortest, longest, number |\n|---|---|---|---|");
        Self(())
    }

    /// Prints a median and the spread around it.
    pub fn times(&self, what: &str, goal: &str, times: &Times) {
        self.print(what, goal, &Short(times.median()), &times.spread());
    }

    /// Prints what was counted, or measured once.
    pub fn figure(&self, what: &str, goal: &str, figure: impl fmt::Display) {
        self.print(what, goal, &figure, "");
    }

    /// Prints a row. A figure that has a goal is bold.
    pub fn print(&self, what: &str, goal: &str, figure: &dyn fmt::Display, spread: &str) {
        let mark = if goal.is_empty() { "" } else { "**" };
        println!("| {what} | {goal} | {mark}{figure}{mark} | {spread} |");
    }
}
