//! `actions`: the vocabulary, from the same declarations that run it.

mod human;
mod markdown;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{CliError, Exit, Global, Output};
use crate::actions::{self, ActionDef};
use runbook::{ActionKind, Reversibility, types::Field};

/// Shows the actions that a runbook can use.
#[derive(Debug, clap::Args)]
pub(super) struct ActionsArgs {
    /// Only this one, with everything about it
    name: Option<String>,
    /// How they are written [default: human, or json with --output json]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a terminal
    Human,
    /// One JSON document, with the JSON Schemas of parameters and output
    Json,
    /// The document docs/actions.md
    Markdown,
}

impl ActionsArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit, CliError> {
        let entries: Vec<&ActionDef> = match &self.name {
            Some(name) => vec![find(name)?],
            None => actions::all().iter().collect(),
        };
        let default = match global.output {
            Output::Text => Format::Human,
            Output::Json => Format::Json,
        };
        match (self.format.unwrap_or(default), self.name.is_some()) {
            (Format::Json, _) => {
                println!("{:#}", json!(entries.into_iter().map(document).collect::<Vec<_>>()));
            }
            (Format::Markdown, _) => print!("{}", markdown::document(&entries)),
            (Format::Human, true) => {
                entries.into_iter().for_each(|entry| print!("{}", human::whole(entry)));
            }
            (Format::Human, false) => print!("{}", human::list(&entries)),
        }
        Ok(Exit::Success)
    }
}

fn find(name: &str) -> Result<&'static ActionDef, CliError> {
    actions::find(name).ok_or_else(|| {
        let names: Vec<&str> = actions::all().iter().map(|entry| entry.name).collect();
        CliError::Usage(format!("there is no action '{name}'; there is: {}", names.join(", ")))
    })
}

fn kind_text(kind: ActionKind) -> &'static str {
    match kind {
        ActionKind::Read => "reads",
        ActionKind::Wait => "waits",
        ActionKind::Change => "changes",
    }
}

fn undo_text(entry: &ActionDef) -> &'static str {
    match entry.reversibility() {
        Reversibility::NotApplicable => "changes nothing, so there is nothing to undo",
        Reversibility::Reversible => "restores what stood before",
        Reversibility::Irreversible => "cannot be undone: there is nothing to restore",
    }
}

/// Whether a field must be given, and what it is when it is not.
fn presence(field: &Field) -> String {
    match (&field.default, field.required) {
        (_, true) => "required".into(),
        (Some(default), false) => format!("default `{default}`"),
        (None, false) => "optional".into(),
    }
}

fn document(entry: &ActionDef) -> Value {
    json!({
        "name": entry.name,
        "kind": entry.kind(),
        "undo": undo_text(entry),
        "parameters": entry.params,
        "output": entry.output,
        "permissions": entry.permissions.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
