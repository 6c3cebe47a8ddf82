//! Nothing that the fixture starts outlives the test binary. These tests need no control plane.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use libtest_mimic::Trial;

use test_support::ChildGuard;

/// Makes this binary a process that holds a tethered program, for a test to kill.
const GUARD_CHILD_DIR: &str = "SOP_TEST_GUARD_CHILD_DIR";

/// Far longer than a test lasts, and easy to tell from other programs.
const SLEEP_SECONDS: &str = "86399";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("child_guard::a_program_ends_when_its_guard_is_dropped", || {
            ends_with_its_tether();
            Ok(())
        }),
        Trial::test("child_guard::a_program_and_its_directory_end_with_a_killed_owner", || {
            end_with_a_killed_owner();
            Ok(())
        }),
        Trial::test("child_guard::a_program_exit_is_noticed", || {
            an_end_is_noticed();
            Ok(())
        }),
    ]
}

/// Runs the child, if this binary was started as the process to be killed.
pub(crate) fn run_as_child() -> Option<ExitCode> {
    let dir = std::env::var_os(GUARD_CHILD_DIR)?;
    let dir = Path::new(&dir);
    let _sweeper = ChildGuard::remove_dir_on_exit(dir).unwrap();
    let _held = start_guarded_program(dir);
    println!("held");
    std::io::stdout().flush().unwrap();
    std::thread::sleep(Duration::from_hours(24));
    Some(ExitCode::FAILURE)
}

/// A program that lasts, and writes its process id into `pid`.
fn start_guarded_program(dir: &Path) -> ChildGuard {
    let script = format!("echo $$ > {}; exec sleep {SLEEP_SECONDS}", dir.join("pid").display());
    let guarded = ChildGuard::start(&shell(&script), &dir.join("log")).unwrap();
    wait_until("the program's id", || pid(dir).is_some());
    guarded
}

fn ends_with_its_tether() {
    let dir = tempfile::tempdir().unwrap();
    let guarded = start_guarded_program(dir.path());
    let id = pid(dir.path()).unwrap();
    assert!(is_alive(&id));
    drop(guarded);
    wait_until("its end", || !is_alive(&id));
}

fn end_with_a_killed_owner() {
    let dir = tempfile::tempdir().unwrap().keep();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .env(GUARD_CHILD_DIR, &dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(owner.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    let id = pid(&dir).unwrap();
    assert!(is_alive(&id));
    // SIGKILL: no destructor runs.
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("its end", || !is_alive(&id));
    wait_until("the removal of the directory", || !dir.exists());
}

fn an_end_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut program = ChildGuard::start(&shell("echo so long; exit 7"), &log).unwrap();
    wait_until("its end", || matches!(program.try_wait(), Ok(Some(end)) if end.code() == Some(7)));
    assert_eq!(std::fs::read_to_string(log).unwrap(), "so long\n");
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

fn pid(dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(dir.join("pid")).ok()?;
    text.ends_with('\n').then(|| text.trim().to_owned())
}

fn is_alive(id: &str) -> bool {
    // A shell's own; a program of that name is not everywhere.
    let signal = shell(&format!("kill -0 {id}")).stderr(Stdio::null()).status();
    signal.is_ok_and(|status| status.success())
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}
