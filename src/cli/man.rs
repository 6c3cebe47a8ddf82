//! `man`: the manual pages.

use std::{fs, path::PathBuf};

use clap::{Command, ValueHint};
use clap_mangen::Man;

use super::{CliError, Exit, options, stdout};

/// Prints the manual page of this program; with --dir, writes one page per subcommand.
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Directory to write all pages to, such as ~/.local/share/man/man1; created if it does not exist
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

impl ManArgs {
    pub(super) fn run(self) -> Result<Exit, CliError> {
        match &self.dir {
            Some(dir) => {
                let cannot_write =
                    |error| CliError::Usage(format!("cannot write to {}: {error}", dir.display()));
                fs::create_dir_all(dir).map_err(cannot_write)?;
                clap_mangen::generate_to(command(), dir).map_err(cannot_write)?;
            }
            None => {
                let mut page = Vec::new();
                Man::new(command()).render(&mut page)?;
                stdout::write(&String::from_utf8_lossy(&page))?;
            }
        }
        Ok(Exit::Success)
    }
}

/// Returns the command line without `help`, which has no page of its own.
fn command() -> Command {
    options::command().disable_help_subcommand(true)
}
