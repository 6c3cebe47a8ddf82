//! What a person can do about a run that is not finished, in words that can be typed.

use super::{Global, target::TargetArgs};
use crate::journal::RunId;

/// The commands, for the state folder and, where it is known, the cluster that were named. A run that is on its way back
/// goes on going back whatever it is told, so that resuming it is no choice of its own.
pub(super) fn describe(
    run: &RunId,
    is_rolling_back: bool,
    global: &Global,
    target: Option<&TargetArgs>,
) -> String {
    let state_dir =
        global.state_dir.as_ref().map(|path| format!(" --state-dir {}", path.display()));
    let state_dir = state_dir.unwrap_or_default();
    let target_flags = target.map(TargetArgs::to_flags).unwrap_or_default();
    // Abandoning asks no cluster.
    let commands =
        [("resume", target_flags.as_str()), ("rollback", target_flags.as_str()), ("abandon", "")];
    let command = |(operation, target_flags)| {
        format!("\n  rafay-relay-sop{state_dir} runs {operation} {run}{target_flags}")
    };
    let is_offered = |(operation, _): &(&str, &str)| !is_rolling_back || *operation != "resume";
    let all: String = commands.into_iter().filter(is_offered).map(command).collect();
    let state = if is_rolling_back { "is not wholly rolled back" } else { "is not finished" };
    format!("run {run} {state}; choose one of{all}")
}
