//! `runs list`, `show` and `logs`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    cli::{Exit, Output, Trouble, standard_output},
    journal::{FileStore, LogLines, Run, RunId, State, Store as _, StoreError, Summary, timestamp},
};

/// Every run, the latest last. One whose journal is damaged is listed as that.
pub(super) fn list(store: &FileStore, output: Output) -> Result<Exit, Trouble> {
    let runs: Vec<(RunId, Result<Summary, StoreError>)> = store
        .list()?
        .into_iter()
        .map(|id| {
            let summary = summary(store, &id);
            (id, summary)
        })
        .collect();
    let text = match output {
        Output::Json => format!("{:#}\n", json!(runs.iter().map(document).collect::<Vec<_>>())),
        Output::Text => runs.iter().map(line).collect(),
    };
    standard_output::write(&text)?;
    if runs.is_empty() && output == Output::Text {
        eprintln!("no runs yet");
    }
    Ok(Exit::Done)
}

fn document((id, summary): &(RunId, Result<Summary, StoreError>)) -> Value {
    match summary {
        Ok(summary) => json!(summary),
        Err(error) => json!({"run": id, "state": "damaged", "error": error.to_string()}),
    }
}

fn line((id, summary): &(RunId, Result<Summary, StoreError>)) -> String {
    match summary {
        Ok(run) => {
            let whereabouts = if run.target.simulated { "  (simulated)" } else { "" };
            format!("{}  {id}  {}{whereabouts}\n", timestamp(run.start_time), run.state)
        }
        Err(error) => format!("{:<19}  {id}  damaged: {error}\n", ""),
    }
}

/// Liveness is asked first: a run that ends in between then has its end.
fn summary(store: &FileStore, id: &RunId) -> Result<Summary, StoreError> {
    let is_live = store.is_live(id);
    Ok(Summary::of(&Run::read(store, id)?, is_live))
}

pub(super) fn state(store: &FileStore, id: &RunId) -> Result<State, Trouble> {
    let is_live = store.is_live(id);
    Ok(Run::read(store, id)?.state(is_live))
}

/// One run.
pub(super) fn one(store: &FileStore, id: &RunId, output: Output) -> Result<Exit, Trouble> {
    let run = summary(store, id)?;
    let text = match output {
        Output::Json => format!("{:#}\n", json!(run)),
        Output::Text => whole(&run),
    };
    standard_output::write(&text)?;
    Ok(Exit::Done)
}

fn whole(run: &Summary) -> String {
    let mut text = String::new();
    let digest: String = run.digest.chars().take(12).collect();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<8} {value}");
    };
    row("run", run.run.as_str());
    row("runbook", &format!("{} (sha256 {digest})", run.runbook));
    row("state", run.state.as_str());
    run.error.iter().for_each(|error| row("error", error));
    row("began", &format!("{} by {}", timestamp(run.start_time), run.actor));
    run.end_time.iter().for_each(|time| row("ended", &timestamp(*time)));
    row("inputs", &Value::Object(run.inputs.clone()).to_string());
    for step in &run.steps {
        let _ = writeln!(text, "\n{:<12} {}", step.state.as_str(), step.name);
        for change in &step.changes {
            let (before, after) = (&change.before, &change.after);
            let _ = writeln!(text, "{:<12}   {}: {before} -> {after}", "", change.target);
        }
        if let Some(error) = &step.error {
            let _ = writeln!(text, "{:<12}   {error}", "");
        }
        for what in &step.left_alone {
            let _ = writeln!(text, "{:<12}   left alone: {what}", "");
        }
    }
    text
}

/// The log lines of one run.
pub(super) fn logs(store: &FileStore, id: &RunId, output: Output) -> Result<Exit, Trouble> {
    let lines = LogLines::of(&store.read(id)?);
    let text = match output {
        Output::Json => format!("{:#}\n", json!(lines)),
        Output::Text => lines.iter().map(|line| format!("{line}\n")).collect(),
    };
    standard_output::write(&text)?;
    Ok(Exit::Done)
}
