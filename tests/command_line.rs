//! The command line: exit codes, the streams of the output, the messages, completion and the manual pages.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use test_support::{
    ProgramOutput, SCALE_UP, SPEED, SimulateProcess, on_terminal, program, program_path,
};

/// A runbook that contacts no cluster, and whose runs fail.
const FAILING: &str = "name: fails
steps:
  - {id: sure, action: assert, with: {that: false, message: 'no'}, on_failure: stop}
";

fn run(arguments: &[&str]) -> ProgramOutput {
    ProgramOutput::run(program().args(arguments))
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_simulated_run_prints_plain_lines_when_piped() {
    let dir = tempfile::tempdir().unwrap();
    let runbook = write(dir.path(), "scale-up.yaml", SCALE_UP);
    let ended = run(&["run", &runbook, "--simulate", "--speed", "600"]).expect_exit_code(0);
    assert_eq!(ended.stderr, "");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(lines[0].starts_with("scale-up ("), "{}", lines[0]);
    assert!(lines[1].ends_with("] Starting step: Get AWS region and EKS cluster from configmap"));
    let end = lines.iter().position(|line| line.ends_with("] Succeeded")).unwrap();
    let [empty, summary, changed @ ..] = &lines[end + 1..] else { panic!("{lines:#?}") };
    assert_eq!(*empty, "");
    let (beginning, end) = ("Summary: succeeded on the simulator after ", " s; 4 of 4 steps done");
    assert!(summary.starts_with(beginning) && summary.ends_with(end), "{summary}");
    assert_eq!(changed[0], "Changed:");
    assert!(changed[1].starts_with("  nodegroup ") && changed[1].ends_with(" desired: 3 -> 6"));
    assert!(!ended.stdout.contains('\x1b'), "{}", ended.stdout);
}

#[test]
fn a_simulated_run_prints_one_json_document() {
    let dir = tempfile::tempdir().unwrap();
    let runbook = write(dir.path(), "scale-up.yaml", SCALE_UP);
    let arguments = ["--output", "json", "run", &runbook, "--simulate", "--speed", "600"];
    let ended = run(&[&arguments[..], &["--input", "scale_factor=3"]].concat()).expect_exit_code(0);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["state"], "succeeded");
    assert_eq!(document["inputs"]["scale_factor"], 3);
    assert_eq!(document["target"]["simulated"], true);
    assert_eq!(document["steps"][2]["changes"][0]["after"], 9);
}

#[test]
fn an_unknown_runbook_lists_the_known_ones() {
    let ended = run(&["run", "relay-scael", "--simulate"]).expect_exit_code(3);
    assert_eq!(
        ended.stderr,
        "error: runbook 'relay-scael' not found in runbooks\nhint: known runbooks: drain-node, evacuate-zone, park, relay-scale, replace-node, restart-deployments, rotate-nodegroup, scale-nodegroup, unpark, upgrade-nodegroup\n"
    );
}

/// Otherwise a typing error would run the built-in runbook instead of the one that was meant.
#[test]
fn a_named_directory_of_runbooks_must_exist() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "file", "");
    let missing = dir.path().join("nonexistent").display().to_string();
    for named in [&missing, &file] {
        let by_flag: [&[&str]; 3] = [
            &["run", "relay-scale", "--simulate", "--runbooks", named],
            &["--runbooks", named, "run", "runbooks/relay-scale.yaml", "--simulate"],
            &["serve", "--simulate", "--listen", "127.0.0.1:0", "--runbooks", named],
        ];
        for arguments in by_flag {
            let ended = run(arguments).expect_exit_code(3);
            let expected = format!("error: cannot use {named} as the directory of runbooks: ");
            assert!(ended.stderr.starts_with(&expected), "{arguments:?}: {}", ended.stderr);
            assert_one_line_and_hint(&ended.stderr);
            assert_eq!(ended.stdout, "", "{arguments:?}");
        }
        let mut by_variable = program();
        by_variable.args(["run", "relay-scale", "--simulate"]).env("SOP_RUNBOOKS", named);
        ProgramOutput::run(&mut by_variable).expect_exit_code(3);
    }
    let mut by_default = program();
    by_default.current_dir(dir.path()).args(["run", "relay-scale", "--simulate", "--speed", "600"]);
    let title = ProgramOutput::run(&mut by_default).expect_exit_code(0).stdout;
    assert!(title.lines().next().unwrap().contains(" from built in (sha256 "), "{title}");
}

#[test]
fn a_run_says_which_file_was_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "fails.yaml", FAILING);
    let digest = rafay_relay_sop::engine::digest(FAILING);
    let file = format!("{path} (sha256 {})", &digest[..12]);
    let program = |arguments: &[&str], code| {
        let mut command = program();
        command.arg("--state-dir").arg(dir.path().join("state")).current_dir(dir.path());
        ProgramOutput::run(command.args(arguments)).expect_exit_code(code).stdout
    };
    for named in [&["run", "fails.yaml"][..], &["run", "fails", "--runbooks", "."]] {
        let printed = program(&[named, &["--yes"]].concat(), 4);
        assert!(printed.lines().next().unwrap().ends_with(&file), "{printed}");
        let show = program(&["runs", "show", "--last"], 0);
        assert!(show.contains(&format!("file     {path}\n")), "{show}");
        assert!(program(&["runs", "logs", "--last"], 0).contains(&file));
        let document = program(&["runs", "show", "--last", "--output", "json"], 0);
        let document: Value = serde_json::from_str(&document).unwrap();
        assert_eq!(
            (&document["origin"], &document["digest"]),
            (&path.clone().into(), &digest.clone().into())
        );
        program(&["runs", "abandon", "--last"], 0);
    }
}

#[test]
fn shared_options_are_offered_where_they_are_used() {
    let cases: [(&[&str], &[&str]); 10] = [
        (&["run"], &["--state-dir", "--runbooks", "--output"]),
        (&["serve"], &["--state-dir", "--runbooks"]),
        (&["runs", "list"], &["--state-dir", "--output"]),
        (&["runs", "resume"], &["--state-dir", "--runbooks", "--output"]),
        (&["validate"], &["--runbooks", "--output"]),
        (&["explain"], &["--output"]),
        (&["schema"], &["--runbooks"]),
        (&["simulate"], &["--state-dir"]),
        (&["man"], &[]),
        (&["completions"], &[]),
    ];
    for (subcommand, used) in cases {
        let help = run(&[subcommand, &["--help"]].concat()).expect_exit_code(0).stdout;
        for option in ["--state-dir", "--runbooks", "--output"] {
            assert_eq!(help.contains(option), used.contains(&option), "{subcommand:?} {option}");
        }
    }
    let refused = run(&["explain", "--state-dir", "x", "RB012"]).expect_exit_code(2);
    assert!(refused.stderr.contains("`explain` does not use this option"), "{}", refused.stderr);
    run(&["--state-dir", "x", "explain", "RB012"]).expect_exit_code(0);
}

#[test]
fn a_runbook_with_errors_is_refused_with_their_positions() {
    let dir = tempfile::tempdir().unwrap();
    let bad = SCALE_UP.replace("relay_group.desired", "relay_group.desird");
    let runbook = write(dir.path(), "scale-up.yaml", &bad);
    let ended = run(&["run", &runbook, "--simulate"]).expect_exit_code(3);
    assert!(ended.stderr.contains("did you mean 'desired'?"), "{}", ended.stderr);
    let short = run(&["validate", "--format", "short", &runbook]).expect_exit_code(1);
    assert!(short.stdout.starts_with(&format!("{runbook}:")), "{}", short.stdout);
}

#[test]
fn inputs_are_parsed_by_their_type() {
    let arguments = ["run", "relay-scale", "--simulate"];
    let cases = [
        (["--input", "scale_factor=many"], "scale_factor", 3),
        (["--input", "scale_factor=9"], "4", 3),
        (["--input", "scale_factr=2"], "scale_factor", 3),
        (["--input", "scale_factor"], "NAME=VALUE", 2),
    ];
    for (input, expected, code) in cases {
        let ended = run(&[&arguments[..], &input].concat()).expect_exit_code(code);
        assert!(ended.stderr.contains(expected), "{input:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{input:?}");
    }
}

#[test]
fn an_input_file_is_read_by_its_current_and_former_names() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "inputs.yaml", "scale_factor: 9\n");
    let arguments: [&[&str]; 3] = [&["--input-file", &file], &["--inputs", &file], &[]];
    for given in arguments {
        let variables: &[&str] =
            if given.is_empty() { &["SOP_INPUT_FILE", "SOP_INPUTS"] } else { &["SOP_UNUSED"] };
        for variable in variables {
            let mut command = program();
            command.args(["run", "relay-scale", "--simulate"]).args(given).env(variable, &file);
            let ended = ProgramOutput::run(&mut command).expect_exit_code(3);
            assert!(ended.stderr.contains("scale_factor"), "{given:?}: {}", ended.stderr);
        }
    }
    let ended = run(&["run", "--help"]).expect_exit_code(0);
    assert!(ended.stdout.contains("--input-file <FILE>"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("--inputs"), "{}", ended.stdout);
}

/// A runbook whose message shows its inputs as they are.
const TYPED: &str = "name: typed
inputs:
  text: {type: string, default: ''}
  number: {type: number, default: 0}
  count: {type: integer, default: 0}
  on: {type: boolean, default: false}
  texts: {type: list of string, default: []}
  labels: {type: map of string, default: {}}
  pause: {type: optional duration}
steps:
  - {id: show, action: assert, with: {that: '{{ inputs.on or inputs.count >= 0 or inputs.number > 0 }}', message: '{{ inputs.text }} {{ inputs.texts | length }} {{ inputs.labels | length }} {{ inputs.pause is none }}'}}
";

#[test]
fn an_input_file_is_read_by_the_declared_types() {
    let dir = tempfile::tempdir().unwrap();
    let runbook = write(dir.path(), "typed.yaml", TYPED);
    let state = dir.path().join("state").display().to_string();
    let inputs_of = |arguments: &[&str]| -> Value {
        let start = ["--output", "json", "--state-dir", &state, "run", &runbook, "--simulate"];
        let ended = run(&[&start[..], arguments].concat()).expect_exit_code(0);
        serde_json::from_str::<Value>(&ended.stdout).unwrap()["inputs"].clone()
    };
    for text in
        ["012", "1.10", "yes", "12345678901234567890123", "0x10", "1e3", "true", "2024-01-01"]
    {
        let file = format!("text: {text}\ntexts: [{text}, {text}]\nlabels: {{a: {text}}}\n");
        let read = inputs_of(&["--input-file", &write(dir.path(), "inputs.yaml", &file)]);
        assert_eq!(read["text"], text);
        assert_eq!(read["texts"], serde_json::json!([text, text]));
        assert_eq!(read["labels"]["a"], text);
        // The same as on the command line.
        assert_eq!(inputs_of(&["--input", &format!("text={text}")])["text"], text);
    }
    let file = "count: 3\nnumber: 1.5\non: true\npause: 5s\ntext: '{{ x }}'\n";
    let read = inputs_of(&["--input-file", &write(dir.path(), "inputs.yaml", file)]);
    assert_eq!(
        (&read["count"], &read["number"], &read["on"]),
        (&3.into(), &1.5.into(), &true.into())
    );
    assert_eq!((&read["pause"], &read["text"]), (&"5s".into(), &"{{ x }}".into()));
    let json = r#"{"text": "012", "texts": ["a", 1.10], "count": 3, "pause": null}"#;
    let read = inputs_of(&["--input-file", &write(dir.path(), "inputs.json", json)]);
    assert_eq!((&read["text"], &read["count"]), (&"012".into(), &3.into()));
    assert_eq!(read["texts"], serde_json::json!(["a", "1.10"]));
    inputs_of(&["--input-file", &write(dir.path(), "empty.yaml", "# nothing\n")]);
}

#[test]
fn an_input_file_that_is_not_valid_is_refused_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let runbook = write(dir.path(), "typed.yaml", TYPED);
    for (file, code, expected) in [
        ("on: yes\n", 3, "invalid input 'on': must be a boolean, not a string"),
        ("count: 1.5\nnumber: a\n", 3, "invalid input 'number'"),
        ("texts: a\n", 3, "invalid input 'texts': must be a list of strings, not a string"),
        ("txt: a\n", 3, "hint: did you mean 'text'?"),
        ("text:\n", 3, "invalid input 'text'"),
        ("text: a\ntext: b\n", 2, "line 2, column 1: duplicate key 'text'"),
        ("text: &a b\n", 2, "line 1, column 7: anchors and aliases are not supported"),
        ("text: [\n", 2, "line 1, column 7: invalid YAML: this '[' is not closed"),
        ("- a\n", 2, "not a mapping of inputs"),
        (
            &format!("text: {}{}", "[".repeat(40), "]".repeat(40)),
            2,
            "the nesting exceeds 32 levels",
        ),
    ] {
        let file = write(dir.path(), "inputs.yaml", file);
        let ended = run(&["run", &runbook, "--simulate", "--input-file", &file]);
        let ended = ended.expect_exit_code(code);
        assert!(ended.stderr.contains(expected), "{expected}: {}", ended.stderr);
    }
}

#[test]
fn an_input_file_that_is_not_a_file_is_refused_by_its_kind() {
    let dir = tempfile::tempdir().unwrap();
    let runbook = write(dir.path(), "typed.yaml", TYPED);
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let (fifo, directory) = (fifo.display().to_string(), dir.path().display().to_string());
    for (path, kind) in [
        (fifo.as_str(), "a FIFO"),
        ("/dev/zero", "a device"),
        ("/dev/null", "a device"),
        (&directory, "a directory"),
    ] {
        let ended = run(&["run", &runbook, "--simulate", "--input-file", path]).expect_exit_code(2);
        let expected = format!("error: cannot read {path}: it is {kind}, not a file\nhint: ");
        assert!(ended.stderr.starts_with(&expected), "{}", ended.stderr);
    }
}

#[test]
fn a_state_directory_in_use_is_refused_with_its_owner() {
    use rafay_relay_sop::journal::{DirectoryStore, LockOwner};
    let dir = tempfile::tempdir().unwrap();
    let owner = LockOwner { pid: 4242, doing: "serve".into(), address: None };
    let _store = DirectoryStore::for_writing(dir.path(), &owner).unwrap();
    let state_dir = dir.path().display().to_string();
    let ended =
        run(&["--state-dir", &state_dir, "run", "relay-scale", "--simulate"]).expect_exit_code(3);
    assert!(ended.stderr.contains("in use by process 4242 (`serve`)"), "{}", ended.stderr);
}

#[test]
fn a_state_directory_that_cannot_be_created_is_reported() {
    let ended =
        run(&["--state-dir", "/proc/none", "run", "relay-scale", "--simulate"]).expect_exit_code(3);
    assert!(ended.stderr.contains("cannot use /proc/none"), "{}", ended.stderr);
    assert!(ended.stderr.contains("--state-dir"), "{}", ended.stderr);
}

/// As in a container whose root file system is read-only.
#[test]
fn a_simulation_without_a_temporary_directory_says_what_to_name() {
    let run: &[&str] = &["run", "relay-scale", "--simulate"];
    let serve: &[&str] = &["serve", "--simulate", "--listen", "127.0.0.1:0"];
    for arguments in [run, serve] {
        let mut command = program();
        command.args(arguments).env("TMPDIR", "/nonexistent");
        let ended = ProgramOutput::run(&mut command).expect_exit_code(2);
        let [error, hint] = ended.stderr.lines().collect::<Vec<_>>()[..] else {
            panic!("{}", ended.stderr)
        };
        let message =
            "error: cannot create a temporary directory in /nonexistent: entity not found";
        assert_eq!(error, message);
        assert!(hint.starts_with("hint: pass --state-dir DIR, or name a directory"), "{hint}");
    }
}

#[test]
fn an_unreachable_cluster_is_reported_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: c, user: {}}]\ncontexts: [{name: c, context: {cluster: c, user: c}}]\n";
    let kubeconfig = write(dir.path(), "kubeconfig", kubeconfig);
    let ended = ProgramOutput::run(
        program()
            .arg("--state-dir")
            .arg(dir.path())
            .args(["run", "relay-scale", "--yes", "--kubeconfig", &kubeconfig])
            .env("AWS_ACCESS_KEY_ID", "x")
            .env("AWS_SECRET_ACCESS_KEY", "x")
            .env("AWS_REGION", "us-west-2")
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
    )
    .expect_exit_code(3);
    assert!(ended.stderr.contains("127.0.0.1:1"), "{}", ended.stderr);
    assert_one_line_and_hint(&ended.stderr);
}

/// An error is a line, and its remedy, where there is one, another.
fn assert_one_line_and_hint(stderr: &str) {
    let lines: Vec<&str> = stderr.lines().collect();
    assert!(lines[0].starts_with("error: "), "{stderr}");
    assert!(lines[1..].iter().all(|line| line.starts_with("hint: ")), "{stderr}");
    assert!(lines.len() <= 2, "{stderr}");
}

#[test]
fn a_real_cluster_is_not_changed_without_confirmation() {
    let simulate = SimulateProcess::start(SPEED);
    let dir = tempfile::tempdir().unwrap();
    let ended = ProgramOutput::run(simulate.program(dir.path()).args(["run", "relay-scale"]));
    let ended = ended.expect_exit_code(2);
    assert!(
        ended.stderr.contains("refusing to act on a real cluster (context "),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains(", http://127.0.0.1:"), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: pass --yes"), "{}", ended.stderr);
    let list =
        ProgramOutput::run(simulate.program(dir.path()).args(["runs", "list"])).expect_exit_code(0);
    assert_eq!(list.stdout, "");
}

/// A simulated AWS endpoint on this machine requires a signature, but accepts any.
#[test]
fn a_loopback_endpoint_needs_no_credentials() {
    let simulate = SimulateProcess::start(SPEED);
    let dir = tempfile::tempdir().unwrap();
    let runbook = write(dir.path(), "scale-up.yaml", SCALE_UP);
    let mut command = program();
    let addresses = ["KUBECONFIG", "AWS_ENDPOINT_URL"];
    let given = simulate.environment.iter().filter(|(name, _)| addresses.contains(&&**name));
    command.envs(given.cloned()).env("HOME", dir.path()).arg("--state-dir").arg(dir.path());
    let ended = ProgramOutput::run(command.args(["run", &runbook, "--yes", "--speed", "600"]))
        .expect_exit_code(0);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("no AWS credentials found"), "{}", ended.stderr);
}

#[test]
fn a_remote_endpoint_gets_no_placeholder_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let text = "name: look\nsteps:\n  - {id: group, action: get_protection, with: {nodegroup: {region: us-west-2, cluster: c, name: n}}}\n";
    let runbook = write(dir.path(), "look.yaml", text);
    let mut command = program();
    command.env("HOME", dir.path()).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ENDPOINT_URL", "http://192.0.2.1:5000").arg("--state-dir").arg(dir.path());
    let ended = ProgramOutput::run(command.args(["run", &runbook, "--yes"])).expect_exit_code(3);
    assert!(ended.stderr.contains("no credentials in the environment"), "{}", ended.stderr);
    assert_one_line_and_hint(&ended.stderr);
}

#[test]
fn runs_are_listed_and_shown() {
    let simulate = SimulateProcess::start(SPEED);
    let dir = tempfile::tempdir().unwrap();
    let runbook = write(dir.path(), "scale-up.yaml", SCALE_UP);
    let program = |arguments: &[&str]| {
        ProgramOutput::run(simulate.program(dir.path()).args(arguments)).expect_exit_code(0).stdout
    };
    program(&["run", &runbook, "--yes", "--speed", "600"]);
    let list = program(&["runs", "list"]);
    assert!(list.trim_end().ends_with("-scale-up-") || list.contains("-scale-up-"), "{list}");
    assert!(list.trim_end().ends_with("  succeeded"), "{list}");
    let show = program(&["runs", "show", "--last"]);
    assert!(show.contains("started  "), "{show}");
    assert!(show.contains(" desired: 3 -> 6\n"), "{show}");
    let logs = program(&["runs", "logs", "--last"]);
    assert!(logs.trim_end().ends_with("] Succeeded"), "{logs}");
    let document: Value =
        serde_json::from_str(&program(&["--output", "json", "runs", "show", "--last"])).unwrap();
    assert_eq!(document["state"], "succeeded");
}

/// Runs the assertion of `FAILING`, or one that holds, in a state directory, and returns the run's id.
fn run_assertion(dir: &Path, name: &str, holds: bool) -> String {
    let text = FAILING.replace("name: fails", &format!("name: {name}"));
    let runbook = write(dir, &format!("{name}.yaml"), &text.replace("false", &holds.to_string()));
    let mut command = program();
    command.arg("--state-dir").arg(dir.join("state")).args(["--output", "json", "run", "--yes"]);
    let ended = ProgramOutput::run(command.arg(&runbook));
    let ended = ended.expect_exit_code(if holds { 0 } else { 4 });
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    document["run"].as_str().unwrap().to_owned()
}

/// The ids in the output of `runs list` and `runs prune`.
fn listed_runs(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_whitespace().nth(2)).collect()
}

#[test]
fn runs_are_listed_by_state_and_runbook() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c] = [("one", true), ("two", false), ("one", true)]
        .map(|(name, holds)| run_assertion(dir.path(), name, holds));
    let list = |arguments: &[&str], code| {
        let mut command = program();
        command.arg("--state-dir").arg(dir.path().join("state")).args(["runs", "list"]);
        ProgramOutput::run(command.args(arguments)).expect_exit_code(code)
    };
    let cases: [(&[&str], Vec<&String>); 7] = [
        (&[], vec![&a, &b, &c]),
        (&["--state", "failed"], vec![&b]),
        (&["--state", "failed,succeeded"], vec![&a, &b, &c]),
        (&["--runbook", "one"], vec![&a, &c]),
        (&["--runbook", "one", "--limit", "1"], vec![&c]),
        (&["--state", "succeeded", "--limit", "2"], vec![&a, &c]),
        (&["--runbook", "one", "--state", "failed"], vec![]),
    ];
    for (arguments, expected) in cases {
        let ended = list(arguments, 0);
        assert_eq!(listed_runs(&ended.stdout), expected, "{arguments:?}");
        let has_more = ended.stderr.contains("older runs are not listed");
        assert_eq!(has_more, arguments.ends_with(&["1"]), "{arguments:?}: {}", ended.stderr);
    }
    let unknown = list(&["--state", "suceeded"], 2);
    assert!(unknown.stderr.contains("did you mean 'succeeded'?"), "{}", unknown.stderr);
}

#[test]
fn prune_removes_runs_that_are_over_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let runs = [("one", true), ("one", true), ("two", true), ("two", false), ("one", true)]
        .map(|(name, holds)| run_assertion(dir.path(), name, holds));
    let runs: Vec<&str> = runs.iter().map(String::as_str).collect();
    let state_dir = dir.path().join("state");
    let program = |arguments: &[&str], code| {
        let mut command = program();
        command.arg("--state-dir").arg(&state_dir).args(arguments);
        ProgramOutput::run(&mut command).expect_exit_code(code)
    };
    program(&["runs", "prune"], 2);
    let refused = program(&["runs", "prune", "--keep", "1"], 2);
    assert!(refused.stderr.contains("refusing to remove runs"), "{}", refused.stderr);
    let kept = program(&["runs", "prune", "--keep", "0", "--older-than", "1h", "--yes"], 0);
    assert_eq!(kept.stdout, "removed 0 runs\n");
    let shown = program(&["runs", "prune", "--keep", "1", "--dry-run"], 0).stdout;
    assert!(shown.ends_with("would remove 2 runs\n"), "{shown}");
    assert_eq!(listed_runs(&program(&["runs", "list"], 0).stdout), runs);

    let removed = program(&["runs", "prune", "--keep", "1", "--yes"], 0).stdout;
    assert!(removed.ends_with("removed 2 runs\n"), "{removed}");
    assert_eq!(listed_runs(&program(&["runs", "list"], 0).stdout), runs[2..]);
    program(&["runs", "show", runs[0]], 3);
    // The unfinished run stays, even if nothing else does.
    program(&["--output", "json", "runs", "prune", "--older-than", "0", "--yes"], 0);
    assert_eq!(listed_runs(&program(&["runs", "list"], 0).stdout), [runs[3]]);
    program(&["runs", "abandon", runs[3]], 0);
}

/// `script` makes a terminal of its own for what it runs.
#[cfg(target_os = "linux")]
#[test]
fn the_prompt_names_the_file_the_cluster_and_the_account() {
    use std::io::Write as _;
    let simulate = SimulateProcess::start(SPEED);
    let dir = tempfile::tempdir().unwrap();
    let runbook = write(dir.path(), "scale-up.yaml", SCALE_UP);
    let call = format!("--state-dir {} run {runbook}", dir.path().display());
    let mut command = on_terminal(200, &call);
    command.env("TERM", "dumb").envs(simulate.environment.iter().cloned()).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"n\n").unwrap();
    let ended = ProgramOutput::from(child.wait_with_output().unwrap()).expect_exit_code(3);
    let digest = rafay_relay_sop::engine::digest(SCALE_UP);
    for part in [
        format!("Runbook scale-up: {runbook} (sha256 {})", &digest[..12]),
        "Kubernetes cluster http://127.0.0.1:".into(),
        "AWS account ".into(),
        "declined: nothing was changed on cluster http://127.0.0.1:".into(),
    ] {
        assert!(ended.stdout.contains(&part), "{part:?} is not in {:?}", ended.stdout);
    }
}

#[test]
fn a_refusal_names_the_cluster_of_the_unfinished_run() {
    let simulate = SimulateProcess::start(SPEED);
    let dir = tempfile::tempdir().unwrap();
    let failing = format!(
        "{SCALE_UP}  - {{id: sure, action: assert, with: {{that: false, message: 'no'}}, on_failure: stop}}\n"
    );
    let runbook = write(dir.path(), "scale-up.yaml", &failing);
    let run = || {
        let mut command = simulate.program(dir.path());
        ProgramOutput::run(command.args(["run", &runbook, "--yes", "--speed", "600"]))
    };
    let failed = run().expect_exit_code(4);
    let refused = run().expect_exit_code(3);
    for stderr in [&failed.stderr, &refused.stderr] {
        assert!(stderr.contains(" on cluster http://127.0.0.1:"), "{stderr}");
        assert!(stderr.contains(" and AWS account "), "{stderr}");
    }
    let show = ProgramOutput::run(simulate.program(dir.path()).args(["runs", "show", "--last"]));
    assert!(show.expect_exit_code(0).stdout.contains("target   cluster http://127.0.0.1:"));
}

#[test]
fn every_action_explains_itself() {
    let all = run(&["actions"]).expect_exit_code(0).stdout;
    let (actions, _) = all.split_once("\n\nrunbooks that a step can `call`\n").unwrap();
    for line in actions.lines() {
        let name = line.split_whitespace().next().unwrap();
        let one = run(&["actions", name]).expect_exit_code(0).stdout;
        for part in ["parameters\n", "output\n", "undo\n", "permissions\n"] {
            assert!(one.contains(part), "{name}: {one}");
        }
    }
    let unknown = run(&["actions", "scale_nodegrup"]).expect_exit_code(2);
    assert!(unknown.stderr.contains("scale_nodegroup"), "{}", unknown.stderr);
}

#[test]
fn a_runbook_that_can_be_called_explains_itself() {
    let dir = tempfile::tempdir().unwrap();
    let text = "\
name: pause-a-while
description: |
  Waits a while.
  For as long as it is told.
inputs:
  pause: {type: duration, description: How long}
  reason: {type: string, default: none}
steps:
- {id: sleep, timeout: 2h, action: sleep, with: {duration: \"{{ inputs.pause }}\"}}
outputs: {reason: \"{{ inputs.reason }}\"}
";
    write(dir.path(), "pause-a-while.yaml", text);
    write(dir.path(), "with-errors.yaml", "name: with-errors\nsteps: []\n");
    let runbooks = dir.path().to_str().unwrap();
    let all = run(&["actions", "--runbooks", runbooks]).expect_exit_code(0).stdout;
    assert!(all.contains("\npause-a-while            waits    Waits a while.\n"), "{all}");
    assert!(!all.contains("with-errors"), "{all}");
    let one = run(&["actions", "pause-a-while", "--runbooks", runbooks]).expect_exit_code(0).stdout;
    let expected = "\
pause-a-while (a runbook, waits)

Waits a while.
For as long as it is told.

inputs
  pause                duration, required
                         How long
  reason               string, default `\"none\"`

outputs
  reason               string

undo
  changes nothing, so there is nothing to undo

as a step
  call: pause-a-while
  with: {pause: …}
";
    assert_eq!(one, expected);
    let call = ["actions", "pause-a-while", "--format", "json", "--runbooks", runbooks];
    let document: Value = serde_json::from_str(&run(&call).expect_exit_code(0).stdout).unwrap();
    assert_eq!(document[0]["inputs"][0]["type"], "duration");
    let wrong = run(&["actions", "with-errors", "--runbooks", runbooks]).expect_exit_code(2);
    assert!(wrong.stderr.contains("runbook 'with-errors' has errors"), "{}", wrong.stderr);
    let near = run(&["actions", "pause-a-whlie", "--runbooks", runbooks]).expect_exit_code(2);
    assert!(near.stderr.contains("did you mean 'pause-a-while'?"), "{}", near.stderr);

    // An editor completes it, with its inputs; and any other name can be called as well.
    let schema = run(&["schema", "--runbooks", runbooks]).expect_exit_code(0).stdout;
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let step = &schema["$defs"]["step"];
    let names = step["properties"]["call"]["anyOf"][0]["enum"].as_array().unwrap();
    assert!(names.contains(&"pause-a-while".into()) && names.contains(&"drain-node".into()));
    assert_eq!(step["properties"]["call"]["anyOf"][1], json!({"type": "string"}));
    let choices = step["allOf"].as_array().unwrap();
    let is_it = |choice: &&Value| choice["if"]["properties"]["call"]["const"] == "pause-a-while";
    let with = &choices.iter().find(is_it).unwrap()["then"]["properties"]["with"];
    assert_eq!(with["required"], json!(["pause"]));
    assert_eq!(with["properties"]["reason"]["default"], "none");
}

#[test]
fn an_invalid_endpoint_is_reported() {
    for wrong in ["localhost:5000", "not-a-url"] {
        let mut command = program();
        command.env("AWS_ENDPOINT_URL", wrong).args(["run", "relay-scale", "--yes"]);
        let state = tempfile::tempdir().unwrap();
        let ended =
            ProgramOutput::run(command.arg("--state-dir").arg(state.path())).expect_exit_code(2);
        let expected = format!(
            "error: AWS_ENDPOINT_URL is not a valid URL: {wrong}\nhint: it must start with http:// or https://\n"
        );
        assert_eq!(ended.stderr, expected);
    }
}

/// The commands in the lines below "Next, run one of:".
fn offered_commands(stderr: &str) -> Vec<String> {
    let (_, lines) = stderr.split_once("Next, run one of:\n").unwrap_or_else(|| panic!("{stderr}"));
    lines.lines().map_while(|line| line.strip_prefix("  ")).map(str::to_owned).collect()
}

#[test]
fn offered_commands_run_in_a_shell_whatever_the_directories_are_called() {
    let dir = tempfile::tempdir().unwrap();
    let state_dir = dir.path().join("it's a \"state\" $HOME");
    let runbook = write(dir.path(), "fails.yaml", FAILING);
    let kubeconfig = write(dir.path(), "kube config's", "");
    let start = || {
        let mut command = program();
        command.arg("--state-dir").arg(&state_dir);
        command.args(["run", &runbook, "--yes", "--kubeconfig", &kubeconfig]);
        let ended = ProgramOutput::run(&mut command).expect_exit_code(4);
        offered_commands(&ended.stderr)
    };
    let binaries = program_path();
    let binaries = binaries.parent().unwrap().display();
    let path = format!("{binaries}:{}", std::env::var("PATH").unwrap());
    let in_shell = |command: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).env("PATH", &path).env("SOP_YES", "true").stdin(Stdio::null());
        ProgramOutput::run(&mut shell)
    };
    let offered = start();
    assert_eq!(offered.len(), 3, "{offered:#?}");
    let resumed = in_shell(&offered[0]).expect_exit_code(4);
    assert_eq!(offered_commands(&resumed.stderr), offered);
    in_shell(&offered[1]).expect_exit_code(0);
    let abandoned = in_shell(&start()[2]).expect_exit_code(0);
    assert!(abandoned.stdout.contains("abandoned"), "{}", abandoned.stdout);
}

#[test]
fn a_directory_called_serve_does_not_change_the_log() {
    let simulate = SimulateProcess::start(SPEED);
    let dir = tempfile::tempdir().unwrap();
    let runbook = write(dir.path(), "scale-up.yaml", SCALE_UP);
    let mut command = program();
    let addresses = ["KUBECONFIG", "AWS_ENDPOINT_URL"];
    let given = simulate.environment.iter().filter(|(name, _)| addresses.contains(&&**name));
    command.envs(given.cloned()).env("HOME", dir.path()).arg("--state-dir").arg(dir.path());
    std::fs::create_dir(dir.path().join("serve")).unwrap();
    command.current_dir(dir.path());
    command.args(["--runbooks", "serve", "run", &runbook, "--yes", "--speed", "600"]);
    let ended = ProgramOutput::run(&mut command).expect_exit_code(0);
    assert!(ended.stderr.contains("no AWS credentials found"), "{}", ended.stderr);
    assert!(!ended.stderr.contains('{'), "{}", ended.stderr);
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let state = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 9] = [
        &["actions"],
        &["actions", "--format", "json"],
        &["actions", "--format", "markdown"],
        &["actions", "scale_nodegroup"],
        &["explain"],
        &["explain", "RB012"],
        &["schema"],
        &["man"],
        &["completions", "bash"],
    ];
    for arguments in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = program();
        command.arg("--state-dir").arg(state.path()).args(arguments).stdout(writer);
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    }
}

/// Completes the last of the words in bash, as readline does, and returns the candidates that are not options.
fn complete_in_bash(words: &[&str], variables: &[(&str, &Path)]) -> Vec<String> {
    let script = r#"
        eval "$("$1" completions bash)"; shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        function=$(complete -p rafay-relay-sop); function=${function##*-F }; function=${function%% *}
        "$function" rafay-relay-sop "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", script, "bash"]).arg(program_path()).arg("rafay-relay-sop");
    bash.args(words).envs(variables.iter().copied()).stdin(Stdio::null());
    let ended = ProgramOutput::run(&mut bash).expect_exit_code(0);
    assert_eq!(ended.stderr, "", "{words:?}");
    let lines = ended.stdout.lines().filter(|line| !line.starts_with('-'));
    lines.map(str::to_owned).collect()
}

#[test]
fn bash_completes_subcommands_actions_and_rules() {
    assert_eq!(complete_in_bash(&["ru"], &[]), ["run", "runs"]);
    assert_eq!(complete_in_bash(&["runs", "ro"], &[]), ["rollback"]);
    assert_eq!(complete_in_bash(&["actions", "scale_n"], &[]), ["scale_nodegroup"]);
    assert_eq!(complete_in_bash(&["explain", "RB012"], &[]), ["RB012"]);
    assert_eq!(complete_in_bash(&["--output", "j"], &[]), ["json"]);
}

#[test]
fn bash_completes_runbooks() {
    let dir = tempfile::tempdir().unwrap();
    let runbooks = dir.path().join("run books");
    std::fs::create_dir(&runbooks).unwrap();
    let path = write(&runbooks, "rotate-nodes.yaml", "");
    let typed = format!("'{}'", runbooks.display());
    let found = ["rotate-nodegroup", "rotate-nodes"];
    assert_eq!(complete_in_bash(&["--runbooks", &typed, "run", "ro"], &[]), found);
    assert_eq!(complete_in_bash(&["--runbooks", "=", &typed, "run", "ro"], &[]), found);
    let variables = [("SOP_RUNBOOKS", runbooks.as_path())];
    assert_eq!(
        complete_in_bash(&["run", "re"], &variables),
        ["relay-scale", "replace-node", "restart-deployments"]
    );
    assert_eq!(complete_in_bash(&["run", "rotate-node"], &variables), found);
    assert_eq!(complete_in_bash(&["run", &path[..path.len() - 5]], &[]), [path]);
}

#[test]
fn bash_completes_the_runs_that_a_subcommand_can_act_on() {
    let dir = tempfile::tempdir().unwrap();
    let state_dir = dir.path().join("it's a state directory");
    let passing = FAILING.replace("that: false", "that: true");
    for (text, code) in [(passing.as_str(), 0), (FAILING, 4)] {
        let runbook = write(dir.path(), "fails.yaml", text);
        let mut command = program();
        command.arg("--state-dir").arg(&state_dir).args(["run", &runbook, "--yes"]);
        ProgramOutput::run(&mut command).expect_exit_code(code);
    }
    let mut list = program();
    list.arg("--state-dir").arg(&state_dir).args(["--output", "json", "runs", "list"]);
    let list = ProgramOutput::run(&mut list).expect_exit_code(0).stdout;
    let list: Value = serde_json::from_str(&list).unwrap();
    let [passed, failed] = [0, 1].map(|at: usize| list[at]["run"].as_str().unwrap());

    let variables = [("SOP_STATE_DIR", state_dir.as_path())];
    for subcommand in ["show", "watch", "logs"] {
        assert_eq!(complete_in_bash(&["runs", subcommand, ""], &variables), [failed, passed]);
    }
    for subcommand in ["resume", "rollback", "abandon"] {
        assert_eq!(complete_in_bash(&["runs", subcommand, ""], &variables), [failed]);
    }
    assert_eq!(complete_in_bash(&["runs", "cancel", ""], &variables), [""; 0]);
    let typed = format!("\"{}\"", state_dir.display());
    let words = ["--state-dir", &typed, "runs", "show", &passed[..passed.len() - 1]];
    assert_eq!(complete_in_bash(&words, &[]), [passed]);
}

#[test]
fn the_manual_page_names_every_subcommand() {
    let help = run(&["--help"]).expect_exit_code(0).stdout;
    let (_, subcommands) = help.split_once("Commands:\n").unwrap();
    let subcommands = subcommands.lines().map_while(|line| line.split_whitespace().next());
    let page = run(&["man"]).expect_exit_code(0).stdout.replace('\\', "");
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    run(&["man", "--dir", pages.to_str().unwrap()]).expect_exit_code(0);
    for subcommand in subcommands.filter(|subcommand| *subcommand != "help") {
        let name = format!("rafay-relay-sop-{subcommand}");
        assert!(page.contains(&format!("{name}(1)")), "{name} is not in\n{page}");
        assert!(pages.join(format!("{name}.1")).exists(), "{name}.1");
    }
    for name in ["rafay-relay-sop.1", "rafay-relay-sop-runs-resume.1"] {
        assert!(pages.join(name).exists(), "{name}");
    }
    assert!(page.contains("SOP_STATE_DIR"), "{page}");
}

/// The AWS SDK logs access key ids and session tokens at the levels that a person turns on to find a fault.
#[test]
fn no_level_of_the_log_shows_credentials() {
    let simulate = SimulateProcess::start(SPEED);
    let dir = tempfile::tempdir().unwrap();
    let runbook = write(dir.path(), "scale-up.yaml", SCALE_UP);
    let secrets = ["AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIK7MDENG", "IQoJb3JpZ2luX2VjEXAMPLE"];
    let profile = write(
        dir.path(),
        "credentials",
        &format!(
            "[default]\naws_access_key_id={}\naws_secret_access_key={}\naws_session_token={}\n",
            secrets[0], secrets[1], secrets[2]
        ),
    );
    let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
    for from_profile in [false, true] {
        let mut command = simulate.program(dir.path());
        command.args(["run", "--yes", &runbook, "--speed", "600"]).env("SOP_LOG", "trace");
        for (name, secret) in names.into_iter().zip(secrets) {
            match from_profile {
                true => command.env_remove(name),
                false => command.env(name, secret),
            };
        }
        if from_profile {
            command.env("AWS_SHARED_CREDENTIALS_FILE", &profile);
        }
        let ended = ProgramOutput::run(&mut command).expect_exit_code(0);
        assert!(ended.stderr.contains("DEBUG") || ended.stderr.contains("TRACE"));
        for secret in secrets {
            let line = ended.stderr.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret}");
        }
    }
}
