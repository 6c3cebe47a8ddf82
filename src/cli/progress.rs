//! Shows a run while it goes on: a live line on a terminal, plain log lines when piped, nothing for machines (they get
//! one document at the end).

use std::{io::IsTerminal as _, sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinHandle,
};

use super::{Output, stdout};
use crate::journal::{Event, EventRecord, LogLines, RunWriter};

/// How often the live line turns.
const SPINNER_INTERVAL: Duration = Duration::from_millis(100);

/// What shows the run; it ends when the run's recorder is gone.
pub(super) struct ProgressDisplay(Option<JoinHandle<()>>);

impl ProgressDisplay {
    /// Waits until everything has been shown.
    pub(super) async fn finish(self) {
        if let Some(task) = self.0 {
            // A display that panicked has shown what it could; the run is not its business.
            let _ = task.await;
        }
    }
}

/// Begins to show a run.
pub(super) fn show(run_writer: &RunWriter, output: Output) -> ProgressDisplay {
    let records = run_writer.subscribe();
    let spec = &run_writer.run().spec;
    let lines = LogLines::continuing(run_writer.run());
    let title = format!("{} ({})", spec.runbook, run_writer.run().id);
    if output == Output::Json {
        return ProgressDisplay(None);
    }
    let bar = ProgressBar::new_spinner();
    // It shows nothing at all on a terminal that cannot move its cursor (TERM is `dumb` or not set), nor where standard
    // error, on which it is drawn, goes elsewhere.
    let task = if std::io::stdout().is_terminal() && !bar.is_hidden() {
        tokio::spawn(show_live(records, bar, title, lines))
    } else {
        tokio::spawn(print_lines(records, title, lines))
    };
    ProgressDisplay(Some(task))
}

/// The next record; records that were missed because the terminal was slow are in the journal.
async fn next(records: &mut Receiver<Arc<EventRecord>>) -> Option<Arc<EventRecord>> {
    loop {
        match records.recv().await {
            Ok(record) => return Some(record),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

async fn print_lines(mut records: Receiver<Arc<EventRecord>>, title: String, mut lines: LogLines) {
    print_line(&title);
    while let Some(record) = next(&mut records).await {
        for line in lines.lines(&record) {
            print_line(&line);
        }
    }
}

/// A reader that went away (`… | head`) does not end the run.
fn print_line(line: &str) {
    let _ = stdout::write(&format!("{line}\n"));
}

async fn show_live(
    mut records: Receiver<Arc<EventRecord>>,
    bar: ProgressBar,
    title: String,
    lines: LogLines,
) {
    let style = ProgressStyle::with_template("{spinner} {prefix} ({elapsed})\n    {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(SPINNER_INTERVAL);
    bar.println(title);
    let mut steps = LiveStep { lines, ..LiveStep::default() };
    while let Some(record) = next(&mut records).await {
        steps.show(&bar, &record);
    }
    bar.finish_and_clear();
}

/// The step that is under way. What it says and changes is shown under its name, when it has ended.
#[derive(Default)]
struct LiveStep {
    name: String,
    started_at: Option<jiff::Timestamp>,
    details: Vec<String>,
    lines: LogLines,
}

impl LiveStep {
    fn show(&mut self, bar: &ProgressBar, record: &EventRecord) {
        // Also for the names of steps, which only their first events carry.
        let texts = self.texts(record);
        match &record.event {
            Event::StepStarted { name, .. } | Event::StepResumed { name, .. } => {
                self.name.clone_from(name);
                self.started_at = Some(record.time);
                bar.reset_elapsed();
                bar.set_prefix(name.clone());
                bar.set_message("");
            }
            Event::StepWaiting { message, .. } => bar.set_message(message.clone()),
            Event::StepCompleted { message, .. } => {
                self.details.extend(message.clone());
                self.end(bar, &format!("✔ {} {}", self.name, self.duration_text(record)));
            }
            Event::StepFailed { error, .. } => {
                self.details.push(error.clone());
                self.end(bar, &format!("✘ {} {}", self.name, self.duration_text(record)));
            }
            Event::StepSkipped { name, reason, .. } => {
                bar.println(format!("- {name} (left out: {reason})"));
            }
            Event::StepPrepared { .. }
            | Event::StepMessage { .. }
            | Event::AttemptFailed { .. } => {
                self.details.extend(texts);
            }
            Event::RunStarted(_) | Event::RunResumed { .. } | Event::StepApplied { .. } => {}
            _ => {
                bar.set_prefix("");
                texts.iter().for_each(|text| bar.println(text));
            }
        }
    }

    /// The record's log lines without their times.
    fn texts(&mut self, record: &EventRecord) -> Vec<String> {
        let lines = self.lines.lines(record).into_iter();
        lines.map(|line| line.split_once("] ").map_or(line.clone(), |(_, t)| t.into())).collect()
    }

    fn end(&mut self, bar: &ProgressBar, headline: &str) {
        bar.println(headline);
        self.details.drain(..).for_each(|text| bar.println(format!("    {text}")));
    }

    fn duration_text(&self, record: &EventRecord) -> String {
        let started_at = self.started_at.unwrap_or(record.time);
        let took = Duration::try_from(record.time - started_at).unwrap_or_default();
        format!("({:.1} s)", took.as_secs_f64())
    }
}
