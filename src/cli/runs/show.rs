//! `runs list`, `show` and `logs`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    cli::{CliError, Exit, Output, stdout},
    journal::{
        FileStore, LogLines, Run, RunId, RunState, RunStore as _, RunSummary, StoreError, timestamp,
    },
};

/// Every run, the latest last. One whose journal is damaged is listed as that.
pub(super) fn list(store: &FileStore, output: Output) -> Result<Exit, CliError> {
    let runs: Vec<(RunId, Result<RunSummary, StoreError>)> = store
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
    stdout::write(&text)?;
    if runs.is_empty() && output == Output::Text {
        eprintln!("no runs yet");
    }
    Ok(Exit::Success)
}

fn document((id, summary): &(RunId, Result<RunSummary, StoreError>)) -> Value {
    match summary {
        Ok(summary) => json!(summary),
        Err(error) => json!({"run": id, "state": "damaged", "error": error.to_string()}),
    }
}

fn line((id, summary): &(RunId, Result<RunSummary, StoreError>)) -> String {
    match summary {
        Ok(run) => {
            let whereabouts = if run.target.simulated { "  (simulated)" } else { "" };
            format!("{}  {id}  {}{whereabouts}\n", timestamp(run.started_at), run.state)
        }
        Err(error) => format!("{:<19}  {id}  damaged: {error}\n", ""),
    }
}

/// Liveness is asked first: a run that ends in between then has its end.
fn summary(store: &FileStore, id: &RunId) -> Result<RunSummary, StoreError> {
    let is_live = store.is_live(id);
    Ok(RunSummary::new(&Run::read(store, id)?, is_live))
}

pub(super) fn state(store: &FileStore, id: &RunId) -> Result<RunState, CliError> {
    let is_live = store.is_live(id);
    Ok(Run::read(store, id)?.state(is_live))
}

/// One run.
pub(super) fn one(store: &FileStore, id: &RunId, output: Output) -> Result<Exit, CliError> {
    let run = summary(store, id)?;
    let text = match output {
        Output::Json => format!("{:#}\n", json!(run)),
        Output::Text => whole(&run),
    };
    stdout::write(&text)?;
    Ok(Exit::Success)
}

fn whole(run: &RunSummary) -> String {
    let mut text = String::new();
    let digest: String = run.digest.chars().take(12).collect();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<8} {value}");
    };
    row("run", run.run.as_str());
    row("runbook", &format!("{} (sha256 {digest})", run.runbook));
    row("state", run.state.as_str());
    run.error.iter().for_each(|error| row("error", error));
    row("began", &format!("{} by {}", timestamp(run.started_at), run.actor));
    run.ended_at.iter().for_each(|time| row("ended", &timestamp(*time)));
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
        for what in &step.not_restored {
            let _ = writeln!(text, "{:<12}   left alone: {what}", "");
        }
    }
    text
}

/// The log lines of one run.
pub(super) fn logs(store: &FileStore, id: &RunId, output: Output) -> Result<Exit, CliError> {
    let lines = LogLines::format_all(&store.read(id)?);
    let text = match output {
        Output::Json => format!("{:#}\n", json!(lines)),
        Output::Text => lines.iter().map(|line| format!("{line}\n")).collect(),
    };
    stdout::write(&text)?;
    Ok(Exit::Success)
}
