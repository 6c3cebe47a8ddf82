//! Shows a run while it is driven: a live line on a terminal, plain log lines when piped, nothing for `--output json`
//! (which prints one document at the end).

use std::{io::IsTerminal as _, sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinHandle,
};

use super::{Output, stdout};
use crate::{
    engine::AcceptedRun,
    journal::{Event, LogLines, RecordedEvent, RunEvent, StepEvent},
};

/// How often the spinner of the live line turns.
const SPINNER_INTERVAL: Duration = Duration::from_millis(100);

/// Shows a run until its writer is dropped.
pub(super) struct ProgressDisplay(Option<JoinHandle<()>>);

impl ProgressDisplay {
    /// Waits until everything has been shown.
    pub(super) async fn finish(self) {
        if let Some(task) = self.0 {
            // A display that panicked has shown what it could; the run does not depend on it.
            let _ = task.await;
        }
    }
}

/// Starts to show a run.
pub(super) fn show(accepted: &AcceptedRun, output: Output) -> ProgressDisplay {
    let events = accepted.subscribe();
    let run = accepted.run();
    let lines = LogLines::after(run);
    let title = format!("{} ({})", run.spec.runbook, run.id());
    if output == Output::Json {
        return ProgressDisplay(None);
    }
    let bar = ProgressBar::new_spinner();
    // It shows nothing at all on a terminal that cannot move its cursor (TERM is `dumb` or not set), nor where standard
    // error, on which it is drawn, goes elsewhere.
    let task = if std::io::stdout().is_terminal() && !bar.is_hidden() {
        tokio::spawn(show_live(events, bar, title, lines))
    } else {
        tokio::spawn(print_lines(events, title, lines))
    };
    ProgressDisplay(Some(task))
}

/// Returns the next event; events that were missed because the terminal was slow are in the journal.
async fn next(events: &mut Receiver<Arc<RecordedEvent>>) -> Option<Arc<RecordedEvent>> {
    loop {
        match events.recv().await {
            Ok(recorded) => return Some(recorded),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

async fn print_lines(mut events: Receiver<Arc<RecordedEvent>>, title: String, mut lines: LogLines) {
    print_line(&title);
    while let Some(recorded) = next(&mut events).await {
        for line in lines.lines(&recorded) {
            print_line(&line);
        }
    }
}

/// A reader that has gone (`… | head`) does not end the run.
fn print_line(line: &str) {
    let _ = stdout::write(&format!("{line}\n"));
}

async fn show_live(
    mut events: Receiver<Arc<RecordedEvent>>,
    bar: ProgressBar,
    title: String,
    lines: LogLines,
) {
    let style = ProgressStyle::with_template("{spinner} {prefix} ({elapsed})\n    {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(SPINNER_INTERVAL);
    bar.println(title);
    let mut steps = LiveStep { lines, ..LiveStep::default() };
    while let Some(recorded) = next(&mut events).await {
        steps.show(&bar, &recorded);
    }
    bar.finish_and_clear();
}

/// The current step. What it reports and changes is shown under its name when it has ended.
#[derive(Default)]
struct LiveStep {
    name: String,
    started_at: Option<jiff::Timestamp>,
    details: Vec<String>,
    lines: LogLines,
}

impl LiveStep {
    fn show(&mut self, bar: &ProgressBar, recorded: &RecordedEvent) {
        // Also for the names of steps, which only their first events carry.
        let texts = self.lines.texts(&recorded.event);
        match &recorded.event {
            Event::Step { event, .. } => self.show_step_event(bar, recorded, event, texts),
            Event::Run(RunEvent::RunStarted(_) | RunEvent::RunResumed { .. }) => {}
            Event::Run(_) => print_above(bar, &texts),
        }
    }

    fn show_step_event(
        &mut self,
        bar: &ProgressBar,
        recorded: &RecordedEvent,
        event: &StepEvent,
        texts: Vec<String>,
    ) {
        match event {
            StepEvent::StepStarted { name } | StepEvent::StepResumed { name } => {
                self.name.clone_from(name);
                self.started_at = Some(recorded.time);
                bar.reset_elapsed();
                bar.set_prefix(name.clone());
                bar.set_message("");
            }
            StepEvent::StepWaiting { message, .. } => bar.set_message(message.clone()),
            StepEvent::StepCompleted { message, .. } => {
                self.details.extend(message.clone());
                self.end(bar, &format!("✔ {} {}", self.name, self.duration_text(recorded)));
            }
            StepEvent::StepFailed { failure, .. } => {
                self.details.extend(failure.lines());
                self.end(bar, &format!("✘ {} {}", self.name, self.duration_text(recorded)));
            }
            StepEvent::StepSkipped { name, reason } => {
                bar.println(format!("- {name} (skipped: {reason})"));
            }
            StepEvent::StepPrepared { .. }
            | StepEvent::StepMessage { .. }
            | StepEvent::StepAttemptFailed { .. } => self.details.extend(texts),
            StepEvent::StepApplied { .. } => {}
            StepEvent::StepOperationFailed { .. }
            | StepEvent::StepUndoStarted
            | StepEvent::StepUndoFinished { .. }
            | StepEvent::StepUndoFailed { .. } => print_above(bar, &texts),
        }
    }

    fn end(&mut self, bar: &ProgressBar, headline: &str) {
        bar.println(headline);
        self.details.drain(..).for_each(|text| bar.println(format!("    {text}")));
    }

    fn duration_text(&self, recorded: &RecordedEvent) -> String {
        let started_at = self.started_at.unwrap_or(recorded.time);
        let took = Duration::try_from(recorded.time - started_at).unwrap_or_default();
        format!("({:.1} s)", took.as_secs_f64())
    }
}

fn print_above(bar: &ProgressBar, texts: &[String]) {
    bar.set_prefix("");
    texts.iter().for_each(|text| bar.println(text));
}
