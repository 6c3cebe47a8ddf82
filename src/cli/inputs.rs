//! The inputs of a run, from `--input NAME=VALUE` and `--input-file FILE`.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::CliError;
use crate::{actions, engine::StartError};
use runbook::Source;

/// Inputs on the command line.
#[derive(Debug, clap::Args)]
pub(super) struct InputsArgs {
    /// An input of the runbook; may be given several times
    #[arg(long = "input", value_name = "NAME=VALUE")]
    assignments: Vec<String>,
    /// A YAML or JSON file of inputs; --input comes before it
    #[arg(long = "input-file", alias = "inputs", value_name = "FILE", env = "SOP_INPUTS")]
    file: Option<PathBuf>,
}

impl InputsArgs {
    /// All of them, each read by its declared type.
    pub(super) fn read(&self, source: &Source) -> Result<Map<String, Value>, CliError> {
        let mut inputs = match &self.file {
            Some(path) => read_file(path)?,
            None => Map::new(),
        };
        if self.assignments.is_empty() {
            return Ok(inputs);
        }
        let checked = runbook::check(source, actions::registry());
        let runbook = checked.runbook.ok_or_else(|| StartError::Invalid {
            source_text: Box::new(source.clone()),
            findings: checked.diagnostics,
        })?;
        for pair in &self.assignments {
            let (name, text) = pair.split_once('=').ok_or_else(|| {
                CliError::Usage(format!("--input {pair}: write it as NAME=VALUE"))
            })?;
            inputs.insert(name.to_owned(), runbook.parse_input(name, text)?);
        }
        Ok(inputs)
    }
}

fn read_file(path: &PathBuf) -> Result<Map<String, Value>, CliError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::Usage(format!("cannot read {}: {error}", path.display())))?;
    serde_saphyr::from_str(&text).map_err(|error| {
        CliError::Usage(format!("{} is not a mapping of inputs: {error}", path.display()))
    })
}
