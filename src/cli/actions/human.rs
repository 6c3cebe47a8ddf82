//! The actions as text for a terminal.

use std::fmt::Write as _;

use super::{kind_text, presence, undo_text};
use crate::actions::ActionDef;
use runbook::{ActionSignature, types::RecordType};

/// Returns one line per action.
pub(super) fn list(actions: &[&ActionDef]) -> String {
    let mut text = String::new();
    for action in actions {
        let summary = action.signature().summary;
        let _ = writeln!(text, "{:<18} {:<8} {summary}", action.name, kind_text(action.kind()));
    }
    text
}

/// Returns everything about one action.
pub(super) fn details(action: &ActionDef) -> String {
    let description = action.params["description"].as_str().unwrap_or_default();
    let ActionSignature { params, output, .. } = action.signature();
    let mut text = format!("{} ({})\n\n{description}\n", action.name, kind_text(action.kind()));
    let _ =
        write!(text, "\nparameters\n{}\noutput\n{}", fields(&params, true), fields(&output, false));
    let _ = write!(text, "\nundo\n  {}\n\npermissions\n", undo_text(action));
    if action.permissions.is_empty() {
        text += "  none\n";
    }
    for permission in action.permissions {
        let _ = writeln!(text, "  {permission}");
    }
    text
}

fn fields(record: &RecordType, with_presence: bool) -> String {
    let mut text = String::new();
    for field in &record.fields {
        let presence = if with_presence { format!(", {}", presence(field)) } else { String::new() };
        let _ = writeln!(text, "  {:<20} {}{presence}", field.name, field.ty);
        let _ = writeln!(text, "  {:<20}   {}", "", field.description.replace('\n', " "));
    }
    if text.is_empty() { "  none\n".into() } else { text }
}
