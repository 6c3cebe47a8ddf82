//! Asks the person at the terminal before anything touches a real cluster.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use serde_json::{Map, Value};

use super::Trouble;
use crate::{
    actions,
    engine::{Direction, Engine},
    journal::{self, Outcome, Run, Target},
};
use runbook::{ActionKind, Reversibility, Runbook, Source, Step};

/// Says what would be touched and done, and waits for a yes.
///
/// # Errors
/// It is not a terminal, the answer was no, or the cluster could not be asked who it is.
pub(super) async fn ask(engine: &Engine, source: &Source, what: &str) -> Result<(), Trouble> {
    let target = engine.target_of(source).await?;
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Trouble::Usage(format!(
            "this would act on {}; without a terminal to ask at, say --yes",
            in_one_line(&target)
        )));
    }
    eprint!("{}\n{what}Go on? [y/N] ", in_one_line(&target));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Trouble::Declined)
}

fn in_one_line(target: &Target) -> String {
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
pub(super) async fn what_a_run_does(
    engine: &Engine,
    source: &Source,
    inputs: &Map<String, Value>,
) -> Result<String, Trouble> {
    let found = engine.look_ahead(source, inputs).await?;
    let found: String = found.iter().map(|message| format!("{message}\n")).collect();
    Ok(found + &changing_steps(source, |_| true))
}

/// What taking up a run would do: the steps that are left, or what would be put back.
pub(super) fn what_is_left(source: &Source, run: &Run, direction: Direction) -> String {
    if direction == Direction::On && !run.is_rolling_back() {
        let is_left = |step: &Step| {
            let outcome = run.step(&step.id).and_then(|step| step.outcome.as_ref());
            !matches!(outcome, Some(Outcome::Completed { .. } | Outcome::Skipped { .. }))
        };
        return changing_steps(source, is_left);
    }
    let steps = steps_of(source);
    let is_lost = |id: &str| {
        let action = steps.iter().find(|step| step.id == id).map(|step| step.action.as_str());
        action
            .and_then(actions::find)
            .is_some_and(|entry| entry.reversibility() == Reversibility::Irreversible)
    };
    let to_undo = run.steps().iter().rev().filter(|step| step.may_need_undo());
    to_undo.map(|step| what_is_undone(step, is_lost(&step.id))).collect()
}

fn what_is_undone(step: &journal::Step, is_lost: bool) -> String {
    if is_lost {
        return format!("  cannot be undone: {}\n", step.name);
    }
    let changes = step.intent.iter().flat_map(|intent| &intent.changes);
    let back = changes.map(|c| format!("    {}: {} -> {}\n", c.target, c.after, c.before));
    std::iter::once(format!("  undo: {}\n", step.name)).chain(back).collect()
}

fn steps_of(source: &Source) -> Vec<Step> {
    let book = runbook::check(source, actions::registry()).runbook;
    book.map_or_else(Vec::new, |Runbook { steps, .. }| steps)
}

fn changing_steps(source: &Source, is_meant: impl Fn(&Step) -> bool) -> String {
    let mut text = String::new();
    for step in steps_of(source).iter().filter(|step| is_meant(step)) {
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
