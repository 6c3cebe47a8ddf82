//! The commands that are offered for an unfinished run, quoted for a shell.

use std::borrow::Cow;

use text::{printable, printable_lines};

use super::{Global, target::TargetArgs};
use crate::journal::{RunId, RunTarget};

/// Returns the state of an unfinished run and the commands that are offered for it, for the given store and,
/// where it is known, the given cluster. A run that is rolling back keeps rolling back when resumed, so `resume` is not
/// offered for it.
pub(super) fn describe(
    run: &RunId,
    place: &RunTarget,
    is_rolling_back: bool,
    has_changed: bool,
    global: &Global,
    target: Option<&TargetArgs>,
) -> String {
    let store = global.store_flags();
    let target_flags = target.map(TargetArgs::to_flags).unwrap_or_default();
    // `abandon` needs no account.
    let cluster_flags = target.map(TargetArgs::to_cluster_flags).unwrap_or_default();
    let commands = [
        ("resume", target_flags.as_str()),
        ("rollback", target_flags.as_str()),
        ("abandon", cluster_flags.as_str()),
    ];
    let command = |(operation, target_flags)| {
        format!("\n  rafay-relay-sop{store} runs {operation} {run}{target_flags}")
    };
    let is_offered = |(operation, _): &(&str, &str)| !is_rolling_back || *operation != "resume";
    let all: String = commands.into_iter().filter(is_offered).map(command).collect();
    let place = printable(&place.to_string()).into_owned();
    let state = match (is_rolling_back, has_changed) {
        (true, _) => "is only partly rolled back",
        (false, true) => "is not finished",
        (false, false) => "is not finished and has changed nothing, so other runs may start",
    };
    let text = format!("run {run} on {place} {state}. Next, run one of:{all}");
    printable_lines(&text).into_owned()
}

/// Returns a value as one word of a POSIX shell.
pub(super) fn quoted(value: &str) -> Cow<'_, str> {
    // Only NUL cannot be quoted, and no argument or environment variable holds one.
    shlex::try_quote(value).unwrap_or(Cow::Borrowed(value))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_quoted_value_reads_back_as_one_word() {
        for value in
            ["plain", "/a/b-c_d.yaml", "", "a b", "it's", "\"$HOME\" `x`", "a\nb", "~", "*"]
        {
            let words = shlex::split(&quoted(value));
            assert_eq!(words, Some(vec![value.to_owned()]), "{value:?}");
        }
    }
}
