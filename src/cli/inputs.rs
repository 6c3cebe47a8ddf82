//! The inputs of a run, from `--input NAME=VALUE` and `--input-file FILE`.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use runbook::InputFileError;
use serde_json::{Map, Value};

use super::CliError;
use crate::engine::{CheckedRunbook, StartError};

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
    /// Returns all inputs, read by their declared types.
    pub(super) fn read(&self, checked: &CheckedRunbook) -> Result<Map<String, Value>, CliError> {
        let former = || std::env::var_os(FORMER_VARIABLE).map(PathBuf::from);
        let mut inputs = match self.file.clone().or_else(former) {
            Some(path) => read_file(&path, checked)?,
            None => Map::new(),
        };
        for pair in &self.assignments {
            let (name, text) = split_assignment(pair)?;
            inputs.insert(name.to_owned(), checked.runbook().parse_input(name, text)?);
        }
        Ok(inputs)
    }
}

/// Returns the name and the text of `--input NAME=VALUE`.
pub(super) fn split_assignment(pair: &str) -> Result<(&str, &str), CliError> {
    pair.split_once('=')
        .ok_or_else(|| CliError::Usage(format!("`--input {pair}` is not of the form NAME=VALUE")))
}

/// Returns the inputs that are known of each runbook. Each that is given must be one of some runbook.
pub(super) fn known_inputs(
    pairs: &[String],
    runbooks: &[CheckedRunbook],
) -> Result<Vec<Map<String, Value>>, CliError> {
    let mut given = vec![Map::new(); runbooks.len()];
    for pair in pairs {
        let (name, text) = split_assignment(pair)?;
        let mut error = None;
        let mut is_taken = false;
        for (checked, inputs) in runbooks.iter().zip(&mut given) {
            match checked.runbook().parse_input(name, text) {
                Ok(value) => {
                    is_taken = true;
                    inputs.insert(name.to_owned(), value);
                }
                Err(unknown @ runbook::InputError::Unknown { .. }) => error = Some(unknown),
                Err(invalid) => return Err(invalid.into()),
            }
        }
        if let Some(error) = error.filter(|_| !is_taken) {
            return Err(error.into());
        }
    }
    let bind = |(checked, inputs): (&CheckedRunbook, &Map<String, Value>)| {
        match checked.clone().bind(inputs) {
            // A missing input leaves a placeholder.
            Ok(_) | Err(StartError::Inputs(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let bound = checked.runbook().bind_known(inputs);
        bound.map_err(|errors| StartError::Inputs(errors).into())
    };
    runbooks.iter().zip(&given).map(bind).collect()
}

/// Reads a file of inputs by the types that the runbook declares.
fn read_file(path: &Path, checked: &CheckedRunbook) -> Result<Map<String, Value>, CliError> {
    let shown = path.display();
    let unreadable = |error: &io::Error| CliError::Usage(format!("cannot read {shown}: {error}"));
    let text = read_regular(path).map_err(|error| match error {
        ReadError::Io(error) => unreadable(&error),
        ReadError::NotAFile(kind) => CliError::usage_with_hint(
            format!("cannot read {shown}: it is {kind}, not a file"),
            "write the inputs to a file, or pass them with --input NAME=VALUE",
        ),
    })?;
    checked.runbook().read_inputs(&text).map_err(|error| match error {
        InputFileError::Inputs(errors) => StartError::Inputs(errors).into(),
        InputFileError::Unreadable { .. } | InputFileError::NotAMapping => {
            CliError::Usage(format!("{shown}: {error}"))
        }
    })
}

/// Why a file was not read.
enum ReadError {
    Io(io::Error),
    /// Another kind: reading it may never end, or take what another process waits for.
    NotAFile(&'static str),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a file, and one byte more than the limit at most: the text is then reported as too large.
fn read_regular(path: &Path) -> Result<String, ReadError> {
    // Opening a FIFO waits for a writer.
    ensure_regular(&std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    ensure_regular(&file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take(runbook::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not valid UTF-8").into())
}

fn ensure_regular(metadata: &Metadata) -> Result<(), ReadError> {
    let kind = metadata.file_type();
    let names = [
        (kind.is_dir(), "a directory"),
        (kind.is_fifo(), "a FIFO"),
        (kind.is_char_device() || kind.is_block_device(), "a device"),
        (kind.is_socket(), "a socket"),
        (!kind.is_file(), "of another kind"),
    ];
    match names.into_iter().find(|(is_kind, _)| *is_kind) {
        Some((_, name)) => Err(ReadError::NotAFile(name)),
        None => Ok(()),
    }
}
