//! What a person can do about a run that is not finished, in words that can be typed.

use super::{Global, world::WorldArguments};
use crate::journal::RunId;

/// The three commands, for the state folder and, where it is known, the cluster that were named.
pub(super) fn of(run: &RunId, global: &Global, world: Option<&WorldArguments>) -> String {
    let folder = global.state_dir.as_ref().map(|path| format!(" --state-dir {}", path.display()));
    let folder = folder.unwrap_or_default();
    let cluster = world.map(WorldArguments::as_typed).unwrap_or_default();
    // Abandoning asks no cluster.
    let choices = [("resume", cluster.as_str()), ("rollback", cluster.as_str()), ("abandon", "")];
    let choice =
        |(verb, cluster)| format!("\n  rafay-relay-sop{folder} runs {verb} {run}{cluster}");
    let all: String = choices.into_iter().map(choice).collect();
    format!("run {run} is not finished; choose one of{all}")
}
