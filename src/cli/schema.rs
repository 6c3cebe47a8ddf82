//! `schema`: the JSON Schemas of runbooks and scenarios, for editors.

use super::{CliError, Exit, stdout};
use crate::actions;

/// Prints the JSON Schema (draft 2020-12) of runbooks, for editors and other validators.
///
/// The schema covers the structure of a runbook and the parameters of the actions. Only `validate` checks what a
/// template refers to.
#[derive(Debug, clap::Args)]
pub(super) struct SchemaArgs {
    /// Print the schema of the simulator's scenario files instead
    #[arg(long)]
    scenario: bool,
}

impl SchemaArgs {
    pub(super) fn run(self) -> Result<Exit, CliError> {
        let schema = if self.scenario {
            simulator::Scenario::json_schema()
        } else {
            runbook::json_schema(actions::registry())
        };
        stdout::write(&format!("{schema:#}\n"))?;
        Ok(Exit::Success)
    }
}
