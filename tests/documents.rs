//! Generated documents are current, and written ones match the program.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use simulator::Scenario;
use test_support::{ProgramOutput, SPEED, SimulateProcess, program, program_path};

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_actions_document_is_current() {
    let made =
        ProgramOutput::run(program().args(["actions", "--format", "markdown"])).expect_exit_code(0);
    assert!(
        made.stdout == document("docs/actions.md"),
        "docs/actions.md is stale: `cargo run -- actions --format markdown > docs/actions.md`"
    );
}

#[test]
fn every_dependency_is_explained() {
    let manifest = document("Cargo.toml");
    let dependencies = manifest.split_once("\n[dependencies]\n").unwrap().1;
    let dependencies = dependencies.split_once("\n[").unwrap().0;
    let explained = document("docs/dependencies.md");
    for line in dependencies.lines().filter(|line| line.contains('=') && !line.starts_with("sop-"))
    {
        let name = line.split([' ', '=', '.']).next().unwrap();
        assert!(explained.contains(&format!("| `{name}`")), "docs/dependencies.md lacks {name}");
    }
}

/// The example of the README is a runbook that runs.
#[test]
fn the_readmes_runbook_runs() {
    let readme = document("README.md");
    let mut blocks = readme.split("```yaml\n").filter_map(|rest| rest.split("```").next());
    let text = blocks.find(|block| block.starts_with("name: restart-sentry")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let runbook = dir.path().join("restart-sentry.yaml");
    fs::write(&runbook, text).unwrap();
    let arguments = ["run", runbook.to_str().unwrap(), "--simulate", "--speed", "600"];
    let ended = ProgramOutput::run(program().args(arguments)).expect_exit_code(0);
    assert!(ended.stdout.contains("2 new pods since "), "{}", ended.stdout);
}

/// Links in documents lead to files that are there.
#[test]
fn links_between_documents_are_not_broken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        names.push(format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()));
    }
    let mut broken = Vec::new();
    for name in names.iter().filter(|name| Path::new(name).extension().is_some_and(|e| e == "md")) {
        let dir = root.join(name).parent().unwrap().to_owned();
        for link in document(name).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            if !path.is_empty() && !path.contains("://") && !dir.join(path).exists() {
                broken.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// A document about scenarios shows scenarios that can be used.
#[test]
fn the_scenarios_of_the_documents_are_valid() {
    let text = document("docs/scenarios.md");
    let blocks: Vec<&str> =
        text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() > 2);
    for block in blocks {
        Scenario::from_yaml(block).unwrap_or_else(|error| panic!("{error}\n{block}"));
    }
}

/// Commands of the documents that no test runs, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("cargo test", "it is what runs this test"),
    ("cargo bench", "it takes minutes"),
    ("benches/", "it takes minutes"),
    ("cargo install", "it needs the network and takes minutes"),
    ("UPDATE_FIXTURES=1 cargo test", "it is what runs this test"),
    (".ci/run", "it runs this test"),
    ("rafay-relay-sop runs resume --last --skip", "it needs a terminal; tests/amend.rs has one"),
    ("rafay-relay-sop runs resume --last --from", "it needs a terminal; tests/amend.rs has one"),
    ("rafay-relay-sop runs approve", "it needs a run that waits; tests/approvals.rs has one"),
    ("rafay-relay-sop runs reject", "it needs a run that waits; tests/approvals.rs has one"),
    ("tests/", "it needs the network"),
    ("docker ", "it needs an image"),
    ("make ", "it needs a cluster; tests/makefile/run checks what it calls"),
    ("check-jsonschema ", "tests/editor/run runs it"),
    ("rafay-relay-sop serve", "it does not end; tests/service.rs runs it"),
    ("rafay-relay-sop validate --watch", "it does not end; tests/validate.rs runs it"),
    ("curl ", "it needs the service; tests/service.rs makes the same requests"),
    (
        "rafay-relay-sop-validate ",
        "`cargo test` of the workspace builds it, and one of this package does not",
    ),
];

/// The programs that a command may need besides this one.
const OPTIONAL_PROGRAMS: [&str; 2] = ["kubectl", "aws"];

/// The documents that people read, relative to the root of the repository.
fn written_documents() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<String> =
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(Into::into).into();
    let mut dirs: Vec<PathBuf> = ["docs", "k8s", "runbooks", "tests/editor"].map(Into::into).into();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(root.join(&dir)).into_iter().flatten() {
            let path = dir.join(entry.unwrap().file_name());
            if root.join(&path).is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "md" || e == "yaml" || e == "yml") {
                names.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    names
}

/// The commands of the console blocks of a document, without comments and prompts.
fn console_commands(text: &str) -> Vec<String> {
    let blocks = text.split("```console\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    blocks
        .flat_map(str::lines)
        .filter_map(|line| line.trim_start().strip_prefix("$ "))
        .map(str::to_owned)
        .collect()
}

fn is_markdown(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "md")
}

fn is_on_path(name: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|dir| dir.join(name).is_file())
}

/// A clone of the repository as a reader of the documents has it, with the runbooks that the documents show.
fn clone_for_examples(dir: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in ["runbooks", "docs", "schema"] {
        fs::create_dir(dir.join(part)).unwrap();
        for entry in fs::read_dir(root.join(part)).unwrap() {
            let entry = entry.unwrap();
            // Pictures are in a directory of their own.
            if entry.file_type().unwrap().is_dir() {
                continue;
            }
            fs::copy(entry.path(), dir.join(part).join(entry.file_name())).unwrap();
        }
    }
    for name in ["README.md", "docs/language.md"] {
        for block in document(name).split("```yaml\n").skip(1) {
            let text = block.split("```").next().unwrap();
            let is_runbook = text.contains("\nsteps:");
            let first = text.lines().find_map(|line| line.strip_prefix("name: "));
            if let Some(runbook) = first.filter(|_| is_runbook) {
                fs::write(dir.join(format!("runbooks/{runbook}.yaml")), text).unwrap();
            }
        }
    }
}

/// A runbook whose runs remain unfinished, for the examples that need such a run.
const FAILING: &str = "name: relay-scale
steps:
  - {id: sure, action: assert, with: {that: false, message: 'no'}, on_failure: stop}
";

/// Every command in a document is run as it is written, and succeeds. `SOP_YES` answers instead of the reader.
#[test]
fn the_commands_of_the_documents_succeed() {
    let dir = tempfile::tempdir().unwrap();
    let (clone, home) = (dir.path().join("clone"), dir.path().join("home"));
    fs::create_dir(&clone).unwrap();
    fs::create_dir_all(home.join(".config/fish")).unwrap();
    clone_for_examples(&clone);
    fs::write(clone.join("relay-scale.yaml"), FAILING).unwrap();
    let simulate = SimulateProcess::start(SPEED);
    let binaries = program_path();
    let binaries = binaries.parent().unwrap().display();
    let path = format!("{binaries}:{}", std::env::var("PATH").unwrap());
    let in_shell = |text: &str| {
        let mut shell = Command::new("bash");
        for (name, _) in std::env::vars() {
            if name.starts_with("AWS_") || name.starts_with("SOP_") || name.starts_with("XDG_") {
                shell.env_remove(name);
            }
        }
        shell.envs(simulate.environment.iter().cloned()).stdin(Stdio::null());
        shell.env("PATH", &path).env("HOME", &home).env("SOP_YES", "true").env("SOP_SPEED", "600");
        shell.current_dir(&clone).args(["--norc", "-c", text]);
        ProgramOutput::run(&mut shell)
    };
    for name in written_documents().iter().filter(|name| is_markdown(name)) {
        for command in console_commands(&document(name)) {
            let text = command.replacen("cargo run -- ", "rafay-relay-sop ", 1);
            let is_missing = |program: &&str| text.contains(*program) && !is_on_path(program);
            if NOT_RUN.iter().any(|(beginning, _)| text.starts_with(beginning))
                || OPTIONAL_PROGRAMS.iter().any(is_missing)
            {
                continue;
            }
            let needs_unfinished = ["resume", "rollback", "abandon"]
                .iter()
                .any(|word| text.contains(&format!("runs {word}")));
            if needs_unfinished {
                in_shell("rafay-relay-sop run ./relay-scale.yaml").expect_exit_code(4);
            }
            let ended = in_shell(&text);
            // The step of that run fails again; what matters is that it was resumed.
            let expected = match &text {
                text if text.contains("runs resume") => 4,
                // It would change something.
                text if text.contains(" plan ") => 5,
                _ => 0,
            };
            assert_eq!(
                ended.code,
                Some(expected),
                "{name}: {command}\n{}\n{}",
                ended.stdout,
                ended.stderr
            );
            if text.contains("runs resume") {
                in_shell("rafay-relay-sop runs abandon --last").expect_exit_code(0);
            }
        }
    }
}

/// An example that does not ask names the cluster on which it acts, in the same line: what is pasted into a shell meets
/// whatever that shell's variables name.
#[test]
fn no_example_acts_unasked_on_what_the_environment_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts: Vec<(String, String)> =
        written_documents().into_iter().map(|name| (name.clone(), document(&name))).collect();
    let mut dirs = vec![root.join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                texts.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut unsafe_lines = Vec::new();
    for (name, text) in &texts {
        for line in text.lines() {
            let is_unasked = line.contains(" --yes") || line.contains("SOP_YES=");
            let acts = [" run ", " runs ", " serve "].iter().any(|word| line.contains(word))
                && line.contains("rafay-relay-sop");
            let is_named = line.contains("simulate -- ")
                || line.contains("--simulate")
                || (line.contains("--context") && line.contains("--profile"));
            if is_unasked && acts && !is_named {
                unsafe_lines.push(format!("{name}: {line}"));
            }
        }
    }
    assert!(unsafe_lines.is_empty(), "{unsafe_lines:#?}");
}

/// The output that the README shows is what the program prints today, except for ids, times and durations.
#[test]
fn the_readmes_run_prints_what_it_shows() {
    let readme = document("README.md");
    let shown = readme.split("$ cargo run -- run relay-scale --simulate\n").nth(1).unwrap();
    let shown = shown.split("```").next().unwrap();
    let arguments = ["run", "relay-scale", "--simulate", "--speed", "600"];
    let printed = ProgramOutput::run(program().args(arguments)).expect_exit_code(0).stdout;
    let printed: Vec<String> = printed
        .lines()
        // A pipe gets each line with its time.
        .map(|line| line.split_once("] ").map_or(line, |(_, text)| text))
        .map(stable_words)
        .collect();
    let mut missing = Vec::new();
    let mut is_longest = false;
    for line in shown.lines().skip(1) {
        // Which steps took longest is not the same each time.
        let is_listed = is_longest && line.starts_with("  ");
        is_longest = is_listed || line == "Longest steps:";
        // On a terminal a completed step has a mark and a duration.
        let text = match line.strip_prefix("✔ ") {
            None if is_listed => line.trim_start().rsplit_once(" (").unwrap().0.to_owned(),
            Some(step) => format!("Completed step: {}", step.rsplit_once(" (").unwrap().0),
            None => match line.strip_prefix("- ").and_then(|step| step.split_once(" (skipped: ")) {
                Some((step, why)) => format!("Skipped step: {step} ({why}"),
                None => line.trim_start().to_owned(),
            },
        };
        let text = stable_words(&text);
        if !printed.iter().any(|printed| printed.contains(&text)) {
            missing.push(format!("{line}\n    {text}"));
        }
    }
    assert!(missing.is_empty(), "{}\n\n{}", missing.join("\n"), printed.join("\n"));
}

/// A line without the words that differ from run to run: those with digits beside letters or other signs,
/// and durations.
fn stable_words(line: &str) -> String {
    let is_generated = |word: &&str| {
        let has_digit = word.contains(|c: char| c.is_ascii_digit());
        has_digit && (word.len() > 8 || word.contains('.') && word.parse::<f64>().is_ok())
    };
    line.split_whitespace().filter(|word| !is_generated(word)).collect::<Vec<_>>().join(" ")
}
