//! Shows a run while it goes on, whichever process drives it: live lines on a terminal, plain log lines elsewhere,
//! events as JSON lines for `--output ndjson`, and nothing for `--output json`, which is one document at the end.
//!
//! On a terminal, what has happened is written for good, a few lines for each step, and below it are the live lines:
//! what goes on now, what it waits for and for how long, and what Ctrl-C does. `view.rs` and `block.rs` are pure: they
//! make lines of events and a time. `screen.rs` and `painter.rs` bring them to the terminal.

pub(super) mod above;
mod block;
mod details;
mod feed;
pub(super) mod line;
mod outline;
mod painter;
mod screen;
#[cfg(test)]
mod tests;
mod undone;
mod view;

use std::{collections::VecDeque, io::IsTerminal as _, sync::Arc};

use serde_json::json;
use text::printable;
use tokio::task::JoinHandle;

use self::{block::Surroundings, feed::Feed, line::Line, painter::Painter, view::View};
use super::{
    Global, Output,
    stdout::{self, Color},
    timeline::Timeline,
};
use crate::{
    engine::AcceptedRun,
    journal::{Event, LogLines, RecordedEvent, Run, RunEvent, RunId, RunStore},
};

pub(super) use outline::Outline;

/// The effect of Ctrl-C on a run that this process drives.
const CANCELS: &str = "Ctrl-C cancels the run after the call in flight";
/// The effect of the next Ctrl-C on a run that is about to stop.
const EXITS: &str = "stopping; Ctrl-C exits immediately, and the run can be resumed";
/// The effect of Ctrl-C on a run that another process drives.
const ENDS_WATCHING: &str = "Ctrl-C ends the watching, and the run goes on";

/// The way in which a run is shown.
pub(super) enum Presenter {
    /// One document at the end.
    Silent,
    /// Log lines.
    Lines(LogLines),
    /// Events as JSON lines.
    Events,
    /// Live lines on a terminal.
    Live(Painter),
}

/// Shows a run that this process drives, until its writer is dropped.
pub(super) struct RunDisplay {
    task: JoinHandle<Timeline>,
    notice: StopNotice,
}

/// Tells the person at the terminal that the run is about to stop.
#[derive(Clone)]
pub(super) struct StopNotice(Option<Painter>);

impl StopNotice {
    /// Shows the text. The live lines, where there are some, would otherwise be the same as if nothing had happened.
    pub(super) fn show(&self, text: &str) {
        let Some(painter) = &self.0 else { return stdout::write_stderr_line(text) };
        painter.write(Line::new(text).colored(Color::Yellow));
        painter.set_ctrl_c(EXITS);
    }

    /// Removes the live lines, because the program ends now.
    pub(super) fn clear(&self) {
        self.0.iter().for_each(Painter::finish);
    }
}

impl RunDisplay {
    /// Begins to show a run.
    pub(super) async fn start(
        accepted: &AcceptedRun,
        store: &Arc<dyn RunStore>,
        global: &Global,
    ) -> Self {
        // First, so that no event is missed.
        let receiver = accepted.subscribe();
        let run = accepted.run();
        let mut presenter = Presenter::new(global, CANCELS);
        // A journal that cannot be read now was written a moment ago: the run is shown without its past.
        let past = match presenter {
            Presenter::Silent => Vec::new(),
            _ => store.read(run.id(), 0).await.unwrap_or_default(),
        };
        presenter.begin_driven(run, &past);
        let mut timeline = Timeline::of(&past);
        let notice = presenter.stop_notice();
        let mut feed = Feed {
            events: receiver,
            store: Arc::clone(store),
            run: run.id().clone(),
            next: run.head.events,
            read: VecDeque::new(),
        };
        let task = tokio::spawn(async move {
            while let Some(recorded) = feed.next().await {
                presenter.take(&recorded);
                timeline.apply(&recorded);
            }
            presenter.finish();
            timeline
        });
        Self { task, notice }
    }

    /// Returns a notice that appears where the run is shown.
    pub(super) fn stop_notice(&self) -> StopNotice {
        self.notice.clone()
    }

    /// Waits until everything has been shown, and returns the times of the run. They are without what happened before
    /// where nothing is shown.
    pub(super) async fn finish(self) -> Option<Timeline> {
        // A display that panicked has shown what it could; the run does not depend on it.
        let timeline = self.task.await.ok();
        self.notice.clear();
        timeline
    }
}

impl Presenter {
    /// Returns the way in which a run is shown that another process drives.
    pub(super) fn for_watching(global: &Global) -> Self {
        Self::new(global, ENDS_WATCHING)
    }

    fn new(global: &Global, ctrl_c: &str) -> Self {
        match global.output {
            Output::Json => Self::Silent,
            Output::Ndjson => Self::Events,
            Output::Text if is_drawable() => {
                let program = format!("rafay-relay-sop{}", global.store_flags());
                let ctrl_c = ctrl_c.to_owned();
                Self::Live(Painter::start(Surroundings { program, ctrl_c, notice: None }))
            }
            Output::Text => Self::Lines(LogLines::default()),
        }
    }

    fn stop_notice(&self) -> StopNotice {
        match self {
            Self::Live(painter) => StopNotice(Some(painter.clone())),
            Self::Silent | Self::Lines(_) | Self::Events => StopNotice(None),
        }
    }

    /// Begins to show a run that this process drives. `past` are its events so far, as far as they are known.
    fn begin_driven(&mut self, run: &Run, past: &[RecordedEvent]) {
        match self {
            Self::Silent => {}
            Self::Lines(lines) => {
                print_title(run);
                *lines = LogLines::after(run);
            }
            // Those of this process.
            Self::Events => {
                let is_first = |recorded: &RecordedEvent| {
                    matches!(
                        recorded.event,
                        Event::Run(RunEvent::RunStarted(_) | RunEvent::RunResumed { .. })
                    )
                };
                let first = past.iter().rposition(is_first).unwrap_or(past.len());
                past[first..].iter().for_each(print_event);
            }
            Self::Live(painter) => {
                let (view, entries) = View::of(run.id(), past).unwrap_or_else(|| {
                    let view = View::new(run.clone());
                    let title = view.title();
                    (view, vec![title])
                });
                painter.show(view, view::shortened(entries, run.id()));
            }
        }
    }

    /// Begins to show a run that another process drives, with everything that has happened.
    pub(super) fn begin_watching(&mut self, id: &RunId, past: &[RecordedEvent]) {
        match self {
            Self::Silent => {}
            Self::Lines(_) => {
                Run::of(id, past).iter().for_each(print_title);
                past.iter().for_each(|recorded| self.take(recorded));
            }
            Self::Events => past.iter().for_each(print_event),
            Self::Live(painter) => {
                if let Some((view, entries)) = View::of(id, past) {
                    painter.show(view, view::shortened(entries, id));
                }
            }
        }
    }

    /// Shows one more event.
    pub(super) fn take(&mut self, recorded: &RecordedEvent) {
        match self {
            Self::Silent => {}
            Self::Lines(lines) => lines.lines(recorded).iter().for_each(|line| print_line(line)),
            Self::Events => print_event(recorded),
            Self::Live(painter) => painter.take(recorded),
        }
    }

    /// Shows what no event says, such as that the process of the run has ended, or no longer shows it. `is_new` says
    /// whether it was not shown before.
    pub(super) fn note(&mut self, note: Option<&str>, is_new: bool) {
        match (self, note) {
            (Self::Live(painter), note) => painter.set_notice(note),
            (Self::Lines(_) | Self::Events, Some(note)) if is_new => {
                stdout::write_stderr_line(&printable(note));
            }
            (Self::Silent | Self::Lines(_) | Self::Events, _) => {}
        }
    }

    /// Writes everything that is not written yet, and removes the live lines.
    pub(super) fn finish(&mut self) {
        if let Self::Live(painter) = self {
            painter.finish();
        }
    }
}

/// Whether live lines can be drawn on standard output: it is a terminal that can move its cursor.
fn is_drawable() -> bool {
    let is_able = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    is_able && std::io::stdout().is_terminal()
}

fn print_title(run: &Run) {
    let title = format!("{} ({})", run.spec.runbook, run.id());
    let title = match run.spec.origin_and_digest() {
        Some(file) => format!("{title} from {file}"),
        None => title,
    };
    print_line(&printable(&title));
}

fn print_event(recorded: &RecordedEvent) {
    print_line(&json!(recorded).to_string());
}

/// A reader that has gone (`… | head`) does not end the run.
fn print_line(line: &str) {
    let _ = stdout::write(&format!("{line}\n"));
}
