//! What a person can do about a run that is not finished, in words that can be typed.

use super::{Global, world::WorldArguments};
use crate::journal::RunId;

/// The commands, for the state folder and, where it is known, the cluster that were named. A run that is on its way back
/// goes on going back whatever it is told, so that resuming it is no choice of its own.
pub(super) fn of(
    run: &RunId,
    is_rolling_back: bool,
    global: &Global,
    world: Option<&WorldArguments>,
) -> String {
    let folder = global.state_dir.as_ref().map(|path| format!(" --state-dir {}", path.display()));
    let folder = folder.unwrap_or_default();
    let cluster = world.map(WorldArguments::as_typed).unwrap_or_default();
    // Abandoning asks no cluster.
    let choices = [("resume", cluster.as_str()), ("rollback", cluster.as_str()), ("abandon", "")];
    let choice =
        |(verb, cluster)| format!("\n  rafay-relay-sop{folder} runs {verb} {run}{cluster}");
    let is_one = |(verb, _): &(&str, &str)| !is_rolling_back || *verb != "resume";
    let all: String = choices.into_iter().filter(is_one).map(choice).collect();
    let state = if is_rolling_back { "is not wholly rolled back" } else { "is not finished" };
    format!("run {run} {state}; choose one of{all}")
}
