//! Shows a run while it goes on: a live line on a terminal, plain log lines when piped, nothing for machines (they get
//! one document at the end).

use std::{io::IsTerminal as _, sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinHandle,
};

use super::{Output, standard_output};
use crate::journal::{Event, LogLines, Record, Recorder};

/// How often the live line turns.
const TICK: Duration = Duration::from_millis(100);

/// What shows the run; it ends when the run's recorder is gone.
pub(super) struct Display(Option<JoinHandle<()>>);

impl Display {
    /// Waits until everything has been shown.
    pub(super) async fn finish(self) {
        if let Some(task) = self.0 {
            // A display that panicked has shown what it could; the run is not its business.
            let _ = task.await;
        }
    }
}

/// Begins to show a run.
pub(super) fn show(recorder: &Recorder, output: Output) -> Display {
    let records = recorder.listen();
    let started = &recorder.run().started;
    let lines = LogLines::after(recorder.run());
    let title = format!("{} ({})", started.runbook, recorder.run().id);
    if output == Output::Json {
        return Display(None);
    }
    let bar = ProgressBar::new_spinner();
    // It shows nothing at all on a terminal that cannot move its cursor (TERM is `dumb` or not set), nor where standard
    // error, on which it is drawn, goes elsewhere.
    let task = if std::io::stdout().is_terminal() && !bar.is_hidden() {
        tokio::spawn(live(records, bar, title, lines))
    } else {
        tokio::spawn(plain(records, title, lines))
    };
    Display(Some(task))
}

/// The next record; records that were missed because the terminal was slow are in the journal.
async fn next(records: &mut Receiver<Arc<Record>>) -> Option<Arc<Record>> {
    loop {
        match records.recv().await {
            Ok(record) => return Some(record),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

async fn plain(mut records: Receiver<Arc<Record>>, title: String, mut lines: LogLines) {
    tell(&title);
    while let Some(record) = next(&mut records).await {
        for line in lines.lines(&record) {
            tell(&line);
        }
    }
}

/// A reader that went away (`… | head`) does not end the run.
fn tell(line: &str) {
    let _ = standard_output::write(&format!("{line}\n"));
}

async fn live(
    mut records: Receiver<Arc<Record>>,
    bar: ProgressBar,
    title: String,
    lines: LogLines,
) {
    let style = ProgressStyle::with_template("{spinner} {prefix} ({elapsed})\n    {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(TICK);
    bar.println(title);
    let mut steps = Steps { lines, ..Steps::default() };
    while let Some(record) = next(&mut records).await {
        steps.show(&bar, &record);
    }
    bar.finish_and_clear();
}

/// The step that is under way. What it says and changes is shown under its name, when it has ended.
#[derive(Default)]
struct Steps {
    name: String,
    began: Option<jiff::Timestamp>,
    details: Vec<String>,
    lines: LogLines,
}

impl Steps {
    fn show(&mut self, bar: &ProgressBar, record: &Record) {
        // Also for the names of steps, which only their first events carry.
        let texts = self.texts(record);
        match &record.event {
            Event::StepStarted { name, .. } | Event::StepResumed { name, .. } => {
                self.name.clone_from(name);
                self.began = Some(record.time);
                bar.reset_elapsed();
                bar.set_prefix(name.clone());
                bar.set_message("");
            }
            Event::Waiting { message, .. } => bar.set_message(message.clone()),
            Event::Completed { message, .. } => {
                self.details.extend(message.clone());
                self.end(bar, &format!("✔ {} {}", self.name, self.took(record)));
            }
            Event::StepFailed { error, .. } => {
                self.details.push(error.clone());
                self.end(bar, &format!("✘ {} {}", self.name, self.took(record)));
            }
            Event::StepSkipped { name, because, .. } => {
                bar.println(format!("- {name} (left out: {because})"));
            }
            Event::Prepared { .. } | Event::Said { .. } | Event::AttemptFailed { .. } => {
                self.details.extend(texts);
            }
            Event::RunStarted(_) | Event::RunResumed { .. } | Event::Applied { .. } => {}
            _ => {
                bar.set_prefix("");
                texts.iter().for_each(|text| bar.println(text));
            }
        }
    }

    /// The record's log lines without their times.
    fn texts(&mut self, record: &Record) -> Vec<String> {
        let lines = self.lines.lines(record).into_iter();
        lines.map(|line| line.split_once("] ").map_or(line.clone(), |(_, t)| t.into())).collect()
    }

    fn end(&mut self, bar: &ProgressBar, headline: &str) {
        bar.println(headline);
        self.details.drain(..).for_each(|text| bar.println(format!("    {text}")));
    }

    fn took(&self, record: &Record) -> String {
        let began = self.began.unwrap_or(record.time);
        let took = Duration::try_from(record.time - began).unwrap_or_default();
        format!("({:.1} s)", took.as_secs_f64())
    }
}
