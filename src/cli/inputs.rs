//! The inputs of a run, from `--input NAME=VALUE` and `--input-file FILE`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::CliError;
use crate::engine::CheckedRunbook;

/// The former name of `SOP_INPUT_FILE`, which is still read.
const FORMER_VARIABLE: &str = "SOP_INPUTS";

/// The arguments that give inputs.
#[derive(Debug, clap::Args)]
pub(super) struct InputsArgs {
    /// An input of the runbook; may be given several times
    #[arg(long = "input", value_name = "NAME=VALUE")]
    assignments: Vec<String>,
    /// A YAML or JSON file of inputs; --input takes precedence
    #[arg(long = "input-file", alias = "inputs", value_name = "FILE", env = "SOP_INPUT_FILE")]
    file: Option<PathBuf>,
}

impl InputsArgs {
    /// Returns all inputs, those of `--input` parsed by their declared types.
    pub(super) fn read(&self, checked: &CheckedRunbook) -> Result<Map<String, Value>, CliError> {
        let former = || std::env::var_os(FORMER_VARIABLE).map(PathBuf::from);
        let mut inputs = match self.file.clone().or_else(former) {
            Some(path) => read_file(&path)?,
            None => Map::new(),
        };
        for pair in &self.assignments {
            let (name, text) = pair.split_once('=').ok_or_else(|| {
                CliError::Usage(format!("`--input {pair}` is not of the form NAME=VALUE"))
            })?;
            inputs.insert(name.to_owned(), checked.runbook().parse_input(name, text)?);
        }
        Ok(inputs)
    }
}

fn read_file(path: &Path) -> Result<Map<String, Value>, CliError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::Usage(format!("cannot read {}: {error}", path.display())))?;
    serde_saphyr::from_str(&text).map_err(|error| {
        CliError::Usage(format!("{} is not a mapping of inputs: {error}", path.display()))
    })
}
