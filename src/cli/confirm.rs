//! Asks the person at the terminal before anything touches a real cluster.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::Trouble;
use crate::{
    actions,
    engine::Engine,
    journal::Target,
    runbook::{self, Kind, Source, Undo},
};

/// Says what the run would touch and do, and waits for a yes.
///
/// # Errors
/// It is not a terminal, the answer was no, or the cluster could not be asked who it is.
pub(super) async fn ask(engine: &Engine, source: &Source) -> Result<(), Trouble> {
    let target = engine.target_of(source).await?;
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Trouble::Usage(format!(
            "this would act on {}; without a terminal to ask at, say --yes",
            in_one_line(&target)
        )));
    }
    eprint!("{}\n{}Go on? [y/N] ", in_one_line(&target), what_it_does(source));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Trouble::Usage("not started".into()))
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

/// The changing steps, each with what its undo would restore.
fn what_it_does(source: &Source) -> String {
    let Some(runbook) = runbook::check(source, actions::catalogue()).runbook else {
        return String::new();
    };
    let mut text = String::new();
    for step in &runbook.steps {
        let Some(entry) = actions::find(&step.action) else { continue };
        if entry.kind() != Kind::Change {
            continue;
        }
        let undo = match entry.undo() {
            Undo::Nothing => "cannot be undone",
            Undo::Restores | Undo::NotNeeded => "can be undone",
        };
        text += &format!("  {} ({}; {undo})\n", step.name, step.action);
    }
    text
}
