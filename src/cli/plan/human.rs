//! A plan as text for people: what speaks against the run first, then the steps with what they change.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::Timestamp;
use text::{join_truncated, plural, printable};

use super::super::stdout::{Color, paint};
use crate::{
    journal::{RecordedChange, short_digest},
    plan::{
        Basis, Effect, Finding, NOT_OBSERVED, Plan, PlannedStep, Reads, Rehearsal, Severity, Span,
    },
};

/// How many changes of a step are listed, unless all are asked for.
const MAX_CHANGES: usize = 12;
/// How many lines say what a step waits for, and how long each is, unless all is asked for.
const MAX_WAITS: usize = 1;
const MAX_WAIT_TEXT: usize = 140;
/// How many places of new pods are listed, unless all are asked for.
const MAX_PLACEMENTS: usize = 20;

/// Returns the whole plan.
pub(super) fn describe(plan: &Plan, all: bool) -> String {
    let mut text = head(plan);
    text.push_str(&findings(&plan.findings));
    text.push_str(&steps(plan, all));
    text.push_str(&placements(plan, all));
    text.push_str(&gaps(plan));
    text.push_str(&totals(plan));
    text
}

fn steps(plan: &Plan, all: bool) -> String {
    let mut text = "\nSteps\n".to_owned();
    let (shown, silent): (Vec<_>, Vec<_>) =
        plan.steps.iter().partition(|step| all || !is_silent(step));
    shown.into_iter().for_each(|step| text.push_str(&describe_step(step, all)));
    if !silent.is_empty() {
        let _ = writeln!(
            text,
            "    {} whose condition holds at once (--all shows them)",
            plural(silent.len(), "more check")
        );
    }
    text
}

/// Returns what a person is shown who is asked whether to start the run: the part after the name of the target.
pub(in crate::cli) fn describe_for_confirmation(plan: &Plan) -> String {
    let mut text = rehearsed(&plan.rehearsal);
    text.push_str(&findings(&plan.findings));
    text.push_str(&steps(plan, false));
    text.push_str(&gaps(plan));
    text.push_str(&totals(plan));
    text
}

/// Whether a step says nothing that a person needs: a wait that is over at once.
fn is_silent(step: &PlannedStep) -> bool {
    if step.action == "wait_approval" {
        return false;
    }
    let is_short = step.takes.is_some_and(|takes| takes.high < 1.0);
    matches!(step.effect, Effect::Waits) && is_short && step.waits_for.is_empty()
}

fn head(plan: &Plan) -> String {
    let mut text = format!(
        "Plan of {} on {}\n",
        printable(&plan.runbook),
        printable(&plan.target.to_string())
    );
    let inputs: Vec<String> =
        plan.inputs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !inputs.is_empty() {
        let _ = writeln!(text, "Inputs: {}", printable(&inputs.join(", ")));
    }
    let digests =
        plan.digests.iter().map(|(name, digest)| format!("{name} {}", short_digest(digest)));
    let _ = writeln!(text, "SHA-256: {}", printable(&digests.collect::<Vec<_>>().join(", ")));
    let _ = write!(text, "Read at {}", plan.made_at.strftime("%Y-%m-%d %H:%M:%SZ"));
    if plan.reads != Reads::default() {
        let _ = write!(
            text,
            ", copied with {} to Kubernetes and {} to AWS",
            calls(plan.reads.kubernetes),
            calls(plan.reads.aws),
        );
    }
    text.push_str(". Nothing was changed.\n");
    text.push_str(&rehearsed(&plan.rehearsal));
    text
}

fn calls(count: u64) -> String {
    plural(usize::try_from(count).unwrap_or(usize::MAX), "call")
}

fn rehearsed(rehearsal: &Rehearsal) -> String {
    match rehearsal {
        Rehearsal::Done { outcome, failure, failed_step, takes, durations, .. } => {
            let color = if outcome == "succeeded" { Color::Green } else { Color::Red };
            let mut text = format!(
                "Rehearsed on a copy of the cluster: {} after {}\n",
                paint(color, &printable(outcome)),
                span(*takes),
            );
            if let Some(failure) = failure {
                let step = failed_step.as_ref().map(|step| format!(" (step {step})"));
                let _ =
                    writeln!(text, "  {}{}", printable(&failure.message), step.unwrap_or_default());
            }
            let (defaults, observed): (Vec<&String>, Vec<&String>) =
                durations.iter().partition(|source| source.ends_with(NOT_OBSERVED));
            for source in observed {
                let _ = writeln!(text, "  {}", printable(source));
            }
            if !defaults.is_empty() {
                let each = defaults.iter().map(|source| source.trim_end_matches(NOT_OBSERVED));
                let each: Vec<&str> = each.collect();
                let _ = writeln!(
                    text,
                    "  not observed, so by default: {}",
                    printable(&each.join("; "))
                );
            }
            text
        }
        Rehearsal::NotDone { reason } => format!("Not rehearsed: {}\n", printable(reason)),
    }
}

fn findings(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "\nFindings: none\n".to_owned();
    }
    let mut text = "\nFindings\n".to_owned();
    for finding in findings {
        let (name, color) = match finding.severity {
            Severity::Error => ("error", Color::Red),
            Severity::Warning => ("warning", Color::Yellow),
            Severity::Note => ("note", Color::Green),
        };
        let step = finding.step.as_ref().map(|step| format!(" (step {step})"));
        let _ = writeln!(
            text,
            "  {} {}: {}{}",
            paint(color, name),
            finding.code,
            printable(&finding.message),
            step.unwrap_or_default()
        );
        let _ = writeln!(text, "    because: {}", printable(&finding.evidence));
        if let Some(hint) = &finding.hint {
            let _ = writeln!(text, "    hint: {}", printable(hint));
        }
    }
    text
}

fn describe_step(step: &PlannedStep, all: bool) -> String {
    let indent = "  ".repeat(step.path.segments().len());
    let mark = match step.basis {
        Basis::Read => " ",
        Basis::Predicted => "~",
        Basis::Unknown => "?",
    };
    let effect = match &step.effect {
        Effect::Changes => "changes",
        Effect::Nothing => "nothing to do",
        Effect::Reads => "reads",
        Effect::Waits => "waits",
        Effect::Parts => "runs",
        Effect::Skipped { .. } => "skipped",
        Effect::Fails { .. } => "fails",
        Effect::NotReached => "not reached",
        Effect::Unknown => "not known",
    };
    let takes = step.takes.filter(|takes| takes.high >= 1.0);
    let takes = takes.map(|takes| format!(", {}", span(takes))).unwrap_or_default();
    let undo = match (&step.effect, step.can_be_undone) {
        (Effect::Changes, Some(false)) => ", cannot be undone",
        (Effect::Changes, Some(true)) if step.restored_at_end => ", undone when the run ends",
        _ => "",
    };
    let mut text = format!(
        "{indent}{mark} {}: {} ({effect}{takes}{undo})\n",
        printable(&step.path.to_string()),
        printable(&step.name),
    );
    let mut line = |content: &str| {
        let _ = writeln!(text, "{indent}      {}", printable(content));
    };
    match &step.effect {
        Effect::Skipped { reason } => line(reason),
        Effect::Fails { failure } => failure.lines().iter().for_each(|content| line(content)),
        Effect::Unknown if !step.known_after.is_empty() => {
            let paths = step.known_after.iter().map(ToString::to_string);
            line(&format!("known after {}", join_truncated(paths)));
        }
        _ => {}
    }
    if let Some(message) = &step.message {
        match step.effect {
            Effect::Changes | Effect::Fails { .. } => line(&format!("will log: {message}")),
            _ => line(message),
        }
    }
    let limit = if all { usize::MAX } else { MAX_CHANGES };
    step.changes.iter().take(limit).for_each(|change| line(&change_text(change)));
    if let Some(more @ 1..) = step.changes.len().checked_sub(limit) {
        line(&format!("and {} (--all shows them)", plural(more, "more change")));
    }
    let limit = if all { usize::MAX } else { MAX_WAITS };
    for wait in step.waits_for.iter().take(limit) {
        let end = wait.floor_char_boundary(MAX_WAIT_TEXT);
        match all || end >= wait.len() {
            true => line(&format!("waits for {wait}")),
            false => line(&format!("waits for {}…", &wait[..end])),
        }
    }
    text
}

/// Returns a change as `object: current -> target`; of a thing that is removed, only that.
fn change_text(change: &RecordedChange) -> String {
    match (&change.before, &change.after) {
        (_, serde_json::Value::Null) => format!("{}: removed", change.target),
        (before, serde_json::Value::String(after)) if after.parse::<Timestamp>().is_ok() => {
            format!("{}: {before} -> the time of the change", change.target)
        }
        (before, after) => format!("{}: {before} -> {after}", change.target),
    }
}

fn placements(plan: &Plan, all: bool) -> String {
    let Rehearsal::Done { placements, unplaced, .. } = &plan.rehearsal else {
        return String::new();
    };
    let mut text = String::new();
    if !placements.is_empty() {
        text.push_str("\nWhere new pods run at the end (~ predicted)\n");
        let limit = if all { usize::MAX } else { MAX_PLACEMENTS };
        for placement in placements.iter().take(limit) {
            let _ = writeln!(
                text,
                "  {}/{}: {} on {}",
                printable(&placement.namespace),
                printable(&placement.workload),
                plural(placement.pods, "pod"),
                printable(&placement.node)
            );
        }
        if let Some(more @ 1..) = placements.len().checked_sub(limit) {
            let _ = writeln!(text, "  and {} (--all shows them)", plural(more, "more place"));
        }
    }
    if !unplaced.is_empty() {
        text.push_str("\nPods that no node takes at the end\n");
        let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for pod in unplaced {
            let path = format!("{}/{}", pod.namespace, pod.pod);
            by_reason.entry(&pod.reason).or_default().push(path);
        }
        for (reason, pods) in by_reason {
            let _ = writeln!(text, "  {}: {}", printable(&join_truncated(pods)), printable(reason));
        }
    }
    text
}

fn gaps(plan: &Plan) -> String {
    if plan.gaps.is_empty() {
        return String::new();
    }
    let mut text = "\nNot known\n".to_owned();
    for gap in &plan.gaps {
        let _ = writeln!(text, "  {}: {}", printable(&gap.what), printable(&gap.why));
    }
    text
}

fn totals(plan: &Plan) -> String {
    let changing: Vec<&PlannedStep> =
        plan.steps.iter().filter(|step| !step.changes.is_empty()).collect();
    let changes: usize = changing.iter().map(|step| step.changes.len()).sum();
    let lasting: Vec<&PlannedStep> =
        changing.iter().copied().filter(|step| step.can_be_undone == Some(false)).collect();
    let count = |effect: &Effect| plan.steps.iter().filter(|step| step.effect == *effect).count();
    let (unknown, not_reached) = (count(&Effect::Unknown), count(&Effect::NotReached));
    let mut text = match (changes, unknown + not_reached) {
        (0, 0) => "\nNothing to change".to_owned(),
        _ => format!("\n{} by {}", plural(changes, "change"), plural(changing.len(), "step")),
    };
    if !lasting.is_empty() {
        let count: usize = lasting.iter().map(|step| step.changes.len()).sum();
        let steps = join_truncated(lasting.iter().map(|step| step.path.to_string()));
        let _ = write!(text, "; {} cannot be undone ({steps})", plural(count, "change"));
    }
    if unknown > 0 {
        let _ = write!(text, "; what {} would do is not known", plural(unknown, "step"));
    }
    if not_reached > 0 {
        let _ = write!(text, "; the run does not come to {}", plural(not_reached, "step"));
    }
    text.push_str(".\n");
    if plan.steps.iter().any(|step| step.basis == Basis::Predicted) {
        text.push_str("~ was predicted by the rehearsal; the rest was read.\n");
    }
    text
}

/// Returns a duration as people read it, with its range where that is wide.
fn span(span: Span) -> String {
    let (low, typical, high) = (round(span.low), round(span.typical), round(span.high));
    let typical_text = duration(typical);
    if low == high {
        return format!("about {typical_text}");
    }
    format!("about {typical_text} ({} to {})", duration(low), duration(high))
}

/// Returns whole seconds; of minutes, tens of seconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a duration of a run")]
fn round(seconds: f64) -> u64 {
    let whole = seconds.max(0.0).round() as u64;
    if whole < 60 { whole } else { (whole + 5) / 10 * 10 }
}

fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_shown_where_there_is_one() {
        let of = |low, typical, high| span(Span { low, typical, high });
        assert_eq!(of(3.0, 3.2, 3.4), "about 3 s");
        assert_eq!(of(61.0, 84.0, 170.0), "about 1 min 20 s (1 min to 2 min 50 s)");
        assert_eq!(of(3600.0, 3660.0, 7200.0), "about 1 h 1 min (1 h 0 min to 2 h 0 min)");
    }
}
