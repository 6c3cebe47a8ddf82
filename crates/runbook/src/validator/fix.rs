//! `--fix` and `--diff`: the suggestions of the diagnostics, written to the files or shown.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use similar::TextDiff;
use text::printable;

use super::{files, write};
use crate::{ActionRegistry, FixedText, Library, Source, fix};

/// The result of fixing files.
#[derive(Default)]
pub(super) struct FixReport {
    /// One line for each replacement.
    pub(super) lines: String,
    /// How many replacements were made.
    pub(super) count: usize,
    /// The files that could not be written, each with the reason.
    pub(super) errors: Vec<String>,
}

/// Applies what is safe to each file, one file after another: one may call another.
pub(super) fn fix_files(
    paths: &[PathBuf],
    registry: &ActionRegistry,
    others: &dyn Library,
) -> FixReport {
    let mut report = FixReport::default();
    for path in paths {
        let Some((source, fixed)) = fixed(path, registry, others) else { continue };
        if let Err(error) = write::replace(path, source.text(), fixed.source.text()) {
            report.errors.push(format!("cannot write {}: {error}", path.display()));
            continue;
        }
        for fix in &fixed.fixes {
            let place = format!("{}:{}:{}", source.name(), fix.position.line, fix.position.column);
            let line = format!("{place}: {} -> {}", fix.old, fix.new);
            let _ = writeln!(report.lines, "{}", printable(&line));
        }
        report.count += fixed.fixes.len();
    }
    report
}

/// Returns what [`fix_files`] would do as a unified diff, which `patch` and `git apply` read.
pub(super) fn diff_files(
    paths: &[PathBuf],
    registry: &ActionRegistry,
    others: &dyn Library,
) -> String {
    let fixed = paths.iter().filter_map(|path| fixed(path, registry, others));
    fixed.map(|(source, fixed)| diff(&source, &fixed.source)).collect()
}

fn diff(old: &Source, new: &Source) -> String {
    let name = old.name().trim_start_matches("./").trim_start_matches('/');
    let diff = TextDiff::from_lines(old.text(), new.text());
    diff.unified_diff().header(&format!("a/{name}"), &format!("b/{name}")).to_string()
}

/// Returns the text of a file, and the text with the fixes; none if the file cannot be read, which the check reports,
/// or if nothing can be fixed.
fn fixed(
    path: &Path,
    registry: &ActionRegistry,
    others: &dyn Library,
) -> Option<(Source, FixedText)> {
    let source = files::read_source(path)?;
    let fixed = fix(&source, registry, &files::Callable::by(&source, others));
    (!fixed.fixes.is_empty()).then_some((source, fixed))
}
