//! Asks the person at the terminal before anything touches a real cluster.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use serde_json::{Map, Value};

use super::CliError;
use crate::{
    actions,
    engine::{Engine, ResumeMode},
    journal::{self, Run, RunTarget, StepOutcome},
};
use runbook::{ActionKind, Reversibility, Runbook, Source, Step};

/// Says what would be touched and done, and waits for a yes.
///
/// # Errors
/// It is not a terminal, the answer was no, or the cluster could not be asked who it is.
pub(super) async fn ask(engine: &Engine, source: &Source, what: &str) -> Result<(), CliError> {
    let target = engine.target_of(source).await?;
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(CliError::Usage(format!(
            "this would act on {}; without a terminal to ask at, say --yes",
            describe_target(&target)
        )));
    }
    eprint!("{}\n{what}Go on? [y/N] ", describe_target(&target));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(CliError::Declined)
}

fn describe_target(target: &RunTarget) -> String {
    let mut parts = Vec::new();
    if let Some(kubernetes) = &target.kubernetes {
        let context = kubernetes.context.as_deref().unwrap_or("the pod's account");
        parts.push(format!("Kubernetes cluster {} (context {context})", kubernetes.server));
    }
    if let Some(aws) = &target.aws {
        parts.push(format!("AWS account {} as {}", aws.account, aws.identity));
    }
    if parts.is_empty() { "no cluster at all".into() } else { parts.join(" and ") }
}

/// What a new run would do: what its first steps, which only look, find already now, and every step that changes
/// something.
pub(super) async fn describe_run(
    engine: &Engine,
    source: &Source,
    inputs: &Map<String, Value>,
) -> Result<String, CliError> {
    let found = engine.preview(source, inputs).await?;
    let found: String = found.iter().map(|message| format!("{message}\n")).collect();
    Ok(found + &changing_steps(source, |_| true))
}

/// What taking up a run would do: the steps that are left, or what would be put back.
pub(super) fn describe_resume(source: &Source, run: &Run, mode: ResumeMode) -> String {
    if mode == ResumeMode::Continue && !run.is_rolling_back() {
        let is_left = |step: &Step| {
            let outcome = run.step(&step.id).and_then(|step| step.outcome.as_ref());
            !matches!(outcome, Some(StepOutcome::Completed { .. } | StepOutcome::Skipped { .. }))
        };
        return changing_steps(source, is_left);
    }
    let steps = steps_of(source);
    let is_irreversible = |id: &str| {
        let action = steps.iter().find(|step| step.id == id).map(|step| step.action.as_str());
        action
            .and_then(actions::find)
            .is_some_and(|entry| entry.reversibility() == Reversibility::Irreversible)
    };
    let to_undo = run.steps().iter().rev().filter(|step| step.may_need_undo());
    to_undo.map(|step| describe_undo(step, is_irreversible(&step.id))).collect()
}

fn describe_undo(step: &journal::StepProgress, is_irreversible: bool) -> String {
    if is_irreversible {
        return format!("  cannot be undone: {}\n", step.name);
    }
    let changes = step.intent.iter().flat_map(|intent| &intent.changes);
    let back = changes.map(|c| format!("    {}: {} -> {}\n", c.target, c.after, c.before));
    std::iter::once(format!("  undo: {}\n", step.name)).chain(back).collect()
}

fn steps_of(source: &Source) -> Vec<Step> {
    let checked = runbook::check(source, actions::registry()).runbook;
    checked.map_or_else(Vec::new, |Runbook { steps, .. }| steps)
}

fn changing_steps(source: &Source, is_selected: impl Fn(&Step) -> bool) -> String {
    let mut text = String::new();
    for step in steps_of(source).iter().filter(|step| is_selected(step)) {
        let Some(entry) = actions::find(&step.action) else { continue };
        if entry.kind() != ActionKind::Change {
            continue;
        }
        let undo = match entry.reversibility() {
            Reversibility::Irreversible => "cannot be undone",
            Reversibility::Reversible | Reversibility::NotApplicable => "can be undone",
        };
        text += &format!("  {} ({}; {undo})\n", step.name, step.action);
    }
    text
}
