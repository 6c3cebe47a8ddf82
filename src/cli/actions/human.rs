//! The actions, and the runbooks that a step can call, as text for a terminal.

use std::fmt::Write as _;

use super::{kind_text, presence, undo_text};
use crate::actions::ActionDef;
use runbook::{ActionKind, ActionSignature, types::RecordType};

/// Returns one line per action, and then one per runbook.
pub(super) fn list(actions: &[&ActionDef], runbooks: &[ActionSignature]) -> String {
    let mut text = String::new();
    for action in actions {
        text += &line(action.name, action.kind(), &action.signature().summary);
    }
    if !runbooks.is_empty() {
        text += "\nrunbooks that a step can `call`\n";
    }
    for runbook in runbooks {
        text += &line(&runbook.name, runbook.kind, &runbook.summary);
    }
    text
}

fn line(name: &str, kind: ActionKind, summary: &str) -> String {
    format!("{name:<24} {:<8} {summary}\n", kind_text(kind))
}

/// Returns everything about a runbook that a step can call.
pub(super) fn runbook(runbook: &ActionSignature) -> String {
    let ActionSignature { name, params, output, .. } = runbook;
    let mut text = format!("{name} (a runbook, {})\n\n", kind_text(runbook.kind));
    if !params.description.is_empty() {
        let _ = writeln!(text, "{}\n", params.description.trim_end());
    }
    let _ = write!(text, "inputs\n{}\noutputs\n{}", fields(params, true), fields(output, false));
    let _ = writeln!(text, "\nundo\n  {}", undo_text(runbook.reversibility));
    let required = params.fields.iter().filter(|field| field.required);
    let given: Vec<String> = required.map(|field| format!("{}: …", field.name)).collect();
    let with = match given.is_empty() {
        true => String::new(),
        false => format!("\n  with: {{{}}}", given.join(", ")),
    };
    let _ = writeln!(text, "\nas a step\n  call: {name}{with}");
    text
}

/// Returns everything about one action.
pub(super) fn details(action: &ActionDef) -> String {
    let description = action.params["description"].as_str().unwrap_or_default();
    let signature = action.signature();
    let declares_output = signature.declares_output();
    let ActionSignature { params, output, .. } = signature;
    let mut text = format!("{} ({})\n\n{description}\n", action.name, kind_text(action.kind()));
    let output = match declares_output {
        true => "  the fields that the parameters declare\n".into(),
        false => fields(&output, false),
    };
    let _ = write!(text, "\nparameters\n{}\noutput\n{output}", fields(&params, true));
    let _ = write!(text, "\nundo\n  {}\n\npermissions\n", undo_text(action.reversibility()));
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
        if !field.description.is_empty() {
            let _ = writeln!(text, "  {:<20}   {}", "", field.description.replace('\n', " "));
        }
    }
    if text.is_empty() { "  none\n".into() } else { text }
}
