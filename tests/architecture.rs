//! The dependencies between the modules of `src/`, as `docs/architecture.md` lists them, checked against the sources.
//! Dependencies between crates are Cargo's to check.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The modules that each module of `src/` may use. A module that is not listed here may not exist.
const ALLOWED_DEPENDENCIES: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["actions", "engine", "journal", "platform", "runbook_dir", "server"]),
    ("server", &["engine", "journal", "runbook_dir"]),
    ("engine", &["actions", "journal", "platform"]),
    ("actions", &["platform"]),
    ("runbook_dir", &[]),
    ("platform", &[]),
    ("journal", &[]),
];

#[test]
fn modules_use_only_their_allowed_dependencies() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let allowed: BTreeMap<&str, BTreeSet<&str>> = ALLOWED_DEPENDENCIES
        .iter()
        .map(|(module, dependencies)| (*module, dependencies.iter().copied().collect()))
        .collect();
    let mut violations = Vec::new();
    for file in rust_files(&sources) {
        let module = module_of(&sources, &file);
        if module == "lib" {
            continue;
        }
        let Some(allowed_modules) = allowed.get(module.as_str()) else {
            violations.push(format!(
                "{}: a module that docs/architecture.md does not list",
                file.display()
            ));
            continue;
        };
        for other in modules_used(&fs::read_to_string(&file).unwrap()) {
            if other != module && !allowed_modules.contains(other.as_str()) {
                violations.push(format!("{}: {module} may not use {other}", file.display()));
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// The drawing and the test are the same arrows.
#[test]
fn the_architecture_document_lists_the_allowed_dependencies() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let text = fs::read_to_string(document).unwrap();
    for (module, dependencies) in ALLOWED_DEPENDENCIES {
        if *module == "main" {
            continue;
        }
        let dependencies =
            if dependencies.is_empty() { "nothing".to_owned() } else { dependencies.join(", ") };
        let row = format!("| `{module}` | {dependencies} |");
        assert!(text.contains(&row), "docs/architecture.md lacks the row\n{row}");
    }
}

/// A module that offers the items of another as its own would hide from this test who uses what.
#[test]
fn no_module_re_exports_another() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in rust_files(&sources) {
        let text = fs::read_to_string(&file).unwrap();
        let module = module_of(&sources, &file);
        for (start, _) in text.match_indices("pub use crate::") {
            let statement = text[start..].split(';').next().unwrap_or_default();
            let others = modules_used(statement);
            assert!(
                others.iter().all(|other| *other == module),
                "{} re-exports {others:?}",
                file.display()
            );
        }
    }
}

#[test]
fn modules_used_reads_every_form_of_use() {
    let text = "use crate::{a::X, b::{self, c}, d};\n// crate::no\nlet x = crate::e::f();\nuse crate::{\n    g,\n    h::{i, j::k},\n};";
    let found: Vec<String> = modules_used(text).into_iter().collect();
    assert_eq!(found, ["a", "b", "d", "e", "g", "h"]);
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}

fn module_of(sources: &Path, file: &Path) -> String {
    let first = file.strip_prefix(sources).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The first names of all paths that begin with `crate::` (or, in `main.rs`, with the library's name).
fn modules_used(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut modules = BTreeSet::new();
    for root in ["crate::", "rafay_relay_sop::"] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => modules.extend(first_names(group)),
                None => modules.extend(name_at(rest)),
            }
        }
    }
    modules
}

/// The first name of each path in the group that `text` is the inside of.
fn first_names(text: &str) -> Vec<String> {
    let (mut depth, mut expected, mut names) = (0, true, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expected = true,
            _ if expected && depth == 0 && !c.is_whitespace() => {
                names.extend(name_at(&text[at..]));
                expected = false;
            }
            _ => {}
        }
    }
    names
}

fn name_at(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    name.starts_with(|c: char| c.is_lowercase()).then_some(name)
}
