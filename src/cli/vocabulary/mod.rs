//! `actions`: the vocabulary, from the same declarations that run it.

use serde_json::{Value, json};

use super::{Exit, Global, Output, Trouble};
use crate::{
    actions::{self, Entry},
    runbook::{Kind, Signature, Undo, types::Record},
};

/// Shows the actions that a runbook can use.
#[derive(Debug, clap::Args)]
pub(super) struct Actions {
    /// Only this one, with everything about it
    name: Option<String>,
}

impl Actions {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Trouble> {
        let entries: Vec<&Entry> = match &self.name {
            Some(name) => vec![find(name)?],
            None => actions::all().iter().collect(),
        };
        match global.output {
            Output::Json => {
                println!("{:#}", json!(entries.into_iter().map(document).collect::<Vec<_>>()));
            }
            Output::Text if self.name.is_some() => entries.into_iter().for_each(explain),
            Output::Text => entries.into_iter().for_each(|entry| {
                println!("{:<18} {:<7} {}", entry.name, word(entry.kind()), entry.signature().summary);
            }),
        }
        Ok(Exit::Done)
    }
}

fn find(name: &str) -> Result<&'static Entry, Trouble> {
    actions::find(name).ok_or_else(|| {
        let names: Vec<&str> = actions::all().iter().map(|entry| entry.name).collect();
        Trouble::Usage(format!("there is no action '{name}'; there is: {}", names.join(", ")))
    })
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Read => "reads",
        Kind::Wait => "waits",
        Kind::Change => "changes",
    }
}

fn undo(entry: &Entry) -> &'static str {
    match entry.undo() {
        Undo::NotNeeded => "changes nothing, so there is nothing to undo",
        Undo::Restores => "restores what stood before",
        Undo::Nothing => "cannot be undone: there is nothing to restore",
    }
}

fn explain(entry: &Entry) {
    let description = entry.params["description"].as_str().unwrap_or_default();
    println!("{} ({})\n\n{description}\n", entry.name, word(entry.kind()));
    let Signature { params, output, .. } = entry.signature();
    println!("parameters\n{}\noutput\n{}", fields(&params), fields(&output));
    println!("undo\n  {}\n\npermissions", undo(entry));
    entry.permissions.iter().for_each(|permission| println!("  {permission}"));
}

/// One line a field: its name, its type, whether it must be given, what it is for.
fn fields(record: &Record) -> String {
    let mut text = String::new();
    for field in &record.fields {
        let need = match (&field.default, field.required) {
            (Some(default), false) => format!(", default {default}"),
            (None, false) => ", optional".into(),
            (_, true) => String::new(),
        };
        text += &format!("  {:<18} {}{need}\n", field.name, field.ty);
        text += &format!("  {:<18}   {}\n", "", field.description.replace('\n', " "));
    }
    text
}

fn document(entry: &Entry) -> Value {
    json!({
        "name": entry.name,
        "kind": entry.kind(),
        "undo": undo(entry),
        "parameters": entry.params,
        "output": entry.output,
        "permissions": entry.permissions.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
