//! The words and comments of `docs/style.md`, checked in the sources and in the documents.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The directories and files that are checked, with everything in them that ends in `.rs` or `.md`.
const CHECKED: &[&str] = &["src", "crates", "docs", "README.md", "CONTRIBUTING.md"];

/// The words and phrases that are not used, in lower case. Each is compared as whole words, also within identifiers.
const BANNED: &[&str] = &[
    "a room",
    "attend",
    "befall",
    "catalogue",
    "colour",
    "comeback",
    "cure",
    "cures",
    "dearest",
    "flaw",
    "folder",
    "folders",
    "grave",
    "halt",
    "halted",
    "homeless",
    "hopeless",
    "is so",
    "its own words",
    "looks",
    "mend",
    "mended",
    "misfit",
    "nobody",
    "normalise",
    "on its way",
    "one room",
    "rooms",
    "seat",
    "seated",
    "shall",
    "shelf",
    "somebody",
    "stands",
    "this room",
    "vocabulary",
    "way back",
    "whoever",
];

/// What may follow a banned word, because the two together mean something else.
const ALLOWED_CONTINUATIONS: &[(&str, &str)] =
    &[("looks", " like "), ("looks", " up"), ("stands", " for ")];

/// The files that may use a banned word, and which one; `*` is every word.
const ALLOWED_WORDS: &[(&str, &str)] = &[
    // The word that people write for `stop`.
    ("crates/runbook/src/habits/values.rs", "halt"),
    // These two list the words.
    ("docs/glossary.md", "*"),
    ("docs/style.md", "*"),
    // The old name of a rule, `looks_secret`, stays an alias.
    ("crates/runbook/src/rules/mod.rs", "looks"),
];

/// How many columns a comment may have.
const MAX_COMMENT_COLUMNS: usize = 120;

/// How many columns prose in Markdown may have. Tables, links and code blocks may have more.
const MAX_PROSE_COLUMNS: usize = 120;

/// The Markdown files that the program writes, whose paragraphs are not wrapped.
const GENERATED_DOCUMENTS: &[&str] = &["docs/actions.md"];

/// How a doc comment must not begin.
const BANNED_BEGINNINGS: &[&str] = &["It ", "What ", "Whose ", "Who ", "That "];

#[test]
fn sources_and_documents_use_no_banned_word() {
    let mut violations = Vec::new();
    for file in checked_files() {
        for (line, number) in file.text.lines().zip(1..) {
            for word in banned_words_in(line) {
                let is_allowed = ALLOWED_WORDS.iter().any(|(name, allowed)| {
                    *name == file.name && (*allowed == "*" || *allowed == word)
                });
                if !is_allowed {
                    violations.push(format!(
                        "{}:{number}: '{word}' in: {}",
                        file.name,
                        line.trim()
                    ));
                }
            }
        }
    }
    assert_none(&violations, "banned words, see docs/style.md");
}

#[test]
fn comments_of_sources_are_not_too_long() {
    let mut violations = Vec::new();
    for file in rust_files() {
        for (line, number) in file.text.lines().zip(1..) {
            let columns = line.chars().count();
            if line.trim_start().starts_with("//") && columns > MAX_COMMENT_COLUMNS {
                violations.push(format!("{}:{number}: {columns} columns", file.name));
            }
        }
    }
    assert_none(&violations, "comments that are too long");
}

#[test]
fn prose_of_documents_is_not_too_wide() {
    let mut violations = Vec::new();
    let is_written = |file: &CheckedFile| {
        is_markdown(file) && !GENERATED_DOCUMENTS.contains(&file.name.as_str())
    };
    for file in checked_files().into_iter().filter(is_written) {
        for number in wide_prose_lines(&file.text) {
            violations.push(format!("{}:{number}", file.name));
        }
    }
    assert_none(&violations, "lines of prose that are too wide");
}

#[test]
fn doc_comments_begin_with_a_noun_or_a_verb() {
    let mut violations = Vec::new();
    for file in rust_files() {
        for (number, beginning) in doc_comment_beginnings(&file.text) {
            if BANNED_BEGINNINGS.iter().any(|banned| beginning.starts_with(banned)) {
                violations.push(format!("{}:{number}: {beginning}", file.name));
            }
        }
    }
    assert_none(&violations, "doc comments that begin with a pronoun");
}

#[test]
fn banned_words_are_found_as_whole_words_only() {
    assert_eq!(
        banned_words_in("Nobody looks; the SHELF is_hopeless"),
        ["hopeless", "looks", "nobody", "shelf"]
    );
    assert_eq!(banned_words_in("it is so."), ["is so"]);
    let allowed = "it looks like two, looks up names, stands for one; a seatbelt, amended, is some";
    assert!(banned_words_in(allowed).is_empty());
}

#[test]
fn tables_links_and_code_may_be_wide() {
    let wide = "x".repeat(MAX_PROSE_COLUMNS + 1);
    let allowed = format!("| {wide} |\n[a]({wide})\nhttps://{wide}\n```\n{wide}\n```\n");
    assert_eq!(wide_prose_lines(&format!("{allowed}{wide}\n")), [7]);
}

#[test]
fn doc_comments_are_read_by_their_first_line() {
    let text =
        "/// It is one.\n/// What follows.\nfn a() {}\n\n    /// Two.\n//! It is a module.\n";
    assert_eq!(doc_comment_beginnings(text), [(1, "It is one."), (5, "Two.")]);
}

/// A file that is checked.
struct CheckedFile {
    /// The path within the repository, with `/`.
    name: String,
    text: String,
}

/// Returns every file that is checked, in the order of their names.
fn checked_files() -> Vec<CheckedFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for name in CHECKED {
        add_paths(&root.join(name), &mut paths);
    }
    paths.sort();
    let files: Vec<CheckedFile> = paths
        .iter()
        .map(|path| CheckedFile {
            name: path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/"),
            text: fs::read_to_string(path).unwrap(),
        })
        .collect();
    assert!(files.len() > 100, "only {} files found", files.len());
    files
}

fn rust_files() -> impl Iterator<Item = CheckedFile> {
    checked_files()
        .into_iter()
        .filter(|file| Path::new(&file.name).extension().is_some_and(|e| e == "rs"))
}

fn is_markdown(file: &CheckedFile) -> bool {
    Path::new(&file.name).extension().is_some_and(|e| e == "md")
}

/// Adds the path, or for a directory all Rust and Markdown files below it. Build outputs are left out.
fn add_paths(path: &Path, paths: &mut Vec<PathBuf>) {
    if path.is_dir() {
        if path.ends_with("target") {
            return;
        }
        for entry in fs::read_dir(path).unwrap() {
            add_paths(&entry.unwrap().path(), paths);
        }
    } else if path.extension().is_some_and(|ending| ending == "rs" || ending == "md") {
        paths.push(path.to_owned());
    }
}

/// Returns the banned words in a line, each once, in the order of [`BANNED`].
fn banned_words_in(line: &str) -> Vec<&'static str> {
    let line = line.to_ascii_lowercase();
    BANNED.iter().copied().filter(|word| has_word(&line, word)).collect()
}

/// Whether a line in lower case has the word, with no letter or digit before and after it.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        let is_whole = !before.ends_with(is_part_of_word) && !after.starts_with(is_part_of_word);
        let is_allowed = ALLOWED_CONTINUATIONS
            .iter()
            .any(|(allowed, continuation)| *allowed == word && after.starts_with(continuation));
        is_whole && !is_allowed
    })
}

fn is_part_of_word(c: char) -> bool {
    c.is_alphanumeric()
}

/// Returns the numbers of the lines of prose that are too wide.
fn wide_prose_lines(text: &str) -> Vec<usize> {
    let mut wide = Vec::new();
    let mut is_in_code = false;
    for (line, number) in text.lines().zip(1..) {
        let start = line.trim_start();
        if start.starts_with("```") {
            is_in_code = !is_in_code;
        }
        let is_exempt = is_in_code
            || start.starts_with('|')
            || line.contains("](")
            || line.contains("https://");
        if !is_exempt && line.chars().count() > MAX_PROSE_COLUMNS {
            wide.push(number);
        }
    }
    wide
}

/// Returns the first line of each doc comment, with its number.
fn doc_comment_beginnings(text: &str) -> Vec<(usize, &str)> {
    let mut beginnings = Vec::new();
    let mut is_within = false;
    for (index, line) in text.lines().enumerate() {
        let comment = line.trim_start().strip_prefix("///");
        if let Some(comment) = comment.filter(|_| !is_within) {
            beginnings.push((index + 1, comment.trim_start()));
        }
        is_within = comment.is_some();
    }
    beginnings
}

fn assert_none(violations: &[String], what: &str) {
    assert!(violations.is_empty(), "{} {what}:\n{}", violations.len(), violations.join("\n"));
}
