//! `runs list`, `show` and `logs`.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use text::printable;

use super::describe::describe;
use crate::{
    cli::{CliError, Exit, Output, live::line::lay_out, run, stdout, timeline::Timeline},
    journal::{
        HeadEntry, HeadQuery, HeadSummary, LogLines, Run, RunHead, RunId, RunState, RunStore,
        RunSummary, StepPath, StoreError, UnreadableSummary, no_start, timestamp, with_liveness,
    },
};

/// How many heads are read at once where it is not known how many of them are listed.
const PAGE: usize = 200;

/// A run in a list: its summary, or why its journal cannot be read.
type ListedRun = (RunId, Result<HeadSummary, StoreError>);

/// Which runs to list.
pub(super) struct ListFilter {
    /// How many of the latest, if not all.
    pub(super) limit: Option<usize>,
    /// In which states, if not in every one.
    pub(super) states: Vec<RunState>,
    /// Of which runbook, if not of every one.
    pub(super) runbook: Option<String>,
}

impl ListFilter {
    /// Whether a run is listed. One that cannot be read is listed where nothing is asked of it.
    fn is_listed(&self, (_, run): &ListedRun) -> bool {
        let has_state =
            |run: &HeadSummary| self.states.is_empty() || self.states.contains(&run.state);
        let has_runbook = |run: &HeadSummary| self.runbook.iter().all(|name| *name == run.runbook);
        match run {
            Ok(run) => has_state(run) && has_runbook(run),
            Err(_) => !self.has_filter(),
        }
    }

    fn has_filter(&self) -> bool {
        !self.states.is_empty() || self.runbook.is_some()
    }

    /// Returns the latest runs that are listed, and one more if there is one, the latest first.
    async fn find(&self, store: &dyn RunStore) -> Result<Vec<ListedRun>, StoreError> {
        let wanted = self.limit.map_or(usize::MAX, |limit| limit.saturating_add(1));
        // Without a filter no more are read than are listed.
        let page = if self.has_filter() { PAGE } else { wanted.min(PAGE) };
        let mut found = Vec::new();
        let mut query = HeadQuery::Newest(page);
        loop {
            let entries = store.heads(query).await?;
            let Some(oldest) = entries.first().map(|entry| entry.run.clone()) else { break };
            for HeadEntry { run, head } in entries.into_iter().rev() {
                let head = match head {
                    Ok(head) => with_liveness(store, head).await,
                    Err(error) => Err(error),
                };
                let listed = (run, head.map(|(head, is_live)| HeadSummary::of(&head, is_live)));
                if self.is_listed(&listed) {
                    found.push(listed);
                }
                if found.len() == wanted {
                    return Ok(found);
                }
            }
            query = HeadQuery::Before(oldest, page);
        }
        Ok(found)
    }
}

/// Lists runs, the latest last. One whose journal cannot be read is listed as that.
pub(super) async fn list(
    store: &dyn RunStore,
    filter: &ListFilter,
    output: Output,
) -> Result<Exit, CliError> {
    let mut runs = filter.find(store).await?;
    let has_more = filter.limit.is_some_and(|limit| runs.len() > limit);
    if has_more {
        runs.pop();
    }
    runs.reverse();
    let text = match output {
        Output::Json | Output::Ndjson => {
            format!("{:#}\n", json!(runs.iter().map(document).collect::<Vec<_>>()))
        }
        Output::Text => runs.iter().map(line).collect(),
    };
    stdout::write(&text)?;
    if output == Output::Text && runs.is_empty() {
        stdout::write_stderr(if filter.has_filter() { "no such runs\n" } else { "no runs yet\n" });
    }
    if output == Output::Text && has_more {
        stdout::write_stderr("older runs are not listed\nhint: pass --all, or a larger --limit\n");
    }
    Ok(Exit::Success)
}

fn document((id, summary): &ListedRun) -> Value {
    match summary {
        Ok(summary) => json!(summary),
        Err(error) => json!(UnreadableSummary::of(id, error)),
    }
}

fn line((id, summary): &ListedRun) -> String {
    match summary {
        Ok(run) => {
            let place = if run.target.simulated { "  (simulated)" } else { "" };
            let waits = match &run.waits_for_approval[..] {
                [] => String::new(),
                steps => format!("  (waits for approval: {})", StepPath::join(steps, ", ")),
            };
            format!("{}  {id}  {}{waits}{place}\n", timestamp(run.start_time), run.state)
        }
        Err(error) => {
            let state = UnreadableSummary::of(id, error).state;
            format!("{:<19}  {id}  {state}: {}\n", "", printable(&error.to_string()))
        }
    }
}

/// Shows one run.
pub(super) async fn one(
    store: &dyn RunStore,
    id: &RunId,
    output: Output,
) -> Result<Exit, CliError> {
    // Asked first: a run that ends in between then has its end.
    let is_live = store.is_live(id).await;
    let events = store.read(id, 0).await?;
    let run = Run::of(id, &events).ok_or_else(|| no_start(id))?;
    let run = RunSummary::of(&run, is_live).with_diffs(&run);
    match output {
        Output::Json | Output::Ndjson => stdout::write(&format!("{:#}\n", json!(run)))?,
        Output::Text => {
            let now = is_live.then(Timestamp::now);
            let lines = describe(&run, &Timeline::of(&events), now);
            let lines = lay_out(&lines, stdout::width(), true);
            let text: String = lines.iter().map(|line| format!("{}\n", line.trim_end())).collect();
            stdout::write_colored(&text)?;
        }
    }
    Ok(Exit::Success)
}

/// Prints the log lines of one run.
pub(super) async fn logs(
    store: &dyn RunStore,
    id: &RunId,
    output: Output,
) -> Result<Exit, CliError> {
    let lines = LogLines::of(&store.read(id, 0).await?);
    let text = match output {
        Output::Json | Output::Ndjson => format!("{:#}\n", json!(lines)),
        Output::Text => lines.iter().map(|line| format!("{line}\n")).collect(),
    };
    stdout::write(&text)?;
    Ok(Exit::Success)
}

/// Prints the log lines of one run, and those that follow, until no process drives the run any more.
pub(super) async fn follow(
    store: &dyn RunStore,
    id: &RunId,
    output: Output,
    interval: Duration,
) -> Result<Exit, CliError> {
    let mut lines = LogLines::default();
    let mut head: Option<RunHead> = None;
    loop {
        // Asked first: a run that ends in between then has its end.
        let is_live = store.is_live(id).await;
        let events = store.read(id, head.as_ref().map_or(0, |head| head.events)).await?;
        let now = match head.take() {
            None => RunHead::of(id, &events).ok_or_else(|| no_start(id))?,
            Some(mut head) => {
                events.iter().for_each(|event| head.apply(event));
                head
            }
        };
        let state = head.insert(now).state(is_live);
        let text: String = events
            .iter()
            .flat_map(|event| lines.lines(event))
            // What has no end yet cannot be one document: each line is one.
            .map(|line| match output {
                Output::Text => format!("{line}\n"),
                Output::Json | Output::Ndjson => format!("{}\n", json!(line)),
            })
            .collect();
        stdout::write(&text)?;
        if !state.is_active() {
            return Ok(run::exit_of(state));
        }
        tokio::time::sleep(interval).await;
    }
}
