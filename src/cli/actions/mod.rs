//! `actions`: the documentation of the actions, from the declarations that the engine runs, and of the runbooks that a
//! step can call in place of one.

mod human;
mod markdown;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{CliError, Exit, Global, Output, stdout};
use crate::{
    actions::{self as registry, ActionDef},
    runbook_dir::RunbookDir,
};
use runbook::{ActionKind, ActionSignature, Reversibility, types::Field};

/// Shows the actions that a runbook can use, and the runbooks that it can call; with NAME, everything about one.
#[derive(Debug, clap::Args)]
pub(super) struct ActionsArgs {
    /// Action or runbook to show
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
        let runbooks = global.runbook_dir();
        let actions: Vec<&ActionDef> = match &self.name {
            Some(name) => match find(name, &runbooks)? {
                Found::Action(action) => vec![action],
                Found::Runbook(signature) => return self.explain(&signature, global),
            },
            None => registry::all().iter().collect(),
        };
        let default = match global.output {
            Output::Text => Format::Human,
            Output::Json | Output::Ndjson => Format::Json,
        };
        let text = match (self.format.unwrap_or(default), self.name.is_some()) {
            (Format::Json, _) => {
                let documents: Vec<Value> = actions.into_iter().map(document).collect();
                format!("{:#}\n", json!(documents))
            }
            (Format::Markdown, _) => markdown::document(&actions),
            (Format::Human, true) => actions.into_iter().map(human::details).collect(),
            (Format::Human, false) => human::list(&actions, &callables(&runbooks)?),
        };
        stdout::write(&text)?;
        Ok(Exit::Success)
    }

    /// Shows a runbook that a step can call.
    fn explain(&self, runbook: &ActionSignature, global: &Global) -> Result<Exit, CliError> {
        let text = match (self.format, global.output) {
            (Some(Format::Json), _) | (None, Output::Json | Output::Ndjson) => {
                format!("{:#}\n", json!([runbook_document(runbook)]))
            }
            (Some(Format::Markdown), _) => {
                let hint = "use --format human or --format json".to_owned();
                let message = format!("'{}' is a runbook, not an action", runbook.name);
                return Err(CliError::usage_with_hint(message, hint));
            }
            (Some(Format::Human) | None, _) => human::runbook(runbook),
        };
        stdout::write(&text)?;
        Ok(Exit::Success)
    }
}

/// An action, or a runbook that can be called like one.
enum Found {
    Action(&'static ActionDef),
    Runbook(Box<ActionSignature>),
}

fn find(name: &str, runbooks: &RunbookDir) -> Result<Found, CliError> {
    if let Some(action) = registry::find(name) {
        return Ok(Found::Action(action));
    }
    runbooks.ensure_usable()?;
    let callable = runbook::callable(name, registry::registry(), &runbooks.library());
    if let Some(callable) = callable {
        return Ok(Found::Runbook(Box::new(callable)));
    }
    let names = runbooks.names();
    if names.iter().any(|known| known == name) {
        let hint = format!("run `rafay-relay-sop validate` for the file of '{name}'");
        return Err(CliError::usage_with_hint(format!("runbook '{name}' has errors"), hint));
    }
    let names = names.iter().map(String::as_str);
    let names = names.chain(registry::all().iter().map(|action| action.name));
    let hint = match runbook::nearest(name, names) {
        Some(near) => format!("did you mean '{near}'?"),
        None => "run `rafay-relay-sop actions` to list all actions".to_owned(),
    };
    Err(CliError::usage_with_hint(format!("action '{name}' not found"), hint))
}

/// Returns the runbooks that a step can call, as actions. Those with errors are not among them.
///
/// # Errors
/// The directory that was named cannot be used.
pub(super) fn callables(runbooks: &RunbookDir) -> Result<Vec<ActionSignature>, CliError> {
    runbooks.ensure_usable()?;
    let library = runbooks.library();
    let callable = |name: String| runbook::callable(&name, registry::registry(), &library);
    Ok(runbooks.names().into_iter().filter_map(callable).collect())
}

fn kind_text(kind: ActionKind) -> &'static str {
    match kind {
        ActionKind::Read => "reads",
        ActionKind::Wait => "waits",
        ActionKind::Change => "changes",
    }
}

fn undo_text(reversibility: Reversibility) -> &'static str {
    match reversibility {
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

/// A runbook that a step can call, as data.
fn runbook_document(runbook: &ActionSignature) -> Value {
    let fields = |fields: &[Field]| -> Vec<Value> {
        let field = |field: &Field| {
            json!({
                "name": field.name,
                "type": field.ty.to_string(),
                "required": field.required,
                "default": field.default,
                "description": field.description,
            })
        };
        fields.iter().map(field).collect()
    };
    json!({
        "name": runbook.name,
        "call": true,
        "description": runbook.params.description,
        "kind": runbook.kind,
        "reversibility": runbook.reversibility,
        "inputs": fields(&runbook.params.fields),
        "outputs": fields(&runbook.output.fields),
    })
}

/// An action as `schema/actions.json` has it: see `ActionRegistry::from_json`.
fn document(action: &ActionDef) -> Value {
    json!({
        "name": action.name,
        "revision": action.revision,
        "kind": action.kind(),
        "reversibility": action.reversibility(),
        "undo": undo_text(action.reversibility()),
        "parameters": *action.params,
        "output": *action.output,
        "permissions": action.permissions.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
