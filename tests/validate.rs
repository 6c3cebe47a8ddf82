//! `validate`, `explain`, `schema` and the service's `/validate`, as their users meet them.

use std::{
    io::{BufRead as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::Parser as _;
use runbook::{
    ActionRegistry, BuiltInLibrary, rules,
    validator::{Format, Streams, ValidateArgs},
};
use serde_json::Value;
use tempfile::TempDir;

use test_support::{ProgramOutput, Serve, program, signal};

const GOOD: &str = "name: good\nsteps:\n  - {id: rest, action: sleep, with: {duration: 5s}}\n";
/// A note, a warning and an error, in this order.
const BAD: &str = "\
name: bad
inputs:
  token: {type: string, default: one}
defaults: {on_failure: rollback}
steps:
  - {id: restart, action: rollout_restart, with: {namespace: a, deployment: b}}
  - {id: rest, action: slep, with: {duration: 5s}}
";
const WARNED: &str = "name: warned\ninputs: {unused: {type: integer, default: 1}}\n\
                      steps: [{id: rest, action: sleep, with: {duration: 5s}}]\n";

/// Makes a directory of files.
fn dir_with(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

/// Runs `validate` in a directory.
fn validate(dir: &Path, arguments: &[&str]) -> ProgramOutput {
    ProgramOutput::run(program().current_dir(dir).arg("validate").args(arguments))
}

fn with_input(command: &mut Command, text: &[u8]) -> ProgramOutput {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text).unwrap();
    ProgramOutput::from(child.wait_with_output().unwrap())
}

#[test]
fn every_runbook_of_the_repository_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ended = validate(
        root,
        &["--deny-warnings", "--format", "short", "runbooks", "tests/fixtures/runbooks"],
    );
    assert!(!ended.stdout.contains(": warning["), "{}", ended.stdout);
    ended.expect_exit_code(0);
}

#[test]
fn the_exit_code_distinguishes_valid_invalid_and_misused() {
    let dir = dir_with(&[
        ("good.yaml", GOOD.as_bytes()),
        ("bad.yaml", BAD.as_bytes()),
        ("warned.yaml", WARNED.as_bytes()),
        ("empty/readme.txt", b""),
    ]);
    for (arguments, code) in [
        (vec!["good.yaml"], 0),
        (vec!["warned.yaml"], 0),
        (vec!["warned.yaml", "--deny-warnings"], 1),
        (vec!["good.yaml", "bad.yaml"], 1),
        (vec!["."], 1),
        (vec![], 2),
        (vec!["empty"], 2),
        (vec!["nowhere.yaml"], 2),
        (vec!["bad.yaml", "nowhere.yaml"], 2),
        (vec!["good.yaml", "--format", "xml"], 2),
    ] {
        let ended = validate(dir.path(), &arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    }
}

#[test]
fn readable_files_are_checked_beside_unreadable_ones() {
    let dir = dir_with(&[("bad.yaml", BAD.as_bytes())]);
    let ended = validate(dir.path(), &["nowhere.yaml", "bad.yaml", "--format", "short"]);
    assert!(ended.stdout.contains("bad.yaml:7:24: error[RB012]"), "{}", ended.stdout);
    assert!(ended.stderr.starts_with("error: cannot read nowhere.yaml: "), "{}", ended.stderr);
}

#[test]
fn directories_are_searched_in_order_and_each_file_is_checked_once() {
    let wrong: &[u8] = b"name: wrong\nsteps: []\n";
    let dir = dir_with(&[
        ("b/x.yml", wrong),
        ("a/deep/z.yaml", wrong),
        ("c.yaml", wrong),
        (".hidden/y.yaml", wrong),
        ("b/notes.txt", b"no runbook"),
    ]);
    let ended = validate(dir.path(), &[".", "./c.yaml", "--format", "short"]).expect_exit_code(1);
    let names: Vec<&str> = ended.stdout.lines().filter_map(|line| line.split(':').next()).collect();
    let mut files = names.clone();
    files.dedup();
    assert_eq!(files, ["./a/deep/z.yaml", "./b/x.yml", "./c.yaml"], "{}", ended.stdout);
    assert!(ended.stderr.starts_with("3 runbooks checked: "), "{}", ended.stderr);
}

#[test]
fn many_files_are_reported_in_order() {
    let files: Vec<(String, String)> = (0..200)
        .map(|n| {
            (format!("n{n:03}.yaml"), format!("name: n{n:03}\nsteps: [{{id: a, action: b{n}}}]\n"))
        })
        .collect();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, text)| (name.as_str(), text.as_bytes())).collect();
    let dir = dir_with(&files);
    let ended = validate(dir.path(), &[".", "--format", "short"]).expect_exit_code(1);
    assert_eq!(ended.stdout.lines().count(), 200);
    assert!(ended.stdout.lines().is_sorted());
    assert_eq!(ended.stderr, "200 runbooks checked: 200 errors, 0 warnings, 0 notes\n");
}

#[test]
fn standard_input_is_checked_without_a_file_name() {
    let ended = with_input(program().args(["validate", "-"]), GOOD.as_bytes()).expect_exit_code(0);
    assert_eq!(ended.stdout, "");
    assert_eq!(ended.stderr, "1 runbook checked: 0 errors, 0 warnings, 0 notes\n");
    let short =
        program().args(["validate", "--format", "short", "-"]).stdin(Stdio::null()).output();
    assert!(String::from_utf8(short.unwrap().stdout).unwrap().starts_with("<stdin>:1:1: error["));
}

#[test]
fn invalid_utf8_is_a_diagnostic_with_its_position() {
    let dir = dir_with(&[("broken.yaml", b"name: broken\nsteps: \xff\xfe\n")]);
    let ended = validate(dir.path(), &["broken.yaml", "--format", "short"]).expect_exit_code(1);
    assert!(ended.stdout.starts_with("broken.yaml:2:8: error[RB001]"), "{}", ended.stdout);
    let ended = validate(dir.path(), &["broken.yaml"]).expect_exit_code(1);
    assert!(ended.stdout.contains("2 | steps:"), "{}", ended.stdout);
}

#[test]
fn a_file_above_the_size_limit_is_rejected() {
    let large = "é".repeat(600_000); // the limit is within a character
    let dir = dir_with(&[("large.yaml", large.as_bytes())]);
    let mut files = vec!["large.yaml"];
    if Path::new("/dev/zero").exists() {
        files.push("/dev/zero");
    }
    let ended = validate(dir.path(), &[&files[..], &["--format", "short"]].concat());
    assert_eq!(ended.stdout.matches("error[RB002]").count(), files.len(), "{}", ended.stdout);
}

#[test]
fn a_closed_stdout_does_not_panic() {
    let dir = dir_with(&[("bad.yaml", BAD.as_bytes())]);
    let mut command = program();
    command.current_dir(dir.path()).args(["validate", "bad.yaml"]);
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    drop(child.stdout.take());
    let ended = ProgramOutput::from(child.wait_with_output().unwrap()).expect_exit_code(1);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn json_output_is_one_document() {
    let dir = dir_with(&[("good.yaml", GOOD.as_bytes()), ("bad.yaml", BAD.as_bytes())]);
    for arguments in [["--format", "json"], ["--output", "json"]] {
        let ended = validate(dir.path(), &[&arguments[..], &["."]].concat()).expect_exit_code(1);
        let document: Value = serde_json::from_str(&ended.stdout).unwrap();
        let counts = ["checked", "errors", "warnings", "notes"].map(|key| document[key].as_u64());
        assert_eq!(counts, [Some(2), Some(1), Some(1), Some(1)], "{document:#}");
        let error = &document["diagnostics"][2];
        assert_eq!(error["file"], "./bad.yaml");
        assert_eq!(error["code"], "RB012");
        assert_eq!((&error["line"], &error["column"]), (&7.into(), &24.into()));
        assert_eq!(error["suggestion"], "sleep");
    }
}

#[test]
fn github_output_annotates_the_lines() {
    let dir = dir_with(&[("bad.yaml", BAD.as_bytes())]);
    let ended = validate(dir.path(), &["--format", "github", "bad.yaml"]).expect_exit_code(1);
    let levels: Vec<&str> =
        ended.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(levels, ["::warning", "::notice", "::error"], "{}", ended.stdout);
    assert!(ended.stdout.contains("file=bad.yaml,line=7,col=24,"), "{}", ended.stdout);
}

#[test]
fn sarif_holds_every_diagnostic_and_every_rule() {
    let dir = dir_with(&[("good.yaml", GOOD.as_bytes()), ("bad.yaml", BAD.as_bytes())]);
    let ended = validate(dir.path(), &["--format", "sarif", "."]).expect_exit_code(1);
    let log: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    assert_eq!(run["results"].as_array().unwrap().len(), 3);
    assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), rules().len());
}

#[test]
fn every_rule_explains_itself() {
    let explain = |words: &[&str]| ProgramOutput::run(program().arg("explain").args(words));
    let all = explain(&[]).expect_exit_code(0).stdout;
    assert_eq!(all.lines().count(), rules().len());
    for rule in rules() {
        assert!(all.contains(rule.code), "{}", rule.code);
    }
    let one = explain(&["RB012"]).expect_exit_code(0).stdout;
    assert!(one.starts_with("RB012 unknown_action (error)\n"), "{one}");
    assert_eq!(explain(&["rb012"]).expect_exit_code(0).stdout, one);
    assert_eq!(explain(&["unknown_action"]).expect_exit_code(0).stdout, one);
    let unknown = explain(&["unknown_acton"]).expect_exit_code(2).stderr;
    assert!(unknown.contains("did you mean 'unknown_action'?"), "{unknown}");
    let json = explain(&["RB012", "--output", "json"]).expect_exit_code(0).stdout;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["severity"], "error");
}

/// A mistake with a suggestion, lines that end as on Windows, and a mistake without a suggestion.
const FIXABLE: &str = "name: fixable\r\nsteps:\r\n  - {id: rest, action: sleep, with: {durtion: 5s}} # é\r\n\
                       \x20 - {id: more, action: dream}\r\n";

#[test]
fn fix_writes_what_is_suggested_and_nothing_else() {
    let dir = dir_with(&[("fixable.yaml", FIXABLE.as_bytes()), ("good.yaml", GOOD.as_bytes())]);
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();

    let diff = validate(dir.path(), &["--diff", "."]).expect_exit_code(1).stdout;
    assert!(diff.starts_with("--- a/fixable.yaml\n+++ b/fixable.yaml\n@@ "), "{diff}");
    let changed: Vec<&str> =
        diff.lines().skip(2).filter(|line| line.starts_with(['-', '+'])).collect();
    assert_eq!(changed.len(), 2, "{diff}");
    assert_eq!(read("fixable.yaml"), FIXABLE, "a diff writes nothing");

    let fixed = validate(dir.path(), &["--fix", "--format", "short", "."]).expect_exit_code(1);
    let lines: Vec<&str> = fixed.stdout.lines().collect();
    assert_eq!(lines[0], "./fixable.yaml:3:38: durtion -> duration");
    assert!(lines[1].starts_with("./fixable.yaml:4:24: error[RB012]: "), "{}", fixed.stdout);
    assert_eq!(lines.len(), 2, "{}", fixed.stdout);
    assert!(fixed.stderr.starts_with("1 suggestion applied\n2 runbooks checked: 1 error"));
    assert_eq!(read("fixable.yaml"), FIXABLE.replace("durtion", "duration"));
    assert_eq!(read("good.yaml"), GOOD);
    assert_eq!(dir.path().read_dir().unwrap().count(), 2, "no file is left behind");

    // A document for programs stays one document.
    let again = dir_with(&[("fixable.yaml", FIXABLE.as_bytes())]);
    let json = validate(again.path(), &["--fix", "--format", "json", "."]).expect_exit_code(1);
    assert_eq!(serde_json::from_str::<Value>(&json.stdout).unwrap()["errors"], 1);
    assert!(json.stderr.contains("durtion -> duration"), "{}", json.stderr);

    for option in ["--fix", "--diff", "--watch"] {
        let ended = validate(dir.path(), &[option, "-"]).expect_exit_code(2);
        assert!(ended.stderr.contains(&format!("{option} needs files")), "{}", ended.stderr);
    }
}

/// A person who has seen enough has not met a failure.
#[test]
fn watch_checks_again_on_each_change_and_ends_with_success_at_ctrl_c() {
    let dir = dir_with(&[("good.yaml", GOOD.as_bytes())]);
    let mut command = program();
    command.current_dir(dir.path()).args(["validate", "--watch", "--format", "short", "."]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut summaries = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
    let mut summary = || summaries.next().unwrap().unwrap();
    assert!(summary().starts_with("1 runbook checked: 0 errors"));
    std::fs::write(dir.path().join("bad.yaml"), BAD).unwrap();
    assert!(summary().starts_with("2 runbooks checked: 1 error"));
    // As an editor saves: another file takes the place of the old one.
    std::fs::write(dir.path().join(".new"), BAD.replace("slep", "sleep")).unwrap();
    std::fs::rename(dir.path().join(".new"), dir.path().join("bad.yaml")).unwrap();
    assert!(summary().starts_with("2 runbooks checked: 0 errors"));
    signal(child.id(), "INT");
    let ended = ProgramOutput::from(child.wait_with_output().unwrap()).expect_exit_code(0);
    assert!(ended.stdout.contains("./bad.yaml:7:24: error[RB012]"), "{}", ended.stdout);
}

/// tests/editor/run uses the server as editors do.
#[test]
fn the_language_server_answers_and_ends_as_it_is_told() {
    let message = |json: &str| format!("Content-Length: {}\r\n\r\n{json}", json.len());
    let start =
        message(r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}"#);
    let stop = message(r#"{"jsonrpc":"2.0","id":2,"method":"shutdown"}"#);
    let exit = message(r#"{"jsonrpc":"2.0","method":"exit"}"#);
    let all = [start.as_str(), &stop, &exit].concat();
    let ended = with_input(program().args(["lsp", "--stdio"]), all.as_bytes()).expect_exit_code(0);
    assert!(ended.stdout.contains(r#""positionEncoding":"utf-16""#), "{}", ended.stdout);
    with_input(program().arg("lsp"), start.as_bytes()).expect_exit_code(1);
}

/// Every command in the documents and hooks exists, with its flags.
#[test]
fn hooks_and_ci_jobs_use_only_existing_flags() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let hooks = std::fs::read_to_string(root.join(".pre-commit-hooks.yaml")).unwrap();
    assert!(hooks.contains("entry: .ci/pre-commit-validate --"), "{hooks}");
    assert!(root.join(".ci/pre-commit-validate").exists());
    let jobs = std::fs::read_to_string(root.join("docs/ci.md")).unwrap();
    let mut count = 0;
    for line in hooks.lines().chain(jobs.lines()) {
        let call =
            ["rafay-relay-sop validate ", "rafay-relay-sop-validate ", "pre-commit-validate "]
                .into_iter()
                .find_map(|program| line.split_once(program));
        let Some((_, arguments)) = call else { continue };
        count += 1;
        for word in arguments.split_whitespace().filter(|word| word.starts_with("--")) {
            let word = word.trim_end_matches('`');
            assert!(["--format", "--deny-warnings"].contains(&word), "{line}");
        }
    }
    assert!(count > 5);
}

#[derive(clap::Parser)]
struct ValidatorArguments {
    #[command(flatten)]
    validate: ValidateArgs,
}

/// The binary `rafay-relay-sop-validate` is this call, with `schema/actions.json` compiled in.
#[test]
fn the_validator_alone_reports_what_the_program_reports() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")); // where Cargo runs this test
    let actions = std::fs::read_to_string(root.join("schema/actions.json")).unwrap();
    let registry = ActionRegistry::from_json(&actions).unwrap();
    for format in ["human", "short", "json", "github", "sarif"] {
        let arguments = ["--format", format, "tests/fixtures/invalid", "runbooks", "nowhere.yaml"];
        let program = validate(root, &arguments);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let streams = Streams { stdout: &mut stdout, stderr: &mut stderr, color: false };
        let arguments = ["rafay-relay-sop-validate"].into_iter().chain(arguments);
        let ValidatorArguments { validate } = ValidatorArguments::parse_from(arguments);
        let outcome = validate.run(&registry, &BuiltInLibrary, Format::Human, streams).unwrap();
        assert_eq!(program.code, Some(outcome.exit_code().into()), "{format}");
        assert!(program.stdout.len() > 10_000, "{format}");
        assert!(program.stdout.as_bytes() == stdout, "{format}: other diagnostics");
        assert_eq!(program.stderr, String::from_utf8(stderr).unwrap(), "{format}");
    }
}

async fn post_text(serve: &Serve, query: &str, text: impl Into<reqwest::Body>) -> (u16, Value) {
    let request = serve.client.post(format!("{}/validate{query}", serve.url));
    let response = request.body(text).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn the_service_checks_a_text_and_forgets_it() {
    let state = dir_with(&[]);
    let serve =
        Serve::start(program().args(["serve", "--simulate", "--state-dir"]).arg(state.path()));
    let (code, response) = post_text(&serve, "", GOOD).await;
    assert_eq!((code, &response["status"], &response["steps"]), (200, &"valid".into(), &1.into()));

    let (code, response) = post_text(&serve, "?name=bad.yaml", BAD).await;
    assert_eq!((code, &response["status"]), (422, &"invalid".into()));
    let dir = dir_with(&[("bad.yaml", BAD.as_bytes())]);
    let printed =
        validate(dir.path(), &["bad.yaml", "--format", "json"]).expect_exit_code(1).stdout;
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(response["diagnostics"], printed["diagnostics"], "as the command line has them");

    // The name of the file is a part of the check, where it is told.
    let (code, response) = post_text(&serve, "?name=other.yaml", GOOD).await;
    assert_eq!((code, &response["diagnostics"][0]["code"]), (422, &"RB009".into()));
    let (code, response) = post_text(&serve, "", &b"name: \xff"[..]).await;
    assert_eq!((code, &response["diagnostics"][0]["column"]), (422, &7.into()));

    // Larger than the other routes allow, and too large.
    let (code, _) = post_text(&serve, "", format!("{GOOD}#{}\n", "a".repeat(500_000))).await;
    assert_eq!(code, 200);
    let (code, response) = post_text(&serve, "", "a".repeat(2_000_000)).await;
    assert_eq!((code, &response["status"]), (413, &"error".into()));
    // It says that the connection ends, for this one goes over another.
    let (code, _) = post_text(&serve, "?nmae=x", GOOD).await;
    assert_eq!(code, 400);

    let runs: Value =
        reqwest::get(format!("{}/runs", serve.url)).await.unwrap().json().await.unwrap();
    assert_eq!(runs["runs"], serde_json::json!([]));
}

/// What `run` accepts is valid: a step can call the runbooks of the directory, and those that are built in.
#[test]
fn runbooks_that_are_elsewhere_can_be_called() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (dir.path().join("here"), dir.path().join("there"));
    for dir in [&here, &there] {
        std::fs::create_dir(dir).unwrap();
    }
    let text = |step: &str| format!("name: caller\nsteps:\n- {step}\n");
    let own = "name: own\nsteps:\n- {id: s, action: sleep, with: {duration: 1s}}\n";
    std::fs::write(there.join("own.yaml"), own).unwrap();
    let caller = here.join("caller.yaml");
    std::fs::write(&caller, text("{id: a, call: drain-node, with: {node: n1}}")).unwrap();
    let caller_path = caller.to_str().unwrap();
    validate(dir.path(), &[caller_path]).expect_exit_code(0);
    std::fs::write(&caller, text("{id: a, call: own}")).unwrap();
    let unknown = validate(dir.path(), &[caller_path]).expect_exit_code(1);
    assert!(unknown.stdout.contains("RB065"), "{}", unknown.stdout);
    validate(dir.path(), &[caller_path, "--runbooks", there.to_str().unwrap()]).expect_exit_code(0);
    validate(dir.path(), &[caller_path, "--runbooks", "/nowhere"]).expect_exit_code(3);
}
