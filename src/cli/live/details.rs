//! The details of a step that are shown when it has ended: what it changed, what it reported, and what failed in it.
//! However many items a step has, only the first of them are kept.

use super::line::Line;
use crate::{cli::stdout::Color, journal::Failure};
use text::plural;

/// How many changes and messages of a step are shown. `runs show` has all changes, and `runs logs` all messages.
const MAX_SHOWN: usize = 8;
/// The same for a run of very many steps.
const MAX_SHOWN_OF_MANY: usize = 2;
/// The number of steps from which on a run has very many.
const MANY_STEPS: usize = 60;
/// How many changes and messages of a step that goes on are shown.
const MAX_LIVE: usize = 3;
/// How many failures inside a step are shown.
const MAX_FAILURES: usize = 5;
/// The columns before a detail.
pub(super) const INDENT: usize = 4;

/// The details of one step at the top level.
#[derive(Debug)]
pub(super) struct Details {
    max_shown: usize,
    lines: Vec<Line>,
    more_changes: usize,
    more_messages: usize,
    failures: Vec<Line>,
    failure_count: usize,
}

impl Details {
    /// Returns none yet, for a step of a run of this many steps.
    pub(super) fn new(step_count: usize) -> Self {
        Self {
            max_shown: if step_count < MANY_STEPS { MAX_SHOWN } else { MAX_SHOWN_OF_MANY },
            lines: Vec::new(),
            more_changes: 0,
            more_messages: 0,
            failures: Vec::new(),
            failure_count: 0,
        }
    }

    /// Adds an object that is changed.
    pub(super) fn add_change(&mut self, line: Line) {
        match self.lines.len() < self.max_shown {
            true => self.lines.push(line.indented(INDENT)),
            false => self.more_changes += 1,
        }
    }

    /// Adds a report.
    pub(super) fn add_message(&mut self, line: Line) {
        match self.lines.len() < self.max_shown {
            true => self.lines.push(line.indented(INDENT)),
            false => self.more_messages += 1,
        }
    }

    /// Adds a failure of a part of the step, or of an attempt.
    pub(super) fn add_failure(&mut self, what: &str, failure: &Failure) {
        self.failure_count += 1;
        if self.failure_count <= MAX_FAILURES {
            let line = Line::new(&format!("{what}: {}", failure.message));
            self.failures.push(line.colored(Color::Yellow).indented(INDENT));
        }
    }

    /// Returns the first changes and reports, and how many there are beside them, for a step that goes on.
    pub(super) fn first_lines(&self) -> (&[Line], usize) {
        let shown = self.lines.len().min(MAX_LIVE);
        let more = self.lines.len() - shown + self.more_changes + self.more_messages;
        (&self.lines[..shown], more)
    }

    /// Returns everything as lines.
    pub(super) fn into_lines(self) -> Vec<Line> {
        let mut lines = self.lines;
        let more = [(self.more_changes, "more change"), (self.more_messages, "more message")];
        let more = more.iter().filter(|(count, _)| *count > 0);
        let more: Vec<String> = more.map(|(count, noun)| plural(*count, noun)).collect();
        let faint = |text: &str| Line::new(text).colored(Color::Faint).indented(INDENT);
        if !more.is_empty() {
            lines.push(faint(&format!("and {}", more.join(" and "))));
        }
        lines.extend(self.failures);
        if let Some(more @ 1..) = self.failure_count.checked_sub(MAX_FAILURES) {
            lines.push(faint(&format!("and {}", plural(more, "more failure"))));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::FailureKind;

    fn texts(details: Details) -> Vec<String> {
        super::super::line::lay_out(&details.into_lines(), 80, false)
    }

    #[test]
    fn what_is_not_shown_is_counted() {
        let mut details = Details::new(10);
        for node in 0..300 {
            details.add_change(Line::new(&format!("node {node} unschedulable: false -> true")));
        }
        details.add_message(Line::new("done"));
        let failure = Failure::new(FailureKind::TimedOut, "timed out");
        (0..7).for_each(|item| details.add_failure(&format!("[{item}] failed"), &failure));
        let texts = texts(details);
        assert_eq!(texts.len(), 8 + 1 + 5 + 1, "{texts:#?}");
        assert_eq!(texts[8], "    and 292 more changes and 1 more message");
        assert_eq!(texts[9], "    [0] failed: timed out");
        assert_eq!(texts[14], "    and 2 more failures");
    }

    #[test]
    fn a_run_of_very_many_steps_shows_less_of_each() {
        let mut details = Details::new(500);
        (0..3).for_each(|node| details.add_change(Line::new(&format!("node {node}"))));
        assert_eq!(texts(details), ["    node 0", "    node 1", "    and 1 more change"]);
    }
}
