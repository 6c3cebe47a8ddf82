//! Nothing that the fixture starts outlives the test binary. These tests need no control plane.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use libtest_mimic::Trial;

use crate::support::Tethered;

/// Makes this binary a process that holds a tethered program, for a test to kill.
const HOLD: &str = "SOP_TEST_HOLD";

/// Far longer than a test lasts, and easy to tell from other programs.
const LONG: &str = "86399";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::test("tethers::a_program_ends_with_its_tether", || {
            ends_with_its_tether();
            Ok(())
        }),
        Trial::test("tethers::a_program_and_its_folder_end_with_a_killed_owner", || {
            end_with_a_killed_owner();
            Ok(())
        }),
        Trial::test("tethers::a_program_that_has_ended_is_noticed", || {
            an_end_is_noticed();
            Ok(())
        }),
    ]
}

/// What this binary does when it is started to be killed.
pub(crate) fn child() -> Option<ExitCode> {
    let folder = std::env::var_os(HOLD)?;
    let folder = Path::new(&folder);
    let _sweeper = Tethered::sweep(folder).unwrap();
    let _held = hold(folder);
    println!("held");
    std::io::stdout().flush().unwrap();
    std::thread::sleep(Duration::from_secs(86_400));
    Some(ExitCode::FAILURE)
}

/// A program that lasts, and writes its process id into `pid`.
fn hold(folder: &Path) -> Tethered {
    let script = format!("echo $$ > {}; exec sleep {LONG}", folder.join("pid").display());
    let held = Tethered::start(&shell(&script), &folder.join("log")).unwrap();
    eventually("the program's id", || pid(folder).is_some());
    held
}

fn ends_with_its_tether() {
    let folder = tempfile::tempdir().unwrap();
    let held = hold(folder.path());
    let id = pid(folder.path()).unwrap();
    assert!(lives(&id));
    drop(held);
    eventually("its end", || !lives(&id));
}

fn end_with_a_killed_owner() {
    let folder = tempfile::tempdir().unwrap().keep();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .env(HOLD, &folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(owner.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    let id = pid(&folder).unwrap();
    assert!(lives(&id));
    // SIGKILL: no destructor runs.
    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("its end", || !lives(&id));
    eventually("the folder's end", || !folder.exists());
}

fn an_end_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut program = Tethered::start(&shell("echo so long; exit 7"), &log).unwrap();
    eventually("its end", || matches!(program.ended(), Ok(Some(end)) if end.code() == Some(7)));
    assert_eq!(std::fs::read_to_string(log).unwrap(), "so long\n");
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

fn pid(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join("pid")).ok()?;
    text.ends_with('\n').then(|| text.trim().to_owned())
}

fn lives(id: &str) -> bool {
    // A shell's own; a program of that name is not everywhere.
    let signal = shell(&format!("kill -0 {id}")).stderr(Stdio::null()).status();
    signal.is_ok_and(|status| status.success())
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}
