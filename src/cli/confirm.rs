//! Asks the person at the terminal before anything touches a real cluster.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use text::{printable, printable_lines};

use super::{
    CliError, next_steps::quoted, plan::describe_for_confirmation, stdout, target::TargetArgs,
};
use crate::{
    engine::{ChangingStep, Preflight, Remaining, ResumePreflight, UndoneStep, digest},
    journal::{
        Amendment, Run, RunTarget, StepPath, difference_texts, origin_and_digest, text_diff,
        timestamp,
    },
    plan::Plan,
};

/// Checks that there is a terminal to ask at before a real cluster is acted on. To be called before any call to it, so
/// the configuration alone names the cluster.
///
/// # Errors
/// There is none.
pub(super) fn require_terminal(target: &TargetArgs) -> Result<(), CliError> {
    require_terminal_to("act on a real cluster", target.configured().as_deref())
}

/// Checks that there is a terminal to ask at.
///
/// # Errors
/// There is none: the message says what is refused, and on what.
pub(super) fn require_terminal_to(operation: &str, place: Option<&str>) -> Result<(), CliError> {
    if is_at_terminal() {
        return Ok(());
    }
    let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
    let message =
        format!("refusing to {operation}{place} without confirmation: no terminal to ask at");
    Err(CliError::usage_with_hint(message, "pass --yes"))
}

/// Describes what a new run would touch and do, and asks.
///
/// # Errors
/// The answer was no.
pub(super) fn ask_to_run(preflight: &Preflight, plan: &Plan) -> Result<(), CliError> {
    let text = format!("{}{}", describe_runbook(preflight), describe_for_confirmation(plan));
    ask(&preflight.target, &text)
}

/// Says what a new run would touch, and which of its steps change something, and asks.
///
/// # Errors
/// The answer was no.
pub(super) fn ask_to_run_unplanned(preflight: &Preflight) -> Result<(), CliError> {
    let steps: String = preflight.changing_steps().iter().map(describe_change).collect();
    ask(&preflight.target, &format!("{}{steps}", describe_runbook(preflight)))
}

/// Describes what resuming a run would do, and asks.
///
/// # Errors
/// The answer was no.
pub(super) fn ask_to_resume(preflight: &ResumePreflight) -> Result<(), CliError> {
    let rest: String = match preflight.remaining() {
        Remaining::Forward(steps) => steps.iter().map(describe_change).collect(),
        Remaining::Back(steps) => steps.iter().map(describe_undo).collect(),
    };
    let amendment = preflight.amendment().map(|a| describe_amendment(preflight.run(), a));
    ask(&preflight.run().spec.target, &format!("{}{rest}", amendment.unwrap_or_default()))
}

/// Describes what is changed about the rest of a run: the runbook as a diff, then the steps.
fn describe_amendment(run: &Run, amendment: &Amendment) -> String {
    let mut text = String::new();
    if let Some(runbook) = &amendment.runbook {
        let file = origin_and_digest(runbook.origin.as_deref(), &runbook.digest);
        text.push_str(&line(&format!("Changed runbook {}: {file}", run.spec.runbook)));
        text.push_str(&printable_lines(&text_diff(run.text(), &runbook.text)));
    }
    let describe = |path: &StepPath| match run.step(path).and_then(|step| step.intent.as_ref()) {
        Some(_) => format!("  {path} is skipped; what it has changed stays\n"),
        None => format!("  {path} is skipped\n"),
    };
    let steps = amendment.skip.iter().map(describe);
    let steps = steps.chain(amendment.again.iter().map(|path| format!("  {path} is run again\n")));
    text.extend(steps);
    text
}

/// Checks that there is a terminal at which a person can type these words.
///
/// # Errors
/// There is none: the message says what is refused.
pub(super) fn require_terminal_to_type(operation: &str, words: &str) -> Result<(), CliError> {
    if is_at_terminal() {
        return Ok(());
    }
    let message = format!("refusing to {operation} without confirmation: no terminal to type at");
    let hint = format!("pass --confirm {}", quoted(words));
    Err(CliError::usage_with_hint(message, hint))
}

/// Lets the person type the words by which they confirm an operation.
///
/// # Errors
/// They typed something else, or there is no terminal.
pub(super) fn ask_to_type(operation: &str, question: &str, words: &str) -> Result<(), CliError> {
    require_terminal_to_type(operation, words)?;
    let answer = answer_to(&format!("{question} ({words}): "))?;
    if answer.split_whitespace().eq(words.split(' ')) {
        return Ok(());
    }
    Err(CliError::NotConfirmed)
}

/// Shows what a run has left different from what it found, and asks whether to declare it over. Without a terminal
/// it does not ask, because the cluster is not changed.
///
/// # Errors
/// The answer was no.
pub(super) fn ask_to_abandon(run: &Run, yes: bool) -> Result<(), CliError> {
    // A run that is over is refused next, whatever the answer would be.
    if !run.state(false).is_unfinished() {
        return Ok(());
    }
    let text: String =
        difference_texts(&run.differences()).iter().map(|line| format!("{line}\n")).collect();
    let text = match run.head.ended_at {
        Some(time) if !text.is_empty() => format!("as of {}:\n{text}", timestamp(time)),
        _ => text,
    };
    if yes || require_terminal_to("abandon a run", None).is_err() {
        stdout::write_stderr(&text);
        return Ok(());
    }
    ask(
        &run.spec.target,
        &format!("run {} will be over, and can no longer be undone\n{text}", run.id()),
    )
}

fn ask(target: &RunTarget, text: &str) -> Result<(), CliError> {
    if is_confirmed(&format!("{}\n{text}", describe_target(target)))? {
        return Ok(());
    }
    Err(CliError::Declined(Box::new(target.clone())))
}

/// Shows a text, which ends its last line, and returns whether the person says yes to it.
pub(super) fn is_confirmed(text: &str) -> std::io::Result<bool> {
    let answer = answer_to(&format!("{text}Continue? [y/N] "))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn is_at_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

fn answer_to(question: &str) -> std::io::Result<String> {
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{question}")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer)
}

/// Says which file is run: a name may be that of a built-in runbook, or of a file in the current directory.
fn describe_runbook(preflight: &Preflight) -> String {
    let checked = &preflight.checked;
    let origin = checked.origin().unwrap_or_else(|| checked.source().name());
    let file = origin_and_digest(Some(origin), &digest(checked.source().text()));
    line(&format!("Runbook {}: {file}", checked.runbook().name))
}

fn describe_target(target: &RunTarget) -> String {
    if target.simulated {
        return "the simulator".into();
    }
    let mut parts = Vec::new();
    if let Some(kubernetes) = &target.kubernetes {
        let context = kubernetes.context.as_deref().unwrap_or("the pod's account");
        parts.push(format!("Kubernetes cluster {} (context {context})", kubernetes.server));
    }
    if let Some(aws) = &target.aws {
        parts.push(format!("AWS account {} as {}", aws.account, aws.identity));
    }
    let text = if parts.is_empty() { "no cluster".into() } else { parts.join(" and ") };
    printable(&text).into_owned()
}

/// Returns a text as a line of its own, whatever is in the text.
fn line(text: &str) -> String {
    format!("{}\n", printable(text))
}

fn describe_change(step: &ChangingStep) -> String {
    let undo = if step.is_reversible { "can be undone" } else { "cannot be undone" };
    line(&format!("  {} ({}; {undo})", step.name, step.action))
}

fn describe_undo(step: &UndoneStep) -> String {
    if !step.is_reversible {
        return line(&format!("  cannot be undone: {}", step.name));
    }
    let changes = step.changes.iter();
    let back = changes.map(|c| line(&format!("    {}: {} -> {}", c.target, c.after, c.before)));
    std::iter::once(line(&format!("  undo: {}", step.name))).chain(back).collect()
}
