//! The actions as the document `docs/actions.md`.

use std::fmt::Write as _;

use super::{kind_text, presence, undo_text};
use crate::actions::ActionDef;
use runbook::{ActionSignature, types::RecordType};

const HEAD: &str = "# Actions

<!-- Generated: `rafay-relay-sop actions --format markdown > docs/actions.md`. CI fails when it is stale. -->

The actions that a step can use. The templates of later steps refer to a field of a step's output as `STEP.FIELD`, and
to the whole output, a record, as `STEP`.

| action | | |
|---|---|---|
";

/// Returns the document.
pub(super) fn document(actions: &[&ActionDef]) -> String {
    let mut text = HEAD.to_owned();
    for action in actions {
        let summary = one_line(&action.signature().summary);
        let _ = writeln!(
            text,
            "| [`{0}`](#{0}) | {1} | {summary} |",
            action.name,
            kind_text(action.kind())
        );
    }
    actions.iter().for_each(|action| text += &section(action));
    text
}

fn section(action: &ActionDef) -> String {
    let description = action.params["description"].as_str().unwrap_or_default();
    let signature = action.signature();
    let declares_output = signature.declares_output();
    let ActionSignature { params, output, .. } = signature;
    let mut text = format!("\n## {}\n\n{description}\n", action.name);
    if !params.fields.is_empty() {
        text += "\n| parameter | type | | |\n|---|---|---|---|\n";
        for field in &params.fields {
            let description = one_line(&field.description);
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {description} |",
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
    text += &match declares_output {
        true => "\nOutput: the fields that the parameters declare.\n".into(),
        false => outputs(&output),
    };
    let _ = writeln!(text, "\nUndo: {}.", undo_text(action.reversibility()));
    text + &permissions(action)
}

fn outputs(output: &RecordType) -> String {
    if output.fields.is_empty() {
        return "\nNo output.\n".into();
    }
    let mut text = String::from("\n| output | type | |\n|---|---|---|\n");
    for field in &output.fields {
        let description = one_line(&field.description);
        let _ = writeln!(text, "| `{}` | {} | {description} |", field.name, field.ty);
    }
    text
}

fn permissions(action: &ActionDef) -> String {
    if action.permissions.is_empty() {
        return "\nNo permissions are needed.\n".into();
    }
    let names: Vec<String> = action.permissions.iter().map(|one| format!("`{one}`")).collect();
    format!("\nPermissions: {}.\n", names.join(", "))
}

/// Returns the text of a table cell: a line break or a `|` would end the cell.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
