//! Texts from outside in every output: none begins a line of its own, moves the cursor, colors, turns the direction of
//! what follows, or gives a command to a CI system. JSON keeps the texts.

use std::path::Path;

use reqwest::StatusCode;
use serde_json::{Value, json};
use test_support::{ProgramOutput, Serve, program};

/// A forged log line after a line break, a color, a cleared screen, an override of the direction, a workflow command.
const HOSTILE: &str = "x\n[2030-01-01 00:00:00] Completed step: forged\r\n::error::forged\u{1b}[31m\u{1b}[2J\u{9b}2J\u{202e}\u{7}";

/// What every output must not have. A line break within HOSTILE would begin one of these lines.
#[track_caller]
fn assert_printable(text: &str) {
    let hidden = |c: char| c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
    assert!(!text.contains(hidden), "{text:?}");
    for line in text.lines() {
        assert!(!line.trim_start().starts_with("::error"), "{text}");
        assert!(!line.trim_start().starts_with("[2030"), "{text}");
    }
}

/// A runbook whose name of a step, log message, inputs and failure have the text.
fn runbook() -> String {
    json!({
        "name": "hostile",
        "inputs": {"text": {"type": "string", "default": HOSTILE}},
        "steps": [
            {"id": "first", "name": HOSTILE, "action": "sleep", "with": {"duration": "1ms"}, "log": "{{ inputs.text }}"},
            {"id": "skipped", "name": HOSTILE, "when": "{{ inputs.text == 'y' }}", "action": "sleep", "with": {"duration": "1ms"}},
            {"id": "last", "name": HOSTILE, "action": "assert", "with": {"that": "{{ inputs.text == 'y' }}", "message": "{{ inputs.text }}"}},
        ],
    })
    .to_string()
    .replace('\u{9b}', "\\x9b")
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn run_in(state_dir: &Path, arguments: &[&str]) -> ProgramOutput {
    ProgramOutput::run(program().arg("--state-dir").arg(state_dir).args(arguments))
}

#[test]
fn a_run_and_what_is_shown_of_it_is_printable() {
    let dir = tempfile::tempdir().unwrap();
    let runbook = write(dir.path(), "hostile.yaml", &runbook());
    let state = dir.path().join("state");
    let ended = run_in(&state, &["run", &runbook, "--simulate", "--speed", "600"]);
    assert!(ended.stdout.contains("Starting step: x\\n[2030"), "{}", ended.stdout);
    assert!(ended.stdout.contains("Skipped step: x\\n[2030"), "{}", ended.stdout);
    assert_printable(&ended.stdout);
    assert_printable(&ended.stderr);
    for arguments in [
        &["runs", "list"][..],
        &["runs", "show", "--last"],
        &["runs", "logs", "--last"],
        &["runs", "logs", "--last", "--follow"],
        &["runs", "watch", "--last"],
        &["runs", "abandon", "--last", "--yes"],
    ] {
        let ended = run_in(&state, arguments);
        assert_printable(&ended.stdout);
        assert_printable(&ended.stderr);
    }
    // JSON has the text itself.
    let shown = run_in(&state, &["--output", "json", "runs", "show", "--last"]).expect_exit_code(0);
    let document: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(document["inputs"]["text"], HOSTILE);
    assert_eq!(document["steps"][0]["name"], HOSTILE);
    let logs = run_in(&state, &["--output", "json", "runs", "logs", "--last"]).expect_exit_code(0);
    let logs: Vec<String> = serde_json::from_str(&logs.stdout).unwrap();
    logs.iter().for_each(|line| assert_printable(line));
}

#[test]
fn errors_and_diagnostics_are_printable() {
    let dir = tempfile::tempdir().unwrap();
    // A file name of GitHub's commands, too.
    let name = "::error::\u{1b}[31m\u{202e}.yaml";
    let quoted = json!(HOSTILE).to_string().replace('\u{9b}', "\\x9b");
    let text = format!(
        "name: {quoted}\ninputs:\n  {quoted}: {{type: {quoted}}}\nsteps:\n  - {{id: {quoted}, action: {quoted}, on_failure: {quoted}, {quoted}: 1, when: {quoted}}}\n  - {{id: a, action: sleep, with: {{duration: {quoted}, {quoted}: 1}}}}\n"
    );
    write(dir.path(), name, &text);
    // The same characters themselves, in the lines that are shown.
    write(dir.path(), "raw.yaml", "name: raw\nsteps:\n  - {id: a, action: 'b\u{202e}c\u{2066}'}\n");
    for format in ["human", "short", "github"] {
        for file in [name, "raw.yaml"] {
            let mut command = program();
            command.current_dir(dir.path()).args(["validate", "--format", format, "--", file]);
            let ended = ProgramOutput::run(&mut command).expect_exit_code(1);
            if format == "github" {
                let is_ours = |line: &str| {
                    line.starts_with("::error file=") || line.starts_with("::warning file=")
                };
                assert!(ended.stdout.lines().all(is_ours), "{}", ended.stdout);
                assert_printable(
                    &ended.stdout.replace("::error file=", "").replace("::warning file=", ""),
                );
            } else {
                assert_printable(&ended.stdout);
            }
            assert_printable(&ended.stderr);
        }
    }
    let mut command = program();
    command.current_dir(dir.path()).args(["run", "--simulate", name]);
    assert_printable(&ProgramOutput::run(&mut command).stderr);
    for arguments in [
        &["run", HOSTILE, "--simulate"][..],
        &["run", "relay-scale", "--simulate", "--input", HOSTILE],
        &["run", "relay-scale", "--simulate", "--input", &format!("{HOSTILE}=1")],
        &["validate", HOSTILE],
        &["explain", HOSTILE],
        &["actions", HOSTILE],
    ] {
        assert_printable(&ProgramOutput::run(program().args(arguments)).stderr);
    }
}

#[tokio::test]
async fn the_log_of_the_service_is_printable() {
    let dir = tempfile::tempdir().unwrap();
    let runbooks = dir.path().join("runbooks");
    std::fs::create_dir_all(&runbooks).unwrap();
    write(&runbooks, "hostile.yaml", &runbook());
    for format in ["text", "json"] {
        let mut command = program();
        command.args(["serve", "--simulate", "--speed", "600"]);
        command.arg("--state-dir").arg(dir.path().join(format)).arg("--runbooks").arg(&runbooks);
        command
            .env("SOP_LOG_FORMAT", format)
            .env("SOP_LOG", "info,audit=info,rafay_relay_sop=debug");
        let service = Serve::start(&mut command);
        let body = json!({"inputs": {"text": HOSTILE}, "key": HOSTILE});
        let (code, started) = service.post("/run?runbook=hostile", body).await;
        assert_eq!(code, StatusCode::OK, "{started:#}");
        let status = service.wait_until_ended().await;
        let logs: Vec<String> = serde_json::from_value(status["logs"].clone()).unwrap();
        logs.iter().for_each(|line| assert_printable(line));
        for line in service.into_log() {
            match format {
                "json" => drop(serde_json::from_str::<Value>(&line).unwrap()),
                _ => assert_printable(&line),
            }
        }
    }
}
