//! `schema`: the JSON Schema of runbooks, for editors.

use super::{CliError, Exit, stdout};
use crate::actions;

/// Prints the JSON Schema (draft 2020-12) of runbooks, for editors and other validators.
///
/// The schema covers the structure of a runbook and the parameters of the actions. Only `validate` checks what a
/// template refers to.
#[derive(Debug, clap::Args)]
pub(super) struct SchemaArgs {}

impl SchemaArgs {
    #[expect(clippy::unused_self, reason = "called like the other subcommands")]
    pub(super) fn run(self) -> Result<Exit, CliError> {
        let schema = runbook::json_schema(actions::registry());
        stdout::write(&format!("{schema:#}\n"))?;
        Ok(Exit::Success)
    }
}
