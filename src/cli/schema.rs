//! `schema`: the JSON Schemas of runbooks, scenarios and files of webhooks, and the document of the HTTP API.

use super::{CliError, Exit, Global, actions::callables, stdout};
use crate::{actions, notify::NotifyConfig};

/// Prints the JSON Schema (draft 2020-12) of runbooks, for editors and other validators.
///
/// The schema covers the structure of a runbook and the parameters of the actions. Only `validate` checks what a
/// template refers to. With --runbooks, it also has the runbooks that a step can call, with their inputs.
#[derive(Debug, clap::Args)]
pub(super) struct SchemaArgs {
    /// Print the schema of the simulator's scenario files instead
    #[arg(long)]
    scenario: bool,
    /// Print the OpenAPI document of the HTTP service instead
    #[arg(long, conflicts_with = "scenario")]
    openapi: bool,
    /// Print the schema of the file of `serve --notify-file` instead
    #[arg(long, conflicts_with_all = ["scenario", "openapi"])]
    notify: bool,
}

impl SchemaArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit, CliError> {
        let schema = if self.scenario {
            simulator::Scenario::json_schema()
        } else if self.openapi {
            crate::server::openapi()
        } else if self.notify {
            NotifyConfig::json_schema()
        } else {
            let callables = match global.runbooks {
                Some(_) => callables(&global.runbook_dir())?,
                None => Vec::new(),
            };
            runbook::json_schema(actions::registry(), &callables)
        };
        stdout::write(&format!("{schema:#}\n"))?;
        Ok(Exit::Success)
    }
}
