//! `runs list`, `show` and `logs`.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};
use text::printable;

use crate::{
    cli::{CliError, Exit, Output, run, stdout},
    journal::{
        AmendmentSummary, ApprovalSummary, HeadEntry, HeadQuery, HeadSummary, LogLines, Run, RunId,
        RunState, RunStore, RunSummary, RunbookChange, StepPath, StepState, StepSummary,
        StoreError, UnreadableSummary, difference_texts, origin_and_digest, short_digest,
        timestamp, with_liveness,
    },
};

/// How many heads are read at once where it is not known how many of them are listed.
const PAGE: usize = 200;

/// How often a run that is followed is read.
pub(super) const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);
/// The same where each reading is some calls to an API server.
pub(super) const CLUSTER_FOLLOW_INTERVAL: Duration = Duration::from_secs(2);

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
        Output::Json => format!("{:#}\n", json!(runs.iter().map(document).collect::<Vec<_>>())),
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
    let run = Run::read(store, id).await?;
    let run = RunSummary::of(&run, is_live).with_diffs(&run);
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
        let _ = writeln!(text, "{name:<8} {}", printable(value));
    };
    row("run", head.run.as_str());
    row("runbook", &format!("{} (sha256 {digest})", head.runbook));
    run.origin.iter().for_each(|origin| row("file", origin));
    row("state", head.state.as_str());
    if let Some(failure) = &head.failure {
        row("error", &failure.message);
        failure.hint.iter().for_each(|hint| row("hint:", hint));
    }
    row("target", &head.target.to_string());
    row("started", &format!("{} by {}", timestamp(head.start_time), head.actor));
    run.outside_window
        .iter()
        .for_each(|reason| row("outside", &format!("the change windows: {reason}")));
    head.end_time.iter().for_each(|time| row("ended", &timestamp(*time)));
    row("inputs", &Value::Object(run.inputs.clone()).to_string());
    run.amendments.iter().for_each(|amendment| text.push_str(&describe_amendment(amendment)));
    run.approvals.iter().for_each(|asked| text.push_str(&describe_approval(&head.run, asked)));
    for step in &run.steps {
        text.push('\n');
        describe_step(&mut text, step, head.failed_step.as_ref(), 0);
    }
    let differences = difference_texts(&run.differences);
    if !differences.is_empty() {
        let time =
            head.end_time.map_or_else(String::new, |time| format!("as of {}:\n", timestamp(time)));
        let _ = writeln!(text, "\n{time}{}", differences.join("\n"));
    }
    text
}

/// Adds a step with its items and the steps of a runbook that it calls, each level further to the right.
fn describe_step(
    text: &mut String,
    step: &StepSummary,
    failed_step: Option<&StepPath>,
    level: usize,
) {
    let mut add = |level: usize, state: &str, line: &str| {
        let indent = 2 * level;
        let _ = writeln!(text, "{state:<12} {:indent$}{line}", "");
    };
    let name = format!("{}{}", printable(&step.name), item_progress(step));
    add(level, step.state.as_str(), &name);
    describe_details(step, failed_step).iter().for_each(|line| add(level + 1, "", line));
    for part in step.items.iter().chain(&step.steps) {
        // An item that has nothing to say is counted.
        if part.id.step_of_item().is_none() || is_shown(part) {
            describe_step(text, part, failed_step, level + 1);
        }
    }
}

/// Whether an item is shown, and not only counted.
fn is_shown(item: &StepSummary) -> bool {
    let has_details = !describe_details(item, None).is_empty();
    item.state != StepState::Completed || has_details || item.steps.iter().any(is_shown)
}

/// Returns how far a step is that runs for each of several items: ` (2 of 12 items, 1 failed)`.
fn item_progress(step: &StepSummary) -> String {
    let Some(count) = step.item_count else { return String::new() };
    let in_state = |state| step.items.iter().filter(|item| item.state == state).count();
    let done = in_state(StepState::Completed) + in_state(StepState::Restored);
    let failed = in_state(StepState::Failed);
    let items = text::plural(count, "item");
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    if done == count { format!(" ({items})") } else { format!(" ({done} of {items}{failed})") }
}

/// Returns what a step, or an item, has changed, why it failed, and what its undo did not restore. The failure of the
/// run is said elsewhere.
fn describe_details(step: &StepSummary, failed_step: Option<&StepPath>) -> Vec<String> {
    let changes = step.changes.iter().map(|change| {
        let (before, after) = (&change.before, &change.after);
        format!("{}: {before} -> {after}", change.target)
    });
    let error = step.error.clone().filter(|_| failed_step != Some(&step.id));
    let not_restored = step.not_restored.iter().map(|target| format!("not restored: {target}"));
    let lines = changes.chain(error).chain(not_restored);
    lines.map(|line| printable(&line).into_owned()).collect()
}

/// Returns what a step asks, and how it is answered.
fn describe_approval(run: &RunId, asked: &ApprovalSummary) -> String {
    let ApprovalSummary { step, message, expires_at, approvals, given, not_by, ask } = asked;
    let mut lines: Vec<String> = message.lines().map(str::to_owned).collect();
    let mut state = format!("{} of {approvals} approvals", given.len());
    for one in given {
        let _ = write!(state, ", {}", one.actor);
    }
    if !not_by.is_empty() {
        let _ = write!(state, "; not by {}", not_by.join(", "));
    }
    lines.push(format!("{state}; expires at {}", timestamp(*expires_at)));
    let mut answers = String::new();
    for (name, question) in ask {
        lines.push(format!("{name}: {question}"));
        let _ = write!(answers, " --answer {name}=…");
    }
    lines.push(format!("rafay-relay-sop runs approve {run} {step}{answers}"));
    lines.push(format!("rafay-relay-sop runs reject {run} {step} --reason …"));
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let name = if at == 0 { "waits" } else { "" };
        let _ = writeln!(text, "{name:<8} {}", printable(line));
    }
    text
}

/// Returns how the run was resumed differently, with the difference between the runbooks.
fn describe_amendment(amendment: &AmendmentSummary) -> String {
    let AmendmentSummary { time, actor, from, skip, again, runbook } = amendment;
    let list = |what: &str, paths: &[StepPath]| {
        (!paths.is_empty()).then(|| format!("{what} {}", StepPath::join(paths, ", ")))
    };
    let from = from.as_ref().map(|from| format!("from {from}"));
    let parts = [from, list("again", again), list("without", skip)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let mut text = {
        let (time, actor) = (timestamp(*time), printable(actor));
        format!("resumed  {time} by {actor}{}\n", prefixed(&parts.join("; ")))
    };
    if let Some(RunbookChange { origin, digest, diff }) = runbook {
        let file = origin_and_digest(origin.as_deref(), digest);
        let _ = writeln!(text, "         with {}:", printable(&file));
        diff.lines().for_each(|line| {
            let _ = writeln!(text, "         {}", printable(line));
        });
    }
    text
}

fn prefixed(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(", {text}") }
}

/// Prints the log lines of one run.
pub(super) async fn logs(
    store: &dyn RunStore,
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

/// Prints the log lines of one run, and those that follow, until no process drives the run any more.
pub(super) async fn follow(
    store: &dyn RunStore,
    id: &RunId,
    output: Output,
    interval: Duration,
) -> Result<Exit, CliError> {
    if output == Output::Json {
        let message = "--follow prints lines of text, and --output json asks for one document";
        return Err(CliError::usage_with_hint(message, "leave one of the two out"));
    }
    let mut lines = LogLines::default();
    let mut seen = 0;
    loop {
        // Asked first: a run that ends in between then has its end.
        let is_live = store.is_live(id).await;
        // Before its events: what a run has written before it ended is read in this turn.
        let state = store.head(id).await?.state(is_live);
        let events = store.read(id, seen).await?;
        seen += events.len() as u64;
        let text: String = events
            .iter()
            .flat_map(|event| lines.lines(event))
            .map(|line| format!("{line}\n"))
            .collect();
        stdout::write(&text)?;
        if !state.is_active() {
            return Ok(run::exit_of(state));
        }
        tokio::time::sleep(interval).await;
    }
}
