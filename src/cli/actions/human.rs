//! The actions for a terminal.

use std::fmt::Write as _;

use super::{kind_text, presence, undo_text};
use crate::actions::ActionDef;
use runbook::{ActionSignature, types::RecordType};

/// One line each.
pub(super) fn list(entries: &[&ActionDef]) -> String {
    let mut text = String::new();
    for entry in entries {
        let summary = entry.signature().summary;
        let _ = writeln!(text, "{:<18} {:<8} {summary}", entry.name, kind_text(entry.kind()));
    }
    text
}

/// Everything about one.
pub(super) fn whole(entry: &ActionDef) -> String {
    let description = entry.params["description"].as_str().unwrap_or_default();
    let ActionSignature { params, output, .. } = entry.signature();
    let mut text = format!("{} ({})\n\n{description}\n", entry.name, kind_text(entry.kind()));
    let _ =
        write!(text, "\nparameters\n{}\noutput\n{}", fields(&params, true), fields(&output, false));
    let _ = write!(text, "\nundo\n  {}\n\npermissions\n", undo_text(entry));
    if entry.permissions.is_empty() {
        text += "  none\n";
    }
    for permission in entry.permissions {
        let _ = writeln!(text, "  {permission}");
    }
    text
}

fn fields(record: &RecordType, with_need: bool) -> String {
    let mut text = String::new();
    for field in &record.fields {
        let need = if with_need { format!(", {}", presence(field)) } else { String::new() };
        let _ = writeln!(text, "  {:<20} {}{need}", field.name, field.ty);
        let _ = writeln!(text, "  {:<20}   {}", "", field.description.replace('\n', " "));
    }
    if text.is_empty() { "  none\n".into() } else { text }
}
