//! Draws a run on a terminal, in a thread of its own: a terminal that takes nothing (Ctrl-S, a broken connection) keeps
//! nothing else from going on.

use std::{
    collections::VecDeque,
    io::{self, Write as _},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use console::Term;
use jiff::Timestamp;

use super::{
    above,
    block::{Surroundings, Terminal, live_lines},
    line::{Line, lay_out},
    screen::Screen,
    view::{Entry, View},
};
use crate::{cli::stdout, journal::RecordedEvent};

/// The time between two drawings.
const INTERVAL: Duration = Duration::from_millis(100);
/// The most entries that wait for a terminal that takes nothing. The oldest are left out.
const MAX_WAITING: usize = 2_000;
/// The size where the terminal does not say its own.
const DEFAULT_SIZE: (u16, u16) = (24, 80);

/// A run on a terminal. Clones draw the same.
#[derive(Clone)]
pub(in crate::cli) struct Painter {
    shared: Arc<Mutex<Shared>>,
    thread: Arc<Mutex<Option<Thread>>>,
}

struct Thread {
    /// Dropped to end the thread.
    stop: mpsc::Sender<()>,
    handle: JoinHandle<()>,
}

/// The content of the next drawings.
struct Shared {
    view: Option<View>,
    around: Surroundings,
    waiting: VecDeque<Entry>,
    left_out: usize,
}

impl Painter {
    /// Begins to draw.
    pub(super) fn start(around: Surroundings) -> Self {
        let shared = Shared { view: None, around, waiting: VecDeque::new(), left_out: 0 };
        let shared = Arc::new(Mutex::new(shared));
        let (stop, stopped) = mpsc::channel();
        above::begin();
        let drawn = Arc::clone(&shared);
        let handle = std::thread::spawn(move || draw_until(&stopped, &drawn));
        let thread = Arc::new(Mutex::new(Some(Thread { stop, handle })));
        Self { shared, thread }
    }

    /// Shows a run, with what is written about the time before.
    pub(super) fn show(&self, view: View, entries: Vec<Entry>) {
        let mut shared = self.lock();
        entries.into_iter().for_each(|entry| shared.write(entry));
        shared.view = Some(view);
    }

    /// Shows an event.
    pub(super) fn take(&self, recorded: &RecordedEvent) {
        let mut shared = self.lock();
        let entries = shared.view.as_mut().map(|view| view.apply(recorded));
        entries.into_iter().flatten().for_each(|entry| shared.write(entry));
    }

    /// Shows a notice for as long as the run goes on, or removes it.
    pub(super) fn set_notice(&self, notice: Option<&str>) {
        self.lock().around.notice = notice.map(str::to_owned);
    }

    /// Writes a line for good.
    pub(super) fn write(&self, line: Line) {
        self.lock().write(vec![line]);
    }

    /// Shows another effect of Ctrl-C.
    pub(super) fn set_ctrl_c(&self, ctrl_c: &str) {
        ctrl_c.clone_into(&mut self.lock().around.ctrl_c);
    }

    /// Writes everything that is not written yet, and removes the live lines.
    pub(super) fn finish(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Thread { stop, handle }) = thread {
            drop(stop);
            // A thread that panicked has drawn what it could; the run does not depend on it.
            let _ = handle.join();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn write(&mut self, entry: Entry) {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
            self.left_out += 1;
        }
        self.waiting.push_back(entry);
    }

    /// Returns the lines that are written for good, and the live lines.
    fn lines(&mut self, frame: usize, terminal: Terminal) -> (Vec<String>, Vec<String>) {
        let mut lines = Vec::new();
        if self.left_out > 0 {
            let left_out = text::plural(std::mem::take(&mut self.left_out), "event");
            lines.push(Line::new(&format!("… {left_out} left out: the terminal was too slow")));
        }
        lines.extend(self.waiting.drain(..).flatten());
        let written = lay_out(&lines, terminal.width, terminal.has_color);
        let live = self
            .view
            .as_ref()
            .map(|view| live_lines(view, &self.around, Timestamp::now(), frame, terminal));
        (written, live.unwrap_or_default())
    }
}

/// Draws until the sender is dropped, and then for the last time.
fn draw_until(stopped: &mpsc::Receiver<()>, shared: &Mutex<Shared>) {
    let mut screen = Screen::default();
    let has_color = stdout::has_color();
    for frame in 0.. {
        let is_over =
            !matches!(stopped.recv_timeout(INTERVAL), Err(mpsc::RecvTimeoutError::Timeout));
        let (rows, columns) = Term::stdout().size_checked().unwrap_or(DEFAULT_SIZE);
        let columns = usize::from(columns);
        let terminal = Terminal {
            // Some terminals begin a new line after the last column.
            width: columns.saturating_sub(1).max(1),
            height: usize::from(rows).saturating_sub(1).max(1),
            has_color,
        };
        let (written, live) = {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.lines(frame, terminal)
        };
        let log = if is_over { above::end() } else { above::take() };
        let written = [written, log].concat();
        let live = if is_over { Vec::new() } else { live };
        // What cannot be written is drawn again, if the terminal comes back.
        let _ = write(&screen.draw(&written, &live, columns));
        if is_over {
            return;
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut terminal = io::stdout().lock();
    terminal.write_all(text.as_bytes())?;
    terminal.flush()
}
