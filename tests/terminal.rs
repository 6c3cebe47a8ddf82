//! What a run shows on a terminal of each width, and while another process watches it. `script` makes the terminal, and
//! a small emulator here reads back what a person sees.

#![cfg(target_os = "linux")]

use std::{
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use test_support::{
    ProgramOutput, SCALE_UP, SimulateProcess, journal, on_terminal, program, read_until, signal,
    wait_until,
};

/// A terminal that keeps everything that was ever written to it.
struct Emulator {
    columns: usize,
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// How often the cursor went back to draw again.
    redraws: usize,
}

impl Emulator {
    fn show(columns: usize, output: &str) -> Self {
        let (rows, row, column) = (vec![Vec::new()], 0, 0);
        let mut emulator = Self { columns, rows, row, column, redraws: 0 };
        let mut chars = output.chars();
        while let Some(c) = chars.next() {
            match c {
                '\r' => emulator.column = 0,
                '\n' => emulator.feed_line(),
                '\x1b' => {
                    assert_eq!(chars.next(), Some('['), "only these escapes are sent");
                    let mut parameter = String::new();
                    let command = loop {
                        match chars.next().expect("an escape has an end") {
                            c if c.is_ascii_digit() || c == ';' => parameter.push(c),
                            command => break command,
                        }
                    };
                    emulator.obey(command, &parameter);
                }
                c => emulator.put(c),
            }
        }
        emulator
    }

    fn obey(&mut self, command: char, parameter: &str) {
        match command {
            'm' => {}
            'K' => self.rows[self.row].truncate(self.column),
            'J' => {
                self.rows[self.row].truncate(self.column);
                self.rows.truncate(self.row + 1);
            }
            'A' => {
                self.redraws += 1;
                let up: usize = parameter.parse().unwrap();
                self.row = self.row.checked_sub(up).expect("the cursor stays on the screen");
            }
            other => panic!("ESC [ {parameter} {other} is not expected"),
        }
    }

    fn feed_line(&mut self) {
        self.row += 1;
        if self.row == self.rows.len() {
            self.rows.push(Vec::new());
        }
    }

    /// Puts a character where the cursor is. Each is one column wide here.
    fn put(&mut self, c: char) {
        if self.column == self.columns {
            self.column = 0;
            self.feed_line();
        }
        let row = &mut self.rows[self.row];
        row.resize(row.len().max(self.column + 1), ' ');
        row[self.column] = c;
        self.column += 1;
    }

    fn text(&self) -> String {
        let rows = self.rows.iter();
        let rows: Vec<String> = rows.map(|row| row.iter().collect::<String>()).collect();
        rows.join("\n")
    }
}

/// The steps of a run and its summary, without what differs from run to run.
fn stable(screen: &str) -> String {
    let mut stable = String::new();
    let mut is_listed = false;
    for line in screen.lines().skip_while(|line| !line.starts_with('✔')) {
        // Which steps took longest is not the same each time.
        is_listed = line == "Longest steps:" || (is_listed && line.starts_with("  "));
        if !is_listed {
            // A number is 0, however many digits it has.
            let mut last = ' ';
            for c in line.trim_end().chars() {
                let c = if c.is_ascii_digit() { '0' } else { c };
                if c != '0' || last != '0' {
                    stable.push(c);
                }
                last = c;
            }
            stable.push('\n');
        }
    }
    stable
}

#[test]
fn a_run_fits_terminals_of_every_width() {
    let dir = tempfile::tempdir().unwrap();
    let runbook = dir.path().join("scale-up.yaml");
    std::fs::write(&runbook, SCALE_UP).unwrap();
    for columns in [60, 80, 120, 200] {
        let arguments = format!("run --simulate --speed 120 {}", runbook.display());
        let mut command = on_terminal(columns, &arguments);
        let shown = ProgramOutput::run(&mut command).expect_exit_code(0).stdout;
        assert!(shown.contains("\x1b[32m✔\x1b[0m "), "colors: {shown:?}");
        let emulator = Emulator::show(columns, &shown);
        assert!(emulator.redraws > 0, "the live lines are drawn again: {shown:?}");
        let screen = emulator.text();
        assert!(screen.lines().all(|line| line.chars().count() <= columns), "{screen}");
        let (_, summary) = screen.split_once("\nSummary: succeeded on the simulator").unwrap();
        assert!(!screen.contains("Ctrl-C"), "nothing is left of the live lines:\n{screen}");
        assert!(summary.contains("Longest steps:\n"), "{screen}");
        let fixture = format!("tests/fixtures/terminal/scale-up-{columns}.txt");
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture);
        let stable = stable(&screen);
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            std::fs::write(&fixture, &stable).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&fixture).unwrap(), stable, "{columns} columns");
    }
}

#[test]
fn a_terminal_that_cannot_move_its_cursor_gets_plain_lines() {
    let dir = tempfile::tempdir().unwrap();
    let runbook = dir.path().join("scale-up.yaml");
    std::fs::write(&runbook, SCALE_UP).unwrap();
    let arguments = format!("run --simulate --speed 600 {}", runbook.display());
    let mut dumb = on_terminal(80, &arguments);
    let shown = ProgramOutput::run(dumb.env("TERM", "dumb")).expect_exit_code(0).stdout;
    assert!(!shown.contains('\x1b') && shown.contains("] Starting step: "), "{shown:?}");
    let mut plain = on_terminal(80, &arguments);
    let shown = ProgramOutput::run(plain.env("NO_COLOR", "1")).expect_exit_code(0).stdout;
    assert!(shown.contains("\n✔ ") && !shown.contains("\x1b[32m"), "{shown:?}");
}

/// A run that a process drives, and that waits for nodes.
struct WaitingRun {
    simulate: SimulateProcess,
    dir: tempfile::TempDir,
    driver: Child,
}

impl WaitingRun {
    async fn start() -> Self {
        // Slow enough that the run is still waiting when it is watched.
        let simulate = SimulateProcess::start(10.0);
        let dir = tempfile::tempdir().unwrap();
        let runbook = dir.path().join("scale-up.yaml");
        std::fs::write(&runbook, SCALE_UP).unwrap();
        let mut driver = simulate.program(dir.path());
        driver.args(["run", "--yes"]).arg(&runbook).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = driver.spawn().unwrap();
        wait_until("the wait for nodes", || {
            let text = journal(dir.path())?;
            text.contains(r#""step":"new_nodes","event":"step_waiting""#).then_some(())
        })
        .await;
        Self { simulate, dir, driver }
    }

    fn runs(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.arg("--state-dir").arg(self.dir.path()).arg("runs").args(arguments);
        command
    }

    /// Ends the run.
    fn cancel(&mut self) {
        signal(self.driver.id(), "INT");
        self.driver.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_shows_what_has_happened_and_what_goes_on() {
    let mut run = WaitingRun::start().await;
    let arguments = format!("--state-dir {} runs watch", run.dir.path().display());
    let mut watch = on_terminal(100, &arguments).stdin(Stdio::piped()).spawn().unwrap();
    let watched = read_until(&mut watch, "step 4 of 4: ");
    // Another one ends by Ctrl-C, as soon as its first line is there.
    let mut ended = on_terminal(100, &arguments).stdin(Stdio::piped()).spawn().unwrap();
    let first = read_until(&mut ended, "\n");
    ended.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let rest = ProgramOutput::from(ended.wait_with_output().unwrap()).expect_exit_code(130);
    let screen = Emulator::show(100, &(first + &rest.stdout)).text();
    assert!(screen.contains("the watching has ended, and run "), "{screen}");
    assert!(screen.contains(" goes on\nhint: `rafay-relay-sop --state-dir "), "{screen}");
    assert!(run.driver.try_wait().unwrap().is_none(), "the run goes on");

    run.cancel();
    let rest = ProgramOutput::from(watch.wait_with_output().unwrap()).expect_exit_code(130);
    let watched = watched + &rest.stdout;
    let screen = Emulator::show(100, &watched).text();
    for part in [
        "✔ Scale nodegroup to 2X its current count (",
        " desired: 3 -> 6\n",
        "\nCancelled by the person at the terminal\n",
        "\nSummary: cancelled on cluster ",
        " runs rollback ",
    ] {
        assert!(screen.contains(part), "{part:?} is not in\n{screen}");
    }
    assert!(watched.contains("step 4 of 4: "), "{watched:?}");
    assert!(watched.contains("Ctrl-C ends the watching"), "{watched:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_streams_the_events_of_a_run_until_its_end() {
    let mut run = WaitingRun::start().await;
    let start = |arguments: &[&str]| {
        let mut command = run.runs(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let events = start(&["watch", "--output", "ndjson"]);
    let lines = start(&["logs", "-f", "--output", "json"]);
    let document = start(&["watch", "--output", "json"]);
    let plain = start(&["watch"]);
    run.cancel();
    let output = |child: Child| {
        ProgramOutput::from(child.wait_with_output().unwrap()).expect_exit_code(130).stdout
    };
    let events = output(events);
    let events: Vec<Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sequence: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(sequence, (0..events.len() as u64).collect::<Vec<_>>());
    assert_eq!(events[0]["event"], "run_started");
    assert_eq!(events.last().unwrap()["event"], "run_ended");
    let lines = output(lines);
    let lines: Vec<String> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0].contains("] Started runbook: scale-up"), "{lines:#?}");
    let document: Value = serde_json::from_str(&output(document)).unwrap();
    assert_eq!(document["state"], "cancelled");
    let plain = output(plain);
    assert!(plain.contains("] Cancel requested by "), "{plain}");
    assert!(plain.contains("\nSummary: cancelled on cluster "), "{plain}");
    drop(run.simulate);
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_waits_for_another_process_where_the_first_has_died() {
    let mut run = WaitingRun::start().await;
    let mut watch = run.runs(&["watch"]);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It has seen the process that drives the run once it prints.
    let mut stdout = std::io::BufReader::new(watch.stdout.take().unwrap());
    let mut shown = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut shown).unwrap();
    run.driver.kill().unwrap();
    run.driver.wait().unwrap();
    let mut resume = run.simulate.program(run.dir.path());
    resume.args(["runs", "resume", "--last", "--yes", "--lease-duration", "3s"]);
    let resumed = ProgramOutput::run_async(&mut resume).await.expect_exit_code(0);
    assert!(resumed.stdout.contains("Summary: succeeded"), "{}", resumed.stdout);
    std::io::Read::read_to_string(&mut stdout, &mut shown).unwrap();
    let code = watch.wait().unwrap().code();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("] Resumed by cli:sre"), "{shown}");
    assert!(shown.contains("No process drove the run for "), "{shown}");
}

#[test]
fn run_streams_its_events_and_others_refuse_to() {
    let dir = tempfile::tempdir().unwrap();
    let runbook = dir.path().join("scale-up.yaml");
    std::fs::write(&runbook, SCALE_UP).unwrap();
    let mut run = program();
    run.args(["run", "--simulate", "--speed", "600", "--output", "ndjson"]).arg(&runbook);
    let events = ProgramOutput::run(&mut run).expect_exit_code(0).stdout;
    let events: Vec<Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["event"], "run_started");
    assert_eq!(events.last().unwrap()["outcome"], "succeeded");
    for refused in [&["runs", "list"][..], &["validate", "runbooks"], &["runs", "logs"]] {
        let mut command = program();
        command.args(["--output", "ndjson"]).args(refused);
        let refused = ProgramOutput::run(&mut command).expect_exit_code(2);
        assert!(refused.stderr.contains("--output ndjson is a stream of events"));
        let document: Value = serde_json::from_str(refused.stdout.trim_end()).unwrap();
        assert_eq!(document["failure"]["kind"], "usage");
        assert_eq!(refused.stdout.lines().count(), 1, "{}", refused.stdout);
    }
}

#[test]
fn a_run_is_shown_as_a_time_line() {
    let dir = tempfile::tempdir().unwrap();
    let runs = dir.path().join("runs");
    std::fs::create_dir(&runs).unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journals/format-1.1");
    for file in std::fs::read_dir(fixtures).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), runs.join(file.file_name())).unwrap();
    }
    let mut show = program();
    show.arg("--state-dir").arg(dir.path());
    show.args(["runs", "show", "20261125t090002z-rolled-back-0003"]);
    let shown = ProgramOutput::run(&mut show).expect_exit_code(0).stdout;
    let rows: Vec<&str> =
        shown.lines().filter(|line| line.starts_with("   +0:0")).map(str::trim_start).collect();
    assert_eq!(
        rows,
        [
            "+0:00  completed    Get config (0.0 s)",
            "+0:00  failed       Fail and continue (0.0 s)",
            "+0:00  undone       Restart sentry (0.1 s)",
            "+0:00  undone       Scale relay (0.0 s)",
            "+0:00  failed       Fail (0.0 s)",
            "+0:00  undo         Scale relay (0.0 s)",
            "+0:00  undo         Restart sentry (0.0 s)",
            "+0:00               Rolled back",
        ],
        "{shown}"
    );
    // On a narrow terminal no line is wider than that.
    let arguments =
        format!("--state-dir {} runs show 20261125t090002z-rolled-back-0003", dir.path().display());
    let shown = ProgramOutput::run(&mut on_terminal(60, &arguments)).expect_exit_code(0);
    let screen = Emulator::show(1000, &shown.stdout).text();
    assert!(screen.lines().all(|line| line.chars().count() <= 60), "{screen}");
}
