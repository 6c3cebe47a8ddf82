//! The inputs of a run, from `--input NAME=VALUE` and `--inputs FILE`.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::Trouble;
use crate::{actions, engine::Refusal};
use runbook::Source;

/// Inputs on the command line.
#[derive(Debug, clap::Args)]
pub(super) struct Inputs {
    /// An input of the runbook; may be given several times
    #[arg(long = "input", value_name = "NAME=VALUE")]
    one: Vec<String>,
    /// A YAML or JSON file of inputs; --input comes before it
    #[arg(long = "inputs", value_name = "FILE", env = "SOP_INPUTS")]
    file: Option<PathBuf>,
}

impl Inputs {
    /// All of them, each read by its declared type.
    pub(super) fn read(&self, source: &Source) -> Result<Map<String, Value>, Trouble> {
        let mut inputs = match &self.file {
            Some(path) => read_file(path)?,
            None => Map::new(),
        };
        if self.one.is_empty() {
            return Ok(inputs);
        }
        let checked = runbook::check(source, actions::registry());
        let runbook = checked.runbook.ok_or_else(|| Refusal::Invalid {
            source_text: Box::new(source.clone()),
            findings: checked.diagnostics,
        })?;
        for pair in &self.one {
            let (name, text) = pair
                .split_once('=')
                .ok_or_else(|| Trouble::Usage(format!("--input {pair}: write it as NAME=VALUE")))?;
            inputs.insert(name.to_owned(), runbook.parse_input(name, text)?);
        }
        Ok(inputs)
    }
}

fn read_file(path: &PathBuf) -> Result<Map<String, Value>, Trouble> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Trouble::Usage(format!("cannot read {}: {error}", path.display())))?;
    serde_saphyr::from_str(&text).map_err(|error| {
        Trouble::Usage(format!("{} is not a mapping of inputs: {error}", path.display()))
    })
}
