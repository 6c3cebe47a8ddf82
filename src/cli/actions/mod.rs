//! `actions`: the documentation of the actions, from the declarations that the engine runs.

mod human;
mod markdown;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{CliError, Exit, Global, Output, stdout};
use crate::actions::{self as registry, ActionDef};
use runbook::{ActionKind, Reversibility, types::Field};

/// Shows the actions that a runbook can use; with NAME, everything about one action.
#[derive(Debug, clap::Args)]
pub(super) struct ActionsArgs {
    /// Action to show
    name: Option<String>,
    /// Output format [default: human, or json with --output json]
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
        let actions: Vec<&ActionDef> = match &self.name {
            Some(name) => vec![find(name)?],
            None => registry::all().iter().collect(),
        };
        let default = match global.output {
            Output::Text => Format::Human,
            Output::Json => Format::Json,
        };
        let text = match (self.format.unwrap_or(default), self.name.is_some()) {
            (Format::Json, _) => {
                let documents: Vec<Value> = actions.into_iter().map(document).collect();
                format!("{:#}\n", json!(documents))
            }
            (Format::Markdown, _) => markdown::document(&actions),
            (Format::Human, true) => actions.into_iter().map(human::details).collect(),
            (Format::Human, false) => human::list(&actions),
        };
        stdout::write(&text)?;
        Ok(Exit::Success)
    }
}

fn find(name: &str) -> Result<&'static ActionDef, CliError> {
    registry::find(name).ok_or_else(|| {
        let names = registry::all().iter().map(|action| action.name);
        let hint = match runbook::nearest(name, names) {
            Some(near) => format!("did you mean '{near}'?"),
            None => "run `rafay-relay-sop actions` to list all actions".to_owned(),
        };
        CliError::usage_with_hint(format!("action '{name}' not found"), hint)
    })
}

fn kind_text(kind: ActionKind) -> &'static str {
    match kind {
        ActionKind::Read => "reads",
        ActionKind::Wait => "waits",
        ActionKind::Change => "changes",
    }
}

fn undo_text(action: &ActionDef) -> &'static str {
    match action.reversibility() {
        Reversibility::NotApplicable => "changes nothing, so there is nothing to undo",
        Reversibility::Reversible => "restores the previous state",
        Reversibility::Irreversible => "cannot be undone: there is nothing to restore",
    }
}

/// Returns whether a field is required, and its default.
fn presence(field: &Field) -> String {
    match (&field.default, field.required) {
        (_, true) => "required".into(),
        (Some(default), false) => format!("default `{default}`"),
        (None, false) => "optional".into(),
    }
}

/// An action as `schema/actions.json` has it: see `ActionRegistry::from_json`.
fn document(action: &ActionDef) -> Value {
    json!({
        "name": action.name,
        "revision": action.revision,
        "kind": action.kind(),
        "reversibility": action.reversibility(),
        "undo": undo_text(action),
        "parameters": action.params,
        "output": action.output,
        "permissions": action.permissions.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
