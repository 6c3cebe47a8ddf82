//! Generated documents are current, and written ones match the program.

use std::{fs, path::Path};

use test_support::{ProgramOutput, program};

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
    let text = readme.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
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
