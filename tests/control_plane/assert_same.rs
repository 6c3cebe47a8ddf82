//! Comparisons whose failure shows what differs and not everything that is equal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Fails unless both sides have the same lines in the same order.
#[track_caller]
pub(crate) fn assert_same(what: &str, real: &[String], simulated: &[String]) {
    if real == simulated {
        return;
    }
    let mut text = String::new();
    for line in only_in(real, simulated) {
        let _ = writeln!(text, "  real only:      {line}");
    }
    for line in only_in(simulated, real) {
        let _ = writeln!(text, "  simulated only: {line}");
    }
    if text.is_empty() {
        text =
            format!("  in another order:\n  real:      {real:#?}\n  simulated: {simulated:#?}\n");
    }
    panic!("{what} differs:\n{text}");
}

/// The lines that one side has more often than the other.
fn only_in<'a>(side: &'a [String], other: &[String]) -> Vec<&'a str> {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for line in other {
        *left.entry(line).or_default() += 1;
    }
    let is_extra = |line: &&str| match left.get_mut(*line) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    side.iter().map(String::as_str).filter(is_extra).collect()
}
