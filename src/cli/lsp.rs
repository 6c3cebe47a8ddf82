//! `lsp`: what `validate` finds, and what can be written, in an editor.

use std::io;

use super::{CliError, Exit, Global};
use crate::actions;
use runbook::language_server;

/// Serves an editor on standard input and output, in the Language Server Protocol: diagnostics while a runbook is
/// written, completion, explanations, declarations and quick fixes.
///
/// An editor starts it; docs/editor.md has the settings of VS Code, Neovim and Helix.
#[derive(Debug, clap::Args)]
pub(super) struct LspArgs {
    /// The option that editors add for a server on standard input and output, which is the only way
    #[arg(long, hide = true)]
    stdio: bool,
}

/// Serves the editor until it goes.
pub(super) fn run(global: &Global) -> Result<Exit, CliError> {
    let runbooks = global.runbook_dir();
    runbooks.ensure_usable()?;
    let (registry, library) = (actions::registry(), runbooks.library());
    let mut stdout = io::stdout().lock();
    let has_said_goodbye = language_server::serve(io::stdin(), &mut stdout, registry, &library)?;
    Ok(if has_said_goodbye { Exit::Success } else { Exit::Failed })
}
