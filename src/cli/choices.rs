//! What a person can do about a run that is not finished, in words that can be typed.

use super::Global;
use crate::journal::RunId;

/// The three commands, for the state folder that was named.
pub(super) fn of(run: &RunId, global: &Global) -> String {
    let folder = global.state_dir.as_ref().map(|path| format!(" --state-dir {}", path.display()));
    let folder = folder.unwrap_or_default();
    let choice = |verb: &str| format!("\n  rafay-relay-sop{folder} runs {verb} {run}");
    let all: String = ["resume", "rollback", "abandon"].into_iter().map(choice).collect();
    format!("run {run} is not finished; choose one of{all}")
}
