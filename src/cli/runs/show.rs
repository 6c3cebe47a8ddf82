//! `runs list`, `show` and `logs`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    cli::{CliError, Exit, Output, stdout},
    journal::{
        DirectoryStore, HeadEntry, HeadQuery, HeadSummary, LogLines, Run, RunId, RunStore as _,
        RunSummary, StoreError, UnreadableSummary, difference_texts, short_digest, timestamp,
    },
};

/// Lists the latest runs, at most `limit`, the latest last. One whose journal cannot be read is listed as that.
pub(super) async fn list(
    store: &DirectoryStore,
    limit: Option<usize>,
    output: Output,
) -> Result<Exit, CliError> {
    let mut entries = match limit {
        Some(limit) => store.heads(HeadQuery::Newest(limit.saturating_add(1))).await?,
        None => store.heads(HeadQuery::All).await?,
    };
    let has_more = limit.is_some_and(|limit| entries.len() > limit);
    if has_more {
        entries.remove(0);
    }
    let mut runs = Vec::new();
    for HeadEntry { run, head } in entries {
        let is_live = store.is_live(&run).await;
        runs.push((run, head.map(|head| HeadSummary::of(&head, is_live))));
    }
    let text = match output {
        Output::Json => format!("{:#}\n", json!(runs.iter().map(document).collect::<Vec<_>>())),
        Output::Text => runs.iter().map(line).collect(),
    };
    stdout::write(&text)?;
    if output == Output::Text && runs.is_empty() {
        stdout::write_stderr("no runs yet\n");
    }
    if output == Output::Text && has_more {
        stdout::write_stderr("older runs are not listed\nhint: pass --all, or a larger --limit\n");
    }
    Ok(Exit::Success)
}

fn document((id, summary): &(RunId, Result<HeadSummary, StoreError>)) -> Value {
    match summary {
        Ok(summary) => json!(summary),
        Err(error) => json!(UnreadableSummary::of(id, error)),
    }
}

fn line((id, summary): &(RunId, Result<HeadSummary, StoreError>)) -> String {
    match summary {
        Ok(run) => {
            let place = if run.target.simulated { "  (simulated)" } else { "" };
            format!("{}  {id}  {}{place}\n", timestamp(run.start_time), run.state)
        }
        Err(error) => {
            let state = UnreadableSummary::of(id, error).state;
            format!("{:<19}  {id}  {state}: {error}\n", "")
        }
    }
}

/// Shows one run.
pub(super) async fn one(
    store: &DirectoryStore,
    id: &RunId,
    output: Output,
) -> Result<Exit, CliError> {
    // Asked first: a run that ends in between then has its end.
    let is_live = store.is_live(id).await;
    let run = RunSummary::of(&Run::read(store, id).await?, is_live);
    let text = match output {
        Output::Json => format!("{:#}\n", json!(run)),
        Output::Text => describe(&run),
    };
    stdout::write(&text)?;
    Ok(Exit::Success)
}

fn describe(run: &RunSummary) -> String {
    let mut text = String::new();
    let head = &run.head;
    let digest = short_digest(&head.digest);
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<8} {value}");
    };
    row("run", head.run.as_str());
    row("runbook", &format!("{} (sha256 {digest})", head.runbook));
    run.source.iter().for_each(|source| row("file", source));
    row("state", head.state.as_str());
    if let Some(failure) = &head.failure {
        row("error", &failure.message);
        failure.hint.iter().for_each(|hint| row("hint:", hint));
    }
    row("started", &format!("{} by {}", timestamp(head.start_time), head.actor));
    head.end_time.iter().for_each(|time| row("ended", &timestamp(*time)));
    row("inputs", &Value::Object(run.inputs.clone()).to_string());
    for step in &run.steps {
        let _ = writeln!(text, "\n{:<12} {}", step.state.as_str(), step.name);
        for change in &step.changes {
            let (before, after) = (&change.before, &change.after);
            let _ = writeln!(text, "{:<12}   {}: {before} -> {after}", "", change.target);
        }
        // The failure of the run is above.
        if head.failed_step.as_ref() != Some(&step.id)
            && let Some(error) = &step.error
        {
            let _ = writeln!(text, "{:<12}   {error}", "");
        }
        for target in &step.not_restored {
            let _ = writeln!(text, "{:<12}   not restored: {target}", "");
        }
    }
    let differences = difference_texts(&run.differences);
    if !differences.is_empty() {
        let _ = writeln!(text, "\n{}", differences.join("\n"));
    }
    text
}

/// Prints the log lines of one run.
pub(super) async fn logs(
    store: &DirectoryStore,
    id: &RunId,
    output: Output,
) -> Result<Exit, CliError> {
    let lines = LogLines::of(&store.read(id, 0).await?);
    let text = match output {
        Output::Json => format!("{:#}\n", json!(lines)),
        Output::Text => lines.iter().map(|line| format!("{line}\n")).collect(),
    };
    stdout::write(&text)?;
    Ok(Exit::Success)
}
