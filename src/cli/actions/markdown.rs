//! The actions as the document `docs/actions.md`.

use std::fmt::Write as _;

use super::{kind_text, presence, undo_text};
use crate::actions::ActionDef;
use runbook::{ActionSignature, types::RecordType};

const HEAD: &str = "# Actions

<!-- Generated: `rafay-relay-sop actions --format markdown > docs/actions.md`. CI fails when it is stale. -->

What a runbook's steps can do. A step's output is named `STEP.FIELD` in the templates of later steps; a whole output
can be handed on as a record.

| action | | |
|---|---|---|
";

/// The document.
pub(super) fn document(entries: &[&ActionDef]) -> String {
    let mut text = HEAD.to_owned();
    for entry in entries {
        let summary = one_line(&entry.signature().summary);
        let _ = writeln!(
            text,
            "| [`{0}`](#{0}) | {1} | {summary} |",
            entry.name,
            kind_text(entry.kind())
        );
    }
    entries.iter().for_each(|entry| text += &chapter(entry));
    text
}

fn chapter(entry: &ActionDef) -> String {
    let description = entry.params["description"].as_str().unwrap_or_default();
    let ActionSignature { params, output, .. } = entry.signature();
    let mut text = format!("\n## {}\n\n{description}\n", entry.name);
    if !params.fields.is_empty() {
        text += "\n| parameter | type | | |\n|---|---|---|---|\n";
        for field in &params.fields {
            let words = one_line(&field.description);
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {words} |",
                field.name,
                field.ty,
                presence(field)
            );
        }
    }
    for group in &params.exactly_one_of {
        let names: Vec<String> = group.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(text, "\nExactly one of {} is given.", names.join(", "));
    }
    text += &outputs(&output);
    let _ = writeln!(text, "\nUndo: {}.", undo_text(entry));
    text + &permissions(entry)
}

fn outputs(output: &RecordType) -> String {
    if output.fields.is_empty() {
        return "\nIt has no output.\n".into();
    }
    let mut text = String::from("\n| output | type | |\n|---|---|---|\n");
    for field in &output.fields {
        let words = one_line(&field.description);
        let _ = writeln!(text, "| `{}` | {} | {words} |", field.name, field.ty);
    }
    text
}

fn permissions(entry: &ActionDef) -> String {
    if entry.permissions.is_empty() {
        return "\nIt needs no permission.\n".into();
    }
    let names: Vec<String> = entry.permissions.iter().map(|one| format!("`{one}`")).collect();
    format!("\nPermissions: {}.\n", names.join(", "))
}

/// A table's cell is one line, and a bar would end it.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
