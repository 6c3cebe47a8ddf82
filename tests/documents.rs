//! Documents that are generated are current, and those that are written show what is so.

use std::{fs, path::Path};

use crate::support::{Program, program};

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_actions_document_is_current() {
    let made = Program::of(program().args(["actions", "--format", "markdown"])).ends_with(0);
    assert!(
        made.stdout == document("docs/actions.md"),
        "docs/actions.md is stale: `cargo run -- actions --format markdown > docs/actions.md`"
    );
}

#[test]
fn every_crate_is_explained() {
    let manifest = document("Cargo.toml");
    let dependencies = manifest.split_once("\n[dependencies]\n").unwrap().1;
    let dependencies = dependencies.split_once("\n[").unwrap().0;
    let explained = document("docs/dependencies.md");
    for line in dependencies.lines().filter(|line| line.contains('=')) {
        let name = line.split([' ', '=']).next().unwrap();
        assert!(explained.contains(&format!("| `{name}`")), "docs/dependencies.md lacks {name}");
    }
}
