//! `schema`: the JSON Schema of runbooks, for editors.

use super::{CliError, Exit, stdout};
use crate::actions;

/// Prints the JSON Schema (draft 2020-12) of runbooks, for editors and other validators.
///
/// It knows the shape of a runbook and the actions' parameters. What a template refers to, only `validate` knows.
#[derive(Debug, clap::Args)]
pub(super) struct SchemaArgs {}

impl SchemaArgs {
    #[allow(clippy::unused_self)] // as the other subcommands are called
    pub(super) fn run(self) -> Result<Exit, CliError> {
        let schema = runbook::json_schema(actions::registry());
        stdout::write(&format!("{schema:#}\n"))?;
        Ok(Exit::Success)
    }
}
